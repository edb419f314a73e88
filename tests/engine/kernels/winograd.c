/* SPDX-License-Identifier: MIT */
/* Winograd's transforms against their matrices in double, and the product with the transform in it against the two apart. */
#include "tests/engine/kernels/scalar.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const steps plain = {0};

enum { TILE = KN_TILE, WINDOW = 3, POINTS = TILE + WINDOW - 1 };

/* The transforms as matrices, from the points: filters (G), input (B'), output (A'). */
typedef struct transforms {
    double g[POINTS][WINDOW], b[POINTS][POINTS], a[TILE][POINTS];
} transforms;

static transforms transforms_of_points(void)
{
    static const double point[POINTS - 1] = {0, 0.625, -0.625, 1.5, -1.5};
    transforms t = {0};
    for (int z = 0; z < POINTS; z++) {
        double product[POINTS + 1] = {1}, n = 1; /* of (x - other point), lowest power first */
        for (int o = 0; o < POINTS - 1; o++) {
            if (o == z) continue;
            if (z < POINTS - 1) n *= point[z] - point[o];
            for (int i = POINTS; i >= 0; i--) product[i] = (i ? product[i - 1] : 0) - point[o] * product[i];
        }
        for (int i = 0; i < POINTS; i++) t.b[z][i] = product[i];
        for (int i = 0; i < WINDOW; i++) t.g[z][i] = z < POINTS - 1 ? pow(point[z], i) : i == WINDOW - 1;
        for (int i = 0; i < TILE; i++) t.a[i][z] = z < POINTS - 1 ? pow(point[z], i) / n : i == TILE - 1;
    }
    return t;
}

/* Element (i, j) of matrix x matrix', x [n][n]; *size: the sum of its terms without signs. */
static double both_sides(const double *matrix, int n, int i, int j, const double *x, double *size)
{
    double sum = *size = 0;
    for (int r = 0; r < n; r++)
        for (int s = 0; s < n; s++) {
            double term = matrix[i * n + r] * matrix[j * n + s] * x[r * n + s];
            sum += term;
            *size += fabs(term);
        }
    return sum;
}

/* A handful of roundings of numbers up to `size`. */
static void check_transformed(const kn_table *k, const char *what, float got, double want, double size)
{
    CHECK_MSG(fabs((double)got - want) <= 4 * FLT_EPSILON * size, "%s %s: %.9g, want %.9g", k->name, what, (double)got, want);
}

/* Nothing but what was checked, and set to NaN again, has been written. */
static void check_rest(const kn_table *k, buffer b)
{
    for (size_t i = 0; i < b.n + 2 * GUARD; i++)
        CHECK_MSG(isnan(b.memory[i]), "%s: float %td was written", k->name, (ptrdiff_t)i - GUARD);
    free(b.memory);
}

static float take(float *x)
{
    float value = *x;
    *x = NAN;
    return value;
}

static void try_winograd_filter(const kn_table *k, int depth)
{
    const transforms t = transforms_of_points();
    size_t w_tap = (size_t)(depth + 2) * 16, u_tap = (size_t)(depth + 1) * 16;
    buffer w = buffer_random(9 * w_tap), u = buffer_new(KN_WINOGRAD_TAPS * u_tap);
    for (int a = 0; a < KN_WINOGRAD_POINTS; a++) k->winograd_filter(a, depth, w.at, w_tap, u.at + (size_t)a * KN_WINOGRAD_POINTS * u_tap, u_tap);
    for (int i = 0; i < depth * 16; i++)
        for (int z = 0; z < KN_WINOGRAD_TAPS; z++) {
            double x[9], size, want;
            for (int r = 0; r < 9; r++) x[r] = (double)w.at[(size_t)r * w_tap + (size_t)i];
            want = both_sides(t.g[0], WINDOW, z / POINTS, z % POINTS, x, &size);
            check_transformed(k, "winograd_filter", take(&u.at[(size_t)z * u_tap + (size_t)i]), want, size);
        }
    check_rest(k, u);
    free(w.memory);
}

void sweep_winograd_filter(const kn_table *k)
{
    for (int depth = 1; depth <= 5; depth++) try_winograd_filter(k, depth);
}

/* A product whose last point is only wanted for some tiles. */
typedef struct part {
    int depth, tiles, tall, wide, wide_end, add;
} part;

static int is_wanted(const part *t, int tap, int i)
{
    return (tap / POINTS < POINTS - 1 || i < t->tall) && (tap % POINTS < POINTS - 1 || (i >= t->wide && i < t->wide_end));
}

/* The same bits as the transform that winograd_filter stores and one chain of multiply-adds on it. */
static void try_winograd_product(const kn_table *k, part t)
{
    size_t w_tap = (size_t)(t.depth + 3) * 16, u_tap = (size_t)t.depth * 16, v_tap = (t.tiles > KN_FEW ? KN_SOME : KN_FEW) * 16,
           v_block = KN_WINOGRAD_TAPS * v_tap, m_tap = (size_t)t.tiles * 16 + 16;
    buffer w = buffer_random(9 * w_tap), u = buffer_new(KN_WINOGRAD_TAPS * u_tap), v = buffer_new((size_t)((t.depth + 15) / 16) * v_block),
           m = buffer_new(KN_WINOGRAD_TAPS * m_tap);
    for (int a = 0; a < KN_WINOGRAD_POINTS; a++) k->winograd_filter(a, t.depth, w.at, w_tap, u.at + (size_t)a * KN_WINOGRAD_POINTS * u_tap, u_tap);
    for (int z = 0; z < KN_WINOGRAD_TAPS; z++)
        for (int i = 0; i < t.tiles; i++) {
            for (int c = 0; c < t.depth; c++) v.at[(size_t)z * v_tap + (size_t)(c / 16) * v_block + (size_t)(i * 16 + c % 16)] = (float)t_uniform(-1, 1);
            for (int o = 0; t.add && o < 16; o++) m.at[(size_t)z * m_tap + (size_t)(i * 16 + o)] = (float)t_uniform(-1, 1);
        }
    buffer want = buffer_copy(&m);
    for (int z = 0; z < KN_WINOGRAD_TAPS; z++)
        for (int i = 0; i < t.tiles * 16; i++) {
            float sum = 0, *to = &want.at[(size_t)z * m_tap + (size_t)i];
            for (int c = 0; c < t.depth; c++)
                sum = multiply_add(k, v.at[(size_t)z * v_tap + (size_t)(c / 16) * v_block + (size_t)(i / 16 * 16 + c % 16)],
                                   u.at[(size_t)z * u_tap + (size_t)(c * 16 + i % 16)], sum);
            if (is_wanted(&t, z, i / 16)) *to = t.add ? *to + sum : sum;
        }
    k->winograd_product(&(kn_winograd){t.depth, t.tiles, t.tall, t.wide, t.wide_end, w.at, w_tap, v.at, m.at, m_tap, t.add});
    for (int z = 0; z < KN_WINOGRAD_TAPS * t.tiles * 16; z++) {
        size_t at = (size_t)(z / 16 / t.tiles) * m_tap + (size_t)(z % (16 * t.tiles));
        if (!is_wanted(&t, z / 16 / t.tiles, z / 16 % t.tiles)) m.at[at] = want.at[at]; /* may be anything */
    }
    char what[120];
    snprintf(what, sizeof what, "%s winograd_product, depth %d, %d tiles, the last point for %d and %d to %d, add %d", k->name, t.depth, t.tiles, t.tall, t.wide,
             t.wide_end, t.add);
    check_same(what, m, want);
    free(w.memory);
    free(u.memory);
    free(v.memory);
}

void sweep_winograd_product(const kn_table *k)
{
    for (int tiles = 1; tiles <= KN_SOME; tiles++)
        for (int depth = 1; depth <= 130; depth += depth < 4 ? 1 : 7) try_winograd_product(k, (part){depth, tiles, tiles, 0, tiles, depth % 2});
    for (int tiles = 1; tiles <= 5; tiles++)
        for (int tall = 0; tall <= tiles; tall++)
            for (int wide = 0; wide <= tall; wide++)
                for (int end = tall; end <= tiles; end++) try_winograd_product(k, (part){3, tiles, tall, wide, end, tiles % 2});
    try_winograd_product(k, (part){32, 4, 4, 0, 4, 0});
    try_winograd_product(k, (part){64, 2, 2, 0, 2, 1});
    try_winograd_product(k, (part){128, 3, 3, 0, 3, 1});
    try_winograd_product(k, (part){128, 4, 2, 1, 3, 1});
    try_winograd_product(k, (part){128, 16, 8, 4, 12, 1});
    try_winograd_product(k, (part){20, 14, 5, 3, 13, 1});
}

/* Tiles of at most `size` pixels a side of two images, turn by turn, on a side of h x w pixels. g->tile needs room for MOST. */
enum { MOST = 64 };
static kn_tiles tiles_on(int h, int w, int size, size_t tap, kn_tile *list)
{
    kn_tiles g = {.h = h, .w = w, .image = (size_t)(h * w * 16 + 32), .tile = list, .tap = tap};
    for (int y = 0; y < h; y += size)
        for (int x = 0; x < w; x += size, g.count++)
            list[g.count] = (kn_tile){g.count % 2, y, x, h - y < size ? h - y : size, w - x < size ? w - x : size};
    return g;
}

static void try_winograd_input(const kn_table *k, int h, int w, int pad_h, int pad_w, int size)
{
    const transforms t = transforms_of_points();
    kn_tile list[MOST];
    kn_tiles g = tiles_on(h + 2 * pad_h - WINDOW + 1, w + 2 * pad_w - WINDOW + 1, size, 16 * MOST, list);
    g.h = h, g.w = w, g.pad_h = pad_h, g.pad_w = pad_w, g.image = (size_t)(h * w * 16 + 16);
    buffer x = buffer_random(2 * g.image), v = buffer_new(KN_WINOGRAD_TAPS * g.tap);
    k->winograd_input(&g, x.at, v.at);
    for (int i = 0; i < g.count * 16; i++) {
        const kn_tile *tile = &list[i / 16];
        double d[KN_WINOGRAD_TAPS], size_of_sum;
        for (int r = 0; r < KN_WINOGRAD_TAPS; r++) {
            int y = tile->y - pad_h + r / POINTS, z = tile->x - pad_w + r % POINTS;
            d[r] = y < 0 || y >= h || z < 0 || z >= w ? 0 : (double)x.at[(size_t)tile->image * g.image + (size_t)((y * w + z) * 16 + i % 16)];
        }
        for (int z = 0; z < KN_WINOGRAD_TAPS; z++) {
            double want = both_sides(t.b[0], POINTS, z / POINTS, z % POINTS, d, &size_of_sum);
            check_transformed(k, "winograd_input", take(&v.at[(size_t)z * g.tap + (size_t)i]), want, size_of_sum);
        }
    }
    check_rest(k, v);
    free(x.memory);
}

void sweep_winograd_input(const kn_table *k)
{
    for (int w = 1; w <= 13; w++)
        for (int pad = 0; pad <= 2; pad++) {
            if (w + 2 * pad < WINDOW) continue;
            try_winograd_input(k, 9, w, 1, pad, TILE);
            try_winograd_input(k, w, 7, pad, 1, TILE - 1);
        }
}

static void try_winograd_output(const kn_table *k, int h, int w, int size, const steps *s)
{
    const transforms t = transforms_of_points();
    kn_tile list[MOST];
    kn_tiles g = tiles_on(h, w, size, 16 * MOST, list);
    buffer m = buffer_random(KN_WINOGRAD_TAPS * g.tap), y = buffer_new(2 * g.image);
    ending tail = ending_of(s, 16, &y);
    buffer before = buffer_copy(&y);
    k->winograd_output(&g, m.at, &tail.e, y.at);
    for (int i = 0; i < g.count * TILE * TILE * 16; i++) {
        int r = i / 16 / TILE % TILE, q = i / 16 % TILE, lane = i % 16;
        const kn_tile *tile = &list[i / 16 / TILE / TILE];
        if (r >= tile->rows || q >= tile->columns) continue;
        double d[KN_WINOGRAD_TAPS], size_of_sum, sum;
        for (int c = 0; c < KN_WINOGRAD_TAPS; c++) d[c] = (double)m.at[(size_t)c * g.tap + (size_t)((tile - list) * 16 + lane)];
        sum = both_sides(t.a[0], POINTS, r, q, d, &size_of_sum);
        ptrdiff_t at = tile->image * (ptrdiff_t)g.image + ((tile->y + r) * w + tile->x + q) * 16 + lane;
        kn_epilogue e = tail.e;
        if (s->residual == IN_PLACE) e.residual = before.at;
        double want = (double)finish(k, &e, (float)sum, (size_t)lane, at, tile->image < e.biased);
        check_transformed(k, "winograd_output", take(&y.at[at]), want, (size_of_sum + 2) * (s->affine && s->act == KN_RELU6 ? 40 : 2));
    }
    for (size_t i = 0; s->residual == IN_PLACE && i < y.n; i++)
        if (y.at[i] == before.at[i]) y.at[i] = NAN; /* not this call's */
    check_rest(k, y);
    free(before.memory);
    free(m.memory);
    ending_free(&tail);
}

/* The maxima of what the same call gives without pooling. */
static void try_winograd_pooled(const kn_table *k, int h, int w, const steps *s)
{
    kn_tile list[MOST];
    kn_tiles g = tiles_on(h, w, TILE, 16 * MOST, list), pool = g;
    pool.pooled = 1;
    pool.image = g.image / 4;
    buffer m = buffer_random(KN_WINOGRAD_TAPS * g.tap), all = buffer_new(2 * g.image), y = buffer_new(2 * pool.image);
    ending tail = ending_of(s, 16, &all);
    if (s->bias) m.at[0] = NAN;
    buffer want = buffer_copy(&y);
    k->winograd_output(&g, m.at, &tail.e, all.at);
    k->winograd_output(&pool, m.at, &tail.e, y.at);
    for (int i = 0; i < g.count * TILE * TILE / 4 * 16; i++) {
        const kn_tile *tile = &list[i / 16 / (TILE * TILE / 4)];
        int lane = i % 16, p = tile->y + i / 16 / 2 % 2 * 2, q = tile->x + i / 16 % 2 * 2;
        const float *x = all.at + (size_t)tile->image * g.image + (size_t)((p * w + q) * 16 + lane);
        float most = x[0];
        for (int next = 1; next < 4; next++) {
            float z = x[(next / 2 * w + next % 2) * 16];
            if (z > most || isnan(z)) most = z;
        }
        want.at[(size_t)tile->image * pool.image + (size_t)((p / 2 * (w / 2) + q / 2) * 16 + lane)] = most;
    }
    check_same(k->name, y, want);
    free(all.memory);
    free(m.memory);
    ending_free(&tail);
}

static void try_winograd_output_epilogue(const kn_table *k, const steps *s)
{
    try_winograd_output(k, 6, 9, TILE, s);
    if (!s->residual) try_winograd_pooled(k, 8, 12, s);
}

void sweep_winograd_output(const kn_table *k)
{
    for (int w = 1; w <= 13; w++) {
        try_winograd_output(k, 7, w, TILE, &plain);
        try_winograd_output(k, w, 5, TILE - 1, &plain);
    }
    for (int w = 4; w <= 16; w += 4) try_winograd_pooled(k, 8, w, &plain);
    each_epilogue(k, 2, try_winograd_output_epilogue);
}
