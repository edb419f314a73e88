/* SPDX-License-Identifier: MIT */
/* Addition, as in a residual connection, and scaling of channels, as in squeeze-excite; in both, either input may be constant. */
#include "engine/op.h"
#include "engine/ops.h"

/* ---- add ---- */

static void add_fwd(const en_call *c)
{
    for (size_t i = 0, n = en_call_floats(c); i < n; i++) c->y[i] = c->x[0][i] + c->x[1][i];
}

static void add_jvp(const en_call *c)
{
    for (size_t i = 0, n = en_call_floats(c); i < n; i++) c->dy[i] = (c->dx[0] ? c->dx[0][i] : 0) + (c->dx[1] ? c->dx[1][i] : 0);
}

static void add_vjp(const en_call *c)
{
    for (int k = 0; k < 2; k++)
        for (size_t i = 0, n = c->gx[k] ? en_call_floats(c) : 0; i < n; i++) c->gx[k][i] += c->gy[i];
}

static en_status add_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char a[64], b[64];
    if (!en_same_shape(in[0], in[1])) return en_fail(e, EN_E_ARG, "%s and %s differ", en_shape_text(in[0], a), en_shape_text(in[1], b));
    n->shape = *in[0];
    return EN_OK;
}

/* A constant summand must not be added to a tangent, so tangents do not ride along. */
const en_op en_op_add = {"add", add_shape, NULL, add_fwd, add_jvp, add_vjp, NULL, EN_AFFINE, 0, 0, KN_NONE};

en_ref en_add(en_graph *g, en_ref a, en_ref b) { return en_apply(g, &en_op_add, (en_ref[]){a, b}, 2, NULL); }

/* ---- scale_channels: y[n,c,p] = x[n,c,p] s[n,c], a product, so
 *     dy = s dx + x ds      gx += s gy   gs += sum_p x gy      dgx += s dgy + ds gy   dgs += sum_p (x dgy + dx gy) ---- */

static size_t pixels_of(const en_call *c) { return en_block_floats(c->in[0]) / EN_LANES; }
static size_t blocks_of(const en_call *c) { return (size_t)c->images * (size_t)en_blocks(c->in[0]->dim[1]); }

/* out (+)= x s; s has one number for each channel. */
static void times(const en_call *c, const float *x, const float *s, float *out, int add)
{
    size_t pixels = pixels_of(c);
    for (size_t b = 0; b < blocks_of(c); b++, s += EN_LANES)
        for (size_t p = 0; p < pixels; p++)
            for (size_t lane = 0; lane < EN_LANES; lane++, x++, out++) *out = (add ? *out : 0) + *x * s[lane];
}

/* gs += sum over positions of x gy */
static void sum_products(const en_call *c, const float *x, const float *gy, float *gs)
{
    size_t pixels = pixels_of(c);
    for (size_t b = 0; b < blocks_of(c); b++, gs += EN_LANES)
        for (size_t p = 0; p < pixels; p++)
            for (size_t lane = 0; lane < EN_LANES; lane++, x++, gy++) gs[lane] += *x * *gy;
}

static void scale_block(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    size_t at = (size_t)job * pixels_of(c) * EN_LANES;
    c->kernels->affine(pixels_of(c), c->x[1] + (size_t)job * EN_LANES, NULL, c->x[0] + at, c->y + at);
}

static void scale_channels_fwd(const en_call *c)
{
    en_call call = *c;
    en_parallel(c->pool, (int)blocks_of(c), scale_block, &call);
}

static void scale_channels_jvp(const en_call *c)
{
    if (c->dx[0]) times(c, c->dx[0], c->x[1], c->dy, 0);
    if (c->dx[1]) times(c, c->x[0], c->dx[1], c->dy, c->dx[0] != NULL);
}

static void scale_channels_vjp(const en_call *c)
{
    if (c->gx[0]) times(c, c->gy, c->x[1], c->gx[0], 1);
    if (c->gx[1]) sum_products(c, c->x[0], c->gy, c->gx[1]);
}

static void scale_channels_dvjp(const en_call *c)
{
    if (c->dgx[0]) times(c, c->dgy, c->x[1], c->dgx[0], 1);
    if (c->dgx[0] && c->dx[1]) times(c, c->gy, c->dx[1], c->dgx[0], 1);
    if (c->dgx[1]) sum_products(c, c->x[0], c->dgy, c->dgx[1]);
    if (c->dgx[1] && c->dx[0]) sum_products(c, c->dx[0], c->gy, c->dgx[1]);
}

static en_status scale_channels_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char a[64], b[64];
    en_shape want = en_nchw(in[0]->dim[0], in[0]->dim[1], 1, 1);
    if (in[0]->layout != EN_BLOCKED || !en_same_shape(in[1], &want))
        return en_fail(e, EN_E_ARG, "scales %s do not fit input %s", en_shape_text(in[1], b), en_shape_text(in[0], a));
    n->shape = *in[0];
    return EN_OK;
}

/* Tangents do not ride along, for they would need scales of their own. */
const en_op en_op_scale_channels = {"scale_channels", scale_channels_shape, NULL, scale_channels_fwd, scale_channels_jvp, scale_channels_vjp,
                                    scale_channels_dvjp, EN_AFFINE, 0, 0, KN_NONE};

en_ref en_scale_channels(en_graph *g, en_ref x, en_ref s) { return en_apply(g, &en_op_scale_channels, (en_ref[]){x, s}, 2, NULL); }
