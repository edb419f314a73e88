/* SPDX-License-Identifier: MIT */
/* Batch norm in inference, per channel, with z = x - mean and i = (var + eps)^(-1/2):
 *
 *     y = gamma z i + beta
 *
 * All five inputs can be differentiated; with constants it is y = scale x + shift, one multiply-add. */
#include "engine/memory.h"
#include "engine/op.h"
#include "engine/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { X, GAMMA, BETA, MEAN, VAR };

/* scale and shift, [C padded] each, in double and rounded once. */
static void affine_form(int channels, float eps, const float *gamma, const float *beta, const float *mean, const float *var, float *out)
{
    int padded = en_blocks(channels) * EN_LANES;
    memset(out, 0, 2 * (size_t)padded * sizeof *out);
    for (int c = 0; c < channels; c++) {
        double scale = (double)gamma[c] / sqrt((double)var[c] + (double)eps);
        out[c] = (float)scale;
        out[padded + c] = (float)((double)beta[c] - (double)mean[c] * scale);
    }
}

static const float *affine_of(const en_call *c)
{
    if (c->node->prepared) return c->node->prepared;
    affine_form(c->in[X]->dim[1], c->node->attr.eps, c->x[GAMMA], c->x[BETA], c->x[MEAN], c->x[VAR], c->scratch);
    return c->scratch;
}

typedef struct affine_job {
    const en_call *call;
    const float *affine;
} affine_job;

static void affine_block(void *arg, int job, int worker)
{
    (void)worker;
    const affine_job *j = arg;
    const en_call *c = j->call;
    int blocks = en_blocks(c->in[X]->dim[1]), block = job % blocks, image = job / blocks;
    size_t floats = en_block_floats(c->in[X]), at = (size_t)job * floats;
    const float *scale = j->affine + block * EN_LANES, *shift = scale + blocks * EN_LANES;
    c->kernels->affine(floats / EN_LANES, scale, image < c->biased ? shift : NULL, c->x[X] + at, c->y + at);
}

static void batch_norm_fwd(const en_call *c)
{
    affine_job j = {c, affine_of(c)};
    en_parallel(c->pool, c->images * en_blocks(c->in[X]->dim[1]), affine_block, &j);
}

/* What the rules below need to know of one channel, and of one number in it. Tangents are 0 where an input is not differentiated. */
typedef struct channel {
    double gamma, mean, i, dgamma, dbeta, dmean, di;
} channel;

static double tangent(const en_call *c, int input, size_t k) { return c->dx[input] ? (double)c->dx[input][k] : 0; }

static channel channel_of(const en_call *c, size_t k)
{
    double i = 1 / sqrt((double)c->x[VAR][k] + (double)c->node->attr.eps);
    return (channel){(double)c->x[GAMMA][k], (double)c->x[MEAN][k], i, tangent(c, GAMMA, k), tangent(c, BETA, k), tangent(c, MEAN, k),
                     -0.5 * i * i * i * tangent(c, VAR, k)};
}

/* Offset of pixel p of channel k of image n. */
static size_t offset(const en_call *c, int n, size_t k, size_t p)
{
    return ((size_t)n * (size_t)en_blocks(c->in[X]->dim[1]) + k / EN_LANES) * en_block_floats(c->in[X]) + p * EN_LANES + k % EN_LANES;
}

/* dy = dgamma z i + gamma dz i + gamma z di + dbeta */
static void batch_norm_jvp(const en_call *c)
{
    memset(c->dy, 0, (size_t)c->images * en_image_floats(&c->node->shape) * sizeof *c->dy);
    for (size_t k = 0; k < (size_t)c->in[X]->dim[1]; k++) {
        channel h = channel_of(c, k);
        for (int n = 0; n < c->images; n++)
            for (size_t p = 0; p < en_block_floats(c->in[X]) / EN_LANES; p++) {
                size_t at = offset(c, n, k, p);
                double z = (double)c->x[X][at] - h.mean, dz = tangent(c, X, at) - h.dmean;
                c->dy[at] = (float)(h.dgamma * z * h.i + h.gamma * dz * h.i + h.gamma * z * h.di + h.dbeta);
            }
    }
}

static void add_to(float *const g[], int input, size_t k, double value)
{
    if (g[input]) g[input][k] += (float)value;
}

/* gx += gamma i gy   ggamma += z i gy   gbeta += gy   gmean -= gamma i gy   gvar += gamma z gy (-i^3/2) */
static void batch_norm_vjp(const en_call *c)
{
    int constants = c->gx[GAMMA] || c->gx[BETA] || c->gx[MEAN] || c->gx[VAR];
    if (!constants) { /* the usual case needs no x, and may carry many adjoints */
        const float *scale = affine_of(c), *gy = c->gy;
        float *gx = c->gx[X];
        int blocks = en_blocks(c->in[X]->dim[1]);
        size_t floats = en_block_floats(c->in[X]);
        for (int b = 0; b < c->images * blocks; b++, gx += floats, gy += floats) {
            float gamma[EN_LANES]; /* which no store can change */
            memcpy(gamma, scale + b % blocks * EN_LANES, sizeof gamma);
            for (size_t i = 0; i < floats; i += EN_LANES)
                for (int lane = 0; lane < EN_LANES; lane++) gx[i + (size_t)lane] += gamma[lane] * gy[i + (size_t)lane];
        }
        return;
    }
    for (size_t k = 0; k < (size_t)c->in[X]->dim[1]; k++) {
        channel h = channel_of(c, k);
        double ggamma = 0, gbeta = 0, gvar = 0;
        for (int n = 0; n < c->images; n++)
            for (size_t p = 0; p < en_block_floats(c->in[X]) / EN_LANES; p++) {
                size_t at = offset(c, n, k, p);
                double z = (double)c->x[X][at] - h.mean, gy = (double)c->gy[at];
                add_to(c->gx, X, at, h.gamma * h.i * gy);
                ggamma += z * h.i * gy;
                gbeta += gy;
                gvar += h.gamma * z * gy * (-0.5 * h.i * h.i * h.i);
            }
        add_to(c->gx, GAMMA, k, ggamma);
        add_to(c->gx, BETA, k, gbeta);
        add_to(c->gx, MEAN, k, -h.gamma * h.i * gbeta);
        add_to(c->gx, VAR, k, gvar);
    }
}

/* The tangents of the five lines above, each product by the product rule; d(i^3) = 3 i^2 di. */
static void batch_norm_dvjp(const en_call *c)
{
    for (size_t k = 0; k < (size_t)c->in[X]->dim[1]; k++) {
        channel h = channel_of(c, k);
        double slope = h.gamma * h.i, dslope = h.dgamma * h.i + h.gamma * h.di, cube = -0.5 * h.i * h.i * h.i, dcube = -1.5 * h.i * h.i * h.di;
        double dggamma = 0, dgbeta = 0, dgmean = 0, dgvar = 0;
        for (int n = 0; n < c->images; n++)
            for (size_t p = 0; p < en_block_floats(c->in[X]) / EN_LANES; p++) {
                size_t at = offset(c, n, k, p);
                double z = (double)c->x[X][at] - h.mean, dz = tangent(c, X, at) - h.dmean;
                double gy = (double)c->gy[at], dgy = (double)c->dgy[at], dgx = slope * dgy + dslope * gy;
                add_to(c->dgx, X, at, dgx);
                dggamma += z * h.i * dgy + (dz * h.i + z * h.di) * gy;
                dgbeta += dgy;
                dgmean -= dgx;
                dgvar += h.gamma * z * cube * dgy + ((h.dgamma * z + h.gamma * dz) * cube + h.gamma * z * dcube) * gy;
            }
        add_to(c->dgx, GAMMA, k, dggamma);
        add_to(c->dgx, BETA, k, dgbeta);
        add_to(c->dgx, MEAN, k, dgmean);
        add_to(c->dgx, VAR, k, dgvar);
    }
}

static en_status batch_norm_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char tx[64], tw[64];
    for (int k = 1; k < n->inputs; k++)
        if (in[X]->layout != EN_BLOCKED || in[k]->rank != 1 || in[k]->dim[0] != in[X]->dim[1])
            return en_fail(e, EN_E_ARG, "parameter %d, %s, does not fit input %s", k, en_shape_text(in[k], tw), en_shape_text(in[X], tx));
    n->shape = *in[X];
    n->scratch = 2 * (size_t)en_blocks(in[X]->dim[1]) * EN_LANES;
    return EN_OK;
}

typedef struct affine_blob {
    en_graph *g;
    const en_node *n;
} affine_blob;

static en_status make_affine(const void *arg, int piece, float *data, en_error *e)
{
    (void)piece;
    const affine_blob *b = arg;
    const float *in[EN_MAX_INPUTS];
    size_t padded = (size_t)en_blocks(b->n->shape.dim[1]) * EN_LANES;
    float *values = en_alloc_floats(4 * padded);
    if (!values) return en_fail(e, EN_E_NOMEM, "%s: out of memory", b->n->op->name);
    en_status status = EN_OK;
    for (int k = 1; k < b->n->inputs && status == EN_OK; k++) {
        const en_node *p = en_node_at(b->g, b->n->in[k]);
        in[k] = values + (size_t)(k - 1) * padded;
        status = en_params_read(en_params_of(b->g), p->key, &p->shape, 0, en_count(&p->shape), values + (size_t)(k - 1) * padded, e);
    }
    if (status == EN_OK) affine_form(b->n->shape.dim[1], b->n->attr.eps, in[GAMMA], in[BETA], in[MEAN], in[VAR], data);
    free(values);
    return status;
}

static en_status batch_norm_prepare(en_graph *g, en_node *n, en_error *e)
{
    char name[512];
    snprintf(name, sizeof name, "%s/affine", en_node_at(g, n->in[GAMMA])->key);
    const affine_blob b = {g, n};
    return en_params_blob(en_params_of(g), &(en_blob){name, n->scratch, 1, make_affine, &b, sizeof b}, &n->prepared, e);
}

const en_op en_op_batch_norm = {"batch_norm", batch_norm_shape, batch_norm_prepare, batch_norm_fwd, batch_norm_jvp, batch_norm_vjp, batch_norm_dvjp,
                                EN_AFFINE, 1, 1u << GAMMA | 1u << BETA | 1u << MEAN | 1u << VAR, KN_NONE};

en_ref en_batch_norm(en_graph *g, en_ref x, en_ref gamma, en_ref beta, en_ref mean, en_ref var, float eps)
{
    return en_apply(g, &en_op_batch_norm, (en_ref[]){x, gamma, beta, mean, var}, 5, &(en_attr){.eps = eps});
}
