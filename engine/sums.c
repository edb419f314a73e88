/* SPDX-License-Identifier: MIT */
/* Adjoints summed over positions. Many methods want of a layer's gradient nothing but its sum in each channel, and that can be had without the
 * gradient itself. What the sum is for y, it is for the x of
 *
 *     y = means of x              each gradient is shared out among the pixels of its window    sum gx = sum gy
 *     y[s] = W x[s]               a convolution of one pixel                                    sum gx = W' sum gy
 *     y = W (all of x, flattened)                                                               sum gx = (sum over positions of W)' gy
 *
 * A cut's adjoint is followed through means to a value `from`, whose adjoint has the same sum; if a linear map `by` alone reads that, one row of gradients
 * is multiplied by its weights instead of one for each position, or instead of weights for each. */
#include "engine/build.h"
#include "engine/ops/conv.h"
#include "engine/ops/linear.h"

#include <string.h>

extern const en_op en_op_conv2d, en_op_linear, en_op_adaptive_avg_pool, en_op_flatten, en_op_max_pool, en_op_relu;

/* The only node that reads x, if it does so as its first input and in the tail of the cut; otherwise EN_NONE. */
static en_ref only_reader(const en_graph *g, en_ref x, int cut)
{
    en_ref reader = EN_NONE;
    int readings = g->node[x].output;
    for (int i = x + 1; i < g->nodes; i++)
        for (int k = 0; k < g->node[i].inputs; k++) {
            if (g->node[i].in[k] != x) continue;
            if (k == 0 && en_in_tail(&g->node[i], cut)) reader = i;
            readings++;
        }
    return readings == 1 ? reader : EN_NONE;
}

static int positions_of(const en_node *n) { return n->shape.dim[2] * n->shape.dim[3]; }

/* The linear map that x, of more than one position, goes into. */
static en_ref map_behind(en_graph *g, en_ref x, int cut)
{
    en_ref reader = only_reader(g, x, cut);
    const en_op *wanted = &en_op_conv2d;
    if (positions_of(&g->node[x]) == 1 || reader == EN_NONE) return EN_NONE;
    if (g->node[reader].op == &en_op_flatten) wanted = &en_op_linear, reader = only_reader(g, reader, cut);
    if (reader == EN_NONE || g->node[reader].op != wanted) return EN_NONE;
    en_node *n = &g->node[reader];
    const en_node *w = &g->node[n->in[1]], *b = n->inputs > 2 ? &g->node[n->in[2]] : w;
    if (!w->key || !b->key) return EN_NONE;
    if (wanted == &en_op_linear) return n->sums_of = x, reader;
    conv_geometry m = conv_geometry_of(n, &g->node[x].shape, &w->shape);
    return conv_is_flat(&m) && m.form.groups == 1 ? reader : EN_NONE;
}

void en_find_sums(en_graph *g)
{
    for (int k = 0; k < g->cuts && g->seeds; k++) {
        en_ref x = g->cut[k].refs[0], reader;
        g->cut[k].from = g->cut[k].by = EN_NONE;
        if (g->node[x].shape.layout == EN_PLAIN) continue; /* has no positions */
        while ((reader = only_reader(g, x, k)) != EN_NONE && g->node[reader].op == &en_op_adaptive_avg_pool) x = reader;
        g->cut[k].from = x;
        g->cut[k].by = map_behind(g, x, k);
    }
}

en_ref en_sums_at(const en_cut_set *s) { return s->by == EN_NONE ? s->from : s->by; }

static size_t row_of(const en_node *n) { return (size_t)en_blocks(n->shape.dim[1]) * EN_LANES; }
static size_t images_of(const en_graph *g, const en_cut_set *s) { return (size_t)g->node[s->from].shape.dim[0]; }

size_t en_sums_floats(const en_graph *g, const en_cut_set *s)
{
    if (s->from == EN_NONE) return 0;
    return images_of(g, s) * (row_of(&g->node[s->from]) + (s->by == EN_NONE ? 0 : row_of(&g->node[s->by])));
}

const float *en_adjoint_sum(en_graph *g, int seed, int order)
{
    const en_cut_set *s = &g->cut[g->sweep_cut];
    return g->memory + s->sums + (size_t)((order - 1) * g->sweep_seeds + seed) * images_of(g, s) * row_of(&g->node[s->from]);
}

static void sum_positions(const en_graph *g, const en_node *n, size_t images, const float *x, float *sums)
{
    int positions = positions_of(n);
    for (size_t i = 0; i < images * (size_t)en_blocks(n->shape.dim[1]); i++)
        g->kernels->mean(&(kn_mean){x + i * (size_t)positions * EN_LANES, 0, 1, positions, 1, sums + i * EN_LANES});
}

void en_make_sums(en_graph *g)
{
    const en_cut_set *s = &g->cut[g->sweep_cut];
    const en_node *from = &g->node[s->from];
    size_t images = images_of(g, s) * (size_t)(g->sweep_seeds * g->sweep_order), floats = images * row_of(from);
    float *sums = g->memory + s->sums, *summed = sums + floats;
    if (s->by == EN_NONE) {
        sum_positions(g, from, images, en_adjoint(g, s->from, 0, 1), sums);
        return;
    }
    const en_node *by = &g->node[s->by];
    en_call c = {.node = by, .in = {&g->node[by->in[0]].shape, &g->node[by->in[1]].shape}, .images = (int)images, .kernels = g->kernels, .pool = g->pool};
    memset(sums, 0, floats * sizeof *sums);
    sum_positions(g, by, images, en_adjoint(g, s->by, 0, 1), summed);
    if (by->op == &en_op_linear) linear_back_sums(&c, from->shape.dim[1], summed, sums);
    else conv2d_back_sums(&c, summed, sums);
}

int en_zero_is_dead(const en_graph *g, en_ref x, int cut)
{
    const en_node *n = &g->node[x];
    if (!en_in_tail(n, cut)) return 0;
    if (n->op == &en_op_relu) return 1;
    int means_of_one = n->op == &en_op_adaptive_avg_pool && en_same_shape(&n->shape, &g->node[n->in[0]].shape);
    return (n->op == &en_op_max_pool || n->op == &en_op_flatten || means_of_one) && en_zero_is_dead(g, n->in[0], cut);
}
