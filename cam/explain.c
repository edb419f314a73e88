/* SPDX-License-Identifier: MIT */
/* Cut, sweep, combine. The network is cut at the layers that are to be explained; one forward pass gives logits and activations, with
 * tangents along the activation where a Hessian-vector product is wanted; one reverse pass over the tail gives gradients and products for
 * up to CAM_SEEDS pairs of utility and class; the table of methods combines them into maps. */
#include "cam/perturb.h"
#include "weights/seeded.h"

#include <math.h>
#include <stdio.h>
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

static void forget_results(cam_ctx *c)
{
    for (int i = 0; i < c->pair_count; i++) {
        free(c->pairs[i].gradient);
        free(c->pairs[i].hvp_activation);
        free(c->pairs[i].value);
    }
    for (int i = 0; i < c->job_count; i++) {
        free(c->jobs[i].raw);
        free(c->jobs[i].map);
        free(c->jobs[i].result);
    }
    for (int i = 0; i < c->layer_count; i++) {
        free(c->layers[i].activation);
        c->layers[i].activation = NULL;
    }
    free(c->pairs);
    free(c->jobs);
    free(c->logits);
    free(c->top);
    c->pairs = NULL;
    c->jobs = NULL;
    c->logits = NULL;
    c->top = NULL;
    c->pair_count = c->job_count = c->explained = 0;
}

void cam_ctx_free(cam_ctx *c)
{
    if (!c) return;
    forget_results(c);
    net_model_free(&c->model);
    net_model_free(&c->tail);
    en_pool_free(c->pool);
    free(c);
}

size_t cam_ctx_bytes(const cam_ctx *c) { return c->model.graph ? en_graph_bytes(c->model.graph) : 0; }

/* ---- the graph ---- */

/* Makes the context's graph fit the input's size and these layers; keeps the one it has if it does. */
static en_status fit_graph(cam_ctx *c, cam_input in, const cam_site_layer *layers, int count, en_error *e)
{
    int same = c->model.graph && c->n == in.n && c->height == in.height && c->width == in.width && c->layer_count == count;
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
    en_status status = en_graph_finish(c->model.graph, &(en_options){.pool = c->pool, .exact = c->exact, .seeds = count ? CAM_SEEDS : 0}, e);
    if (status != EN_OK) {
        net_model_free(&c->model);
        return status;
    }
    c->layer_count = count;
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

static en_status check_input(cam_input in, en_error *e)
{
    if (!in.nchw || in.n < 1) return en_fail(e, EN_E_ARG, "input: a batch of %d images, want at least 1", in.n);
    return EN_OK;
}

/* Runs the graph; afterwards c->logits and c->top are there. */
static en_status run_forward(cam_ctx *c, cam_input in, int cut, en_error *e)
{
    size_t classes = (size_t)c->net->classes;
    c->ranks = 1;
    for (int i = 0; i < c->job_count; i++)
        if (-c->jobs[i].cls > c->ranks) c->ranks = -c->jobs[i].cls;
    c->logits = malloc((size_t)c->n * classes * sizeof *c->logits);
    c->top = malloc((size_t)c->n * (size_t)c->ranks * sizeof *c->top);
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
    EN_TRY(check_input(in, e));
    forget_results(c);
    EN_TRY(fit_graph(c, in, NULL, 0, e));
    EN_TRY(run_forward(c, in, EN_NONE, e));
    memcpy(logits, c->logits, (size_t)c->n * (size_t)c->net->classes * sizeof *logits);
    return EN_OK;
}

/* ---- requests ---- */

/* Finds the number of a layer in `layers`; adds it if it is new. */
static en_status layer_number(const cam_ctx *c, const char *asked, cam_site_layer *layers, int *count, int *number, en_error *e)
{
    en_ref ref = net_model_layer(&c->net->shape, asked ? asked : "", e);
    if (ref == EN_NONE) return EN_E_ARG;
    for (*number = 0; *number < *count; ++*number) /* a layer may have several names */
        if (layers[*number].ref == ref) return EN_OK;
    if (*count == CAM_MAX_LAYERS) return en_fail(e, EN_E_LIMIT, "more than %d layers at once", CAM_MAX_LAYERS);
    layers[*count] = (cam_site_layer){.ref = ref};
    snprintf(layers[*count].name, sizeof layers->name, "%s", cam_net_layer_name(c->net, asked));
    ++*count;
    return EN_OK;
}

static int pair_number(cam_ctx *c, const cam_job *j, int hvp)
{
    int i = 0;
    while (i < c->pair_count && (c->pairs[i].layer != j->layer || c->pairs[i].utility != j->utility || c->pairs[i].cls != j->cls)) i++;
    if (i == c->pair_count) c->pairs[c->pair_count++] = (cam_pair){.layer = j->layer, .utility = j->utility, .cls = j->cls};
    c->pairs[i].hvp |= hvp;
    return i;
}

static en_status read_request(cam_ctx *c, const cam_request *r, cam_site_layer *layers, int *layer_count, en_error *e)
{
    cam_job j = {.method = r->method ? cam_method_find(r->method) : NULL, .pair = -1, .cls = r->cls, .seed = r->seed, .smooth = (r->flags & CAM_EIGEN_SMOOTH) != 0};
    if (r->size < sizeof *r) return en_fail(e, EN_E_ARG, "request: size is %u, want sizeof(cam_request)", r->size);
    if (!j.method) return en_fail(e, EN_E_ARG, "no method is called '%s'", r->method ? r->method : "");
    j.utility = r->utility ? cam_utility_find(r->utility) : CAM_UTILITIES;
    if (j.utility == CAM_UTILITIES) return en_fail(e, EN_E_ARG, "no utility is called '%s': want one of cam_list(\"utilities\")", r->utility ? r->utility : "");
    if (j.method->utility >= 0) j.utility = (cam_utility)j.method->utility;
    if (j.cls >= c->net->classes || j.cls < -c->net->classes) return en_fail(e, EN_E_ARG, "class %d: want 0 to %d, or -1 for the best and so on", j.cls, c->net->classes - 1);
    EN_TRY(layer_number(c, r->layer, layers, layer_count, &j.layer, e));
    snprintf(j.layer_name, sizeof j.layer_name, "%s", r->layer);
    int hvp = (j.method->needs & CAM_HVP) || (r->flags & CAM_WITH_HVP);
    if (j.method->needs & (CAM_GRAD | CAM_HVP) || (j.method->needs && hvp)) j.pair = pair_number(c, &j, hvp);
    c->jobs[c->job_count++] = j;
    return EN_OK;
}

int cam_class_of(const cam_ctx *c, int n, int cls) { return cls >= 0 ? cls : c->top[n * c->ranks - 1 - cls]; }

/* ---- sweeps ---- */

static size_t layer_floats(const cam_ctx *c, int layer)
{
    const cam_site_layer *l = &c->layers[layer];
    return (size_t)c->n * (size_t)l->c * (size_t)l->h * (size_t)l->w;
}

/* A stored value of a layer, as [n][C,H,W]; a class token is left out. */
static en_status load(cam_ctx *c, int layer, const float *stored, float **out, en_error *e)
{
    *out = malloc(layer_floats(c, layer) * sizeof **out);
    if (!*out) return en_fail(e, EN_E_NOMEM, "layer %s: out of memory", c->layers[layer].name);
    const cam_site_layer *l = &c->layers[layer];
    const en_shape *s = en_shape_of(c->model.graph, l->ref);
    if (!l->skip) return en_load(s, stored, *out), EN_OK;
    size_t kept = (size_t)l->h * (size_t)l->w, tokens = kept + 1, rows = (size_t)c->n * (size_t)l->c;
    float *all = malloc(rows * tokens * sizeof *all);
    if (!all) return en_fail(e, EN_E_NOMEM, "layer %s: out of memory", l->name);
    en_load(s, stored, all);
    for (size_t i = 0; i < rows; i++) memcpy(*out + i * kept, all + i * tokens + 1, kept * sizeof *all);
    free(all);
    return EN_OK;
}

/* Writes gradient and Hessian-vector product of the pair's utility at the logits into a seed. */
static void fill_seed(cam_ctx *c, const cam_pair *p, int seed, int order, double *value)
{
    en_graph *g = c->model.graph;
    en_ref y = c->model.logits;
    size_t classes = (size_t)c->net->classes, row = en_image_floats(en_shape_of(g, y)); /* one pixel: features lie in order */
    for (int n = 0; n < c->n; n++) {
        const float *direction = order > 1 ? en_tangent(g, y) + (size_t)n * row : NULL;
        float *gy = en_adjoint(g, y, seed, 1) + (size_t)n * row, *dgy = order > 1 ? en_adjoint(g, y, seed, 2) + (size_t)n * row : NULL;
        double u = cam_utility_at(p->utility, c->logits + (size_t)n * classes, (int)classes, cam_class_of(c, n, p->cls), direction, gy, dgy);
        if (value) value[n] = u;
    }
}

/* One reverse pass for the pairs of one layer listed in `which`. */
static en_status sweep_pairs(cam_ctx *c, int layer, const int *which, int count, en_error *e)
{
    en_graph *g = c->model.graph;
    const cam_site_layer *l = &c->layers[layer];
    int order = 1;
    for (int i = 0; i < count; i++)
        if (c->pairs[which[i]].hvp) order = 2;
    en_seed(g, l->cut, count, order);
    for (int i = 0; i < count; i++) {
        cam_pair *p = &c->pairs[which[i]];
        p->value = malloc((size_t)c->n * sizeof *p->value);
        if (!p->value) return en_fail(e, EN_E_NOMEM, "layer %s: out of memory", l->name);
        fill_seed(c, p, i, order, p->value);
    }
    en_reverse(g);
    for (int i = 0; i < count; i++) {
        cam_pair *p = &c->pairs[which[i]];
        EN_TRY(load(c, layer, en_adjoint(g, l->ref, i, 1), &p->gradient, e));
        if (p->hvp) EN_TRY(load(c, layer, en_adjoint(g, l->ref, i, 2), &p->hvp_activation, e));
    }
    return EN_OK;
}

static en_status sweep_layer(cam_ctx *c, int layer, int has_tangents, en_error *e)
{
    en_graph *g = c->model.graph;
    cam_site_layer *l = &c->layers[layer];
    EN_TRY(load(c, layer, en_value(g, l->ref), &l->activation, e));
    int which[CAM_SEEDS], count = 0, hvp = 0;
    for (int i = 0; i < c->pair_count; i++) hvp |= c->pairs[i].layer == layer && c->pairs[i].hvp;
    if (hvp && !has_tangents) {
        memcpy(en_tangent(g, l->ref), en_value(g, l->ref), en_floats(en_shape_of(g, l->ref)) * sizeof(float));
        en_forward_tangents(g, l->cut);
    }
    for (int i = 0; i < c->pair_count; i++) {
        if (c->pairs[i].layer == layer) which[count++] = i;
        if (count == CAM_SEEDS || (count && i == c->pair_count - 1)) {
            EN_TRY(sweep_pairs(c, layer, which, count, e));
            count = 0;
        }
    }
    return EN_OK;
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

/* ---- maps ---- */

static double norm(const float *x, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += (double)x[i] * (double)x[i];
    return sqrt(sum);
}

/* What is known of a map before looking at its numbers, from the graph: where the Hessian vanishes, and where gradients do not depend on
 * the position. */
static void say_by_construction(const cam_ctx *c, const cam_job *j, cam_result *r)
{
    const cam_site_layer *l = &c->layers[j->layer];
    if (j->smooth) return; /* signs of principal components may differ */
    if (j->method->needs & CAM_HVP && cam_utility_is_linear(j->utility) && en_tail_curvature(c->model.graph, l->cut) != EN_CURVED) {
        r->hvp_zero = 1;
        r->same_as = j->method->first_order;
        r->because = "behind this layer the logit is piecewise linear, so its Hessian is exactly zero";
    } else if (j->method->where_flat && en_only_pooled(c->model.graph, l->ref)) {
        r->same_as = j->method->where_flat;
        r->because = "behind this layer comes only a global average, so gradients are the same at every position";
    }
}

/* What a layer is called in streams of random numbers: the preset if it is one, however it was asked for. */
static const char *stream_name(const cam_ctx *c, const cam_site_layer *l)
{
    const net_arch *a = c->net->arch;
    return !strcmp(l->name, a->pre_pool) ? "pre_pool" : !strcmp(l->name, a->conv) ? "conv" : l->name;
}

/* Channel weights of the methods that find them by trying; *weights is NULL for the others. The caller frees. */
static en_status try_weights(cam_ctx *c, const cam_job *j, cam_input in, int n, double **weights, en_error *e)
{
    *weights = NULL;
    if (!(j->method->needs & (CAM_ABLATION | CAM_SCORE))) return EN_OK;
    *weights = malloc((size_t)c->layers[j->layer].c * sizeof **weights);
    if (!*weights) return en_fail(e, EN_E_NOMEM, "%s: out of memory", j->method->name);
    return j->method->needs & CAM_SCORE ? cam_score_weights(c, j, in, n, *weights, e) : cam_ablation_weights(c, j, n, *weights, e);
}

static en_status make_map(cam_ctx *c, cam_job *j, cam_input in, int n, en_error *e)
{
    const cam_site_layer *l = &c->layers[j->layer];
    const cam_pair *p = j->pair >= 0 ? &c->pairs[j->pair] : NULL;
    size_t cells = (size_t)l->h * (size_t)l->w, floats = (size_t)l->c * cells, pixels = (size_t)c->height * (size_t)c->width;
    char stream[112];
    snprintf(stream, sizeof stream, "randomcam/%s", stream_name(c, l));
    cam_site site = {.a = l->activation + (size_t)n * floats, .channels = (size_t)l->c, .positions = cells,
                     .stream = wt_seeded_stream(stream, j->seed)};
    if (p) site.g = p->gradient + (size_t)n * floats;
    if (p && p->hvp) site.h = p->hvp_activation + (size_t)n * floats;
    double *raw = j->raw + (size_t)n * cells;
    cam_result *r = &j->result[n];
    double *weights;
    en_status status = try_weights(c, j, in, n, &weights, e);
    site.weights = weights;
    if (status == EN_OK) status = cam_method_map(j->method, &site, j->smooth, raw, e);
    free(weights);
    EN_TRY(status);
    EN_TRY(cam_finish_map(raw, l->h, l->w, j->map + (size_t)n * pixels, c->height, c->width, e));
    const float *logits = c->logits + (size_t)n * (size_t)c->net->classes;
    *r = (cam_result){.cls = cam_class_of(c, n, j->cls), .height = l->h, .width = l->w, .hvp_ratio = -1};
    r->status = (int32_t)cam_judge_map(raw, cells, &r->positive, &r->negative);
    r->logit = logits[r->cls];
    r->probability = (float)cam_utility_at(CAM_SOFTMAX, logits, c->net->classes, r->cls, NULL, NULL, NULL);
    r->utility = cam_utility_at(j->utility, logits, c->net->classes, r->cls, NULL, NULL, NULL);
    double g = p ? norm(site.g, floats) : 0;
    if (j->method->needs & CAM_HVP) r->hvp_ratio = g > 0 ? norm(site.h, floats) / g : 0;
    say_by_construction(c, j, r);
    return EN_OK;
}

static en_status make_maps(cam_ctx *c, cam_input in, cam_result *results, en_error *e)
{
    for (int i = 0; i < c->job_count; i++) {
        cam_job *j = &c->jobs[i];
        const cam_site_layer *l = &c->layers[j->layer];
        size_t n = (size_t)c->n;
        j->raw = malloc(n * (size_t)l->h * (size_t)l->w * sizeof *j->raw);
        j->map = malloc(n * (size_t)c->height * (size_t)c->width * sizeof *j->map);
        j->result = malloc(n * sizeof *j->result);
        if (!j->raw || !j->map || !j->result) return en_fail(e, EN_E_NOMEM, "maps: out of memory");
        for (int k = 0; k < c->n; k++) {
            EN_TRY(make_map(c, j, in, k, e));
            results[(size_t)k * (size_t)c->job_count + (size_t)i] = j->result[k];
        }
    }
    return EN_OK;
}

static en_status explain(cam_ctx *c, cam_input in, const cam_request *requests, int count, cam_result *results, en_error *e)
{
    cam_site_layer layers[CAM_MAX_LAYERS];
    int layer_count = 0;
    c->jobs = calloc((size_t)count, sizeof *c->jobs);
    c->pairs = calloc((size_t)count, sizeof *c->pairs);
    if (!c->jobs || !c->pairs) return en_fail(e, EN_E_NOMEM, "%d requests: out of memory", count);
    for (int i = 0; i < count; i++) EN_TRY(read_request(c, &requests[i], layers, &layer_count, e));
    EN_TRY(fit_graph(c, in, layers, layer_count, e));
    int hvp = 0; /* tangents of the first layer ride along with the values */
    for (int i = 0; i < c->pair_count; i++) hvp |= c->pairs[i].layer == 0 && c->pairs[i].hvp;
    EN_TRY(run_forward(c, in, hvp ? c->layers[0].cut : EN_NONE, e));
    for (int i = 0; i < layer_count; i++) EN_TRY(sweep_layer(c, i, i == 0 && hvp, e));
    EN_TRY(make_maps(c, in, results, e));
    c->explained = 1;
    return EN_OK;
}

cam_status cam_explain(cam_ctx *c, cam_input in, const cam_request *requests, int32_t count, cam_result *results, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    EN_TRY(check_input(in, e));
    if (count < 1) return en_fail(e, EN_E_ARG, "%d requests, want at least 1", count);
    forget_results(c);
    en_status status = explain(c, in, requests, count, results, e);
    if (status != EN_OK) forget_results(c);
    return status;
}

/* ---- what the last call left ---- */

const float *cam_logits(const cam_ctx *c, int32_t image)
{
    return c->logits && image >= 0 && image < c->n ? c->logits + (size_t)image * (size_t)c->net->classes : NULL;
}

static const cam_job *job_at(const cam_ctx *c, int32_t image, int32_t request)
{
    return c->explained && image >= 0 && image < c->n && request >= 0 && request < c->job_count ? &c->jobs[request] : NULL;
}

const float *cam_map(const cam_ctx *c, int32_t image, int32_t request)
{
    const cam_job *j = job_at(c, image, request);
    return j ? j->map + (size_t)image * (size_t)c->height * (size_t)c->width : NULL;
}

const double *cam_raw_map(const cam_ctx *c, int32_t image, int32_t request)
{
    const cam_job *j = job_at(c, image, request);
    return j ? j->raw + (size_t)image * (size_t)c->layers[j->layer].h * (size_t)c->layers[j->layer].w : NULL;
}

const float *cam_activation(const cam_ctx *c, int32_t image, int32_t request, int32_t chw[3])
{
    const cam_job *j = job_at(c, image, request);
    if (!j) return NULL;
    const cam_site_layer *l = &c->layers[j->layer];
    if (chw) chw[0] = l->c, chw[1] = l->h, chw[2] = l->w;
    return l->activation + layer_floats(c, j->layer) / (size_t)c->n * (size_t)image;
}

static const float *derivative(const cam_ctx *c, int32_t image, int32_t request, int order)
{
    const cam_job *j = job_at(c, image, request);
    if (!j || j->pair < 0) return NULL;
    const float *all = order == 1 ? c->pairs[j->pair].gradient : c->pairs[j->pair].hvp_activation;
    return all ? all + layer_floats(c, j->layer) / (size_t)c->n * (size_t)image : NULL;
}

const float *cam_gradient(const cam_ctx *c, int32_t image, int32_t request) { return derivative(c, image, request, 1); }
const float *cam_hvp_activation(const cam_ctx *c, int32_t image, int32_t request) { return derivative(c, image, request, 2); }

/* ---- other directions and activations ---- */

cam_status cam_hvp(cam_ctx *c, int32_t request, const float *vector, float *product, cam_error *error)
{
    const cam_job *j = job_at(c, 0, request);
    if (!j || j->pair < 0) return en_fail(cam_engine_error(error), EN_E_ARG, "request %d: want one of the last cam_explain that has a utility", request);
    en_graph *g = c->model.graph;
    const cam_site_layer *l = &c->layers[j->layer];
    const en_shape *s = en_shape_of(g, l->ref);
    en_store(s, vector, en_tangent(g, l->ref));
    en_forward_tangents(g, l->cut);
    en_seed(g, l->cut, 1, 2);
    fill_seed(c, &c->pairs[j->pair], 0, 2, NULL);
    en_reverse(g);
    en_load(s, en_adjoint(g, l->ref, 0, 2), product);
    return EN_OK;
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
