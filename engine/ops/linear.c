/* SPDX-License-Identifier: MIT */
/* The linear layer, y = x W' + b for each row of x. Values, tangents and images of a batch are rows of one product, so the weights are
 * read once for all of them; backwards too, from the same panels. */
#include "engine/ops/linear.h"

#include "engine/ops.h"
#include "engine/ops/panels.h"

#include <string.h>

enum { GROUP = 16 }; /* panels per job, an even number */

static panel_form form_of(const en_call *c) { return panels_for_linear(c->in[1]->dim[0], c->in[1]->dim[1]); }

static int row_of(int features) { return en_blocks(features) * EN_LANES; }

typedef struct linear_job {
    const en_call *call;
    panel_form form;
    const float *in, *packed, *bias;
    float *out;
    int add;
} linear_job;

static void forward_group(void *arg, int job, int worker)
{
    (void)worker;
    const linear_job *j = arg;
    const en_call *c = j->call;
    int first = job * GROUP, panels = j->form.panels - first < GROUP ? j->form.panels - first : GROUP, o = first * EN_LANES;
    kn_linear g = {.x = j->in, .x_row = row_of(j->form.channels), .w = j->packed + (size_t)o * (size_t)j->form.depth, .y = j->out + o,
                   .y_row = j->form.panels * EN_LANES, .rows = c->images, .depth = j->form.depth, .panels = panels, .add = j->add, .epilogue = {.act = c->node->act}};
    if (j->bias) g.epilogue.bias = j->bias + o, g.epilogue.biased = c->biased;
    if (c->node->scale) g.epilogue.scale = c->node->scale + o, g.epilogue.shift = c->node->shift + o;
    if (c->residual) g.epilogue.residual = c->residual + o;
    c->kernels->linear(&g);
}

static void multiply(const en_call *c, const float *x, const float *weights, const float *bias, int add, float *y)
{
    panel_form f = form_of(c);
    linear_job j = {c, f, x, panels_of(c, &f, weights), bias, y, add};
    en_parallel(c->pool, (f.panels + GROUP - 1) / GROUP, forward_group, &j);
}

static void backward_inputs(void *arg, int job, int worker)
{
    (void)worker;
    const linear_job *j = arg;
    int k = job * KN_T_DEPTH, depth = j->form.depth - k < KN_T_DEPTH ? j->form.depth - k : KN_T_DEPTH;
    kn_linear_t g = {.gy = j->in, .gy_row = j->form.panels * EN_LANES, .w = j->packed, .inputs = j->form.depth, .first = k, .depth = depth,
                     .panels = j->form.panels, .rows = j->call->images, .gx = j->out, .gx_row = row_of(j->form.channels)};
    if (j->call->sparse) g.live = j->call->x[0], g.live_rows = j->call->biased;
    j->call->kernels->linear_t(&g);
}

static void over_inputs(const en_call *c, const panel_form *f, const float *gy, const float *packed, float *gx)
{
    linear_job j = {c, *f, gy, packed, NULL, gx, 0};
    en_parallel(c->pool, (f->depth + KN_T_DEPTH - 1) / KN_T_DEPTH, backward_inputs, &j);
}

static void multiply_back(const en_call *c, const float *gy, const float *weights, float *gx)
{
    panel_form f = form_of(c);
    over_inputs(c, &f, gy, panels_of(c, &f, weights), gx);
}

en_status linear_prepare_sums(en_graph *g, en_node *n, const en_shape *flattened, en_error *e)
{
    panel_form f = panels_for_linear(en_node_at(g, n->in[1])->shape.dim[0], flattened->dim[1]);
    return panels_prepare_sums(g, n, &f, flattened->dim[2] * flattened->dim[3], &n->summed, e);
}

void linear_back_sums(const en_call *c, int channels, const float *gy, float *gx)
{
    panel_form f = panels_for_linear(c->in[1]->dim[0], channels);
    over_inputs(c, &f, gy, c->node->summed, gx);
}

/* gw[o][k] += sum over rows of gy[o] x[k] */
static void weight_gradient(const en_call *c, const float *x, const float *gy, float *gw)
{
    int outputs = c->in[1]->dim[0], inputs = c->in[1]->dim[1], gy_row = row_of(outputs), x_row = row_of(inputs);
    for (int n = 0; n < c->images; n++)
        for (int o = 0; o < outputs; o++)
            for (int k = 0; k < inputs; k++) gw[(size_t)o * (size_t)inputs + (size_t)k] += gy[n * gy_row + o] * x[n * x_row + k];
}

static void bias_gradient(const en_call *c, const float *gy, float *gb)
{
    int outputs = c->in[1]->dim[0], row = row_of(outputs);
    for (int n = 0; n < c->images; n++)
        for (int o = 0; o < outputs; o++) gb[o] += gy[n * row + o];
}

static void linear_fwd(const en_call *c)
{
    multiply(c, c->x[0], c->x[1], c->node->inputs > 2 ? c->x[2] : NULL, 0, c->y);
    if (c->node->act == KN_SIGMOID) en_clear_output(c, c->y); /* it makes something of nothing */
}

static void linear_jvp(const en_call *c)
{
    int row = row_of(c->in[1]->dim[0]);
    memset(c->dy, 0, (size_t)c->images * (size_t)row * sizeof *c->dy);
    if (c->dx[0]) multiply(c, c->dx[0], c->x[1], NULL, 1, c->dy);
    if (c->dx[1]) multiply(c, c->x[0], c->dx[1], NULL, 1, c->dy);
    for (int n = 0; c->dx[2] && n < c->images; n++)
        for (int o = 0; o < c->in[1]->dim[0]; o++) c->dy[n * row + o] += c->dx[2][o];
}

static void linear_vjp(const en_call *c)
{
    if (c->gx[0]) multiply_back(c, c->gy, c->x[1], c->gx[0]);
    if (c->gx[1]) weight_gradient(c, c->x[0], c->gy, c->gx[1]);
    if (c->gx[2]) bias_gradient(c, c->gy, c->gx[2]);
}

static void linear_dvjp(const en_call *c)
{
    if (c->dgx[0]) multiply_back(c, c->dgy, c->x[1], c->dgx[0]);
    if (c->dgx[0] && c->dx[1]) multiply_back(c, c->gy, c->dx[1], c->dgx[0]);
    if (c->dgx[1]) weight_gradient(c, c->x[0], c->dgy, c->dgx[1]);
    if (c->dgx[1] && c->dx[0]) weight_gradient(c, c->dx[0], c->gy, c->dgx[1]);
    if (c->dgx[2]) bias_gradient(c, c->dgy, c->dgx[2]);
}

static en_status linear_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    const en_shape *x = in[0], *w = in[1];
    char tx[64], tw[64];
    if (x->layout != EN_BLOCKED || x->dim[2] != 1 || x->dim[3] != 1 || w->rank != 2 || w->dim[1] != x->dim[1])
        return en_fail(e, EN_E_ARG, "weights %s do not fit input %s", en_shape_text(w, tw), en_shape_text(x, tx));
    if (n->inputs > 2 && (in[2]->rank != 1 || in[2]->dim[0] != w->dim[0]))
        return en_fail(e, EN_E_ARG, "bias %s does not fit weights %s", en_shape_text(in[2], tx), en_shape_text(w, tw));
    panel_form f = panels_for_linear(w->dim[0], w->dim[1]);
    n->shape = en_nchw(x->dim[0], w->dim[0], 1, 1);
    n->scratch = panels_floats(&f);
    return EN_OK;
}

static en_status linear_prepare(en_graph *g, en_node *n, en_error *e)
{
    const en_shape *w = &en_node_at(g, n->in[1])->shape;
    panel_form f = panels_for_linear(w->dim[0], w->dim[1]);
    return panels_prepare(g, n, &f, e);
}

const en_op en_op_linear = {"linear", linear_shape, linear_prepare, linear_fwd, linear_jvp, linear_vjp, linear_dvjp, EN_AFFINE, 1, 1u << 1, KN_NONE};

en_ref en_linear(en_graph *g, en_ref x, en_ref w, en_ref b) { return en_apply(g, &en_op_linear, (en_ref[]){x, w, b}, b == EN_NONE ? 2 : 3, NULL); }
