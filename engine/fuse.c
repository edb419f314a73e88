/* SPDX-License-Identifier: MIT */
/* Fusing: in the prefix, batch norm, residual addition and activation become steps that a convolution does to its sums before it
 * stores them. Batch norm stays a multiply-add of its own instead of going into the weights, so fusing changes no bit, weights are
 * packed the same wherever the network is cut, and logits do not depend on the layer that is being explained.
 *
 * The last node of such a chain takes over the work of those before it; it keeps its place, its name and its consumers.
 *
 * A large input of a depthwise convolution, made by a 1 x 1 convolution, is never stored as a whole, nor is what a max pool reads if Winograd's
 * convolution makes it. And a picture is stored the way the first convolution reads it. */
#include "engine/build.h"
#include "engine/ops/conv.h"

extern const en_op en_op_conv2d, en_op_linear, en_op_batch_norm, en_op_add, en_op_scale_channels, en_op_max_pool;

static int consumers(const en_graph *g, en_ref x)
{
    int count = 0;
    for (int i = 0; i < g->nodes; i++) {
        if (g->node[i].absorbed) continue;
        for (int k = 0; k < g->node[i].inputs; k++) count += g->node[i].in[k] == x;
        count += g->node[i].residual == x;
        count += g->node[i].gate == x;
    }
    return count;
}

/* Whether nobody but one consumer sees x. */
static int is_between(const en_graph *g, en_ref x)
{
    const en_node *n = &g->node[x];
    return !n->tail && !n->cut && !n->output && consumers(g, x) == 1;
}

/* Whether x is a convolution or linear layer that may do one more step for its only consumer. */
static int can_absorb(const en_graph *g, en_ref x)
{
    const en_node *n = &g->node[x];
    return (n->op == &en_op_conv2d || n->op == &en_op_linear) && n->prepared && n->act == KN_NONE && !n->pooled && is_between(g, x);
}

/* Node `last` becomes the op of node `first`, inputs and all, and keeps its shape; its own step has been noted in *first by the caller. */
static void take_over(en_graph *g, en_ref last, en_ref first)
{
    en_node *l = &g->node[last], *f = &g->node[first];
    en_node n = *f;
    n.name = l->name;
    n.shape = l->shape;
    n.floats = l->floats;
    n.cut = l->cut;
    n.tail = l->tail;
    n.output = l->output;
    f->absorbed = 1;
    f->inputs = 0;
    f->residual = EN_NONE;
    *l = n;
}

/* Node n does the work of f, whose value it read, and reads f's input instead. */
static void read_past(en_node *n, en_node *f, size_t worker_floats)
{
    n->in[0] = f->in[0];
    n->worker_scratch = worker_floats;
    f->absorbed = 1;
}

/* A depthwise convolution makes its input itself, a few rows at a time that are still near when it reads them. */
static void join(en_graph *g, en_node *n)
{
    en_node *f = &g->node[n->in[0]];
    if (f->op != &en_op_conv2d || !n->prepared || !f->prepared || f->residual >= 0 || !is_between(g, n->in[0])) return;
    size_t floats = conv2d_join(f, &g->node[f->in[0]].shape, &g->node[f->in[1]].shape, n, &g->node[n->in[1]].shape);
    if (!floats) return;
    n->before = n->in[0];
    read_past(n, f, floats);
}

/* A 1 x 1 convolution behind squeeze-and-excitation multiplies each piece of its input by the gate on the way into its cache. */
static void multiply_on_the_way(en_graph *g, en_node *n)
{
    en_node *f = &g->node[n->in[0]];
    if (f->op != &en_op_scale_channels || !n->prepared || !is_between(g, n->in[0])) return;
    size_t floats = conv2d_gate(n, &f->shape, &g->node[n->in[1]].shape);
    if (!floats) return;
    n->gate = f->in[1];
    read_past(n, f, floats);
}

/* Winograd's convolution has 4 x 4 pixels in its hands when it stores them, and may store the maxima of 2 x 2 instead. */
static void pool_on_the_way(en_graph *g, en_ref i)
{
    const en_node *n = &g->node[i];
    const en_attr *a = &n->attr;
    en_node *f = &g->node[n->in[0]];
    if (f->op != &en_op_conv2d || !f->prepared || f->residual >= 0 || f->pooled || g->exact || !is_between(g, n->in[0])) return;
    if (a->kernel[0] != 2 || a->stride[0] != 2 || a->pad[0]) return; /* windows are square */
    if (!conv2d_pools(f, &g->node[f->in[0]].shape, &g->node[f->in[1]].shape)) return;
    f->pooled = 1;
    take_over(g, i, n->in[0]);
}

static void fuse_node(en_graph *g, en_ref i)
{
    en_node *n = &g->node[i];
    if (!n->op || n->tail) return;
    if (n->op == &en_op_conv2d) join(g, n), multiply_on_the_way(g, n);
    if (n->op == &en_op_max_pool) pool_on_the_way(g, i);
    en_node *f = &g->node[n->in[0]];
    if (n->op == &en_op_batch_norm && n->prepared && can_absorb(g, n->in[0]) && !f->scale && f->residual < 0) {
        f->scale = n->prepared;
        f->shift = n->prepared + en_blocks(n->shape.dim[1]) * EN_LANES;
        take_over(g, i, n->in[0]);
    } else if (n->op == &en_op_add) {
        /* The later of the two: the other one exists by then. */
        int which = n->in[1] > n->in[0];
        if (!can_absorb(g, n->in[which]) || g->node[n->in[which]].residual >= 0) which = !which;
        f = &g->node[n->in[which]];
        if (!can_absorb(g, n->in[which]) || f->residual >= 0) return;
        f->residual = n->in[!which];
        take_over(g, i, n->in[which]);
    } else if (n->op->act && can_absorb(g, n->in[0])) {
        f->act = n->op->act;
        take_over(g, i, n->in[0]);
    }
}

/* An input that nothing but convolutions read, of which they want pixels without padding. */
static int is_picture(const en_graph *g, en_ref x)
{
    const en_node *n = &g->node[x];
    if (n->op || n->key || n->cut || n->output || n->shape.layout != EN_BLOCKED || n->shape.dim[1] > EN_COLOURS) return 0;
    for (int i = 0; i < g->nodes; i++)
        for (int k = 0; k < g->node[i].inputs; k++) {
            const en_node *r = &g->node[i];
            if (r->in[k] == x && (k || r->op != &en_op_conv2d || !r->prepared || r->attr.groups > 1)) return 0;
        }
    return 1;
}

void en_fuse(en_graph *g)
{
    for (en_ref i = 0; i < g->nodes; i++)
        if (is_picture(g, i)) {
            g->node[i].shape.layout = EN_PICTURE;
            g->node[i].floats = en_floats(&g->node[i].shape);
        }
    for (en_ref i = 0; i < g->nodes; i++) fuse_node(g, i);
}
