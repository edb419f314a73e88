/* SPDX-License-Identifier: MIT */
/* Exact and sampled Shapley values. */
#include "cam/shapley.h"

#include "weights/seeded.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- exact ---- */

void cam_shapley_of_worths(const double *worth, int players, double *values)
{
    double weight[CAM_EXACT_PLAYERS]; /* s! (n-s-1)! / n! */
    uint32_t coalitions = (uint32_t)1 << players;
    weight[0] = 1.0 / players;
    for (int s = 1; s < players; s++) weight[s] = weight[s - 1] * s / (players - s);
    for (int i = 0; i < players; i++) {
        uint32_t bit = (uint32_t)1 << i;
        values[i] = 0;
        for (uint32_t s = 0; s < coalitions; s++)
            if (!(s & bit)) values[i] += weight[__builtin_popcount(s)] * (worth[s | bit] - worth[s]);
    }
}

static en_status one_by_one(const cam_game *game, double *worth, en_error *e)
{
    uint64_t coalitions = (uint64_t)1 << game->players;
    uint64_t *batch = malloc((size_t)game->batch * sizeof *batch);
    if (!batch) return en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    en_status status = EN_OK;
    for (uint64_t s = 0; s < coalitions && status == EN_OK; s += (uint64_t)game->batch) {
        int count = coalitions - s < (uint64_t)game->batch ? (int)(coalitions - s) : game->batch;
        for (int i = 0; i < count; i++) batch[i] = s + (uint64_t)i;
        status = game->worths(game->self, batch, count, worth + s, e);
    }
    free(batch);
    return status;
}

en_status cam_shapley_exact(const cam_game *game, double *values, double ends[2], en_error *e)
{
    if (game->players < 1 || game->players > CAM_EXACT_PLAYERS)
        return en_fail(e, EN_E_LIMIT, "shapley: %d players, want 1 to %d for exact values", game->players, CAM_EXACT_PLAYERS);
    size_t coalitions = (size_t)1 << game->players;
    double *worth = malloc(coalitions * sizeof *worth);
    if (!worth) return en_fail(e, EN_E_NOMEM, "shapley: no memory for %zu worths", coalitions);
    en_status status = game->all ? game->all(game->self, worth, e) : one_by_one(game, worth, e);
    if (status == EN_OK) {
        cam_shapley_of_worths(worth, game->players, values);
        ends[0] = worth[0];
        ends[1] = worth[coalitions - 1];
    }
    free(worth);
    return status;
}

/* ---- orders ---- */

static int ascending(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void cam_shapley_order(uint64_t i, int players, uint64_t *keys, int *order)
{
    uint64_t stream = wt_seeded_stream("permutation", i);
    for (int p = 0; p < players; p++) /* the 24 bits of the number, then the player */
        keys[p] = (uint64_t)((wt_uniform(stream, (uint64_t)p) + 1) * 0x1p23) << 32 | (uint64_t)p;
    qsort(keys, (size_t)players, sizeof *keys, ascending);
    for (int p = 0; p < players; p++) order[p] = (int)(keys[p] & 0xFFFFFFFF);
}

/* ---- worths along orders, a batch of coalitions at a time ---- */

typedef struct queue {
    const cam_game *game;
    int words, count;
    uint64_t *coalitions; /* [batch][words] */
    double *worth;        /* [batch]        */
    double **place;       /* [batch] where each worth goes */
} queue;

static en_status flush(queue *q, en_error *e)
{
    if (q->count == 0) return EN_OK;
    EN_TRY(q->game->worths(q->game->self, q->coalitions, q->count, q->worth, e));
    for (int i = 0; i < q->count; i++) *q->place[i] = q->worth[i];
    q->count = 0;
    return EN_OK;
}

static en_status push(queue *q, const uint64_t *coalition, double *place, en_error *e)
{
    memcpy(q->coalitions + (size_t)q->count * (size_t)q->words, coalition, (size_t)q->words * sizeof *coalition);
    q->place[q->count++] = place;
    return q->count == q->game->batch ? flush(q, e) : EN_OK;
}

static en_status push_orders(queue *q, const int *orders, int count, double *worth, uint64_t *inside, en_error *e)
{
    int n = q->game->players;
    for (int i = 0; i < count; i++, orders += n, worth += n + 1) {
        memset(inside, 0, (size_t)q->words * sizeof *inside);
        for (int k = 1; k < n; k++) {
            int player = orders[k - 1];
            inside[player / 64] |= (uint64_t)1 << player % 64;
            EN_TRY(push(q, inside, worth + k, e));
        }
    }
    return flush(q, e);
}

/* The first and last worth of each order are those of nobody and of all. */
static en_status walk(const cam_game *game, const int *orders, int count, const double ends[2], double *worth, en_error *e)
{
    if (game->along) return game->along(game->self, orders, count, worth, e);
    size_t batch = (size_t)game->batch;
    queue q = {.game = game, .words = cam_coalition_words(game->players)};
    q.coalitions = malloc((batch + 1) * (size_t)q.words * sizeof *q.coalitions); /* one more for the coalition that grows */
    q.worth = malloc(batch * sizeof *q.worth);
    q.place = malloc(batch * sizeof *q.place);
    en_status status = q.coalitions && q.worth && q.place ? EN_OK : en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    for (int i = 0; i < count; i++)
        for (int end = 0; end < 2; end++)
            worth[(size_t)i * (size_t)(game->players + 1) + (size_t)(end ? game->players : 0)] = ends[end];
    if (status == EN_OK) status = push_orders(&q, orders, count, worth, q.coalitions + batch * (size_t)q.words, e);
    free(q.coalitions);
    free(q.worth);
    free(q.place);
    return status;
}

/* ---- sampled ---- */

/* Pairs are drawn in rounds of about ROUND coalitions, so that batches are full; a round depends on the number of players alone. */
enum { ROUND = 4096, FEWEST_PAIRS = 8 /* before standard errors are believed */ };

typedef struct sampler {
    const cam_game *game;
    int round;
    double ends[2];
    int64_t drawn;
    double *mean, *squares; /* [players] over pairs: mean, sum of squared differences from it (Welford 1962) */
    int *orders;            /* [round][2][players]     */
    double *worth;          /* [round][2][players + 1] */
    double *value;          /* [players] of one pair   */
    uint64_t *keys;
} sampler;

static void add_pair(sampler *s, const int *orders, const double *worth)
{
    int n = s->game->players;
    for (int p = 0; p < n; p++) s->value[p] = 0;
    for (int way = 0; way < 2; way++, orders += n, worth += n + 1)
        for (int k = 0; k < n; k++) s->value[orders[k]] += (worth[k + 1] - worth[k]) / 2;
    s->drawn++;
    for (int p = 0; p < n; p++) {
        double off = s->value[p] - s->mean[p];
        s->mean[p] += off / (double)s->drawn;
        s->squares[p] += off * (s->value[p] - s->mean[p]);
    }
}

static double standard_error(const sampler *s, int player)
{
    return sqrt(s->squares[player] / (double)(s->drawn - 1) / (double)s->drawn);
}

static int precise(const sampler *s, double wanted)
{
    double worst = 0;
    for (int p = 0; p < s->game->players; p++)
        if (!(standard_error(s, p) <= worst)) worst = standard_error(s, p);
    return s->drawn >= FEWEST_PAIRS && worst <= wanted;
}

static en_status draw_round(sampler *s, int count, uint64_t seed, en_error *e)
{
    size_t n = (size_t)s->game->players;
    for (int i = 0; i < count; i++) {
        int *order = s->orders + 2 * (size_t)i * n;
        cam_shapley_order((seed << 32) + (uint64_t)(s->drawn + i), (int)n, s->keys, order);
        for (size_t k = 0; k < n; k++) order[n + k] = order[n - 1 - k];
    }
    EN_TRY(walk(s->game, s->orders, 2 * count, s->ends, s->worth, e));
    for (int i = 0; i < count; i++) add_pair(s, s->orders + 2 * (size_t)i * n, s->worth + 2 * (size_t)i * (n + 1));
    return EN_OK;
}

static en_status find_ends(sampler *s, en_error *e)
{
    size_t words = (size_t)cam_coalition_words(s->game->players);
    uint64_t *coalition = calloc(words, sizeof *coalition);
    if (!coalition) return en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    en_status status = s->game->worths(s->game->self, coalition, 1, &s->ends[0], e);
    for (int p = 0; p < s->game->players; p++) coalition[p / 64] |= (uint64_t)1 << p % 64;
    if (status == EN_OK) status = s->game->worths(s->game->self, coalition, 1, &s->ends[1], e);
    free(coalition);
    return status;
}

static en_status sample(sampler *s, const cam_sampling *want, en_error *e)
{
    size_t n = (size_t)s->game->players, ways = 2 * (size_t)s->round;
    s->squares = calloc(n, sizeof *s->squares);
    s->value = malloc(n * sizeof *s->value);
    s->keys = malloc(n * sizeof *s->keys);
    s->orders = malloc(ways * n * sizeof *s->orders);
    s->worth = malloc(ways * (n + 1) * sizeof *s->worth);
    if (!s->squares || !s->value || !s->keys || !s->orders || !s->worth)
        return en_fail(e, EN_E_NOMEM, "shapley: no memory for %zu players", n);
    if (!s->game->along) EN_TRY(find_ends(s, e));
    memset(s->mean, 0, n * sizeof *s->mean);
    while (s->drawn < want->pairs && !(want->error > 0 && s->drawn > 1 && precise(s, want->error))) {
        int64_t left = want->pairs - s->drawn;
        EN_TRY(draw_round(s, left < s->round ? (int)left : s->round, want->seed, e));
    }
    s->ends[0] = s->worth[0];
    s->ends[1] = s->worth[n];
    return EN_OK;
}

en_status cam_shapley_sampled(const cam_game *game, const cam_sampling *want, double *values, double *errors, double ends[2],
                              int64_t *pairs, en_error *e)
{
    if (game->players < 2 || game->players > CAM_MAX_PLAYERS)
        return en_fail(e, EN_E_LIMIT, "shapley: %d players, want 2 to %d for sampled values", game->players, CAM_MAX_PLAYERS);
    if (want->pairs < 2 || want->pairs > INT32_MAX || !(want->error >= 0))
        return en_fail(e, EN_E_ARG, "shapley: %lld pairs of orders, standard error %g: want 2 to %d, and no negative error",
                       (long long)want->pairs, want->error, INT32_MAX);
    int round = ROUND / (2 * game->players);
    sampler s = {.game = game, .round = round > 0 ? round : 1, .mean = values};
    en_status status = sample(&s, want, e);
    for (int p = 0; p < game->players && status == EN_OK; p++) errors[p] = standard_error(&s, p);
    memcpy(ends, s.ends, sizeof s.ends);
    *pairs = s.drawn;
    free(s.squares);
    free(s.value);
    free(s.keys);
    free(s.orders);
    free(s.worth);
    return status;
}
