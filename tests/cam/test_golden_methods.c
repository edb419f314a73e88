/* SPDX-License-Identifier: MIT */
/* The methods beyond gradients, against golden/methods: raw maps of principal components, kernel PCA, FEM, ScoreCAM, AblationCAM, FinerCAM, and of
 * eigen smoothing, in double precision. Those files are too large for the checkout. */
#include "tests/cam/golden.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 128, IMAGE = 224 };

/* One golden map, and the request that should give it. */
typedef struct entry {
    char name[96], layer[16], utility[16], method[24];
    int turns; /* the rule that fixes its sign is within rounding, so both signs are right */
    cam_request request;
} entry;

/* Reads LAYER/cam/METHOD, LAYER/UTILITY/CLASS/cam/METHOD and LAYER/UTILITY/CLASS/eigen_smooth/METHOD. */
static int parse(const char *net, const char *name, entry *e)
{
    char what[16], rest[2];
    int cls = CAM_TOP1;
    if (strlen(name) >= sizeof e->name) return 0;
    *e = (entry){.utility = "rest"};
    if (sscanf(name, "%15[^/]/cam/%23[^/.]%1s", e->layer, e->method, rest) != 2 &&
        sscanf(name, "%15[^/]/%15[^/]/%d/%15[^/]/%23[^/.]%1s", e->layer, e->utility, &cls, what, e->method, rest) != 5)
        return 0;
    int smooth = strstr(name, "/eigen_smooth/") != NULL;
    if (!smooth && !strstr(name, "/cam/")) return 0;
    if (!cam_method_find(e->method)) return 0; /* ablationcam-library and others that are not ours */
    snprintf(e->name, sizeof e->name, "%s", name);
    e->turns = !strcmp(net, "mobilenet_v2") && !strcmp(name, "conv/rest/281/eigen_smooth/gradcam");
    e->request = t_request(e->method, e->utility, e->layer, cls);
    e->request.flags = smooth ? CAM_EIGEN_SMOOTH : 0;
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

/* The entries of a network's file: ScoreCAM, which takes seconds for each, or all others. */
static void check(const char *net, const char *only, int at_least)
{
    char path[64];
    static entry entries[MOST];
    static cam_request requests[MOST];
    static cam_result results[MOST];
    t_golden g;
    int count = 0;
    double worst = 0;
    snprintf(path, sizeof path, "golden/methods/%s.safetensors", net);
    t_golden_open(t_shared(path), &g);
    for (size_t i = 0; i < wt_count(g.store) && count < MOST; i++)
        if (parse(net, wt_at(g.store, i)->name, &entries[count]) && (only ? !strcmp(entries[count].name, only) : !!strcmp(entries[count].method, "scorecam"))) count++;
    CHECK_MSG(count >= at_least, "%d entries, want %d", count, at_least);
    cam_net *n = t_net(net, NULL);
    cam_ctx *ctx = t_ctx(n, 0);
    cam_input in = t_images(g.image_seed, 1, IMAGE, IMAGE);
    for (int i = 0; i < count; i++) {
        requests[i] = entries[i].request;
        requests[i].seed = g.image_seed;
    }
    t_explain(ctx, in, requests, count, results);
    for (int i = 0; i < count; i++) {
        double ratio = ratio_of(&g, &entries[i], cam_raw_map(ctx, 0, i), (size_t)results[i].height * (size_t)results[i].width);
        CHECK_MSG(ratio <= 1, "%s: %s: error is %g of what is allowed", net, entries[i].name, ratio);
        worst = ratio > worst ? ratio : worst;
    }
    fprintf(stderr, "  %s: %d entries, error / bound at worst %.3f\n", net, count, worst);
    free((float *)(uintptr_t)in.nchw);
    cam_ctx_free(ctx);
    cam_net_close(n);
    t_golden_close(&g);
}

TEST(other_methods_on_resnet18_are_what_double_precision_gives) { check("resnet18", NULL, 40); }
TEST(other_methods_on_mobilenet_v2_are_what_double_precision_gives) { check("mobilenet_v2", NULL, 36); }
TEST(other_methods_on_vgg16_are_what_double_precision_gives) { check("vgg16", NULL, 30); }
TEST(other_methods_on_swin_tiny_are_what_double_precision_gives) { check("swin_tiny", NULL, 30); }
TEST(scorecam_on_resnet18_is_what_double_precision_gives) { check("resnet18", "conv/rest/281/cam/scorecam", 1); }
