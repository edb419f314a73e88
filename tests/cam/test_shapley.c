/* SPDX-License-Identifier: MIT */
/* Shapley values of games whose values are known: quadratic ones in closed form, the lemma's, and all others by going through every
 * order; sampling against enumeration; additive logits against enumeration one coalition at a time; agreement against numbers worked out
 * by hand. */
#include "cam/additive.h"
#include "cam/agreement.h"
#include "tests/test.h"
#include "weights/seeded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- games ---- */

/* v(S) = b'x + x'Qx / 2 with x the activations of those who are there. */
enum { MOST = 130, BATCH = 7 };

typedef struct quadratic {
    int n, batches, coalitions, fail_after; /* of batches; -1: never */
    double a[MOST], b[MOST], q[MOST][MOST];
} quadratic;

static double quadratic_worth(const quadratic *g, const uint64_t *s)
{
    double sum = 0;
    for (int i = 0; i < g->n; i++) {
        if (!(s[i / 64] >> i % 64 & 1)) continue;
        sum += g->b[i] * g->a[i];
        for (int j = 0; j < g->n; j++)
            if (s[j / 64] >> j % 64 & 1) sum += g->a[i] * g->q[i][j] * g->a[j] / 2;
    }
    return sum;
}

static en_status quadratic_worths(void *self, const uint64_t *coalitions, int count, double *worth, en_error *e)
{
    quadratic *g = self;
    CHECK(count >= 1 && count <= BATCH);
    g->coalitions += count;
    if (g->batches++ == g->fail_after) return en_fail(e, EN_E_NONFINITE, "no worth today");
    for (int i = 0; i < count; i++) worth[i] = quadratic_worth(g, coalitions + i * cam_coalition_words(g->n));
    return EN_OK;
}

static cam_game quadratic_game(quadratic *g)
{
    g->fail_after = -1;
    return (cam_game){.players = g->n, .self = g, .worths = quadratic_worths, .batch = BATCH};
}

static void random_quadratic(quadratic *g, int n)
{
    *g = (quadratic){.n = n};
    for (int i = 0; i < n; i++) {
        g->a[i] = t_uniform(-2, 2);
        g->b[i] = t_uniform(-1, 1);
        for (int j = 0; j <= i; j++) g->q[i][j] = g->q[j][i] = t_uniform(-1, 1);
    }
}

/* a_i (g_i - (Qa)_i / 2) with g = b + Qa: the equation that ShapleyCAM is made of. */
static double closed_form(const quadratic *g, int i)
{
    double qa = 0;
    for (int j = 0; j < g->n; j++) qa += g->q[i][j] * g->a[j];
    return g->a[i] * (g->b[i] + qa - qa / 2);
}

static double solve_exactly(const cam_game *game, double *values)
{
    en_error e;
    double ends[2];
    CHECK_OK(cam_shapley_exact(game, values, ends, &e), e);
    return ends[1] - ends[0];
}

/* ---- exact ---- */

TEST(the_game_of_integers_has_the_values_three_six_and_thirty_three)
{
    quadratic g = {.n = 3, .a = {1, 2, 3}, .b = {1, -1, 2}, .q = {{2, 1, 0}, {1, -1, 3}, {0, 3, 4}}};
    cam_game game = quadratic_game(&g);
    double values[3], gain = solve_exactly(&game, values);
    for (int i = 0; i < 3; i++) CHECK_MSG(fabs(values[i] - (double[]){3, 6, 33}[i]) < 1e-13, "player %d: %.17g", i, values[i]);
    CHECK(gain == 42 && g.coalitions == 8);
}

TEST(every_coalition_counted_gives_the_closed_form_of_a_quadratic_game)
{
    for (int n = 1; n <= 10; n++) {
        quadratic g;
        double values[10], sum = 0;
        random_quadratic(&g, n);
        cam_game game = quadratic_game(&g);
        double gain = solve_exactly(&game, values);
        for (int i = 0; i < n; i++) {
            CHECK_MSG(fabs(values[i] - closed_form(&g, i)) < 1e-12, "%d of %d players: %g, want %g", i, n, values[i],
                      closed_form(&g, i));
            sum += values[i];
        }
        CHECK_MSG(fabs(sum - gain) < 1e-12, "%d players: the sum is %g, want %g", n, sum, gain);
        CHECK(g.coalitions == 1 << n);
    }
}

TEST(a_player_who_adds_nothing_gets_nothing_and_equal_players_get_the_same)
{
    quadratic g;
    double values[9];
    random_quadratic(&g, 9);
    g.a[4] = 0;
    g.a[7] = g.a[2], g.b[7] = g.b[2], g.q[7][7] = g.q[2][2];
    for (int j = 0; j < 9; j++)
        if (j != 2 && j != 7) g.q[7][j] = g.q[j][7] = g.q[2][j];
    cam_game game = quadratic_game(&g);
    solve_exactly(&game, values);
    CHECK(values[4] == 0);
    CHECK_MSG(fabs(values[2] - values[7]) < 1e-13, "%.17g and %.17g", values[2], values[7]);
}

TEST(who_ends_the_silence_of_a_group_pays_an_equal_share)
{
    enum { N = 8, GROUP = 1 << 1 | 1 << 4 | 1 << 6 }; /* worth 1 while nobody of the group has come */
    double worth[1 << N], values[N];
    for (int s = 0; s < 1 << N; s++) worth[s] = !(s & GROUP);
    cam_shapley_of_worths(worth, N, values);
    for (int i = 0; i < N; i++)
        CHECK_MSG(fabs(values[i] - (GROUP >> i & 1 ? -1. / 3 : 0)) < 1e-15, "player %d: %.17g", i, values[i]);
}

TEST(every_order_counted_gives_the_same_as_every_coalition)
{
    enum { N = 5 };
    double worth[1 << N], values[N], mean[N] = {0};
    for (int s = 0; s < 1 << N; s++) worth[s] = t_uniform(-1, 1);
    cam_shapley_of_worths(worth, N, values);
    int orders = 0;
    for (int code = 0; code < N * N * N * N * N; code++) {
        int inside = 0, at = code;
        double gains[N];
        for (int k = 0; k < N; k++, at /= N) {
            int bit = 1 << at % N;
            if (inside & bit) break;
            gains[at % N] = worth[inside | bit] - worth[inside];
            inside |= bit;
        }
        if (inside != (1 << N) - 1) continue;
        orders++;
        for (int i = 0; i < N; i++) mean[i] += gains[i] / 120;
    }
    CHECK(orders == 120);
    for (int i = 0; i < N; i++) CHECK_MSG(fabs(values[i] - mean[i]) < 1e-14, "player %d: %g, want %g", i, values[i], mean[i]);
}

/* ---- sampled ---- */

TEST(orders_are_those_of_the_stream_sorted)
{
    enum { N = 49 };
    uint64_t keys[N];
    int order[N];
    for (uint64_t i = 0; i < 40; i++) {
        uint64_t stream = wt_seeded_stream("permutation", i);
        cam_shapley_order(i, N, keys, order);
        for (int k = 1; k < N; k++) {
            double before = wt_uniform(stream, (uint64_t)order[k - 1]), here = wt_uniform(stream, (uint64_t)order[k]);
            CHECK(before < here || (before == here && order[k - 1] < order[k]));
        }
    }
}

static int64_t solve_by_sampling(const cam_game *game, cam_sampling want, double *values, double *errors)
{
    en_error e;
    double ends[2], sum = 0;
    int64_t pairs;
    CHECK_OK(cam_shapley_sampled(game, &want, values, errors, ends, &pairs, &e), e);
    for (int i = 0; i < game->players; i++) sum += values[i];
    CHECK_MSG(fabs(sum - (ends[1] - ends[0])) < 1e-10, "the sum is %g, want %g", sum, ends[1] - ends[0]);
    return pairs;
}

TEST(an_order_and_its_reverse_solve_a_quadratic_game_at_once)
{
    static quadratic g;
    double values[MOST], errors[MOST];
    random_quadratic(&g, MOST);
    cam_game game = quadratic_game(&g);
    CHECK(solve_by_sampling(&game, (cam_sampling){.pairs = 3}, values, errors) == 3);
    for (int i = 0; i < MOST; i++) CHECK(fabs(values[i] - closed_form(&g, i)) < 1e-11 && errors[i] < 1e-11);
    CHECK(g.coalitions == 2 + 3 * 2 * (MOST - 1));
}

static en_status worth_of_sine(void *self, const uint64_t *coalitions, int count, double *worth, en_error *e)
{
    (void)e;
    for (int i = 0; i < count; i++) worth[i] = sin(quadratic_worth(self, coalitions + i));
    return EN_OK;
}

TEST(samples_lie_within_their_standard_errors_and_more_samples_are_better)
{
    enum { N = 9 };
    quadratic g;
    double exact[N], values[N], errors[N], rough[N], worst = 0, worst_rough = 0;
    random_quadratic(&g, N);
    cam_game game = {.players = N, .self = &g, .worths = worth_of_sine, .batch = BATCH};
    solve_exactly(&game, exact);
    CHECK(solve_by_sampling(&game, (cam_sampling){.pairs = 200, .seed = t_random()}, values, rough) == 200);
    CHECK(solve_by_sampling(&game, (cam_sampling){.pairs = 20000, .seed = t_random()}, values, errors) == 20000);
    for (int i = 0; i < N; i++) {
        CHECK_MSG(fabs(values[i] - exact[i]) <= 5 * errors[i], "player %d: %g, want %g within 5 times %g", i, values[i], exact[i],
                  errors[i]);
        worst = fmax(worst, errors[i]);
        worst_rough = fmax(worst_rough, rough[i]);
    }
    CHECK(worst < 0.01 && worst_rough > 5 * worst && worst_rough < 20 * worst);
}

TEST(two_pairs_of_orders_give_their_mean_and_half_their_difference)
{
    enum { N = 9 };
    quadratic g;
    double values[N], errors[N], pair[2][N] = {{0}};
    uint64_t keys[N];
    int order[N];
    random_quadratic(&g, N);
    for (int i = 0; i < 2; i++) {
        cam_shapley_order((uint64_t)i, N, keys, order);
        for (int way = 0; way < 2; way++) {
            uint64_t inside = 0;
            for (int k = 0; k < N; k++) {
                int player = order[way ? N - 1 - k : k];
                uint64_t with = inside | (uint64_t)1 << player;
                pair[i][player] += (sin(quadratic_worth(&g, &with)) - sin(quadratic_worth(&g, &inside))) / 2;
                inside = with;
            }
        }
    }
    cam_game game = {.players = N, .self = &g, .worths = worth_of_sine, .batch = BATCH};
    CHECK(solve_by_sampling(&game, (cam_sampling){.pairs = 2}, values, errors) == 2);
    for (int i = 0; i < N; i++) {
        CHECK_MSG(fabs(values[i] - (pair[0][i] + pair[1][i]) / 2) < 1e-14, "player %d: %g", i, values[i]);
        CHECK_MSG(fabs(errors[i] - fabs(pair[0][i] - pair[1][i]) / 2) < 1e-14, "player %d: standard error %g", i, errors[i]);
    }
}

TEST(sampling_stops_at_the_wanted_error)
{
    enum { N = 9 };
    quadratic g;
    double values[N], errors[N];
    random_quadratic(&g, N);
    cam_game game = {.players = N, .self = &g, .worths = worth_of_sine, .batch = BATCH};
    int64_t pairs = solve_by_sampling(&game, (cam_sampling){.pairs = 1000000, .error = 0.01}, values, errors);
    CHECK(pairs > 8 && pairs < 50000);
    for (int i = 0; i < N; i++) CHECK(errors[i] <= 0.01);
}

TEST(seeds_draw_different_orders_and_the_same_seed_the_same_bits)
{
    enum { N = 6 };
    quadratic g;
    double values[3][N], errors[N];
    random_quadratic(&g, N);
    cam_game game = {.players = N, .self = &g, .worths = worth_of_sine, .batch = BATCH};
    for (int i = 0; i < 3; i++) {
        game.batch = i + 1; /* nor does the batch matter */
        solve_by_sampling(&game, (cam_sampling){.pairs = 5, .seed = i == 2}, values[i], errors);
    }
    CHECK(!memcmp(values[0], values[1], sizeof values[0]) && memcmp(values[0], values[2], sizeof values[0]));
}

TEST(shapley_values_that_cannot_be_are_refused)
{
    static quadratic g;
    double values[MOST], errors[MOST], ends[2];
    int64_t pairs;
    en_error e;
    random_quadratic(&g, 21);
    cam_game game = quadratic_game(&g);
    cam_sampling two = {.pairs = 2};
    CHECK_FAILS(cam_shapley_exact(&game, values, ends, &e), e, EN_E_LIMIT, "21 players");
    CHECK_FAILS(cam_shapley_sampled(&game, &(cam_sampling){.pairs = 1}, values, errors, ends, &pairs, &e), e, EN_E_ARG, "1 pairs");
    CHECK_FAILS(cam_shapley_sampled(&game, &(cam_sampling){.pairs = 2, .error = NAN}, values, errors, ends, &pairs, &e), e,
                EN_E_ARG, "error");
    for (g.fail_after = 0; g.fail_after < 5; g.fail_after++) {
        g.batches = 0;
        CHECK_FAILS(cam_shapley_sampled(&game, &two, values, errors, ends, &pairs, &e), e, EN_E_NONFINITE, "today");
    }
    game.players = g.n = 4;
    g.batches = 0, g.fail_after = 1;
    CHECK_FAILS(cam_shapley_exact(&game, values, ends, &e), e, EN_E_NONFINITE, "today");
    game.players = 1;
    CHECK_FAILS(cam_shapley_sampled(&game, &two, values, errors, ends, &pairs, &e), e, EN_E_LIMIT, "1 players");
}

/* ---- additive logits ---- */

static void random_additive(cam_additive *a, int players, int classes, double scale)
{
    en_error e;
    CHECK_OK(cam_additive_new(players, classes, NULL, a, &e), e);
    for (int k = 0; k < classes; k++) a->empty[k] = t_uniform(-scale, scale);
    for (int i = 0; i < players * classes; i++) a->z[i] = t_uniform(-scale, scale);
}

/* u(o(S)) without any scaling but the largest logit's. */
static double plain_worth(const cam_additive *a, uint64_t s)
{
    double o[64], most = -INFINITY, sum = 0;
    for (int k = 0; k < a->classes; k++) {
        o[k] = a->empty[k];
        for (int p = 0; p < a->players; p++)
            if (s >> p & 1) o[k] += a->z[p * a->classes + k];
        most = fmax(most, o[k]);
    }
    for (int k = 0; k < a->classes; k++) sum += exp(o[k] - most);
    double share = o[a->aim.cls] - (most + log(sum));
    return a->aim.utility == CAM_LOGIT     ? o[a->aim.cls]
           : a->aim.utility == CAM_SOFTMAX ? exp(share)
                                       : share + (a->aim.utility == CAM_REST ? o[a->aim.cls] : 0);
}

/* tolerance: of the fast ways; the slow one rounds logits to float */
static void check_additive(cam_additive *a, cam_utility utility, double tolerance)
{
    int n = a->players, order[16];
    double *worth = malloc(sizeof *worth << n), path[17];
    cam_game game = cam_additive_game(a, (cam_aim){utility, a->classes / 2, CAM_STRONGEST});
    en_error e;
    CHECK_OK(game.all(game.self, worth, &e), e);
    for (uint64_t s = 0; s < (uint64_t)1 << n; s++) {
        double want = plain_worth(a, s), single;
        CHECK_OK(game.worths(game.self, &s, 1, &single, &e), e);
        CHECK_MSG(fabs(worth[s] - want) <= tolerance, "coalition %llx: %.17g, want %.17g", (unsigned long long)s, worth[s], want);
        CHECK_MSG(fabs(single - want) <= 1e8 * tolerance, "coalition %llx alone: %g, want %g", (unsigned long long)s, single, want);
    }
    uint64_t keys[16], inside = 0;
    cam_shapley_order(t_random(), n, keys, order);
    CHECK_OK(game.along(game.self, order, 1, path, &e), e);
    for (int k = 0; k <= n; k++) {
        double want = plain_worth(a, inside);
        CHECK_MSG(fabs(path[k] - want) <= tolerance, "after %d: %.17g, want %.17g", k, path[k], want);
        if (k < n) inside |= (uint64_t)1 << order[k];
    }
    free(worth);
}

TEST(products_of_exponentials_give_the_worths_of_additive_games)
{
    for (int n = 1; n <= 9; n++) {
        cam_additive a;
        random_additive(&a, n, 5 * n, 3);
        for (cam_utility u = CAM_LOGIT; u <= CAM_REST; u++) check_additive(&a, u, 1e-12);
        cam_additive_free(&a);
    }
}

TEST(utilities_of_single_logits_are_taken_at_each_coalition)
{
    cam_additive a;
    double values[6], sum = 0;
    random_additive(&a, 6, 4, 2);
    cam_game game = cam_additive_game(&a, (cam_aim){CAM_CONTRAST, 1, CAM_STRONGEST});
    CHECK(!game.all && !game.along);
    double gain = solve_exactly(&game, values), o[2][4];
    for (int k = 0; k < 4; k++) {
        o[0][k] = o[1][k] = a.empty[k];
        for (int p = 0; p < 6; p++) o[1][k] += a.z[p * 4 + k];
    }
    for (int i = 0; i < 6; i++) sum += values[i];
    CHECK(fabs(sum - gain) < 1e-12);
    CHECK(fabs(gain - (o[1][1] - fmax(o[1][0], fmax(o[1][2], o[1][3]))) + (o[0][1] - fmax(o[0][0], fmax(o[0][2], o[0][3])))) <
          1e-5);
    cam_additive_free(&a);
}

/* Errors of the first and second order, g_i and g_i - (H sum z)_i / 2, for ReST: g = 2e - s, Hv = -s (v - s'v). */
static void order_errors(const cam_additive *a, const double *truth, double error[2])
{
    double o[64], v[64], s[64], sum = 0, mean = 0;
    for (int k = 0; k < a->classes; k++) {
        v[k] = 0;
        for (int p = 0; p < a->players; p++) v[k] += a->z[p * a->classes + k];
        o[k] = a->empty[k] + v[k];
        sum += exp(o[k]);
    }
    for (int k = 0; k < a->classes; k++) s[k] = exp(o[k]) / sum, mean += s[k] * v[k];
    error[0] = error[1] = 0;
    for (int p = 0; p < a->players; p++) {
        double first = 0, second = 0;
        for (int k = 0; k < a->classes; k++) {
            double g = (k == a->aim.cls ? 2 : 0) - s[k], z = a->z[p * a->classes + k];
            first += z * g;
            second += z * (g + s[k] * (v[k] - mean) / 2);
        }
        error[0] = fmax(error[0], fabs(first - truth[p]));
        error[1] = fmax(error[1], fabs(second - truth[p]));
    }
}

TEST(the_second_order_is_nearer_to_the_truth_where_players_say_little)
{
    for (int i = 0; i < 20; i++) {
        cam_additive a;
        double truth[8], error[2];
        random_additive(&a, 8, 10, 0.1);
        cam_game game = cam_additive_game(&a, (cam_aim){CAM_REST, 4, CAM_STRONGEST});
        solve_exactly(&game, truth);
        order_errors(&a, truth, error);
        CHECK_MSG(error[1] < 0.2 * error[0], "second order is off by %g, first by %g", error[1], error[0]);
        cam_additive_free(&a);
    }
}

TEST(logits_thousands_apart_neither_overflow_nor_vanish)
{
    cam_additive a;
    random_additive(&a, 8, 11, 2000);
    check_additive(&a, CAM_REST, 1e-10);
    check_additive(&a, CAM_LOGSOFTMAX, 1e-10);
    cam_additive_free(&a);
}

TEST(an_additive_game_of_more_than_a_word_of_players_is_sampled_like_any_other)
{
    enum { N = 70 };
    cam_additive a;
    double fast[N], slow[N], errors[N];
    random_additive(&a, N, 9, 0.5);
    cam_game game = cam_additive_game(&a, (cam_aim){CAM_REST, 3, CAM_STRONGEST});
    CHECK(solve_by_sampling(&game, (cam_sampling){.pairs = 4}, fast, errors) == 4);
    game.along = NULL;
    CHECK(solve_by_sampling(&game, (cam_sampling){.pairs = 4}, slow, errors) == 4);
    for (int i = 0; i < N; i++) CHECK_MSG(fabs(fast[i] - slow[i]) < 1e-5, "player %d: %g, want %g", i, fast[i], slow[i]);
    cam_additive_free(&a);
}

TEST(shapley_values_survive_that_any_allocation_fails)
{
    quadratic g;
    cam_additive a;
    double values[9], errors[9], ends[2];
    int64_t pairs;
    en_error e;
    random_quadratic(&g, 9);
    random_additive(&a, 9, 20, 1);
    cam_game games[2] = {quadratic_game(&g), cam_additive_game(&a, (cam_aim){CAM_REST, 0, CAM_STRONGEST})};
    for (int way = 0; way < 4; way++)
        for (long n = 1;; n++) {
            CHECK(n < 50);
            t_fail_allocation(n, 0);
            en_status status =
                way < 2 ? cam_shapley_exact(&games[way], values, ends, &e)
                        : cam_shapley_sampled(&games[way - 2], &(cam_sampling){.pairs = 9}, values, errors, ends, &pairs, &e);
            t_fail_allocation(0, 0);
            if (status == EN_OK) {
                CHECK(n > 1);
                break;
            }
            CHECK_MSG(status == EN_E_NOMEM, "way %d, allocation %ld: %s", way, n, e.text);
        }
    cam_additive_free(&a);
}

/* ---- agreement ---- */

static cam_agreement agree(const double *map, const double *truth, int n)
{
    cam_agreement out;
    en_error e;
    CHECK_OK(cam_agree(map, truth, n, &out, &e), e);
    return out;
}

TEST(agreement_is_what_was_worked_out_by_hand)
{
    /* ranks 0 1.5 1.5 3 4 and 1 0 2.5 2.5 4; of ten pairs, one is equal on each side, seven agree, one does not */
    cam_agreement a = agree((double[]){1, 2, 2, 3, 10}, (double[]){1, 0, 4, 4, 5}, 5);
    CHECK_MSG(fabs(a.distance - sqrt(34. / 58)) < 1e-15, "%.17g", a.distance);
    CHECK_MSG(fabs(a.pearson - 20.6 / sqrt(53.2 * 18.8)) < 1e-15, "%.17g", a.pearson);
    CHECK_MSG(fabs(a.spearman - 7.25 / 9.5) < 1e-15, "%.17g", a.spearman);
    CHECK_MSG(fabs(a.kendall - 2. / 3) < 1e-15, "%.17g", a.kendall);
}

TEST(agreement_is_whole_for_equal_opposite_for_turned_and_undefined_for_constant_maps)
{
    double t[] = {3, -1, 0, 7, 2, 2, 5}, turned[7], constant[7] = {.1, .1, .1, .1, .1, .1, .1}, zero[7] = {0};
    for (int i = 0; i < 7; i++) turned[i] = -10 * t[i];
    cam_agreement same = agree(t, t, 7), other = agree(turned, t, 7), none = agree(constant, t, 7), blank = agree(t, zero, 7);
    CHECK(same.distance == 0 && fabs(same.pearson - 1) < 1e-15 && fabs(same.spearman - 1) < 1e-15 &&
          fabs(same.kendall - 1) < 1e-15);
    CHECK(fabs(other.distance - 11) < 1e-14 && fabs(other.pearson + 1) < 1e-15 && fabs(other.spearman + 1) < 1e-15 &&
          fabs(other.kendall + 1) < 1e-15);
    CHECK(isnan(none.pearson) && isnan(none.spearman) && isnan(none.kendall) && none.distance > 0);
    CHECK(isnan(blank.distance));
}

TEST(agreement_of_ranks_is_that_of_all_pairs)
{
    enum { MOST_NUMBERS = 60 };
    double x[MOST_NUMBERS], y[MOST_NUMBERS];
    for (int n = 2; n <= MOST_NUMBERS; n++) {
        double score = 0, differ_x = 0, differ_y = 0;
        for (int i = 0; i < n; i++) x[i] = floor(t_uniform(0, 9)), y[i] = floor(t_uniform(0, 20) + x[i]);
        x[0] = y[0] = 0, x[1] = 9, y[1] = 30;
        for (int i = 0; i < n; i++)
            for (int j = 0; j < i; j++) {
                int dx = (x[i] > x[j]) - (x[i] < x[j]), dy = (y[i] > y[j]) - (y[i] < y[j]);
                score += dx * dy, differ_x += dx != 0, differ_y += dy != 0;
            }
        double want = score / sqrt(differ_x * differ_y), got = agree(x, y, n).kendall;
        CHECK_MSG(fabs(got - want) < 1e-14, "%d numbers: %.17g, want %.17g", n, got, want);
    }
}
