/* SPDX-License-Identifier: MIT */
/* Matrix product over pixels: register tiles of MR pixels by NV panels of 16 output channels. Pixels are read in place from NC16, where
 * the rows of a tile are 64 bytes apart and each cache line is used up by 16 consecutive k; weights come packed in panels.
 *
 * Tile sizes: enough independent sums to hide the latency of the multiply-add, few enough to stay in registers together with
 * NV vectors of weights. AVX-512 (32 registers): 7x64 = 28 sums. AVX2 (16): 6x16 = 12. NEON (32 of 4 lanes): 6x16 = 24. SSE: 2x16 = 8. */
#include "engine/kernels/epilogue.h"

enum {
    MAX_MR = 14, MAX_NV = 4   /* of all tiles below */
};

/* The part of the sum that one pass covers: taps t0 .. t1-1, channels k0 .. k1-1 of each. */
typedef struct span {
    int t0, t1, k0, k1;
    int first, last;
    const float *ahead; /* weights that will be read next: tile number i fetches those at ahead + i * ahead_step, for i < ahead_count */
    size_t ahead_step;
    int ahead_count;
} span;

/* One tile. a, c: its first pixel; b: its first panel; ahead: what to fetch; o: its first output channel; biased: rows that get the bias. */
INLINE void tile(const kn_gemm *g, const span *s, const float *a, const float *b, const float *ahead, float *c, size_t o, int biased, const int MR, const int NV, const ptrdiff_t a_row)
{
    vf acc[MAX_MR][MAX_NV * VN];
    UNROLL for (int i = 0; i < MR; i++)
        UNROLL for (int j = 0; j < NV * VN; j++)
            acc[i][j] = v_set(0);
    for (int t = s->t0; t < s->t1; t++) {
        const float *panel = b + ((size_t)t * (size_t)g->depth + (size_t)s->k0) * 16;
        const float *pixel = a + g->tap[t] + s->k0 / 16 * g->a_block;
        for (int left = s->k1 - s->k0; left > 0; left -= 16, pixel += g->a_block) {
            int steps = left < 16 ? left : 16;
            for (int k = 0; k < steps; k++, panel += 16, ahead += 16) {
                vf w[MAX_NV * VN];
                __builtin_prefetch(ahead, 0, 2);
                UNROLL for (int j = 0; j < NV * VN; j++) w[j] = v_load(panel + (size_t)(j / VN) * g->b_panel + j % VN * VW);
                UNROLL for (int i = 0; i < MR; i++) {
                    vf x = v_set(pixel[i * a_row + k]);
                    UNROLL for (int j = 0; j < NV * VN; j++) acc[i][j] = v_fma(x, w[j], acc[i][j]);
                }
            }
        }
    }
    if (!s->first) /* the sum of the chains before */
        UNROLL for (int i = 0; i < MR; i++)
            UNROLL for (int j = 0; j < NV * VN; j++) acc[i][j] = v_load(c + i * g->c_row + j / VN * g->c_panel + j % VN * VW) + acc[i][j];
    if (s->last) finish_tile(&g->epilogue, acc[0], MAX_NV * VN, MR, NV * VN, o, c - g->c, g->c_row, g->c_panel, biased);
    UNROLL for (int i = 0; i < MR; i++)
        UNROLL for (int j = 0; j < NV * VN; j++) v_store(c + i * g->c_row + j / VN * g->c_panel + j % VN * VW, acc[i][j]);
}

typedef void tile_fn(const kn_gemm *g, const span *s, const float *a, const float *b, const float *ahead, float *c, size_t o, int biased);

#define TILE(mr, nv)                                                                                                        \
    static void tile_##nv##x##mr(const kn_gemm *g, const span *s, const float *a, const float *b, const float *ahead, float *c, size_t o, int biased) \
    {                                                                                                                       \
        if (g->a_row == 16) tile(g, s, a, b, ahead, c, o, biased, mr, nv, 16);  \
        else tile(g, s, a, b, ahead, c, o, biased, mr, nv, g->a_row);                                                                             \
    }

TILE(1, 1) TILE(2, 1)
#if defined __AVX512F__ || defined __AVX2__ || defined __aarch64__
TILE(3, 1) TILE(4, 1) TILE(5, 1) TILE(6, 1)
#endif
#if defined __AVX512F__
TILE(7, 1) TILE(8, 1) TILE(9, 1) TILE(10, 1) TILE(11, 1) TILE(12, 1) TILE(13, 1) TILE(14, 1)
TILE(1, 2) TILE(2, 2) TILE(3, 2) TILE(4, 2) TILE(5, 2) TILE(6, 2) TILE(7, 2)
TILE(8, 2) TILE(9, 2) TILE(10, 2) TILE(11, 2) TILE(12, 2) TILE(13, 2) TILE(14, 2)
TILE(1, 4) TILE(2, 4) TILE(3, 4) TILE(4, 4) TILE(5, 4) TILE(6, 4) TILE(7, 4)
#endif

/* 7 x 64 leaves no register for what is broadcast unless that comes from memory with the multiply-add. gcc does so; clang 14 spills
 * (124 GFLOP/s on a Zen 5 core, 236 with one row less). */
#if defined __clang__
enum { WIDE_ROWS = 6 };
#else
enum { WIDE_ROWS = 7 };
#endif

/* The widths in panels, widest first, and for each the tiles of 1 .. rows pixels. */
static const struct {
    int panels, rows;
    tile_fn *tile[MAX_MR];
} widths[] = {
#if defined __AVX512F__
    {4, WIDE_ROWS, {tile_4x1, tile_4x2, tile_4x3, tile_4x4, tile_4x5, tile_4x6, tile_4x7}},
    {2, 14, {tile_2x1, tile_2x2, tile_2x3, tile_2x4, tile_2x5, tile_2x6, tile_2x7, tile_2x8, tile_2x9, tile_2x10, tile_2x11, tile_2x12, tile_2x13, tile_2x14}},
    {1, 14, {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6, tile_1x7, tile_1x8, tile_1x9, tile_1x10, tile_1x11, tile_1x12, tile_1x13, tile_1x14}},
#elif defined __AVX2__ || defined __aarch64__
    {1, 6, {tile_1x1, tile_1x2, tile_1x3, tile_1x4, tile_1x5, tile_1x6}},
#else
    {1, 2, {tile_1x1, tile_1x2}},
#endif
};

/* All pixels against one group of panels: rows are split into tiles of nearly equal height. */
static void panel_group(const kn_gemm *g, const span *s, int panel, int width)
{
    int tiles = (g->rows + widths[width].rows - 1) / widths[width].rows;
    const float *b = g->b + (size_t)panel * g->b_panel;
    for (int run = 0, count = 0; run < g->runs; run++)
        for (int i = 0, row = 0; i < tiles; i++, count++) {
            int height = (g->rows - row) / (tiles - i);
            const float *ahead = count < s->ahead_count ? s->ahead + (size_t)count * s->ahead_step : b;
            widths[width].tile[height - 1](g, s, g->a + run * g->a_run + row * g->a_row, b + (size_t)run * g->b_run, ahead,
                                           g->c + run * g->c_run + row * g->c_row + panel * g->c_panel, (size_t)panel * 16,
                                           g->epilogue.biased - row);
            if (s->last)
                for (int j = 0; j < widths[width].panels; j++)
                    finish_smooth(&g->epilogue, g->c + run * g->c_run + row * g->c_row + (panel + j) * g->c_panel, height, g->c_row);
            row += height;
        }
}

/* While one span is computed the next one's weights come from memory: its first tile would wait for them. */
static void look_ahead(const kn_gemm *g, span *s, int panel, int panels)
{
    size_t end = (size_t)s->t1 * (size_t)g->depth;
    if (s->k1 < g->depth) end = (size_t)s->t0 * (size_t)g->depth + (size_t)s->k1;
    s->ahead = s->last ? g->b + (size_t)(panel + panels) * g->b_panel : g->b + (size_t)panel * g->b_panel + end * 16;
    s->ahead_step = g->b_panel;
    s->ahead_count = panels;
    if (g->ahead) s->ahead = g->ahead, s->ahead_step = g->ahead_step, s->ahead_count = g->ahead_count;
}

void KN(gemm)(const kn_gemm *g)
{
    /* A residual that is the output itself must not be overwritten by parked sums: then one pass covers everything. */
    int in_place = g->epilogue.residual == g->c, whole = in_place || g->depth <= KN_CHAIN;
    int whole_taps = in_place ? g->taps : whole ? kn_part(g->taps, KN_CHAIN / g->depth) : 1;
    int block = whole ? g->depth : 16 * kn_part((g->depth + 15) / 16, KN_CHAIN / 16);
    for (int panel = 0, width = 0; panel < g->panels; panel += widths[width].panels) {
        while (widths[width].panels > g->panels - panel) width++;
        span s = {.first = 1};
        for (s.t0 = 0; s.t0 < g->taps; s.t0 = s.t1) {
            s.t1 = s.t0 + whole_taps < g->taps ? s.t0 + whole_taps : g->taps;
            for (s.k0 = 0; s.k0 < g->depth; s.k0 = s.k1) {
                s.k1 = g->depth - s.k0 > block ? s.k0 + block : g->depth;
                s.last = s.t1 == g->taps && s.k1 == g->depth;
                look_ahead(g, &s, panel, widths[width].panels);
                panel_group(g, &s, panel, width);
                s.first = 0;
            }
        }
    }
}
