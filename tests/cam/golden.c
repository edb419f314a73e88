/* SPDX-License-Identifier: MIT */
/* Golden files, networks and formulas for the tests of whole networks. */
#include "tests/cam/golden.h"

#include "weights/seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- golden files ---- */

static int is(const wt_json_token *t, const char *text) { return t->size == strlen(text) && !memcmp(t->text, text, t->size); }

/* The store does not hand out metadata, so the header is read here: a length of 8 bytes, then JSON. */
static void read_metadata(const char *path, t_golden *g)
{
    size_t size;
    uint64_t header;
    uint8_t *bytes = t_read_file(path, &size);
    memcpy(&header, bytes, sizeof header);
    wt_json json = wt_json_text((const char *)bytes + sizeof header, header);
    wt_json_token key, value;
    en_error e;
    do CHECK_OK(wt_json_next(&json, &key, &e), e);
    while (key.kind != WT_JSON_KEY || !is(&key, "__metadata__"));
    CHECK_OK(wt_json_next(&json, &value, &e), e);
    for (;;) {
        CHECK_OK(wt_json_next(&json, &key, &e), e);
        if (key.kind != WT_JSON_KEY) break;
        CHECK_OK(wt_json_next(&json, &value, &e), e);
        if (is(&key, "image_seed")) g->image_seed = strtoull(value.text, NULL, 10);
        if (is(&key, "classes")) CHECK(sscanf(value.text, "[%d, %d]", &g->classes[0], &g->classes[1]) == 2);
    }
    free(bytes);
}

void t_golden_open(const char *path, t_golden *g)
{
    en_error e;
    *g = (t_golden){.thin = 1};
    CHECK_OK(wt_open(path, &g->store, &e), e);
    read_metadata(path, g);
    if (!wt_find(g->store, "thin")) return;
    size_t n;
    double *thin = t_golden_read(g, "thin", &n);
    g->thin = (size_t)thin[0];
    free(thin);
}

void t_golden_methods(const char *net, t_golden *g)
{
    char path[96];
    snprintf(path, sizeof path, "../shared/golden/methods/%s.safetensors", net);
    if (access(path, R_OK)) snprintf(path, sizeof path, "tests/golden/methods/%s.safetensors", net);
    t_golden_open(path, g);
}

void t_golden_close(t_golden *g) { wt_close(g->store); }

double *t_golden_read(const t_golden *g, const char *name, size_t *count)
{
    const wt_tensor *t = wt_find(g->store, name);
    CHECK_MSG(t, "%s: no entry %s", wt_path(g->store), name);
    *count = wt_elements(t);
    double *out = malloc((*count + 1) * sizeof *out);
    for (size_t i = 0; i < *count; i++) {
        const uint8_t *at = t->data + i * wt_dtype_size(t->dtype);
        float f;
        int64_t n;
        switch (t->dtype) {
        case WT_F64: memcpy(&out[i], at, sizeof *out); break;
        case WT_F32: memcpy(&f, at, sizeof f), out[i] = (double)f; break;
        case WT_I64: memcpy(&n, at, sizeof n), out[i] = (double)n; break;
        default: CHECK_MSG(0, "%s: %s", name, wt_dtype_name(t->dtype));
        }
    }
    return out;
}

/* Companion NAME.kind: number i of it, or `otherwise` if there is none. */
static double companion(const t_golden *g, const char *name, const char *kind, size_t i, double otherwise)
{
    char full[160];
    size_t n;
    snprintf(full, sizeof full, "%s.%s", name, kind);
    if (!wt_find(g->store, full)) return otherwise;
    double *x = t_golden_read(g, full, &n), value = x[i];
    free(x);
    CHECK(i < n);
    return value;
}

/* Samples stand for little of an array, so all of it is looked at coarsely: norm and mean within 2 %, besides what the
 * layer's rounding may do, spread over the whole array as it is over the samples. */
static void check_summary(const t_golden *g, const char *name, const double *x, size_t n, size_t samples)
{
    double sum = 0, squares = 0, norm = companion(g, name, "summary", 0, NAN), mean = companion(g, name, "summary", 1, NAN);
    double bound = 0.02 * norm + 4 * companion(g, name, "spread", 0, 0) * sqrt((double)n / (double)samples);
    for (size_t i = 0; i < n; i++) sum += x[i], squares += x[i] * x[i];
    CHECK_MSG(fabs(sqrt(squares) - norm) <= bound, "%s: norm %g, want %g", name, sqrt(squares), norm);
    CHECK_MSG(fabs(sum / (double)n - mean) * sqrt((double)n) <= bound, "%s: mean %g, want %g", name, sum / (double)n, mean);
}

double t_golden_ratio(const t_golden *g, const char *name, const double *x, size_t n)
{
    size_t count, step = 1;
    double *want = t_golden_read(g, name, &count), squares = 0;
    double full = companion(g, name, "shape", 0, 0) * companion(g, name, "shape", 1, 0) * companion(g, name, "shape", 2, 0);
    if (full > 0) {
        CHECK_MSG(full == (double)n, "%s: %zu numbers, want %.0f", name, n, full);
        step = g->thin * (n / 512 > 1 ? n / 512 : 1);
        check_summary(g, name, x, n, count);
    }
    CHECK_MSG((count - 1) * step < n && (full > 0 || count == n), "%s: %zu numbers, want %zu", name, n, count);
    for (size_t i = 0; i < count; i++) squares += (x[i * step] - want[i]) * (x[i * step] - want[i]);
    free(want);
    double bound = 4 * (companion(g, name, "f32err", 2, NAN) + companion(g, name, "spread", 0, 0)) +
                   2e-6 * companion(g, name, "f32err", 3, NAN);
    return squares == 0 ? 0 : bound > 0 && squares < INFINITY ? sqrt(squares) / bound : INFINITY;
}

/* ---- JSON ---- */

void t_json_each(const char *path, void (*see)(void *arg, const char *where, const wt_json_token *value), void *arg)
{
    size_t size, end[WT_JSON_DEPTH + 1] = {0}; /* where the name of the container at each depth ends */
    int index[WT_JSON_DEPTH + 1] = {0}, in_array[WT_JSON_DEPTH + 1] = {0}, depth = 0;
    char where[512] = "";
    uint8_t *text = t_read_file(path, &size);
    wt_json json = wt_json_text((const char *)text, size);
    wt_json_token t;
    en_error e;
    for (;;) {
        CHECK_OK(wt_json_next(&json, &t, &e), e);
        if (t.kind == WT_JSON_EOF) break;
        if (t.kind == WT_JSON_OBJECT_END || t.kind == WT_JSON_ARRAY_END) {
            depth--;
            continue;
        }
        size_t at = end[depth], room = sizeof where - at;
        const char *slash = at ? "/" : "";
        if (t.kind == WT_JSON_KEY) {
            snprintf(where + at, room, "%s%.*s", slash, (int)t.size, t.text);
            continue;
        }
        if (in_array[depth]) snprintf(where + at, room, "%s%d", slash, index[depth]++);
        if (t.kind == WT_JSON_OBJECT || t.kind == WT_JSON_ARRAY) {
            depth++;
            end[depth] = strlen(where);
            in_array[depth] = t.kind == WT_JSON_ARRAY;
            index[depth] = 0;
        } else {
            see(arg, where, &t);
        }
    }
    free(text);
}

/* ---- networks ---- */

cam_net *t_net(const char *name, const char *weights)
{
    cam_net *net;
    cam_error e;
    CHECK_OK(cam_net_open(name, weights ? weights : "seeded", &net, &e), e);
    return net;
}

cam_ctx *t_ctx(const cam_net *net, int threads)
{
    cam_ctx *ctx;
    cam_error e;
    CHECK_OK(cam_ctx_new(net, &(cam_options){.size = sizeof(cam_options), .threads = threads}, &ctx, &e), e);
    return ctx;
}

cam_request t_request(const char *method, const char *utility, const char *layer, int cls)
{
    return (cam_request){.size = sizeof(cam_request), .method = method, .utility = utility, .layer = layer, .cls = cls};
}

cam_input t_images(uint64_t first, int n, int height, int width)
{
    size_t floats = 3 * (size_t)height * (size_t)width;
    float *nchw = malloc((size_t)n * floats * sizeof *nchw);
    en_error e;
    for (int i = 0; i < n; i++) CHECK_OK(wt_seeded_image(first + (uint64_t)i, height, width, nchw + (size_t)i * floats, &e), e);
    return (cam_input){nchw, n, height, width};
}

t_bench t_open_bench(const char *net, int n, int height, int width)
{
    t_bench b = {.net = t_net(net, NULL), .in = t_images(1, n, height, width)};
    b.ctx = t_ctx(b.net, 1);
    return b;
}

void t_close_bench(t_bench *b)
{
    free((float *)(uintptr_t)b->in.nchw);
    cam_ctx_free(b->ctx);
    cam_net_close(b->net);
}

void t_explain(cam_ctx *ctx, cam_input in, const cam_request *requests, int count, cam_result *results)
{
    cam_error e;
    CHECK_OK(cam_explain(ctx, in, requests, count, results, &e), e);
}

uint64_t t_hash(uint64_t hash, const void *bytes, size_t size)
{
    const uint8_t *b = bytes;
    for (size_t i = 0; i < size; i++) hash = (hash ^ b[i]) * 0x100000001B3u;
    return hash;
}

/* ---- formulas ---- */

enum { GRADCAM, PLUS_PLUS, XGRADCAM, HIRESCAM, ELEMENTWISE, LAYERCAM, FORMULAS };

static double positive(double x) { return x > 0 ? x : 0; }

/* The weight of channel k for the methods that have one, from A and Q = G - HA/2 (or G); n positions. */
static double channel_weight(int formula, const float *a, const double *q, size_t n)
{
    double sum = 0, weight = 0;
    for (size_t s = 0; s < n; s++) sum += (double)a[s];
    for (size_t s = 0; s < n; s++) {
        double x = q[s];
        if (formula == GRADCAM) weight += x / (double)n;
        if (formula == XGRADCAM) weight += x * (double)a[s] / (sum + 1e-7);
        if (formula == PLUS_PLUS && x != 0) weight += positive(x) * (x * x) / (2 * (x * x) + sum * (x * x * x) + 1e-6);
    }
    return weight;
}

int t_formula(const char *method, const cam_site *c, double *map, double *terms)
{
    static const struct {
        const char *name;
        int formula, second_order;
    } rows[] = {
        {"gradcam", GRADCAM, 0},          {"gradcam++", PLUS_PLUS, 0},   {"xgradcam", XGRADCAM, 0},  {"hirescam", HIRESCAM, 0},
        {"gradcam-e", ELEMENTWISE, 0},    {"layercam", LAYERCAM, 0},     {"shapleycam", GRADCAM, 1}, {"shapleycam-h", HIRESCAM, 1},
        {"shapleycam-e", ELEMENTWISE, 1}, {"shapleycam-x", XGRADCAM, 1}, {NULL, FORMULAS, 0}};
    int row = 0;
    while (rows[row].name && strcmp(rows[row].name, method)) row++;
    if (!rows[row].name) return 0;
    int formula = rows[row].formula;
    double *q = malloc(c->positions * sizeof *q);
    for (size_t s = 0; s < c->positions; s++) map[s] = terms[s] = 0;
    for (size_t k = 0; k < c->channels; k++) {
        const float *a = c->a + k * c->positions;
        for (size_t s = 0; s < c->positions; s++)
            q[s] = (double)c->g[k * c->positions + s] - (rows[row].second_order ? 0.5 * (double)c->h[k * c->positions + s] : 0);
        double weight = channel_weight(formula, a, q, c->positions);
        for (size_t s = 0; s < c->positions; s++) {
            double x = (double)a[s];
            double term = formula == HIRESCAM      ? q[s] * x
                          : formula == ELEMENTWISE ? positive(q[s] * x)
                          : formula == LAYERCAM    ? positive(q[s]) * x
                                                   : weight * x;
            map[s] += term;
            terms[s] += fabs(term);
        }
    }
    free(q);
    return 1;
}

double *t_doubles(const float *x, size_t n)
{
    double *out = malloc(n * sizeof *out);
    for (size_t i = 0; i < n; i++) out[i] = (double)x[i];
    return out;
}

double t_norm(const float *x, size_t n) { return sqrt(t_dot(x, x, n)); }

double t_dot(const float *x, const float *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)y[i];
    return sum;
}
