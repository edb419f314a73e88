/* SPDX-License-Identifier: MIT */
/* Requests from lists of names. */
#include "tools/requests.h"

#include "cam/methods.h"
#include "engine/engine.h"
#include "nets/nets.h"
#include "tools/options.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { MAX_ITEM = 128, MAX_METHODS = 64 };

/* The items of the lists, each once. */
typedef struct choices {
    const char *method[MAX_METHODS], *layer[EN_MAX_CUTS];
    int32_t cls[REQUESTS_MAX];
    int methods, layers, classes;
} choices;

__attribute__((format(printf, 3, 4))) static cam_status refuse(cam_error *e, cam_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(e->text, sizeof e->text, format, args);
    va_end(args);
    return e->status = status;
}

/* Copies the next item of a comma-separated list, without the spaces around it; 0 at the end. */
static int next_item(const char **list, char item[MAX_ITEM])
{
    const char *from = *list;
    if (!from) return 0;
    size_t n = strcspn(from, ",");
    *list = from[n] ? from + n + 1 : NULL;
    for (; n && *from == ' '; n--) from++;
    while (n && from[n - 1] == ' ') n--;
    snprintf(item, MAX_ITEM, "%.*s", (int)(n < MAX_ITEM ? n : MAX_ITEM - 1), from);
    return 1;
}

/* ---- names ---- */

static const char *listed(const void *kind, int i) { return cam_list(kind, i); }
static const char *layer_at(const void *net, int i) { return cam_net_layer(net, i, NULL); }

static const char *find(const char *text, opt_names name_at, const void *list)
{
    const char *name;
    for (int i = 0; (name = name_at(list, i)); i++)
        if (net_same_name(text, name)) return name;
    return NULL;
}

static cam_status no_such(const char *what, const char *text, opt_names name_at, const void *list, const char *where, cam_error *e)
{
    const char *near = opt_nearest(text, name_at, list);
    if (near) return refuse(e, CAM_E_ARG, "no %s is called '%s'; did you mean %s?", what, text, near);
    return refuse(e, CAM_E_ARG, "no %s is called '%s' (%s)", what, text, where);
}

static cam_status add_method(choices *c, const char *name, cam_error *e)
{
    for (int i = 0; i < c->methods; i++)
        if (c->method[i] == name) return CAM_OK;
    if (c->methods == MAX_METHODS) return refuse(e, CAM_E_LIMIT, "more than %d methods", MAX_METHODS);
    c->method[c->methods++] = name;
    return CAM_OK;
}

static cam_status choose_methods(choices *c, const char *list, cam_error *e)
{
    char item[MAX_ITEM];
    const char *name;
    while (next_item(&list, item)) {
        if (net_same_name(item, "all")) {
            for (int i = 0; (name = cam_list("methods", i)); i++) EN_TRY(add_method(c, name, e));
            continue;
        }
        name = find(item, listed, "methods");
        if (!name) return no_such("method", item, listed, "methods", "see --list-methods", e);
        EN_TRY(add_method(c, name, e));
    }
    return CAM_OK;
}

static cam_status choose_layers(choices *c, const cam_net *net, const char *list, cam_error *e)
{
    char item[MAX_ITEM];
    while (next_item(&list, item)) {
        const char *name = find(cam_net_layer_name(net, item), layer_at, net);
        int known = 0;
        if (!name) return no_such("layer", item, layer_at, net, "see --list-layers", e);
        for (int i = 0; i < c->layers; i++) known |= c->layer[i] == name;
        if (known) continue;
        if (c->layers == EN_MAX_CUTS) return refuse(e, CAM_E_LIMIT, "more than %d layers at once", EN_MAX_CUTS);
        c->layer[c->layers++] = name;
    }
    return CAM_OK;
}

static cam_status add_class(choices *c, int32_t cls, cam_error *e)
{
    for (int i = 0; i < c->classes; i++)
        if (c->cls[i] == cls) return CAM_OK;
    if (c->classes == REQUESTS_MAX) return refuse(e, CAM_E_LIMIT, "more than %d classes", REQUESTS_MAX);
    c->cls[c->classes++] = cls;
    return CAM_OK;
}

static cam_status choose_classes(choices *c, const char *list, int32_t classes, cam_error *e)
{
    char item[MAX_ITEM];
    int32_t index;
    while (next_item(&list, item)) {
        if (strncasecmp(item, "top", 3) || !item[3] || item[3 + strspn(item + 3, "0123456789")]) {
            EN_TRY(cam_class_find(item, &index, e));
            EN_TRY(add_class(c, index, e));
            continue;
        }
        long n = strtol(item + 3, NULL, 10);
        if (n < 1 || n > classes) return refuse(e, CAM_E_ARG, "class '%s': want top1 to top%d", item, classes);
        for (int32_t i = 1; i <= n; i++) EN_TRY(add_class(c, -i, e));
    }
    return CAM_OK;
}

/* ---- requests ---- */

int request_has_class(const cam_request *request) { return cam_method_find(request->method)->needs != 0; }

int request_repeats(const request_list *list, const cam_result *results, int i)
{
    const cam_request *r = &list->request[i];
    for (int k = 0; k < i; k++)
        if (results[k].cls == results[i].cls && !strcmp(list->request[k].method, r->method) &&
            !strcmp(list->request[k].layer, r->layer))
            return 1;
    return 0;
}

static cam_status combine(const choices *c, const request_words *words, const char *utility, request_list *out, cam_error *e)
{
    size_t count = (size_t)c->methods * (size_t)c->classes * (size_t)c->layers;
    if (count > REQUESTS_MAX) return refuse(e, CAM_E_LIMIT, "%zu maps of each picture, want at most %d", count, REQUESTS_MAX);
    out->request = calloc(count, sizeof *out->request);
    if (!out->request) return refuse(e, CAM_E_NOMEM, "%zu requests: out of memory", count);
    out->layers = c->layers;
    for (int l = 0; l < c->layers; l++)
        for (int k = 0; k < c->classes; k++)
            for (int m = 0; m < c->methods; m++) {
                cam_request q = {.size = sizeof q, .method = c->method[m], .utility = utility, .layer = c->layer[l]};
                q.cls = c->cls[k], q.seed = words->seed, q.flags = words->flags;
                if (k == 0 || request_has_class(&q)) out->request[out->count++] = q;
            }
    return CAM_OK;
}

cam_status requests_make(const cam_net *net, const request_words *words, request_list *out, cam_error *e)
{
    choices c = {0};
    *out = (request_list){0};
    const char *utility = find(words->utility, listed, "utilities");
    if (!utility) return no_such("utility", words->utility, listed, "utilities", "want rest, logit, softmax, logsoftmax, contrast or finer", e);
    EN_TRY(choose_methods(&c, words->methods, e));
    EN_TRY(choose_layers(&c, net, words->layers, e));
    EN_TRY(choose_classes(&c, words->classes, cam_net_classes(net), e));
    return combine(&c, words, utility, out, e);
}

void requests_free(request_list *list)
{
    free(list->request);
    *list = (request_list){0};
}
