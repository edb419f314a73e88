/* SPDX-License-Identifier: MIT */
/* AblationCAM and ScoreCAM. */
#include "cam/perturb.h"

#include "engine/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { ABLATIONS = 32, MASKS = 16 }; /* channels in one batch */

/* Writes the logits of the first `count` images of a finished run, [count][classes]. */
static void take_logits(const cam_ctx *c, const net_model *model, int count, float *out)
{
    const float *logits = en_value(model->graph, model->logits);
    size_t row = en_image_floats(en_shape_of(model->graph, model->logits)), classes = (size_t)c->net->classes;
    for (size_t i = 0; i < (size_t)count; i++) memcpy(out + i * classes, logits + i * row, classes * sizeof *out);
}

/* What an ablated channel becomes: 0, or what the library has for one channel at a time. */
static float ablation_value(const cam_site_layer *l, const float *a, unsigned kind)
{
    size_t floats = (size_t)l->c * (size_t)l->h * (size_t)l->w;
    float least = a[0];
    for (size_t i = 1; i < floats; i++) least = a[i] < least ? a[i] : least;
    return kind & CAM_FAR_BELOW && least != 0 ? (float)((double)least - 1e7) : 0;
}

static en_status try_ablations(cam_ctx *c, const cam_site_layer *l, int image, unsigned kind, float *out, en_error *e)
{
    EN_TRY(cam_fit_tail(c, l, ABLATIONS, e));
    en_graph *g = c->tail.graph;
    const en_shape *s = en_shape_of(g, l->ref);
    size_t floats = en_image_floats(s), pixels = en_block_floats(s) / EN_LANES;
    const float *whole = en_value(c->model.graph, l->ref) + (size_t)image * floats;
    float *copies = en_value(g, l->ref);
    float value = ablation_value(l, l->activation + (size_t)image * (size_t)l->c * (size_t)l->h * (size_t)l->w, kind);
    en_copy_outside(g, 0, c->model.graph, image);
    for (int k = 0; k < l->c; k += ABLATIONS) {
        int count = l->c - k < ABLATIONS ? l->c - k : ABLATIONS;
        for (int i = 0; i < ABLATIONS; i++) {
            float *a = memcpy(copies + (size_t)i * floats, whole, floats * sizeof *a);
            float *channel = a + (size_t)((k + i) / EN_LANES) * pixels * EN_LANES + (k + i) % EN_LANES;
            for (size_t p = 0; p < pixels && i < count; p++) channel[p * EN_LANES] = value;
        }
        en_forward_tail(g, 0, 0);
        take_logits(c, &c->tail, count, out + (size_t)k * (size_t)c->net->classes);
    }
    return EN_OK;
}

/* One axis of an enlargement that keeps the corners: destination d of `size` is `t` of the way from source i to i + 1. */
static int corner_at(int d, int size, int source, double *t)
{
    double f = size > 1 ? (double)d * (source - 1) / (size - 1) : 0;
    int i = (int)f < source - 1 ? (int)f : source > 1 ? source - 2 : 0;
    *t = source > 1 ? f - i : 0;
    return i;
}

/* A channel [h,w], enlarged and scaled to 0 .. 1; a constant one becomes 0. */
static void mask_of(const float *a, int h, int w, int height, int width, double *mask)
{
    double least = INFINITY, most = -INFINITY;
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            double fy, fx;
            int i = corner_at(y, height, h, &fy), k = corner_at(x, width, w, &fx), below = i + 1 < h ? w : 0, right = k + 1 < w;
            const float *p = a + i * w + k;
            double top = (1 - fx) * (double)p[0] + fx * (double)p[right], bottom = (1 - fx) * (double)p[below] + fx * (double)p[below + right];
            double v = mask[y * width + x] = (1 - fy) * top + fy * bottom;
            least = v < least ? v : least;
            most = v > most ? v : most;
        }
    for (int i = 0; i < height * width; i++) mask[i] = (mask[i] - least) / (most - least + 1e-8);
}

/* A graph for MASKS inputs, without cuts. */
static en_status fit_masks(cam_ctx *c, net_model *model, en_error *e)
{
    EN_TRY(net_model_build(c->net->arch, c->net->classes, MASKS, c->height, c->width, c->net->params, model, e));
    en_status status = en_graph_finish(model->graph, &(en_options){.pool = c->pool, .exact = c->exact}, e);
    if (status != EN_OK) net_model_free(model);
    return status;
}

static en_status try_masks(cam_ctx *c, const cam_site_layer *l, cam_input in, int image, float *out, en_error *e)
{
    size_t cells = (size_t)l->h * (size_t)l->w, pixels = (size_t)in.height * (size_t)in.width;
    const float *a = l->activation + (size_t)image * (size_t)l->c * cells, *x = in.nchw + (size_t)image * 3 * pixels;
    net_model model;
    EN_TRY(fit_masks(c, &model, e));
    double *mask = malloc(pixels * sizeof *mask);
    float *masked = malloc(MASKS * 3 * pixels * sizeof *masked);
    en_status status = mask && masked ? EN_OK : en_fail(e, EN_E_NOMEM, "scorecam: out of memory");
    for (int k = 0; k < l->c && status == EN_OK; k += MASKS) {
        int count = l->c - k < MASKS ? l->c - k : MASKS;
        for (int i = 0; i < MASKS; i++) { /* the last batch is filled up with its last channel */
            mask_of(a + (size_t)(i < count ? k + i : k + count - 1) * cells, l->h, l->w, in.height, in.width, mask);
            for (size_t p = 0; p < 3 * pixels; p++) masked[(size_t)i * 3 * pixels + p] = (float)((double)x[p] * mask[p % pixels]);
        }
        en_store(en_shape_of(model.graph, model.input), masked, en_value(model.graph, model.input));
        en_forward(model.graph, EN_NONE, NULL);
        take_logits(c, &model, count, out + (size_t)k * (size_t)c->net->classes);
    }
    free(mask);
    free(masked);
    net_model_free(&model);
    return status;
}

void cam_forget_trials(cam_ctx *c)
{
    for (cam_trials *t = c->trials, *next; t; t = next) {
        next = t->next;
        free(t);
    }
    c->trials = NULL;
}

/* The logits of a kind of trials at a layer; they may be there already, from another class or utility. */
static en_status try_channels(cam_ctx *c, unsigned kind, int layer, cam_input in, int image, const float **logits, en_error *e)
{
    const cam_site_layer *l = &c->layers[layer];
    cam_trials *t = c->trials;
    while (t && (t->kind != kind || t->layer != layer)) t = t->next;
    if (t) return *logits = t->logits, EN_OK;
    t = malloc(sizeof *t + (size_t)l->c * (size_t)c->net->classes * sizeof *t->logits);
    if (!t) return en_fail(e, EN_E_NOMEM, "layer %s: no memory for logits of %d channels", l->name, l->c);
    en_status status = kind == CAM_SCORE ? try_masks(c, l, in, image, t->logits, e) : try_ablations(c, l, image, kind, t->logits, e);
    if (status != EN_OK) return free(t), status;
    t->kind = kind;
    t->layer = layer;
    t->next = c->trials;
    c->trials = t;
    return *logits = t->logits, EN_OK;
}

static void softmax(double *x, int n)
{
    double most = x[0], sum = 0;
    for (int i = 1; i < n; i++) most = x[i] > most ? x[i] : most;
    for (int i = 0; i < n; i++) sum += x[i] = en_exp(x[i] - most);
    for (int i = 0; i < n; i++) x[i] /= sum;
}

en_status cam_tried_weights(cam_ctx *c, const cam_job *j, int k, cam_input in, int image, double **weights, en_error *e)
{
    int channels = c->layers[j->layer[k]].c, classes = c->net->classes;
    unsigned kind = j->method->needs & (CAM_SCORE | CAM_ABLATION | CAM_FAR_BELOW);
    const float *logits = c->logits + (size_t)image * (size_t)classes;
    cam_aim aim = cam_aim_of(c, image, j->aim);
    aim.rival = cam_rival_of(logits, classes, aim); /* the same one for every channel */
    double u = cam_utility_at(aim, logits, classes, NULL, NULL, NULL);
    const float *tried = NULL;
    EN_TRY(try_channels(c, kind, j->layer[k], in, image, &tried, e));
    double *w = *weights = malloc((size_t)channels * sizeof *w);
    if (!w) return en_fail(e, EN_E_NOMEM, "%s: out of memory", j->method->name);
    for (int i = 0; i < channels; i++) {
        w[i] = cam_utility_at(aim, tried + (size_t)i * (size_t)classes, classes, NULL, NULL, NULL);
        if (kind & CAM_ABLATION) w[i] = u != 0 ? (u - w[i]) / u : u - w[i];
    }
    if (kind & CAM_SCORE) softmax(w, channels);
    return EN_OK;
}
