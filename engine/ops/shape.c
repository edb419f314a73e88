/* SPDX-License-Identifier: MIT */
/* Numbers that change places: flatten, [N, C, H, W] to [N, C*H*W] in row-major order; patch_merge, which stacks the four positions of each 2 x 2
 * square on top of each other as channels. Linear maps, so a tangent takes the same way as a value. */
#include "engine/op.h"
#include "engine/ops.h"

/* ---- flatten ---- */

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

/* ---- patch_merge ---- */

/* Calls move(to + .., from + ..) for every number: output channel q*C + c at (y, x) is input channel c at (2y + q % 2, 2x + q / 2). */
static void merge(const en_call *c, float *out, float *in, void (*move)(float *merged, float *unmerged))
{
    const en_shape *x = c->in[0], *y = &c->node->shape;
    size_t channels = (size_t)x->dim[1], w = (size_t)x->dim[3], half = (size_t)y->dim[3], cells = (size_t)y->dim[2] * half;
    for (size_t n = 0; n < (size_t)c->images; n++)
        for (size_t k = 0; k < 4 * channels; k++)
            for (size_t p = 0; p < cells; p++) {
                size_t from = k % channels, q = k / channels, at = (2 * (p / half) + q % 2) * w + 2 * (p % half) + q / 2;
                move(out + n * en_image_floats(y) + (k / EN_LANES * cells + p) * EN_LANES + k % EN_LANES,
                     in + n * en_image_floats(x) + (from / EN_LANES * 4 * cells + at) * EN_LANES + from % EN_LANES);
            }
}

static void copy_in(float *merged, float *unmerged) { *merged = *unmerged; }
static void add_back(float *merged, float *unmerged) { *unmerged += *merged; }

static float *writable(const float *p) /* merge() takes both ways through one signature and writes only to the right one */
{
    union {
        const float *in;
        float *out;
    } u = {p};
    return u.out;
}

static void patch_merge_fwd(const en_call *c)
{
    merge(c, c->y, writable(c->x[0]), copy_in);
    en_shape all = c->node->shape;
    all.dim[0] = c->images;
    en_clear_padding(&all, c->y);
}

static void patch_merge_vjp(const en_call *c) { merge(c, writable(c->gy), c->gx[0], add_back); }

static en_status patch_merge_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char text[64];
    if (in[0]->layout != EN_BLOCKED || in[0]->dim[2] % 2 || in[0]->dim[3] % 2 || in[0]->dim[1] > INT32_MAX / 4)
        return en_fail(e, EN_E_ARG, "squares of 2 x 2 do not tile input %s", en_shape_text(in[0], text));
    n->shape = en_nchw(in[0]->dim[0], 4 * in[0]->dim[1], in[0]->dim[2] / 2, in[0]->dim[3] / 2);
    return EN_OK;
}

const en_op en_op_patch_merge = {"patch_merge", patch_merge_shape, NULL, patch_merge_fwd, NULL, patch_merge_vjp, NULL, EN_AFFINE, 1, 0, KN_NONE};

en_ref en_patch_merge(en_graph *g, en_ref x) { return en_apply(g, &en_op_patch_merge, &x, 1, NULL); }
