/* SPDX-License-Identifier: MIT */
/* Results for people and for other programs: the picture and the JSON object of an explanation. */
#include "cam/image.h"
#include "cam/render.h"
#include "nets/labels.h"
#include "weights/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const status_names[] = {"ok", "blank", "constant", "nonfinite"};

/* What to say in a picture instead of colours; NULL if the map says something. */
static const char *nothing_to_see(const cam_result *r)
{
    switch (r->status) {
    case CAM_STATUS_BLANK: return "blank: no position speaks for this class";
    case CAM_STATUS_CONSTANT: return "constant: every position says the same";
    case CAM_STATUS_NONFINITE: return "not a finite number";
    }
    return NULL;
}

/* The full names of a request's layers, joined with '+'. */
static void layers_of(const cam_ctx *c, const cam_job *j, char *out, size_t room)
{
    for (int k = 0, used = 0; k < j->layers; k++)
        used += snprintf(out + used, room - (size_t)used, "%s%s", k ? "+" : "", c->layers[j->layer[k]].name);
}

cam_status cam_render(const cam_ctx *c, const cam_image *image, int32_t request, const char *style, uint8_t **png, size_t *size, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    *png = NULL;
    if (!c->explained || request < 0 || request >= c->job_count) return en_fail(e, EN_E_ARG, "request %d: want one of the last cam_explain", request);
    if (image->input.width != c->width || image->input.height != c->height) return en_fail(e, EN_E_ARG, "the picture is not the one that was explained");
    const cam_job *j = &c->jobs[request];
    const cam_result *r = &j->result[0];
    cam_picture p = {.photo = &image->photo, .map = j->map, .map_h = c->height, .map_w = c->width, .status = nothing_to_see(r)};
    if (net_same_name(style, "jet")) p.colormap = CAM_JET;
    else if (!net_same_name(style, "viridis")) return en_fail(e, EN_E_ARG, "no colour map is called '%s': want viridis or jet", style);
    memcpy(p.crop, image->input.box, sizeof p.crop);
    char title[160], subtitle[960], layer[sizeof j->layer_name];
    layers_of(c, j, layer, sizeof layer);
    net_class known = net_class_at(r->cls);
    snprintf(title, sizeof title, "%s  %.1f %%", known.name, 100 * (double)r->probability);
    snprintf(subtitle, sizeof subtitle, "%s of %s\n%s, layer %s, class %d", j->method->name, cam_utility_name(j->aim.utility), c->net->arch->name,
             layer, r->cls);
    p.title = title;
    p.subtitle = subtitle;
    if (c->net->seeded.net) p.stamp = "SEEDED WEIGHTS: made up, not a finding";
    img out;
    EN_TRY(cam_render_overlay(&p, &out, e));
    const char *text[] = {"Software", "shapleycam", "Description", subtitle, NULL};
    en_status status = img_encode_png(&out, text, png, size, e);
    img_free(&out);
    return status;
}

static void put_top(wt_json_writer *w, const cam_ctx *c, int image, int topk, const double *probability, const int32_t *top)
{
    const float *logits = cam_logits(c, image);
    wt_json_put_key(w, "top");
    wt_json_open(w, '[');
    for (int i = 0; i < topk; i++) {
        net_class known = net_class_at(top[i]);
        wt_json_open(w, '{');
        wt_json_put_key(w, "index"), wt_json_put_integer(w, top[i]);
        wt_json_put_key(w, "wnid"), wt_json_put_string(w, known.wnid);
        wt_json_put_key(w, "name"), wt_json_put_string(w, known.name);
        wt_json_put_key(w, "logit"), wt_json_put_float(w, logits[top[i]]);
        wt_json_put_key(w, "probability"), wt_json_put_float(w, (float)probability[top[i]]);
        wt_json_close(w, '}');
    }
    wt_json_close(w, ']');
}

static void put_map(wt_json_writer *w, const cam_ctx *c, const cam_job *j, const cam_result *r)
{
    net_class known = net_class_at(r->cls);
    char layer[sizeof j->layer_name];
    layers_of(c, j, layer, sizeof layer);
    wt_json_open(w, '{');
    wt_json_put_key(w, "method"), wt_json_put_string(w, j->method->name);
    wt_json_put_key(w, "layer"), wt_json_put_string(w, layer);
    wt_json_put_key(w, "utility"), wt_json_put_string(w, cam_utility_name(j->aim.utility));
    wt_json_put_key(w, "class"), wt_json_put_integer(w, r->cls);
    wt_json_put_key(w, "wnid"), wt_json_put_string(w, known.wnid);
    wt_json_put_key(w, "name"), wt_json_put_string(w, known.name);
    wt_json_put_key(w, "status"), wt_json_put_string(w, status_names[r->status]);
    wt_json_put_key(w, "logit"), wt_json_put_float(w, r->logit);
    wt_json_put_key(w, "probability"), wt_json_put_float(w, r->probability);
    wt_json_put_key(w, "value"), wt_json_put_double(w, r->utility);
    wt_json_put_key(w, "height"), wt_json_put_integer(w, r->height);
    wt_json_put_key(w, "width"), wt_json_put_integer(w, r->width);
    wt_json_put_key(w, "positive"), wt_json_put_double(w, r->positive);
    wt_json_put_key(w, "negative"), wt_json_put_double(w, r->negative);
    if (r->hvp_ratio >= 0) {
        wt_json_put_key(w, "hvp_ratio"), wt_json_put_double(w, r->hvp_ratio);
        wt_json_put_key(w, "hvp_zero_by_construction"), wt_json_put_bool(w, r->hvp_zero);
    }
    if (r->same_as) {
        wt_json_put_key(w, "same_as"), wt_json_put_string(w, r->same_as);
        wt_json_put_key(w, "because"), wt_json_put_string(w, r->because);
    }
    wt_json_close(w, '}');
}

cam_status cam_report(const cam_ctx *c, const char *name, int32_t image, int32_t topk, char **json, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    *json = NULL;
    if (!c->explained || image < 0 || image >= c->n) return en_fail(e, EN_E_ARG, "image %d: want one of the last cam_explain", image);
    if (topk > c->net->classes) topk = c->net->classes;
    if (topk < 0) topk = 0;
    double *probability = malloc((size_t)c->net->classes * sizeof *probability);
    int32_t *top = malloc(((size_t)topk + 1) * sizeof *top);
    if (!probability || !top) {
        free(probability);
        free(top);
        return en_fail(e, EN_E_NOMEM, "report: out of memory");
    }
    cam_softmax(cam_logits(c, image), c->net->classes, probability);
    cam_top(cam_logits(c, image), c->net->classes, topk, top);
    wt_json_writer w = {0};
    wt_json_open(&w, '{');
    wt_json_put_key(&w, "image"), wt_json_put_string(&w, name);
    wt_json_put_key(&w, "net"), wt_json_put_string(&w, c->net->arch->name);
    wt_json_put_key(&w, "weights"), wt_json_put_string(&w, c->net->weights);
    if (c->net->seeded.net) wt_json_put_key(&w, "warning"), wt_json_put_string(&w, "SEEDED WEIGHTS: made up, not a finding");
    put_top(&w, c, image, topk, probability, top);
    wt_json_put_key(&w, "maps");
    wt_json_open(&w, '[');
    for (int i = 0; i < c->job_count; i++) put_map(&w, c, &c->jobs[i], &c->jobs[i].result[image]);
    wt_json_close(&w, ']');
    wt_json_close(&w, '}');
    free(probability);
    free(top);
    size_t size;
    return wt_json_take(&w, json, &size, e);
}
