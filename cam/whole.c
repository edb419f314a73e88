/* SPDX-License-Identifier: MIT */
/* Methods that look at the whole network, from the input to the logits. Both show every node of one reverse pass to a visitor.
 *
 *     FullGrad (arXiv:1905.00780)   with psi(z) = (|z| - min) / (1e-7 + max) for each channel, enlarged to the input's size:
 *                                   sum over colours of psi(G x) + sum over constant terms b of channels of psi(b G), G the gradient there.
 *                                   Constant terms are those of convolutions and batch norms; a convolution before a batch norm has none.
 *     Guided backpropagation        (arXiv:1412.6806) the gradient at the input, but a relu passes on only what is positive. relu6 and smooth
 *                                   activations keep their own gradient, as in the reference. The map is the largest |value| of the colours. */
#include "cam/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct sweep {
    cam_ctx *ctx;
    double *sum;       /* [n][height,width]                     */
    double *channel;   /* room for one channel and for one map  */
    en_error *e;
    en_status status;
} sweep;

static double *map_of(const sweep *s, size_t n) { return s->sum + n * (size_t)s->ctx->height * (size_t)s->ctx->width; }

/* Adds the sum over channels of psi(scale_k g_k), or psi(x_k g_k), to the map of image n. g: stored layout. */
static void add_node(sweep *s, en_ref ref, size_t n, const float *g, const float *scale, const float *x)
{
    const cam_ctx *c = s->ctx;
    const en_shape *shape = en_shape_of(c->model.graph, ref);
    size_t image = en_image_floats(shape), block = en_block_floats(shape), cells = block / EN_LANES, pixels = (size_t)c->height * (size_t)c->width;
    double *one = s->channel, *all = one + pixels, *large = all + pixels; /* no map is larger than the input */
    for (size_t i = 0; i < cells; i++) all[i] = 0;
    for (size_t k = 0; k < (size_t)shape->dim[1]; k++) {
        size_t at = n * image + k / EN_LANES * block + k % EN_LANES;
        for (size_t i = 0; i < cells; i++) one[i] = fabs((double)g[at + i * EN_LANES] * (double)(x ? x[at + i * EN_LANES] : scale[k]));
        cam_normalise(one, cells);
        for (size_t i = 0; i < cells; i++) all[i] += one[i];
    }
    if (s->status == EN_OK) s->status = cam_resize(all, shape->dim[2], shape->dim[3], large, c->height, c->width, s->e);
    for (size_t i = 0; i < pixels && s->status == EN_OK; i++) map_of(s, n)[i] += large[i];
}

static void add_constant_term(void *arg, en_ref ref)
{
    sweep *s = arg;
    en_graph *g = s->ctx->model.graph;
    const float *term = en_constant_term(g, ref);
    for (int n = 0; term && n < s->ctx->n; n++) add_node(s, ref, (size_t)n, en_adjoint(g, ref, 0, 1), term, NULL);
}

static en_status fullgrad(cam_ctx *c, const cam_job *j, en_error *e)
{
    size_t pixels = (size_t)c->height * (size_t)c->width;
    en_graph *g = c->model.graph;
    en_ref input = c->layers[j->layer[0]].ref;
    sweep s = {.ctx = c, .sum = j->raw, .channel = malloc(3 * pixels * sizeof *s.channel), .e = e};
    if (!s.channel) return en_fail(e, EN_E_NOMEM, "fullgrad: out of memory");
    memset(j->raw, 0, (size_t)c->n * pixels * sizeof *j->raw);
    en_reverse_shown(g, add_constant_term, &s);
    for (int n = 0; n < c->n; n++) add_node(&s, input, (size_t)n, en_adjoint(g, input, 0, 1), NULL, en_value(g, input));
    free(s.channel);
    return s.status;
}

/* What goes back to a relu's output and is negative goes no further. */
static void keep_positive(void *arg, en_ref ref)
{
    en_graph *g = arg;
    if (strcmp(en_op_name(g, ref), "relu")) return;
    float *gy = en_adjoint(g, ref, 0, 1);
    for (size_t i = 0; i < en_floats(en_shape_of(g, ref)); i++)
        if (gy[i] < 0) gy[i] = 0;
}

static en_status guided(cam_ctx *c, cam_job *j, en_error *e)
{
    size_t pixels = (size_t)c->height * (size_t)c->width;
    en_graph *g = c->model.graph;
    en_ref input = c->layers[j->layer[0]].ref;
    j->pixels = cam_take(c, (size_t)c->n * 3 * pixels * sizeof *j->pixels);
    if (!j->pixels) return en_fail(e, EN_E_NOMEM, "guidedbackprop: out of memory");
    en_reverse_shown(g, keep_positive, g);
    en_load(en_shape_of(g, input), en_adjoint(g, input, 0, 1), j->pixels);
    for (size_t n = 0; n < (size_t)c->n; n++)
        for (size_t i = 0; i < pixels; i++) {
            const float *colour = j->pixels + n * 3 * pixels + i;
            double most = fmax(fabs((double)colour[0]), fmax(fabs((double)colour[pixels]), fabs((double)colour[2 * pixels])));
            j->raw[n * pixels + i] = most;
        }
    return EN_OK;
}

en_status cam_whole_maps(cam_ctx *c, cam_job *j, en_error *e)
{
    en_seed(c->model.graph, c->layers[j->layer[0]].cut, 1, 1);
    cam_fill_seed(c, j->aim, 0, 1);
    return j->method->kind == CAM_FULLGRAD ? fullgrad(c, j, e) : guided(c, j, e);
}
