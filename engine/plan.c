/* SPDX-License-Identifier: MIT */
/* Memory: every value and adjoint gets an offset in one block. Time is counted in steps, node i forward at step i, backward at
 * 2 * nodes - i; two buffers may overlap in space if their lives do not overlap in time. Buffers are placed largest first, each into the
 * smallest gap that fits (greedy by size, best fit).
 *
 * A batch begins image by image, as long as layers have few weights or read and write more for an image than they have: what one layer writes is still in
 * a cache when the next one reads it. Values that are not read later have memory for one image. From the first layer on that has
 * more weights, all images go through each layer together, so that weights are read once.
 *
 * Requires: fused, tails marked. A value that a tail reads lives on, because tails run many times after one forward pass. */
#include "engine/build.h"

#include <stdlib.h>

typedef struct buffer {
    size_t floats, offset;
    int from, to;      /* first and last step of its life */
    size_t *place;     /* where the offset goes           */
} buffer;

typedef struct buffers {
    buffer *list;
    int count;
} buffers;

/* Nodes that need memory here: not the absorbed ones, and not parameters, which are blobs. */
static int alive(const en_node *n) { return !n->absorbed && !n->key; }

static void find_last_uses(en_graph *g)
{
    for (int i = 0; i < g->nodes; i++) g->node[i].last_use = EN_NONE;
    for (int i = 0; i < g->nodes; i++) {
        en_node *n = &g->node[i];
        if (n->absorbed) continue;
        for (int k = 0; k < n->inputs; k++)
            g->node[n->in[k]].last_use = i;
        if (n->residual >= 0) g->node[n->residual].last_use = i;
        if (n->gate >= 0) g->node[n->gate].last_use = i;
    }
}

static int kept(const en_graph *g, en_ref x)
{
    const en_node *n = &g->node[x];
    if (n->output || n->cut || n->tail || !n->op) return 1;
    for (int i = x + 1; i < g->nodes; i++)
        for (int k = 0; k < g->node[i].inputs; k++)
            if (g->node[i].tail && g->node[i].in[k] == x) return 1;
    return 0;
}

enum { FEW_WEIGHTS = 32 << 10 /* that stay in a cache from one image to the next, whatever they work on */ };

/* Whether node n is to run image by image. */
static int suits_one_image(const en_graph *g, const en_node *n)
{
    size_t weights = 0, activations = n->floats, images = (size_t)n->shape.dim[0];
    for (int k = 0; k < n->inputs; k++) {
        const en_node *in = &g->node[n->in[k]];
        if (!in->key && (in->shape.layout == EN_PLAIN || in->shape.dim[0] != n->shape.dim[0])) return 0;
        *(in->key ? &weights : &activations) += in->floats;
    }
    return weights <= FEW_WEIGHTS || weights <= activations / images;
}

/* The nodes from the first on that do, up to one that does not, or to a tail. */
static void find_stretch(en_graph *g)
{
    for (int i = 0; i < g->nodes && !g->tail_only; i++) {
        const en_node *n = &g->node[i];
        if (n->absorbed || !n->op) continue;
        if (n->tail || n->shape.dim[0] == 1 || !suits_one_image(g, n)) return;
        g->by_image = i + 1;
        g->images = n->shape.dim[0];
    }
}

static void add(buffers *b, size_t floats, int from, int to, size_t *place)
{
    b->list[b->count++] = (buffer){floats, 0, from, to, place};
}

static void collect(en_graph *g, buffers *b)
{
    int end = 2 * g->nodes + 1;
    find_stretch(g);
    for (int i = 0; i < g->nodes; i++) {
        en_node *n = &g->node[i];
        n->kept = kept(g, i);
        if (!alive(n) || (g->tail_only && !n->kept)) continue;
        int carries_tangent = n->tail || n->cut;
        int last = n->last_use > i ? n->last_use : i, together = i >= g->by_image;
        n->in_turn = !n->kept && last < g->by_image;
        /* What is written image by image and read later must be out of the way of all that the stretch writes. */
        if (n->in_turn) add(b, en_image_floats(&n->shape), i, last, &n->value);
        else add(b, n->floats * (carries_tangent && !g->first_order ? 2 : 1), together ? i : 0, n->kept ? end : last, &n->value);
        if (carries_tangent && g->seeds)
            add(b, n->floats * (g->first_order ? 1 : 2) * (size_t)g->seeds, n->output ? g->nodes : end - 1 - last, n->cut ? end : end - 1 - i, &n->adjoint);
        if (!n->prepared && n->scratch > g->scratch) g->scratch = n->scratch;
        if (n->worker_scratch > g->worker_floats) g->worker_floats = n->worker_scratch;
    }
    for (int k = 0; k < g->cuts && g->seeds; k++)
        if (g->cut[k].from != EN_NONE) add(b, en_sums_floats(g, &g->cut[k]) * (g->first_order ? 1 : 2) * (size_t)g->seeds, end - 1 - en_sums_at(&g->cut[k]), end, &g->cut[k].sums);
}

static int by_size(const void *a, const void *b)
{
    const buffer *x = a, *y = b;
    if (x->floats != y->floats) return x->floats < y->floats ? 1 : -1;
    return x->from != y->from ? (x->from > y->from) - (x->from < y->from) : (x->place > y->place) - (x->place < y->place);
}

static int by_offset(const void *a, const void *b)
{
    const buffer *x = *(const buffer *const *)a, *y = *(const buffer *const *)b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Places b among those that live at the same time, in `others` (room for all). Returns the end of the buffer. */
static size_t place(buffer *b, const buffer *placed, int count, const buffer **others)
{
    int n = 0;
    for (int i = 0; i < count; i++)
        if (placed[i].from <= b->to && b->from <= placed[i].to) others[n++] = &placed[i];
    qsort(others, (size_t)n, sizeof *others, by_offset);
    size_t free_from = 0, best = SIZE_MAX, best_gap = SIZE_MAX;
    for (int i = 0; i < n; i++) {
        if (others[i]->offset > free_from) {
            size_t gap = others[i]->offset - free_from;
            if (gap >= b->floats && gap < best_gap) best_gap = gap, best = free_from;
        }
        size_t end = others[i]->offset + others[i]->floats;
        if (end > free_from) free_from = end;
    }
    b->offset = best == SIZE_MAX ? free_from : best;
    *b->place = b->offset;
    return b->offset + b->floats;
}

en_status en_plan(en_graph *g, en_error *e)
{
    size_t room = 2 * (size_t)g->nodes + (size_t)g->cuts + 1;
    buffers b = {malloc(room * sizeof *b.list), 0};
    const buffer **others = malloc(room * sizeof *others);
    en_status status = EN_OK;
    if (!b.list || !others) {
        status = en_fail(e, EN_E_NOMEM, "graph: no memory to plan %d nodes", g->nodes);
        goto done;
    }
    find_last_uses(g);
    collect(g, &b);
    qsort(b.list, (size_t)b.count, sizeof *b.list, by_size);
    size_t end = 0;
    for (int i = 0; i < b.count; i++) {
        size_t last = place(&b.list[i], b.list, i, others);
        if (last > end) end = last;
    }
    size_t shared = g->scratch;
    g->scratch = end;
    g->worker_scratch = end + shared;
    g->floats = g->worker_scratch + g->worker_floats * (size_t)en_pool_threads(g->pool);
    g->memory = en_alloc_floats(g->floats);
    if (!g->memory) status = en_fail(e, EN_E_NOMEM, "graph: no memory for %zu bytes of activations", g->floats * sizeof(float));
done:
    free(b.list);
    free(others);
    return status;
}
