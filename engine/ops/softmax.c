/* SPDX-License-Identifier: MIT */
/* Softmax and its logarithm over channels, for each image and position. With s the softmax of x and m = sum s dx the mean tangent:
 *
 *     softmax      y = s            dy = s (dx - m)      gx += s (gy - sum s gy)
 *     log_softmax  y = x - log sum  dy = dx - m          gx += gy - s sum gy
 *
 * Computed in double, channel after channel: a row is a thousand numbers, and its sums must not depend on vector width. */
#include "engine/math.h"
#include "engine/op.h"
#include "engine/ops.h"

#include <math.h>

/* One row: the numbers of one image and position, channel k at [k / 16 * block + k % 16]. */
typedef struct row {
    size_t at, block;
    int channels;
} row;

static size_t rows_of(const en_call *c) { return (size_t)c->images * en_block_floats(c->in[0]) / EN_LANES; }

static row row_of(const en_call *c, size_t i)
{
    size_t block = en_block_floats(c->in[0]), hw = block / EN_LANES;
    return (row){i / hw * en_image_floats(c->in[0]) + i % hw * EN_LANES, block, c->in[0]->dim[1]};
}

static size_t place(const row *r, int k) { return r->at + (size_t)(k / EN_LANES) * r->block + (size_t)(k % EN_LANES); }

/* log sum exp of a row. */
static double log_sum(const row *r, const float *x)
{
    double most = -INFINITY, sum = 0;
    for (int k = 0; k < r->channels; k++)
        if (!((double)x[place(r, k)] <= most)) most = (double)x[place(r, k)];
    if (isinf(most) && most < 0) return most;
    for (int k = 0; k < r->channels; k++) sum += en_exp((double)x[place(r, k)] - most);
    return most + en_log(sum);
}

/* The weighted sums that the rules need: of v, and of s v. */
static double sum_of(const row *r, const float *v)
{
    double sum = 0;
    for (int k = 0; k < r->channels; k++) sum += (double)v[place(r, k)];
    return sum;
}

static double mean_of(const row *r, const float *x, double log_of_sum, const float *v)
{
    double sum = 0;
    for (int k = 0; k < r->channels; k++) sum += en_exp((double)x[place(r, k)] - log_of_sum) * (double)v[place(r, k)];
    return sum;
}

static void clear_padding(const row *r, float *y)
{
    for (int k = r->channels; k % EN_LANES; k++) y[place(r, k)] = 0;
}

static void softmax_fwd(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]);
        for (int k = 0; k < r.channels; k++) c->y[place(&r, k)] = (float)en_exp((double)c->x[0][place(&r, k)] - l);
        clear_padding(&r, c->y);
    }
}

static void softmax_jvp(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]), m = mean_of(&r, c->x[0], l, c->dx[0]);
        for (int k = 0; k < r.channels; k++) {
            size_t at = place(&r, k);
            c->dy[at] = (float)(en_exp((double)c->x[0][at] - l) * ((double)c->dx[0][at] - m));
        }
        clear_padding(&r, c->dy);
    }
}

static void softmax_vjp(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]), m = mean_of(&r, c->x[0], l, c->gy);
        for (int k = 0; k < r.channels; k++) {
            size_t at = place(&r, k);
            c->gx[0][at] += (float)(en_exp((double)c->x[0][at] - l) * ((double)c->gy[at] - m));
        }
    }
}

/* d[s_k (gy_k - m)] = s_k (dgy_k - sum s dgy) + ds_k (gy_k - m) - s_k sum ds gy,   ds = s (dx - sum s dx) */
static void softmax_dvjp(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]), mean_dx = mean_of(&r, c->x[0], l, c->dx[0]);
        double mean_gy = mean_of(&r, c->x[0], l, c->gy), mean_dgy = mean_of(&r, c->x[0], l, c->dgy), moved = 0;
        for (int k = 0; k < r.channels; k++) {
            size_t at = place(&r, k);
            moved += en_exp((double)c->x[0][at] - l) * ((double)c->dx[0][at] - mean_dx) * (double)c->gy[at];
        }
        for (int k = 0; k < r.channels; k++) {
            size_t at = place(&r, k);
            double s = en_exp((double)c->x[0][at] - l), ds = s * ((double)c->dx[0][at] - mean_dx);
            c->dgx[0][at] += (float)(s * ((double)c->dgy[at] - mean_dgy) + ds * ((double)c->gy[at] - mean_gy) - s * moved);
        }
    }
}

static void log_softmax_fwd(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]);
        for (int k = 0; k < r.channels; k++) c->y[place(&r, k)] = (float)((double)c->x[0][place(&r, k)] - l);
        clear_padding(&r, c->y);
    }
}

static void log_softmax_jvp(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double m = mean_of(&r, c->x[0], log_sum(&r, c->x[0]), c->dx[0]);
        for (int k = 0; k < r.channels; k++) c->dy[place(&r, k)] = (float)((double)c->dx[0][place(&r, k)] - m);
        clear_padding(&r, c->dy);
    }
}

static void log_softmax_vjp(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]), total = sum_of(&r, c->gy);
        for (int k = 0; k < r.channels; k++) {
            size_t at = place(&r, k);
            c->gx[0][at] += (float)((double)c->gy[at] - en_exp((double)c->x[0][at] - l) * total);
        }
    }
}

/* d[gy - s sum gy] = dgy - s sum dgy - ds sum gy */
static void log_softmax_dvjp(const en_call *c)
{
    for (size_t i = 0; i < rows_of(c); i++) {
        row r = row_of(c, i);
        double l = log_sum(&r, c->x[0]), mean_dx = mean_of(&r, c->x[0], l, c->dx[0]);
        double total = sum_of(&r, c->gy), dtotal = sum_of(&r, c->dgy);
        for (int k = 0; k < r.channels; k++) {
            size_t at = place(&r, k);
            double s = en_exp((double)c->x[0][at] - l), ds = s * ((double)c->dx[0][at] - mean_dx);
            c->dgx[0][at] += (float)((double)c->dgy[at] - s * dtotal - ds * total);
        }
    }
}

static en_status softmax_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    if (in[0]->layout != EN_BLOCKED) return en_fail(e, EN_E_ARG, "wants an activation");
    n->shape = *in[0];
    return EN_OK;
}

const en_op en_op_softmax = {"softmax", softmax_shape, NULL, softmax_fwd, softmax_jvp, softmax_vjp, softmax_dvjp, EN_CURVED, 0, 0, KN_NONE};
const en_op en_op_log_softmax = {"log_softmax", softmax_shape, NULL, log_softmax_fwd, log_softmax_jvp, log_softmax_vjp, log_softmax_dvjp, EN_CURVED, 0, 0, KN_NONE};

en_ref en_softmax(en_graph *g, en_ref x) { return en_apply(g, &en_op_softmax, &x, 1, NULL); }
en_ref en_log_softmax(en_graph *g, en_ref x) { return en_apply(g, &en_op_log_softmax, &x, 1, NULL); }
