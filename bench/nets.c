/* SPDX-License-Identifier: MIT */
/* Whole networks: the forward pass, and what an explanation costs beyond it. */
#include "bench/bench.h"

#include "cam/shapleycam.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct subject {
    cam_net *net;
    cam_ctx *ctx;
    cam_image *image;
    cam_error e;
} subject;

static int open_subject(const char *name, const bench_options *o, subject *s)
{
    *s = (subject){0};
    if (cam_net_open(name, o->weights ? o->weights : "seeded", &s->net, &s->e) ||
        cam_ctx_new(s->net, &(cam_options){sizeof(cam_options), (int32_t)o->threads}, &s->ctx, &s->e) ||
        cam_image_tensor(s->net, "seeded-image:1", &s->image, &s->e))
        return fprintf(stderr, "cam_bench: %s\n", s->e.text), 0;
    return 1;
}

static void close_subject(subject *s)
{
    cam_image_free(s->image);
    cam_ctx_free(s->ctx);
    cam_net_close(s->net);
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
        if (o->net && !strstr(o->net, name)) continue;
        double best[3] = {1e30, 1e30, 1e30};
        if (!open_subject(name, o, &s)) return close_subject(&s), 1;
        for (int k = 0; k < 3; k++) { /* each switch of layer builds a graph, so the runs of one kind go together */
            double start = bench_now();
            for (int n = 0; n < 7 || bench_now() - start < 0.1 * (double)o->seconds; n++) {
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
