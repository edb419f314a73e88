/* SPDX-License-Identifier: MIT */
/* Every number of the golden files: logits, activations, gradients, Hessian-vector products, values and raw maps of each network
 * with seeded weights, at both layers of the paper, for all utilities and two classes. One cam_explain asks for all of it; what else
 * must hold of these numbers is looked at here too, since the large networks cost seconds. */
#include "tests/cam/golden.h"

#include "weights/seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const layers[] = {"pre_pool", "conv"};
static const char *const utilities[] = {"logit", "softmax", "logsoftmax", "rest"};
static const char *const methods[] = {"gradcam",  "gradcam++",  "xgradcam",     "hirescam",     "gradcam-e",
                                      "layercam", "shapleycam", "shapleycam-h", "shapleycam-e", "shapleycam-x"};
enum { LAYERS = 2, UTILITIES = 4, CLASSES = 2, METHODS = 10, PLACES = LAYERS * UTILITIES * CLASSES, REQUESTS = PLACES * METHODS };

typedef struct run {
    cam_net *net;
    cam_ctx *ctx;
    cam_input input;
    uint64_t image_seed;
    int channels_last; /* the directions of the golden files are drawn in PyTorch's order: transformers have [tokens,C]        */
    size_t token;      /* 1: in front of the positions is a class token, which has no part in maps, gradients and golden files */
    char names[PLACES][48]; /* "pre_pool/logit/899", request METHODS * i is its first */
    cam_result results[REQUESTS];
    float *products[PLACES]; /* hvp_vector, with the class token */
} run;

static size_t channels_at(const run *r, int place, size_t *positions)
{
    int32_t chw[3];
    cam_activation(r->ctx, 0, METHODS * place, chw);
    *positions = (size_t)chw[1] * (size_t)chw[2];
    return (size_t)chw[0];
}

/* Values of the stream KIND/LAYER as cam_hvp takes them, and how many. */
static float *direction(const run *r, int place, const char *kind, size_t *count)
{
    char stream[32];
    size_t positions, channels = channels_at(r, place, &positions);
    positions += r->token;
    *count = channels * positions;
    float *v = malloc(*count * sizeof *v);
    snprintf(stream, sizeof stream, "%s/%.*s", kind, (int)strcspn(r->names[place], "/"), r->names[place]);
    uint64_t h = wt_seeded_stream(stream, r->image_seed);
    for (size_t i = 0; i < *count; i++) v[r->channels_last ? i % channels * positions + i / channels : i] = (float)wt_uniform(h, i);
    return v;
}

static float *product(const run *r, int place, const float *v, size_t count)
{
    float *out = malloc(count * sizeof *out);
    cam_error e;
    CHECK_OK(cam_hvp(r->ctx, METHODS * place, v, out, &e), e);
    return out;
}

static void explain_all(const char *net, const t_golden *g, run *r)
{
    cam_request requests[REQUESTS];
    int count = 0, place = 0;
    for (int l = 0; l < LAYERS; l++)
        for (int u = 0; u < UTILITIES; u++)
            for (int c = 0; c < CLASSES; c++, place++) {
                snprintf(r->names[place], sizeof r->names[0], "%s/%s/%d", layers[l], utilities[u], g->classes[c]);
                for (int m = 0; m < METHODS; m++)
                    requests[count++] = t_request(methods[m], utilities[u], layers[l], c ? g->classes[c] : CAM_TOP1);
            }
    r->image_seed = g->image_seed;
    r->token = !strcmp(net, "deit_base");
    r->channels_last = r->token || !strncmp(net, "swin", 4);
    r->net = t_net(net, NULL);
    r->ctx = t_ctx(r->net, 0);
    r->input = t_images(g->image_seed, 1, 224, 224);
    t_explain(r->ctx, r->input, requests, REQUESTS, r->results);
    CHECK_MSG(r->results[0].cls == g->classes[0], "best class %d, want %d", r->results[0].cls, g->classes[0]);
    for (place = 0; place < PLACES; place++) {
        size_t n;
        float *v = direction(r, place, "vector", &n);
        r->products[place] = product(r, place, v, n);
        free(v);
    }
}

static void free_run(run *r)
{
    for (int i = 0; i < PLACES; i++) free(r->products[i]);
    free((float *)(uintptr_t)r->input.nchw);
    cam_ctx_free(r->ctx);
    cam_net_close(r->net);
}

/* The worst ratio of error and bound of one kind of entry. */
typedef struct worst {
    double ratio;
    char name[64];
} worst;

static void compare(const t_golden *g, const char *name, const double *x, size_t n, worst *w, int *compared)
{
    double ratio = t_golden_ratio(g, name, x, n);
    CHECK_MSG(ratio <= 1, "%s: %s: error is %g of what is allowed", wt_path(g->store), name, ratio);
    if (ratio >= w->ratio) {
        w->ratio = ratio;
        snprintf(w->name, sizeof w->name, "%s", name);
    }
    ++*compared;
}

static void compare_floats(const t_golden *g, const char *name, const float *x, size_t n, worst *w, int *compared)
{
    CHECK_MSG(x, "%s is missing", name);
    double *copy = t_doubles(x, n);
    compare(g, name, copy, n, w, compared);
    free(copy);
}

enum { LOGITS, ACTIVATION, GRADIENT, PRODUCT, VALUE, MAP, KINDS };

static void compare_place(const run *r, const t_golden *g, int place, worst w[KINDS], int *compared)
{
    char name[96];
    int first = METHODS * place;
    size_t positions, channels = channels_at(r, place, &positions), n = channels * positions;
    const char *at = r->names[place];
    compare_floats(g, (snprintf(name, sizeof name, "%s/gradient", at), name), cam_gradient(r->ctx, 0, first), n, &w[GRADIENT],
                   compared);
    compare_floats(g, (snprintf(name, sizeof name, "%s/hvp_activation", at), name), cam_hvp_activation(r->ctx, 0, first), n,
                   &w[PRODUCT], compared);
    double *kept = malloc(n * sizeof *kept);
    for (size_t i = 0; i < n; i++) kept[i] = (double)r->products[place][i + (i / positions + 1) * r->token];
    compare(g, (snprintf(name, sizeof name, "%s/hvp_vector", at), name), kept, n, &w[PRODUCT], compared);
    free(kept);
    compare(g, (snprintf(name, sizeof name, "%s/value", at), name), &r->results[first].utility, 1, &w[VALUE], compared);
    for (int m = 0; m < METHODS; m++) {
        const cam_result *result = &r->results[first + m];
        snprintf(name, sizeof name, "%s/cam/%s", at, methods[m]);
        compare(g, name, cam_raw_map(r->ctx, 0, first + m), (size_t)result->height * (size_t)result->width, &w[MAP], compared);
    }
}

/* How many quantities the file has: each has its f32err. */
static int entries(const t_golden *g)
{
    int count = 0;
    for (size_t i = 0; i < wt_count(g->store); i++) count += strstr(wt_at(g->store, i)->name, ".f32err") != NULL;
    return count;
}

static void compare_all(const run *r, const t_golden *g)
{
    static const char *const kinds[KINDS] = {"logits", "activation", "gradient", "product", "value", "map"};
    worst w[KINDS] = {{0}};
    int compared = 0;
    compare_floats(g, "logits", cam_logits(r->ctx, 0), 1000, &w[LOGITS], &compared);
    for (int l = 0; l < LAYERS; l++) {
        char name[64];
        int place = l * PLACES / LAYERS;
        size_t positions, channels = channels_at(r, place, &positions);
        snprintf(name, sizeof name, "%s/activation", layers[l]);
        compare_floats(g, name, cam_activation(r->ctx, 0, METHODS * place, NULL), channels * positions, &w[ACTIVATION], &compared);
    }
    for (int place = 0; place < PLACES; place++) compare_place(r, g, place, w, &compared);
    CHECK_MSG(compared == entries(g), "%s: compared %d of %d entries", wt_path(g->store), compared, entries(g));
    fprintf(stderr, "  %s: %d entries, error / bound at worst:\n", wt_path(g->store), compared);
    for (int k = 0; k < KINDS; k++) fprintf(stderr, "    %-10s  %.3f  %s\n", kinds[k], w[k].ratio, w[k].name);
}

/* Maps are what the formulas give on the engine's own A, G and HA; this holds where channel sums near 0 make the golden bound
 * loose. */
static void check_formulas(const run *r)
{
    for (int i = 0; i < REQUESTS; i++) {
        int32_t chw[3];
        cam_site site = {
            .a = cam_activation(r->ctx, 0, i, chw), .g = cam_gradient(r->ctx, 0, i), .h = cam_hvp_activation(r->ctx, 0, i)};
        site.channels = (size_t)chw[0];
        site.positions = (size_t)chw[1] * (size_t)chw[2];
        double *want = malloc(2 * site.positions * sizeof *want), *terms = want + site.positions;
        const double *got = cam_raw_map(r->ctx, 0, i);
        CHECK(t_formula(methods[i % METHODS], &site, want, terms));
        for (size_t s = 0; s < site.positions; s++)
            CHECK_MSG(fabs(got[s] - want[s]) <= 1e-6 * terms[s], "%s, %s, position %zu: %g, want %g of terms that sum to %g",
                      r->names[i / METHODS], methods[i % METHODS], s, got[s], want[s], terms[s]);
        free(want);
    }
}

/* <v, H u> = <u, H v> over the whole tail. */
static void check_symmetry(const run *r)
{
    double most = 0;
    for (int place = 0; place < PLACES; place++) {
        int is_rest = strstr(r->names[place], "/rest/") != NULL;
        if (place % CLASSES || (!is_rest && !strstr(r->names[place], "/logit/"))) continue;
        size_t n;
        float *v = direction(r, place, "vector", &n), *u = direction(r, place, "other", &n), *hu = product(r, place, u, n);
        const float *hv = r->products[place];
        double uhv = t_dot(u, hv, n), vhu = t_dot(v, hu, n), scale = t_norm(u, n) * t_norm(hv, n);
        CHECK_MSG(fabs(uhv - vhu) <= 1e-6 * scale, "%s: <u, H v> = %g, <v, H u> = %g", r->names[place], uhv, vhu);
        CHECK(scale > 0 || !is_rest);
        if (scale > 0) most = fmax(most, fabs(uhv - vhu) / scale);
        free(v);
        free(u);
        free(hu);
    }
    fprintf(stderr, "  asymmetry of the Hessian: %.1e of |u| |H v|\n", most);
}

/* Behind the last norm only the class token is read. */
static void check_that_patches_are_mute(const run *r)
{
    for (int place = 0; place < PLACES / LAYERS; place++) {
        size_t positions, channels = channels_at(r, place, &positions);
        const float *g = cam_gradient(r->ctx, 0, METHODS * place), *h = cam_hvp_activation(r->ctx, 0, METHODS * place);
        for (size_t i = 0; i < channels * positions; i++) CHECK_MSG(g[i] == 0 && h[i] == 0, "%s: %zu", r->names[place], i);
        for (int m = 0; m < METHODS; m++) CHECK(r->results[METHODS * place + m].status == CAM_STATUS_BLANK);
    }
}

static void check_network(const char *net)
{
    char path[96];
    t_golden extract, full;
    run r = {0};
    snprintf(path, sizeof path, "tests/golden/%s.safetensors", net);
    t_golden_open(path, &extract);
    explain_all(net, &extract, &r);
    compare_all(&r, &extract);
    check_formulas(&r);
    check_symmetry(&r);
    if (r.token) check_that_patches_are_mute(&r);
    t_golden_close(&extract);
    snprintf(path, sizeof path, "../shared/golden/seeded/%s.safetensors", net);
    if (!access(path, R_OK)) {
        t_golden_open(path, &full);
        compare_all(&r, &full);
        t_golden_close(&full);
    }
    free_run(&r);
}

#define GOLDEN(net)                                                                                                                \
    TEST(net##_is_what_double_precision_gives) { check_network(#net); }
#define LARGE_GOLDEN(net)                                                                                                          \
    TEST(net##_is_what_double_precision_gives)                                                                                     \
    {                                                                                                                              \
        if (T_SANITIZED) t_skip("too slow with a sanitizer");                                                                      \
        check_network(#net);                                                                                                       \
    }
GOLDEN(mobilenet_v2)
GOLDEN(efficientnet_b0)
GOLDEN(resnet18)
GOLDEN(swin_tiny)
LARGE_GOLDEN(vgg16)
LARGE_GOLDEN(resnet50)
LARGE_GOLDEN(resnet101)
LARGE_GOLDEN(resnet152)
LARGE_GOLDEN(resnext50_32x4d)
LARGE_GOLDEN(swin_small)
LARGE_GOLDEN(swin_base)
LARGE_GOLDEN(swin_large)
LARGE_GOLDEN(deit_base)
