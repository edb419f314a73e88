/* SPDX-License-Identifier: MIT */
/* The table of methods on numbers worked out by hand, on games whose Shapley values can be enumerated, and on a network whose
 * gradients have a closed form. */
#include "tests/cam/golden.h"

#include "cam/utility.h"
#include "weights/seeded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- formulas ---- */

/* Two channels of 2 x 2. */
static const float A[] = {1, 2, 0, 4, 3, -1, 2, 0};
static const float G[] = {.5f, -.25f, 1, .75f, -1, .5f, 0, 2};
static const float H[] = {.2f, 0, -.4f, .6f, 1, -1, .5f, .25f};

static const struct {
    const char *method;
    double map[4];
} by_hand[] = {
    {"gradcam", {1.625, .625, .75, 2}},
    {"hirescam", {-2.5, -1, 0, 3}},
    {"gradcam-e", {.5, 0, 0, 3}},
    {"layercam", {.5, -.5, 0, 3}},
    {"xgradcam", {-2.1964285, 1.7321429, -1.75, 1.7142857}},
    {"gradcam++", {1.2804680, .2859369, .6499997, 1.2218735}},
    {"shapleycam", {1.29375, .61875, .5625, 1.8}},
    {"shapleycam-h", {-4.1, -1.5, -.5, 1.8}},
    {"shapleycam-e", {.4, 0, 0, 1.8}},
    {"shapleycam-x", {-4.2571430, 1.9857142, -3, .9714285}},
};

static void find_means(const float *x, size_t channels, size_t positions, float *means)
{
    for (size_t k = 0; k < channels; k++) {
        double sum = 0;
        for (size_t s = 0; s < positions; s++) sum += (double)x[k * positions + s];
        means[k] = (float)(sum / (double)positions);
    }
}

static void map_of(const char *method, const cam_site *site, double *map)
{
    const cam_method *m = cam_method_find(method);
    en_error e;
    CHECK_MSG(m, "no method %s", method);
    CHECK_OK(cam_method_map(m, site, 0, map, &e), e);
}

/* EigenCAM of the same numbers, up to sign, from the specification. The sum of the channels, less its mean, points along -, +, -, +: so does ours. */
static const double eigencam_by_hand[4] = {-1.9877753, 1.6530377, -1.9144160, 2.2491536};

TEST(every_method_gives_the_map_worked_out_by_hand)
{
    float gm[2], hm[2];
    cam_site site = {.a = A, .g = G, .h = H, .g_mean = gm, .h_mean = hm, .channels = 2, .positions = 4};
    double map[4];
    find_means(G, 2, 4, gm);
    find_means(H, 2, 4, hm);
    for (size_t i = 0; i < sizeof by_hand / sizeof *by_hand; i++) {
        map_of(by_hand[i].method, &site, map);
        for (int s = 0; s < 4; s++)
            CHECK_MSG(fabs(map[s] - by_hand[i].map[s]) <= 3e-7, "%s at %d: %.8g, want %.8g", by_hand[i].method, s, map[s],
                      by_hand[i].map[s]);
    }
    map_of("eigencam", &site, map);
    double sign = map[0] < 0 ? 1 : -1, agreement = 0;
    for (int s = 0; s < 4; s++) {
        CHECK_MSG(fabs(sign * map[s] - eigencam_by_hand[s]) <= 3e-7, "eigencam at %d: %.8g", s, map[s]);
        agreement += map[s] * ((double)A[s] + (double)A[4 + s]);
    }
    CHECK(agreement >= 0);
    map_of("fem", &site, map); /* with two deviations nothing of four positions can stand out */
    for (int s = 0; s < 4; s++) CHECK(map[s] == 0);
}

TEST(every_method_gives_its_formula_on_random_numbers)
{
    enum { CHANNELS = 5, POSITIONS = 12, N = CHANNELS * POSITIONS };
    float a[N], g[N], h[N];
    const cam_method *m;
    for (int i = 0; i < N; i++) {
        a[i] = (float)t_uniform(-1, 1);
        g[i] = i % 7 ? (float)t_uniform(-1, 1) : 0;
        h[i] = (float)t_uniform(-1, 1);
    }
    float gm[CHANNELS], hm[CHANNELS];
    cam_site site = {.a = a, .g = g, .h = h, .g_mean = gm, .h_mean = hm, .channels = CHANNELS, .positions = POSITIONS};
    find_means(g, CHANNELS, POSITIONS, gm);
    find_means(h, CHANNELS, POSITIONS, hm);
    for (int i = 0; (m = cam_method_at(i)); i++) {
        double map[POSITIONS], want[POSITIONS], terms[POSITIONS];
        if (!t_formula(m->name, &site, want, terms)) continue;
        map_of(m->name, &site, map);
        double share = m->pooling == CAM_MEAN ? 1e-7 : 1e-12; /* means are floats */
        for (int s = 0; s < POSITIONS; s++)
            CHECK_MSG(fabs(map[s] - want[s]) <= share * terms[s], "%s at %d: %g, want %g", m->name, s, map[s], want[s]);
    }
}

TEST(random_weights_are_those_of_the_stream_and_need_no_gradient)
{
    cam_site site = {.a = A, .channels = 2, .positions = 4, .stream = wt_seeded_stream("randomcam/pre_pool", 5)};
    double map[4], w0 = wt_uniform(site.stream, 0), w1 = wt_uniform(site.stream, 1);
    map_of("randomcam", &site, map);
    for (int s = 0; s < 4; s++) CHECK(fabs(map[s] - (w0 * (double)A[s] + w1 * (double)A[4 + s])) <= 1e-15);
    CHECK(cam_method_find("randomcam")->needs == 0);
}

TEST(methods_are_found_in_any_spelling)
{
    CHECK(cam_method_find("GradCAM++") == cam_method_find("grad_cam_pp") && cam_method_find("gradcampp"));
    CHECK(cam_method_find("ShapleyCAM_H") == cam_method_find("shapleycam-h"));
    CHECK(!cam_method_find("") && !cam_method_find("cam") && !cam_method_find("gradcam+"));
}

/* ---- Shapley values ---- */

enum { PLAYERS = 8 };

/* u(x) = b x + x Q x / 2 of the players in `coalition`. */
static double worth(unsigned coalition, const float *b, float q[PLAYERS][PLAYERS], const float *a)
{
    double u = 0;
    for (int i = 0; i < PLAYERS; i++)
        for (int j = -1; j < PLAYERS && coalition >> i & 1; j++)
            if (j < 0)
                u += (double)b[i] * (double)a[i];
            else if (coalition >> j & 1)
                u += 0.5 * (double)a[i] * (double)q[i][j] * (double)a[j];
    return u;
}

/* Expected marginal contribution of player i over all orders of arrival. */
static double shapley_value(int i, const float *b, float q[PLAYERS][PLAYERS], const float *a)
{
    double factorial[PLAYERS + 1] = {1}, value = 0;
    for (int n = 1; n <= PLAYERS; n++) factorial[n] = n * factorial[n - 1];
    for (unsigned s = 0; s < 1u << PLAYERS; s++) {
        if (s >> i & 1) continue;
        int size = __builtin_popcount(s);
        value += factorial[size] * factorial[PLAYERS - size - 1] / factorial[PLAYERS] *
                 (worth(s | 1u << i, b, q, a) - worth(s, b, q, a));
    }
    return value;
}

/* Whole numbers, so that gradient and product are exact. One player is silent: its value is 0. */
TEST(shapleycam_h_is_the_shapley_value_of_a_quadratic_game)
{
    float a[PLAYERS], b[PLAYERS], q[PLAYERS][PLAYERS], g[PLAYERS], h[PLAYERS];
    for (int i = 0; i < PLAYERS; i++) {
        a[i] = i == 3 ? 0 : (float)((int)(t_random() % 9) - 4);
        b[i] = (float)((int)(t_random() % 9) - 4);
        for (int j = 0; j <= i; j++) q[i][j] = q[j][i] = (float)((int)(t_random() % 9) - 4);
    }
    for (int i = 0; i < PLAYERS; i++) {
        h[i] = 0;
        for (int j = 0; j < PLAYERS; j++) h[i] += q[i][j] * a[j];
        g[i] = b[i] + h[i];
    }
    double map[PLAYERS], sum = 0;
    map_of("shapleycam-h", &(cam_site){.a = a, .g = g, .h = h, .channels = 1, .positions = PLAYERS}, map);
    for (int i = 0; i < PLAYERS; sum += map[i++])
        CHECK_MSG(fabs(map[i] - shapley_value(i, b, q, a)) <= 1e-10, "player %d: %g, want %g", i, map[i],
                  shapley_value(i, b, q, a));
    CHECK(map[3] == 0);
    CHECK(fabs(sum - worth((1u << PLAYERS) - 1, b, q, a)) <= 1e-10);
}

/* u = x0 - x1 + 2 x2 + x Q x / 2, Q = [[2,1,0],[1,-1,3],[0,3,4]] at (1,2,3): g = (5,7,20), Q a = (4,8,18). */
TEST(the_second_order_is_efficient_where_the_first_is_not)
{
    float a[] = {1, 2, 3}, g[] = {5, 7, 20}, h[] = {4, 8, 18};
    cam_site site = {.a = a, .g = g, .h = h, .channels = 1, .positions = 3};
    double second[3], first[3];
    map_of("shapleycam-h", &site, second);
    map_of("hirescam", &site, first);
    CHECK(second[0] == 3 && second[1] == 6 && second[2] == 33); /* 42 = u(a) - u(0) */
    CHECK(first[0] == 5 && first[1] == 14 && first[2] == 60);
}

/* ---- a network whose tail is o = W p + b, p the mean over positions ---- */

static float *seeded(const char *key, int rank, const int64_t *dim)
{
    size_t n = (size_t)dim[0] * (rank > 1 ? (size_t)dim[1] : 1);
    float *out = malloc(n * sizeof *out);
    en_error e;
    CHECK_OK(wt_seeded_read("mobilenet_v2", 1, key, rank, dim, 0, n, out, &e), e);
    return out;
}

/* W' x at channel k, divided by the number of positions; x over the classes. */
static double back(const float *w, const double *x, int k, int positions)
{
    double sum = 0;
    for (int j = 0; j < 1000; j++) sum += (double)w[j * 1280 + k] * x[j];
    return sum / positions;
}

TEST(a_pooled_linear_head_has_the_gradient_and_product_of_its_closed_form)
{
    cam_net *net = t_net("mobilenet_v2", NULL);
    cam_ctx *ctx = t_ctx(net, 1);
    cam_input in = t_images(1, 1, 224, 224);
    cam_request want = t_request("shapleycam", "rest", "pre_pool", CAM_TOP1);
    cam_result got;
    want.flags = CAM_WITH_HVP;
    t_explain(ctx, in, &want, 1, &got);
    float *w = seeded("classifier.1.weight", 2, (int64_t[]){1000, 1280}), *b = seeded("classifier.1.bias", 1, (int64_t[]){1000});
    const float *o = cam_logits(ctx, 0), *g = cam_gradient(ctx, 0, 0), *h = cam_hvp_activation(ctx, 0, 0);
    double s[1000], du[1000], hz[1000], mean = 0, gmax = 0, hmax = 0;
    cam_softmax(o, 1000, s);
    for (int j = 0; j < 1000; j++) mean += s[j] * ((double)o[j] - (double)b[j]);
    for (int j = 0; j < 1000; j++) {
        du[j] = 2 * (j == got.cls) - s[j];
        hz[j] = -s[j] * ((double)o[j] - (double)b[j] - mean);
    }
    for (int i = 0; i < 1280 * 49; i++) {
        gmax = fmax(gmax, fabs((double)g[i]));
        hmax = fmax(hmax, fabs((double)h[i]));
    }
    for (int k = 0; k < 1280; k++) {
        double gk = back(w, du, k, 49), hk = back(w, hz, k, 49);
        for (int p = 0; p < 49; p++) {
            CHECK_MSG(fabs((double)g[k * 49 + p] - gk) <= 2e-6 * gmax, "G at %d: %g, want %g", k, (double)g[k * 49 + p], gk);
            CHECK_MSG(fabs((double)h[k * 49 + p] - hk) <= 2e-5 * hmax, "HA at %d: %g, want %g", k, (double)h[k * 49 + p], hk);
        }
    }
    free(w);
    free(b);
    free((float *)(uintptr_t)in.nchw);
    cam_ctx_free(ctx);
    cam_net_close(net);
}
