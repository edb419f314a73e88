/* SPDX-License-Identifier: MIT */
/* From activations and derivatives to maps, and what is said of them. */
#include "cam/perturb.h"
#include "weights/seeded.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- one layer ---- */

/* What a layer is called in streams of random numbers: the preset if it is one, however it was asked for. */
static const char *stream_name(const cam_ctx *c, const cam_site_layer *l)
{
    const net_arch *a = c->net->arch;
    return !strcmp(l->name, a->pre_pool) ? "pre_pool" : !strcmp(l->name, a->conv) ? "conv" : l->name;
}

/* What a method sees of image n at layer k of the job. */
static cam_site site_of(const cam_ctx *c, const cam_job *j, int k, int n)
{
    const cam_site_layer *l = &c->layers[j->layer[k]];
    const cam_pair *p = j->pair[k] < 0 ? NULL : &c->pairs[j->pair[k]];
    size_t floats = cam_layer_floats(c, j->layer[k]) / (size_t)c->n, from = (size_t)n * floats;
    char stream[112];
    snprintf(stream, sizeof stream, "randomcam/%s", stream_name(c, l));
    cam_site site = {.a = l->activation + from, .channels = (size_t)l->c, .positions = (size_t)l->h * (size_t)l->w,
                     .stream = wt_seeded_stream(stream, j->seed)};
    if (!p) return site;
    from /= site.positions;
    site.g_mean = p->gradient_mean + from;
    if (p->hvp) site.h_mean = p->hvp_mean + from;
    if (p->gradient) site.g = p->gradient + from * site.positions;
    if (p->hvp_activation) site.h = p->hvp_activation + from * site.positions;
    return site;
}

/* The raw map of layer k alone, [positions of the layer]. */
static en_status layer_map(cam_ctx *c, const cam_job *j, cam_input in, int k, int n, double *raw, en_error *e)
{
    if (j->method->kind == CAM_FACTORS) return cam_factor_map(c, j, k, n, raw, e);
    cam_site site = site_of(c, j, k, n);
    double *weights = NULL;
    if (j->method->needs & (CAM_ABLATION | CAM_SCORE)) EN_TRY(cam_tried_weights(c, j, k, in, n, &weights, e));
    site.weights = weights;
    en_status status = cam_method_map(j->method, &site, (j->flags & CAM_EIGEN_SMOOTH) != 0, raw, e);
    free(weights);
    return status;
}

/* ---- several layers ---- */

/* The scaled map of layer k, enlarged to the input's size; of a factor of a product, its final map. `room` is for the layer's positions. */
static en_status scaled_map(cam_ctx *c, const cam_job *j, cam_input in, int k, int n, double *room, double *scaled, en_error *e)
{
    const cam_site_layer *l = &c->layers[j->layer[k]];
    EN_TRY(layer_map(c, j, in, k, n, room, e));
    cam_normalise(room, (size_t)l->h * (size_t)l->w);
    EN_TRY(cam_resize(room, l->h, l->w, scaled, c->height, c->width, e));
    if (j->method->kind == CAM_REFINED) cam_normalise(scaled, (size_t)c->height * (size_t)c->width);
    return EN_OK;
}

/* The mean of the layers' scaled maps, or the product of their final ones, [height, width]. */
static en_status joined_map(cam_ctx *c, const cam_job *j, cam_input in, int n, double *raw, en_error *e)
{
    size_t pixels = (size_t)c->height * (size_t)c->width, most = 0;
    int product = j->method->kind == CAM_REFINED;
    for (int k = 0; k < j->layers; k++) {
        size_t positions = (size_t)c->layers[j->layer[k]].h * (size_t)c->layers[j->layer[k]].w;
        most = positions > most ? positions : most;
    }
    double *scaled = malloc((pixels + most) * sizeof *scaled);
    if (!scaled) return en_fail(e, EN_E_NOMEM, "%s: out of memory", j->method->name);
    for (size_t i = 0; i < pixels; i++) raw[i] = product;
    en_status status = EN_OK;
    for (int k = 0; k < j->layers && status == EN_OK; k++) {
        status = scaled_map(c, j, in, k, n, scaled + pixels, scaled, e);
        for (size_t i = 0; i < pixels && status == EN_OK; i++) {
            double m = scaled[i] < 0 ? 0 : scaled[i];
            raw[i] = product ? raw[i] * m : raw[i] + m / j->layers;
        }
    }
    free(scaled);
    return status;
}

/* ---- what is known without looking at the numbers ---- */

/* From the graph: where the Hessian vanishes, and where gradients do not depend on the position. */
static const char *same_by_construction(const cam_ctx *c, const cam_job *j, const cam_site_layer *l, const char **because)
{
    if (j->method->needs & CAM_HVP && cam_utility_is_linear(j->aim.utility) && en_tail_curvature(c->model.graph, l->cut) != EN_CURVED) {
        *because = "behind this layer the logit is piecewise linear, so its Hessian is exactly zero";
        return j->method->first_order;
    }
    *because = "behind this layer comes only a global average, so gradients are the same at every position";
    return en_only_pooled(c->model.graph, l->ref) ? j->method->where_flat : NULL;
}

/* Said if it holds for all layers of the request. */
static void say_by_construction(const cam_ctx *c, const cam_job *j, cam_result *r)
{
    const char *because;
    if (j->flags & CAM_EIGEN_SMOOTH) return; /* signs of principal components may differ */
    for (int k = 0; k < j->layers; k++) {
        const char *same = same_by_construction(c, j, &c->layers[j->layer[k]], &because);
        if (!same || (k && (same != r->same_as || because != r->because))) {
            r->same_as = r->because = NULL;
            return;
        }
        r->same_as = same;
        r->because = because;
    }
    r->hvp_zero = r->same_as == j->method->first_order;
}

/* ---- all together ---- */

static double squares(const float *x, size_t n)
{
    double a = 0, b = 0, c = 0, d = 0; /* that do not wait for each other */
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        a += (double)x[i] * (double)x[i];
        b += (double)x[i + 1] * (double)x[i + 1];
        c += (double)x[i + 2] * (double)x[i + 2];
        d += (double)x[i + 3] * (double)x[i + 3];
    }
    for (; i < n; i++) a += (double)x[i] * (double)x[i];
    return (a + b) + (c + d);
}

/* |H A| / |G|, over all layers, of what the method uses. */
static double hvp_ratio(const cam_ctx *c, const cam_job *j, int n)
{
    double g = 0, h = 0;
    if (!(j->method->needs & CAM_HVP) || j->pair[0] < 0) return -1;
    for (int k = 0; k < j->layers; k++) {
        cam_site s = site_of(c, j, k, n);
        int means = j->method->pooling == CAM_MEAN;
        g += squares(means ? s.g_mean : s.g, s.channels * (means ? 1 : s.positions));
        h += squares(means ? s.h_mean : s.h, s.channels * (means ? 1 : s.positions));
    }
    return g > 0 ? sqrt(h / g) : 0;
}

static void say(const cam_ctx *c, const cam_job *j, int n, cam_result *r)
{
    size_t cells = (size_t)j->h * (size_t)j->w;
    int classes = c->net->classes;
    const float *logits = c->logits + (size_t)n * (size_t)classes;
    cam_aim aim = cam_aim_of(c, n, j->aim);
    *r = (cam_result){.cls = aim.cls, .height = j->h, .width = j->w, .hvp_ratio = hvp_ratio(c, j, n)};
    r->status = (int32_t)cam_judge_map(j->raw + (size_t)n * cells, cells, &r->positive, &r->negative);
    r->logit = logits[aim.cls];
    r->probability = (float)cam_utility_at((cam_aim){CAM_SOFTMAX, aim.cls, CAM_STRONGEST}, logits, classes, NULL, NULL, NULL);
    r->utility = cam_utility_at(aim, logits, classes, NULL, NULL, NULL);
    say_by_construction(c, j, r);
}

static int is_joined(const cam_job *j) { return j->layers > 1 || j->method->kind == CAM_REFINED; }

/* Whether the raw map has the input's size. */
static int is_large(const cam_job *j)
{
    return is_joined(j) || j->flags & CAM_AUG_SMOOTH || j->method->kind == CAM_SCALES || cam_method_is_whole(j->method);
}

static int is_at_once(const cam_job *j) { return cam_method_is_whole(j->method) && !(j->flags & CAM_AUG_SMOOTH); }

/* The raw map of image n. */
static en_status raw_map(cam_ctx *c, const cam_job *j, cam_input in, int n, double *raw, en_error *e)
{
    if (j->flags & CAM_AUG_SMOOTH) return cam_augmented_map(c, j, in, n, raw, e);
    if (j->method->kind == CAM_SCALES) return cam_scales_map(c, j, in, n, raw, e);
    return is_joined(j) ? joined_map(c, j, in, n, raw, e) : layer_map(c, j, in, 0, n, raw, e);
}

/* The final map. Large raw maps are normalised once; the mean of augmented ones stays as it is. */
static en_status finish(const cam_ctx *c, const cam_job *j, const double *raw, float *map, en_error *e)
{
    size_t pixels = (size_t)c->height * (size_t)c->width;
    if (!is_large(j)) return cam_finish_map(raw, j->h, j->w, map, c->height, c->width, e);
    double *copy = malloc(pixels * sizeof *copy);
    if (!copy) return en_fail(e, EN_E_NOMEM, "map: out of memory");
    memcpy(copy, raw, pixels * sizeof *copy);
    if (!(j->flags & CAM_AUG_SMOOTH)) cam_normalise(copy, pixels);
    for (size_t i = 0; i < pixels; i++) map[i] = (float)copy[i];
    free(copy);
    return EN_OK;
}

/* Room for the maps of all images; maps of the whole network come at once. */
static en_status begin_job(cam_ctx *c, cam_job *j, en_error *e)
{
    const cam_site_layer *l = &c->layers[j->layer[0]];
    j->h = is_large(j) ? c->height : l->h;
    j->w = is_large(j) ? c->width : l->w;
    size_t n = (size_t)c->n;
    j->raw = cam_take(c, n * (size_t)j->h * (size_t)j->w * sizeof *j->raw);
    j->map = cam_take(c, n * (size_t)c->height * (size_t)c->width * sizeof *j->map);
    j->result = cam_take(c, n * sizeof *j->result);
    if (!j->raw || !j->map || !j->result) return en_fail(e, EN_E_NOMEM, "maps: out of memory");
    return is_at_once(j) ? cam_whole_maps(c, j, e) : EN_OK;
}

static en_status make_map(cam_ctx *c, cam_job *j, cam_input in, size_t n, en_error *e)
{
    double *raw = j->raw + n * (size_t)j->h * (size_t)j->w;
    if (!is_at_once(j)) EN_TRY(raw_map(c, j, in, (int)n, raw, e));
    EN_TRY(finish(c, j, raw, j->map + n * (size_t)c->height * (size_t)c->width, e));
    say(c, j, (int)n, &j->result[n]);
    return EN_OK;
}

en_status cam_make_maps(cam_ctx *c, cam_input in, cam_result *results, en_error *e)
{
    for (int i = 0; i < c->job_count; i++) EN_TRY(begin_job(c, &c->jobs[i], e));
    for (int n = 0; n < c->n; n++) {
        cam_forget_trials(c);
        for (int i = 0; i < c->job_count; i++) {
            EN_TRY(make_map(c, &c->jobs[i], in, (size_t)n, e));
            *results++ = c->jobs[i].result[n];
        }
    }
    cam_forget_trials(c);
    return EN_OK;
}
