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

/* The same bits as the transform that winograd_filter stores and one chain of multiply-adds on it. */
static void try_winograd_product(const kn_table *k, int depth, int tiles, int add)
{
    size_t w_tap = (size_t)(depth + 3) * 16, u_tap = (size_t)depth * 16, v_tap = (tiles > KN_FEW ? KN_SOME : KN_FEW) * 16, v_block = KN_WINOGRAD_TAPS * v_tap,
           m_tap = (size_t)tiles * 16 + 16;
    buffer w = buffer_random(9 * w_tap), u = buffer_new(KN_WINOGRAD_TAPS * u_tap), v = buffer_new((size_t)((depth + 15) / 16) * v_block),
           m = buffer_new(KN_WINOGRAD_TAPS * m_tap);
    for (int a = 0; a < KN_WINOGRAD_POINTS; a++) k->winograd_filter(a, depth, w.at, w_tap, u.at + (size_t)a * KN_WINOGRAD_POINTS * u_tap, u_tap);
    for (int z = 0; z < KN_WINOGRAD_TAPS; z++)
        for (int i = 0; i < tiles; i++) {
            for (int c = 0; c < depth; c++) v.at[(size_t)z * v_tap + (size_t)(c / 16) * v_block + (size_t)(i * 16 + c % 16)] = (float)t_uniform(-1, 1);
            for (int o = 0; add && o < 16; o++) m.at[(size_t)z * m_tap + (size_t)(i * 16 + o)] = (float)t_uniform(-1, 1);
        }
    buffer want = buffer_copy(&m);
    for (int z = 0; z < KN_WINOGRAD_TAPS; z++)
        for (int i = 0; i < tiles * 16; i++) {
            float sum = 0, *to = &want.at[(size_t)z * m_tap + (size_t)i];
            for (int c = 0; c < depth; c++)
                sum = multiply_add(k, v.at[(size_t)z * v_tap + (size_t)(c / 16) * v_block + (size_t)(i / 16 * 16 + c % 16)],
                                   u.at[(size_t)z * u_tap + (size_t)(c * 16 + i % 16)], sum);
            *to = add ? *to + sum : sum;
        }
    k->winograd_product(&(kn_winograd){depth, tiles, w.at, w_tap, v.at, m.at, m_tap, add});
    char what[80];
    snprintf(what, sizeof what, "%s winograd_product, depth %d, %d tiles, add %d", k->name, depth, tiles, add);
    check_same(what, m, want);
    free(w.memory);
    free(u.memory);
    free(v.memory);
}

void sweep_winograd_product(const kn_table *k)
{
    for (int tiles = 1; tiles <= KN_SOME; tiles++)
        for (int depth = 1; depth <= 130; depth += depth < 4 ? 1 : 7) try_winograd_product(k, depth, tiles, depth % 2);
    try_winograd_product(k, 32, 4, 0);
    try_winograd_product(k, 64, 2, 1);
    try_winograd_product(k, 128, 3, 1);
    try_winograd_product(k, 128, 16, 1);
}

static void try_winograd_input(const kn_table *k, kn_tiles g)
{
    const transforms t = transforms_of_points();
    buffer x = buffer_random((size_t)(g.h * g.w * 16)), v = buffer_new(KN_WINOGRAD_TAPS * g.tap);
    k->winograd_input(&g, x.at, v.at);
    for (int i = 0; i < g.count * 16; i++) {
        double d[KN_WINOGRAD_TAPS], size;
        for (int r = 0; r < KN_WINOGRAD_TAPS; r++) {
            int y = (g.first + i / 16) / g.columns * TILE - g.pad_h + r / POINTS, z = (g.first + i / 16) % g.columns * TILE - g.pad_w + r % POINTS;
            d[r] = y < 0 || y >= g.h || z < 0 || z >= g.w ? 0 : (double)x.at[(y * g.w + z) * 16 + i % 16];
        }
        for (int z = 0; z < KN_WINOGRAD_TAPS; z++) {
            double want = both_sides(t.b[0], POINTS, z / POINTS, z % POINTS, d, &size);
            check_transformed(k, "winograd_input", take(&v.at[(size_t)z * g.tap + (size_t)i]), want, size);
        }
    }
    check_rest(k, v);
    free(x.memory);
}

void sweep_winograd_input(const kn_table *k)
{
    for (int w = 1; w <= 13; w++)
        for (int pad = 0; pad <= 2; pad++) {
            int columns = (w + 2 * pad - WINDOW) / TILE + 1;
            if (w + 2 * pad < WINDOW) continue;
            try_winograd_input(k, (kn_tiles){.h = 9, .w = w, .pad_h = 1, .pad_w = pad, .columns = columns, .first = 1, .count = 2 * columns - 1, .tap = 256});
            try_winograd_input(k, (kn_tiles){.h = w, .w = 7, .pad_h = pad, .pad_w = 1, .columns = 2, .count = 2 * columns, .tap = 256});
        }
}

static void try_winograd_output(const kn_table *k, kn_tiles g, const steps *s)
{
    const transforms t = transforms_of_points();
    buffer m = buffer_random(KN_WINOGRAD_TAPS * g.tap), y = buffer_new((size_t)(g.h * g.w * 16));
    ending tail = ending_of(s, 16, &y);
    buffer before = buffer_copy(&y);
    k->winograd_output(&g, m.at, &tail.e, y.at);
    for (int i = 0; i < g.count * TILE * TILE; i++) {
        int tile = g.first + i / (TILE * TILE), r = i / TILE % TILE, q = i % TILE;
        int p = tile / g.columns * TILE + r, z = tile % g.columns * TILE + q;
        for (int lane = 0; lane < 16 && p < g.h && z < g.w; lane++) {
            double d[KN_WINOGRAD_TAPS], size, sum;
            for (int c = 0; c < KN_WINOGRAD_TAPS; c++) d[c] = (double)m.at[(size_t)c * g.tap + (size_t)(i / (TILE * TILE) * 16 + lane)];
            sum = both_sides(t.a[0], POINTS, r, q, d, &size);
            ptrdiff_t at = (p * g.w + z) * 16 + lane;
            kn_epilogue e = tail.e;
            if (s->residual == IN_PLACE) e.residual = before.at;
            double want = (double)finish(k, &e, (float)sum, (size_t)lane, at, s->biased > 0);
            check_transformed(k, "winograd_output", take(&y.at[at]), want, (size + 2) * (s->affine && s->act == KN_RELU6 ? 40 : 2));
        }
    }
    for (size_t i = 0; s->residual == IN_PLACE && i < y.n; i++)
        if (y.at[i] == before.at[i]) y.at[i] = NAN; /* not this call's */
    check_rest(k, y);
    free(before.memory);
    free(m.memory);
    ending_free(&tail);
}

/* The maxima of what the same call gives without pooling. */
static void try_winograd_pooled(const kn_table *k, kn_tiles g, const steps *s)
{
    buffer m = buffer_random(KN_WINOGRAD_TAPS * g.tap), all = buffer_new((size_t)(g.h * g.w * 16)), y = buffer_new(all.n / 4);
    ending tail = ending_of(s, 16, &all);
    if (s->bias) m.at[0] = NAN;
    buffer want = buffer_copy(&y);
    k->winograd_output(&g, m.at, &tail.e, all.at);
    g.pooled = 1;
    k->winograd_output(&g, m.at, &tail.e, y.at);
    for (int i = 0; i < g.count * TILE * TILE / 4; i++) {
        int tile = g.first + i / (TILE * TILE / 4), p = tile / g.columns * TILE + i / 2 % 2 * 2, q = tile % g.columns * TILE + i % 2 * 2;
        for (int lane = 0; lane < 16 && p < g.h && q < g.w; lane++) {
            const float *x = all.at + (p * g.w + q) * 16 + lane;
            float most = x[0];
            for (int next = 1; next < 4; next++) {
                float z = x[(next / 2 * g.w + next % 2) * 16];
                if (z > most || isnan(z)) most = z;
            }
            want.at[(p / 2 * (g.w / 2) + q / 2) * 16 + lane] = most;
        }
    }
    check_same(k->name, y, want);
    free(all.memory);
    free(m.memory);
    ending_free(&tail);
}

static void try_winograd_output_epilogue(const kn_table *k, const steps *s)
{
    try_winograd_output(k, (kn_tiles){.h = 6, .w = 9, .columns = 3, .first = 1, .count = 5, .tap = 96}, s);
    if (!s->residual) try_winograd_pooled(k, (kn_tiles){.h = 6, .w = 10, .columns = 3, .first = 1, .count = 5, .tap = 96}, s);
}

void sweep_winograd_output(const kn_table *k)
{
    for (int w = 1; w <= 13; w++) {
        int columns = (w + TILE - 1) / TILE;
        try_winograd_output(k, (kn_tiles){.h = 7, .w = w, .columns = columns, .first = 1, .count = 2 * columns - 1, .tap = 144}, &plain);
        try_winograd_output(k, (kn_tiles){.h = w, .w = 5, .columns = 2, .count = 2 * columns, .tap = 144}, &plain);
    }
    for (int w = 2; w <= 14; w += 2) {
        int columns = (w + TILE - 1) / TILE;
        try_winograd_pooled(k, (kn_tiles){.h = 6, .w = w, .columns = columns, .first = columns > 1, .count = 2 * columns - 1, .tap = 144}, &plain);
    }
    each_epilogue(k, 1, try_winograd_output_epilogue);
}
