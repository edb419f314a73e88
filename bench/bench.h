/* SPDX-License-Identifier: MIT */
/* Measuring: the shortest of many runs, because other work on the machine only ever makes a run longer. */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include "engine/kernels/kernels.h"
#include "nets/nets.h"

#include <stdio.h>

typedef struct bench_options {
    const char *what, *net, *isa, *weights, *svg;
    long threads, tenths, side, runs; /* tenths of a second for each line; input of side x side; steady's runs */
    int interactive, help;
} bench_options;

/* Whether a network is among those asked for; a name in o->net, or no list at all. */
int bench_wants(const bench_options *o, const char *net);

/* Seconds on the wall clock, and of this thread alone. */
double bench_now(void);
double bench_thread_now(void);

/* The shortest time of one call of run(arg), in seconds of this thread, from at least 5 calls and `seconds` of trying. */
double bench_shortest(void (*run)(void *arg), void *arg, double seconds);

/* The same of two that take turns: what slows the machine down for a while slows both. b may be NULL. */
typedef struct bench_work {
    void (*run)(void *arg);
    void *arg;
    double count; /* of operations in one call */
} bench_work;
void bench_in_turns(const bench_work *a, const bench_work *b, double seconds, double best[2]);

/* The middle one of n numbers, which are sorted. */
double bench_median(double *x, int n);

/* Seconds until one or two of them are done, each on a thread of its own. */
double bench_together(const bench_work *works, int count);

/* The machine, on one thread: cycles per second; multiply-adds in registers alone, and in GFLOP/s with this instruction set's gemm kernel on data
 * in L1 (and those in registers in turns with it); bytes read from memory, in GB/s. */
double bench_clock(double seconds);
bench_work bench_registers(const kn_table *kernels);
double bench_peak(const kn_table *kernels, double seconds, double *registers);
double bench_bandwidth(double seconds);

/* How many times as much two threads do together as one: multiply-adds in registers, and reading. Medians of turns. */
void bench_scaling(const kn_table *kernels, double *registers, double *memory);

/* The instruction set that the options name, or the best one; NULL, and it has been said, if it is not here. */
const kn_table *bench_kernels(const bench_options *o);

/* A network with its graph finished and weights that are all alike, which costs no time to make. Times do not depend on their values. */
typedef struct bench_graph {
    en_params *params;
    net_model model;
    int cut; /* at pre_pool */
} bench_graph;
en_status bench_read_alike(void *self, const char *key, const en_shape *s, size_t first, size_t count, float *out, en_error *e); /* their source */
en_status bench_graph_new(const net_arch *arch, int side, const char *isa, bench_graph *out, en_error *e);
void bench_graph_free(bench_graph *g);

/* A dot in the roofline's plot: operations per byte that must move at least, and operations per second. */
typedef struct bench_dot {
    char text[96];
    double intensity, gflops;
} bench_dot;
void bench_roofline(FILE *f, const char *title, double peak, double bandwidth, const bench_dot *dots, int count);

/* The commands; 0 or an exit code. */
int bench_gauges(const bench_options *o);      /* every kind of kernel, beside what it could be                          */
int bench_layers(const bench_options *o);      /* every layer of every network                                           */
int bench_nets(const bench_options *o);        /* forward pass, and what an explanation costs beyond it                  */
int bench_throughput(const bench_options *o);  /* two images on two threads, and batches of 8                            */
int bench_start(const bench_options *o);       /* from opening the weights to the first map                              */
int bench_steady(const bench_options *o);      /* memory while it runs for a long time                                   */
int bench_count(const bench_options *o);       /* one pass and one map, for a program that counts instructions           */
int bench_interactive(const bench_options *o); /* lets a script time this program and others in turn                     */

#endif
