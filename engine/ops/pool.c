/* SPDX-License-Identifier: MIT */
/* Pooling. Max pooling passes each window's first maximum in scan order on, and its gradient back; adaptive average pooling makes h x w
 * means of a map of any size, window i being rows floor(i H / h) .. ceil((i+1) H / h) - 1. */
#include "engine/op.h"
#include "engine/ops.h"

/* ---- max_pool ---- */

static kn_pool window_of(const en_call *c)
{
    const en_attr *a = &c->node->attr;
    const int *in = c->in[0]->dim, *out = c->node->shape.dim;
    return (kn_pool){.h = in[2], .w = in[3], .p = out[2], .q = out[3], .kh = a->kernel[0], .kw = a->kernel[1], .stride_h = a->stride[0],
                     .stride_w = a->stride[1], .pad_h = a->pad[0], .pad_w = a->pad[1]};
}

static void max_pool_block(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    kn_pool p = window_of(c);
    p.x = c->x[0] + (size_t)job * en_block_floats(c->in[0]);
    p.y = c->y + (size_t)job * en_block_floats(&c->node->shape);
    c->kernels->max_pool(&p);
}

static void max_pool_fwd(const en_call *c)
{
    en_call call = *c;
    en_parallel(c->pool, c->images * en_blocks(c->in[0]->dim[1]), max_pool_block, &call);
}

/* Where in x, one channel block, the maxima of output pixel (p, q) are: of each lane, `at` the pixel's first number. */
static void argmax(const kn_pool *o, const float *x, int p, int q, ptrdiff_t at[EN_LANES])
{
    float best[EN_LANES] = {0};
    int none = 1;
    for (int ky = 0; ky < o->kh; ky++)
        for (int kx = 0; kx < o->kw; kx++) {
            int y = p * o->stride_h - o->pad_h + ky, z = q * o->stride_w - o->pad_w + kx;
            if (y < 0 || y >= o->h || z < 0 || z >= o->w) continue;
            ptrdiff_t here = ((ptrdiff_t)y * o->w + z) * EN_LANES;
            for (int lane = 0; lane < EN_LANES; lane++) {
                float v = x[here + lane];
                int better = none | (v > best[lane]) | (v != v);
                best[lane] = better ? v : best[lane];
                at[lane] = better ? here : at[lane];
            }
            none = 0;
        }
}

/* For each output: dy = dx at its maximum, or gx there += gy. */
static void along_maxima(const en_call *c, const float *dx, float *dy, float *gx, const float *gy)
{
    kn_pool o = window_of(c);
    size_t in = en_block_floats(c->in[0]), out = en_block_floats(&c->node->shape);
    ptrdiff_t from[EN_LANES] = {0};
    for (size_t b = 0; b < (size_t)c->images * (size_t)en_blocks(c->in[0]->dim[1]); b++)
        for (int p = 0; p < o.p; p++)
            for (int q = 0; q < o.q; q++) {
                size_t to = b * out + ((size_t)p * (size_t)o.q + (size_t)q) * EN_LANES;
                argmax(&o, c->x[0] + b * in, p, q, from);
                for (int lane = 0; lane < EN_LANES; lane++) {
                    size_t at = b * in + (size_t)from[lane] + (size_t)lane;
                    if (dy) dy[to + (size_t)lane] = dx[at];
                    if (gx) gx[at] += gy[to + (size_t)lane];
                }
            }
}

static void max_pool_jvp(const en_call *c) { along_maxima(c, c->dx[0], c->dy, NULL, NULL); }
static void max_pool_vjp(const en_call *c) { along_maxima(c, NULL, NULL, c->gx[0], c->gy); }

static en_status max_pool_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    const en_attr *a = &n->attr;
    char text[64];
    int out[2];
    for (int i = 0; i < 2; i++) {
        int span = in[0]->dim[2 + i] + 2 * a->pad[i] - a->kernel[i];
        if (in[0]->layout != EN_BLOCKED || a->stride[i] < 1 || a->pad[i] < 0 || 2 * a->pad[i] > a->kernel[i] || span < 0)
            return en_fail(e, EN_E_ARG, "window %d, stride %d, padding %d do not fit input %s", a->kernel[i], a->stride[i], a->pad[i], en_shape_text(in[0], text));
        out[i] = span / a->stride[i] + 1;
    }
    n->shape = en_nchw(in[0]->dim[0], in[0]->dim[1], out[0], out[1]);
    return EN_OK;
}

const en_op en_op_max_pool = {"max_pool", max_pool_shape, NULL, max_pool_fwd, max_pool_jvp, max_pool_vjp, NULL, EN_PIECEWISE_AFFINE, 0, 0, KN_NONE};

en_ref en_max_pool(en_graph *g, en_ref x, int kernel, int stride, int pad)
{
    return en_apply(g, &en_op_max_pool, &x, 1, &(en_attr){.kernel = {kernel, kernel}, .stride = {stride, stride}, .pad = {pad, pad}});
}

/* ---- adaptive_avg_pool ---- */

typedef struct cell {
    int y0, y1, x0, x1;
    float weight; /* one over the number of pixels */
} cell;

static cell cell_of(const en_shape *in, const en_shape *out, int p, int q)
{
    int h = in->dim[2], w = in->dim[3], oh = out->dim[2], ow = out->dim[3];
    cell c = {p * h / oh, ((p + 1) * h + oh - 1) / oh, q * w / ow, ((q + 1) * w + ow - 1) / ow, 0};
    c.weight = 1.0f / (float)((c.y1 - c.y0) * (c.x1 - c.x0));
    return c;
}

/* The means of one channel block of one image. */
static void average_block(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    const en_shape *in = c->in[0], *out = &c->node->shape;
    const float *x = c->x[0] + (size_t)job * en_block_floats(in);
    float *y = c->y + (size_t)job * en_block_floats(out);
    for (int p = 0; p < out->dim[2]; p++)
        for (int q = 0; q < out->dim[3]; q++, y += EN_LANES) {
            cell w = cell_of(in, out, p, q);
            c->kernels->mean(&(kn_mean){x + (w.y0 * in->dim[3] + w.x0) * EN_LANES, in->dim[3] * EN_LANES, w.y1 - w.y0, w.x1 - w.x0, w.weight, y});
        }
}

static void adaptive_avg_pool_fwd(const en_call *c)
{
    en_call call = *c;
    en_parallel(c->pool, c->images * en_blocks(c->in[0]->dim[1]), average_block, &call);
}

static void adaptive_avg_pool_vjp(const en_call *c)
{
    const en_shape *in = c->in[0], *out = &c->node->shape;
    const float *gy = c->gy;
    float *gx = c->gx[0];
    for (int b = 0; b < c->images * en_blocks(in->dim[1]); b++, gx += en_block_floats(in))
        for (int p = 0; p < out->dim[2]; p++)
            for (int q = 0; q < out->dim[3]; q++, gy += EN_LANES) {
                cell w = cell_of(in, out, p, q);
                float share[EN_LANES]; /* which no store can change */
                for (int lane = 0; lane < EN_LANES; lane++) share[lane] = gy[lane] * w.weight;
                for (int i = w.y0; i < w.y1; i++)
                    for (int k = w.x0; k < w.x1; k++)
                        for (int lane = 0; lane < EN_LANES; lane++) gx[(i * in->dim[3] + k) * EN_LANES + lane] += share[lane];
            }
}

static en_status adaptive_avg_pool_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    const int *out = n->attr.out;
    char text[64];
    if (in[0]->layout != EN_BLOCKED || out[0] < 1 || out[1] < 1 || in[0]->dim[2] > INT32_MAX / (out[0] + 1) || in[0]->dim[3] > INT32_MAX / (out[1] + 1))
        return en_fail(e, EN_E_ARG, "cannot make %d x %d of input %s", out[0], out[1], en_shape_text(in[0], text));
    n->shape = en_nchw(in[0]->dim[0], in[0]->dim[1], out[0], out[1]);
    return EN_OK;
}

const en_op en_op_adaptive_avg_pool = {"adaptive_avg_pool", adaptive_avg_pool_shape, NULL, adaptive_avg_pool_fwd, NULL,
                                       adaptive_avg_pool_vjp, NULL, EN_AFFINE, 1, 0, KN_NONE};

en_ref en_adaptive_avg_pool(en_graph *g, en_ref x, int h, int w) { return en_apply(g, &en_op_adaptive_avg_pool, &x, 1, &(en_attr){.out = {h, w}}); }

en_ref en_global_avg_pool(en_graph *g, en_ref x) { return en_adaptive_avg_pool(g, x, 1, 1); }
