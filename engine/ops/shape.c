/* SPDX-License-Identifier: MIT */
/* Flatten: [N, C, H, W] becomes [N, C*H*W] in row-major order. A permutation, because the layout inside is NC16. */
#include "engine/op.h"
#include "engine/ops.h"

/* Copies features to their places, or adds what came back from them. */
static void flatten_fwd(const en_call *c)
{
    size_t hw = en_block_floats(c->in[0]) / EN_LANES, in = en_image_floats(c->in[0]), out = en_image_floats(&c->node->shape);
    size_t channels = (size_t)c->in[0]->dim[1], features = channels * hw;
    for (size_t n = 0; n < (size_t)c->images; n++) {
        float *y = c->y + n * out;
        for (size_t k = 0; k < channels; k++)
            for (size_t p = 0; p < hw; p++) y[k * hw + p] = c->x[0][n * in + (k / EN_LANES * hw + p) * EN_LANES + k % EN_LANES];
        for (size_t i = features; i < out; i++) y[i] = 0;
    }
}

static void flatten_vjp(const en_call *c)
{
    size_t hw = en_block_floats(c->in[0]) / EN_LANES, in = en_image_floats(c->in[0]), out = en_image_floats(&c->node->shape);
    for (size_t n = 0; n < (size_t)c->images; n++)
        for (size_t k = 0; k < (size_t)c->in[0]->dim[1]; k++)
            for (size_t p = 0; p < hw; p++) c->gx[0][n * in + (k / EN_LANES * hw + p) * EN_LANES + k % EN_LANES] += c->gy[n * out + k * hw + p];
}

static en_status flatten_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    if (in[0]->layout != EN_BLOCKED) return en_fail(e, EN_E_ARG, "wants an activation");
    size_t features = en_count(in[0]) / (size_t)in[0]->dim[0];
    if (features > INT32_MAX) return en_fail(e, EN_E_LIMIT, "%zu features are too many", features);
    n->shape = en_nchw(in[0]->dim[0], (int)features, 1, 1);
    return EN_OK;
}

const en_op en_op_flatten = {"flatten", flatten_shape, NULL, flatten_fwd, NULL, flatten_vjp, NULL, EN_AFFINE, 1, 0, KN_NONE};

en_ref en_flatten(en_graph *g, en_ref x) { return en_apply(g, &en_op_flatten, &x, 1, NULL); }
