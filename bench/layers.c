/* SPDX-License-Identifier: MIT */
/* Every layer of a network at work in the network: caches are as the layer before left them, weights come from where they lie. Nodes of the same
 * op and shapes are one line, at the mean of their shortest times. */
#include "bench/bench.h"

#include "engine/build.h"
#include "engine/cpu.h"

#include <stdlib.h>
#include <string.h>

en_status bench_read_alike(void *self, const char *key, const en_shape *s, size_t first, size_t count, float *out, en_error *e)
{
    (void)self, (void)key, (void)s, (void)first, (void)e;
    for (size_t i = 0; i < count; i++) out[i] = 0.01f;
    return EN_OK;
}

en_status bench_graph_new(const net_arch *arch, int side, const char *isa, bench_graph *out, en_error *e)
{
    *out = (bench_graph){0};
    EN_TRY(en_params_new((en_source){.read = bench_read_alike}, &out->params, e));
    EN_TRY(net_model_build(arch, 1000, 1, side, side, out->params, &out->model, e));
    en_ref ref = net_model_layer(&out->model, "pre_pool", e);
    if (ref == EN_NONE) return EN_E_ARG;
    out->cut = en_cut(out->model.graph, &ref, 1);
    EN_TRY(en_graph_finish(out->model.graph, &(en_options){.isa = isa, .seeds = 1}, e));
    float *x = en_value(out->model.graph, out->model.input);
    for (size_t i = 0; i < en_floats(en_shape_of(out->model.graph, out->model.input)); i++) x[i] = 0.5f;
    return EN_OK;
}

void bench_graph_free(bench_graph *g)
{
    net_model_free(&g->model);
    en_params_free(g->params);
}

typedef struct line {
    char text[96];
    int count;
    double seconds, flops, bytes; /* of one of them */
} line;

/* Multiply-adds count two; bytes are inputs, weights and output once. */
static line line_of(const en_graph *g, const en_node *n)
{
    line l = {.count = 1, .bytes = 4.0 * (double)n->floats};
    const int *out = n->shape.dim, *in = g->node[n->in[0]].shape.dim;
    const en_attr *a = &n->attr;
    double pixels = (double)out[2] * out[3] * (n->pooled ? 4 : 1);
    for (int k = 0; k < n->inputs; k++) l.bytes += 4.0 * (double)en_count(&g->node[n->in[k]].shape);
    if (n->residual >= 0) l.bytes += 4.0 * (double)n->floats;
    int at = snprintf(l.text, sizeof l.text, "%-17s %4d -> %-4d %3d x %-3d", n->op->name, in[1], out[1], out[2], out[3]);
    const en_shape *w = &g->node[n->in[n->inputs > 1]].shape;
    if (!strcmp(n->op->name, "conv2d")) {
        int taps = w->rank == 4 ? w->dim[2] * w->dim[3] : 1;
        l.flops = 2 * pixels * out[1] * w->dim[1] * taps;
        const en_node *f = n->before >= 0 ? &g->node[n->before] : NULL;
        if (f) l.flops += 2.0 * f->shape.dim[1] * f->shape.dim[2] * f->shape.dim[3] * in[1];
        if (f) l.bytes += 4.0 * (double)en_count(&g->node[f->in[1]].shape);
        snprintf(l.text + at, sizeof l.text - (size_t)at, "  %2d taps, stride %d, groups %d%s", taps, a->stride[0], a->groups,
                 f ? ", behind 1 tap" : n->pooled ? ", pooled" : "");
    } else if (!strcmp(n->op->name, "linear")) {
        l.flops = 2.0 * in[1] * out[1];
    } else if (!strcmp(n->op->name, "attention")) {
        l.flops = 4 * pixels * out[1] * (a->window ? a->window * a->window : pixels);
    }
    return l;
}

/* Adds the shortest times of a graph's nodes to `lines`; returns how many lines there are. */
static int time_nodes(en_graph *g, double seconds, line *lines)
{
    int nodes = en_nodes(g), count = 0;
    double *best = malloc((size_t)nodes * sizeof *best), start = bench_now();
    for (int i = 0; best && i < nodes; i++) best[i] = 1e30;
    for (int turn = 0; best && (turn < 7 || bench_now() - start < seconds); turn++)
        for (int i = 0; i < nodes; i++) {
            double before = bench_now();
            en_forward_node(g, i);
            double took = bench_now() - before;
            if (took < best[i]) best[i] = took;
        }
    for (int i = 0; best && i < nodes; i++) {
        const en_node *n = &g->node[i];
        if (!n->op || n->absorbed) continue;
        line l = line_of(g, n);
        int k = 0;
        while (k < count && strcmp(lines[k].text, l.text)) k++;
        if (k == count) lines[count++] = l, lines[k].count = 0;
        lines[k].count++;
        lines[k].seconds += best[i];
    }
    free(best);
    return count;
}

static int by_seconds(const void *a, const void *b)
{
    const line *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static void print_lines(const char *net, double peak, const line *lines, int count)
{
    double all = 0, flops = 0;
    for (int i = 0; i < count; i++) all += lines[i].seconds, flops += lines[i].flops * lines[i].count;
    printf("\n%s: %.2f ms, %.2f GFLOP, %.1f GFLOP/s, %.1f %% of peak\n", net, 1e3 * all, 1e-9 * flops, 1e-9 * flops / all, 1e-7 * flops / all / peak);
    printf("  %-72s %5s %9s %7s %9s %7s %7s\n", "layer", "times", "ms", "share", "GFLOP/s", "of peak", "GB/s");
    for (int i = 0; i < count; i++) {
        const line *l = &lines[i];
        double each = l->seconds / l->count, rate = 1e-9 * l->flops / each;
        printf("  %-72s %5d %9.3f %6.1f%%", l->text, l->count, 1e3 * l->seconds, 100 * l->seconds / all);
        if (l->flops > 0) printf(" %9.1f %6.1f%%", rate, 100 * rate / peak);
        else printf(" %9s %7s", "", "");
        printf(" %7.1f\n", 1e-9 * l->bytes / each);
    }
}

typedef struct plot {
    bench_dot *dots;
    int count;
} plot;

static int add_dots(plot *p, const char *net, const line *lines, int count)
{
    bench_dot *dots = realloc(p->dots, (size_t)(p->count + count) * sizeof *dots);
    if (!dots) return 0;
    p->dots = dots;
    for (int i = 0; i < count; i++) {
        if (lines[i].flops <= 0) continue;
        bench_dot *d = &dots[p->count++];
        *d = (bench_dot){.intensity = lines[i].flops / lines[i].bytes, .gflops = 1e-9 * lines[i].flops * lines[i].count / lines[i].seconds};
        snprintf(d->text, sizeof d->text, "%.15s: %.75s", net, lines[i].text);
    }
    return 1;
}

static int bench_one(const net_arch *arch, const bench_options *o, const kn_table *kernels, double peak, plot *p)
{
    bench_graph g;
    en_error e;
    int failed = bench_graph_new(arch, (int)o->side, kernels->name, &g, &e) != EN_OK;
    line *lines = failed ? NULL : calloc((size_t)en_nodes(g.model.graph), sizeof *lines);
    if (failed) fprintf(stderr, "cam_bench: %s\n", e.text);
    if (lines) {
        int count = time_nodes(g.model.graph, 0.1 * (double)o->tenths, lines);
        qsort(lines, (size_t)count, sizeof *lines, by_seconds);
        print_lines(arch->name, peak, lines, count);
        if (!add_dots(p, arch->name, lines, count)) failed = 1;
    }
    free(lines);
    bench_graph_free(&g);
    return failed;
}

static int draw(const bench_options *o, const kn_table *kernels, double peak, double bandwidth, const plot *p)
{
    FILE *f = fopen(o->svg, "w");
    if (!f) return fprintf(stderr, "cam_bench: cannot write %s\n", o->svg), 1;
    char title[64];
    snprintf(title, sizeof title, "%s, one thread", kernels->name);
    bench_roofline(f, title, peak, bandwidth, p->dots, p->count);
    return fclose(f) != 0;
}

const kn_table *bench_kernels(const bench_options *o)
{
    const kn_table *kernels;
    int usable;
    for (int i = 0; (kernels = en_isa(i, &usable)); i++)
        if (usable && (!o->isa || !strcmp(o->isa, kernels->name))) return kernels;
    fprintf(stderr, "cam_bench: no instruction set %s here\n", o->isa);
    return NULL;
}

int bench_layers(const bench_options *o)
{
    const kn_table *kernels = bench_kernels(o);
    if (!kernels) return 2;
    int failed = 0;
    double seconds = 0.1 * (double)o->tenths, bandwidth = bench_bandwidth(seconds);
    double registers, peak = bench_peak(kernels, seconds, &registers);
    printf("%s, one thread: %.1f GFLOP/s in L1, %.1f GB/s read from memory\n", kernels->name, peak, bandwidth);
    plot p = {0};
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++)
        if (bench_wants(o, arch->name)) failed |= bench_one(arch, o, kernels, peak, &p);
    if (o->svg && !failed) failed = draw(o, kernels, peak, bandwidth, &p);
    free(p.dots);
    return failed;
}
