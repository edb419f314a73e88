/* SPDX-License-Identifier: MIT */
/* Methods of other kinds than one layer's products: layers joined, variants of the input, factorisations, the whole network; and the checks of
 * H A. Numbers against double precision are in test_golden_methods.c; here stand laws. */
#include "tests/cam/golden.h"

#include "cam/final.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SIDE = 64, PIXELS = SIDE * SIDE };

/* ---- batches ---- */

/* All methods, for two images of a batch and for each alone, have the same bits. */
TEST(every_method_gives_each_image_of_a_batch_the_map_it_has_alone)
{
    t_bench b = t_open_bench("resnet18", 2, SIDE, SIDE), alone = t_open_bench("resnet18", 2, SIDE, SIDE);
    cam_request want[40];
    cam_result got[80], single[40];
    int count = 0;
    for (const char *name; (name = cam_list("methods", count)); count++) want[count] = t_request(name, "rest", count % 3 ? "conv" : "layer3+pre_pool", -2);
    want[count] = t_request("shapleycam", "rest", "pre_pool", CAM_TOP1);
    want[count++].flags = CAM_AUG_SMOOTH;
    t_explain(b.ctx, b.in, want, count, got);
    for (int n = 0; n < 2; n++) {
        t_explain(alone.ctx, (cam_input){alone.in.nchw + 3 * n * PIXELS, 1, SIDE, SIDE}, want, count, single);
        for (int i = 0; i < count; i++) {
            const cam_result *r = &got[n * count + i];
            CHECK_MSG(r->cls == single[i].cls && r->height == single[i].height && r->width == single[i].width, "%s", want[i].method);
            CHECK_MSG(!memcmp(cam_raw_map(b.ctx, n, i), cam_raw_map(alone.ctx, 0, i), (size_t)(r->height * r->width) * sizeof(double)) &&
                          !memcmp(cam_map(b.ctx, n, i), cam_map(alone.ctx, 0, i), PIXELS * sizeof(float)),
                      "%s of image %d", want[i].method, n);
        }
    }
    t_close_bench(&b);
    t_close_bench(&alone);
}

/* ---- layers joined ---- */

/* The mean over layers of what each would be after the first two steps, scaled anew; refinecam: the product of the final maps. */
TEST(layers_joined_are_the_mean_of_scaled_maps_and_refinecam_their_product)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, SIDE, SIDE);
    cam_request want[] = {t_request("shapleycam", "rest", "pre_pool", 7), t_request("shapleycam", "rest", "features.10", 7),
                          t_request("shapleycam", "rest", "pre_pool+features.10", 7), t_request("gradcam++", "rest", "pre_pool", 7),
                          t_request("gradcam++", "rest", "features.10", 7), t_request("refinecam", "rest", "pre_pool+features.10", 7)};
    cam_result got[6];
    double scaled[2][PIXELS], mean[PIXELS], product[PIXELS];
    en_error e;
    t_explain(b.ctx, b.in, want, 6, got);
    for (int l = 0; l < 2; l++) {
        double small[16];
        CHECK(got[l].height * got[l].width <= 16);
        memcpy(small, cam_raw_map(b.ctx, 0, l), (size_t)(got[l].height * got[l].width) * sizeof *small);
        cam_normalise(small, (size_t)(got[l].height * got[l].width));
        CHECK_OK(cam_resize(small, got[l].height, got[l].width, scaled[l], SIDE, SIDE, &e), e);
    }
    for (int i = 0; i < PIXELS; i++) {
        mean[i] = (scaled[0][i] + scaled[1][i]) / 2;
        product[i] = (double)cam_map(b.ctx, 0, 3)[i] * (double)cam_map(b.ctx, 0, 4)[i];
        CHECK_MSG(fabs(cam_raw_map(b.ctx, 0, 2)[i] - mean[i]) <= 1e-12, "mean at %d", i);
        CHECK_MSG(fabs(cam_raw_map(b.ctx, 0, 5)[i] - product[i]) <= 1e-6, "product at %d", i);
    }
    cam_normalise(mean, PIXELS);
    for (int i = 0; i < PIXELS; i++) CHECK(fabs((double)cam_map(b.ctx, 0, 2)[i] - mean[i]) <= 1e-7);
    CHECK(got[2].height == SIDE && got[2].width == SIDE && got[2].hvp_ratio > 0 && !got[2].same_as && got[0].hvp_ratio != got[1].hvp_ratio);
    double least = fmin(got[0].hvp_ratio, got[1].hvp_ratio), most = fmax(got[0].hvp_ratio, got[1].hvp_ratio);
    CHECK(got[2].hvp_ratio >= least && got[2].hvp_ratio <= most);
    t_close_bench(&b);
}

TEST(what_holds_by_construction_for_all_joined_layers_is_said_of_them)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, SIDE, SIDE);
    cam_request want[] = {t_request("shapleycam", "logit", "pre_pool+conv", CAM_TOP1), t_request("hirescam", "rest", "pre_pool+conv", CAM_TOP1),
                          t_request("hirescam", "rest", "pre_pool+features.18", CAM_TOP1), t_request("shapleycam", "contrast", "pre_pool", CAM_TOP1)};
    cam_result got[4];
    t_explain(b.ctx, b.in, want, 4, got);
    CHECK(got[0].same_as && !strcmp(got[0].same_as, "gradcam") && got[0].hvp_zero);
    CHECK(!got[1].same_as && !got[1].because && !got[1].hvp_zero); /* flat at one of the two */
    CHECK(got[2].same_as && !strcmp(got[2].same_as, "gradcam") && !got[2].hvp_zero);
    CHECK(got[3].hvp_zero && got[3].hvp_ratio == 0);
    t_close_bench(&b);
}

/* ---- variants ---- */

/* For six variants done by hand. */
TEST(augmented_maps_are_the_mean_of_six_and_keep_the_class)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, SIDE, SIDE), hand = t_open_bench("mobilenet_v2", 1, SIDE, SIDE);
    cam_request want = t_request("gradcam", "rest", "features.10", CAM_TOP1);
    cam_result got, one;
    static const double factor[3] = {0.9, 1, 1.1};
    double mean[PIXELS] = {0};
    float *x = malloc(3 * PIXELS * sizeof *x);
    want.flags = CAM_AUG_SMOOTH;
    t_explain(b.ctx, b.in, &want, 1, &got);
    want.flags = 0;
    want.cls = got.cls;
    for (int v = 0; v < 6; v++) {
        for (int i = 0; i < 3 * PIXELS; i++) {
            int row = i / SIDE, column = i % SIDE;
            x[i] = (float)factor[v % 3] * b.in.nchw[row * SIDE + (v < 3 ? column : SIDE - 1 - column)];
        }
        t_explain(hand.ctx, (cam_input){x, 1, SIDE, SIDE}, &want, 1, &one);
        for (int i = 0; i < PIXELS; i++) mean[i] += (double)cam_map(hand.ctx, 0, 0)[i / SIDE * SIDE + (v < 3 ? i % SIDE : SIDE - 1 - i % SIDE)] / 6;
    }
    for (int i = 0; i < PIXELS; i++) CHECK_MSG(fabs((double)cam_map(b.ctx, 0, 0)[i] - mean[i]) <= 1e-6, "pixel %d", i);
    CHECK(got.status == CAM_STATUS_OK && got.hvp_ratio == -1 && !cam_gradient(b.ctx, 0, 0));
    free(x);
    t_close_bench(&b);
    t_close_bench(&hand);
}

TEST(sess_takes_inputs_that_are_not_square)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 48, 80);
    cam_request want = t_request("sess", "rest", "pre_pool", CAM_TOP1);
    cam_result got;
    t_explain(b.ctx, b.in, &want, 1, &got);
    double most = 0;
    for (int i = 0; i < 48 * 80; i++) most = fmax(most, (double)cam_map(b.ctx, 0, 0)[i]);
    CHECK(got.height == 48 && got.width == 80 && got.status == CAM_STATUS_OK && most > 0.99);
    t_close_bench(&b);
}

/* ---- the whole network ---- */

/* mobilenet_v2 has relu6 only, which keeps its own gradient. */
TEST(guided_backpropagation_is_the_plain_gradient_where_there_is_no_relu)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, SIDE, SIDE), r = t_open_bench("resnet18", 1, SIDE, SIDE);
    cam_request want[] = {t_request("guidedbackprop", "logit", "conv", 7), t_request("hirescam", "logit", "input", 7)};
    cam_result got[2];
    t_explain(b.ctx, b.in, want, 2, got);
    CHECK(!memcmp(cam_gradient(b.ctx, 0, 0), cam_gradient(b.ctx, 0, 1), 3 * PIXELS * sizeof(float)));
    const float *g = cam_gradient(b.ctx, 0, 0);
    for (int i = 0; i < PIXELS; i++)
        CHECK(cam_raw_map(b.ctx, 0, 0)[i] == fmax(fmax(fabs((double)g[i]), fabs((double)g[PIXELS + i])), fabs((double)g[2 * PIXELS + i])));
    t_explain(r.ctx, r.in, want, 2, got);
    CHECK(memcmp(cam_gradient(r.ctx, 0, 0), cam_gradient(r.ctx, 0, 1), 3 * PIXELS * sizeof(float)));
    CHECK(got[0].height == SIDE && !strcmp(cam_list("methods", 0), "gradcam"));
    t_close_bench(&b);
    t_close_bench(&r);
}

/* ---- contrast ---- */

TEST(contrast_with_a_rival_is_the_difference_of_two_logits)
{
    t_bench b = t_open_bench("resnet18", 1, SIDE, SIDE);
    cam_request want[] = {t_request("hirescam", "logit", "conv", 7), t_request("hirescam", "logit", "conv", 9), t_request("hirescam", "contrast", "conv", 7),
                          t_request("hirescam", "contrast", "conv", 7), t_request("hirescam", "contrast", "conv", CAM_TOP1)};
    cam_result got[5];
    want[2].flags = CAM_AGAINST, want[2].rival = 9;
    want[3].flags = CAM_AGAINST, want[3].rival = CAM_TOP1;
    t_explain(b.ctx, b.in, want, 5, got);
    const float *o = cam_logits(b.ctx, 0);
    int32_t top[2];
    cam_top(o, 1000, 2, top);
    CHECK(got[2].utility == (double)o[7] - (double)o[9] && got[3].utility == (double)o[7] - (double)o[top[0]]);
    CHECK(got[4].utility == (double)o[top[0]] - (double)o[top[1]]); /* without a rival, the strongest other class */
    for (int i = 0; i < got[0].height * got[0].width; i++) {
        double want_here = cam_raw_map(b.ctx, 0, 0)[i] - cam_raw_map(b.ctx, 0, 1)[i];
        CHECK(fabs(cam_raw_map(b.ctx, 0, 2)[i] - want_here) <= 2e-6 * (fabs(cam_raw_map(b.ctx, 0, 0)[i]) + fabs(cam_raw_map(b.ctx, 0, 1)[i]) + 1));
    }
    cam_shapley_request game = {.size = sizeof game, .layer = "conv", .utility = "contrast", .cls = 7, .flags = CAM_AGAINST, .rival = 9};
    double values[4];
    cam_shapley_result r = {.size = sizeof r, .room = 4, .values = values};
    cam_error e;
    CHECK_OK(cam_shapley(b.ctx, 0, &game, &r, &e), e);
    CHECK(r.exact && fabs(r.full - got[2].utility) <= 1e-4 && fabs(values[0] + values[1] + values[2] + values[3] - (r.full - r.empty)) <= 1e-9);
    t_close_bench(&b);
}

/* ---- H A found in other ways ---- */

static cam_hvp_check checked(const char *net, const char *layer, const char *utility, int height)
{
    t_bench b = t_open_bench(net, 1, height, height);
    cam_request want = t_request("shapleycam-h", utility, layer, CAM_TOP1);
    cam_result got;
    cam_error e;
    cam_hvp_check h = {.size = sizeof h};
    t_explain(b.ctx, b.in, &want, 1, &got);
    CHECK_OK(cam_check_hvp(b.ctx, 0, 0, &h, &e), e);
    fprintf(stderr, "  %s at %s, %s: |HA| %.3g, differences %.1e, closed form %.1e\n", net, layer, utility, h.norm, h.differences, h.closed_form);
    t_close_bench(&b);
    return h;
}

TEST(products_agree_with_differences_and_with_the_closed_form)
{
    static const char *const nets[] = {"mobilenet_v2", "resnet18", "efficientnet_b0"}, *const utilities[] = {"rest", "softmax", "finer"};
    for (int i = 0; i < 3; i++)
        for (int u = 0; u < 3; u++) {
            cam_hvp_check h = checked(nets[i], "pre_pool", utilities[u], SIDE);
            CHECK(h.norm > 0 && h.differences < 1e-3 && h.closed_form >= 0 && h.closed_form < 1e-5);
        }
    cam_hvp_check conv = checked("efficientnet_b0", "conv", "rest", SIDE), swin = checked("swin_tiny", "conv", "rest", 224);
    CHECK(conv.norm > 0 && conv.closed_form == -1 && conv.differences < 1e-3); /* SiLU bends: no closed form */
    CHECK(swin.norm > 0 && swin.closed_form == -1 && swin.differences < 1e-3);
    cam_hvp_check flat = checked("resnet18", "pre_pool", "logit", SIDE);
    CHECK(flat.norm == 0 && flat.closed_form < 1e-6 && flat.differences < 1e-5);
}

/* ---- factorisation ---- */

TEST(more_concepts_explain_more_of_an_activation)
{
    t_bench b = t_open_bench("resnet18", 1, 128, 160);
    cam_request want = t_request("dff", "rest", "pre_pool", CAM_TOP1);
    cam_result got;
    cam_error e;
    double before = INFINITY;
    t_explain(b.ctx, b.in, &want, 1, &got);
    CHECK(got.height == 4 && got.width == 5 && got.status == CAM_STATUS_OK);
    for (int count = 1; count <= 8; count++) {
        double maps[8 * 20];
        float vectors[8 * 512];
        int32_t cls[8];
        cam_factors f = {.size = sizeof f, .count = count, .maps = maps, .vectors = vectors, .cls = cls};
        CHECK_OK(cam_factorise(b.ctx, 0, 0, &f, &e), e);
        CHECK(f.error < before && f.error < f.norm && f.height == 4 && f.width == 5 && f.channels == 512 && f.iterations > 0);
        for (int i = 0; i < count * 20; i++) CHECK(maps[i] >= 0);
        for (int i = 0; i < count; i++) CHECK(cls[i] >= 0 && cls[i] < 1000);
        before = f.error;
        if (count != 5) continue; /* the method shows one of five */
        int found = 0;
        for (int t = 0; t < 5; t++) found += !memcmp(maps + 20 * t, cam_raw_map(b.ctx, 0, 0), 20 * sizeof *maps);
        CHECK(found == 1);
    }
    t_close_bench(&b);
}

/* ---- what is refused ---- */

TEST(other_kinds_refuse_what_cannot_be)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, SIDE, SIDE);
    cam_error e;
    cam_result got[2];
    cam_request want = t_request("gradcam", "rest", "pre_pool+features.99", CAM_TOP1);
    CAM_FAILS(cam_explain(b.ctx, b.in, &want, 1, got, &e), e, CAM_E_ARG, "features.99");
    want.layer = "pre_pool+";
    CAM_FAILS(cam_explain(b.ctx, b.in, &want, 1, got, &e), e, CAM_E_ARG, "no layer ''");
    want.layer = "features.1+features.2+features.3+features.4+features.5+features.6+features.7+features.8+features.9";
    CAM_FAILS(cam_explain(b.ctx, b.in, &want, 1, got, &e), e, CAM_E_LIMIT, "more than 8");
    want = t_request("gradcam", "contrast", "pre_pool", 7);
    want.flags = CAM_AGAINST, want.rival = 1000;
    CAM_FAILS(cam_explain(b.ctx, b.in, &want, 1, got, &e), e, CAM_E_ARG, "class 1000");
    cam_request pair[] = {t_request("gradcam", "rest", "pre_pool+conv", 7), t_request("eigencam", "rest", "pre_pool", 7)};
    t_explain(b.ctx, b.in, pair, 2, got);
    cam_hvp_check h = {.size = sizeof h};
    CAM_FAILS(cam_check_hvp(b.ctx, 0, 0, &h, &e), e, CAM_E_ARG, "Hessian-vector");
    h.size = 4;
    CAM_FAILS(cam_check_hvp(b.ctx, 0, 0, &h, &e), e, CAM_E_ARG, "size");
    cam_factors f = {.size = sizeof f, .count = 33};
    CAM_FAILS(cam_factorise(b.ctx, 0, 0, &f, &e), e, CAM_E_ARG, "33 concepts");
    f.count = 5;
    CAM_FAILS(cam_factorise(b.ctx, 0, 2, &f, &e), e, CAM_E_ARG, "request 2");
    f.size = 4;
    CAM_FAILS(cam_factorise(b.ctx, 0, 0, &f, &e), e, CAM_E_ARG, "size");
    cam_agreement a;
    double values[4];
    int32_t regions[4];
    cam_shapley_request game = {.size = sizeof game, .layer = "pre_pool", .utility = "rest", .cls = 7};
    cam_shapley_result r = {.size = sizeof r, .room = 4, .values = values, .regions = regions};
    CHECK_OK(cam_shapley(b.ctx, 0, &game, &r, &e), e);
    CAM_FAILS(cam_shapley_agreement(b.ctx, 0, 0, &r, &a, &e), e, CAM_E_ARG, "64 x 64");
    float v[4];
    CAM_FAILS(cam_hvp(b.ctx, 0, v, v, &e), e, CAM_E_ARG, "second order");
    t_close_bench(&b);
}

/* ---- out of memory ---- */

TEST(other_kinds_survive_that_any_allocation_fails)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 32, 32);
    cam_request want[] = {t_request("fullgrad", "rest", "conv", 7), t_request("guidedbackprop", "rest", "conv", 7), t_request("dff", "rest", "conv", 7),
                          t_request("refinecam", "rest", "conv+pre_pool", 7), t_request("shapleycam", "rest", "pre_pool", 7)};
    cam_result got[5];
    cam_error e;
    want[4].flags = CAM_AUG_SMOOTH;
    for (long n = 1;; n += n < 60 ? 1 : 7) {
        e = (cam_error){0};
        t_fail_allocation(n, 0);
        cam_status status = cam_explain(b.ctx, b.in, want, 5, got, &e);
        t_fail_allocation(0, 0);
        if (status == CAM_OK) break;
        CHECK_MSG(status == CAM_E_NOMEM && *e.text, "allocation %ld: %s", n, e.text);
    }
    cam_factors f = {.size = sizeof f, .count = 3, .cls = (int32_t[3]){0}};
    cam_request shapley = t_request("shapleycam-h", "rest", "pre_pool", 7);
    t_explain(b.ctx, b.in, &shapley, 1, got);
    for (int what = 0; what < 2; what++)
        for (long n = 1;; n++) {
            cam_hvp_check h = {.size = sizeof h};
            e = (cam_error){0};
            t_fail_allocation(n, 0);
            cam_status status = what ? cam_check_hvp(b.ctx, 0, 0, &h, &e) : cam_factorise(b.ctx, 0, 0, &f, &e);
            t_fail_allocation(0, 0);
            if (status == CAM_OK) break;
            CHECK_MSG(status == CAM_E_NOMEM && *e.text, "allocation %ld: %s", n, e.text);
        }
    t_close_bench(&b);
}
