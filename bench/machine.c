/* SPDX-License-Identifier: MIT */
/* What the machine can do, on one thread. */
#include "bench/bench.h"

#include "engine/kernels/vec.h"
#include "engine/memory.h"

#if defined __x86_64__
#include <immintrin.h>
#endif
#include <pthread.h>
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

static void take_turn(const bench_work *w, double *best)
{
    double before = bench_thread_now();
    w->run(w->arg);
    double took = bench_thread_now() - before;
    if (took < *best) *best = took;
}

void bench_in_turns(const bench_work *a, const bench_work *b, double seconds, double best[2])
{
    double start = bench_now();
    best[0] = best[1] = 1e30;
    for (int i = 0; i < 5 || bench_now() - start < seconds; i++) {
        take_turn(a, &best[0]);
        if (b) take_turn(b, &best[1]);
    }
}

double bench_shortest(void (*run)(void *arg), void *arg, double seconds)
{
    double best[2];
    bench_in_turns(&(bench_work){run, arg, 0}, NULL, seconds, best);
    return best[0];
}

static void *run_work(void *arg)
{
    const bench_work *w = arg;
    w->run(w->arg);
    return NULL;
}

double bench_together(const bench_work *works, int count)
{
    pthread_t other;
    bench_work second = works[count - 1];
    double start = bench_now();
    int alone = count == 1 || pthread_create(&other, NULL, run_work, &second);
    works->run(works->arg);
    if (count > 1 && alone) run_work(&second);
    if (!alone) pthread_join(other, NULL);
    return bench_now() - start;
}

static int rising(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bench_median(double *x, int n)
{
    qsort(x, (size_t)n, sizeof *x, rising);
    return x[n / 2];
}

enum { STEPS = 1 << 16 };

static volatile float sink;

/* Additions that wait for each other take a cycle each; eight at a time, or the loop around may take longer. */
static void run_additions(void *arg)
{
    enum { AT_A_TIME = 8 };
    uint64_t x = *(uint64_t *)arg;
    for (int i = 0; i < STEPS; i += AT_A_TIME)
        UNROLL for (int k = 0; k < AT_A_TIME; k++) {
            x += (uint64_t)i;
            __asm__ volatile("" : "+r"(x));
        }
    *(uint64_t *)arg = x;
}

double bench_clock(double seconds)
{
    uint64_t x = 1;
    return STEPS / bench_shortest(run_additions, &x, seconds);
}

/* Multiply-adds into 12 registers that wait for nothing but themselves: enough for two units with a latency of 4 to 6. */
enum { REGISTERS = 12 };
#define RUN_REGISTERS(isa, attribute, vector, set, multiply_add)                                        \
    attribute static void run_##isa(void *arg)                                                          \
    {                                                                                                   \
        vector x[REGISTERS], a = set(*(float *)arg), b = set(0.25f);                                    \
        UNROLL for (int k = 0; k < REGISTERS; k++) x[k] = set((float)k);                                \
        for (int i = 0; i < STEPS; i++)                                                                 \
            UNROLL for (int k = 0; k < REGISTERS; k++) x[k] = multiply_add(x[k], a, b);                 \
        UNROLL for (int k = 0; k < REGISTERS; k++) sink += ((const float *)&x[k])[0];                   \
    }

#if defined __x86_64__
#define SSE2_MULTIPLY_ADD(x, a, b) _mm_add_ps(_mm_mul_ps(x, a), b)
RUN_REGISTERS(avx512, __attribute__((target("avx512f"))), __m512, _mm512_set1_ps, _mm512_fmadd_ps)
RUN_REGISTERS(avx2, __attribute__((target("avx2,fma"))), __m256, _mm256_set1_ps, _mm256_fmadd_ps)
RUN_REGISTERS(base, , __m128, _mm_set1_ps, SSE2_MULTIPLY_ADD)
#elif defined __aarch64__
#define NEON_MULTIPLY_ADD(x, a, b) vfmaq_f32(b, x, a)
RUN_REGISTERS(base, , float32x4_t, vdupq_n_f32, NEON_MULTIPLY_ADD)
#endif

bench_work bench_registers(const kn_table *kernels)
{
    static float half = 0.5f;
#if defined __x86_64__
    if (!strcmp(kernels->name, "avx512")) return (bench_work){run_avx512, &half, 2.0 * STEPS * REGISTERS * 16};
    if (!strcmp(kernels->name, "avx2")) return (bench_work){run_avx2, &half, 2.0 * STEPS * REGISTERS * 8};
#endif
    (void)kernels;
    return (bench_work){run_base, &half, 2.0 * STEPS * REGISTERS * 4};
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

double bench_peak(const kn_table *kernels, double seconds, double *registers)
{
    enum { DEPTH = 96, ROWS = 14, COLUMNS = 64 }; /* 24 KiB of weights, 5 of input, 4 of output */
    static const ptrdiff_t tap;
    size_t floats = (size_t)DEPTH * (ROWS + COLUMNS) + ROWS * COLUMNS;
    float *memory = en_alloc_floats(floats);
    if (!memory) return 0;
    memset(memory, 0, floats * sizeof *memory);
    float *b = memory + DEPTH * ROWS, *c = b + DEPTH * COLUMNS;
    peak_job j = {kernels, {.a = memory, .a_row = 16, .a_block = 16 * ROWS, .tap = &tap, .taps = 1, .depth = DEPTH, .b = b, .b_panel = DEPTH * 16,
                            .c = c, .c_row = 16, .c_panel = 16 * ROWS, .runs = 1, .rows = ROWS, .panels = COLUMNS / 16}};
    double best[2];
    bench_work all = bench_registers(kernels);
    bench_in_turns(&(bench_work){run_peak, &j, 0}, &all, seconds, best);
    free(memory);
    *registers = 1e-9 * all.count / best[1];
    return 2.0 * DEPTH * ROWS * COLUMNS * REPEATS / best[0] * 1e-9;
}

enum { SWEEP = 1 << 26 }; /* floats: 256 MiB, beyond most caches */

/* Four streams at once, as four panels of weights are read. */
static void run_read(void *arg)
{
    enum { STREAMS = 4, LINE = 16 };
    const float *x = arg;
    vf sums[STREAMS] = {{0}};
    for (size_t i = 0; i < SWEEP / STREAMS; i += LINE)
        UNROLL for (size_t k = 0; k < STREAMS; k++)
            UNROLL for (size_t j = 0; j < LINE; j += VW) sums[k] += v_load(x + k * (SWEEP / STREAMS) + i + j);
    UNROLL for (int k = 0; k < STREAMS; k++) sink += sums[k][0];
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

typedef struct often {
    bench_work work;
    int times;
} often;

static void run_often(void *arg)
{
    const often *o = arg;
    for (int i = 0; i < o->times; i++) o->work.run(o->work.arg);
}

static double scaling_of(bench_work a, bench_work b, int times)
{
    enum { TURNS = 9 };
    often x = {a, times}, y = {b, times};
    bench_work both[] = {{run_often, &x, 0}, {run_often, &y, 0}};
    double ratio[TURNS];
    for (int i = 0; i < TURNS; i++) {
        double alone = bench_together(both, 1);
        ratio[i] = 2 * alone / bench_together(both, 2);
    }
    return bench_median(ratio, TURNS);
}

void bench_scaling(const kn_table *kernels, double *registers, double *memory)
{
    bench_work all = bench_registers(kernels);
    *registers = scaling_of(all, all, 200);
    float *x = en_alloc_floats(SWEEP), *y = en_alloc_floats(SWEEP);
    if (x && y) memset(x, 0, SWEEP * sizeof *x), memset(y, 0, SWEEP * sizeof *y);
    *memory = x && y ? scaling_of((bench_work){run_read, x, 0}, (bench_work){run_read, y, 0}, 3) : 0;
    free(x);
    free(y);
}
