/* SPDX-License-Identifier: MIT */
/* Activations, one number in, one number out: y = f(x). For all of them the four rules are one chain rule,
 *
 *     y = f      dy = f' dx      gx += f' gy      dgx += f' dgy + f'' dx gy
 *
 * and those here are piecewise linear, so f'' = 0 and the last rule is the third on dgy. A kink has slope 0, as in PyTorch. */
#include "engine/op.h"
#include "engine/ops.h"

enum { JOB_FLOATS = 1 << 14 }; /* 64 KiB per job */

typedef struct map_job {
    const en_call *call;
    void (*kernel)(size_t n, const float *x, float *y);
    size_t floats;
} map_job;

static void map_piece(void *arg, int job, int worker)
{
    (void)worker;
    const map_job *j = arg;
    size_t from = (size_t)job * JOB_FLOATS, n = j->floats - from < JOB_FLOATS ? j->floats - from : JOB_FLOATS;
    j->kernel(n, j->call->x[0] + from, j->call->y + from);
}

/* y = f(x) over the whole tensor. */
static void map(const en_call *c, void (*kernel)(size_t, const float *, float *))
{
    map_job j = {c, kernel, c->node->floats};
    en_parallel(c->pool, (int)((j.floats + JOB_FLOATS - 1) / JOB_FLOATS), map_piece, &j);
}

/* The rules of a piecewise linear activation, from the expression of its slope in x. */
#define PIECEWISE(name, slope, fused)                                                                                 \
    static void name##_fwd(const en_call *c) { map(c, c->kernels->name); }                                            \
    static void name##_jvp(const en_call *c)                                                                          \
    {                                                                                                                 \
        for (size_t i = 0, n = c->node->floats; i < n; i++) {                                                         \
            float x = c->x[0][i];                                                                                     \
            c->dy[i] = (slope) ? c->dx[0][i] : 0;                                                                     \
        }                                                                                                             \
    }                                                                                                                 \
    static void name##_vjp(const en_call *c)                                                                          \
    {                                                                                                                 \
        for (size_t i = 0, n = c->node->floats; i < n; i++) {                                                         \
            float x = c->x[0][i];                                                                                     \
            c->gx[0][i] += (slope) ? c->gy[i] : 0;                                                                    \
        }                                                                                                             \
    }                                                                                                                 \
    const en_op en_op_##name = {#name, same_shape, NULL, name##_fwd, name##_jvp, name##_vjp, NULL, EN_PIECEWISE_AFFINE, 0, 0, fused}; \
    en_ref en_##name(en_graph *g, en_ref x) { return en_apply(g, &en_op_##name, &x, 1, NULL); }

static en_status same_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    (void)e;
    n->shape = *in[0];
    return EN_OK;
}

extern const en_op en_op_relu, en_op_relu6;

PIECEWISE(relu, x > 0, KN_RELU)
PIECEWISE(relu6, x > 0 && x < 6, KN_RELU6)
