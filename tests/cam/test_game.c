/* SPDX-License-Identifier: MIT */
/* The content reserved game of real layers: every Shapley value of the golden files, exact and sampled; the additive way against running
 * the tail; threads, images of a batch, limits and refusals; and what the formulas of maps are worth against the truth. */
#include "tests/cam/golden.h"

#include "cam/additive.h"
#include "cam/game.h"
#include "engine/engine.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { ROOM = 196 };

typedef struct answer {
    cam_shapley_result r;
    double values[ROOM], errors[ROOM];
    int32_t regions[ROOM];
} answer;

static cam_shapley_request ask(const char *layer, const char *utility, int cls, int side)
{
    return (cam_shapley_request){
        .size = sizeof(cam_shapley_request), .layer = layer, .utility = utility, .cls = cls, .rows = side, .columns = side};
}

static cam_status try_solve(cam_ctx *ctx, int image, const cam_shapley_request *want, answer *a, cam_error *e)
{
    memset(a, 0x55, sizeof *a);
    a->r.size = sizeof a->r;
    a->r.room = ROOM;
    a->r.values = a->values;
    a->r.errors = a->errors;
    a->r.regions = a->regions;
    return cam_shapley(ctx, image, want, &a->r, e);
}

/* Solves, and checks efficiency. */
static void solve(cam_ctx *ctx, int image, cam_shapley_request want, answer *a)
{
    cam_error e;
    double sum = 0, size = 0;
    CHECK_OK(try_solve(ctx, image, &want, a, &e), e);
    for (int i = 0; i < a->r.players; i++) sum += a->values[i], size += fabs(a->values[i]);
    CHECK_MSG(fabs(sum - (a->r.full - a->r.empty)) <= 1e-12 * (1 + size), "the sum is %.12g, want %.12g", sum,
              a->r.full - a->r.empty);
}

/* ---- regions ---- */

TEST(regions_are_those_of_the_formula_without_gaps)
{
    int32_t region[42], want[] = {0, 0, 0, 1, 1, 2, 2};
    CHECK(cam_regions(3, 3, 6, 7, region) == 9);
    for (int y = 0; y < 6; y++)
        for (int x = 0; x < 7; x++) CHECK(region[y * 7 + x] == y / 2 * 3 + want[x]);
    CHECK(cam_regions(0, 0, 6, 7, region) == 42 && region[41] == 41 && region[7] == 7);
    CHECK(cam_regions(100, 2, 6, 7, region) == 12 && region[41] == 11 && region[7] == 2);
    CHECK(cam_regions(1, 1, 6, 7, region) == 1 && region[41] == 0);
}

/* ---- where a tail is a sum over positions ---- */

static en_status read_ones(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e)
{
    (void)self, (void)key, (void)shape, (void)first, (void)e;
    for (size_t i = 0; i < count; i++) out[i] = 1;
    return EN_OK;
}

typedef struct sketch {
    en_params *params;
    en_graph *g;
    en_ref x, mean;
} sketch;

static en_ref conv(en_graph *g, en_ref x, int window)
{
    return en_conv2d(g, x, en_param(g, window == 1 ? "one" : "three", 4, (int[]){4, 4, window, window}), EN_NONE,
                     (en_conv){.pad = window / 2});
}

/* What is found behind x; consumes the sketch. */
static en_ref found(sketch *s, en_ref y)
{
    en_error e;
    en_ref sum;
    int cut = en_cut(s->g, &s->x, 1);
    en_output(s->g, y);
    CHECK_OK(en_graph_finish(s->g, &(en_options){0}, &e), e);
    CHECK_OK(en_sum_over_positions(s->g, cut, &sum, &e), e);
    en_graph_free(s->g);
    en_params_free(s->params);
    return sum;
}

static en_graph *begin(sketch *s)
{
    en_error e;
    CHECK_OK(en_params_new((en_source){.read = read_ones}, &s->params, &e), e);
    CHECK_OK(en_graph_new(s->params, &s->g, &e), e);
    s->x = en_input(s->g, en_nchw(1, 4, 5, 5));
    return s->g;
}

TEST(a_tail_is_a_sum_over_positions_until_something_mixes_them_and_bends)
{
    sketch s;
    en_graph *g = begin(&s);
    en_ref at, y;
    CHECK(found(&s, en_global_avg_pool(g, s.x)) == s.x); /* a mean alone */
    g = begin(&s), at = en_relu(g, conv(g, s.x, 1));
    CHECK(found(&s, conv(g, en_global_avg_pool(g, en_add(g, at, at)), 1)) == at + 1); /* position by position, mean, linear */
    g = begin(&s);
    CHECK(found(&s, en_global_avg_pool(g, conv(g, s.x, 3))) == s.x); /* mixed, but affine */
    g = begin(&s);
    CHECK(found(&s, en_global_avg_pool(g, en_relu(g, conv(g, s.x, 3)))) == EN_NONE); /* mixed, then bent */
    g = begin(&s), y = en_conv2d(g, s.x, en_param(g, "three", 4, (int[]){4, 4, 3, 3}), EN_NONE, (en_conv){0});
    CHECK(found(&s, en_global_avg_pool(g, en_relu(g, y))) == EN_NONE); /* the same without padding */
    g = begin(&s);
    CHECK(found(&s, en_relu(g, en_global_avg_pool(g, s.x))) == EN_NONE); /* bent behind the mean */
    g = begin(&s), y = en_global_avg_pool(g, s.x);
    CHECK(found(&s, en_scale_channels(g, s.x, y)) == EN_NONE); /* a product of two */
    g = begin(&s), at = en_relu(g, s.x);
    CHECK(found(&s, en_add(g, en_global_avg_pool(g, at), en_global_avg_pool(g, s.x))) == EN_NONE); /* read in two places */
    g = begin(&s), at = en_relu(g, s.x);
    CHECK(found(&s, en_global_avg_pool(g, en_max_pool(g, at, 2, 2, 0))) == EN_NONE);
}

/* ---- golden files ---- */

/* The largest error, in units of what is allowed: 6e-5 of the largest value, twice what the float32 of PyTorch's activations does to the same sums
 * (7.5e-6 of 0.26, mobilenet_v2 pre_pool/logit/281/cam/hirescam.f32err). */
static double worst_ratio(const double *got, const double *want, size_t n)
{
    double worst = 0, largest = 0;
    for (size_t i = 0; i < n; i++) {
        largest = fmax(largest, fabs(want[i]));
        if (!(fabs(got[i] - want[i]) <= worst)) worst = fabs(got[i] - want[i]);
    }
    return worst / (6e-5 * largest);
}

static void check_entry(const t_golden *g, const char *name, const double *got, size_t n)
{
    size_t count;
    double *want = t_golden_read(g, name, &count), ratio = worst_ratio(got, want, n);
    CHECK_MSG(count == n, "%s: %zu numbers, want %zu", name, n, count);
    CHECK_MSG(ratio <= 1, "%s: error is %g of what is allowed", name, ratio);
    free(want);
}

static int check_game(const t_golden *g, cam_ctx *ctx, const char *layer, const char *utility, int cls, int side)
{
    char name[96], companion[128];
    answer a;
    snprintf(name, sizeof name, "%s/%s/%d/shapley%d", layer, utility, cls, side ? side * side : 49);
    if (!wt_find(g->store, name)) return 0;
    int sampled = !side && strcmp(utility, "logit"),
        slow = !wt_find(g->store, (snprintf(companion, sizeof companion, "%s/players16", layer), companion));
    if ((sampled || slow) && strcmp(utility, "rest")) return 0; /* these take seconds */
    if (slow && cls != g->classes[0]) return 0;
    cam_shapley_request want = ask(layer, utility, cls, side);
    want.permutations = 20000;
    solve(ctx, 0, want, &a);
    check_entry(g, name, a.values, (size_t)a.r.players);
    if (side) {
        double ends[2] = {a.r.empty, a.r.full};
        size_t count;
        check_entry(g, (snprintf(companion, sizeof companion, "%s.worth", name), companion), ends, 2);
        snprintf(companion, sizeof companion, "%s/players%d", layer, side * side);
        double *region = t_golden_read(g, companion, &count);
        CHECK(count == (size_t)(a.r.height * a.r.width) && a.r.exact);
        for (size_t i = 0; i < count; i++) CHECK(a.regions[i] == (int)region[i]);
        free(region);
    } else if (strcmp(utility, "logit")) {
        size_t count;
        double *error = t_golden_read(g, (snprintf(companion, sizeof companion, "%s.stderr", name), companion), &count);
        CHECK(a.r.permutations == 20000 && !a.r.exact && count == 49);
        for (int i = 0; i < 49; i++)
            CHECK_MSG(fabs(a.errors[i] - error[i]) <= 1e-3 * error[i] + 1e-9, "%s: %g, want %g", name, a.errors[i], error[i]);
        free(error);
    } else {
        CHECK(a.r.exact && a.errors[17] == 0);
    }
    return 1;
}

static void check_all_games(const char *net_name, int games)
{
    static const char *const layers[] = {"pre_pool", "conv"}, *const utilities[] = {"logit", "softmax", "logsoftmax", "rest"};
    static const int sides[] = {3, 4, 0};
    t_golden g;
    t_golden_methods(net_name, &g);
    cam_net *net = t_net(net_name, NULL);
    cam_ctx *ctx = t_ctx(net, 0);
    cam_input in = t_images(g.image_seed, 1, 224, 224);
    cam_request want[2];
    cam_result got[2];
    int checked = 0;
    for (int l = 0; l < 2; l++) want[l] = t_request("randomcam", "rest", layers[l], CAM_TOP1);
    t_explain(ctx, in, want, 2, got);
    for (int l = 0; l < 2; l++)
        for (int u = 0; u < 4; u++)
            for (int c = 0; c < 2; c++)
                for (int s = 0; s < 3; s++) checked += check_game(&g, ctx, layers[l], utilities[u], g.classes[c], sides[s]);
    CHECK_MSG(checked == games, "%d games compared, want %d", checked, games);
    free((float *)(uintptr_t)in.nchw);
    cam_ctx_free(ctx);
    cam_net_close(net);
    t_golden_close(&g);
}

TEST(golden_shapley_values_of_resnet18) { check_all_games("resnet18", 40); }
TEST(golden_shapley_values_of_mobilenet_v2) { check_all_games("mobilenet_v2", 40); }
TEST(golden_shapley_values_of_swin_tiny) { check_all_games("swin_tiny", 21); }
TEST(golden_shapley_values_of_vgg16) { check_all_games("vgg16", 2); }

/* ---- small pictures ---- */

typedef struct stage {
    cam_net *net;
    cam_ctx *ctx;
    cam_input in;
} stage;

/* Two seeded images of 64 x 64 pixels, 2 x 2 positions at the end, explained at both layers. */
static stage set_stage(const char *net, int threads, int images)
{
    stage s = {.net = t_net(net, NULL)};
    cam_request want[3] = {t_request("hirescam", "logit", "pre_pool", CAM_TOP1),
                           t_request("shapleycam-h", "rest", "conv", CAM_TOP1),
                           t_request("shapleycam", "rest", "pre_pool", CAM_TOP1)};
    cam_result got[6];
    s.ctx = t_ctx(s.net, threads);
    s.in = t_images(1, images, 64, 96);
    t_explain(s.ctx, s.in, want, 3, got);
    return s;
}

static void clear_stage(stage *s)
{
    free((float *)(uintptr_t)s->in.nchw);
    cam_ctx_free(s->ctx);
    cam_net_close(s->net);
}

/* The worth of a coalition of positions, by cam_tail on an activation with zeros in it. */
static double worth_by_hand(cam_ctx *ctx, int image, int request, const char *layer, cam_utility u, int cls, unsigned mask)
{
    int32_t chw[3];
    const float *a = cam_activation(ctx, image, request, chw);
    int positions = chw[1] * chw[2];
    float *copy = malloc((size_t)(chw[0] * positions) * sizeof *copy), o[1000];
    for (int i = 0; i < chw[0] * positions; i++) copy[i] = mask >> i % positions & 1 ? a[i] : 0;
    cam_error e;
    CHECK_OK(cam_tail(ctx, layer, copy, 1, o, &e), e);
    free(copy);
    cam_aim aim = {u, cls, CAM_STRONGEST}; /* the rival of the whole picture is that of every coalition */
    aim.rival = cam_rival_of(cam_logits(ctx, image), 1000, aim);
    return cam_utility_at(aim, o, 1000, NULL, NULL, NULL);
}

static void check_by_hand(const char *net, int additive)
{
    stage s = set_stage(net, 2, 1);
    double worth[1 << 6], values[6];
    for (cam_utility u = CAM_LOGIT; u < CAM_UTILITIES; u++) {
        answer a;
        solve(s.ctx, 0, ask("conv", cam_utility_name(u), 7, 0), &a);
        CHECK(a.r.players == 6 && a.r.height == 2 && a.r.width == 3 && a.r.exact && a.r.additive == additive && a.r.cls == 7);
        CHECK(a.r.tail_runs == (additive ? 2 : 64) && a.r.permutations == 0);
        for (unsigned mask = 0; mask < 64; mask++) worth[mask] = worth_by_hand(s.ctx, 0, 1, "conv", u, 7, mask);
        cam_shapley_of_worths(worth, 6, values);
        double size = fabs(worth[63] - worth[0]);
        for (int i = 0; i < 6; i++) size = fmax(size, fabs(values[i]));
        double tolerance = 3e-5 * size + 1e-5; /* some utilities are small differences of logits of about 10 */
        CHECK_MSG(fabs(a.r.empty - worth[0]) <= tolerance && fabs(a.r.full - worth[63]) <= tolerance,
                  "%s: worth %g to %g, want %g to %g", cam_utility_name(u), a.r.empty, a.r.full, worth[0], worth[63]);
        for (int i = 0; i < 6; i++)
            CHECK_MSG(fabs(a.values[i] - values[i]) <= tolerance && a.errors[i] == 0, "%s, player %d: %.9g, want %.9g",
                      cam_utility_name(u), i, a.values[i], values[i]);
    }
    clear_stage(&s);
}

TEST(additive_tails_give_what_running_every_coalition_gives)
{
    check_by_hand("mobilenet_v2", 1);
    check_by_hand("resnet18", 1);
    check_by_hand("efficientnet_b0", 1);
}

TEST(tails_of_transformers_are_run_with_the_class_token_in_its_place)
{
    cam_net *net = t_net("deit_base", NULL);
    cam_ctx *ctx = t_ctx(net, 0);
    cam_input in = t_images(1, 1, 224, 224);
    cam_request want[2] = {t_request("hirescam", "logit", "conv", CAM_TOP1), t_request("hirescam", "logit", "pre_pool", CAM_TOP1)};
    cam_result results[2], got;
    answer a;
    t_explain(ctx, in, want, 2, results);
    got = results[0];
    solve(ctx, 0, ask("pre_pool", "rest", CAM_TOP1, 2), &a); /* from here on, only the class token counts */
    CHECK(a.r.additive && a.r.exact && a.r.empty == a.r.full && a.values[0] == 0 && a.values[3] == 0);
    double u = cam_utility_at((cam_aim){CAM_REST, got.cls, CAM_STRONGEST}, cam_logits(ctx, 0), 1000, NULL, NULL, NULL);
    CHECK_MSG(fabs(a.r.full - u) <= 1e-5 * fabs(u), "worth of the class token %g, want %g", a.r.full, u);
    solve(ctx, 0, ask("conv", "logit", CAM_TOP1, 2), &a);
    CHECK(!a.r.additive && a.r.exact && a.r.players == 4 && a.r.tail_runs == 16 && a.r.height == 14 && a.r.width == 14);
    CHECK_MSG(fabs(a.r.full - got.utility) <= 1e-5 * fabs(got.utility), "worth of all %g, want %g", a.r.full, got.utility);
    CHECK(a.r.empty != a.r.full && a.values[0] != a.values[3]);
    free((float *)(uintptr_t)in.nchw);
    cam_ctx_free(ctx);
    cam_net_close(net);
}

TEST(shapley_values_have_the_same_bits_for_any_number_of_threads)
{
    answer a[2];
    for (int game = 0; game < 3; game++) {
        for (int t = 0; t < 2; t++) {
            stage s = set_stage(game == 2 ? "vgg16" : "mobilenet_v2", t + 1, 1);
            cam_shapley_request want = ask("pre_pool", "rest", CAM_TOP1, 0);
            want.permutations = 40;
            want.tail_runs = game == 2 ? 50 : 0; /* too few for 2^6, so they are sampled */
            solve(s.ctx, 0, want, &a[t]);
            clear_stage(&s);
        }
        CHECK(game != 2 || (!a[0].r.exact && a[0].r.permutations == 8 && a[0].r.tail_runs == 42));
        CHECK(!memcmp(a[0].values, a[1].values, sizeof a[0].values) && !memcmp(a[0].errors, a[1].errors, sizeof a[0].errors));
        CHECK(a[0].r.full == a[1].r.full && a[0].r.empty == a[1].r.empty);
    }
}

TEST(each_image_of_a_batch_has_its_own_game)
{
    stage both = set_stage("resnet18", 1, 2), first = set_stage("resnet18", 1, 1);
    answer a[3];
    solve(both.ctx, 0, ask("conv", "rest", -2, 0), &a[0]);
    solve(both.ctx, 1, ask("conv", "rest", -2, 0), &a[1]);
    solve(first.ctx, 0, ask("conv", "rest", -2, 0), &a[2]);
    CHECK(!memcmp(a[0].values, a[2].values, sizeof a[0].values) && memcmp(a[0].values, a[1].values, sizeof a[0].values));
    const float *o = cam_logits(both.ctx, 1);
    int32_t top[2];
    cam_top(o, 1000, 2, top);
    double u = cam_utility_at((cam_aim){CAM_REST, top[1], CAM_STRONGEST}, o, 1000, NULL, NULL, NULL);
    CHECK(a[1].r.cls == top[1]);
    CHECK_MSG(fabs(a[1].r.full - u) <= 1e-5 * fabs(u), "worth of all %g, want %g", a[1].r.full, u);
    clear_stage(&both);
    clear_stage(&first);
}

/* ---- agreement ---- */

TEST(maps_are_compared_with_the_truth_region_by_region)
{
    stage s = set_stage("mobilenet_v2", 1, 1);
    answer a;
    cam_agreement got;
    cam_error e;
    solve(s.ctx, 0, ask("pre_pool", "logit", CAM_TOP1, 0), &a);
    CHECK_OK(cam_shapley_agreement(s.ctx, 0, 0, &a.r, &got, &e), e);
    CHECK_MSG(got.distance < 1e-5 && got.pearson > 0.99999 && got.spearman > 0.99999 && got.kendall > 0.99999,
              "a linear game: %g, %g, %g, %g", got.distance, got.pearson, got.spearman, got.kendall);
    cam_shapley_request want = ask("pre_pool", "logit", CAM_TOP1, 1);
    want.columns = 2;
    solve(s.ctx, 0, want, &a);
    CHECK(a.r.players == 2);
    CHECK_OK(cam_shapley_agreement(s.ctx, 0, 0, &a.r, &got, &e), e);
    CHECK_MSG(got.distance < 1e-5, "two regions: %g", got.distance);
    CAM_FAILS(cam_shapley_agreement(s.ctx, 0, 3, &a.r, &got, &e), e, CAM_E_ARG, "request 3");
    a.r.regions = NULL;
    CAM_FAILS(cam_shapley_agreement(s.ctx, 0, 0, &a.r, &got, &e), e, CAM_E_ARG, "regions");
    clear_stage(&s);
}

/* ---- refusals ---- */

TEST(games_that_cannot_be_are_refused)
{
    stage s = set_stage("mobilenet_v2", 1, 1), slow = set_stage("vgg16", 1, 1);
    answer a;
    cam_error e;
    cam_shapley_request good = ask("conv", "rest", 3, 0), bad;
    bad = good, bad.size = 4;
    CAM_FAILS(try_solve(s.ctx, 0, &bad, &a, &e), e, CAM_E_ARG, "sizeof(cam_shapley_request)");
    bad = good, bad.layer = "features.3";
    CAM_FAILS(try_solve(s.ctx, 0, &bad, &a, &e), e, CAM_E_ARG, "features.3");
    bad = good, bad.layer = NULL;
    CHECK(try_solve(s.ctx, 0, &bad, &a, NULL) == CAM_E_ARG);
    bad = good, bad.utility = "luck";
    CAM_FAILS(try_solve(s.ctx, 0, &bad, &a, &e), e, CAM_E_ARG, "luck");
    bad = good, bad.cls = 1000;
    CAM_FAILS(try_solve(s.ctx, 0, &bad, &a, &e), e, CAM_E_ARG, "class 1000");
    bad = good, bad.rows = 3;
    CAM_FAILS(try_solve(s.ctx, 0, &bad, &a, &e), e, CAM_E_ARG, "3 x 0");
    bad = good, bad.error = -1;
    CAM_FAILS(try_solve(s.ctx, 0, &bad, &a, &e), e, CAM_E_ARG, "no negative");
    CAM_FAILS(try_solve(s.ctx, 1, &good, &a, &e), e, CAM_E_ARG, "image 1");
    bad = good, bad.layer = "pre_pool", bad.tail_runs = 21;
    CAM_FAILS(try_solve(slow.ctx, 0, &bad, &a, &e), e, CAM_E_LIMIT, "22");
    a.r.size = 8;
    CAM_FAILS(cam_shapley(s.ctx, 0, &good, &a.r, &e), e, CAM_E_ARG, "sizeof(cam_shapley_result)");
    a.r = (cam_shapley_result){.size = sizeof a.r, .room = 5};
    CAM_FAILS(cam_shapley(s.ctx, 0, &good, &a.r, &e), e, CAM_E_ARG, "room for 5");
    a.r.room = 6;
    CHECK_OK(cam_shapley(s.ctx, 0, &good, &a.r, &e), e);
    CHECK(a.r.players == 6 && a.r.exact && a.r.empty != a.r.full);
    clear_stage(&s);
    clear_stage(&slow);
}

static void check_allocations(const char *net, int64_t tail_runs)
{
    stage s = set_stage(net, 1, 1);
    cam_shapley_request want = ask("pre_pool", "rest", CAM_TOP1, 0);
    want.tail_runs = tail_runs;
    answer a;
    cam_error e;
    long n = 1;
    for (;; n++) {
        t_fail_allocation(n, 0);
        cam_status status = try_solve(s.ctx, 0, &want, &a, &e);
        t_fail_allocation(0, 0);
        if (status == CAM_OK) break;
        CHECK_MSG(status == CAM_E_NOMEM, "allocation %ld: %s", n, e.text);
    }
    CHECK_MSG(n > 15, "only %ld allocations", n);
    solve(s.ctx, 0, want, &a);
    clear_stage(&s);
}

TEST(games_survive_that_any_allocation_fails)
{
    check_allocations("mobilenet_v2", 0);
    check_allocations("vgg16", 42); /* sampled by running the tail */
}
