/* SPDX-License-Identifier: MIT */
/* Games with additive logits: exponentials once per half coalition or player, then only products and sums. */
#include "cam/additive.h"

#include "engine/math.h"

#include <stdlib.h>
#include <string.h>

enum { LANES = 8 }; /* sums that a compiler can keep in vectors; added in this order on every processor */

static const double small = 1e-200;

en_status cam_additive_new(int players, int classes, en_pool *pool, cam_additive *out, en_error *e)
{
    size_t n = (size_t)players, row = ((size_t)classes + LANES - 1) / LANES * LANES;
    *out = (cam_additive){.players = players, .classes = classes, .pool = pool, .row = row};
    out->empty = malloc((size_t)classes * sizeof *out->empty);
    out->z = malloc(n * (size_t)classes * sizeof *out->z);
    out->factor = calloc(n * row, sizeof *out->factor);
    out->most = malloc(n * sizeof *out->most);
    if (!out->empty || !out->z || !out->factor || !out->most)
        return en_fail(e, EN_E_NOMEM, "shapley: no memory for logits of %d players", players);
    return EN_OK;
}

void cam_additive_free(cam_additive *a)
{
    free(a->empty);
    free(a->z);
    free(a->factor);
    free(a->most);
    *a = (cam_additive){0};
}

/* ---- one coalition ---- */

/* Its logits as exp(o - scale), and o_c. */
typedef struct state {
    double *w; /* [row] */
    double scale, target;
} state;

static double sum_of(const double lane[LANES])
{
    return ((lane[0] + lane[4]) + (lane[2] + lane[6])) + ((lane[1] + lane[5]) + (lane[3] + lane[7]));
}

static double sum_of_products(const double *a, const double *b, size_t row)
{
    double lane[LANES] = {0};
    for (size_t k = 0; k < row; k += LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] += a[k + i] * b[k + i];
    return sum_of(lane);
}

/* w *= factor; returns the sum of w. */
static double multiply(double *w, const double *factor, size_t row)
{
    double lane[LANES] = {0};
    for (size_t k = 0; k < row; k += LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] += w[k + i] *= factor[k + i];
    return sum_of(lane);
}

/* The logits: those of nobody, if wanted, and of `count` players. */
static void add_logits(const cam_additive *a, int with_empty, const int *players, int count, double *o)
{
    size_t classes = (size_t)a->classes;
    for (size_t k = 0; k < classes; k++) o[k] = with_empty ? a->empty[k] : 0;
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < classes; k++) o[k] += a->z[(size_t)players[i] * classes + k];
}

static void start(const cam_additive *a, int with_empty, const int *players, int count, state *s)
{
    size_t classes = (size_t)a->classes;
    add_logits(a, with_empty, players, count, s->w);
    s->scale = s->w[0];
    s->target = s->w[a->aim.cls];
    for (size_t k = 1; k < classes; k++) s->scale = s->w[k] > s->scale ? s->w[k] : s->scale;
    for (size_t k = 0; k < classes; k++) s->w[k] = en_exp(s->w[k] - s->scale);
    for (size_t k = classes; k < a->row; k++) s->w[k] = 0;
}

static double total(const state *s, size_t row)
{
    double lane[LANES] = {0};
    for (size_t k = 0; k < row; k += LANES)
        for (size_t i = 0; i < LANES; i++) lane[i] += s->w[k + i];
    return sum_of(lane);
}

static double worth_of(const cam_additive *a, double target, double log_sum_exp)
{
    double log_share = target - log_sum_exp;
    return a->aim.utility == CAM_LOGIT        ? target
           : a->aim.utility == CAM_SOFTMAX    ? en_exp(log_share)
           : a->aim.utility == CAM_LOGSOFTMAX ? log_share
                                          : target + log_share;
}

static double worth_from(const cam_additive *a, const int *players, int count, state *s)
{
    start(a, 1, players, count, s);
    return worth_of(a, s->target, s->scale + en_log(total(s, a->row)));
}

/* Lists the players of a mask, counted from `first`. */
static int members(uint64_t mask, int first, int *out)
{
    int count = 0;
    for (; mask; mask &= mask - 1) out[count++] = first + __builtin_ctzll(mask);
    return count;
}

/* Any utility, from the logits themselves. */
static en_status worths(void *self, const uint64_t *coalitions, int count, double *worth, en_error *e)
{
    const cam_additive *a = self;
    size_t classes = (size_t)a->classes;
    int words = cam_coalition_words(a->players);
    double *sum = malloc(classes * sizeof *sum);
    float *o = malloc(classes * sizeof *o);
    int *list = malloc((size_t)a->players * sizeof *list);
    en_status status = sum && o && list ? EN_OK : en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    for (int i = 0; i < count && status == EN_OK; i++, coalitions += words) {
        int listed = 0;
        for (int j = 0; j < words; j++) listed += members(coalitions[j], 64 * j, list + listed);
        add_logits(a, 1, list, listed, sum);
        for (size_t k = 0; k < classes; k++) o[k] = (float)sum[k];
        worth[i] = cam_utility_at(a->aim, o, a->classes, NULL, NULL, NULL);
    }
    free(sum);
    free(o);
    free(list);
    return status;
}

/* ---- all coalitions ---- */

/* Job i makes row i of the table of half A, then of B; in the second round, job i combines row i of B with all of A. */
typedef struct halves {
    const cam_additive *a;
    int low, high; /* players of A, the first ones, and of B  */
    state *rows;   /* [2^low + 2^high]                        */
    double *spare; /* [2^high][row] for sums made anew        */
    double *worth;
} halves;

static void fill_row(void *arg, int job, int worker)
{
    halves *h = arg;
    (void)worker;
    int list[CAM_EXACT_PLAYERS], of_a = job < 1 << h->low;
    int count = of_a ? members((uint64_t)job, 0, list) : members((uint64_t)(job - (1 << h->low)), h->low, list);
    start(h->a, of_a, list, count, &h->rows[job]);
}

static void combine_row(void *arg, int job, int worker)
{
    halves *h = arg;
    (void)worker;
    const state *b = &h->rows[(1 << h->low) + job];
    for (int i = 0; i < 1 << h->low; i++) {
        const state *x = &h->rows[i];
        double sum = sum_of_products(x->w, b->w, h->a->row);
        uint64_t mask = (uint64_t)job << h->low | (uint64_t)i;
        if (sum > small) {
            h->worth[mask] = worth_of(h->a, x->target + b->target, x->scale + b->scale + en_log(sum));
            continue;
        }
        int list[CAM_EXACT_PLAYERS], count = members(mask, 0, list);
        h->worth[mask] = worth_from(h->a, list, count, &(state){.w = h->spare + (size_t)job * h->a->row});
    }
}

static en_status all(void *self, double *worth, en_error *e)
{
    const cam_additive *a = self;
    halves h = {.a = a, .low = a->players / 2, .high = a->players - a->players / 2, .worth = worth};
    size_t rows = ((size_t)1 << h.low) + ((size_t)1 << h.high), spare = (size_t)1 << h.high;
    h.rows = malloc(rows * sizeof *h.rows);
    double *numbers = malloc((rows + spare) * a->row * sizeof *numbers);
    en_status status = h.rows && numbers ? EN_OK : en_fail(e, EN_E_NOMEM, "shapley: no memory for %zu half coalitions", rows);
    if (status == EN_OK) {
        for (size_t i = 0; i < rows; i++) h.rows[i].w = numbers + i * a->row;
        h.spare = numbers + rows * a->row;
        en_parallel(a->pool, (int)rows, fill_row, &h);
        en_parallel(a->pool, 1 << h.high, combine_row, &h);
    }
    free(h.rows);
    free(numbers);
    return status;
}

/* ---- along orders ---- */

typedef struct walk {
    const cam_additive *a;
    const int *orders;
    double *room; /* [workers][row] */
    double *worth;
} walk;

static void walk_order(void *arg, int job, int worker)
{
    walk *w = arg;
    const cam_additive *a = w->a;
    const int *order = w->orders + (size_t)job * (size_t)a->players;
    double *worth = w->worth + (size_t)job * (size_t)(a->players + 1);
    state s = {.w = w->room + (size_t)worker * a->row};
    worth[0] = worth_from(a, order, 0, &s);
    for (int k = 1; k <= a->players; k++) {
        size_t p = (size_t)order[k - 1];
        double sum = multiply(s.w, a->factor + p * a->row, a->row);
        s.scale += a->most[p];
        s.target += a->z[p * (size_t)a->classes + (size_t)a->aim.cls];
        worth[k] = sum > small ? worth_of(a, s.target, s.scale + en_log(sum)) : worth_from(a, order, k, &s);
    }
}

static en_status along(void *self, const int *orders, int count, double *worth, en_error *e)
{
    const cam_additive *a = self;
    walk w = {.a = a, .orders = orders, .worth = worth};
    w.room = malloc((size_t)en_pool_threads(a->pool) * a->row * sizeof *w.room);
    if (!w.room) return en_fail(e, EN_E_NOMEM, "shapley: out of memory");
    en_parallel(a->pool, count, walk_order, &w);
    free(w.room);
    return EN_OK;
}

cam_game cam_additive_game(cam_additive *a, cam_aim aim)
{
    size_t classes = (size_t)a->classes;
    cam_game game = {.players = a->players, .self = a, .worths = worths, .batch = 64};
    a->aim = aim;
    if (aim.utility != CAM_LOGIT && aim.utility != CAM_SOFTMAX && aim.utility != CAM_LOGSOFTMAX && aim.utility != CAM_REST) return game;
    for (size_t p = 0; p < (size_t)a->players; p++) {
        const double *z = a->z + p * classes;
        a->most[p] = z[0];
        for (size_t k = 1; k < classes; k++) a->most[p] = z[k] > a->most[p] ? z[k] : a->most[p];
        for (size_t k = 0; k < classes; k++) a->factor[p * a->row + k] = en_exp(z[k] - a->most[p]);
    }
    game.all = all;
    game.along = along;
    return game;
}
