/* SPDX-License-Identifier: MIT */
/* Layers one by one, on one thread, as a share of the machine's own peak; and the machine itself. */
#include "bench/bench.h"

#include "engine/cpu.h"
#include "engine/engine.h"
#include "engine/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the machine ---- */

typedef struct peak_job {
    const kn_table *kernels;
    kn_gemm g;
} peak_job;

enum { REPEATS = 64 };

static void run_peak(void *arg)
{
    const peak_job *j = arg;
    for (int i = 0; i < REPEATS; i++) j->kernels->gemm(&j->g);
}

double bench_peak(const kn_table *kernels, double seconds)
{
    enum { DEPTH = 96, ROWS = 14, COLUMNS = 64 }; /* 24 KiB of weights, 5 of input, 4 of output */
    static const ptrdiff_t tap;
    float *memory = calloc((size_t)DEPTH * (ROWS + COLUMNS) + ROWS * COLUMNS, sizeof *memory);
    if (!memory) return 0;
    float *b = memory + DEPTH * ROWS, *c = b + DEPTH * COLUMNS;
    peak_job j = {kernels, {.a = memory, .a_row = 16, .a_block = 16 * ROWS, .tap = &tap, .taps = 1, .depth = DEPTH, .b = b, .b_panel = DEPTH * 16,
                            .c = c, .c_row = 16, .c_panel = 16 * ROWS, .runs = 1, .rows = ROWS, .panels = COLUMNS / 16}};
    double best = bench_shortest(run_peak, &j, seconds);
    free(memory);
    return 2.0 * DEPTH * ROWS * COLUMNS * REPEATS / best * 1e-9;
}

enum { SWEEP = 1 << 26 }; /* floats: 256 MiB, beyond any cache */

static volatile float sink;

static void run_read(void *arg)
{
    const float *x = arg;
    float sums[64] = {0};
    for (size_t i = 0; i < SWEEP; i += 64)
        for (int k = 0; k < 64; k++) sums[k] += x[i + (size_t)k];
    for (int k = 0; k < 64; k++) sink += sums[k];
}

double bench_bandwidth(double seconds)
{
    float *x = en_alloc_floats(SWEEP);
    if (!x) return 0;
    memset(x, 0, SWEEP * sizeof *x);
    double best = bench_shortest(run_read, x, seconds);
    free(x);
    return SWEEP * sizeof *x / best * 1e-9;
}

/* ---- layers ---- */

typedef struct shape {
    const char *net;
    int in, out, side, window, stride, groups;
} shape;

static const shape shapes[] = {
#define CONV(net, ...) {#net, __VA_ARGS__},
#include "bench/shapes.def"
#undef CONV
};

static en_status read_half(void *self, const char *key, const en_shape *s, size_t first, size_t count, float *out, en_error *e)
{
    (void)self, (void)key, (void)s, (void)first, (void)e;
    for (size_t i = 0; i < count; i++) out[i] = 0.5f;
    return EN_OK;
}

static void run_forward(void *arg) { en_forward(arg, EN_NONE, NULL); }

static int bench_shape(const shape *s, const kn_table *kernels, double peak, double seconds)
{
    en_params *params = NULL;
    en_graph *g = NULL;
    en_error e;
    int side = s->side * s->stride, failed = 1;
    if (en_params_new((en_source){NULL, read_half}, &params, &e) || en_graph_new(params, &g, &e)) goto done;
    en_ref x = en_input(g, en_nchw(1, s->in, side, side));
    en_ref w = en_param(g, "w", 4, (int[]){s->out, s->in / s->groups, s->window, s->window});
    en_ref y = en_conv2d(g, x, w, en_param(g, "b", 1, &s->out), (en_conv){.stride = s->stride, .pad = s->window / 2, .groups = s->groups});
    en_output(g, y);
    if (en_graph_finish(g, &(en_options){.isa = kernels->name}, &e)) goto done;
    memset(en_value(g, x), 0, en_floats(en_shape_of(g, x)) * sizeof(float));
    double best = bench_shortest(run_forward, g, seconds);
    double flops = 2.0 * s->in / s->groups * s->out * s->window * s->window * s->side * s->side;
    printf("  %-13s %4d -> %4d  %3d x %-3d  window %d  stride %d  groups %-3d  %8.3f ms  %6.1f GFLOP/s  %5.1f %%\n", s->net, s->in, s->out, s->side, s->side,
           s->window, s->stride, s->groups, 1e3 * best, flops / best * 1e-9, 100 * flops / best * 1e-9 / peak);
    failed = 0;
done:
    if (failed) fprintf(stderr, "cam_bench: %s\n", e.text);
    en_graph_free(g);
    en_params_free(params);
    return failed;
}

int bench_kernels(const bench_options *o)
{
    const kn_table *kernels;
    int usable, failed = 0;
    double seconds = 0.1 * (double)o->seconds;
    printf("memory: %.1f GB/s read by one thread\n", bench_bandwidth(seconds));
    for (int i = 0; (kernels = en_isa(i, &usable)); i++) {
        if (!usable || (o->isa && strcmp(o->isa, kernels->name))) continue;
        double peak = bench_peak(kernels, seconds);
        printf("%s: %.1f GFLOP/s in L1, one thread\n", kernels->name, peak);
        for (size_t k = 0; k < sizeof shapes / sizeof *shapes; k++) failed |= bench_shape(&shapes[k], kernels, peak, seconds);
    }
    return failed;
}
