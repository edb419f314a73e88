/* SPDX-License-Identifier: MIT */
/* Gauges: each kind of kernel alone, at a shape that a network has, beside what it could be: multiply-adds beside those that the processor does
 * in registers, streams beside what it reads from memory, functions in cycles. The goals were reached by prototypes on a Zen 4 core, whose
 * multiply-adds are half as many per cycle; beyond 100 % Winograd's method saves multiplications. */
#include "bench/bench.h"

#include "engine/engine.h"
#include "engine/memory.h"

#include <stdio.h>
#include <stdlib.h>

typedef enum gauge_kind { CONV, DIRECT, TOKENS, WINDOWS, STREAM } gauge_kind;

/* clang-format off */
static const struct gauge {
    const char *what, *of;
    gauge_kind kind;
    int c, side, o;    /* channels, height and width of the input, output channels */
    int window, stride, groups;
    int goal;          /* per cent */
} gauges[] = {
    {"1 x 1",               "resnet50",        CONV,    1024, 14,  256, 1, 1, 1,   95},
    {"1 x 1",               "resnet50",        CONV,      64, 56,  256, 1, 1, 1,   95},
    {"1 x 1, stride 2",     "resnet50",        CONV,     256, 56,  512, 1, 2, 1,   95},
    {"linear, by position", "swin_tiny",       TOKENS,   384, 14, 1536, 1, 1, 1,   94},
    {"3 x 3, direct",       "--exact",         DIRECT,   128, 28,  128, 3, 1, 1,   95},
    {"3 x 3, stride 2",     "resnet50",        CONV,     128, 56,  128, 3, 2, 1,   97},
    {"3 x 3, F(4,3)",       "resnet18",        CONV,      64, 56,   64, 3, 1, 1,  320},
    {"3 x 3, F(4,3)",       "resnet18",        CONV,     128, 28,  128, 3, 1, 1,  340},
    {"3 x 3, F(4,3)",       "resnet18",        CONV,     256, 14,  256, 3, 1, 1,  245},
    {"3 x 3, F(4,3)",       "resnet18",        CONV,     512,  7,  512, 3, 1, 1,  156},
    {"3 x 3, F(4,3)",       "vgg16",           CONV,     512, 28,  512, 3, 1, 1,  340},
    {"7 x 7, stride 2",     "resnet50",        CONV,       3, 224,  64, 7, 2, 1,   88},
    {"3 x 3, a picture",    "vgg16",           CONV,       3, 224,  64, 3, 1, 1,   90},
    {"3 x 3, stride 2",     "mobilenet_v2",    CONV,       3, 224,  32, 3, 2, 1,   83},
    {"groups of 4",         "resnext50",       CONV,     128, 56,  128, 3, 1, 32,  88},
    {"groups of 16",        "resnext50",       CONV,     512, 14,  512, 3, 1, 32,  93},
    {"depthwise 3 x 3",     "mobilenet_v2",    CONV,     144, 56,  144, 3, 1, 144, 70},
    {"depthwise, stride 2", "mobilenet_v2",    CONV,     144, 56,  144, 3, 2, 144, 58},
    {"depthwise 5 x 5",     "efficientnet_b0", CONV,     672, 14,  672, 5, 1, 672, 72},
    {"windows of 7 x 7",    "swin_tiny",       WINDOWS,   96, 56,   96, 7, 1, 3,   55},
    {"linear, one row",     "vgg16",           STREAM, 25088,  1, 4096, 1, 1, 1,  100},
};
/* clang-format on */

static en_ref op_of(en_graph *g, const struct gauge *t, en_ref x)
{
    if (t->kind == WINDOWS) return en_attention(g, x, EN_NONE, (en_windows){t->groups, t->window, 0});
    int rank = t->kind == CONV || t->kind == DIRECT ? 4 : 2;
    en_ref w = en_param(g, "weight", rank, (int[]){t->o, t->c / t->groups, t->window, t->window});
    return t->kind == STREAM ? en_linear(g, x, w, EN_NONE) : en_conv2d(g, x, w, EN_NONE, (en_conv){.stride = t->stride, .pad = t->window / 2, .groups = t->groups});
}

static void run_graph(void *arg) { en_forward(arg, EN_NONE, NULL); }

/* GFLOP/s of one gauge, and of multiply-adds in registers in turns with it; 0 if it does not run. */
static int time_gauge(const struct gauge *t, const kn_table *kernels, double seconds, double *milliseconds, double rate[2])
{
    en_params *params = NULL;
    en_graph *g = NULL;
    en_error e;
    int done = 0;
    if (en_params_new((en_source){.read = bench_read_alike}, &params, &e) == EN_OK && en_graph_new(params, &g, &e) == EN_OK) {
        en_ref x = en_input(g, en_nchw(1, t->kind == WINDOWS ? 3 * t->c : t->c, t->side, t->side)), y = op_of(g, t, x);
        en_output(g, y);
        if (en_graph_finish(g, &(en_options){.isa = kernels->name, .exact = t->kind == DIRECT}, &e) == EN_OK) {
            for (size_t i = 0; i < en_floats(en_shape_of(g, x)); i++) en_value(g, x)[i] = 0.5f;
            const int *out = en_shape_of(g, y)->dim;
            double best[2];
            bench_work work = {run_graph, g, 0}, registers = bench_registers(kernels);
            work.count = 2.0 * out[1] * out[2] * out[3] * (t->kind == WINDOWS ? 2.0 : (double)(t->c / t->groups)) * t->window * t->window;
            bench_in_turns(&work, &registers, seconds, best);
            *milliseconds = 1e3 * best[0];
            rate[0] = 1e-9 * work.count / best[0];
            rate[1] = 1e-9 * registers.count / best[1];
            done = 1;
        }
    }
    if (!done) fprintf(stderr, "cam_bench: %s: %s\n", t->what, e.text);
    en_graph_free(g);
    en_params_free(params);
    return done;
}

/* ---- functions of one number ---- */

enum { NUMBERS = 4096 };

typedef struct act_run {
    const kn_table *kernels;
    kn_act act;
    float *x, *y;
} act_run;

static void run_act(void *arg)
{
    const act_run *a = arg;
    a->kernels->activate(a->act, NUMBERS, a->x, a->y, NULL, NULL);
}

static void print_functions(const kn_table *kernels, double seconds, double clock)
{
    static const struct {
        const char *name;
        kn_act act;
        double goal;
    } acts[] = {{"SiLU", KN_SILU, 15.8}, {"GELU", KN_GELU, 25.6}};
    float *memory = en_alloc_floats(2 * NUMBERS);
    for (int i = 0; memory && i < NUMBERS; i++) memory[i] = 0.01f * (float)(i % 601) - 3;
    for (size_t i = 0; memory && i < sizeof acts / sizeof *acts; i++) {
        double each = bench_shortest(run_act, &(act_run){kernels, acts[i].act, memory, memory + NUMBERS}, seconds) / (NUMBERS / 16);
        printf("  %-21s %-41s %9.2f ns %6.1f cycles, goal %.1f\n", acts[i].name, "16 numbers", 1e9 * each, each * clock, acts[i].goal);
    }
    free(memory);
}

int bench_gauges(const bench_options *o)
{
    const kn_table *kernels = bench_kernels(o);
    if (!kernels) return 2;
    double seconds = 0.1 * (double)o->tenths, clock = bench_clock(seconds), registers, near = bench_peak(kernels, seconds, &registers);
    double bandwidth = bench_bandwidth(seconds), ms, rate[2];
    int failed = 0;
    printf("%s, one thread: %.2f GHz, %.1f GFLOP/s in registers, %.1f GB/s read from memory\n", kernels->name, 1e-9 * clock, registers, bandwidth);
    printf("  %-21s %-41s %9s %9s %8s %6s\n", "kernel", "shape", "ms", "GFLOP/s", "of that", "goal");
    printf("  %-21s %-41s %9s %9.1f %7.1f%% %5d%%\n", "register tiles", "14 x 96 by 96 x 64, in the first cache", "", near, 100 * near / registers, 97);
    for (size_t i = 0; i < sizeof gauges / sizeof *gauges; i++) {
        const struct gauge *t = &gauges[i];
        char shape[64];
        snprintf(shape, sizeof shape, "%d -> %d at %d x %d (%s)", t->c, t->o, t->side, t->side, t->of);
        if (!time_gauge(t, kernels, seconds, &ms, rate)) failed = 1;
        else if (t->kind == STREAM) printf("  %-21s %-41s %9.3f %6.1f GB/s %5.1f%% %5d%%\n", t->what, shape, ms, 2 * rate[0], 200 * rate[0] / bandwidth, t->goal);
        else printf("  %-21s %-41s %9.3f %9.1f %7.1f%% %5d%%\n", t->what, shape, ms, rate[0], 100 * rate[0] / rate[1], t->goal);
    }
    print_functions(kernels, seconds, clock);
    return failed;
}
