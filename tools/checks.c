/* SPDX-License-Identifier: MIT */
/* Checks. */
#include "tools/checks.h"

#include "cam/methods.h"
#include "engine/status.h"
#include "nets/nets.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double worst_closed_form = 1e-3; /* share of |H A|: float32 is far below, a wrong term far above */

cam_status checks_parse(const char *list, checks *c, cam_error *e)
{
    for (const char *item = list; item; item = strchr(item, ',') ? strchr(item, ',') + 1 : NULL) {
        char one[32];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(item, ","), item);
        if (net_same_name(one, "hvp")) c->hvp = 1;
        else if (net_same_name(one, "repro")) c->repro = 1;
        else return en_fail((en_error *)e, EN_E_ARG, "no check is called '%s': want hvp or repro", one);
    }
    return CAM_OK;
}

void checks_free(checks *c) { cam_ctx_free(c->other); }

/* ---- hvp ---- */

/* Whether an earlier request has the same product. */
static int is_later(const request_list *list, const cam_result *results, int i)
{
    const cam_request *q = &list->request[i];
    for (int k = 0; k < i; k++) {
        const cam_request *p = &list->request[k];
        if (request_has_class(p) && !strcmp(p->layer, q->layer) && results[k].cls == results[i].cls && !strcmp(p->utility, q->utility)) return 1;
    }
    return 0;
}

static void print_hvp(FILE *out, const cam_request *q, const cam_result *r, const cam_hvp_check *h)
{
    fprintf(out, "  check hvp, %s at %s, class %d: |HA| %.6g", q->utility, q->layer, r->cls, h->norm);
    if (h->norm == 0) fprintf(out, ", differences of gradients %.2g of |G|\n", h->differences);
    else fprintf(out, "; differences of gradients %.2g away", h->differences);
    if (h->norm > 0 && h->closed_form < 0) fprintf(out, ", no closed form: this tail is not affine\n");
    else if (h->norm > 0) fprintf(out, ", closed form %.2g\n", h->closed_form);
}

static void put_hvp(wt_json_writer *w, const cam_request *q, const cam_result *r, const cam_hvp_check *h)
{
    wt_json_open(w, '{');
    wt_json_put_key(w, "layer"), wt_json_put_string(w, q->layer);
    wt_json_put_key(w, "class"), wt_json_put_integer(w, r->cls);
    wt_json_put_key(w, "utility"), wt_json_put_string(w, q->utility);
    wt_json_put_key(w, "norm"), wt_json_put_double(w, h->norm);
    wt_json_put_key(w, "differences"), wt_json_put_double(w, h->differences);
    wt_json_put_key(w, "closed_form"), h->closed_form < 0 ? wt_json_put_null(w) : wt_json_put_double(w, h->closed_form);
    wt_json_close(w, '}');
}

static cam_status check_hvp(checks *c, cam_ctx *ctx, int image, const request_list *list, const cam_result *results, FILE *out, wt_json_writer *json,
                            cam_error *e)
{
    if (json) wt_json_put_key(json, "hvp"), wt_json_open(json, '[');
    for (int i = 0; i < list->count; i++) {
        cam_hvp_check h = {.size = sizeof h};
        const cam_request *q = &list->request[i];
        if (!cam_hvp_activation(ctx, image, i) || strchr(q->layer, '+') || is_later(list, results, i)) continue;
        EN_TRY(cam_check_hvp(ctx, image, i, &h, e));
        if (out) print_hvp(out, q, &results[i], &h);
        if (json) put_hvp(json, q, &results[i], &h);
        if (h.closed_form > worst_closed_form) c->failed++;
    }
    if (json) wt_json_close(json, ']');
    return CAM_OK;
}

/* ---- repro ---- */

static int differ(const void *a, const void *b, size_t bytes) { return a && b ? memcmp(a, b, bytes) != 0 : a != b; }

/* How many arrays differ between image `image` of one context and the only image of the other. */
static int count_differences(const cam_net *net, cam_ctx *a, int image, cam_ctx *b, cam_input in, const request_list *list, const cam_result *results, int *arrays)
{
    int count = differ(cam_logits(a, image), cam_logits(b, 0), (size_t)cam_net_classes(net) * sizeof(float));
    *arrays = 1;
    for (int i = 0; i < list->count; i++) {
        int32_t chw[3] = {0};
        const float *activation = cam_activation(a, image, i, chw);
        size_t floats = (size_t)chw[0] * (size_t)chw[1] * (size_t)chw[2] * sizeof(float);
        count += differ(activation, cam_activation(b, 0, i, NULL), floats);
        count += differ(cam_gradient(a, image, i), cam_gradient(b, 0, i), floats);
        count += differ(cam_hvp_activation(a, image, i), cam_hvp_activation(b, 0, i), floats);
        count += differ(cam_raw_map(a, image, i), cam_raw_map(b, 0, i), (size_t)results[i].height * (size_t)results[i].width * sizeof(double));
        count += differ(cam_map(a, image, i), cam_map(b, 0, i), (size_t)in.height * (size_t)in.width * sizeof(float));
        *arrays += 3 + (cam_gradient(a, image, i) != NULL) + (cam_hvp_activation(a, image, i) != NULL);
    }
    return count;
}

static cam_status check_repro(checks *c, const cam_net *net, cam_ctx *ctx, cam_input in, int image, const request_list *list, const cam_result *results,
                              FILE *out, wt_json_writer *json, cam_error *e)
{
    cam_options o = {.size = sizeof o, .threads = c->threads == 1 ? 2 : 1};
    cam_result *again = calloc((size_t)list->count, sizeof *again);
    cam_status status = again ? CAM_OK : en_fail((en_error *)e, EN_E_NOMEM, "check: out of memory");
    cam_input one = {in.nchw + (size_t)image * 3 * (size_t)in.height * (size_t)in.width, 1, in.height, in.width};
    int arrays = 0, different = 0;
    if (!status && !c->other) status = cam_ctx_new(net, &o, &c->other, e);
    if (!status) status = cam_explain(c->other, one, list->request, list->count, again, e);
    if (!status) different = count_differences(net, ctx, image, c->other, in, list, results, &arrays);
    free(again);
    if (status) return status;
    if (out) fprintf(out, "  check repro: with %d thread%s, %d of %d arrays have other bits\n", o.threads, o.threads > 1 ? "s" : "", different, arrays);
    if (json) {
        wt_json_put_key(json, "repro");
        wt_json_open(json, '{');
        wt_json_put_key(json, "threads"), wt_json_put_integer(json, o.threads);
        wt_json_put_key(json, "arrays"), wt_json_put_integer(json, arrays);
        wt_json_put_key(json, "different"), wt_json_put_integer(json, different);
        wt_json_close(json, '}');
    }
    c->failed += different > 0;
    return CAM_OK;
}

cam_status checks_show(checks *c, const cam_net *net, cam_ctx *ctx, cam_input in, int image, const request_list *list, const cam_result *results,
                       FILE *out, wt_json_writer *json, cam_error *e)
{
    cam_status status = CAM_OK;
    if (json) wt_json_open(json, '{');
    if (c->hvp) status = check_hvp(c, ctx, image, list, results, out, json, e);
    if (c->repro && !status) status = check_repro(c, net, ctx, in, image, list, results, out, json, e);
    if (json) wt_json_close(json, '}');
    return status;
}
