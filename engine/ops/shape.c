/* SPDX-License-Identifier: MIT */
/* Numbers that change places: flatten, [N, C, H, W] to [N, C*H*W] in row-major order; patch_merge, which stacks the four positions of each 2 x 2
 * square on top of each other as channels. Linear maps, so a tangent takes the same way as a value. */
#include "engine/op.h"
#include "engine/ops.h"

#include <string.h>

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

/* Output channel q*C + c at (y, x) is input channel c at (2y + q % 2, 2x + q / 2). `count` channels that lie side by side on both sides, `first`
 * in an output block and `from` in the input; images and blocks are in the pointers: y = x, or with gx, gx += gy. */
typedef struct run {
    int from, q, first, count;
} run;

static void merge_run(const en_shape *in, const run *r, const float *x, float *y, float *gx, const float *gy)
{
    size_t w = (size_t)in->dim[3], half = w / 2, cells = (size_t)in->dim[2] / 2 * half;
    size_t start = (size_t)(r->from / EN_LANES) * 4 * cells * EN_LANES + (size_t)(r->from % EN_LANES);
    for (size_t p = 0; p < cells; p++) {
        size_t at = start + ((2 * (p / half) + (size_t)r->q % 2) * w + 2 * (p % half) + (size_t)r->q / 2) * EN_LANES;
        size_t to = p * EN_LANES + (size_t)r->first;
        if (gx) for (int i = 0; i < r->count; i++) gx[at + (size_t)i] += gy[to + (size_t)i];
        else if (r->count == EN_LANES) memcpy(y + to, x + at, EN_LANES * sizeof *y);
        else memcpy(y + to, x + at, (size_t)r->count * sizeof *y);
    }
}

/* One output channel block of an image. */
static void merge_block(const en_call *c, int job, int back)
{
    const en_shape *in = c->in[0], *out = &c->node->shape;
    int channels = in->dim[1], blocks = en_blocks(out->dim[1]), k = job % blocks * EN_LANES, end = k + EN_LANES < out->dim[1] ? k + EN_LANES : out->dim[1];
    size_t image = (size_t)(job / blocks) * en_image_floats(in), block = (size_t)job * en_block_floats(out);
    for (run r = {.first = 0}; k < end; k += r.count, r.first += r.count) {
        r = (run){k % channels, k / channels, r.first, EN_LANES - k % channels % EN_LANES};
        if (r.count > end - k) r.count = end - k;
        if (r.count > channels - r.from) r.count = channels - r.from;
        if (back) merge_run(in, &r, NULL, NULL, c->gx[0] + image, c->gy + block);
        else merge_run(in, &r, c->x[0] + image, c->y + block, NULL, NULL);
    }
}

static void merge_forth(void *call, int job, int worker) { (void)worker, merge_block(call, job, 0); }
static void merge_back(void *call, int job, int worker) { (void)worker, merge_block(call, job, 1); }

static void patch_merge_fwd(const en_call *c)
{
    en_call call = *c;
    en_parallel(c->pool, c->images * en_blocks(c->node->shape.dim[1]), merge_forth, &call);
    en_clear_output(c, c->y);
}

static void patch_merge_vjp(const en_call *c)
{
    en_call call = *c;
    en_parallel(c->pool, c->images * en_blocks(c->node->shape.dim[1]), merge_back, &call);
}

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
