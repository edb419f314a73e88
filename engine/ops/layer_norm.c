/* SPDX-License-Identifier: MIT */
/* Layer norm over the channels of each position. With m the mean over channels, i = (m((x - m(x))^2) + eps)^(-1/2), z = (x - m(x)) i:
 *
 *     y   = gamma z + beta
 *     dz  = i (dx - m(dx) - z m(z dx))        dy = gamma dz + dgamma z + dbeta
 *     gx += i (h - m(h) - z m(z h))           h = gamma gy        ggamma += sum z gy      gbeta += sum gy
 *
 * and the tangent of the last line by the product rule with di = -i^2 m(z dx), dh = gamma dgy + dgamma gy. */
#include "engine/op.h"
#include "engine/ops.h"

#include <math.h>

enum { X, GAMMA, BETA };

/* One position: channel k at [k / 16 * block + k % 16]. Sums have 16 lanes and one fixed order. */
typedef struct position {
    size_t at, block;
    int channels;
} position;

static size_t place(const position *p, int k) { return p->at + (size_t)(k / EN_LANES) * p->block + (size_t)(k % EN_LANES); }

static int positions_of(const en_call *c) { return c->images * c->in[X]->dim[2] * c->in[X]->dim[3]; }

static position position_of(const en_call *c, int i)
{
    size_t block = en_block_floats(c->in[X]), hw = block / EN_LANES;
    return (position){(size_t)i / hw * en_image_floats(c->in[X]) + (size_t)i % hw * EN_LANES, block, c->in[X]->dim[1]};
}

/* Channels of the block that begins with channel k. */
static int lanes_of(const position *p, int k) { return p->channels - k < EN_LANES ? p->channels - k : EN_LANES; }

typedef double lanes[EN_LANES];

static double total(const double *lane, int channels)
{
    double sum = 0;
    for (int k = 0; k < EN_LANES; k++) sum += lane[k];
    return sum / channels;
}

/* Mean over channels of a, and of (a - shift_a) (b - shift_b). */
static double mean(const position *p, const float *a)
{
    lanes sum = {0};
    for (int k = 0; k < p->channels; k += EN_LANES)
        for (int i = 0, n = lanes_of(p, k); i < n; i++) sum[i] += (double)a[place(p, k) + (size_t)i];
    return total(sum, p->channels);
}

static double mean_product(const position *p, const float *a, double shift_a, const float *b, double shift_b)
{
    lanes sum = {0};
    for (int k = 0; k < p->channels; k += EN_LANES)
        for (int i = 0, n = lanes_of(p, k); i < n; i++)
            sum[i] += ((double)a[place(p, k) + (size_t)i] - shift_a) * ((double)b[place(p, k) + (size_t)i] - shift_b);
    return total(sum, p->channels);
}

typedef struct statistics {
    double mean, i;
} statistics;

static statistics statistics_of(const en_call *c, const position *p)
{
    double m = mean(p, c->x[X]);
    return (statistics){m, 1 / sqrt(mean_product(p, c->x[X], m, c->x[X], m) + (double)c->node->attr.eps)};
}

static double z_at(const en_call *c, const statistics *s, size_t at) { return ((double)c->x[X][at] - s->mean) * s->i; }

/* dz = i (dx - m(dx) - z m(z dx)); both means are 0 where x is not differentiated. */
typedef struct moved {
    double mean_dx, mean_zdx, di;
} moved;

static moved moved_by(const en_call *c, const position *p, const statistics *s)
{
    moved m = {0};
    if (!c->dx[X]) return m;
    m.mean_dx = mean(p, c->dx[X]);
    m.mean_zdx = s->i * mean_product(p, c->x[X], s->mean, c->dx[X], 0);
    m.di = -s->i * s->i * m.mean_zdx;
    return m;
}

static double dz_at(const en_call *c, const statistics *s, const moved *m, size_t at)
{
    return c->dx[X] ? s->i * ((double)c->dx[X][at] - m->mean_dx - z_at(c, s, at) * m->mean_zdx) : 0;
}

static void jvp_position(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    position p = position_of(c, job);
    statistics s = statistics_of(c, &p);
    moved m = moved_by(c, &p, &s);
    for (int k = 0; k < p.channels; k += EN_LANES)
        for (int i = 0, n = lanes_of(&p, k); i < n; i++) {
            size_t at = place(&p, k) + (size_t)i;
            double dy = (double)c->x[GAMMA][k + i] * dz_at(c, &s, &m, at);
            if (c->dx[GAMMA]) dy += (double)c->dx[GAMMA][k + i] * z_at(c, &s, at);
            if (c->dx[BETA]) dy += (double)c->dx[BETA][k + i];
            c->dy[at] = (float)dy;
        }
    for (int k = p.channels; k % EN_LANES; k++) c->dy[place(&p, k)] = 0;
}

static void vjp_position(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    position p = position_of(c, job);
    statistics s = statistics_of(c, &p);
    lanes sum_h = {0}, sum_zh = {0};
    for (int k = 0; k < p.channels; k += EN_LANES)
        for (int i = 0, n = lanes_of(&p, k); i < n; i++) {
            size_t at = place(&p, k) + (size_t)i;
            double h = (double)c->x[GAMMA][k + i] * (double)c->gy[at];
            sum_h[i] += h;
            sum_zh[i] += z_at(c, &s, at) * h;
        }
    double mean_h = total(sum_h, p.channels), mean_zh = total(sum_zh, p.channels);
    for (int k = 0; k < p.channels; k += EN_LANES)
        for (int i = 0, n = lanes_of(&p, k); i < n; i++) {
            size_t at = place(&p, k) + (size_t)i;
            c->gx[X][at] += (float)(s.i * ((double)c->x[GAMMA][k + i] * (double)c->gy[at] - mean_h - z_at(c, &s, at) * mean_zh));
        }
}

/* gx = i t with t = h - m(h) - z m(z h):  dgx = di t + i (dh - m(dh) - dz m(z h) - z m(dz h + z dh)) */
static void dvjp_position(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    position p = position_of(c, job);
    statistics s = statistics_of(c, &p);
    moved m = moved_by(c, &p, &s);
    lanes sum_h = {0}, sum_zh = {0}, sum_dh = {0}, sum_dzh = {0};
    double mean_h = 0, mean_zh = 0, mean_dh = 0, mean_dzh = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int k = 0; k < p.channels; k += EN_LANES)
            for (int i = 0, n = lanes_of(&p, k); i < n; i++) {
                size_t at = place(&p, k) + (size_t)i;
                double z = z_at(c, &s, at), dz = dz_at(c, &s, &m, at), gamma = (double)c->x[GAMMA][k + i], gy = (double)c->gy[at], h = gamma * gy;
                double dh = gamma * (double)c->dgy[at] + (c->dx[GAMMA] ? (double)c->dx[GAMMA][k + i] * gy : 0);
                if (pass == 0) {
                    sum_h[i] += h;
                    sum_zh[i] += z * h;
                    sum_dh[i] += dh;
                    sum_dzh[i] += dz * h + z * dh;
                } else {
                    c->dgx[X][at] += (float)(m.di * (h - mean_h - z * mean_zh) + s.i * (dh - mean_dh - dz * mean_zh - z * mean_dzh));
                }
            }
        mean_h = total(sum_h, p.channels), mean_zh = total(sum_zh, p.channels), mean_dh = total(sum_dh, p.channels), mean_dzh = total(sum_dzh, p.channels);
    }
}

/* ggamma += sum z gy, gbeta += sum gy; with tangents: dggamma += sum z dgy + dz gy, dgbeta += sum dgy */
static void parameter_gradients(const en_call *c, float *ggamma, float *gbeta, const float *gy, const float *moved_gy)
{
    for (int i = 0; i < positions_of(c); i++) {
        position p = position_of(c, i);
        statistics s = statistics_of(c, &p);
        moved m = moved_by(c, &p, &s);
        for (int k = 0; k < p.channels; k++) {
            size_t at = place(&p, k);
            if (ggamma) ggamma[k] += (float)(z_at(c, &s, at) * (double)gy[at] + (moved_gy ? dz_at(c, &s, &m, at) * (double)moved_gy[at] : 0));
            if (gbeta) gbeta[k] += gy[at];
        }
    }
}

static void over_positions(const en_call *c, en_job *run)
{
    en_call call = *c;
    en_parallel(c->pool, positions_of(c), run, &call);
}

enum { CHUNK = 56 }; /* positions per job */

static int chunks_of(const en_call *c) { return (c->in[X]->dim[2] * c->in[X]->dim[3] + CHUNK - 1) / CHUNK; }

static void fwd_chunk(void *arg, int job, int worker)
{
    (void)worker;
    const en_call *c = arg;
    int chunks = chunks_of(c), first = job % chunks * CHUNK, all = c->in[X]->dim[2] * c->in[X]->dim[3];
    size_t at = (size_t)(job / chunks) * en_image_floats(c->in[X]) + (size_t)first * EN_LANES;
    c->kernels->layer_norm(&(kn_layer_norm){.x = c->x[X] + at, .y = c->y + at, .block = (ptrdiff_t)all * EN_LANES, .positions = all - first < CHUNK ? all - first : CHUNK,
                                            .channels = c->in[X]->dim[1], .gamma = c->x[GAMMA], .beta = c->x[BETA], .eps = c->node->attr.eps});
}

static void layer_norm_fwd(const en_call *c)
{
    en_call call = *c;
    en_parallel(c->pool, c->images * chunks_of(c), fwd_chunk, &call);
}

static void layer_norm_jvp(const en_call *c) { over_positions(c, jvp_position); }

static void layer_norm_vjp(const en_call *c)
{
    if (c->gx[X]) over_positions(c, vjp_position);
    if (c->gx[GAMMA] || c->gx[BETA]) parameter_gradients(c, c->gx[GAMMA], c->gx[BETA], c->gy, NULL);
}

static void layer_norm_dvjp(const en_call *c)
{
    if (c->dgx[X]) over_positions(c, dvjp_position);
    if (c->dgx[GAMMA] || c->dgx[BETA]) parameter_gradients(c, c->dgx[GAMMA], c->dgx[BETA], c->dgy, c->gy);
}

static en_status layer_norm_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char tx[64], tw[64];
    for (int k = 1; k < n->inputs; k++)
        if (in[X]->layout != EN_BLOCKED || in[k]->rank != 1 || in[k]->dim[0] != in[X]->dim[1])
            return en_fail(e, EN_E_ARG, "parameter %d, %s, does not fit input %s", k, en_shape_text(in[k], tw), en_shape_text(in[X], tx));
    n->shape = *in[X];
    return EN_OK;
}

extern const en_op en_op_layer_norm;
const en_op en_op_layer_norm = {"layer_norm", layer_norm_shape, NULL, layer_norm_fwd, layer_norm_jvp, layer_norm_vjp, layer_norm_dvjp, EN_CURVED, 0, 0, KN_NONE};

en_ref en_layer_norm(en_graph *g, en_ref x, en_ref gamma, en_ref beta, float eps)
{
    return en_apply(g, &en_op_layer_norm, (en_ref[]){x, gamma, beta}, 3, &(en_attr){.eps = eps});
}
