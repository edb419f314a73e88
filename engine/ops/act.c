/* SPDX-License-Identifier: MIT */
/* Activations, one number in, one number out: y = f(x). For all of them the four rules are one chain rule,
 *
 *     y = f      dy = f' dx      gx += f' gy      dgx += f' dgy + f'' dx gy
 *
 * and f, f', f'' come from the kernels (kernels/act.h). Where f is made of straight pieces, f'' = 0. */
#include "engine/op.h"
#include "engine/ops.h"

enum { JOB_FLOATS = 1 << 14, PIECE = 512 }; /* 64 KiB per job; 2 KiB of derivatives at a time */

typedef struct act_job {
    const en_call *call;
    void (*run)(const en_call *c, size_t from, size_t n);
} act_job;

static void act_piece(void *arg, int job, int worker)
{
    (void)worker;
    const act_job *j = arg;
    size_t end = ((size_t)job + 1) * JOB_FLOATS, all = en_call_floats(j->call);
    for (size_t at = (size_t)job * JOB_FLOATS; at < end && at < all; at += PIECE) j->run(j->call, at, all - at < PIECE ? all - at : PIECE);
}

static void over_pieces(const en_call *c, void (*run)(const en_call *c, size_t from, size_t n))
{
    act_job j = {c, run};
    en_parallel(c->pool, (int)((en_call_floats(c) + JOB_FLOATS - 1) / JOB_FLOATS), act_piece, &j);
}

static void value(const en_call *c, size_t at, size_t n) { c->kernels->activate(c->node->op->act, n, c->x[0] + at, c->y + at, NULL, NULL); }

static void tangent(const en_call *c, size_t at, size_t n)
{
    float slope[PIECE];
    c->kernels->activate(c->node->op->act, n, c->x[0] + at, NULL, slope, NULL);
    for (size_t i = 0; i < n; i++) c->dy[at + i] = slope[i] * c->dx[0][at + i];
}

static void gradient(const en_call *c, size_t at, size_t n)
{
    float slope[PIECE];
    c->kernels->activate(c->node->op->act, n, c->x[0] + at, NULL, slope, NULL);
    for (size_t i = 0; i < n; i++) c->gx[0][at + i] += slope[i] * c->gy[at + i];
}

static void tangent_of_gradient(const en_call *c, size_t at, size_t n)
{
    float slope[PIECE], curvature[PIECE];
    c->kernels->activate(c->node->op->act, n, c->x[0] + at, NULL, slope, curvature);
    for (size_t i = 0; i < n; i++) c->dgx[0][at + i] += slope[i] * c->dgy[at + i] + curvature[i] * c->dx[0][at + i] * c->gy[at + i];
}

static void act_fwd(const en_call *c)
{
    over_pieces(c, value);
    if (c->node->op->act == KN_SIGMOID) en_clear_output(c, c->y); /* it makes something of nothing */
}
static void act_jvp(const en_call *c) { over_pieces(c, tangent); }
static void act_vjp(const en_call *c) { over_pieces(c, gradient); }
static void act_dvjp(const en_call *c) { over_pieces(c, tangent_of_gradient); }

static en_status act_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    (void)e;
    n->shape = *in[0];
    return EN_OK;
}

#define PIECEWISE(name, act)                                                                                                  \
    extern const en_op en_op_##name;                                                                                          \
    const en_op en_op_##name = {#name, act_shape, NULL, act_fwd, act_jvp, act_vjp, NULL, EN_PIECEWISE_AFFINE, 0, 0, act};        \
    en_ref en_##name(en_graph *g, en_ref x) { return en_apply(g, &en_op_##name, &x, 1, NULL); }

PIECEWISE(relu, KN_RELU)
PIECEWISE(relu6, KN_RELU6)

#define SMOOTH(name, act)                                                                                                     \
    extern const en_op en_op_##name;                                                                                          \
    const en_op en_op_##name = {#name, act_shape, NULL, act_fwd, act_jvp, act_vjp, act_dvjp, EN_CURVED, 0, 0, act};              \
    en_ref en_##name(en_graph *g, en_ref x) { return en_apply(g, &en_op_##name, &x, 1, NULL); }

SMOOTH(silu, KN_SILU)
SMOOTH(gelu, KN_GELU)
SMOOTH(sigmoid, KN_SIGMOID)
