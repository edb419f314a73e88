/* SPDX-License-Identifier: MIT */
/* The methods beyond gradients, against golden/methods in double precision: raw maps of principal components, kernel PCA, FEM, ScoreCAM, AblationCAM,
 * FinerCAM and of eigen smoothing; final maps of layers joined, refinecam, augmented ones, FullGrad and SESS; the gradient of guided
 * backpropagation; factorisations. */
#include "tests/cam/golden.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 128, IMAGE = 224 };

/* One golden array, and the request that should give it. */
typedef struct entry {
    char name[96], layer[16], utility[16], method[24];
    enum { RAW, FINAL, PIXELS } what;
    int turns; /* the rule that fixes its sign is within rounding, so both signs are right */
    cam_request request;
} entry;

/* Reads LAYER/cam/METHOD, pre_pool/map/eigencam, and LAYER/UTILITY/CLASS/KIND/METHOD. */
static int parse(const char *net, const char *name, entry *e)
{
    char kind[16] = "cam", rest[2];
    int cls = CAM_TOP1;
    if (strlen(name) >= sizeof e->name) return 0;
    *e = (entry){.utility = "rest"};
    if (sscanf(name, "%15[^/]/cam/%23[^/.]%1s", e->layer, e->method, rest) != 2 &&
        sscanf(name, "%15[^/]/map/%23[^/.]%1s", e->layer, e->method, rest) != 2 &&
        sscanf(name, "%15[^/]/%15[^/]/%d/%15[^/]/%23[^/.]%1s", e->layer, e->utility, &cls, kind, e->method, rest) != 5)
        return 0;
    if (!cam_method_find(e->method)) return 0;
    int smooth = !strcmp(kind, "eigen_smooth"), augmented = !strcmp(kind, "aug_smooth");
    e->what = strstr(name, "/gradient/") ? PIXELS : strstr(name, "/map/") || augmented ? FINAL : RAW;
    snprintf(e->name, sizeof e->name, "%s", name);
    e->turns = !strcmp(net, "mobilenet_v2") && !strcmp(name, "conv/rest/281/eigen_smooth/gradcam");
    e->request = t_request(e->method, e->utility, strcmp(e->layer, "both") ? e->layer : "pre_pool+conv", cls);
    e->request.flags = smooth ? CAM_EIGEN_SMOOTH : augmented ? CAM_AUG_SMOOTH : 0;
    return 1;
}

/* The error as a share of what is allowed, of the map or of the map turned over. */
static double ratio_of(const t_golden *g, const entry *e, const double *map, size_t n)
{
    double ratio = t_golden_ratio(g, e->name, map, n), other = ratio;
    if (e->turns) {
        double *turned = malloc(n * sizeof *turned);
        CHECK(turned);
        for (size_t i = 0; i < n; i++) turned[i] = -map[i];
        other = t_golden_ratio(g, e->name, turned, n);
        free(turned);
    }
    return other < ratio ? other : ratio;
}

/* What the request gave, in double; the caller frees. */
static double *result_of(const cam_ctx *ctx, const entry *e, int i, const cam_result *r, size_t *n)
{
    double *raw;
    *n = e->what == PIXELS ? 3 * IMAGE * IMAGE : e->what == FINAL ? IMAGE * IMAGE : (size_t)r->height * (size_t)r->width;
    if (e->what == PIXELS) return t_doubles(cam_gradient(ctx, 0, i), *n);
    if (e->what == FINAL) return t_doubles(cam_map(ctx, 0, i), *n);
    CHECK(raw = malloc(*n * sizeof *raw));
    return memcpy(raw, cam_raw_map(ctx, 0, i), *n * sizeof *raw);
}

/* Golden factorisations of a layer into five: the residual, which is what counts, and the maps, because the solver is the same. */
static void check_factors(const t_golden *g, const cam_ctx *ctx, const entry *e, int request)
{
    char name[96];
    double maps[5 * 14 * 14], *want;
    size_t n;
    cam_error error;
    cam_factors f = {.size = sizeof f, .count = 5, .maps = maps};
    CHECK_OK(cam_factorise((cam_ctx *)(uintptr_t)ctx, 0, request, &f, &error), error);
    snprintf(name, sizeof name, "%s/dff/error", e->layer);
    want = t_golden_read(g, name, &n);
    CHECK(n == 3 && f.height * f.width <= 14 * 14);
    CHECK_MSG(fabs(f.error / want[0] - 1) < 1e-3 && fabs(f.norm / want[1] - 1) < 1e-4, "%s: |X - WH| = %g of %g in %d rounds, want %g of %g in %g", name,
              f.error, f.norm, f.iterations, want[0], want[1], want[2]);
    snprintf(name, sizeof name, "%s/dff/maps", e->layer);
    CHECK_MSG(t_golden_ratio(g, name, maps, 5 * (size_t)f.height * (size_t)f.width) <= 1, "%s: maps differ", name);
    free(want);
}

/* A product of maps has its error in few places, of which the few samples of an extract may hold more than their share.
 * Methods that go through the whole network cross every kink of it, and one activation on another side of one is enough: then float32 is a
 * hundredth off, PyTorch's as well as ours. */
static int is_close(const t_golden *g, const entry *e, const double *got, double ratio)
{
    size_t n, m;
    double off = 0, norm = 0;
    if (g->thin > 1 && !strcmp(e->method, "refinecam")) return ratio <= 1.5;
    if (ratio <= 1 || strcmp(e->layer, "input")) return ratio <= 1;
    double *want = t_golden_read(g, e->name, &m);
    n = (e->what == PIXELS ? 3 * IMAGE * IMAGE : IMAGE * IMAGE) / m;
    for (size_t i = 0; i < m; i++) off += (got[i * n] - want[i]) * (got[i * n] - want[i]), norm += want[i] * want[i];
    free(want);
    fprintf(stderr, "  %s: relative L2 %.1e\n", e->name, sqrt(off / norm));
    return off <= 1e-2 * 1e-2 * norm;
}

/* All entries of a file that this program has a method for. `without`: a method that would take too long, or "". */
static void check_entries(const char *net, cam_ctx *ctx, cam_input in, const t_golden *g, const char *without, int at_least)
{
    static entry entries[MOST];
    static cam_request requests[MOST];
    static cam_result results[MOST];
    int count = 0;
    double worst = 0;
    for (size_t i = 0; i < wt_count(g->store) && count < MOST; i++)
        if (parse(net, wt_at(g->store, i)->name, &entries[count])) count += strcmp(entries[count].method, without) != 0;
    CHECK_MSG(count >= at_least, "%d entries, want %d", count, at_least);
    for (int i = 0; i < count; i++) {
        requests[i] = entries[i].request;
        requests[i].seed = g->image_seed;
    }
    t_explain(ctx, in, requests, count, results);
    for (int i = 0; i < count; i++) {
        size_t size;
        double *got = result_of(ctx, &entries[i], i, &results[i], &size), ratio = ratio_of(g, &entries[i], got, size);
        CHECK_MSG(is_close(g, &entries[i], got, ratio), "%s: %s: error is %g of what is allowed", net, entries[i].name, ratio);
        worst = ratio > worst ? ratio : worst;
        if (!strcmp(entries[i].method, "fem")) check_factors(g, ctx, &entries[i], i);
        free(got);
    }
    fprintf(stderr, "  %s: %d entries, error / bound at worst %.3f\n", net, count, worst);
}

static void check(const char *net, const char *without, int at_least)
{
    t_golden g;
    t_golden_methods(net, &g);
    cam_net *n = t_net(net, NULL);
    cam_ctx *ctx = t_ctx(n, 0);
    cam_input in = t_images(g.image_seed, 1, IMAGE, IMAGE);
    check_entries(net, ctx, in, &g, without, at_least);
    free((float *)(uintptr_t)in.nchw);
    cam_ctx_free(ctx);
    cam_net_close(n);
    t_golden_close(&g);
}

/* The real network on a photograph. */
static void check_photograph(const char *stem, int at_least)
{
    char path[96];
    t_golden g;
    cam_image *photo;
    cam_error e;
    snprintf(path, sizeof path, "golden/methods/mobilenet_v2_real_%s.safetensors", stem);
    t_golden_open(t_shared(path), &g);
    g.image_seed = 1; /* of the random weights */
    cam_net *n = t_net("mobilenet_v2", t_shared("weights/mobilenet_v2_int8_dequantised.safetensors"));
    cam_ctx *ctx = t_ctx(n, 0);
    snprintf(path, sizeof path, "images/imagenet_val/%s.JPEG", stem);
    CHECK_OK(cam_image_open(n, t_shared(path), "native", &photo, &e), e);
    check_entries(stem, ctx, cam_image_input(photo), &g, "scorecam", at_least);
    cam_image_free(photo);
    cam_ctx_free(ctx);
    cam_net_close(n);
    t_golden_close(&g);
}

/* SESS around gradcam. */
static void check_sess(const char *name, cam_net *n, cam_input in, int cls)
{
    t_golden g;
    cam_result got;
    cam_ctx *ctx = t_ctx(n, 0);
    cam_request want = t_request("sess", "logit", "pre_pool", cls);
    t_golden_open(t_shared("golden/methods/sess.safetensors"), &g);
    t_explain(ctx, in, &want, 1, &got);
    double *map = t_doubles(cam_map(ctx, 0, 0), IMAGE * IMAGE), ratio = t_golden_ratio(&g, name, map, IMAGE * IMAGE);
    CHECK_MSG(ratio <= 1, "%s: error is %g of what is allowed", name, ratio);
    fprintf(stderr, "  %s: error / bound %.3f\n", name, ratio);
    free(map);
    cam_ctx_free(ctx);
    t_golden_close(&g);
}

TEST(other_methods_on_resnet18_are_what_double_precision_gives) { check("resnet18", "", 118); }
TEST(other_methods_on_mobilenet_v2_are_what_double_precision_gives) { check("mobilenet_v2", "scorecam", 102); }
TEST(other_methods_on_vgg16_are_what_double_precision_gives) { check("vgg16", "", 70); }
TEST(other_methods_on_swin_tiny_are_what_double_precision_gives) { check("swin_tiny", "", 70); }
TEST(other_methods_on_a_photograph_of_the_first_kind_are_what_double_precision_gives) { check_photograph("ILSVRC2012_val_00005745", 102); }
TEST(other_methods_on_a_photograph_of_the_second_kind_are_what_double_precision_gives) { check_photograph("ILSVRC2012_val_00035405", 102); }

TEST(sess_on_resnet18_is_what_double_precision_gives)
{
    cam_net *n = t_net("resnet18", NULL);
    cam_input in = t_images(1, 1, IMAGE, IMAGE);
    check_sess("resnet18/pre_pool/logit/485/map/sess", n, in, 485);
    free((float *)(uintptr_t)in.nchw);
    cam_net_close(n);
}

TEST(sess_on_a_photograph_is_what_double_precision_gives)
{
    cam_image *photo;
    cam_error e;
    cam_net *n = t_net("mobilenet_v2", t_shared("weights/mobilenet_v2_int8_dequantised.safetensors"));
    CHECK_OK(cam_image_open(n, t_shared("images/imagenet_val/ILSVRC2012_val_00035405.JPEG"), "native", &photo, &e), e);
    check_sess("mobilenet_v2_real_ILSVRC2012_val_00035405/pre_pool/logit/4/map/sess", n, cam_image_input(photo), 4);
    cam_image_free(photo);
    cam_net_close(n);
}
