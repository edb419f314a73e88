/* SPDX-License-Identifier: MIT */
/* The three transforms of Winograd's convolution F(4x4, 3x3), arXiv:1509.09308. Four outputs of a filter g of three taps are the product of
 * a cubic and a quadratic polynomial, which six points determine; in one dimension, with d the six inputs,
 *
 *     y = A' ((G g) * (B' d))          * element by element: 6 multiplications for 12
 *
 * and in two dimensions the same along rows and along columns, 36 for 144. The points are 0, +-P, +-Q and infinity. P = 5/8 and Q = 3/2 are exact,
 * as are their powers, and cancel less than the textbook's 1 and 2 (half the rounding error).
 *
 *     G:   row z is 1, z, z^2; the last one 0, 0, 1
 *     B':  row z holds the coefficients of the product of (x - point) over the other finite points; the last one that over all five
 *     A':  column z is 1, z, z^2, z^3 divided by N(z), the product of (z - point) over the other finite points; the last one 0, 0, 0, 1
 *
 * Everything is a fused multiply-add in a fixed order, so the same bits on every instruction set. */
#include "engine/kernels/epilogue.h"

#define P 0.625f
#define Q 1.5f
#define PP (P * P)
#define QQ (Q * Q)
#define N_0 (PP * QQ)
#define N_P (2 * PP * (PP - QQ))
#define N_Q (2 * QQ * (QQ - PP))

enum { M = 4, R = 3, T = M + R - 1 }; /* outputs, taps, points */

/* x + c y for a number c */
INLINE vf plus(vf x, float c, vf y) { return v_fma(v_set(c), y, x); }

/* u = G g */
INLINE void filter_1d(const vf g[R], vf u[T])
{
    vf p = plus(g[0], PP, g[2]), q = plus(g[0], QQ, g[2]);
    u[0] = g[0];
    u[1] = plus(p, P, g[1]);
    u[2] = plus(p, -P, g[1]);
    u[3] = plus(q, Q, g[1]);
    u[4] = plus(q, -Q, g[1]);
    u[5] = g[2];
}

/* v = B' d */
INLINE void input_1d(const vf d[T], vf v[T])
{
    vf even_p = plus(d[4], -QQ, d[2]), odd_p = plus(d[3], -QQ, d[1]);
    vf even_q = plus(d[4], -PP, d[2]), odd_q = plus(d[3], -PP, d[1]);
    v[0] = plus(plus(d[4], -(PP + QQ), d[2]), PP * QQ, d[0]);
    v[1] = plus(even_p, P, odd_p);
    v[2] = plus(even_p, -P, odd_p);
    v[3] = plus(even_q, Q, odd_q);
    v[4] = plus(even_q, -Q, odd_q);
    v[5] = plus(plus(d[5], -(PP + QQ), d[3]), PP * QQ, d[1]);
}

/* y = A' m */
INLINE void output_1d(const vf m[T], vf y[M])
{
    vf even_p = m[1] + m[2], odd_p = m[1] - m[2], even_q = m[3] + m[4], odd_q = m[3] - m[4];
    y[0] = plus(plus(v_set(1 / N_0) * m[0], 1 / N_P, even_p), 1 / N_Q, even_q);
    y[1] = plus(v_set(P / N_P) * odd_p, Q / N_Q, odd_q);
    y[2] = plus(v_set(PP / N_P) * even_p, QQ / N_Q, even_q);
    y[3] = plus(plus(m[5], P * PP / N_P, odd_p), Q * QQ / N_Q, odd_q);
}

/* One row of G g, for one point: what filter_1d has for it. */
enum { ZERO, FINITE, INFINITE };

static const float point[T] = {0, P, -P, Q, -Q, 0};

INLINE int kind_of(int a) { return a == 0 ? ZERO : a == T - 1 ? INFINITE : FINITE; }

INLINE vf at_point(const int kind, vf z, vf zz, vf first, vf middle, vf last)
{
    return kind == ZERO ? first : kind == INFINITE ? last : v_fma(z, middle, v_fma(zz, last, first));
}

/* Row a of the filters' transform along columns; `row` are the weights' three rows. */
INLINE void filter_row(const float *const row[R], ptrdiff_t w_tap, const int a, vf t[R])
{
    const vf z = v_set(point[a]), zz = v_set(point[a] * point[a]);
    UNROLL for (int s = 0; s < R; s++) t[s] = at_point(kind_of(a), z, zz, v_load(row[0] + s * w_tap), v_load(row[1] + s * w_tap), v_load(row[2] + s * w_tap));
}

/* Points (a, 0 .. 5). */
INLINE void filter_points(const int a, int depth, const float *w, size_t w_tap, float *u, size_t u_tap)
{
    const float *const row[R] = {w, w + R * w_tap, w + 2 * R * w_tap};
    for (int i = 0; i < depth * 16; i += VW) {
        const float *const here[R] = {row[0] + i, row[1] + i, row[2] + i};
        vf t[R], out[T];
        filter_row(here, (ptrdiff_t)w_tap, a, t);
        filter_1d(t, out);
        UNROLL for (int b = 0; b < T; b++) v_store(u + (size_t)b * u_tap + i, out[b]);
    }
}

void KN(winograd_filter)(int a, int depth, const float *w, size_t w_tap, float *u, size_t u_tap)
{
    switch (a) {
    case 0: filter_points(0, depth, w, w_tap, u, u_tap); return;
    case 1: filter_points(1, depth, w, w_tap, u, u_tap); return;
    case 2: filter_points(2, depth, w, w_tap, u, u_tap); return;
    case 3: filter_points(3, depth, w, w_tap, u, u_tap); return;
    case 4: filter_points(4, depth, w, w_tap, u, u_tap); return;
    default: filter_points(5, depth, w, w_tap, u, u_tap); return;
    }
}

/* ---- few tiles: the filters' transform and the product in one ---- */

/* Tiles together: 6 x 4 sums and 8 registers for filters where there are 32 registers, 6 x 2 and 4 where there are 16. */
#if defined __AVX512F__ || defined __aarch64__
enum { FEW = 4 };
#else
enum { FEW = 2 };
#endif
enum { STEPS = 32 }; /* input channels for which weights, input and sums stay in the first-level cache while the six rows of points pass */

/* The four tiles of a map of 7 x 7 in their order: three columns, four both ways, three rows, three both ways. Only what is needed of the last
 * point is computed. */
INLINE int is_needed(const int corners, int a, int b, int tile) { return !corners || ((a < T - 1 || tile < 2) && (b < T - 1 || tile == 1 || tile == 2)); }

/* Points (a, 0 .. 5) of tiles i .. i+tiles-1, up to 16 input channels. w, v: the first of them. Weights needed soon are fetched, a part in each row. */
INLINE void point_row_block(const float *w, ptrdiff_t w_tap, const float *v, const int a, const int tiles, const int corners, const int i, int steps, vf sum[T][FEW])
{
    const float *row[R] = {w, w + 3 * w_tap, w + 6 * w_tap};
    for (int k = 0; k < steps; k++, v++) {
        vf t[R], u[T];
        filter_row(row, w_tap, a, t);
        filter_1d(t, u);
        __builtin_prefetch(row[a / R] + a % R * w_tap + STEPS * 16);
        if (a < R) __builtin_prefetch(row[2] + a * w_tap + STEPS * 16);
        UNROLL for (int b = 0; b < T; b++)
            UNROLL for (int n = 0; n < tiles; n++)
                if (is_needed(corners, a, b, i + n)) sum[b][n] = v_fma(v_set(v[(b * KN_FEW + n) * 16]), u[b], sum[b][n]);
        UNROLL for (int r = 0; r < R; r++) row[r] += 16;
    }
}

/* The same for lanes j .. j+VW-1, input channels k .. k+steps-1. A chain of sums goes on in `chain`. */
INLINE void point_row(const kn_winograd *g, const int a, const int tiles, const int corners, const int i, int j, int k, int steps, float *chain)
{
    vf sum[T][FEW];
    int last = k + steps == g->depth;
    UNROLL for (int b = 0; b < T; b++)
        UNROLL for (int n = 0; n < tiles; n++)
            sum[b][n] = k ? v_load(chain + (b * FEW + n) * VW) : v_set(0);
    for (int c = 0; c < steps; c += 16)
        point_row_block(g->w + (k + c) * 16 + j, (ptrdiff_t)g->w_tap, g->v + (((k + c) / 16 * T + a) * T * KN_FEW + i) * 16, a, tiles, corners, i,
                        steps - c < 16 ? steps - c : 16, sum);
    UNROLL for (int b = 0; b < T; b++)
        UNROLL for (int n = 0; n < tiles; n++) {
            if (!is_needed(corners, a, b, i + n)) continue;
            float *m = g->m + (size_t)(a * T + b) * g->m_tap + (i + n) * 16 + j;
            if (last && g->add) sum[b][n] = v_load(m) + sum[b][n];
            v_store(last ? m : chain + (b * FEW + n) * VW, sum[b][n]);
        }
}

/* All points of some tiles. */
INLINE void point_rows(const kn_winograd *g, const int tiles, const int corners, const int i, int j)
{
    float chain[T][T * FEW * VW];
    for (int k = 0, steps; k < g->depth; k += steps) {
        steps = g->depth - k < STEPS ? g->depth - k : STEPS;
        point_row(g, 0, tiles, corners, i, j, k, steps, chain[0]);
        point_row(g, 1, tiles, corners, i, j, k, steps, chain[1]);
        point_row(g, 2, tiles, corners, i, j, k, steps, chain[2]);
        point_row(g, 3, tiles, corners, i, j, k, steps, chain[3]);
        point_row(g, 4, tiles, corners, i, j, k, steps, chain[4]);
        point_row(g, 5, tiles, corners, i, j, k, steps, chain[5]);
    }
}

static void few_tiles(const kn_winograd *g, int j)
{
    if (g->tiles == 4 && g->tall == 2 && g->wide == 1 && g->wide_end == 3)
        UNROLL for (int i = 0; i < 4; i += FEW) point_rows(g, FEW, 1, i, j);
    else if (g->tiles == 4)
        UNROLL for (int i = 0; i < 4; i += FEW) point_rows(g, FEW, 0, i, j);
    else
        for (int i = 0; i < g->tiles; i++) point_rows(g, 1, 0, i, j);
}

/* ---- some tiles: one point of all of them at a time, so that a filter is transformed once; along columns first, for STEPS input channels ---- */

#if defined __AVX512F__ || defined __aarch64__
enum { SOME = 16 };
#else
enum { SOME = 8 };
#endif
INLINE void transform_rows(const kn_winograd *g, const int kind, int a, const float *w, int steps, float t[R][STEPS * VW])
{
    const vf z = v_set(point[a]), zz = v_set(point[a] * point[a]);
    for (int k = 0; k < steps; k++, w += 16) {
        __builtin_prefetch(w + (size_t)a * g->w_tap + STEPS * 16);
        if (a < R) __builtin_prefetch(w + (size_t)(T + a) * g->w_tap + STEPS * 16);
        UNROLL for (size_t s = 0; s < R; s++)
            v_store(&t[s][k * VW], at_point(kind, z, zz, v_load(w + s * g->w_tap), v_load(w + (R + s) * g->w_tap), v_load(w + (2 * R + s) * g->w_tap)));
    }
}

/* What one point and `steps` channels add to the sums of some tiles; v: the first of them. */
INLINE void point_sums(const int kind, int b, const float t[R][STEPS * VW], const float *v, int steps, const int tiles, vf sum[SOME])
{
    const vf z = v_set(point[b]), zz = v_set(point[b] * point[b]);
    const float *row = t[0];
    for (int left = steps; left > 0; left -= 16, v += T * T * KN_SOME * 16) {
        int count = left < 16 ? left : 16;
        for (int k = 0; k < count; k++, row += VW) {
            const vf u = at_point(kind, z, zz, v_load(row), v_load(row + STEPS * VW), v_load(row + 2 * STEPS * VW));
            UNROLL for (int n = 0; n < tiles; n++) sum[n] = v_fma(v_set(v[n * 16 + k]), u, sum[n]);
        }
    }
}

/* Tiles i .. i+tiles-1 of point (a, b), channels k .. k+steps-1. A chain of sums goes on in `chain`. */
INLINE void point_tiles(const kn_winograd *g, int a, int b, const int tiles, int i, int j, int k, int steps, const float t[R][STEPS * VW], float *chain)
{
    vf sum[SOME];
    const float *v = g->v + ((k / 16 * T + a) * T + b) * KN_SOME * 16 + i * 16;
    UNROLL for (int n = 0; n < tiles; n++) sum[n] = k ? v_load(chain + (i + n) * VW) : v_set(0);
    if (b == 0) point_sums(ZERO, b, t, v, steps, tiles, sum);
    else if (b < T - 1) point_sums(FINITE, b, t, v, steps, tiles, sum);
    else point_sums(INFINITE, b, t, v, steps, tiles, sum);
    int last = k + steps == g->depth;
    float *m = g->m + (size_t)(a * T + b) * g->m_tap + i * 16 + j;
    UNROLL for (int n = 0; n < tiles; n++) {
        if (last && g->add) sum[n] = v_load(m + n * 16) + sum[n];
        v_store(last ? m + n * 16 : chain + (i + n) * VW, sum[n]);
    }
}

static void some_tiles(const kn_winograd *g, int j)
{
    float chain[T * T][KN_SOME * VW], t[R][STEPS * VW];
    for (int k = 0, steps; k < g->depth; k += steps) {
        steps = g->depth - k < STEPS ? g->depth - k : STEPS;
        for (int a = 0; a < T; a++) {
            const float *w = g->w + k * 16 + j;
            if (kind_of(a) == ZERO) transform_rows(g, ZERO, a, w, steps, t);
            else if (kind_of(a) == FINITE) transform_rows(g, FINITE, a, w, steps, t);
            else transform_rows(g, INFINITE, a, w, steps, t);
            for (int b = 0; b < T; b++) {
                int i = b < T - 1 ? 0 : g->wide, end = b < T - 1 ? g->tiles : g->wide_end;
                float *sums = chain[a * T + b];
                if (a == T - 1 && end > g->tall) end = g->tall;
                if (SOME > 8) for (; i + 16 <= end; i += 16) point_tiles(g, a, b, SOME, i, j, k, steps, t, sums);
                for (; i + 8 <= end; i += 8) point_tiles(g, a, b, 8, i, j, k, steps, t, sums);
                for (; i + 4 <= end; i += 4) point_tiles(g, a, b, 4, i, j, k, steps, t, sums);
                for (; i < end; i++) point_tiles(g, a, b, 1, i, j, k, steps, t, sums);
            }
        }
    }
}

void KN(winograd_product)(const kn_winograd *g)
{
    for (int j = 0; j < 16; j += VW) {
        if (g->tiles > KN_FEW) some_tiles(g, j);
        else few_tiles(g, j);
    }
}

/* ---- input and output ---- */

/* One tile, whose six rows of six pixels begin at x, `row` floats apart. */
INLINE void input_tile(const float *x, ptrdiff_t row, float *v, size_t v_tap)
{
    float t[T][T][VW];
    UNROLL for (int s = 0; s < T; s++) {
        vf column[T], out[T];
        UNROLL for (int r = 0; r < T; r++) column[r] = v_load(x + r * row + s * 16);
        input_1d(column, out);
        UNROLL for (int a = 0; a < T; a++) v_store(t[a][s], out[a]);
    }
    UNROLL for (int a = 0; a < T; a++) {
        vf line[T], out[T];
        UNROLL for (int s = 0; s < T; s++) line[s] = v_load(t[a][s]);
        input_1d(line, out);
        UNROLL for (int b = 0; b < T; b++) v_store(v + (size_t)(a * T + b) * v_tap, out[b]);
    }
}

/* A tile that reaches over the border of the picture, with zeros there. */
static void copy_tile(const kn_tiles *g, const float *x, int y0, int x0, float tile[T][T][16])
{
    for (int r = 0; r < T; r++)
        for (int s = 0; s < T; s++) {
            int inside = y0 + r >= 0 && y0 + r < g->h && x0 + s >= 0 && x0 + s < g->w;
            const float *from = x + ((ptrdiff_t)(y0 + r) * g->w + x0 + s) * 16;
            for (int j = 0; j < 16; j += VW) v_store(&tile[r][s][j], inside ? v_load(from + j) : v_set(0));
        }
}

void KN(winograd_input)(const kn_tiles *g, const float *x, float *v)
{
    for (int i = 0; i < g->count; i++, v += 16) {
        float copy[T][T][16];
        int y0 = g->tile[i].y - g->pad_h, x0 = g->tile[i].x - g->pad_w;
        const float *image = x + (size_t)g->tile[i].image * g->image, *from = image + ((ptrdiff_t)y0 * g->w + x0) * 16;
        ptrdiff_t row = (ptrdiff_t)g->w * 16;
        if (y0 < 0 || x0 < 0 || y0 + T > g->h || x0 + T > g->w) {
            copy_tile(g, image, y0, x0, copy);
            from = copy[0][0];
            row = T * 16;
        }
        for (int j = 0; j < 16; j += VW) input_tile(from + j, row, v + j, g->tap);
    }
}

/* Lanes j .. j+VW-1 of a tile of outputs, the first of them at y + at, its rows `row` floats apart. */
INLINE void output_tile(const float *m, size_t tap, const kn_epilogue *e, int biased, float *y, ptrdiff_t at, ptrdiff_t row, int rows, int columns, int j)
{
    float t[M][T][VW];
    UNROLL for (int b = 0; b < T; b++) {
        vf column[T], out[M];
        UNROLL for (int a = 0; a < T; a++) column[a] = v_load(m + (size_t)(a * T + b) * tap + j);
        output_1d(column, out);
        UNROLL for (int r = 0; r < M; r++) v_store(t[r][b], out[r]);
    }
    at += j;
    for (int r = 0; r < rows; r++, at += row) {
        vf line[T], out[M];
        UNROLL for (int b = 0; b < T; b++) line[b] = v_load(t[r][b]);
        output_1d(line, out);
        if (columns == M) {
            finish_tile(e, out, 1, M, 1, (size_t)j, at, 16, 0, biased ? M : 0);
            UNROLL for (int s = 0; s < M; s++) v_store(y + at + s * 16, out[s]);
            continue;
        }
        UNROLL for (int s = 0; s < M - 1; s++) {
            if (s >= columns) break;
            finish_tile(e, out + s, 1, 1, 1, (size_t)j, at + s * 16, 16, 0, biased);
            v_store(y + at + s * 16, out[s]);
        }
    }
}

/* The maxima of 2 x 2 pixels of a whole tile. */
INLINE void pool_tile(const float tile[M][M][16], float *y, ptrdiff_t row)
{
    for (int r = 0; r < M; r += 2, y += row)
        for (int s = 0; s < M; s += 2)
            for (int j = 0; j < 16; j += VW)
                v_store(y + s / 2 * 16 + j, v_larger(v_larger(v_larger(v_load(&tile[r][s][j]), v_load(&tile[r][s + 1][j])), v_load(&tile[r + 1][s][j])),
                                                     v_load(&tile[r + 1][s + 1][j])));
}

void KN(winograd_output)(const kn_tiles *g, const float *m, const kn_epilogue *epilogue, float *y)
{
    const kn_epilogue local = *epilogue, *e = &local; /* which no store can change */
    const kn_tiles to = *g;
    for (int i = 0; i < to.count; i++, m += 16) {
        const kn_tile tile = to.tile[i];
        float whole[M][M][16], *out = to.pooled ? whole[0][0] : y;
        ptrdiff_t image = tile.image * (ptrdiff_t)to.image, row = (to.pooled ? M : to.w) * 16, at = to.pooled ? 0 : image + tile.y * row + tile.x * 16;
        for (int j = 0; j < 16; j += VW) output_tile(m, to.tap, e, tile.image < e->biased, out, at, row, tile.rows, tile.columns, j);
        for (int r = 0; r < tile.rows; r++) finish_smooth(e, out + at + r * row, tile.columns, 16);
        if (to.pooled) pool_tile((const float(*)[M][16])whole, y + image + ((ptrdiff_t)(tile.y / 2) * (to.w / 2) + tile.x / 2) * 16, (ptrdiff_t)(to.w / 2) * 16);
    }
}
