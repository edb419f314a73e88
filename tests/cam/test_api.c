/* SPDX-License-Identifier: MIT */
/* The public interface, function by function: what it promises, and that what cannot be is refused in words and changes nothing. */
#include "tests/cam/golden.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- names and lists ---- */

TEST(lists_end_and_unknown_kinds_are_empty)
{
    static const char *const kinds[] = {"nets", "methods", "utilities"};
    for (int k = 0; k < 3; k++) {
        int n = 0;
        while (cam_list(kinds[k], n)) n++;
        CHECK(n > 1 && !cam_list(kinds[k], -1) && !cam_list(kinds[k], n + 1));
    }
    CHECK(!cam_list("colours", 0));
    CHECK(*cam_version() && *cam_build());
}

TEST(classes_are_found_and_others_are_not)
{
    int32_t index = -7;
    cam_error e;
    CHECK(!strcmp(cam_class_at(948).name, "Granny Smith") && !strcmp(cam_class_at(0).wnid, "n01440764"));
    CHECK(!*cam_class_at(-1).name && !*cam_class_at(1000).wnid);
    CHECK_OK(cam_class_find("granny smith", &index, &e), e);
    CHECK(index == 948);
    CAM_FAILS(cam_class_find("1000", &index, &e), e, CAM_E_ARG, "1000");
    CAM_FAILS(cam_class_find("unicorn", &index, &e), e, CAM_E_ARG, "unicorn");
    CHECK(cam_class_find("unicorn", &index, NULL) == CAM_E_ARG && index == 948);
}

TEST(the_best_classes_come_first_and_equal_ones_in_order)
{
    static const float logits[] = {1, 5, 3, 5, 0, 5};
    int32_t top[6] = {-1, -1, -1, -1, -1, -1};
    cam_top(logits, 6, 4, top);
    CHECK(top[0] == 1 && top[1] == 3 && top[2] == 5 && top[3] == 2 && top[4] == -1);
    cam_top(logits, 6, 6, top);
    CHECK(top[4] == 0 && top[5] == 4);
    cam_top(logits, 6, 0, NULL);
}

/* ---- networks ---- */

TEST(networks_that_cannot_be_opened_are_told)
{
    cam_error e;
    cam_net *net = (cam_net *)&e; /* anything but NULL */
    CAM_FAILS(cam_net_open("resnet19", "seeded", &net, &e), e, CAM_E_ARG, "resnet19");
    CHECK(!net);
    CAM_FAILS(cam_net_open(NULL, "seeded", &net, &e), e, CAM_E_ARG, "network");
    CAM_FAILS(cam_net_open("mobilenet_v2", "seeded:", &net, &e), e, CAM_E_ARG, "whole number");
    CAM_FAILS(cam_net_open("mobilenet_v2", "seeded:one", &net, &e), e, CAM_E_ARG, "seeded:one");
    CAM_FAILS(cam_net_open("mobilenet_v2", "no/such/file.pth", &net, &e), e, CAM_E_IO, "no/such/file.pth");
    CAM_FAILS(cam_net_open("mobilenet_v2", "tests/test.h", &net, &e), e, CAM_E_FORMAT, "tests/test.h");
    CHECK(cam_net_open("", "seeded", &net, NULL) == CAM_E_ARG && !net);
    CHECK(!cam_weights_wanted("resnet19"));
    char *wanted = cam_weights_wanted("mobilenet_v2");
    CHECK(wanted && strstr(wanted, "mobilenet_v2.safetensors") && strstr(wanted, "mobilenet_v2-b0353104.pth"));
    free(wanted);
    cam_net_close(NULL);
    cam_ctx_free(NULL);
    cam_image_free(NULL);
}

TEST(a_network_tells_what_it_is)
{
    cam_net *net = t_net("MobileNet-V2", "seeded:7");
    int32_t chw[3];
    int layers = 0, found = 0;
    CHECK(!strcmp(cam_net_name(net), "mobilenet_v2") && !strcmp(cam_net_weights(net), "seeded:7"));
    CHECK(cam_net_seeded(net) == 1 && cam_net_classes(net) == 1000);
    CHECK(cam_net_bytes(net) > 4 * 3500000 && cam_net_bytes(net) < 4 * 3600000);
    for (const char *name; (name = cam_net_layer(net, layers, chw)); layers++)
        if (!strcmp(name, "features.18")) found = chw[0] == 1280 && chw[1] == 7 && chw[2] == 7;
    CHECK(found && layers > 140 && !cam_net_layer(net, -1, NULL));
    CHECK(!strcmp(cam_net_layer(net, 0, chw), "input") && chw[0] == 3 && chw[1] == 224 && chw[2] == 224);
    CHECK(!strcmp(cam_net_layer_name(net, "pre_pool"), "features.18") && !strcmp(cam_net_layer_name(net, "Conv"), "features.18.0"));
    CHECK(!strcmp(cam_net_layer_name(net, "features.3"), "features.3"));
    cam_net_close(net);
}

TEST(a_network_without_weights_names_layers_and_prepares_pictures_but_does_not_run)
{
    cam_net *net = t_net("vgg16", CAM_NO_WEIGHTS);
    cam_image *image;
    cam_ctx *ctx;
    cam_error e;
    CHECK(!strcmp(cam_net_weights(net), CAM_NO_WEIGHTS) && !cam_net_seeded(net) && cam_net_bytes(net) == 0);
    CHECK(!strcmp(cam_net_layer(net, 1, NULL), "features.0"));
    CHECK_OK(cam_image_sample(net, "native", &image, &e), e);
    CHECK(cam_image_input(image).height == 224);
    CAM_FAILS(cam_ctx_new(net, NULL, &ctx, &e), e, CAM_E_ARG, "without weights");
    CHECK(!ctx);
    cam_image_free(image);
    cam_net_close(net);
}

/* ---- pictures ---- */

TEST(pictures_that_cannot_be_are_refused)
{
    cam_net *net = t_net("mobilenet_v2", CAM_NO_WEIGHTS);
    cam_image *image;
    cam_error e;
    CAM_FAILS(cam_image_open(net, "no/such.jpg", "native", &image, &e), e, CAM_E_IO, "no/such.jpg");
    CHECK(!image);
    CAM_FAILS(cam_image_open(net, "tests/test.h", "native", &image, &e), e, CAM_E_FORMAT, "tests/test.h");
    CAM_FAILS(cam_image_decode(net, "", 0, 0, "native", &image, &e), e, CAM_E_FORMAT, "");
    CAM_FAILS(cam_image_decode(net, "P5 4 2 255 12345678", 19, 7, "native", &image, &e), e, CAM_E_LIMIT, "");
    CAM_FAILS(cam_image_sample(net, "sideways", &image, &e), e, CAM_E_ARG, "sideways");
    CHECK(!image);
    CAM_FAILS(cam_image_tensor(net, "seeded-image:", &image, &e), e, CAM_E_ARG, "whole number");
    CAM_FAILS(cam_image_tensor(net, "no/such.npy", &image, &e), e, CAM_E_IO, "no/such.npy");
    CHECK(!image && cam_image_sample(net, "sideways", &image, NULL) == CAM_E_ARG);
    cam_net_close(net);
}

TEST(pictures_become_inputs_of_the_size_that_is_asked_for)
{
    cam_net *net = t_net("mobilenet_v2", CAM_NO_WEIGHTS);
    cam_image *image;
    cam_error e;
    int32_t size[2];
    CHECK_OK(cam_image_sample(net, "96x64:bicubic", &image, &e), e);
    cam_input in = cam_image_input(image);
    CHECK(in.n == 1 && in.height == 64 && in.width == 96 && in.nchw && cam_image_pixels(image, size));
    CHECK(size[0] == 448 && size[1] == 448);
    cam_image_free(image);
    CHECK_OK(cam_image_tensor(net, "seeded-image:4", &image, &e), e);
    cam_input want = t_images(4, 1, 224, 224);
    CHECK(!memcmp(cam_image_input(image).nchw, want.nchw, 3 * 224 * 224 * sizeof(float)));
    free((float *)(uintptr_t)want.nchw);
    cam_image_free(image);
    cam_net_close(net);
}

/* ---- what a running network refuses ---- */

TEST(requests_that_cannot_be_are_refused_and_leave_results_alone)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 64, 64);
    const cam_request good = t_request("gradcam", "rest", "pre_pool", CAM_TOP1);
    cam_result result;
    cam_error e;
    memset(&result, 0x5A, sizeof result);
    const cam_result untouched = result;
    struct {
        cam_request request;
        const char *says;
    } bad[] = {{good, "gradcom"}, {good, "method"}, {good, "entropy"}, {good, "utility"}, {good, "features.99"},
               {good, "layer"},   {good, "1000"},   {good, "-1001"},   {good, "sizeof"}};
    bad[0].request.method = "gradcom";
    bad[1].request.method = NULL;
    bad[2].request.utility = "entropy";
    bad[3].request.utility = NULL;
    bad[4].request.layer = "features.99";
    bad[5].request.layer = NULL;
    bad[6].request.cls = 1000;
    bad[7].request.cls = -1001;
    bad[8].request.size = sizeof(cam_request) - 1;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        cam_request two[] = {good, bad[i].request};
        CAM_FAILS(cam_explain(b.ctx, b.in, two, 2, &result, &e), e, CAM_E_ARG, bad[i].says);
        CHECK(cam_explain(b.ctx, b.in, &bad[i].request, 1, &result, NULL) == CAM_E_ARG);
        CHECK(!memcmp(&result, &untouched, sizeof result) && !cam_map(b.ctx, 0, 0) && !cam_logits(b.ctx, 0));
    }
    CAM_FAILS(cam_explain(b.ctx, b.in, &good, 0, &result, &e), e, CAM_E_ARG, "requests");
    t_explain(b.ctx, b.in, &good, 1, &result);
    CHECK(cam_map(b.ctx, 0, 0));
    t_close_bench(&b);
}

TEST(inputs_that_cannot_be_are_refused)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 64, 64);
    cam_request want = t_request("gradcam", "rest", "pre_pool", CAM_TOP1);
    cam_result result;
    cam_error e;
    static const cam_input sizes[] = {{NULL, 1, 31, 31},  {NULL, 1, 32, 31}, {NULL, 1, 4097, 64}, {NULL, 1, 0, 64},
                                      {NULL, 1, -64, 64}, {NULL, 0, 64, 64}, {NULL, -1, 64, 64}};
    float logits[1000];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        cam_input in = sizes[i];
        in.nchw = b.in.nchw;
        CAM_FAILS(cam_explain(b.ctx, in, &want, 1, &result, &e), e, CAM_E_ARG, "want");
        CAM_FAILS(cam_forward(b.ctx, in, logits, &e), e, CAM_E_ARG, "want");
    }
    CAM_FAILS(cam_forward(b.ctx, (cam_input){NULL, 1, 64, 64}, logits, &e), e, CAM_E_ARG, "input");
    CHECK_OK(cam_forward(b.ctx, b.in, logits, &e), e);
    t_close_bench(&b);
}

TEST(contexts_want_options_of_the_right_size)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 32, 32);
    cam_ctx *ctx = b.ctx;
    cam_error e;
    CAM_FAILS(cam_ctx_new(b.net, &(cam_options){.threads = 1}, &ctx, &e), e, CAM_E_ARG, "sizeof");
    CHECK(!ctx);
    CHECK_OK(cam_ctx_new(b.net, NULL, &ctx, &e), e);
    cam_ctx_free(ctx);
    t_close_bench(&b);
}

TEST(numbers_that_are_not_finite_end_a_run_of_which_nothing_is_left)
{
    t_bench b = t_open_bench("mobilenet_v2", 2, 64, 64);
    cam_request want = t_request("shapleycam", "rest", "pre_pool", CAM_TOP1);
    cam_result result[2];
    cam_error e;
    float *x = (float *)(uintptr_t)b.in.nchw, kept = x[3 * 64 * 64 + 9], logits[2000];
    x[3 * 64 * 64 + 9] = NAN;
    CAM_FAILS(cam_explain(b.ctx, b.in, &want, 1, result, &e), e, CAM_E_NONFINITE, "image 1");
    CHECK(!cam_map(b.ctx, 0, 0) && !cam_logits(b.ctx, 0));
    CAM_FAILS(cam_forward(b.ctx, b.in, logits, &e), e, CAM_E_NONFINITE, "image 1");
    x[3 * 64 * 64 + 9] = kept;
    t_explain(b.ctx, b.in, &want, 1, result);
    t_close_bench(&b);
}

TEST(what_is_not_there_is_null_or_refused)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 64, 64);
    cam_request want[] = {t_request("gradcam", "rest", "pre_pool", 3), t_request("randomcam", "rest", "conv", 3)};
    cam_result result[2];
    cam_error e;
    cam_image *sample;
    float *floats = calloc(1280 * 4, sizeof *floats), logits[1000];
    uint8_t *png;
    char *json;
    size_t size;
    CHECK_OK(cam_image_sample(b.net, "native", &sample, &e), e);
    for (int explained = 0; explained < 2; explained++) {
        if (explained) t_explain(b.ctx, b.in, want, 2, result);
        int absent = explained ? 2 : 0;
        CHECK(!cam_map(b.ctx, 0, absent) && !cam_raw_map(b.ctx, 0, -1) && !cam_gradient(b.ctx, 1, 0) &&
              !cam_activation(b.ctx, -1, 0, NULL));
        CHECK(!cam_logits(b.ctx, 1) && !cam_hvp_activation(b.ctx, 0, 0) && !cam_gradient(b.ctx, 0, 1));
        CAM_FAILS(cam_hvp(b.ctx, absent, floats, floats, &e), e, CAM_E_ARG, "request");
        CAM_FAILS(cam_tail(b.ctx, "features.17", floats, 1, logits, &e), e, CAM_E_ARG, "features.17");
        CAM_FAILS(cam_render(b.ctx, sample, absent, "jet", &png, &size, &e), e, CAM_E_ARG, "request");
        CAM_FAILS(cam_report(b.ctx, "x", explained, 5, &json, &e), e, CAM_E_ARG, "image");
        CHECK(!png && !json);
    }
    CAM_FAILS(cam_hvp(b.ctx, 1, floats, floats, &e), e, CAM_E_ARG, "utility");
    CAM_FAILS(cam_tail(b.ctx, "pre_pool", floats, 0, logits, &e), e, CAM_E_ARG, "at least 1");
    CAM_FAILS(cam_tail(b.ctx, "features.99", floats, 1, logits, &e), e, CAM_E_ARG, "features.99");
    CAM_FAILS(cam_tail(b.ctx, NULL, floats, 1, logits, &e), e, CAM_E_ARG, "layer");
    CAM_FAILS(cam_render(b.ctx, sample, 0, "jet", &png, &size, &e), e, CAM_E_ARG, "picture");
    CHECK_OK(cam_forward(b.ctx, b.in, logits, &e), e);
    CHECK(cam_logits(b.ctx, 0) && !memcmp(logits, cam_logits(b.ctx, 0), sizeof logits) && !cam_map(b.ctx, 0, 0));
    cam_image_free(sample);
    free(floats);
    t_close_bench(&b);
}

/* ---- what it promises ---- */

TEST(results_are_in_order_of_images_and_requests)
{
    t_bench b = t_open_bench("mobilenet_v2", 2, 64, 96);
    cam_request want[] = {t_request("gradcam", "logit", "features.18", 7), t_request("Shapley_CAM", "rest", "pre_pool", CAM_TOP1),
                          t_request("hirescam", "softmax", "conv", -2)};
    cam_result got[6];
    t_explain(b.ctx, b.in, want, 3, got);
    for (int n = 0; n < 2; n++) {
        const float *o = cam_logits(b.ctx, n);
        double sum = 0;
        int32_t top[2], chw[3];
        cam_top(o, 1000, 2, top);
        CHECK(got[3 * n].cls == 7 && got[3 * n + 1].cls == top[0] && got[3 * n + 2].cls == top[1]);
        for (int k = 0; k < 1000; k++) sum += exp((double)o[k] - (double)o[top[0]]);
        for (int i = 0; i < 3; i++) {
            const cam_result *r = &got[3 * n + i];
            CHECK(r->logit == o[r->cls] && r->height == 2 && r->width == 3);
            CHECK(fabs((double)r->probability - exp((double)o[r->cls] - (double)o[top[0]]) / sum) <= 1e-7);
            CHECK(cam_activation(b.ctx, n, i, chw) && chw[0] == 1280 && chw[1] == 2 && chw[2] == 3);
        }
        CHECK(got[3 * n].utility == (double)o[7] && fabs(got[3 * n + 2].utility - (double)got[3 * n + 2].probability) <= 1e-7);
        CHECK(cam_activation(b.ctx, n, 0, NULL) == cam_activation(b.ctx, n, 1, NULL)); /* one layer under two names */
        CHECK(got[3 * n].hvp_ratio == -1 && got[3 * n + 1].hvp_ratio > 0 && !cam_hvp_activation(b.ctx, n, 2));
    }
    CHECK(!cam_gradient(b.ctx, 0, 0) && !cam_hvp_activation(b.ctx, 0, 1)); /* their means did */
    want[0].flags = CAM_WITH_GRADIENT;
    want[2].flags = CAM_WITH_HVP;
    t_explain(b.ctx, b.in, want, 3, got);
    CHECK(cam_gradient(b.ctx, 1, 0) && !cam_hvp_activation(b.ctx, 1, 0) && cam_gradient(b.ctx, 1, 2) && cam_hvp_activation(b.ctx, 1, 2));
    t_close_bench(&b);
}

static const char *const orders[][2] = {
    {"shapleycam", "gradcam"}, {"shapleycam-h", "hirescam"}, {"shapleycam-e", "gradcam-e"}, {"shapleycam-x", "xgradcam"}};

/* Both networks have nothing but linear maps, ReLU, maxima and averages behind these layers. */
static void check_flat_logit(const char *name, const char *layer)
{
    t_bench b = t_open_bench(name, 1, 64, 64);
    cam_request want[8];
    cam_result got[8];
    for (int i = 0; i < 8; i++) want[i] = t_request(orders[i / 2][i % 2], "logit", layer, CAM_TOP1);
    t_explain(b.ctx, b.in, want, 8, got);
    int32_t chw[3];
    const float *a = cam_activation(b.ctx, 0, 0, chw), *h = cam_hvp_activation(b.ctx, 0, 0);
    size_t cells = (size_t)chw[1] * (size_t)chw[2];
    CHECK(a && h);
    for (size_t i = 0; i < (size_t)chw[0] * cells; i++) CHECK(h[i] == 0);
    for (int i = 0; i < 8; i += 2) {
        CHECK(got[i].hvp_zero == 1 && got[i].hvp_ratio == 0 && got[i].because && !strcmp(got[i].same_as, orders[i / 2][1]));
        CHECK(got[i + 1].hvp_zero == 0 && got[i + 1].hvp_ratio == -1);
        CHECK(!memcmp(cam_raw_map(b.ctx, 0, i), cam_raw_map(b.ctx, 0, i + 1), cells * sizeof(double)));
        CHECK(!memcmp(cam_map(b.ctx, 0, i), cam_map(b.ctx, 0, i + 1), 64 * 64 * sizeof(float)));
    }
    t_close_bench(&b);
}

TEST(the_logit_behind_a_piecewise_linear_tail_has_no_second_order_in_mobilenet_v2) { check_flat_logit("mobilenet_v2", "conv"); }
TEST(the_logit_behind_a_piecewise_linear_tail_has_no_second_order_in_vgg16) { check_flat_logit("vgg16", "pre_pool"); }

/* At pre_pool of mobilenet_v2 gradients are the same at every position, and at no other layer here. */
TEST(methods_that_coincide_before_a_global_average_are_told_and_do)
{
    static const char *const pairs[][2] = {
        {"xgradcam", "gradcam"}, {"hirescam", "gradcam"}, {"shapleycam-h", "shapleycam"}, {"shapleycam-x", "shapleycam"}};
    t_bench b = t_open_bench("mobilenet_v2", 1, 224, 224);
    for (int i = 0; i < 4; i++) {
        cam_request want[] = {t_request(pairs[i][0], "rest", "pre_pool", CAM_TOP1),
                              t_request(pairs[i][1], "rest", "pre_pool", CAM_TOP1),
                              t_request(pairs[i][0], "rest", "conv", CAM_TOP1)};
        cam_result got[3];
        t_explain(b.ctx, b.in, want, 3, got);
        CHECK(got[0].same_as && !strcmp(got[0].same_as, pairs[i][1]) && got[0].because && !got[0].hvp_zero);
        CHECK(!got[1].same_as && !got[1].because && !got[2].same_as && !got[2].because);
        const double *x = cam_raw_map(b.ctx, 0, 0), *y = cam_raw_map(b.ctx, 0, 1);
        double most = 0;
        for (int s = 0; s < 49; s++) most = fmax(most, fabs(y[s]));
        for (int s = 0; s < 49; s++)
            CHECK_MSG(fabs(x[s] - y[s]) <= 1e-6 * most, "%s at %d: %g, want %g", pairs[i][0], s, x[s], y[s]);
    }
    t_close_bench(&b);
}

/* At 32 x 32 the map is one position: constant where it speaks for the class, blank where not. */
TEST(maps_of_one_position_are_constant_or_blank)
{
    t_bench b = t_open_bench("mobilenet_v2", 1, 32, 32);
    int seen[4] = {0};
    for (int cls = 0; cls < 20; cls++) {
        cam_request want = t_request("gradcam", "logit", "pre_pool", cls);
        cam_result got;
        t_explain(b.ctx, b.in, &want, 1, &got);
        double raw = cam_raw_map(b.ctx, 0, 0)[0];
        CHECK(got.height == 1 && got.width == 1 && got.status == (raw > 0 ? CAM_STATUS_CONSTANT : CAM_STATUS_BLANK));
        CHECK(got.positive == (raw > 0 ? raw : 0) && got.negative == (raw < 0 ? -raw : 0));
        for (int i = 0; i < 32 * 32; i++) CHECK(cam_map(b.ctx, 0, 0)[i] == 0);
        seen[got.status]++;
    }
    CHECK(seen[CAM_STATUS_CONSTANT] > 0 && seen[CAM_STATUS_BLANK] > 0);
    t_close_bench(&b);
}

/* Sizes are pairs of height and width, ended by a 0. The network halves each five times; up: 31 if it rounds up, otherwise 0. */
static void check_sizes(const char *name, const int *sizes, int up)
{
    t_bench b = t_open_bench(name, 1, 32, 32);
    for (const int *size = sizes; *size; size += 2) {
        cam_input in = t_images(3, 1, size[0], size[1]);
        cam_request want[] = {t_request("shapleycam", "rest", "pre_pool", CAM_TOP1),
                              t_request("shapleycam-x", "softmax", "conv", 5)};
        cam_result got[2];
        int lit = 0;
        t_explain(b.ctx, in, want, 2, got);
        CHECK(cam_ctx_bytes(b.ctx) > 0 && got[0].height == (size[0] + up) / 32 && got[0].width == (size[1] + up) / 32);
        for (int k = 0; k < size[0] * size[1]; k++) {
            CHECK(cam_map(b.ctx, 0, 0)[k] >= 0 && cam_map(b.ctx, 0, 1)[k] <= 1);
            lit |= cam_map(b.ctx, 0, 0)[k] > 0;
        }
        CHECK(lit == (got[0].status == CAM_STATUS_OK));
        free((float *)(uintptr_t)in.nchw);
    }
    t_close_bench(&b);
}

static const int any_sizes[] = {32, 32, 96, 160, 225, 257, 33, 47, 0}, tiled_sizes[] = {448, 224, 224, 224, 448, 448, 0};

TEST(inputs_of_other_sizes_run_through_mobilenet_v2) { check_sizes("mobilenet_v2", any_sizes, 31); }
TEST(inputs_of_other_sizes_run_through_vgg16) { check_sizes("vgg16", any_sizes, 0); }
TEST(inputs_of_other_sizes_run_through_resnet18) { check_sizes("resnet18", any_sizes, 31); }
TEST(inputs_of_other_sizes_run_through_resnext50) { check_sizes("resnext50", any_sizes, 31); }
TEST(inputs_of_other_sizes_run_through_efficientnet_b0) { check_sizes("efficientnet_b0", any_sizes, 31); }
TEST(inputs_of_other_sizes_run_through_swin_tiny_where_windows_tile_them) { check_sizes("swin_tiny", tiled_sizes, 0); }

static void check_refused_size(const char *net, const char *says)
{
    static const int sizes[][2] = {{256, 224}, {32, 32}, {224, 225}};
    t_bench b = t_open_bench(net, 1, 224, 224);
    cam_request want = t_request("gradcam", "logit", "pre_pool", 3);
    cam_result got;
    cam_error e;
    float logits[1000], again[1000];
    CHECK_OK(cam_forward(b.ctx, b.in, logits, &e), e);
    for (int i = 0; i < 3; i++) {
        cam_input in = t_images(1, 1, sizes[i][0], sizes[i][1]);
        CAM_FAILS(cam_forward(b.ctx, in, again, &e), e, CAM_E_ARG, says);
        CAM_FAILS(cam_explain(b.ctx, in, &want, 1, &got, &e), e, CAM_E_ARG, says);
        free((float *)(uintptr_t)in.nchw);
    }
    CHECK_OK(cam_forward(b.ctx, b.in, again, &e), e);
    CHECK(!memcmp(logits, again, sizeof logits));
    t_close_bench(&b);
}

TEST(swin_refuses_inputs_that_windows_do_not_tile) { check_refused_size("swin_tiny", "multiples of 224: windows of 7 x 7"); }
TEST(deit_refuses_inputs_of_another_size)
{
    if (T_SANITIZED) t_skip("too slow with a sanitizer");
    check_refused_size("deit_base", "want 224 x 224: its positions were learnt");
}

/* ---- threads ---- */

typedef struct job {
    const cam_net *net;
    cam_input in;
    uint64_t hash;
} job;

static void *explain_in_thread(void *arg)
{
    job *j = arg;
    cam_ctx *ctx = t_ctx(j->net, 2);
    cam_request want[] = {t_request("shapleycam", "rest", "conv", CAM_TOP1), t_request("gradcam++", "softmax", "pre_pool", 281)};
    cam_result got[2];
    t_explain(ctx, j->in, want, 2, got);
    j->hash = t_hash(T_HASH, cam_logits(ctx, 0), 1000 * sizeof(float));
    for (int i = 0; i < 2; i++) j->hash = t_hash(j->hash, cam_map(ctx, 0, i), (size_t)(j->in.height * j->in.width) * sizeof(float));
    cam_ctx_free(ctx);
    return NULL;
}

TEST(two_contexts_of_one_network_run_at_once)
{
    cam_net *net = t_net("mobilenet_v2", NULL);
    pthread_t thread[2];
    job alone[2], together[2];
    for (int i = 0; i < 2; i++) {
        alone[i] = together[i] = (job){.net = net, .in = t_images((uint64_t)i + 1, 1, 96, 64 + 32 * i)};
        explain_in_thread(&alone[i]);
    }
    for (int i = 0; i < 2; i++) CHECK(!pthread_create(&thread[i], NULL, explain_in_thread, &together[i]));
    for (int i = 0; i < 2; i++) pthread_join(thread[i], NULL);
    for (int i = 0; i < 2; i++) CHECK(together[i].hash == alone[i].hash);
    CHECK(alone[0].hash != alone[1].hash);
    for (int i = 0; i < 2; i++) free((float *)(uintptr_t)alone[i].in.nchw);
    cam_net_close(net);
}

/* ---- tails and other directions ---- */

/* Rows 1 to 4 of a batch of five activations are the first one, halved and halved again. */
static void check_tail(const char *name, const char *layer)
{
    t_bench b = t_open_bench(name, 1, 64, 96);
    cam_request want = t_request("gradcam", "rest", layer, CAM_TOP1);
    cam_result got;
    cam_error e;
    int32_t chw[3];
    t_explain(b.ctx, b.in, &want, 1, &got);
    const float *a = cam_activation(b.ctx, 0, 0, chw);
    size_t floats = (size_t)chw[0] * (size_t)chw[1] * (size_t)chw[2];
    float *five = malloc(5 * floats * sizeof *five), alone[1000], *logits = malloc(5 * sizeof alone);
    for (size_t i = 0; i < 5 * floats; i++) five[i] = ldexpf(a[i % floats], -(int)(i / floats));
    CHECK_OK(cam_tail(b.ctx, layer, a, 1, alone, &e), e);
    CHECK(!memcmp(alone, cam_logits(b.ctx, 0), sizeof alone));
    CHECK_OK(cam_tail(b.ctx, layer, five, 5, logits, &e), e);
    CHECK(!memcmp(logits, alone, sizeof alone));
    for (size_t i = 1; i < 5; i++) {
        CHECK_OK(cam_tail(b.ctx, layer, five + i * floats, 1, alone, &e), e);
        CHECK(!memcmp(logits + 1000 * i, alone, sizeof alone) && memcmp(logits, alone, sizeof alone) != 0);
    }
    free(five);
    free(logits);
    t_close_bench(&b);
}

/* A map of means, alone and beside requests that want derivatives at each position of the same layer. */
static void check_means(const char *name, const char *layer, int side)
{
    t_bench b = t_open_bench(name, 2, side, side);
    cam_request want[] = {t_request("shapleycam", "rest", layer, CAM_TOP1), t_request("shapleycam-h", "rest", layer, CAM_TOP1),
                          t_request("gradcam", "rest", layer, CAM_TOP1)};
    cam_result got[6], alone[2];
    t_explain(b.ctx, b.in, want, 1, alone);
    int32_t chw[3];
    cam_activation(b.ctx, 0, 0, chw);
    size_t cells = (size_t)chw[1] * (size_t)chw[2];
    double *raw = malloc(2 * cells * sizeof *raw);
    CHECK(raw && !cam_gradient(b.ctx, 0, 0) && !cam_hvp_activation(b.ctx, 0, 0));
    for (int n = 0; n < 2; n++) memcpy(raw + n * cells, cam_raw_map(b.ctx, n, 0), cells * sizeof *raw);
    t_explain(b.ctx, b.in, want, 3, got);
    for (int n = 0; n < 2; n++) {
        const float *a = cam_activation(b.ctx, n, 0, NULL), *g = cam_gradient(b.ctx, n, 0);
        CHECK(!memcmp(cam_raw_map(b.ctx, n, 0), raw + n * cells, cells * sizeof *raw) && alone[n].hvp_ratio == got[3 * n].hvp_ratio);
        for (size_t s = 0; s < cells; s++) {
            double sum = 0, size = 0;
            for (size_t k = 0; k < (size_t)chw[0]; k++) {
                double mean = 0;
                for (size_t p = 0; p < cells; p++) mean += (double)g[k * cells + p] / (double)cells;
                sum += mean * (double)a[k * cells + s];
                size += fabs(mean * (double)a[k * cells + s]);
            }
            CHECK_MSG(fabs(cam_raw_map(b.ctx, n, 2)[s] - sum) <= 1e-5 * size, "image %d at %zu: %g, want %g", n, s, cam_raw_map(b.ctx, n, 2)[s], sum);
        }
    }
    free(raw);
    t_close_bench(&b);
}

TEST(means_of_gradients_are_the_same_with_and_without_them_in_vgg16) { check_means("vgg16", "pre_pool", 64), check_means("vgg16", "conv", 64); }
TEST(means_of_gradients_are_the_same_with_and_without_them_in_swin_tiny) { check_means("swin_tiny", "conv", 224); }
TEST(means_of_gradients_are_the_same_with_and_without_them_in_vit) { check_means("deit_base", "conv", 224); }

TEST(the_tail_of_an_activation_gives_the_logits_in_mobilenet_v2) { check_tail("mobilenet_v2", "conv"); }
TEST(the_tail_of_an_activation_gives_the_logits_in_vgg16) { check_tail("vgg16", "pre_pool"); }
/* Behind this layer comes a sum with what another layer gave. */
TEST(the_tail_of_a_layer_inside_a_residual_block_gives_the_logits) { check_tail("mobilenet_v2", "features.16.conv.1"); }

typedef struct directions {
    t_bench b;
    size_t n;
    float *v, *w, *mix, *hv, *hw, *hmix;
} directions;

static void check_hessian(const directions *d, int request)
{
    cam_error e;
    CHECK_OK(cam_hvp(d->b.ctx, request, d->v, d->hv, &e), e);
    CHECK_OK(cam_hvp(d->b.ctx, request, d->w, d->hw, &e), e);
    CHECK_OK(cam_hvp(d->b.ctx, request, d->mix, d->hmix, &e), e);
    double wv = t_dot(d->w, d->hv, d->n), vw = t_dot(d->v, d->hw, d->n), scale = t_norm(d->w, d->n) * t_norm(d->hv, d->n);
    CHECK_MSG(fabs(wv - vw) <= 1e-6 * scale, "<w, H v> = %g, <v, H w> = %g", wv, vw);
    CHECK(scale > 0);
    double most = 0;
    for (size_t i = 0; i < d->n; i++) most = fmax(most, fabs((double)d->hmix[i]));
    for (size_t i = 0; i < d->n; i++) {
        double sum = 2 * (double)d->hv[i] - 3 * (double)d->hw[i];
        CHECK_MSG(fabs(sum - (double)d->hmix[i]) <= 2e-5 * most, "at %zu: %g, want %g", i, (double)d->hmix[i], sum);
    }
}

static void check_hessians(const char *name)
{
    directions d = {.b = t_open_bench(name, 2, 64, 64)};
    static const char *const layers[] = {"pre_pool", "conv"};
    cam_request want[] = {t_request("shapleycam", "rest", layers[0], CAM_TOP1),
                          t_request("shapleycam", "softmax", layers[1], CAM_TOP1),
                          t_request("gradcam", "logsoftmax", layers[1], 281)};
    cam_result got[6];
    cam_error e;
    for (int i = 0; i < 2; i++) want[i].flags = CAM_WITH_HVP;
    t_explain(d.b.ctx, d.b.in, want, 3, got);
    for (int i = 0; i < 3; i++) {
        int32_t chw[3];
        const float *a = cam_activation(d.b.ctx, 0, i, chw);
        size_t image = (size_t)chw[0] * (size_t)chw[1] * (size_t)chw[2];
        d.n = 2 * image;
        float *memory = malloc(6 * d.n * sizeof *memory);
        d.v = memory, d.w = memory + d.n, d.mix = d.w + d.n, d.hv = d.mix + d.n, d.hw = d.hv + d.n, d.hmix = d.hw + d.n;
        for (size_t k = 0; k < d.n; k++) {
            d.v[k] = (float)t_uniform(-1, 1);
            d.w[k] = (float)t_uniform(-1, 1);
            d.mix[k] = 2 * d.v[k] - 3 * d.w[k];
        }
        check_hessian(&d, i);
        memcpy(d.v, a, image * sizeof *a);
        memcpy(d.v + image, cam_activation(d.b.ctx, 1, i, NULL), image * sizeof *a);
        CHECK_OK(cam_hvp(d.b.ctx, i, d.v, d.hv, &e), e);
        for (int k = 0; k < 2 && i < 2; k++)
            CHECK(!memcmp(cam_hvp_activation(d.b.ctx, k, i), d.hv + (size_t)k * image, image * sizeof *a));
        free(memory);
    }
    t_close_bench(&d.b);
}

TEST(hessians_of_mobilenet_v2_are_linear_and_symmetric) { check_hessians("mobilenet_v2"); }
TEST(hessians_of_vgg16_are_linear_and_symmetric) { check_hessians("vgg16"); }
