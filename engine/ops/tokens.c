/* SPDX-License-Identifier: MIT */
/* Tokens of a vision transformer: add_tokens puts a learnt token in front of the positions and adds a learnt vector to each;
 * take_token picks one out. Both are linear; the learnt parts are constants unless they are differentiated. */
#include "engine/op.h"
#include "engine/ops.h"

#include <string.h>

enum { X, TOKEN, POSITION };

/* The place of channel k at position p among `positions`, in image n. */
static size_t place(const en_shape *s, int n, int k, int p)
{
    return (size_t)n * en_image_floats(s) + (size_t)(k / EN_LANES) * en_block_floats(s) + (size_t)p * EN_LANES + (size_t)(k % EN_LANES);
}

static int positions_of(const en_shape *s) { return s->dim[2] * s->dim[3]; }

/* y of `images` images; constants (NULL: none) are added to the first `biased`. */
static void with_tokens(const en_call *c, const float *x, const float *token, const float *position, int biased, float *y)
{
    const en_shape *in = c->in[X], *out = &c->node->shape;
    int channels = in->dim[1], tokens = positions_of(out);
    memset(y, 0, (size_t)c->images * en_image_floats(out) * sizeof *y);
    for (int n = 0; n < c->images; n++)
        for (int k = 0; k < channels; k++)
            for (int p = 0; p < tokens; p++) {
                float v = p && x ? x[place(in, n, k, p - 1)] : 0;
                if (n < biased && p == 0 && token) v = token[k];
                if (n < biased && position) v += position[p * channels + k];
                y[place(out, n, k, p)] = v;
            }
}

static void add_tokens_fwd(const en_call *c) { with_tokens(c, c->x[X], c->x[TOKEN], c->x[POSITION], c->biased, c->y); }
static void add_tokens_jvp(const en_call *c) { with_tokens(c, c->dx[X], c->dx[TOKEN], c->dx[POSITION], c->images, c->dy); }

static void add_tokens_vjp(const en_call *c)
{
    const en_shape *in = c->in[X], *out = &c->node->shape;
    int channels = in->dim[1];
    for (int n = 0; n < c->images; n++)
        for (int k = 0; k < channels; k++)
            for (int p = 0; p < positions_of(out); p++) {
                float gy = c->gy[place(out, n, k, p)];
                if (c->gx[X] && p) c->gx[X][place(in, n, k, p - 1)] += gy;
                if (c->gx[TOKEN] && p == 0) c->gx[TOKEN][k] += gy;
                if (c->gx[POSITION]) c->gx[POSITION][p * channels + k] += gy;
            }
}

static en_status add_tokens_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char x[64], t[64], p[64];
    int channels = in[X]->dim[1], tokens = positions_of(in[X]) + 1;
    const en_shape token = en_plain(3, (int[]){1, 1, channels}), position = en_plain(3, (int[]){1, tokens, channels});
    if (in[X]->layout != EN_BLOCKED || !en_same_shape(in[TOKEN], &token) || !en_same_shape(in[POSITION], &position))
        return en_fail(e, EN_E_ARG, "token %s and positions %s do not fit input %s", en_shape_text(in[TOKEN], t), en_shape_text(in[POSITION], p), en_shape_text(in[X], x));
    n->shape = en_nchw(in[X]->dim[0], channels, 1, tokens);
    return EN_OK;
}

extern const en_op en_op_add_tokens, en_op_take_token;
const en_op en_op_add_tokens = {"add_tokens", add_tokens_shape, NULL, add_tokens_fwd, add_tokens_jvp, add_tokens_vjp, NULL, EN_AFFINE, 1, 0, KN_NONE};

en_ref en_add_tokens(en_graph *g, en_ref x, en_ref token, en_ref position) { return en_apply(g, &en_op_add_tokens, (en_ref[]){x, token, position}, 3, NULL); }

/* ---- take_token ---- */

static void take_token_fwd(const en_call *c)
{
    const en_shape *in = c->in[X], *out = &c->node->shape;
    memset(c->y, 0, (size_t)c->images * en_image_floats(out) * sizeof *c->y);
    for (int n = 0; n < c->images; n++)
        for (int k = 0; k < in->dim[1]; k++) c->y[place(out, n, k, 0)] = c->x[X][place(in, n, k, c->node->attr.token)];
}

static void take_token_vjp(const en_call *c)
{
    const en_shape *in = c->in[X], *out = &c->node->shape;
    for (int n = 0; n < c->images; n++)
        for (int k = 0; k < in->dim[1]; k++) c->gx[X][place(in, n, k, c->node->attr.token)] += c->gy[place(out, n, k, 0)];
}

static en_status take_token_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    char text[64];
    if (in[X]->layout != EN_BLOCKED || n->attr.token < 0 || n->attr.token >= positions_of(in[X]))
        return en_fail(e, EN_E_ARG, "input %s has no token %d", en_shape_text(in[X], text), n->attr.token);
    n->shape = en_nchw(in[X]->dim[0], in[X]->dim[1], 1, 1);
    return EN_OK;
}

const en_op en_op_take_token = {"take_token", take_token_shape, NULL, take_token_fwd, NULL, take_token_vjp, NULL, EN_AFFINE, 1, 0, KN_NONE};

en_ref en_take_token(en_graph *g, en_ref x, int token) { return en_apply(g, &en_op_take_token, &x, 1, &(en_attr){.token = token}); }
