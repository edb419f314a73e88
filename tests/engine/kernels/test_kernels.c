/* SPDX-License-Identifier: MIT */
/* Every kernel of kernels.def on every usable instruction set against a scalar version, bit for bit, at every size around its
 * tiles.
 *
 * Memory that a kernel has no business with is NaN: gaps between rows, lanes past the depth, guards around each buffer. Reading it
 * makes a result NaN, writing it makes the whole-buffer comparison fail. */
#include "engine/cpu.h"
#include "engine/kernels/kernels.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { GUARD = 32 };

/* An output or input of n floats with guards; all NaN at first. */
typedef struct buffer {
    float *memory, *at;
    size_t n;
} buffer;

static buffer buffer_new(size_t n)
{
    buffer b = {malloc((n + 2 * GUARD) * sizeof(float)), NULL, n};
    CHECK(b.memory != NULL);
    for (size_t i = 0; i < n + 2 * GUARD; i++) b.memory[i] = NAN;
    b.at = b.memory + GUARD;
    return b;
}

static buffer buffer_random(size_t n)
{
    buffer b = buffer_new(n);
    for (size_t i = 0; i < n; i++) b.at[i] = (float)t_uniform(-1, 1);
    return b;
}

static buffer buffer_copy(const buffer *from)
{
    buffer b = buffer_new(from->n);
    memcpy(b.memory, from->memory, (b.n + 2 * GUARD) * sizeof(float));
    return b;
}

/* Frees both. */
static void check_same(const char *what, buffer got, buffer want)
{
    for (size_t i = 0; i < got.n + 2 * GUARD; i++)
        CHECK_MSG(!memcmp(&got.memory[i], &want.memory[i], sizeof(float)), "%s: float %td is %.9g, want %.9g", what,
                  (ptrdiff_t)i - GUARD, (double)got.memory[i], (double)want.memory[i]);
    free(got.memory);
    free(want.memory);
}

/* a * b + c as this instruction set has it: only the base set of x86-64 rounds twice. */
static float multiply_add(const kn_table *k, float a, float b, float c)
{
#if defined __x86_64__
    if (!strcmp(k->name, "base")) return a * b + c;
#endif
    (void)k;
    return fmaf(a, b, c);
}

static float act(kn_act a, float x)
{
    if (a != KN_NONE && x < 0) return 0;
    return a == KN_RELU6 && x > 6 ? 6 : x;
}

/* The documented epilogue: y = act(scale * (sum + bias) + shift + residual), for channel o and place `at` of the output. */
static float finish(const kn_table *k, const kn_epilogue *e, float sum, size_t o, ptrdiff_t at, int biased)
{
    if (e->bias && biased) sum += e->bias[o];
    if (e->scale) sum = multiply_add(k, sum, e->scale[o], e->shift[o]);
    if (e->residual) sum += e->residual[at];
    return act(e->act, sum);
}

/* Which steps an epilogue has. */
typedef struct steps {
    int bias, biased, affine;
    enum { NO_RESIDUAL, RESIDUAL, IN_PLACE } residual;
    kn_act act;
} steps;

static const steps plain = {0};

/* An epilogue and the buffers behind it. */
typedef struct ending {
    buffer bias, scale, shift, residual;
    kn_epilogue e;
} ending;

static ending ending_of(const steps *s, size_t channels, const buffer *out)
{
    ending x = {buffer_random(channels), buffer_random(channels), buffer_random(channels), buffer_random(out->n), {0}};
    x.e = (kn_epilogue){.bias = s->bias ? x.bias.at : NULL, .biased = s->biased, .act = s->act};
    for (size_t i = 0; i < channels && s->act == KN_RELU6; i++) x.scale.at[i] *= 40; /* far enough to be cut off at 6 */
    if (s->affine) x.e.scale = x.scale.at, x.e.shift = x.shift.at;
    if (s->residual) x.e.residual = s->residual == RESIDUAL ? x.residual.at : out->at;
    for (size_t i = 0; s->residual == IN_PLACE && i < out->n; i++) out->at[i] = x.residual.at[i];
    return x;
}

static void ending_free(ending *x)
{
    free(x->bias.memory);
    free(x->scale.memory);
    free(x->shift.memory);
    free(x->residual.memory);
}

/* Every combination of steps. */
static void each_epilogue(const kn_table *k, int rows, void (*try)(const kn_table *, const steps *))
{
    for (int bits = 0; bits < 4; bits++)
        for (int residual = NO_RESIDUAL; residual <= IN_PLACE; residual++)
            for (kn_act a = KN_NONE; a <= KN_RELU6; a++)
                for (int biased = 0; biased <= rows; biased++) try(k, &(steps){bits & 1, biased, bits >> 1, residual, a});
}

/* ---- gemm ---- */

static void gemm_reference(const kn_table *k, const kn_gemm *g, float *c)
{
    for (int run = 0; run < g->runs; run++)
        for (int row = 0; row < g->rows; row++)
            for (int o = 0; o < g->panels * 16; o++) {
                float sum = 0;
                for (int t = 0; t < g->taps; t++)
                    for (int i = 0; i < g->depth; i++)
                        sum = multiply_add(k, g->a[run * g->a_run + row * g->a_row + g->tap[t] + i / 16 * g->a_block + i % 16],
                                           g->b[(size_t)(o / 16) * g->b_panel + (size_t)((t * g->depth + i) * 16 + o % 16)], sum);
                ptrdiff_t at = run * g->c_run + row * g->c_row + o / 16 * g->c_panel + o % 16;
                c[at] = finish(k, &g->epilogue, sum, (size_t)o, at, row < g->epilogue.biased);
            }
}

/* Rows are every second pixel, taps neighbouring pixels, and there are gaps after runs, channel blocks and panels. */
static void try_gemm(const kn_table *k, int runs, int rows, int panels, int depth, int taps, const steps *s)
{
    ptrdiff_t tap[9], a_run = (2 * rows + taps) * 16, a_block = runs * a_run + 16;
    for (int t = 0; t < taps; t++) tap[t] = (t * 5 + 2) % taps * 16; /* any order */
    if (taps == 5) tap[2] = tap[0];                                  /* and the same one twice */
    buffer a = buffer_new((size_t)((depth + 15) / 16 * a_block)), b = buffer_new((size_t)(panels * (taps * depth + 1) * 16));
    kn_gemm g = {.a = a.at,
                 .a_run = a_run,
                 .a_row = 32,
                 .a_block = a_block,
                 .tap = tap,
                 .taps = taps,
                 .depth = depth,
                 .b = b.at,
                 .b_panel = (size_t)((taps * depth + 1) * 16),
                 .c_run = rows * 16 + 16,
                 .c_row = 16,
                 .c_panel = runs * (rows * 16 + 16) + 16,
                 .runs = runs,
                 .rows = rows,
                 .panels = panels};
    for (int run = 0; run < runs; run++)
        for (int row = 0; row < rows; row++)
            for (int t = 0; t < taps; t++)
                for (int i = 0; i < depth; i++)
                    a.at[run * a_run + row * 32 + tap[t] + i / 16 * a_block + i % 16] = (float)t_uniform(-1, 1);
    for (int p = 0; p < panels; p++)
        for (int i = 0; i < taps * depth * 16; i++) b.at[(size_t)p * g.b_panel + (size_t)i] = (float)t_uniform(-1, 1);
    buffer c = buffer_new((size_t)(panels * g.c_panel));
    ending x = ending_of(s, (size_t)panels * 16, &c);
    buffer want = buffer_copy(&c);
    g.c = c.at;
    g.epilogue = x.e;
    gemm_reference(k, &g, want.at);
    k->gemm(&g);
    char what[160];
    snprintf(what, sizeof what,
             "%s gemm, %d runs, %d rows, %d panels, depth %d, %d taps, bias %d of %d, affine %d, residual %d, act %d", k->name,
             runs, rows, panels, depth, taps, s->bias, s->biased, s->affine, s->residual, s->act);
    check_same(what, c, want);
    free(a.memory);
    free(b.memory);
    ending_free(&x);
}

static void try_gemm_epilogue(const kn_table *k, const steps *s)
{
    try_gemm(k, 2, 4, 3, 17, 2, s);
    if (s->biased == 2) try_gemm(k, 1, 4, 2, 520, 1, s); /* sums are parked on the way */
}

static void sweep_gemm(const kn_table *k)
{
    static const int deep[] = {255, 256, 257, 511, 512, 513, 1023, 1024, 1025, 1040};
    for (int rows = 1; rows <= 15; rows++)
        for (int panels = 1; panels <= 9; panels++)
            try_gemm(k, 1 + (rows + panels) % 3, rows, panels, 5 + rows, 1 + panels % 3, &plain);
    for (int depth = 1; depth <= 33; depth++)
        for (int taps = 1; taps <= 9; taps++) try_gemm(k, 1 + depth % 3, 1 + (depth + taps) % 8, 1 + taps % 5, depth, taps, &plain);
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++)
        for (int taps = 1; taps <= 3; taps++) try_gemm(k, 2, 3, 7, deep[i], taps, &plain);
    each_epilogue(k, 4, try_gemm_epilogue);
}

/* ---- gemm_t ---- */

static float sum16(const float *x)
{
    float t[8];
    for (int i = 0; i < 8; i++) t[i] = x[i] + x[i + 8];
    return ((t[0] + t[4]) + (t[2] + t[6])) + ((t[1] + t[5]) + (t[3] + t[7]));
}

static void try_gemm_t(const kn_table *k, int rows, int panels, int depth)
{
    ptrdiff_t gx_block = rows * 32 + 16;
    size_t b_panel = (size_t)(depth + 1) * 16;
    buffer gy = buffer_new((size_t)(panels * (rows * 32 + 16))), b = buffer_new((size_t)panels * b_panel),
           gx = buffer_new((size_t)((depth + 15) / 16 * gx_block));
    kn_gemm_t g = {.gy = gy.at,
                   .gy_row = 32,
                   .gy_panel = rows * 32 + 16,
                   .b = b.at,
                   .b_panel = b_panel,
                   .panels = panels,
                   .depth = depth,
                   .rows = rows,
                   .gx = gx.at,
                   .gx_row = 32,
                   .gx_block = gx_block};
    for (int p = 0; p < panels; p++) {
        for (int i = 0; i < depth * 16; i++) b.at[(size_t)p * b_panel + (size_t)i] = (float)t_uniform(-1, 1);
        for (int i = 0; i < rows * 16; i++) gy.at[p * g.gy_panel + i / 16 * 32 + i % 16] = (float)t_uniform(-1, 1);
    }
    for (int i = 0; i < rows * depth; i++)
        gx.at[i / depth * 32 + i % depth / 16 * gx_block + i % depth % 16] = (float)t_uniform(-1, 1);
    buffer want = buffer_copy(&gx);
    for (int row = 0; row < rows; row++)
        for (int i = 0; i < depth; i++) {
            float sum[16] = {0};
            for (int o = 0; o < panels * 16; o++)
                sum[o % 16] = multiply_add(k, b.at[(size_t)(o / 16) * b_panel + (size_t)(i * 16 + o % 16)],
                                           gy.at[row * 32 + o / 16 * g.gy_panel + o % 16], sum[o % 16]);
            want.at[row * 32 + i / 16 * gx_block + i % 16] += sum16(sum);
        }
    k->gemm_t(&g);
    char what[80];
    snprintf(what, sizeof what, "%s gemm_t, %d rows, %d panels, depth %d", k->name, rows, panels, depth);
    check_same(what, gx, want);
    free(gy.memory);
    free(b.memory);
}

static void sweep_gemm_t(const kn_table *k)
{
    for (int rows = 1; rows <= 15; rows++)
        for (int panels = 1; panels <= 9; panels++) try_gemm_t(k, rows, panels, 1 + (rows * 9 + panels) % KN_T_DEPTH);
    for (int depth = 1; depth <= KN_T_DEPTH; depth++) try_gemm_t(k, 1 + depth % 7, 1 + depth % 3, depth);
}

/* ---- depthwise ---- */

static void depthwise_reference(const kn_table *k, const kn_depthwise *d, float *y)
{
    for (ptrdiff_t i = 0; i < (ptrdiff_t)d->p * d->q * 16; i++) {
        int lane = (int)(i % 16), q = (int)(i / 16) % d->q, p = (int)(i / 16) / d->q;
        float sum = 0;
        for (int t = 0; t < d->kh * d->kw; t++) {
            int r = p * d->stride_h - d->pad_h + t / d->kw, s = q * d->stride_w - d->pad_w + t % d->kw;
            if (r >= 0 && r < d->h && s >= 0 && s < d->w)
                sum = multiply_add(k, d->x[(r * d->w + s) * 16 + lane], d->weights[t * 16 + lane], sum);
        }
        y[i] = finish(k, &d->epilogue, sum, (size_t)lane, i, d->epilogue.biased > 0);
    }
}

/* h, w, kh, kw, stride_h, stride_w, pad_h, pad_w of `d` are given. */
static void try_depthwise(const kn_table *k, kn_depthwise d, const steps *s)
{
    if (d.h + 2 * d.pad_h < d.kh || d.w + 2 * d.pad_w < d.kw) return;
    d.p = (d.h + 2 * d.pad_h - d.kh) / d.stride_h + 1;
    d.q = (d.w + 2 * d.pad_w - d.kw) / d.stride_w + 1;
    buffer x = buffer_random((size_t)(d.h * d.w * 16)), w = buffer_random((size_t)(d.kh * d.kw * 16)),
           y = buffer_new((size_t)(d.p * d.q * 16));
    ending tail = ending_of(s, 16, &y);
    buffer want = buffer_copy(&y);
    d.x = x.at;
    d.weights = w.at;
    d.y = y.at;
    d.epilogue = tail.e;
    depthwise_reference(k, &d, want.at);
    k->depthwise(&d);
    char what[160];
    snprintf(what, sizeof what,
             "%s depthwise, map %d %d, window %d %d, stride %d %d, padding %d %d, bias %d of %d, affine %d, residual %d, act %d",
             k->name, d.h, d.w, d.kh, d.kw, d.stride_h, d.stride_w, d.pad_h, d.pad_w, s->bias, s->biased, s->affine, s->residual,
             s->act);
    check_same(what, y, want);
    free(x.memory);
    free(w.memory);
    ending_free(&tail);
}

static void try_depthwise_epilogue(const kn_table *k, const steps *s)
{
    try_depthwise(k, (kn_depthwise){.h = 3, .w = 9, .kh = 3, .kw = 3, .stride_h = 1, .stride_w = 1, .pad_h = 1, .pad_w = 1}, s);
}

static void sweep_depthwise(const kn_table *k)
{
    for (int w = 1; w <= 15; w++)
        for (int kw = 1; kw <= 5; kw++)
            for (int stride = 1; stride <= 3; stride++)
                for (int pad = 0; pad <= kw; pad++) {
                    kn_depthwise d = {
                        .h = 4, .w = w, .kh = 3, .kw = kw, .stride_h = 1, .stride_w = stride, .pad_h = 1, .pad_w = pad};
                    try_depthwise(k, d, &plain);
                    d = (kn_depthwise){
                        .h = w, .w = 5, .kh = kw, .kw = 2, .stride_h = stride, .stride_w = 1, .pad_h = pad, .pad_w = 0};
                    try_depthwise(k, d, &plain);
                }
    each_epilogue(k, 1, try_depthwise_epilogue);
}

/* ---- affine, relu, relu6 ---- */

static void try_affine(const kn_table *k, size_t pixels, int shifted, int in_place)
{
    buffer x = buffer_random(pixels * 16), scale = buffer_random(16), shift = buffer_random(16),
           y = in_place ? buffer_copy(&x) : buffer_new(pixels * 16);
    buffer want = buffer_copy(&y);
    for (size_t i = 0; i < pixels * 16; i++)
        want.at[i] = shifted ? multiply_add(k, x.at[i], scale.at[i % 16], shift.at[i % 16]) : x.at[i] * scale.at[i % 16];
    k->affine(pixels, scale.at, shifted ? shift.at : NULL, in_place ? y.at : x.at, y.at);
    check_same(k->name, y, want);
    free(x.memory);
    free(scale.memory);
    free(shift.memory);
}

static void sweep_affine(const kn_table *k)
{
    for (size_t pixels = 0; pixels <= 9; pixels++)
        for (int bits = 0; bits < 4; bits++) try_affine(k, pixels, bits & 1, bits >> 1);
}

static void try_map(const kn_table *k, kn_act a, size_t n, int in_place)
{
    const float special[16] = {NAN,    0,       -0.0f, INFINITY, -INFINITY, 6,     5.9999995f, 6.0000005f,
                               1e-45f, -1e-45f, -6,    3,        -3,        1e30f, -1e30f,     0.5f};
    buffer x = buffer_new(n), y;
    for (size_t i = 0; i < n; i++) x.at[i] = i < 16 ? special[i] : (float)t_uniform(-9, 9);
    y = in_place ? buffer_copy(&x) : buffer_new(n);
    buffer want = buffer_copy(&y);
    for (size_t i = 0; i < n; i++) want.at[i] = act(a, x.at[i]);
    (a == KN_RELU ? k->relu : k->relu6)(n, in_place ? y.at : x.at, y.at);
    CHECK(n == 0 || isnan(y.at[0]));
    check_same(k->name, y, want);
    free(x.memory);
}

static void sweep_map(const kn_table *k, kn_act a)
{
    for (size_t n = 0; n <= 96; n += 16)
        for (int in_place = 0; in_place < 2; in_place++) try_map(k, a, n, in_place);
}

static void sweep_relu(const kn_table *k) { sweep_map(k, KN_RELU); }
static void sweep_relu6(const kn_table *k) { sweep_map(k, KN_RELU6); }

/* ---- max_pool ---- */

static float pooled(const kn_pool *o, int p, int q, int lane)
{
    float most = -INFINITY;
    for (int t = 0; t < o->kh * o->kw; t++) {
        int r = p * o->stride_h - o->pad_h + t / o->kw, s = q * o->stride_w - o->pad_w + t % o->kw;
        if (r < 0 || r >= o->h || s < 0 || s >= o->w) continue;
        float x = o->x[(r * o->w + s) * 16 + lane];
        if (isnan(x)) return x;
        if (x > most) most = x;
    }
    return most;
}

static void try_max_pool(const kn_table *k, kn_pool o)
{
    if (o.h + 2 * o.pad_h < o.kh || o.w + 2 * o.pad_w < o.kw) return;
    o.p = (o.h + 2 * o.pad_h - o.kh) / o.stride_h + 1;
    o.q = (o.w + 2 * o.pad_w - o.kw) / o.stride_w + 1;
    size_t n = (size_t)(o.h * o.w * 16);
    buffer x = buffer_random(n), y = buffer_new((size_t)(o.p * o.q * 16)), want = buffer_copy(&y);
    for (size_t i = 0; i < n; i++) x.at[i] -= 2; /* all negative: a zero of padding would win */
    for (size_t i = 0; i < n / 20; i++) x.at[t_random() % n] = NAN;
    for (size_t i = 0; i < n / 20; i++) x.at[t_random() % n] = -INFINITY;
    o.x = x.at;
    o.y = y.at;
    for (int i = 0; i < o.p * o.q * 16; i++) want.at[i] = pooled(&o, i / 16 / o.q, i / 16 % o.q, i % 16);
    k->max_pool(&o);
    check_same(k->name, y, want);
    free(x.memory);
}

static void sweep_max_pool(const kn_table *k)
{
    for (int w = 1; w <= 9; w++)
        for (int kw = 1; kw <= 4; kw++)
            for (int stride = 1; stride <= 3; stride++)
                for (int pad = 0; pad <= kw / 2; pad++) {
                    try_max_pool(
                        k,
                        (kn_pool){.h = 4, .w = w, .kh = 3, .kw = kw, .stride_h = 2, .stride_w = stride, .pad_h = 1, .pad_w = pad});
                    try_max_pool(
                        k,
                        (kn_pool){.h = w, .w = 5, .kh = kw, .kw = 2, .stride_h = stride, .stride_w = 1, .pad_h = pad, .pad_w = 0});
                }
}

/* ---- the tests: one for each row of kernels.def ---- */

static void on_each_isa(void (*sweep)(const kn_table *k))
{
    int usable;
    const kn_table *table;
    for (int i = 0; (table = en_isa(i, &usable)); i++)
        if (usable) sweep(table);
}

#define KERNEL(name, arguments)                                                                                                    \
    TEST(kernel_##name##_equals_its_scalar_version_bit_for_bit) { on_each_isa(sweep_##name); }
#include "engine/kernels/kernels.def"
#undef KERNEL
