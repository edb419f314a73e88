/* SPDX-License-Identifier: MIT */
/* What the machine can do, on one thread. */
#include "bench/bench.h"

#include "engine/memory.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static double clock_seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_now(void) { return clock_seconds(CLOCK_MONOTONIC); }
double bench_thread_now(void) { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

double bench_shortest(void (*run)(void *arg), void *arg, double seconds)
{
    double best = 1e30, start = bench_now();
    for (int i = 0; i < 5 || bench_now() - start < seconds; i++) {
        double before = bench_thread_now();
        run(arg);
        double took = bench_thread_now() - before;
        if (took < best) best = took;
    }
    return best;
}

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

enum { SWEEP = 1 << 26 }; /* floats: 256 MiB, beyond most caches */

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
