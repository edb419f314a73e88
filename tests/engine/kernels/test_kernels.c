/* SPDX-License-Identifier: MIT */
/* Every kernel of kernels.def on every usable instruction set against a scalar version at every size around its tiles: bit for bit,
 * but for activate and softmax_rows, which are held against their formulas in double.
 *
 * Memory that a kernel has no business with is NaN: gaps between rows, lanes past the depth, guards around each buffer. Reading it
 * makes a result NaN, writing it makes the whole-buffer comparison fail. */
#include "engine/cpu.h"
#include "tests/engine/kernels/scalar.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const steps plain = {0};

/* ---- gemm ---- */

static int part(int n, int most)
{
    int parts = 1;
    while (parts * most < n) parts++;
    return n / parts + (n % parts != 0);
}

/* Chains of at most KN_CHAIN steps, whole taps where they are short, whose sums are added in order; a residual in place allows but one. */
static float gemm_sum(const kn_table *k, const kn_gemm *g, int run, int row, int o)
{
    int one = g->epilogue.residual == g->c, taps = g->taps, length = g->depth;
    if (!one && g->depth <= KN_CHAIN) taps = part(g->taps, KN_CHAIN / g->depth);
    if (!one && g->depth > KN_CHAIN) taps = 1, length = 16 * part((g->depth + 15) / 16, KN_CHAIN / 16);
    float total = 0, chain = 0;
    for (int t = 0, first = 1; t < g->taps; t++)
        for (int i = 0; i < g->depth; i++) {
            chain = multiply_add(k, g->a[run * g->a_run + row * g->a_row + g->tap[t] + i / 16 * g->a_block + i % 16],
                                 g->b[(size_t)run * g->b_run + (size_t)(o / 16) * g->b_panel + (size_t)((t * g->depth + i) * 16 + o % 16)], chain);
            int tap_ends = i == g->depth - 1;
            if (tap_ends ? (t + 1) % taps && t < g->taps - 1 : (i + 1) % length != 0) continue;
            total = first ? chain : total + chain;
            chain = 0;
            first = 0;
        }
    return total;
}

static void gemm_reference(const kn_table *k, const kn_gemm *g, float *c)
{
    for (int run = 0; run < g->runs; run++)
        for (int row = 0; row < g->rows; row++)
            for (int o = 0; o < g->panels * 16; o++) {
                ptrdiff_t at = run * g->c_run + row * g->c_row + o / 16 * g->c_panel + o % 16;
                c[at] = finish(k, &g->epilogue, gemm_sum(k, g, run, row, o), (size_t)o, at, row < g->epilogue.biased);
            }
}

/* Rows are every second pixel, taps neighbouring pixels, and there are gaps after runs, channel blocks and panels. An even number of rows has
 * weights of its own in each run. */
static void try_gemm(const kn_table *k, int runs, int rows, int panels, int depth, int taps, const steps *s)
{
    ptrdiff_t tap[9], a_run = (2 * rows + taps) * 16, a_block = runs * a_run + 16;
    for (int t = 0; t < taps; t++) tap[t] = (t * 5 + 2) % taps * 16; /* any order */
    if (taps == 5) tap[2] = tap[0];                                  /* and the same one twice */
    size_t b_panel = (size_t)((taps * depth + 1) * 16), b_run = rows % 2 ? 0 : (size_t)panels * b_panel + 16;
    buffer a = buffer_new((size_t)((depth + 15) / 16 * a_block)), b = buffer_new((size_t)panels * b_panel + (size_t)(runs - 1) * b_run);
    kn_gemm g = {.a = a.at,
                 .a_run = a_run,
                 .a_row = 32,
                 .a_block = a_block,
                 .tap = tap,
                 .taps = taps,
                 .depth = depth,
                 .b = b.at,
                 .b_run = b_run,
                 .b_panel = b_panel,
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
    for (int run = 0; run < (b_run ? runs : 1); run++)
        for (int p = 0; p < panels; p++)
            for (int i = 0; i < taps * depth * 16; i++)
                b.at[(size_t)run * b_run + (size_t)p * b_panel + (size_t)i] = (float)t_uniform(-1, 1);
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
    static const int deep[] = {143, 144, 145, 160, 161, 255, 257, 288, 289, 513, 1024, 1040};
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
    for (ptrdiff_t i = (ptrdiff_t)d->p0 * d->q * 16; i < (ptrdiff_t)d->p * d->q * 16; i++) {
        int lane = (int)(i % 16), q = (int)(i / 16) % d->q, p = (int)(i / 16) / d->q;
        float sum = 0;
        for (int t = 0; t < d->group * d->kh * d->kw; t++) {
            int c = t / (d->kh * d->kw), tap = t % (d->kh * d->kw), from = lane / d->group * d->group + c;
            int r = p * d->stride_h - d->pad_h + tap / d->kw, s = q * d->stride_w - d->pad_w + tap % d->kw;
            if (r >= 0 && r < d->h && s >= 0 && s < d->w)
                sum = multiply_add(k, d->x[(r * d->w + s) * 16 + from], d->weights[t * 16 + lane], sum);
        }
        y[i] = finish(k, &d->epilogue, sum, (size_t)lane, i, d->epilogue.biased > 0);
    }
}

/* h, w, kh, kw, stride_h, stride_w, pad_h, pad_w of `d` are given. */
static void try_depthwise(const kn_table *k, kn_depthwise d, const steps *s)
{
    if (d.h + 2 * d.pad_h < d.kh || d.w + 2 * d.pad_w < d.kw) return;
    if (!d.group) d.group = 1;
    d.p = (d.h + 2 * d.pad_h - d.kh) / d.stride_h + 1;
    d.p0 = (int)(t_random() % (uint64_t)d.p);
    d.q = (d.w + 2 * d.pad_w - d.kw) / d.stride_w + 1;
    buffer x = buffer_random((size_t)(d.h * d.w * 16)), w = buffer_random((size_t)(d.group * d.kh * d.kw * 16)),
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
             "%s depthwise, groups of %d, map %d %d, window %d %d, stride %d %d, padding %d %d, bias %d of %d, affine %d, residual %d, act %d",
             k->name, d.group, d.h, d.w, d.kh, d.kw, d.stride_h, d.stride_w, d.pad_h, d.pad_w, s->bias, s->biased, s->affine, s->residual,
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
    for (int w = 1; w <= 31; w += w < 15 ? 1 : 8)
        for (int kw = 1; kw <= 5; kw++)
            for (int stride = 1; stride <= 3; stride++)
                for (int pad = 0; pad <= kw; pad++) {
                    kn_depthwise d = {
                        .h = 4, .w = w, .kh = 3, .kw = kw, .stride_h = 1, .stride_w = stride, .pad_h = 1, .pad_w = pad};
                    try_depthwise(k, d, &plain);
                    d = (kn_depthwise){
                        .h = w, .w = 5, .kh = kw, .kw = 2, .stride_h = stride, .stride_w = 1, .pad_h = pad, .pad_w = 0};
                    try_depthwise(k, d, &plain);
                    d = (kn_depthwise){.group = kw % 2 ? 4 : 8, .h = 3, .w = w, .kh = 2, .kw = kw, .stride_h = 1, .stride_w = stride, .pad_h = 1, .pad_w = pad};
                    try_depthwise(k, d, &plain);
                }
    each_epilogue(k, 1, try_depthwise_epilogue);
}

/* ---- affine ---- */

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

/* ---- activate ---- */

typedef struct curve {
    double f, slope, curvature;
} curve;

/* An activation and its derivatives from their formulas. */
static curve curve_at(kn_act a, double x)
{
    double s = 1 / (1 + exp(-x)), d = s * (1 - s), normal = erfc(-x / sqrt(2)) / 2, density = exp(-x * x / 2) / sqrt(2 * acos(-1));
    switch (a) {
    case KN_RELU: return (curve){x > 0 ? x : 0, x > 0, 0};
    case KN_RELU6: return (curve){fmin(fmax(x, 0), 6), x > 0 && x < 6, 0};
    case KN_SIGMOID: return (curve){s, d, d * (1 - 2 * s)};
    case KN_SILU: return (curve){x * s, s + x * d, d * (2 + x * (1 - 2 * s))};
    case KN_GELU: return (curve){x * normal, normal + x * density, (2 - x * x) * density};
    default: return (curve){x, 1, 0};
    }
}

/* Some epsilons of s or Phi (the fit of erf is off by 1.4e-7, little more than one), times x at most; none for straight pieces. */
static void check_curve(const kn_table *k, kn_act a, double x, const char *what, float got, double want)
{
    double tolerance = a <= KN_RELU6 ? 0 : 4 * FLT_EPSILON * (1 + fabs(x));
    CHECK_MSG(fabs((double)got - want) <= tolerance, "%s activation %d at %.9g: %s %.9g, want %.9g", k->name, a, x, what,
              (double)got, want);
}

static void check_curves(const kn_table *k, kn_act a, const float x[16])
{
    float f[16], slope[16], curvature[16];
    k->activate(a, 16, x, f, slope, curvature);
    for (int i = 0; i < 16; i++) {
        curve want = curve_at(a, (double)x[i]);
        check_curve(k, a, (double)x[i], "value", f[i], want.f);
        check_curve(k, a, (double)x[i], "slope", slope[i], want.slope);
        check_curve(k, a, (double)x[i], "curvature", curvature[i], want.curvature);
        if (a == KN_SIGMOID && fabsf(x[i]) <= 87) /* small, but with all its digits */
            CHECK_MSG(fabs((double)f[i] - want.f) <= 4 * FLT_EPSILON * want.f, "%s sigmoid(%.9g): %.9g, want %.9g", k->name,
                      (double)x[i], (double)f[i], want.f);
    }
}

/* Every combination of outputs, alone and in place, gives the same numbers. */
static void try_activate(const kn_table *k, kn_act a, size_t n, int outputs, int in_place)
{
    buffer x = buffer_random(n), f = buffer_new(n), d = buffer_new(n), dd = buffer_new(n);
    for (size_t i = 0; i < n; i++) x.at[i] *= 10;
    buffer y = in_place ? buffer_copy(&x) : buffer_new(n), slope = buffer_new(n), curvature = buffer_new(n);
    for (size_t i = 0; i < n; i += 16) k->activate(a, 16, x.at + i, f.at + i, d.at + i, dd.at + i);
    k->activate(a, n, in_place ? y.at : x.at, outputs & 1 ? y.at : NULL, outputs & 2 ? slope.at : NULL,
                outputs & 4 ? curvature.at : NULL);
    buffer untouched = in_place ? buffer_copy(&x) : buffer_new(n);
    check_same("activate: y", y, outputs & 1 ? buffer_copy(&f) : buffer_copy(&untouched));
    check_same("activate: slope", slope, outputs & 2 ? buffer_copy(&d) : buffer_new(n));
    check_same("activate: curvature", curvature, outputs & 4 ? buffer_copy(&dd) : buffer_new(n));
    buffer all[] = {x, f, d, dd, untouched};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i].memory);
}

static void sweep_activate(const kn_table *k)
{
    static const float edges[32] = {0,    -0.0f, 6,          5.9999995f,  6.0000005f, 1e-45f, -1e-45f, 1e-38f, -1e-38f, 5.5f, -5.5f,
                                    3,    -3,    5.4999995f, -5.4999995f, 0.5f,       87,     -87,     88,     -88,     89,   -89,
                                    88.5, -88.5, 100,        -100,        12,         -12,    1e4f,    -1e4f,  1e9f,    -1e9f};
    for (kn_act a = KN_NONE; a <= KN_GELU; a++) {
        float x[16];
        check_curves(k, a, edges);
        check_curves(k, a, edges + 16);
        for (int i = 0; i < 4000; i++) {
            double range = i % 2 ? 8 : 100;
            for (int lane = 0; lane < 16; lane++) x[lane] = (float)t_uniform(-range, range);
            check_curves(k, a, x);
        }
        for (size_t n = 0; n <= 96; n += 16)
            for (int outputs = 0; outputs < 8; outputs++) try_activate(k, a, n, outputs, n % 32 == 0 && outputs & 1);
    }
}

/* NaN is an error on its way to someone who looks; infinities end where the formula's limit is. */
static void check_specials(const kn_table *k)
{
    float x[16] = {NAN, INFINITY, -INFINITY};
    memcpy(&x[4], &(uint32_t){0x7fc00001}, sizeof x[4]); /* NaN with a payload, which exp must not take for an exponent */
    for (kn_act a = KN_RELU; a <= KN_GELU; a++) {
        float f[16], slope[16], curvature[16];
        k->activate(a, 16, x, f, slope, curvature);
        CHECK(isnan(f[0]) && isnan(f[4]) && !isnan(f[3]) && (a <= KN_RELU6 || (isnan(slope[0]) && isnan(curvature[0]))));
        CHECK(a == KN_RELU6 ? f[1] == 6 : a == KN_SIGMOID ? f[1] == 1 : isinf(f[1]) && f[1] > 0);
        CHECK(a > KN_SIGMOID || (f[2] >= 0 && f[2] < 1e-37f));
    }
}

/* ---- matmul ---- */

/* transposed: a is read column by column, as for a'b. plus: nothing, something, or the output itself. */
static void try_matmul(const kn_table *k, int rows, int inner, int columns, int transposed, int plus)
{
    int lead = (transposed ? rows : inner) + 3, lines = transposed ? inner : rows;
    kn_matmul m = {.a_row = transposed ? 1 : lead,
                   .a_step = transposed ? lead : 1,
                   .b_row = columns + 5,
                   .c_row = columns + 16,
                   .rows = rows,
                   .inner = inner,
                   .columns = columns,
                   .scale = plus ? 0.3f : 1,
                   .plus_row = plus == 2 ? columns + 16 : columns + 2};
    buffer a = buffer_new((size_t)(lines * lead)), b = buffer_new((size_t)(inner * m.b_row)),
           c = buffer_new((size_t)(rows * m.c_row)), d = buffer_random((size_t)(rows * m.plus_row));
    for (int i = 0; i < rows * inner; i++) a.at[i / inner * m.a_row + i % inner * m.a_step] = (float)t_uniform(-1, 1);
    for (int i = 0; i < inner * columns; i++) b.at[i / columns * m.b_row + i % columns] = (float)t_uniform(-1, 1);
    for (int i = 0; plus == 2 && i < rows * columns; i++) c.at[i / columns * m.c_row + i % columns] = (float)t_uniform(-1, 1);
    buffer want = buffer_copy(&c);
    m.a = a.at;
    m.b = b.at;
    m.c = c.at;
    m.plus = plus ? plus == 2 ? c.at : d.at : NULL;
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < columns; j++) {
            float sum = 0;
            for (int l = 0; l < inner; l++) sum = multiply_add(k, a.at[i * m.a_row + l * m.a_step], b.at[l * m.b_row + j], sum);
            want.at[i * m.c_row + j] = plus ? multiply_add(k, sum, m.scale, m.plus[i * m.plus_row + j]) : sum * m.scale;
        }
    k->matmul(&m);
    char what[96];
    snprintf(what, sizeof what, "%s matmul, %d x %d x %d, transposed %d, plus %d", k->name, rows, inner, columns, transposed, plus);
    check_same(what, c, want);
    free(a.memory);
    free(b.memory);
    free(d.memory);
}

static void sweep_matmul(const kn_table *k)
{
    for (int rows = 1; rows <= 17; rows++)
        for (int inner = 1; inner <= 18; inner += 1 + inner / 6)
            for (int columns = 16; columns <= 128; columns += columns < 48 ? 16 : 32)
                for (int kind = 0; kind < 6; kind++) try_matmul(k, rows, inner, columns, kind & 1, kind >> 1);
}

/* ---- transpose ---- */

static void sweep_transpose(const kn_table *k)
{
    for (int rows = 1; rows <= 35; rows++)
        for (int columns = 16; columns <= 48; columns += 16) {
            int padded = (rows + 15) / 16 * 16, x_row = columns + 3, y_row = padded + 5;
            buffer x = buffer_new((size_t)(rows * x_row)), y = buffer_new((size_t)(columns * y_row)), want = buffer_copy(&y);
            for (int i = 0; i < rows * columns; i++) x.at[i / columns * x_row + i % columns] = (float)t_uniform(-1, 1);
            for (int i = 0; i < padded * columns; i++)
                want.at[i % columns * y_row + i / columns] = i / columns < rows ? x.at[i / columns * x_row + i % columns] : 0;
            k->transpose(rows, columns, x.at, x_row, y.at, y_row);
            check_same(k->name, y, want);
            free(x.memory);
        }
}

/* ---- layer_norm ---- */

static float lane_sum(const float lane[16])
{
    float t[8];
    for (int i = 0; i < 8; i++) t[i] = lane[i] + lane[i + 8];
    for (int i = 0; i < 4; i++) t[i] += t[i + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
}

static void norm_position(const kn_table *k, const kn_layer_norm *l, int p, float *y)
{
    float sum[16] = {0}, squares[16] = {0};
    for (int c = 0; c < l->channels; c++) sum[c % 16] += l->x[c / 16 * l->block + p * 16 + c % 16];
    float mean = lane_sum(sum) / (float)l->channels;
    for (int c = 0; c < l->channels; c++) {
        float d = l->x[c / 16 * l->block + p * 16 + c % 16] - mean;
        squares[c % 16] = multiply_add(k, d, d, squares[c % 16]);
    }
    float scale = 1 / sqrtf(lane_sum(squares) / (float)l->channels + l->eps);
    for (int c = 0; c < (l->channels + 15) / 16 * 16; c++) {
        ptrdiff_t at = c / 16 * l->block + p * 16 + c % 16;
        y[at] = c < l->channels ? multiply_add(k, (l->x[at] - mean) * scale, l->gamma[c], l->beta[c]) : 0;
    }
}

static void sweep_layer_norm(const kn_table *k)
{
    for (int channels = 1; channels <= 70; channels += 1 + channels / 5)
        for (int positions = 1; positions <= 11; positions++) {
            size_t blocks = (size_t)(channels + 15) / 16, block = 16 * (size_t)positions + 7;
            buffer x = buffer_new(blocks * block), y = buffer_new(blocks * block), want = buffer_copy(&y), gamma = buffer_random(16 * blocks),
                   beta = buffer_random(16 * blocks);
            for (int c = 0; c < 16 * (int)blocks; c++)
                for (int p = 0; p < positions; p++) x.at[c / 16 * (int)block + p * 16 + c % 16] = c < channels ? (float)t_uniform(-1, 3) : 0;
            kn_layer_norm l = {x.at, y.at, (ptrdiff_t)block, positions, channels, gamma.at, beta.at, 1e-3f};
            for (int p = 0; p < positions; p++) norm_position(k, &l, p, want.at);
            k->layer_norm(&l);
            check_same(k->name, y, want);
            free(x.memory), free(gamma.memory), free(beta.memory);
        }
}

/* ---- softmax_rows ---- */

/* Each number is exp of a difference, which is rounded, over a sum; below e^-87 it may be anything that small. */
static void check_softmax_row(const kn_table *k, int n, int row, const float *x, const float *got)
{
    double most = -INFINITY, total = 0;
    for (int i = 0; i < n; i++) most = fmax(most, (double)x[i]);
    for (int i = 0; i < n; i++) total += exp((double)x[i] - most);
    for (int i = 0; i < n; i++) {
        double want = exp((double)x[i] - most) / total, tolerance = FLT_EPSILON * (8 + most - (double)x[i]) * want + 1e-37;
        CHECK_MSG(fabs((double)got[i] - want) <= tolerance, "%s softmax_rows, %d of %d: number %d is %.9g, want %.9g", k->name, n,
                  row, i, (double)got[i], want);
    }
    for (int i = n; i < row; i++)
        CHECK_MSG(got[i] == 0 && !signbit(got[i]), "%s softmax_rows, %d of %d: padding %d is %g", k->name, n, row, i,
                  (double)got[i]);
}

static void try_softmax_rows(const kn_table *k, int count, int n, int row, double range)
{
    buffer x = buffer_new((size_t)(count * row));
    for (int i = 0; i < count * n; i++) x.at[i / n * row + i % n] = (float)t_uniform(-range, range) - (i % 5 == 3 ? 100 : 0);
    buffer got = buffer_copy(&x);
    k->softmax_rows(count, n, row, got.at);
    for (int i = 0; i < count; i++) check_softmax_row(k, n, row, x.at + i * row, got.at + i * row);
    memcpy(got.at, x.at, x.n * sizeof *x.at); /* now only the guards can differ */
    check_same(k->name, got, x);
}

static void sweep_softmax_rows(const kn_table *k)
{
    static const double ranges[] = {0.1, 5, 300, 1e30};
    for (int n = 1; n <= 40; n++)
        for (size_t i = 0; i < sizeof ranges / sizeof *ranges; i++) {
            try_softmax_rows(k, 1 + n % 3, n, (n + 15) / 16 * 16, ranges[i]);
            try_softmax_rows(k, 2, n, (n + 15) / 16 * 16 + 16, ranges[i]);
        }
    for (int at = 0; at < 20; at++) { /* NaN anywhere fills its row and no other */
        float x[64] = {0};
        x[at] = NAN;
        k->softmax_rows(2, 20, 32, x);
        for (int i = 0; i < 20; i++) CHECK(isnan(x[i]) && x[32 + i] == 0.05f);
        for (int i = 20; i < 32; i++) CHECK(x[32 + i] == 0);
    }
}

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

/* ---- mean ---- */

static void sweep_mean(const kn_table *k)
{
    for (int rows = 1; rows <= 3; rows++)
        for (int columns = 1; columns <= 13; columns++) {
            int row = 16 * columns + 5;
            buffer x = buffer_new((size_t)(rows * row)), y = buffer_new(16), want = buffer_copy(&y);
            float sum[4][16] = {{0}};
            for (int i = 0; i < rows * columns * 16; i++) {
                float v = (float)t_uniform(-1, 1);
                x.at[i / 16 / columns * row + i % (16 * columns)] = v;
                sum[i / 16 % columns % 4][i % 16] += v;
            }
            for (int i = 0; i < 16; i++) want.at[i] = ((sum[0][i] + sum[2][i]) + (sum[1][i] + sum[3][i])) * 0.3f;
            k->mean(&(kn_mean){x.at, row, rows, columns, 0.3f, y.at});
            check_same(k->name, y, want);
            free(x.memory);
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
    TEST(kernel_##name##_equals_its_scalar_version) { on_each_isa(sweep_##name); }
#include "engine/kernels/kernels.def"
#undef KERNEL

TEST(activations_keep_nan_visible_on_every_instruction_set) { on_each_isa(check_specials); }

/* The kernels whose scalar versions are formulas: one set must not differ from another by a bit. */
static void check_same_as_first(const kn_table *k)
{
    int usable = 0;
    const kn_table *first = NULL;
    for (int i = 0; !usable; i++) first = en_isa(i, &usable);
    if (!strcmp(k->name, "base")) return;
    for (int i = 0; i < 3000; i++) {
        buffer x = buffer_random(48), y = buffer_new(144), want = buffer_new(144);
        for (int j = 0; j < 48; j++) x.at[j] *= i % 3 == 0 ? 1 : i % 3 == 1 ? 10 : 120;
        for (kn_act a = KN_SIGMOID; a <= KN_GELU; a++) {
            k->activate(a, 48, x.at, y.at, y.at + 48, y.at + 96);
            first->activate(a, 48, x.at, want.at, want.at + 48, want.at + 96);
            check_same(k->name, buffer_copy(&y), buffer_copy(&want));
        }
        memcpy(y.at, x.at, 48 * sizeof *y.at);
        memcpy(want.at, x.at, 48 * sizeof *want.at);
        k->softmax_rows(1, 1 + i % 48, 48, y.at);
        first->softmax_rows(1, 1 + i % 48, 48, want.at);
        check_same(k->name, y, want);
        free(x.memory);
    }
}

TEST(activations_and_softmax_are_the_same_bits_on_every_instruction_set_with_fused_multiply_add)
{
    on_each_isa(check_same_as_first);
}
