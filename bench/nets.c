/* SPDX-License-Identifier: MIT */
/* Whole networks: the forward pass, and what an explanation costs beyond it. */
#include "bench/bench.h"

#include "cam/shapleycam.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct subject {
    cam_net *net;
    cam_ctx *ctx;
    cam_image *image;
    cam_error e;
} subject;

static int open_net(const char *name, const bench_options *o, subject *s)
{
    if (!cam_net_open(name, o->weights ? o->weights : "seeded", &s->net, &s->e) &&
        !cam_ctx_new(s->net, &(cam_options){.size = sizeof(cam_options), .threads = (int32_t)o->threads}, &s->ctx, &s->e))
        return 1;
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
    cam_ctx_free(s->ctx);
    cam_net_close(s->net);
    s->ctx = NULL;
    s->net = NULL;
}

static void close_subject(subject *s)
{
    cam_image_free(s->image);
    close_net(s);
}

/* One forward pass, or one explanation at `layer`, in seconds on the wall clock; negative on failure. */
static double time_once(subject *s, const char *layer)
{
    static float logits[1000];
    cam_request q = {.size = sizeof q, .method = "shapleycam", .utility = "rest", .layer = layer, .cls = CAM_TOP1};
    cam_result result;
    double start = bench_now();
    cam_status status = layer ? cam_explain(s->ctx, cam_image_input(s->image), &q, 1, &result, &s->e) : cam_forward(s->ctx, cam_image_input(s->image), logits, &s->e);
    if (status) return fprintf(stderr, "cam_bench: %s\n", s->e.text), -1;
    return bench_now() - start;
}

int bench_nets(const bench_options *o)
{
    static const char *const layers[] = {NULL, "pre_pool", "conv"};
    const char *name;
    printf("networks, %ld threads%21s forward ms   shapleycam pre_pool      conv\n", o->threads, "");
    for (int i = 0; (name = cam_list("nets", i)); i++) {
        subject s;
        if (!bench_wants(o, name)) continue;
        double best[3] = {1e30, 1e30, 1e30};
        if (!open_subject(name, o, &s)) return close_subject(&s), 1;
        for (int k = 0; k < 3; k++) { /* each switch of layer builds a graph, so the runs of one kind go together */
            double start = bench_now();
            for (int n = 0; n < 7 || bench_now() - start < 0.1 * (double)o->tenths; n++) {
                double took = time_once(&s, layers[k]);
                if (took < 0) return close_subject(&s), 1;
                if (took < best[k]) best[k] = took;
            }
        }
        printf("  %-41s %9.2f     %9.2f (%.3f) %9.2f (%.3f)\n", name, 1e3 * best[0], 1e3 * best[1], best[1] / best[0], 1e3 * best[2], best[2] / best[0]);
        close_subject(&s);
    }
    return 0;
}

/* ---- many images ---- */

typedef struct pair_job {
    const cam_net *net;
    cam_input in;
    int runs, failed;
    double seconds; /* of all runs, when every thread had started */
    pthread_barrier_t *start;
} pair_job;

static void *run_pair(void *arg)
{
    pair_job *j = arg;
    cam_ctx *ctx = NULL;
    cam_error e;
    float *logits = malloc((size_t)j->in.n * 1000 * sizeof *logits);
    j->failed = !logits || cam_ctx_new(j->net, &(cam_options){.size = sizeof(cam_options), .threads = 1}, &ctx, &e) || cam_forward(ctx, j->in, logits, &e);
    pthread_barrier_wait(j->start);
    double start = bench_now();
    for (int i = 0; i < j->runs && !j->failed; i++) j->failed = cam_forward(ctx, j->in, logits, &e) != CAM_OK;
    j->seconds = bench_now() - start;
    cam_ctx_free(ctx);
    free(logits);
    return NULL;
}

/* Images per second with so many contexts at once, each on a thread of its own; the best of three. */
static double rate(const subject *s, int contexts, cam_input in, int runs)
{
    double best = 0;
    for (int turn = 0; turn < 3; turn++) {
        pthread_barrier_t start;
        pthread_t thread[2];
        pair_job job[2];
        double longest = 0;
        pthread_barrier_init(&start, NULL, (unsigned)contexts);
        for (int i = 0; i < contexts; i++) {
            job[i] = (pair_job){s->net, in, runs, 0, 0, &start};
            if (pthread_create(&thread[i], NULL, run_pair, &job[i])) abort();
        }
        for (int i = 0; i < contexts; i++) {
            pthread_join(thread[i], NULL);
            if (job[i].failed) return -1;
            if (job[i].seconds > longest) longest = job[i].seconds;
        }
        pthread_barrier_destroy(&start);
        if (contexts * runs * in.n / longest > best) best = contexts * runs * in.n / longest;
    }
    return best;
}

int bench_throughput(const bench_options *o)
{
    enum { BATCH = 8 };
    const char *name;
    printf("images per second%36s one    two on two threads      in batches of %d\n", "", BATCH);
    for (int i = 0; (name = cam_list("nets", i)); i++) {
        subject s;
        if (!bench_wants(o, name)) continue;
        if (!open_subject(name, o, &s)) return close_subject(&s), 1;
        cam_input one = cam_image_input(s.image);
        size_t floats = (size_t)3 * (size_t)one.height * (size_t)one.width;
        float *batch = malloc(BATCH * floats * sizeof *batch);
        for (size_t k = 0; batch && k < BATCH; k++) memcpy(batch + k * floats, one.nchw, floats * sizeof *batch);
        cam_input eight = {batch, BATCH, one.height, one.width};
        double alone = rate(&s, 1, one, 1);
        int runs = 1 + (int)(0.1 * (double)o->tenths * alone);
        if (!batch || alone < 0) return fprintf(stderr, "cam_bench: %s does not run\n", name), 1;
        alone = rate(&s, 1, one, runs);
        double two = rate(&s, 2, one, runs), eights = rate(&s, 1, eight, (runs + BATCH - 1) / BATCH);
        printf("  %-41s %9.2f     %9.2f (%.3f)     %9.2f (%.3f)\n", name, alone, two, two / alone, eights, eights / alone);
        free(batch);
        close_subject(&s);
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
            failed = !open_net(name, o, &s) || time_once(&s, "pre_pool") < 0;
            if (bench_now() - start < first) first = bench_now() - start;
            for (int n = 0; n < 7 && !failed; n++) {
                double took = time_once(&s, "pre_pool");
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
        failed = time_once(&s, NULL) < 0 || time_once(&s, i % 2 ? "pre_pool" : "conv") < 0;
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
    en_reverse(graph);
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
    if (!o->net || !open_subject(o->net, o, &s)) return fprintf(stderr, "cam_bench: --interactive wants one --net\n"), 1;
    int failed = time_once(&s, NULL) < 0;
    printf("ready\n");
    fflush(stdout);
    while (!failed && fgets(line, sizeof line, stdin) && strncmp(line, "quit", 4)) {
        double took = time_once(&s, !strncmp(line, "cam", 3) ? "pre_pool" : !strncmp(line, "conv", 4) ? "conv" : NULL);
        failed = took < 0;
        printf("%.6f\n", 1e3 * took);
        fflush(stdout);
    }
    close_subject(&s);
    return failed;
}
