/* SPDX-License-Identifier: MIT */
/* Whole networks: the forward pass, and what an explanation costs beyond it. */
#include "bench/bench.h"

#include "cam/shapleycam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a context is asked for: a forward pass, or a map at a layer. */
enum { FORWARD, PRE_POOL, CONV, KINDS };
static const char *const layers[KINDS] = {[PRE_POOL] = "pre_pool", [CONV] = "conv"};

typedef struct subject {
    cam_net *net;
    cam_ctx *ctx[KINDS]; /* one for each kind, made when it is first wanted: a context that is asked for something else builds another graph */
    int32_t threads;
    cam_image *image;
    cam_error e;
} subject;

static int open_net(const char *name, const bench_options *o, subject *s)
{
    s->threads = (int32_t)o->threads;
    if (!cam_net_open(name, o->weights ? o->weights : "seeded", &s->net, &s->e)) return 1;
    fprintf(stderr, "cam_bench: %s\n", s->e.text);
    return 0;
}

static int open_subject(const char *name, const bench_options *o, subject *s)
{
    *s = (subject){0};
    if (!open_net(name, o, s)) return 0;
    if (cam_image_tensor(s->net, "seeded-image:1", &s->image, &s->e)) return fprintf(stderr, "cam_bench: %s\n", s->e.text), 0;
    return 1;
}

static void close_net(subject *s)
{
    for (int k = 0; k < KINDS; k++) {
        cam_ctx_free(s->ctx[k]);
        s->ctx[k] = NULL;
    }
    cam_net_close(s->net);
    s->net = NULL;
}

static void close_subject(subject *s)
{
    cam_image_free(s->image);
    close_net(s);
}

/* One forward pass, or one explanation, of that kind in context number `ctx`, in seconds on the wall clock; negative on failure. */
static double time_once(subject *s, int ctx, int kind)
{
    static float logits[1000];
    cam_request q = {.size = sizeof q, .method = "shapleycam", .utility = "rest", .layer = layers[kind], .cls = CAM_TOP1};
    cam_result result;
    double start = bench_now();
    cam_status status = s->ctx[ctx] ? CAM_OK : cam_ctx_new(s->net, &(cam_options){.size = sizeof(cam_options), .threads = s->threads}, &s->ctx[ctx], &s->e);
    if (!status && layers[kind]) status = cam_explain(s->ctx[ctx], cam_image_input(s->image), &q, 1, &result, &s->e);
    if (!status && !layers[kind]) status = cam_forward(s->ctx[ctx], cam_image_input(s->image), logits, &s->e);
    if (status) return fprintf(stderr, "cam_bench: %s\n", s->e.text), -1;
    return bench_now() - start;
}

enum { MOST_TURNS = 1000 };

/* All kinds in turns. Of each kind the second of two runs counts, which finds in the caches what the first has left there. Shortest times, and medians of
 * what a turn says of a kind over the forward pass; returns how many turns there were, 0 on failure. */
static int times_of(subject *s, int tenths, double best[KINDS], double ratio[KINDS])
{
    static double ratios[KINDS][MOST_TURNS];
    double start = bench_now(), took[KINDS];
    int turns = 0;
    for (int k = 0; k < KINDS; k++) best[k] = 1e30;
    while (turns < 7 || (turns < MOST_TURNS && bench_now() - start < 0.3 * tenths)) {
        for (int k = 0; k < KINDS; k++) {
            if (time_once(s, k, k) < 0) return 0;
            took[k] = time_once(s, k, k);
            if (took[k] < 0) return 0;
            best[k] = took[k] < best[k] ? took[k] : best[k];
        }
        for (int k = 0; k < KINDS; k++) ratios[k][turns] = took[k] / took[0];
        turns++;
    }
    for (int k = 0; k < KINDS; k++) ratio[k] = bench_median(ratios[k], turns);
    return turns;
}

int bench_nets(const bench_options *o)
{
    const char *name;
    printf("networks, %ld threads: shortest times, and medians of a turn's ratios\n%45s forward ms   shapleycam pre_pool      conv          turns\n", o->threads, "");
    for (int i = 0; (name = cam_list("nets", i)); i++) {
        subject s;
        if (!bench_wants(o, name)) continue;
        double best[KINDS], ratio[KINDS];
        int turns = open_subject(name, o, &s) ? times_of(&s, (int)o->tenths, best, ratio) : 0;
        close_subject(&s);
        if (!turns) return 1;
        printf("  %-41s %9.2f     %9.2f (%.3f) %9.2f (%.3f) %8d\n", name, 1e3 * best[0], 1e3 * best[1], ratio[1], 1e3 * best[2], ratio[2], turns);
        fflush(stdout);
    }
    return 0;
}

/* ---- many images ---- */

typedef struct passes {
    cam_ctx *ctx;
    cam_input in;
    float *logits;
    int runs, failed;
} passes;

static void run_passes(void *arg)
{
    passes *p = arg;
    cam_error e;
    for (int i = 0; i < p->runs && !p->failed; i++) p->failed = cam_forward(p->ctx, p->in, p->logits, &e) != CAM_OK;
}

/* A context of one thread that has run once. */
static int passes_new(const subject *s, cam_input in, passes *p)
{
    cam_error e;
    *p = (passes){.in = in, .logits = malloc((size_t)in.n * 1000 * sizeof *p->logits), .runs = 1};
    p->failed = !p->logits || cam_ctx_new(s->net, &(cam_options){.size = sizeof(cam_options), .threads = 1}, &p->ctx, &e);
    run_passes(p);
    return !p->failed;
}

static void passes_free(passes *p)
{
    cam_ctx_free(p->ctx);
    free(p->logits);
}

enum { BATCH = 8, TURNS = 9 };

/* One image after the other on one thread, the same on two threads at once, and batches on one, in turns: images per second at best, and
 * medians of the ratios of a turn. */
static int throughput_of(const subject *s, int tenths, double rate[3], double ratio[3])
{
    cam_input one = cam_image_input(s->image);
    size_t floats = (size_t)3 * (size_t)one.height * (size_t)one.width;
    float *batch = malloc(BATCH * floats * sizeof *batch);
    for (size_t k = 0; batch && k < BATCH; k++) memcpy(batch + k * floats, one.nchw, floats * sizeof *batch);
    passes a = {0}, b = {0}, eight = {0};
    double ratios[3][TURNS] = {{0}};
    int ok = batch && passes_new(s, one, &a) && passes_new(s, one, &b) && passes_new(s, (cam_input){batch, BATCH, one.height, one.width}, &eight);
    bench_work works[] = {{run_passes, &a, 0}, {run_passes, &b, 0}, {run_passes, &eight, 0}};
    double once = ok ? bench_together(works, 1) : 1;
    a.runs = b.runs = BATCH * (1 + (int)(0.1 * (double)tenths / TURNS / once / BATCH));
    eight.runs = a.runs / BATCH;
    for (int turn = 0; ok && turn < TURNS; turn++) {
        double images = a.runs, got[3] = {images / bench_together(works, 1)};
        got[1] = 2 * images / bench_together(works, 2);
        got[2] = images / bench_together(works + 2, 1);
        for (int i = 0; i < 3; i++) {
            rate[i] = got[i] > rate[i] ? got[i] : rate[i];
            ratios[i][turn] = got[i] / got[0];
        }
        ok = !a.failed && !b.failed && !eight.failed;
    }
    for (int i = 0; i < 3; i++) ratio[i] = bench_median(ratios[i], TURNS);
    passes_free(&a);
    passes_free(&b);
    passes_free(&eight);
    free(batch);
    return ok;
}

int bench_throughput(const bench_options *o)
{
    const char *name;
    double registers, memory;
    const kn_table *kernels = bench_kernels(o);
    if (!kernels) return 1;
    bench_scaling(kernels, &registers, &memory);
    printf("two threads do %.3f times the multiply-adds of one, and read memory %.3f times as fast\n", registers, memory);
    printf("images per second%36s one    two on two threads      in batches of %d\n", "", BATCH);
    for (int i = 0; (name = cam_list("nets", i)); i++) {
        subject s;
        double rate[3] = {0}, ratio[3];
        if (!bench_wants(o, name)) continue;
        int ok = open_subject(name, o, &s) && throughput_of(&s, (int)o->tenths, rate, ratio);
        close_subject(&s);
        if (!ok) return fprintf(stderr, "cam_bench: %s does not run\n", name), 1;
        printf("  %-41s %9.2f     %9.2f (%.3f)     %9.2f (%.3f)\n", name, rate[0], rate[1], ratio[1], rate[2], ratio[2]);
        fflush(stdout);
    }
    return 0;
}

/* ---- for a long time ---- */

static long resident_kilobytes(void)
{
    char line[256];
    long kilobytes = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof line, f)) sscanf(line, "VmRSS: %ld kB", &kilobytes);
    if (f) fclose(f);
    return kilobytes;
}

/* From opening the weights to the first map, as a program does that explains one picture; then the same map again. */
int bench_start(const bench_options *o)
{
    const char *name;
    printf("start, %ld threads%20s first map ms   again    first - 1.3 * again\n", o->threads, "");
    for (int i = 0; (name = cam_list("nets", i)); i++) {
        subject s;
        double first = 1e30, again = 1e30;
        if (!bench_wants(o, name)) continue;
        int failed = !open_subject(name, o, &s);
        for (int turn = 0; turn < 7 && !failed; turn++) {
            close_net(&s);
            double start = bench_now();
            failed = !open_net(name, o, &s) || time_once(&s, PRE_POOL, PRE_POOL) < 0;
            if (bench_now() - start < first) first = bench_now() - start;
            for (int n = 0; n < 7 && !failed; n++) {
                double took = time_once(&s, PRE_POOL, PRE_POOL);
                if (took < again) again = took;
            }
        }
        close_subject(&s);
        if (failed) return 1;
        printf("  %-31s %12.2f %7.2f %23.2f\n", name, 1e3 * first, 1e3 * again, 1e3 * (first - 1.3 * again));
    }
    return 0;
}

int bench_steady(const bench_options *o)
{
    subject s;
    if (!o->net) return fprintf(stderr, "cam_bench: steady wants --net\n"), 2;
    if (!open_subject(o->net, o, &s)) return close_subject(&s), 1;
    int failed = 0;
    for (long i = 1; i <= o->runs && !failed; i++) {
        failed = time_once(&s, 0, FORWARD) < 0 || time_once(&s, 0, i % 2 ? PRE_POOL : CONV) < 0; /* one context, which builds graphs anew */
        if (i == 10 || i == o->runs / 2 || i == o->runs) printf("after %6ld forward passes and maps: %ld kB resident\n", i, resident_kilobytes());
    }
    close_subject(&s);
    return failed;
}

/* ---- for a program that counts instructions ---- */

/* Not inlined and not static, so that it can be named to callgrind. */
void bench_counted(const bench_graph *g);
__attribute__((noinline)) void bench_counted(const bench_graph *g)
{
    en_graph *graph = g->model.graph;
    en_forward(graph, g->cut, NULL);
    en_seed(graph, g->cut, 1, 2);
    memcpy(en_adjoint(graph, g->model.logits, 0, 1), en_value(graph, g->model.logits), 1000 * sizeof(float));
    memcpy(en_adjoint(graph, g->model.logits, 0, 2), en_tangent(graph, g->model.logits), 1000 * sizeof(float));
    en_reverse_sums(graph);
}

int bench_count(const bench_options *o)
{
    bench_graph g;
    en_error e;
    const net_arch *arch = o->net ? net_arch_find(o->net) : NULL;
    if (!arch) return fprintf(stderr, "cam_bench: count wants --net\n"), 2;
    int failed = bench_graph_new(arch, (int)o->side, o->isa, &g, &e) != EN_OK;
    if (failed) fprintf(stderr, "cam_bench: %s\n", e.text);
    else bench_counted(&g);
    bench_graph_free(&g);
    return failed;
}

/* Lets a script time this program and others in turn. */
int bench_interactive(const bench_options *o)
{
    subject s;
    char line[64];
    if (!o->net) return fprintf(stderr, "cam_bench: --interactive wants one --net\n"), 2;
    if (!open_subject(o->net, o, &s)) return close_subject(&s), 1;
    int failed = time_once(&s, FORWARD, FORWARD) < 0;
    printf("ready\n");
    fflush(stdout);
    while (!failed && fgets(line, sizeof line, stdin) && strncmp(line, "quit", 4)) {
        int kind = !strncmp(line, "cam", 3) ? PRE_POOL : !strncmp(line, "conv", 4) ? CONV : FORWARD;
        double took = time_once(&s, kind, kind);
        failed = took < 0;
        printf("%.6f\n", 1e3 * took);
        fflush(stdout);
    }
    close_subject(&s);
    return failed;
}
