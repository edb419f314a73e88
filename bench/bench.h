/* SPDX-License-Identifier: MIT */
/* Measuring: the shortest of many runs, because other work on the machine only ever makes a run longer. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "engine/kernels/kernels.h"

typedef struct bench_options {
    const char *what, *net, *isa, *weights;
    long threads, seconds; /* seconds per line, in tenths */
    int interactive;
} bench_options;

/* Seconds on the wall clock, and of this thread alone. */
double bench_now(void);
double bench_thread_now(void);

/* The shortest time of one call of run(arg), in seconds of this thread, from at least 5 calls and `seconds` of trying. */
double bench_shortest(void (*run)(void *arg), void *arg, double seconds);

/* The machine: multiply-adds that one thread does, in GFLOP/s with this instruction set's gemm kernel on data in L1, and bytes it reads from
 * memory, in GB/s. */
double bench_peak(const kn_table *kernels, double seconds);
double bench_bandwidth(double seconds);

int bench_kernels(const bench_options *o);
int bench_nets(const bench_options *o);
int bench_interactive(const bench_options *o);

#endif
