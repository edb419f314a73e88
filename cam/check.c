/* SPDX-License-Identifier: MIT */
/* H A found in two other ways than forward over reverse, to be laid beside it:
 *
 *     differences   of gradients along A, (8 (g(1) - g(-1)) - g(2) + g(-2)) / 12 s with g(k) the gradient at (1 + k s) A: exact to s^4
 *     closed form   where the tail is affine, o = J A + b, and gradients do not depend on the position: (J' H_u (o - b)), H_u the utility's
 *                   closed form, column k of J found by running the tail on channel k alone. No derivative of the engine takes part. */
#include "cam/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 4, COLUMNS = 32 };

static const double step = 1.0 / 64;
static const int at[POINTS] = {1, -1, 2, -2};
static const double weight[POINTS] = {8, -8, -1, 1};

typedef struct check {
    cam_ctx *ctx;
    const cam_site_layer *layer;
    int image;
    cam_aim aim;
    size_t positions;
    const float *gradient, *product; /* [C,positions] by forward over reverse */
    double *other;                   /* [C,positions] by another way          */
} check;

/* Where channel k at position p of an image lies in stored layout. */
static size_t place(const check *k, const en_shape *s, size_t channel, size_t p)
{
    return channel / EN_LANES * en_block_floats(s) + (p + (size_t)k->layer->skip) * EN_LANES + channel % EN_LANES;
}

static const float *activation(const check *k)
{
    en_graph *g = k->ctx->model.graph;
    return en_value(g, k->layer->ref) + (size_t)k->image * en_image_floats(en_shape_of(g, k->layer->ref));
}

/* Gradients at POINTS activations at once, in a graph of their own. */
static void run_differences(check *k, en_graph *g, en_ref logits)
{
    const en_shape *s = en_shape_of(g, k->layer->ref);
    size_t floats = en_image_floats(s), row = en_image_floats(en_shape_of(g, logits));
    en_copy_outside(g, 0, k->ctx->model.graph, k->image);
    for (size_t i = 0; i < POINTS * floats; i++)
        en_value(g, k->layer->ref)[i] = (float)((1 + at[i / floats] * step) * (double)activation(k)[i % floats]);
    en_forward_tail(g, 0, 0);
    en_seed(g, 0, 1, 1);
    for (size_t i = 0; i < POINTS; i++)
        cam_utility_at(k->aim, en_value(g, logits) + i * row, k->ctx->net->classes, NULL, en_adjoint(g, logits, 0, 1) + i * row, NULL);
    en_reverse(g);
    const float *gradient = en_adjoint(g, k->layer->ref, 0, 1);
    for (size_t c = 0; c < (size_t)k->layer->c; c++)
        for (size_t p = 0; p < k->positions; p++) {
            double sum = 0;
            for (size_t i = 0; i < POINTS; i++) sum += weight[i] * (double)gradient[i * floats + place(k, s, c, p)];
            k->other[c * k->positions + p] = sum / (12 * step);
        }
}

static en_status by_differences(check *k, en_error *e)
{
    cam_ctx *c = k->ctx;
    net_model m;
    EN_TRY(net_model_build(c->net->arch, c->net->classes, POINTS, c->height, c->width, c->net->params, &m, e));
    en_cut(m.graph, &k->layer->ref, 1);
    en_status status = en_graph_finish(m.graph, &(en_options){.pool = c->pool, .exact = c->exact, .seeds = 1, .first_order = 1, .tail_only = 1}, e);
    if (status == EN_OK) run_differences(k, m.graph, m.logits);
    net_model_free(&m);
    return status;
}

/* Logits of the tail for COLUMNS channels from `first` on, each 1 at all positions and alone; channels past the last one are silence. */
static void run_columns(const check *k, size_t first)
{
    en_graph *g = k->ctx->tail.graph;
    const en_shape *s = en_shape_of(g, k->layer->ref);
    float *a = en_value(g, k->layer->ref);
    memset(a, 0, en_floats(s) * sizeof *a);
    for (size_t i = 0; i < COLUMNS && first + i < (size_t)k->layer->c; i++)
        for (size_t p = 0; p < k->positions; p++) a[i * en_image_floats(s) + place(k, s, first + i, p)] = 1;
    en_forward_tail(g, 0, 0);
}

static en_status in_closed_form(check *k, en_error *e)
{
    cam_ctx *c = k->ctx;
    size_t classes = (size_t)c->net->classes, channels = (size_t)k->layer->c;
    const float *o = c->logits + (size_t)k->image * classes;
    EN_TRY(cam_fit_tail(c, k->layer, COLUMNS, e));
    float *b = malloc(3 * classes * sizeof *b), *moved = b + classes, *hvp = moved + classes;
    if (!b) return en_fail(e, EN_E_NOMEM, "check: out of memory");
    const float *run = en_value(c->tail.graph, c->tail.logits);
    size_t row = en_image_floats(en_shape_of(c->tail.graph, c->tail.logits));
    run_columns(k, channels); /* silence */
    memcpy(b, run, classes * sizeof *b);
    for (size_t i = 0; i < classes; i++) moved[i] = o[i] - b[i];
    cam_utility_at(k->aim, o, (int)classes, moved, NULL, hvp);
    for (size_t first = 0; first < channels; first += COLUMNS) {
        run_columns(k, first);
        for (size_t i = 0; i < COLUMNS && first + i < channels; i++) {
            double sum = 0;
            for (size_t j = 0; j < classes; j++) sum += (double)hvp[j] * ((double)run[i * row + j] - (double)b[j]);
            for (size_t p = 0; p < k->positions; p++) k->other[(first + i) * k->positions + p] = sum / (double)k->positions;
        }
    }
    free(b);
    return EN_OK;
}

static double norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* |other - product|, as a share of |H A|, or of |G| where H A is 0. */
static double distance(const check *k)
{
    size_t n = (size_t)k->layer->c * k->positions;
    double sum = 0, size = norm(k->product, n);
    for (size_t i = 0; i < n; i++) sum += (k->other[i] - (double)k->product[i]) * (k->other[i] - (double)k->product[i]);
    if (!(size > 0)) size = norm(k->gradient, n);
    return size > 0 ? sqrt(sum) / size : sqrt(sum);
}

cam_status cam_check_hvp(cam_ctx *c, int32_t image, int32_t request, cam_hvp_check *out, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    if (out->size < sizeof *out) return en_fail(e, EN_E_ARG, "check: size is %u, want sizeof(cam_hvp_check)", out->size);
    check k = {.ctx = c, .image = image, .gradient = cam_gradient(c, image, request), .product = cam_hvp_activation(c, image, request)};
    if (!k.gradient || !k.product)
        return en_fail(e, EN_E_ARG, "check: request %d of image %d, want one of the last cam_explain with a Hessian-vector product at each position", request, image);
    const cam_job *j = cam_job_at(c, image, request);
    k.layer = &c->layers[j->layer[0]];
    k.positions = (size_t)k.layer->h * (size_t)k.layer->w;
    k.aim = cam_aim_of(c, image, j->aim);
    k.aim.rival = cam_rival_of(c->logits + (size_t)image * (size_t)c->net->classes, c->net->classes, k.aim);
    k.other = malloc((size_t)k.layer->c * k.positions * sizeof *k.other);
    if (!k.other) return en_fail(e, EN_E_NOMEM, "check: out of memory");
    en_graph *g = c->model.graph;
    int affine = en_tail_curvature(g, k.layer->cut) == EN_AFFINE && (k.positions == 1 || en_only_pooled(g, k.layer->ref)) && !k.layer->skip;
    out->norm = norm(k.product, (size_t)k.layer->c * k.positions);
    out->closed_form = -1;
    en_status status = by_differences(&k, e);
    if (status == EN_OK) out->differences = distance(&k);
    if (status == EN_OK && affine) status = in_closed_form(&k, e);
    if (status == EN_OK && affine) out->closed_form = distance(&k);
    free(k.other);
    return status;
}
