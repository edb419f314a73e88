/* SPDX-License-Identifier: MIT */
/* Building a graph: nodes in the order in which they are written, which is an order of evaluation. */
#include "engine/build.h"

#include "engine/cpu.h"
#include "engine/ops.h"
#include "engine/ops/conv.h"
#include "engine/ops/linear.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OP(name, arguments, shapes, formula) extern const en_op en_op_##name;
#include "engine/ops.def"
#undef OP

const en_op *const en_ops[] = {
#define OP(name, arguments, shapes, formula) &en_op_##name,
#include "engine/ops.def"
#undef OP
    NULL};

en_status en_graph_new(en_params *params, en_graph **out, en_error *e)
{
    en_graph *g = *out = calloc(1, sizeof *g);
    if (!g) return en_fail(e, EN_E_NOMEM, "graph: out of memory");
    g->params = params;
    return EN_OK;
}

void en_graph_free(en_graph *g)
{
    if (!g) return;
    free(g->memory);
    free(g->node);
    en_arena_free(&g->arena);
    free(g);
}

void en_graph_error(en_graph *g, en_status status, const char *format, ...)
{
    if (g->error.status != EN_OK) return;
    va_list args;
    va_start(args, format);
    vsnprintf(g->error.text, sizeof g->error.text, format, args);
    va_end(args);
    g->error.status = status;
}

en_status en_graph_status(const en_graph *g, en_error *e) { return g->error.status == EN_OK ? EN_OK : en_fail(e, g->error.status, "%s", g->error.text); }

static en_ref append(en_graph *g, const en_node *node)
{
    if (g->error.status != EN_OK) return EN_NONE;
    if (g->nodes == g->room) {
        int room = g->room ? 2 * g->room : 64;
        en_node *grown = realloc(g->node, (size_t)room * sizeof *grown);
        if (!grown) return en_graph_error(g, EN_E_NOMEM, "graph: no memory for %d nodes", room), EN_NONE;
        g->node = grown;
        g->room = room;
    }
    en_node *n = &g->node[g->nodes];
    *n = *node;
    n->floats = en_floats(&n->shape);
    n->residual = n->gate = n->before = n->sums_of = EN_NONE;
    n->value = n->adjoint = EN_NO_MEMORY;
    char text[64];
    if (n->floats == 0) return en_graph_error(g, EN_E_ARG, "%s: no tensor can have the shape %s", n->op ? n->op->name : "input", en_shape_text(&n->shape, text)), EN_NONE;
    return g->nodes++;
}

en_ref en_input(en_graph *g, en_shape shape) { return append(g, &(en_node){.shape = shape}); }

en_ref en_param(en_graph *g, const char *key, int rank, const int dim[])
{
    if (rank < 0 || rank > EN_MAX_RANK) return en_graph_error(g, EN_E_ARG, "%s: rank %d, want at most %d", key, rank, EN_MAX_RANK), EN_NONE;
    char *copy = en_arena_copy(&g->arena, key);
    if (!copy) en_graph_error(g, EN_E_NOMEM, "graph: out of memory");
    return append(g, &(en_node){.key = copy, .shape = en_plain(rank, dim)});
}

en_ref en_name(en_graph *g, en_ref x, const char *name)
{
    if (g->error.status != EN_OK || x < 0 || x >= g->nodes) return EN_NONE;
    g->node[x].name = en_arena_copy(&g->arena, name);
    if (!g->node[x].name) en_graph_error(g, EN_E_NOMEM, "graph: out of memory");
    return x;
}

int en_cut(en_graph *g, const en_ref *refs, int n)
{
    if (g->cuts == EN_MAX_CUTS) return en_graph_error(g, EN_E_LIMIT, "graph: more than %d cuts", EN_MAX_CUTS), EN_NONE;
    en_ref *copy = en_arena_alloc(&g->arena, (size_t)n * sizeof *copy);
    if (!copy) return en_graph_error(g, EN_E_NOMEM, "graph: out of memory"), EN_NONE;
    for (int i = 0; i < n; i++) {
        if (g->error.status != EN_OK || refs[i] < 0 || refs[i] >= g->nodes || g->node[refs[i]].key)
            return en_graph_error(g, EN_E_ARG, "graph: a cut must go through nodes that are not constant"), EN_NONE;
        copy[i] = refs[i];
        g->node[refs[i]].cut |= 1u << g->cuts;
    }
    g->cut[g->cuts] = (en_cut_set){.refs = copy, .count = n};
    return g->cuts++;
}

void en_output(en_graph *g, en_ref y)
{
    if (g->error.status == EN_OK && y >= 0 && y < g->nodes) g->node[y].output = 1;
    else en_graph_error(g, EN_E_ARG, "graph: the output is no node");
}

en_ref en_apply(en_graph *g, const en_op *op, const en_ref *in, int inputs, const en_attr *attr)
{
    if (g->error.status != EN_OK) return EN_NONE;
    en_node n = {.op = op, .inputs = inputs};
    const en_shape *shapes[EN_MAX_INPUTS];
    if (attr) n.attr = *attr;
    for (int i = 0; i < inputs; i++) {
        if (in[i] < 0 || in[i] >= g->nodes) return en_graph_error(g, EN_E_ARG, "%s: input %d is no node", op->name, i), EN_NONE;
        n.in[i] = in[i];
        shapes[i] = &g->node[in[i]].shape;
    }
    en_error e = {0};
    if (op->shape(&n, shapes, &e) != EN_OK) return en_graph_error(g, e.status, "%s: %s", op->name, e.text), EN_NONE;
    return append(g, &n);
}

void en_mark_tails(en_graph *g)
{
    for (int i = 0; i < g->nodes; i++) {
        en_node *n = &g->node[i];
        n->tail = 0;
        for (int k = 0; k < n->inputs; k++) n->tail |= g->node[n->in[k]].tail | g->node[n->in[k]].cut;
        n->tail &= ~n->cut;
    }
}

/* Asks for what a node reads of its parameters. */
static en_status prepare_node(en_graph *g, en_node *n, en_error *e)
{
    int constant = n->inputs > 1 && n->op->prepare;
    for (int k = 1; k < n->inputs; k++) constant &= g->node[n->in[k]].key != NULL;
    if (constant) EN_TRY(n->op->prepare(g, n, e));
    if (n->sums_of != EN_NONE) EN_TRY(linear_prepare_sums(g, n, &g->node[n->sums_of].shape, e));
    for (int k = 0; k < n->inputs; k++) {
        en_node *p = &g->node[n->in[k]];
        if (p->key && !(constant && n->op->packs >> k & 1)) EN_TRY(en_params_plain(g->params, p->key, &p->shape, &p->constant, e));
    }
    return EN_OK;
}

en_status en_prepare(en_graph *g, en_error *e)
{
    if (!g->params) return EN_OK;
    en_status status = EN_OK;
    en_params_begin(g->params);
    for (int i = 0; i < g->nodes && status == EN_OK; i++) status = prepare_node(g, &g->node[i], e);
    return en_params_end(g->params, g->pool, status, e);
}

en_status en_graph_prepare(en_graph *g, en_pool *pool, en_error *e)
{
    EN_TRY(en_graph_status(g, e));
    g->pool = pool;
    en_status status = en_prepare(g, e);
    g->pool = NULL;
    return status;
}

en_status en_graph_finish(en_graph *g, const en_options *o, en_error *e)
{
    EN_TRY(en_graph_status(g, e));
    if (g->finished) return en_fail(e, EN_E_ARG, "graph: finished twice");
    g->pool = o->pool;
    g->seeds = o->seeds;
    g->tail_only = o->tail_only;
    g->first_order = o->first_order;
    g->exact = o->exact;
    g->kernels = en_kernels();
    int usable;
    const kn_table *named = NULL;
    for (int i = 0; o->isa && !named && (named = en_isa(i, &usable)); i++)
        if (!usable || strcmp(named->name, o->isa)) named = NULL;
        else g->kernels = named;
    if (o->isa && !named) return en_fail(e, EN_E_UNSUPPORTED, "instruction set %s: not in this program, or not on this processor", o->isa);
    en_mark_tails(g);
    en_find_sums(g);
    EN_TRY(en_prepare(g, e));
    if (!o->no_fuse) en_fuse(g);
    EN_TRY(en_plan(g, e));
    g->finished = 1;
    return EN_OK;
}

en_ref en_find(const en_graph *g, const char *name)
{
    for (int i = 0; i < g->nodes; i++)
        if (g->node[i].name && !strcmp(g->node[i].name, name)) return i;
    return EN_NONE;
}

int en_nodes(const en_graph *g) { return g->nodes; }
const char *en_name_of(const en_graph *g, en_ref x) { return g->node[x].name; }
const char *en_key_of(const en_graph *g, en_ref x) { return g->node[x].key; }
const en_shape *en_shape_of(const en_graph *g, en_ref x) { return &g->node[x].shape; }
size_t en_graph_bytes(const en_graph *g) { return g->floats * sizeof(float); }
const char *en_op_name(const en_graph *g, en_ref x) { return g->node[x].op ? g->node[x].op->name : NULL; }

const float *en_constant_term(const en_graph *g, en_ref x)
{
    const en_node *n = &g->node[x];
    if (n->op == &en_op_batch_norm) return n->prepared ? n->prepared + en_blocks(n->shape.dim[1]) * EN_LANES : NULL; /* scale, then shift */
    if (n->op != &en_op_conv2d || n->inputs < 3 || g->node[n->in[1]].shape.rank != 4) return NULL;
    return g->node[n->in[2]].constant;
}

en_node *en_node_at(en_graph *g, en_ref x) { return &g->node[x]; }
en_params *en_params_of(const en_graph *g) { return g->params; }

en_curvature en_tail_curvature(const en_graph *g, int cut)
{
    en_curvature worst = EN_AFFINE;
    for (int i = 0; i < g->nodes; i++) {
        const en_node *n = &g->node[i];
        if (!en_in_tail(n, cut)) continue;
        for (int k = 1; k < n->inputs; k++) /* a product of two active inputs is not affine; a sum is */
            if (en_active(&g->node[n->in[k]], cut) && n->op != &en_op_add) return EN_CURVED;
        if (n->op->curvature > worst) worst = n->op->curvature;
    }
    return worst;
}

int en_only_pooled(const en_graph *g, en_ref x)
{
    int readers = 0;
    for (int i = 0; i < g->nodes; i++)
        for (int k = 0; k < g->node[i].inputs; k++) {
            const en_node *n = &g->node[i];
            if (n->in[k] != x) continue;
            if (n->op != &en_op_adaptive_avg_pool || n->attr.out[0] != 1 || n->attr.out[1] != 1) return 0;
            readers++;
        }
    return readers > 0;
}

/* Whether what an op writes at a position depends on its inputs at that position alone. */
static int acts_by_position(const en_graph *g, const en_node *n)
{
    static const en_op *const ops[] = {&en_op_batch_norm, &en_op_relu,       &en_op_relu6, &en_op_sigmoid, &en_op_silu,       &en_op_gelu,
                                       &en_op_scale_channels, &en_op_layer_norm, &en_op_add, &en_op_softmax, &en_op_log_softmax};
    if (n->op == &en_op_conv2d) {
        conv_geometry m = conv_geometry_of(n, &g->node[n->in[0]].shape, &g->node[n->in[1]].shape);
        return conv_is_flat(&m);
    }
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++)
        if (n->op == ops[i]) return 1;
    return 0;
}

/* What is known of a node of the tail, from what is known of its inputs. */
enum { NOTHING, ADDITIVE, BY_POSITION };

static unsigned char additivity(const en_graph *g, const en_node *n, int cut, const unsigned char *known)
{
    int least = BY_POSITION, active = 0;
    for (int k = 0; k < n->inputs; k++) {
        if (!en_active(&g->node[n->in[k]], cut)) continue;
        active++;
        if (known[n->in[k]] < least) least = known[n->in[k]];
    }
    if (least == BY_POSITION && acts_by_position(g, n)) return BY_POSITION;
    return least && (n->op == &en_op_add || (n->op->curvature == EN_AFFINE && active == 1)) ? ADDITIVE : NOTHING;
}

en_status en_sum_over_positions(const en_graph *g, int cut, en_ref *node, en_error *e)
{
    unsigned char *known = calloc((size_t)g->nodes, 1);
    int alone = 1;
    if (!known) return en_fail(e, EN_E_NOMEM, "graph: out of memory");
    *node = EN_NONE;
    for (int i = 0; i < g->nodes; i++) {
        const en_node *n = &g->node[i];
        if (n->cut >> cut & 1) known[i] = BY_POSITION;
        if (!en_in_tail(n, cut)) continue;
        known[i] = additivity(g, n, cut, known);
        for (int k = 0; k < n->inputs && known[i] == ADDITIVE; k++) {
            if (known[n->in[k]] != BY_POSITION) continue;
            alone &= *node == EN_NONE || *node == n->in[k];
            *node = n->in[k];
        }
        if (n->output) alone &= known[i] == ADDITIVE;
    }
    if (!alone) *node = EN_NONE;
    free(known);
    return EN_OK;
}

char *en_graph_text(const en_graph *g)
{
    size_t room = 256 * (size_t)(g->nodes + 1), used = 0;
    char *text = malloc(room), shape[64];
    if (!text) return NULL;
    text[0] = 0;
    for (int i = 0; i < g->nodes; i++) {
        const en_node *n = &g->node[i];
        if (n->absorbed) continue;
        used += (size_t)snprintf(text + used, room - used, "%4d %-20.20s %-22s", i, n->op ? n->op->name : n->key ? "param" : "input", en_shape_text(&n->shape, shape));
        for (int k = 0; k < n->inputs; k++) used += (size_t)snprintf(text + used, room - used, " %d", n->in[k]);
        used += (size_t)snprintf(text + used, room - used, "%s%s%s%s%s%s%s  %.60s\n", n->before >= 0 ? " +expand" : "", n->gate >= 0 ? " +gate" : "", n->scale ? " +batch_norm" : "", n->residual >= 0 ? " +add" : "",
                                 n->act ? " +act" : "", n->pooled ? " +max_pool" : "", n->tail ? " (tail)" : n->cut ? " (cut)" : "", n->name ? n->name : n->key ? n->key : "");
    }
    return text;
}
