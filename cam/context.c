/* SPDX-License-Identifier: MIT */
/* Contexts: the graph that fits an input and the layers that are explained, the tail alone, and what the last call left. */
#include "cam/perturb.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- contexts ---- */

cam_status cam_ctx_new(const cam_net *net, const cam_options *options, cam_ctx **out, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    *out = NULL;
    if (options && options->size < sizeof *options)
        return en_fail(e, EN_E_ARG, "context: size of the options is %u, want sizeof(cam_options)", options->size);
    cam_ctx *c = *out = calloc(1, sizeof *c);
    if (!c) return en_fail(e, EN_E_NOMEM, "context: out of memory");
    c->net = net;
    c->exact = options && options->flags & CAM_EXACT;
    en_status status = net->params ? EN_OK : en_fail(e, EN_E_ARG, "%s: opened without weights, so it cannot run", net->arch->name);
    if (status == EN_OK) status = en_pool_new(options ? options->threads : 0, &c->pool, e);
    if (status != EN_OK) {
        free(c);
        *out = NULL;
    }
    return status;
}

void *cam_take(cam_ctx *c, size_t bytes)
{
    cam_room *r = c->rooms;
    while (r && (r->taken || r->bytes != bytes)) r = r->next;
    if (!r) {
        r = bytes < SIZE_MAX - sizeof *r - 64 ? aligned_alloc(64, (sizeof *r + bytes + 63) / 64 * 64) : NULL;
        if (!r) return NULL;
        *r = (cam_room){.next = c->rooms, .bytes = bytes};
        c->rooms = r;
    }
    r->taken = 1;
    return r->data;
}

/* What the call before had no use for is given back. */
static void leave_rooms(cam_ctx *c)
{
    for (cam_room **at = &c->rooms, *r; (r = *at);) {
        if (r->taken) {
            r->taken = 0;
            at = &r->next;
        } else {
            *at = r->next;
            free(r);
        }
    }
}

void cam_forget_results(cam_ctx *c)
{
    leave_rooms(c);
    for (int i = 0; i < c->layer_count; i++) c->layers[i].activation = NULL;
    cam_forget_trials(c);
    c->pairs = NULL;
    c->jobs = NULL;
    c->logits = NULL;
    c->top = NULL;
    c->pair_count = c->job_count = c->explained = 0;
}

void cam_ctx_free(cam_ctx *c)
{
    if (!c) return;
    cam_forget_results(c);
    leave_rooms(c);
    net_model_free(&c->model);
    net_model_free(&c->tail);
    cam_ctx_free(c->inner);
    if (!c->outer) en_pool_free(c->pool);
    free(c);
}

size_t cam_ctx_bytes(const cam_ctx *c)
{
    return (c->model.graph ? en_graph_bytes(c->model.graph) : 0) + (c->inner ? cam_ctx_bytes(c->inner) : 0);
}

/* ---- the graph ---- */

en_status cam_fit_graph(cam_ctx *c, cam_input in, const cam_site_layer *layers, int count, int seeds, int first_order, en_error *e)
{
    int same = c->model.graph && c->n == in.n && c->height == in.height && c->width == in.width && c->layer_count == count &&
               c->seeds >= seeds && c->first_order <= first_order;
    for (int i = 0; same && i < count; i++) same = c->layers[i].ref == layers[i].ref;
    for (int i = 0; same && i < count; i++) memcpy(c->layers[i].name, layers[i].name, sizeof layers->name);
    if (same) return EN_OK;
    net_model_free(&c->model);
    c->layer_count = 0;
    EN_TRY(net_model_build(c->net->arch, c->net->classes, in.n, in.height, in.width, c->net->params, &c->model, e));
    for (int i = 0; i < count; i++) {
        cam_site_layer *l = &c->layers[i];
        *l = layers[i];
        l->cut = en_cut(c->model.graph, &l->ref, 1);
    }
    en_status status = en_graph_finish(c->model.graph, &(en_options){.pool = c->pool, .exact = c->exact, .seeds = seeds, .first_order = first_order}, e);
    if (status != EN_OK) {
        net_model_free(&c->model);
        return status;
    }
    c->layer_count = count;
    c->seeds = seeds;
    c->first_order = first_order;
    c->n = in.n;
    c->height = in.height;
    c->width = in.width;
    for (int i = 0; i < count; i++) {
        cam_site_layer *l = &c->layers[i];
        const en_shape *s = en_shape_of(c->model.graph, l->ref);
        const net_layer *tokens = net_model_tokens(&c->model, l->ref);
        l->c = s->dim[1];
        l->h = tokens ? tokens->rows : s->dim[2];
        l->w = tokens ? tokens->columns : s->dim[3];
        l->skip = tokens != NULL;
    }
    return EN_OK;
}

en_status cam_check_input(cam_input in, en_error *e)
{
    if (!in.nchw || in.n < 1) return en_fail(e, EN_E_ARG, "input: a batch of %d images, want at least 1", in.n);
    return EN_OK;
}

en_status cam_run_forward(cam_ctx *c, cam_input in, int cut, en_error *e)
{
    size_t classes = (size_t)c->net->classes;
    c->ranks = 1;
    for (int i = 0; i < c->job_count; i++) {
        cam_aim a = c->jobs[i].aim;
        if (-a.cls > c->ranks) c->ranks = -a.cls;
        if (a.rival != CAM_STRONGEST && -a.rival > c->ranks) c->ranks = -a.rival;
    }
    c->logits = cam_take(c, (size_t)c->n * classes * sizeof *c->logits);
    c->top = cam_take(c, (size_t)c->n * (size_t)c->ranks * sizeof *c->top);
    if (!c->logits || !c->top) return en_fail(e, EN_E_NOMEM, "logits: out of memory");
    en_graph *g = c->model.graph;
    en_store(en_shape_of(g, c->model.input), in.nchw, en_value(g, c->model.input));
    en_forward(g, cut, NULL);
    en_load(en_shape_of(g, c->model.logits), en_value(g, c->model.logits), c->logits);
    for (int n = 0; n < c->n; n++) {
        const float *logits = c->logits + (size_t)n * classes;
        for (size_t k = 0; k < classes; k++)
            if (!isfinite(logits[k])) return en_fail(e, EN_E_NONFINITE, "image %d: logit %zu is %f, want a finite number", n, k, (double)logits[k]);
        cam_top(logits, (int32_t)classes, c->ranks, c->top + n * c->ranks);
    }
    return EN_OK;
}

cam_status cam_forward(cam_ctx *c, cam_input in, float *logits, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    EN_TRY(cam_check_input(in, e));
    cam_forget_results(c);
    EN_TRY(cam_fit_graph(c, in, NULL, 0, 0, 1, e));
    EN_TRY(cam_run_forward(c, in, EN_NONE, e));
    memcpy(logits, c->logits, (size_t)c->n * (size_t)c->net->classes * sizeof *logits);
    return EN_OK;
}

int cam_class_of(const cam_ctx *c, int n, int cls) { return cls >= 0 ? cls : c->top[n * c->ranks - 1 - cls]; }

cam_aim cam_aim_of(const cam_ctx *c, int n, cam_aim aim)
{
    return (cam_aim){aim.utility, cam_class_of(c, n, aim.cls), aim.rival == CAM_STRONGEST ? CAM_STRONGEST : cam_class_of(c, n, aim.rival)};
}

size_t cam_layer_floats(const cam_ctx *c, int layer)
{
    const cam_site_layer *l = &c->layers[layer];
    return (size_t)c->n * (size_t)l->c * (size_t)l->h * (size_t)l->w;
}

/* ---- the tail alone ---- */

en_status cam_fit_tail(cam_ctx *c, const cam_site_layer *l, int n, en_error *e)
{
    if (c->tail.graph && c->tail_layer == l->ref && c->tail_n == n && c->tail_height == c->height && c->tail_width == c->width) return EN_OK;
    net_model_free(&c->tail);
    EN_TRY(net_model_build(c->net->arch, c->net->classes, n, c->height, c->width, c->net->params, &c->tail, e));
    en_cut(c->tail.graph, &l->ref, 1);
    en_status status = en_graph_finish(c->tail.graph, &(en_options){.pool = c->pool, .exact = c->exact, .tail_only = 1}, e);
    if (status != EN_OK) net_model_free(&c->tail);
    c->tail_layer = l->ref;
    c->tail_n = n;
    c->tail_height = c->height;
    c->tail_width = c->width;
    return status;
}

cam_status cam_tail(cam_ctx *c, const char *layer, const float *activations, int32_t n, float *logits, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    en_ref ref = net_model_layer(&c->net->shape, layer ? layer : "", e);
    if (ref == EN_NONE) return EN_E_ARG;
    const cam_site_layer *l = NULL;
    for (int i = 0; i < c->layer_count && c->explained; i++)
        if (c->layers[i].ref == ref) l = &c->layers[i];
    if (!l || n < 1) return en_fail(e, EN_E_ARG, "tail of layer %s, %d activations: want a layer of the last cam_explain and at least 1", layer, n);
    EN_TRY(cam_fit_tail(c, l, n, e));
    en_graph *g = c->tail.graph;
    en_copy_outside(g, 0, c->model.graph, 0);
    en_store(en_shape_of(g, ref), activations, en_value(g, ref));
    en_forward_tail(g, 0, 0);
    en_load(en_shape_of(g, c->tail.logits), en_value(g, c->tail.logits), logits);
    return EN_OK;
}

/* ---- what the last call left ---- */

const float *cam_logits(const cam_ctx *c, int32_t image)
{
    return c->logits && image >= 0 && image < c->n ? c->logits + (size_t)image * (size_t)c->net->classes : NULL;
}

const cam_job *cam_job_at(const cam_ctx *c, int32_t image, int32_t request)
{
    return c->explained && image >= 0 && image < c->n && request >= 0 && request < c->job_count ? &c->jobs[request] : NULL;
}

const float *cam_map(const cam_ctx *c, int32_t image, int32_t request)
{
    const cam_job *j = cam_job_at(c, image, request);
    return j ? j->map + (size_t)image * (size_t)c->height * (size_t)c->width : NULL;
}

const double *cam_raw_map(const cam_ctx *c, int32_t image, int32_t request)
{
    const cam_job *j = cam_job_at(c, image, request);
    return j ? j->raw + (size_t)image * (size_t)j->h * (size_t)j->w : NULL;
}

const float *cam_activation(const cam_ctx *c, int32_t image, int32_t request, int32_t chw[3])
{
    const cam_job *j = cam_job_at(c, image, request);
    if (!j) return NULL;
    const cam_site_layer *l = &c->layers[j->layer[0]];
    if (chw) chw[0] = l->c, chw[1] = l->h, chw[2] = l->w;
    return l->activation + cam_layer_floats(c, j->layer[0]) / (size_t)c->n * (size_t)image;
}

static const float *derivative(const cam_ctx *c, int32_t image, int32_t request, int order)
{
    const cam_job *j = cam_job_at(c, image, request);
    if (!j) return NULL;
    const cam_pair *p = j->pair[0] < 0 ? NULL : &c->pairs[j->pair[0]];
    const float *all = order == 2 ? (p ? p->hvp_activation : NULL) : p ? p->gradient : j->pixels;
    return all && (!p || p->each) ? all + cam_layer_floats(c, j->layer[0]) / (size_t)c->n * (size_t)image : NULL;
}

const float *cam_gradient(const cam_ctx *c, int32_t image, int32_t request) { return derivative(c, image, request, 1); }
const float *cam_hvp_activation(const cam_ctx *c, int32_t image, int32_t request) { return derivative(c, image, request, 2); }

/* ---- small things ---- */

void cam_top(const float *logits, int32_t classes, int32_t k, int32_t *indices)
{
    for (int32_t filled = 0; filled < classes; filled++) { /* insertion into a list of the k best */
        int32_t at = filled < k ? filled : k;
        while (at > 0 && logits[filled] > logits[indices[at - 1]]) at--;
        if (at >= k) continue;
        for (int32_t i = filled < k - 1 ? filled : k - 1; i > at; i--) indices[i] = indices[i - 1];
        indices[at] = filled;
    }
}
