/* SPDX-License-Identifier: MIT */
/* Cut, sweep, combine. The network is cut at the layers that are to be explained; one forward pass gives logits and activations, with
 * tangents along the activation where a Hessian-vector product is wanted; one reverse pass over the tail gives gradients and products for
 * up to CAM_SEEDS pairs of utility and class; the table of methods combines them into maps. */
#include "cam/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

static int pair_number(cam_ctx *c, int layer, cam_aim aim, int hvp, int each)
{
    int i = 0;
    while (i < c->pair_count && (c->pairs[i].layer != layer || memcmp(&c->pairs[i].aim, &aim, sizeof aim))) i++;
    if (i == c->pair_count) c->pairs[c->pair_count++] = (cam_pair){.layer = layer, .aim = aim};
    c->pairs[i].hvp |= hvp;
    c->pairs[i].each |= each;
    return i;
}

static en_status check_class(const cam_ctx *c, int32_t cls, en_error *e)
{
    int classes = c->net->classes;
    if (cls < classes && cls >= -classes) return EN_OK;
    return en_fail(e, EN_E_ARG, "class %d: want 0 to %d, or -1 for the best and so on", cls, classes - 1);
}

/* Methods that explain other inputs, in a context of their own, and those that sweep the whole network by themselves, need no derivative
 * of a layer. */
static int sees_layer(const cam_job *j) { return j->method->kind != CAM_SCALES && !cam_method_is_whole(j->method) && !(j->flags & CAM_AUG_SMOOTH); }

/* The layers of a list "A+B"; a method that looks at the whole network starts at its input. */
static en_status read_layers(cam_ctx *c, cam_job *j, const char *list, cam_site_layer *layers, int *layer_count, en_error *e)
{
    const unsigned needs = sees_layer(j) ? j->method->needs : 0;
    const uint32_t asked = sees_layer(j) && cam_method_has_class(j->method) ? j->flags & (CAM_WITH_HVP | CAM_WITH_GRADIENT) : 0;
    int hvp = needs & CAM_HVP || asked & CAM_WITH_HVP, each = j->method->pooling != CAM_MEAN || asked;
    if (cam_method_is_whole(j->method)) list = "input";
    snprintf(j->layer_name, sizeof j->layer_name, "%s", list ? list : "");
    for (const char *name = j->layer_name; name; j->layers++) {
        char one[96];
        size_t length = strcspn(name, "+");
        snprintf(one, sizeof one, "%.*s", (int)length, name);
        if (j->layers == CAM_MAX_JOINED) return en_fail(e, EN_E_LIMIT, "layers %s: more than %d at once", list, CAM_MAX_JOINED);
        EN_TRY(layer_number(c, one, layers, layer_count, &j->layer[j->layers], e));
        j->pair[j->layers] = needs & (CAM_GRAD | CAM_HVP) || asked ? pair_number(c, j->layer[j->layers], j->aim, hvp, each) : -1;
        name = name[length] ? name + length + 1 : NULL;
    }
    return EN_OK;
}

static en_status read_request(cam_ctx *c, const cam_request *r, cam_site_layer *layers, int *layer_count, en_error *e)
{
    if (r->size < sizeof *r) return en_fail(e, EN_E_ARG, "request: size is %u, want sizeof(cam_request)", r->size);
    cam_job *j = &c->jobs[c->job_count++];
    *j = (cam_job){.method = r->method ? cam_method_find(r->method) : NULL, .seed = r->seed, .flags = r->flags};
    if (!j->method) return en_fail(e, EN_E_ARG, "no method is called '%s'", r->method ? r->method : "");
    j->aim = (cam_aim){r->utility ? cam_utility_find(r->utility) : CAM_UTILITIES, r->cls, CAM_STRONGEST};
    if (j->aim.utility == CAM_UTILITIES) return en_fail(e, EN_E_ARG, "no utility is called '%s': want one of cam_list(\"utilities\")", r->utility ? r->utility : "");
    if (j->method->utility >= 0) j->aim.utility = (cam_utility)j->method->utility;
    EN_TRY(check_class(c, r->cls, e));
    if (r->flags & CAM_AGAINST && j->aim.utility == CAM_CONTRAST) {
        EN_TRY(check_class(c, r->rival, e));
        j->aim.rival = r->rival;
    }
    return read_layers(c, j, r->layer, layers, layer_count, e);
}

/* ---- sweeps ---- */

/* A stored value of a layer, as [n][C,H,W]; a class token is left out. */
static en_status load(cam_ctx *c, int layer, const float *stored, float **out, en_error *e)
{
    *out = cam_take(c, cam_layer_floats(c, layer) * sizeof **out);
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

/* Means over positions of an adjoint that has just been found, as [n][C]; `each` has it at each position, [n][C,H,W], or is NULL. Of a layer with a class
 * token that is no position the sum would count it. */
static en_status load_means(cam_ctx *c, int layer, int seed, int order, const float *each, float **out, en_error *e)
{
    const cam_site_layer *l = &c->layers[layer];
    size_t channels = (size_t)l->c, positions = (size_t)l->h * (size_t)l->w, row = (size_t)en_blocks(l->c) * EN_LANES;
    const float *sums = en_adjoint_sum(c->model.graph, seed, order);
    *out = cam_take(c, (size_t)c->n * channels * sizeof **out);
    if (!*out) return en_fail(e, EN_E_NOMEM, "layer %s: out of memory", l->name);
    for (size_t n = 0; n < (size_t)c->n; n++)
        for (size_t k = 0; k < channels; k++) {
            double sum = l->skip ? 0 : (double)sums[n * row + k];
            for (size_t s = 0; l->skip && s < positions; s++) sum += (double)each[(n * channels + k) * positions + s];
            (*out)[n * channels + k] = (float)(sum / (double)positions);
        }
    return EN_OK;
}

/* What the last reverse pass found for one order of a pair. */
static en_status load_adjoint(cam_ctx *c, int layer, int seed, int order, int each, float **at, float **mean, en_error *e)
{
    if (each) EN_TRY(load(c, layer, en_adjoint(c->model.graph, c->layers[layer].ref, seed, order), at, e));
    return load_means(c, layer, seed, order, *at, mean, e);
}

void cam_fill_seed(cam_ctx *c, cam_aim aim, int seed, int order)
{
    en_graph *g = c->model.graph;
    en_ref y = c->model.logits;
    size_t classes = (size_t)c->net->classes, row = en_image_floats(en_shape_of(g, y)); /* one pixel: features lie in order */
    for (int n = 0; n < c->n; n++) {
        const float *direction = order > 1 ? en_tangent(g, y) + (size_t)n * row : NULL;
        float *gy = en_adjoint(g, y, seed, 1) + (size_t)n * row, *dgy = order > 1 ? en_adjoint(g, y, seed, 2) + (size_t)n * row : NULL;
        cam_utility_at(cam_aim_of(c, n, aim), c->logits + (size_t)n * classes, (int)classes, direction, gy, dgy);
    }
}

/* One reverse pass for the pairs of one layer listed in `which`. */
static en_status sweep_pairs(cam_ctx *c, int layer, const int *which, int count, en_error *e)
{
    en_graph *g = c->model.graph;
    const cam_site_layer *l = &c->layers[layer];
    int order = 1, each = l->skip;
    for (int i = 0; i < count; i++) {
        if (c->pairs[which[i]].hvp) order = 2;
        each |= c->pairs[which[i]].each;
    }
    en_seed(g, l->cut, count, order);
    for (int i = 0; i < count; i++) cam_fill_seed(c, c->pairs[which[i]].aim, i, order);
    (each ? en_reverse : en_reverse_sums)(g);
    for (int i = 0; i < count; i++) {
        cam_pair *p = &c->pairs[which[i]];
        EN_TRY(load_adjoint(c, layer, i, 1, p->each || l->skip, &p->gradient, &p->gradient_mean, e));
        if (p->hvp) EN_TRY(load_adjoint(c, layer, i, 2, p->each || l->skip, &p->hvp_activation, &p->hvp_mean, e));
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

/* How many pairs one reverse pass must carry, and whether none wants the second order. */
static int seeds_wanted(const cam_ctx *c, int *first_order)
{
    int most = 1;
    *first_order = 1;
    for (int i = 0; i < c->pair_count; i++) {
        int same = 0;
        for (int k = 0; k < c->pair_count; k++) same += c->pairs[k].layer == c->pairs[i].layer;
        if (same > most) most = same;
        if (c->pairs[i].hvp) *first_order = 0;
    }
    return most < CAM_SEEDS ? most : CAM_SEEDS;
}

static en_status explain(cam_ctx *c, cam_input in, const cam_request *requests, int count, cam_result *results, en_error *e)
{
    cam_site_layer layers[CAM_MAX_LAYERS];
    int layer_count = 0, first_order;
    c->jobs = cam_take(c, (size_t)count * sizeof *c->jobs);
    c->pairs = cam_take(c, (size_t)count * CAM_MAX_JOINED * sizeof *c->pairs);
    if (!c->jobs || !c->pairs) return en_fail(e, EN_E_NOMEM, "%d requests: out of memory", count);
    for (int i = 0; i < count; i++) EN_TRY(read_request(c, &requests[i], layers, &layer_count, e));
    int seeds = seeds_wanted(c, &first_order);
    EN_TRY(cam_fit_graph(c, in, layers, layer_count, seeds, first_order, e));
    int hvp = 0; /* tangents of the first layer ride along with the values */
    for (int i = 0; i < c->pair_count; i++) hvp |= c->pairs[i].layer == 0 && c->pairs[i].hvp;
    EN_TRY(cam_run_forward(c, in, hvp ? c->layers[0].cut : EN_NONE, e));
    for (int i = 0; i < layer_count; i++) EN_TRY(sweep_layer(c, i, i == 0 && hvp, e));
    EN_TRY(cam_make_maps(c, in, results, e));
    c->explained = 1;
    return EN_OK;
}

cam_status cam_explain(cam_ctx *c, cam_input in, const cam_request *requests, int32_t count, cam_result *results, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    EN_TRY(cam_check_input(in, e));
    if (count < 1) return en_fail(e, EN_E_ARG, "%d requests, want at least 1", count);
    cam_forget_results(c);
    en_status status = explain(c, in, requests, count, results, e);
    if (status != EN_OK) cam_forget_results(c);
    return status;
}

cam_status cam_hvp(cam_ctx *c, int32_t request, const float *vector, float *product, cam_error *error)
{
    const cam_job *j = cam_job_at(c, 0, request);
    if (!j || j->pair[0] < 0 || c->first_order)
        return en_fail(cam_engine_error(error), EN_E_ARG, "request %d: want one of the last cam_explain that has a utility, and one there of the second order", request);
    en_graph *g = c->model.graph;
    const cam_site_layer *l = &c->layers[j->layer[0]];
    const en_shape *s = en_shape_of(g, l->ref);
    en_store(s, vector, en_tangent(g, l->ref));
    en_forward_tangents(g, l->cut);
    en_seed(g, l->cut, 1, 2);
    cam_fill_seed(c, j->aim, 0, 2);
    en_reverse(g);
    en_load(s, en_adjoint(g, l->ref, 0, 2), product);
    return EN_OK;
}
