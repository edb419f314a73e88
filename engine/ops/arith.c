/* SPDX-License-Identifier: MIT */
/* Addition, as in a residual connection. Linear in both inputs, of which either may be constant. */
#include "engine/op.h"
#include "engine/ops.h"

static void add_fwd(const en_call *c)
{
    for (size_t i = 0, n = c->node->floats; i < n; i++) c->y[i] = c->x[0][i] + c->x[1][i];
}

static void add_jvp(const en_call *c)
{
    for (size_t i = 0, n = c->node->floats; i < n; i++) c->dy[i] = (c->dx[0] ? c->dx[0][i] : 0) + (c->dx[1] ? c->dx[1][i] : 0);
}

static void add_vjp(const en_call *c)
{
    for (int k = 0; k < 2; k++)
        for (size_t i = 0, n = c->gx[k] ? c->node->floats : 0; i < n; i++) c->gx[k][i] += c->gy[i];
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
