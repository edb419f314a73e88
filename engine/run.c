/* SPDX-License-Identifier: MIT */
/* Running a graph: values, tangents and adjoints, node by node. */
#include "engine/build.h"

#include <string.h>

extern const en_op en_op_conv2d, en_op_linear;

static float *at(en_graph *g, size_t offset) { return offset == EN_NO_MEMORY ? NULL : g->memory + offset; }

float *en_value(en_graph *g, en_ref x) { return g->finished && g->node[x].kept ? at(g, g->node[x].value) : NULL; }

float *en_tangent(en_graph *g, en_ref x)
{
    const en_node *n = &g->node[x];
    return g->finished && !g->first_order && (n->tail || n->cut) ? at(g, n->value) + n->floats : NULL;
}

/* The adjoints of one node: all gradients, then all their tangents, so that either kind, or both, are one batch. */
float *en_adjoint(en_graph *g, en_ref x, int seed, int order)
{
    const en_node *n = &g->node[x];
    if (n->adjoint == EN_NO_MEMORY) return NULL;
    return at(g, n->adjoint) + ((size_t)(order - 1) * (size_t)g->sweep_seeds + (size_t)seed) * n->floats;
}

/* Of one image of a value. */
static float *image_at(en_graph *g, const en_node *n, int image)
{
    return at(g, n->value) + (n->in_turn ? 0 : (size_t)image * en_image_floats(&n->shape));
}

/* The parts of a call that do not depend on the sweep, for `images` images. */
static en_call begin(en_graph *g, const en_node *n, int image, int images)
{
    en_call c = {.node = n, .scratch = g->memory + g->scratch, .worker_scratch = g->memory + g->worker_scratch, .pool = g->pool, .kernels = g->kernels,
                 .exact = g->exact};
    c.images = c.biased = images;
    c.y = image_at(g, n, image);
    if (n->gate >= 0) c.gate = image_at(g, &g->node[n->gate], image);
    if (n->before >= 0) c.before = &g->node[n->before];
    if (n->residual >= 0) c.residual = image_at(g, &g->node[n->residual], image);
    for (int k = 0; k < n->inputs; k++) {
        const en_node *in = &g->node[n->in[k]];
        c.in[k] = &in->shape;
        c.x[k] = in->key ? in->constant : image_at(g, in, image);
    }
    return c;
}

static en_call begin_all(en_graph *g, const en_node *n) { return begin(g, n, 0, n->shape.dim[0]); }

/* Whether tangents and adjoints of this node are its fwd and vjp on more images. */
static int rides_along(const en_graph *g, const en_node *n, int cut)
{
    int data_only = en_active(&g->node[n->in[0]], cut);
    for (int k = 1; k < n->inputs; k++) data_only &= !en_active(&g->node[n->in[k]], cut);
    return data_only && n->op->rides_along;
}

static void add_tangents(en_graph *g, en_call *c, int cut)
{
    const en_node *n = c->node;
    c->dy = c->y + n->floats;
    for (int k = 0; k < n->inputs; k++)
        if (en_active(&g->node[n->in[k]], cut)) c->dx[k] = c->x[k] + g->node[n->in[k]].floats;
}

enum { VALUES = 1, TANGENTS = 2, ITSELF = 4 /* the direction is the activation at the cut */ };

/* The first linear map behind the cut: its input's tangent is its input, so dy = J x, and y is this with the constant added. */
static int is_first(const en_graph *g, const en_node *n, int cut)
{
    return (n->op == &en_op_conv2d || n->op == &en_op_linear) && g->node[n->in[0]].cut >> cut & 1 && rides_along(g, n, cut);
}

static void forward_first(const en_call *call)
{
    static const float one[EN_LANES] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    en_call c = *call;
    const en_shape *s = &c.node->shape;
    size_t block = en_block_floats(s);
    const float *bias = c.node->inputs > 2 ? c.x[2] : NULL;
    c.biased = 0;
    c.y += c.node->floats;
    c.node->op->fwd(&c);
    for (size_t i = 0; i < c.node->floats / block; i++)
        c.kernels->affine(block / EN_LANES, one, bias ? bias + i % (size_t)en_blocks(s->dim[1]) * EN_LANES : NULL, c.y + i * block, call->y + i * block);
}

static void forward_node(en_graph *g, const en_node *n, int cut, int what)
{
    en_call c = begin_all(g, n);
    if (!(what & TANGENTS)) {
        n->op->fwd(&c);
    } else if (what & ITSELF && is_first(g, n, cut)) {
        forward_first(&c);
    } else if (rides_along(g, n, cut)) {
        if (what & VALUES) {
            c.images *= 2;
        } else {
            c.biased = 0;
            c.x[0] += g->node[n->in[0]].floats;
            c.y += n->floats;
        }
        n->op->fwd(&c);
    } else {
        if (what & VALUES) n->op->fwd(&c);
        add_tangents(g, &c, cut);
        n->op->jvp(&c);
    }
}

static void forward_tail(en_graph *g, int cut, int what)
{
    for (int i = 0; i < g->nodes; i++)
        if (!g->node[i].absorbed && en_in_tail(&g->node[i], cut)) forward_node(g, &g->node[i], cut, what);
}

static void forward_by_image(en_graph *g)
{
    for (int image = 0; image < g->images; image++)
        for (int i = 0; i < g->by_image; i++) {
            const en_node *n = &g->node[i];
            if (!n->op || n->absorbed) continue;
            en_call c = begin(g, n, image, 1);
            n->op->fwd(&c);
        }
}

void en_forward(en_graph *g, int cut, const float *direction)
{
    forward_by_image(g);
    for (int i = 0; i < g->nodes; i++) {
        en_node *n = &g->node[i];
        if (n->absorbed) continue;
        int tangents = cut >= 0 && en_in_tail(n, cut) ? TANGENTS | (direction ? 0 : ITSELF) : 0;
        if (n->op && i >= g->by_image) forward_node(g, n, cut, VALUES | tangents);
        if (cut >= 0 && n->cut >> cut & 1) {
            const float *from = direction && i == g->cut[cut].refs[0] ? direction : at(g, n->value);
            memcpy(at(g, n->value) + n->floats, from, n->floats * sizeof(float));
        }
    }
}

void en_forward_node(en_graph *g, en_ref x)
{
    if (g->node[x].op && !g->node[x].absorbed && x >= g->by_image) forward_node(g, &g->node[x], EN_NONE, VALUES);
}

void en_forward_tail(en_graph *g, int cut, int tangents) { forward_tail(g, cut, tangents ? VALUES | TANGENTS : VALUES); }

void en_forward_tangents(en_graph *g, int cut) { forward_tail(g, cut, TANGENTS); }

void en_copy_outside(en_graph *g, int cut, en_graph *from, int image)
{
    for (int i = 0; i < g->nodes; i++) {
        const en_node *n = &g->node[i];
        for (int k = 0; k < n->inputs && en_in_tail(n, cut); k++) {
            const en_node *in = &g->node[n->in[k]];
            if (en_active(in, cut) || in->key) continue;
            size_t floats = en_image_floats(&in->shape);
            const float *value = en_value(from, n->in[k]) + (size_t)image * floats;
            for (int b = 0; b < in->shape.dim[0]; b++) memcpy(at(g, in->value) + (size_t)b * floats, value, floats * sizeof *value);
        }
    }
}

void en_seed(en_graph *g, int cut, int seeds, int order)
{
    g->sweep_cut = cut;
    g->sweep_seeds = seeds;
    g->sweep_order = order;
    for (int i = 0; i < g->nodes; i++)
        if (g->node[i].output && en_active(&g->node[i], cut))
            memset(at(g, g->node[i].adjoint), 0, g->node[i].floats * (size_t)(seeds * order) * sizeof(float));
}

static void reverse_node(en_graph *g, const en_node *n)
{
    en_call c = begin_all(g, n);
    int cut = g->sweep_cut, order = g->sweep_order;
    en_ref self = (en_ref)(n - g->node);
    if (rides_along(g, n, cut)) {
        c.images *= g->sweep_seeds * order;
        c.sparse = en_zero_is_dead(g, n->in[0], cut);
        c.gy = en_adjoint(g, self, 0, 1);
        c.gx[0] = en_adjoint(g, n->in[0], 0, 1);
        n->op->vjp(&c);
        return;
    }
    add_tangents(g, &c, cut);
    for (int s = 0; s < g->sweep_seeds; s++) {
        c.gy = en_adjoint(g, self, s, 1);
        for (int k = 0; k < n->inputs; k++) c.gx[k] = en_active(&g->node[n->in[k]], cut) ? en_adjoint(g, n->in[k], s, 1) : NULL;
        n->op->vjp(&c);
        if (order == 1) continue;
        c.dgy = en_adjoint(g, self, s, 2);
        for (int k = 0; k < n->inputs; k++) c.dgx[k] = c.gx[k] ? en_adjoint(g, n->in[k], s, 2) : NULL;
        en_call d = c;
        if (!n->op->dvjp) { /* no curvature: the same linear map */
            d.gy = c.dgy;
            memcpy(d.gx, c.dgx, sizeof d.gx);
        }
        (n->op->dvjp ? n->op->dvjp : n->op->vjp)(&d);
    }
}

/* Whether a node of the tail behind `after` reads x. */
static int read_behind(const en_graph *g, en_ref x, en_ref after)
{
    for (int i = after + 1; i < g->nodes; i++)
        for (int k = 0; k < g->node[i].inputs; k++)
            if (g->node[i].in[k] == x && en_in_tail(&g->node[i], g->sweep_cut)) return 1;
    return 0;
}

/* Adjoints that `visitor` is the first to add into, because it is the last to read them, become zero. That of an output has been cleared by
 * en_seed; that of a node which nobody reads is the node's own to clear. */
static void clear_adjoint(en_graph *g, en_ref x, en_ref visitor)
{
    const en_node *n = &g->node[x];
    if (en_active(n, g->sweep_cut) && !n->output && !read_behind(g, x, visitor))
        memset(at(g, n->adjoint), 0, n->floats * (size_t)(g->sweep_seeds * g->sweep_order) * sizeof(float));
}

static void reverse(en_graph *g, en_visitor *visit, void *arg, int sums_alone)
{
    for (int i = g->nodes - 1; i >= 0; i--) {
        clear_adjoint(g, i, i);
        if (i == en_sums_at(&g->cut[g->sweep_cut])) {
            en_make_sums(g);
            if (sums_alone) return;
        }
        if (!en_in_tail(&g->node[i], g->sweep_cut)) continue;
        if (visit) visit(arg, i);
        for (int k = 0; k < g->node[i].inputs; k++) clear_adjoint(g, g->node[i].in[k], i);
        reverse_node(g, &g->node[i]);
    }
}

void en_reverse_shown(en_graph *g, en_visitor *visit, void *arg) { reverse(g, visit, arg, 0); }
void en_reverse(en_graph *g) { reverse(g, NULL, NULL, 0); }
void en_reverse_sums(en_graph *g) { reverse(g, NULL, NULL, 1); }
