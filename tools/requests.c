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

enum { MAX_ITEM = 768, MAX_METHODS = 64, MAX_UTILITIES = 16 };

/* The items of the lists, each once. */
typedef struct choices {
    const char *method[MAX_METHODS], *utility[MAX_UTILITIES];
    request_layer layer[EN_MAX_CUTS];
    int32_t cls[REQUESTS_MAX], rival;
    int methods, utilities, layers, classes, joined;
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

/* Whether a method runs the network no more often than it must. */
static int is_fast(const char *name)
{
    const cam_method *m = cam_method_find(name);
    return m->kind != CAM_SCALES && !(m->needs & (CAM_SCORE | CAM_ABLATION));
}

static cam_status choose_methods(choices *c, const char *list, cam_error *e)
{
    char item[MAX_ITEM];
    const char *name;
    while (next_item(&list, item)) {
        int all = net_same_name(item, "all");
        if (all || net_same_name(item, "fast")) {
            for (int i = 0; (name = cam_list("methods", i)); i++)
                if (all || is_fast(name)) EN_TRY(add_method(c, name, e));
            continue;
        }
        name = find(item, listed, "methods");
        if (!name) return no_such("method", item, listed, "methods", "see --list-methods", e);
        EN_TRY(add_method(c, name, e));
    }
    return CAM_OK;
}

static cam_status choose_utilities(choices *c, const char *list, cam_error *e)
{
    char item[MAX_ITEM];
    while (next_item(&list, item)) {
        const char *name = find(item, listed, "utilities");
        int known = 0;
        if (!name) return no_such("utility", item, listed, "utilities", "see --list-utilities", e);
        for (int i = 0; i < c->utilities; i++) known |= c->utility[i] == name;
        if (!known) c->utility[c->utilities++] = name; /* there are fewer than MAX_UTILITIES */
    }
    return CAM_OK;
}

/* Full names of the layers of an item "A+B", joined again. */
static cam_status full_names(const cam_net *net, const char *item, request_layer out, cam_error *e)
{
    size_t used = 0;
    for (const char *part = item; part; part = strchr(part, '+') ? strchr(part, '+') + 1 : NULL) {
        char one[MAX_ITEM];
        snprintf(one, sizeof one, "%.*s", (int)strcspn(part, "+"), part);
        const char *name = find(cam_net_layer_name(net, one), layer_at, net);
        if (!name) return no_such("layer", one, layer_at, net, "see --list-layers", e);
        used += (size_t)snprintf(out + used, sizeof(request_layer) - used, "%s%s", used ? "+" : "", name);
        if (used >= sizeof(request_layer)) return refuse(e, CAM_E_LIMIT, "layers %.60s...: too many", item);
    }
    return CAM_OK;
}

static cam_status choose_layers(choices *c, const cam_net *net, const char *list, cam_error *e)
{
    char item[MAX_ITEM];
    while (next_item(&list, item)) {
        request_layer name;
        int known = 0;
        EN_TRY(full_names(net, item, name, e));
        for (int i = 0; i < c->layers; i++) known |= !strcmp(c->layer[i], name);
        if (known) continue;
        if (c->layers == EN_MAX_CUTS) return refuse(e, CAM_E_LIMIT, "more than %d layers at once", EN_MAX_CUTS);
        strcpy(c->layer[c->layers++], name);
        c->joined |= strchr(name, '+') != NULL;
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

/* N of an item "topN", or 0 if it is something else. */
static long rank_of(const char *item)
{
    if (strncasecmp(item, "top", 3) || !item[3] || item[3 + strspn(item + 3, "0123456789")]) return 0;
    long n = strtol(item + 3, NULL, 10);
    return n ? n : -1;
}

static cam_status choose_classes(choices *c, const char *list, int32_t classes, cam_error *e)
{
    char item[MAX_ITEM];
    int32_t index;
    while (next_item(&list, item)) {
        long n = rank_of(item);
        if (n < 0 || n > classes) return refuse(e, CAM_E_ARG, "class '%s': want top1 to top%d", item, classes);
        if (!n) EN_TRY(cam_class_find(item, &index, e));
        if (!n) EN_TRY(add_class(c, index, e));
        for (int32_t i = 1; i <= n; i++) EN_TRY(add_class(c, -i, e));
    }
    return CAM_OK;
}

/* The class of --contrast: here topN is the one of that rank alone. */
static cam_status choose_rival(choices *c, const char *word, int32_t classes, cam_error *e)
{
    long n = rank_of(word);
    if (n < 0 || n > classes) return refuse(e, CAM_E_ARG, "class '%s': want top1 to top%d", word, classes);
    c->rival = (int32_t)-n;
    return n ? CAM_OK : cam_class_find(word, &c->rival, e);
}

/* ---- requests ---- */

int request_has_class(const cam_request *request) { return cam_method_has_class(cam_method_find(request->method)); }

int request_has_positions(const cam_request *q, const cam_result *r, int height, int width)
{
    const cam_method *m = cam_method_find(q->method);
    int small = m->kind == CAM_LAYER || m->kind == CAM_FACTORS;
    return small && !strchr(q->layer, '+') && !(q->flags & CAM_AUG_SMOOTH) && r->height == height && r->width == width;
}

long requests_passes(const request_list *list, const cam_net *net)
{
    enum { WINDOWS = 122 /* of a square input in SESS */, VARIANTS = 6 };
    long passes = 0;
    for (int i = 0; i < list->count; i++) {
        const cam_request *q = &list->request[i];
        const cam_method *m = cam_method_find(q->method);
        long times = m->kind == CAM_SCALES ? WINDOWS : 0;
        int32_t chw[3];
        for (int32_t k = 0; m->needs & CAM_SCORE && cam_net_layer(net, k, chw); k++)
            if (!strcmp(cam_net_layer(net, k, chw), q->layer)) times = chw[0];
        for (int k = 0; k < i && m->needs & CAM_SCORE; k++) /* classes and utilities share the passes of a layer */
            if (!strcmp(list->request[k].method, q->method) && !strcmp(list->request[k].layer, q->layer)) times = 0;
        passes += q->flags & CAM_AUG_SMOOTH ? VARIANTS * (times + 1) : times;
    }
    return passes;
}

int request_repeats(const request_list *list, const cam_result *results, int i)
{
    const cam_request *r = &list->request[i];
    for (int k = 0; k < i; k++)
        if (results[k].cls == results[i].cls && !strcmp(list->request[k].method, r->method) &&
            !strcmp(list->request[k].layer, r->layer) && !strcmp(list->request[k].utility, r->utility))
            return 1;
    return 0;
}

/* Every method of one kind, of a layer or of the whole network, for one class. */
static void add_requests(const choices *c, const cam_request *like, int whole, int first_class, request_list *out)
{
    for (int u = 0; u < c->utilities; u++)
        for (int m = 0; m < c->methods; m++) {
            cam_request q = *like;
            q.method = c->method[m];
            const cam_method *method = cam_method_find(q.method);
            int own = method->utility >= 0; /* a utility that it comes with */
            q.utility = own ? cam_list("utilities", method->utility) : c->utility[u];
            if (cam_method_is_whole(method) != whole || (own && u > 0)) continue;
            if (cam_method_has_class(method) || (first_class && u == 0)) out->request[out->count++] = q;
        }
}

static cam_status combine(const choices *c, const request_words *words, uint32_t flags, request_list *out, cam_error *e)
{
    size_t count = (size_t)c->methods * (size_t)c->classes * (size_t)c->utilities * (size_t)(c->layers + 1);
    if (count > REQUESTS_MAX) return refuse(e, CAM_E_LIMIT, "%zu maps of each picture, want at most %d", count, REQUESTS_MAX);
    out->request = calloc(count, sizeof *out->request);
    out->layer = malloc((size_t)c->layers * sizeof *out->layer);
    if (!out->request || !out->layer) return refuse(e, CAM_E_NOMEM, "%zu requests: out of memory", count);
    memcpy(out->layer, c->layer, (size_t)c->layers * sizeof *out->layer);
    out->layers = c->layers;
    out->utilities = c->utilities;
    out->joined = c->joined;
    cam_request like = {.size = sizeof like, .seed = words->seed, .flags = flags, .rival = c->rival};
    for (int l = 0; l <= c->layers; l++)
        for (int k = 0; k < c->classes; k++) {
            like.layer = l < c->layers ? out->layer[l] : "input";
            like.cls = c->cls[k];
            add_requests(c, &like, l == c->layers, k == 0, out);
        }
    return CAM_OK;
}

static cam_status choose(choices *c, const cam_net *net, const request_words *words, uint32_t *flags, cam_error *e)
{
    int32_t classes = cam_net_classes(net);
    *flags = words->flags | (words->rival ? CAM_AGAINST : 0);
    if (net_same_name(words->smooth, "eigen")) *flags |= CAM_EIGEN_SMOOTH;
    else if (net_same_name(words->smooth, "aug")) *flags |= CAM_AUG_SMOOTH;
    else if (!net_same_name(words->smooth, "none")) return refuse(e, CAM_E_ARG, "--smooth '%s': want none, aug or eigen", words->smooth);
    EN_TRY(choose_utilities(c, words->rival ? "contrast" : words->utilities, e));
    EN_TRY(choose_methods(c, words->methods, e));
    EN_TRY(choose_layers(c, net, words->layers, e));
    EN_TRY(choose_classes(c, words->classes, classes, e));
    return words->rival ? choose_rival(c, words->rival, classes, e) : CAM_OK;
}

cam_status requests_make(const cam_net *net, const request_words *words, request_list *out, cam_error *e)
{
    uint32_t flags;
    *out = (request_list){0};
    choices *c = calloc(1, sizeof *c);
    if (!c) return refuse(e, CAM_E_NOMEM, "requests: out of memory");
    cam_status status = choose(c, net, words, &flags, e);
    if (!status) status = combine(c, words, flags, out, e);
    if (status) requests_free(out);
    free(c);
    return status;
}

void requests_free(request_list *list)
{
    free(list->request);
    free(list->layer);
    *list = (request_list){0};
}
