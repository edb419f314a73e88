/* SPDX-License-Identifier: MIT */
/* Winograd's convolution, cut into jobs: some tiles times some output channels. All that a job makes on its way stays in the second-level cache.
 *
 * The transformed filters would be four times the size of the weights. They are made anew for each job, for a few output panels, DEPTH input
 * channels and one row of the 6 x 6 points at a time, and used at once, while they are near: that is an eighth of the time of 64 channels at
 * 56 x 56, and the weights are read as they are. */
#include "engine/ops/winograd.h"

#include "engine/ops/panels.h"

enum {
    TAPS = KN_WINOGRAD_TAPS, POINTS = KN_WINOGRAD_POINTS,
    LEAST_CHANNELS = 32, /* with fewer, transforms cost more than they save  */
    LEAST_SIDE = 7,
    TILES = 49,          /* of a job: a map of 28 x 28                      */
    PANELS = 4,          /* of filters transformed together                 */
    DEPTH = 128,         /* and their input channels: one chain of the sum  */
    JOBS = 8,            /* wanted at least, so that threads can share evenly */
    PAD = EN_LANES       /* between the arrays of two taps: a distance of a power of two would put them all into the same few lines of the cache */
};

int winograd_suits(int c, int o, int p, int q) { return c >= LEAST_CHANNELS && o >= LEAST_CHANNELS && p >= LEAST_SIDE && q >= LEAST_SIDE; }

/* How many tiles the transformed input has room for if all of them go through winograd_product; otherwise 0. */
static int few_of(int tiles) { return tiles <= KN_FEW ? KN_FEW : tiles <= KN_SOME ? KN_SOME : 0; }

/* Floats between one tap and the next of the transformed input, [36][C/16][tiles][16] or for few tiles [C/16][36][few][16]; between its
 * channel blocks; between points of a row of the filters, [6][depth][16], and between taps of the product, [36][tiles][16]. */
static size_t input_tap(int c, int few) { return few ? (size_t)few * EN_LANES : (size_t)en_blocks(c) * TILES * EN_LANES + PAD; }
static ptrdiff_t input_block(int few) { return few ? TAPS * few * EN_LANES : TILES * EN_LANES; }
static const size_t filter_tap = DEPTH * EN_LANES + PAD, product_tap = PANELS * TILES * EN_LANES + PAD;

size_t winograd_worker_floats(int c) { return TAPS * (input_tap(c, 0) + product_tap) + PANELS * POINTS * filter_tap; }

typedef struct plan {
    const winograd *g;
    int rows, columns;           /* of tiles */
    int tall, wide;              /* how many of them have four rows, four columns; the others have three */
    int blocks, chunks;          /* of tiles, of output panels */
    int ready[EN_MAX_THREADS];   /* the block of tiles whose transformed input a worker has in its scratch, or -1 */
} plan;

/* The tiles of a job, in the order that kn_winograd asks for: three columns wide, whole, three rows high, three both ways. */
typedef struct tiles {
    kn_tile tile[TILES];
    int count, few, tall, wide, wide_end;
} tiles;

static tiles tiles_from(const plan *s, int first, int count)
{
    tiles t = {.count = count, .few = few_of(count)};
    int row = first / s->columns % s->rows, column = first % s->columns, image = first / s->columns / s->rows;
    enum { NARROW, WHOLE, LOW, SMALL, KINDS };
    kn_tile list[TILES];
    int kind[TILES], next[KINDS + 1] = {0};
    for (int i = 0; i < count; i++) {
        int tall = row < s->tall, wide = column < s->wide;
        list[i] = (kn_tile){image, 3 * row + (tall ? row : s->tall), 3 * column + (wide ? column : s->wide), 3 + tall, 3 + wide};
        kind[i] = tall ? wide ? WHOLE : NARROW : wide ? LOW : SMALL;
        next[kind[i] + 1]++;
        if (++column == s->columns) column = 0, row++;
        if (row == s->rows) row = 0, image++;
    }
    for (int k = 0; k < KINDS; k++) next[k + 1] += next[k];
    t.wide = next[WHOLE];
    t.tall = next[LOW];
    t.wide_end = next[SMALL];
    for (int i = 0; i < count; i++) t.tile[next[kind[i]]++] = list[i];
    return t;
}

static void transform_input(const plan *s, const tiles *t, float *v)
{
    const winograd *g = s->g;
    size_t map = (size_t)g->h * (size_t)g->w * EN_LANES;
    kn_tiles from = {.h = g->h, .w = g->w, .pad_h = g->pad_h, .pad_w = g->pad_w, .image = (size_t)en_blocks(g->c) * map, .tile = t->tile, .count = t->count,
                     .tap = input_tap(g->c, t->few)};
    for (int b = 0; b < en_blocks(g->c); b++) g->call->kernels->winograd_input(&from, g->x + (size_t)b * map, v + b * input_block(t->few));
}

static void transform_output(const plan *s, const tiles *t, int block, const float *m)
{
    const winograd *g = s->g;
    size_t map = (size_t)g->p * (size_t)g->q * EN_LANES / (g->pooled ? 4 : 1), at = (size_t)block * map;
    kn_tiles to = {.h = g->p, .w = g->q, .image = (size_t)en_blocks(g->o) * map, .tile = t->tile, .count = t->count, .pooled = g->pooled, .tap = product_tap};
    kn_epilogue e = g->epilogue;
    if (e.bias) e.bias += block * EN_LANES;
    if (e.scale) e.scale += block * EN_LANES, e.shift += block * EN_LANES;
    if (e.residual) e.residual += at;
    g->call->kernels->winograd_output(&to, m, &e, g->y + at);
}

/* Panels o .. o+panels-1 of the product for few tiles, DEPTH channels at a time. */
static void multiply_few(const plan *s, const tiles *t, int o, int panels, const float *v, float *m)
{
    const winograd *g = s->g;
    size_t w_tap = (size_t)g->c * EN_LANES;
    for (int i = 0; i < panels; i++)
        for (int first = 0; first < g->c; first += DEPTH)
            g->call->kernels->winograd_product(&(kn_winograd){.depth = g->c - first < DEPTH ? g->c - first : DEPTH, .tiles = t->count,
                .tall = t->tall, .wide = t->wide, .wide_end = t->wide_end, .w = g->packed + (size_t)(o + i) * 9 * w_tap + (size_t)first * EN_LANES,
                .w_tap = w_tap, .v = v + first / EN_LANES * input_block(t->few), .m = m + i * TILES * EN_LANES, .m_tap = product_tap, .add = first > 0});
}

/* Points b .. b_end-1 of tiles i .. i_end-1. */
static void multiply_points(const plan *s, kn_gemm k, int b, int b_end, int i, int i_end)
{
    ptrdiff_t to = b * k.c_run + i * k.c_row;
    k.a += b * k.a_run + i * k.a_row;
    k.b += (size_t)b * k.b_run;
    k.c += to;
    if (k.epilogue.residual) k.epilogue.residual += to;
    k.runs = b_end - b;
    k.rows = i_end - i;
    if (k.rows > 0) s->g->call->kernels->gemm(&k);
}

/* The same for many: row a of the points at a time, so that its filters, their products and the weights stay in the second-level cache. */
static void multiply(const plan *s, const tiles *t, int o, int panels, const float *v, float *u, float *m)
{
    static const ptrdiff_t tap;
    const winograd *g = s->g;
    size_t w_tap = (size_t)g->c * EN_LANES;
    kn_gemm k = {.a_run = (ptrdiff_t)input_tap(g->c, 0), .a_row = EN_LANES, .a_block = input_block(0), .tap = &tap, .taps = 1, .b = u, .b_run = filter_tap,
                 .b_panel = POINTS * filter_tap, .c_run = (ptrdiff_t)product_tap, .c_row = EN_LANES, .c_panel = TILES * EN_LANES,
                 .panels = panels, .ahead_step = w_tap, .ahead_count = (9 * panels + POINTS - 1) / POINTS};
    for (int first = 0; first < g->c; first += DEPTH) {
        const float *w = g->packed + (size_t)o * 9 * w_tap + (size_t)first * EN_LANES;
        k.depth = g->c - first < DEPTH ? g->c - first : DEPTH;
        const float *next = first + DEPTH < g->c ? w + DEPTH * EN_LANES : g->packed + (size_t)(o + panels) * 9 * w_tap;
        for (int a = 0; a < POINTS; a++) {
            for (int i = 0; i < panels; i++)
                g->call->kernels->winograd_filter(a, k.depth, w + (size_t)i * 9 * w_tap, w_tap, u + (size_t)i * k.b_panel, filter_tap);
            k.a = v + first / EN_LANES * k.a_block + a * POINTS * k.a_run;
            k.c = m + a * POINTS * k.c_run;
            k.ahead = next + (size_t)(a * k.ahead_count) * k.ahead_step; /* a sixth of the weights that come next */
            k.epilogue.residual = first ? k.c : NULL; /* a chain joins those before it */
            int end = a < POINTS - 1 ? t->count : t->tall, wide_end = end < t->wide_end ? end : t->wide_end, same = !t->wide && wide_end == end;
            multiply_points(s, k, 0, same ? POINTS : POINTS - 1, 0, end);
            if (!same) multiply_points(s, k, POINTS - 1, POINTS, t->wide, wide_end);
        }
    }
}

static void run_job(void *arg, int job, int worker)
{
    plan *s = arg;
    const winograd *g = s->g;
    int block = job / s->chunks, chunk = job % s->chunks, all = en_blocks(g->o), left = s->rows * s->columns * g->call->images - block * TILES;
    tiles t = tiles_from(s, block * TILES, left < TILES ? left : TILES);
    float *v = g->call->worker_scratch + (size_t)worker * g->call->node->worker_scratch, *u = v + TAPS * input_tap(g->c, 0), *m = u + PANELS * POINTS * filter_tap;
    if (s->ready[worker] != block) transform_input(s, &t, v);
    s->ready[worker] = block;
    for (int o = all * chunk / s->chunks, end = all * (chunk + 1) / s->chunks, panels; o < end; o += panels) {
        panels = end - o < PANELS ? end - o : PANELS;
        if (t.few) multiply_few(s, &t, o, panels, v, m);
        else multiply(s, &t, o, panels, v, u, m);
        for (int i = 0; i < panels; i++) transform_output(s, &t, o + i, m + i * TILES * EN_LANES);
    }
}

/* Tiles along a side of n >= LEAST_SIDE pixels, and how many of them have four, so that three are left for each of the others. */
static int tiles_along(int n) { return (n + KN_TILE - 1) / KN_TILE; }
static int whole_along(int n) { return n - (KN_TILE - 1) * tiles_along(n); }

void winograd_convolve(const winograd *g)
{
    plan s = {.g = g, .rows = tiles_along(g->p), .columns = tiles_along(g->q), .tall = whole_along(g->p), .wide = whole_along(g->q)};
    s.blocks = (s.rows * s.columns * g->call->images + TILES - 1) / TILES;
    int groups = (en_blocks(g->o) + PANELS - 1) / PANELS;
    s.chunks = (JOBS + s.blocks - 1) / s.blocks;
    if (s.chunks > groups) s.chunks = groups;
    for (int i = 0; i < EN_MAX_THREADS; i++) s.ready[i] = -1;
    en_parallel(g->call->pool, s.blocks * s.chunks, run_job, &s);
}
