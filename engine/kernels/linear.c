/* SPDX-License-Identifier: MIT */
/* Linear layers: a row or a few meet weights that no cache holds, so this is about reading each weight once, in order, and only if it is needed.
 * What stands behind a relu is zero every second or third time, and such an input's weights, one run of up to 1 KB, are not read at all. That
 * changes no bit, for a chain of multiply-adds that began at zero does not notice a product that is zero. */
#include "engine/kernels/epilogue.h"

enum { ROWS = 4, AHEAD = 8 }; /* rows together; so many live inputs before it is used a run of weights is fetched */

/* How many panels' sums fit in registers, for R rows; at least a pair. */
INLINE int together(const int R)
{
#if defined __AVX512F__ || defined __aarch64__
    enum { SUMS = 16 };
#else
    enum { SUMS = 8 };
#endif
    return SUMS / VN < 2 * R ? 2 : SUMS / VN / R;
}

/* ---- y = act(x w + b) ---- */

/* The inputs of one chain that are not zero in all of the rows. */
typedef struct live {
    int count, k[KN_CHAIN + AHEAD];
} live;

static void find_live(const kn_linear *g, int row, int rows, int k, int length, live *l)
{
    l->count = 0;
    for (int end = g->depth - k < length ? g->depth : k + length; k < end; k++) {
        int any = 0;
        for (int r = row; r < row + rows; r++) any |= g->x[r * g->x_row + k] != 0;
        l->k[l->count] = k;
        l->count += any;
    }
}

/* One chain of all sums, and which one. */
typedef struct chain {
    const live *now, *next; /* next is NULL where nothing is to be fetched */
    int first, last;
} chain;

static int live_ahead(const chain *s, int i)
{
    if (i < s->now->count) return s->now->k[i];
    i -= s->now->count;
    return i < s->next->count ? s->next->k[i] : s->now->k[0];
}

/* R rows by G panels, one or an even number: pairs. */
INLINE void tile(const kn_linear *g, const chain *s, int row, int panel, const int R, const int G)
{
    const int width = G < KN_SIDE_BY_SIDE ? G : KN_SIDE_BY_SIDE, pairs = G / width, step = width * 16;
    const float *x = g->x + row * g->x_row, *w = g->w + (size_t)panel * 16 * (size_t)g->depth;
    size_t pair = (size_t)step * (size_t)g->depth;
    float *y = g->y + row * g->y_row + panel * 16;
    vf acc[ROWS][16 * VN];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int j = 0; j < G * VN; j++) acc[r][j] = v_set(0);
    for (int i = 0; i < s->now->count; i++) {
        int k = s->now->k[i];
        if (s->next) {
            const float *ahead = w + (size_t)live_ahead(s, i + AHEAD) * step;
            UNROLL for (int j = 0; j < G; j++) __builtin_prefetch(ahead + (size_t)(j / width) * pair + j % width * 16);
        }
        vf in[ROWS];
        UNROLL for (int r = 0; r < R; r++) in[r] = v_set(x[r * g->x_row + k]);
        UNROLL for (int p = 0; p < pairs; p++)
            UNROLL for (int j = 0; j < width * VN; j++) {
                vf v = v_load(w + (size_t)p * pair + (size_t)k * step + j * VW);
                UNROLL for (int r = 0; r < R; r++) acc[r][p * width * VN + j] = v_fma(in[r], v, acc[r][p * width * VN + j]);
            }
    }
    if (!s->first || g->add)
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int j = 0; j < G * VN; j++) acc[r][j] = v_load(y + r * g->y_row + j * VW) + acc[r][j];
    if (s->last) finish_tile(&g->epilogue, acc[0], 16 * VN, R, G * VN, (size_t)panel * 16, y - g->y, g->y_row, 16, g->epilogue.biased - row);
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int j = 0; j < G * VN; j++) v_store(y + r * g->y_row + j * VW, acc[r][j]);
    for (int r = 0; r < R && s->last; r++) finish_smooth(&g->epilogue, y + r * g->y_row, G, 16);
}

INLINE void rows(const kn_linear *g, const chain *s, int row, const int R)
{
    const int G = together(R);
    int panel = 0;
    for (; panel + G <= g->panels; panel += G) tile(g, s, row, panel, R, G);
    if (G > 8) for (; panel + 8 <= g->panels; panel += 8) tile(g, s, row, panel, R, 8);
    if (G > 2) for (; panel + 2 <= g->panels; panel += 2) tile(g, s, row, panel, R, 2);
    if (panel < g->panels) tile(g, s, row, panel, R, 1);
}

static int rows_together(int left) { return left >= 4 ? 4 : left >= 2 ? 2 : 1; }

static void any_rows(const kn_linear *g, const chain *s, int row, int count)
{
    if (count == 4) rows(g, s, row, 4);
    else if (count == 2) rows(g, s, row, 2);
    else rows(g, s, row, 1);
}

void KN(linear)(const kn_linear *g)
{
    int length = 16 * kn_part((g->depth + 15) / 16, KN_CHAIN / 16);
    live now, next, other;
    find_live(g, 0, rows_together(g->rows), 0, length, &next);
    for (int k = 0; k < g->depth; k += length) {
        chain s = {&now, &next, k == 0, k + length >= g->depth}, far = {&other, NULL, s.first, s.last};
        int row = rows_together(g->rows);
        now = next;
        find_live(g, 0, row, k + length, length, &next);
        any_rows(g, &s, 0, row);
        for (int count; row < g->rows; row += count) { /* from what the first rows have brought into a cache */
            count = rows_together(g->rows - row);
            find_live(g, row, count, k, length, &other);
            any_rows(g, &far, row, count);
        }
    }
}

/* ---- gx += w' gy ---- */

/* The inputs whose gradient anybody reads, and behind them the first ones of the panels that are read next. */
static void find_wanted(const kn_linear_t *g, int row, int rows, int panels, live *l)
{
    l->count = 0;
    for (int k = 0; k < g->depth; k++) {
        int any = g->live == NULL;
        for (int r = row; r < row + rows && !any; r++) any = g->live[r % g->live_rows * g->gx_row + g->first + k] != 0;
        l->k[l->count] = k;
        l->count += any;
    }
    for (int i = 0; i < AHEAD; i++) l->k[l->count + i] = panels / KN_SIDE_BY_SIDE * g->inputs + (i < l->count ? l->k[i] : 0);
}

/* What G panels, of which the first is number `panel`, add to the sums of all inputs that are wanted. */
INLINE void add_panels(const kn_linear_t *g, const live *wanted, int panel, const float *gy, float sums[ROWS][KN_T_DEPTH][16], const int R, const int G)
{
    const int width = G < KN_SIDE_BY_SIDE ? G : KN_SIDE_BY_SIDE, pairs = G / width, step = width * 16;
    size_t pair = (size_t)step * (size_t)g->inputs;
    const float *w = g->w + (size_t)panel * 16 * (size_t)g->inputs + (size_t)(g->first * step);
    vf y[ROWS][16 * VN];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int j = 0; j < G * VN; j++) y[r][j] = v_load(gy + r * g->gy_row + panel * 16 + j * VW);
    for (int i = 0; i < wanted->count; i++) {
        int k = wanted->k[i];
        if (g->live) { /* with gaps between them, which the processor does not foresee */
            const float *ahead = w + (size_t)wanted->k[i + AHEAD] * step;
            UNROLL for (int j = 0; j < G; j++) __builtin_prefetch(ahead + (size_t)(j / width) * pair + j % width * 16);
        }
        vf sum[ROWS][VN];
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int j = 0; j < VN; j++) sum[r][j] = v_load(&sums[r][k][j * VW]);
        UNROLL for (int p = 0; p < pairs; p++)
            UNROLL for (int j = 0; j < width * VN; j++) {
                vf v = v_load(w + (size_t)p * pair + (size_t)k * step + j * VW);
                UNROLL for (int r = 0; r < R; r++) sum[r][j % VN] = v_fma(v, y[r][p * width * VN + j], sum[r][j % VN]);
            }
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int j = 0; j < VN; j++) v_store(&sums[r][k][j * VW], sum[r][j]);
    }
}

INLINE void rows_back(const kn_linear_t *g, int row, const int R)
{
    const int G = together(R);
    const float *gy = g->gy + row * g->gy_row;
    float sums[ROWS][KN_T_DEPTH][16];
    live wanted;
    int panel = 0;
    find_wanted(g, row, R, G, &wanted);
    for (int r = 0; r < R; r++)
        for (int k = 0; k < g->depth; k++)
            for (int j = 0; j < 16; j++) sums[r][k][j] = 0;
    for (; panel + G <= g->panels; panel += G) add_panels(g, &wanted, panel, gy, sums, R, G);
    if (G > 2) for (; panel + 2 <= g->panels; panel += 2) add_panels(g, &wanted, panel, gy, sums, R, 2);
    if (panel < g->panels) add_panels(g, &wanted, panel, gy, sums, R, 1);
    for (int r = 0; r < R; r++)
        for (int i = 0; i < wanted.count; i++) g->gx[(row + r) * g->gx_row + g->first + wanted.k[i]] += sum16(sums[r][wanted.k[i]]);
}

void KN(linear_t)(const kn_linear_t *g)
{
    int row = 0;
    for (; row + 4 <= g->rows; row += 4) rows_back(g, row, 4);
    for (; row + 2 <= g->rows; row += 2) rows_back(g, row, 2);
    for (; row < g->rows; row++) rows_back(g, row, 1);
}
