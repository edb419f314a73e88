/* SPDX-License-Identifier: MIT */
/* A network with its weights. */
#include "cam/internal.h"
#include "engine/cpu.h"
#include "nets/labels.h"
#include "weights/lookup.h"
#include "weights/seeded.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static en_status parse_seed(const char *weights, uint64_t *seed, en_error *e)
{
    *seed = 1;
    if (!weights[6]) return EN_OK;
    char *end;
    errno = 0;
    *seed = strtoull(weights + 7, &end, 10);
    if (weights[6] != ':' || end == weights + 7 || *end || weights[7] < '0' || weights[7] > '9' || errno)
        return en_fail(e, EN_E_ARG, "weights '%s': want seeded or seeded:N with a whole number N", weights);
    return EN_OK;
}

/* Opens the file, or prepares the made-up weights. */
static en_status open_weights(cam_net *net, const char *weights, en_error *e)
{
    char text[64];
    if (weights && !strncmp(weights, "seeded", 6) && (!weights[6] || weights[6] == ':')) {
        EN_TRY(parse_seed(weights, &net->seeded.seed, e));
        net->seeded.net = net->arch->name;
        snprintf(text, sizeof text, "seeded:%llu", (unsigned long long)net->seeded.seed);
        net->weights = strdup(text);
    } else if (weights) {
        net->weights = strdup(weights);
        if (!strcmp(weights, CAM_NO_WEIGHTS)) return net->weights ? EN_OK : en_fail(e, EN_E_NOMEM, "%s: out of memory", net->arch->name);
    } else {
        EN_TRY(wt_lookup(&(wt_names){net->arch->name, (const char *[]){net->arch->official, NULL}, net->arch->hub}, &net->weights, e));
    }
    if (!net->weights) return en_fail(e, EN_E_NOMEM, "%s: out of memory", net->arch->name);
    return net->seeded.net ? EN_OK : wt_open(net->weights, &net->store, e);
}

/* Writes the network down for one usual input, for the names and shapes of its layers and parameters. */
static en_status describe(cam_net *net, en_error *e)
{
    net_recipe recipe = net->arch->recipe();
    return net_model_build(net->arch, net->classes, 1, recipe.crop_height, recipe.crop_width, net->params, &net->shape, e);
}

/* Reads and packs every parameter. */
static en_status read_parameters(cam_net *net, en_error *e)
{
    en_pool *pool;
    EN_TRY(en_pool_new(0, &pool, e));
    en_status status = en_graph_prepare(net->shape.graph, pool, e);
    en_pool_free(pool);
    if (status == EN_OK && net->store) status = net_check_extra(&net->view, net->shape.graph, e);
    return status;
}

cam_status cam_net_open(const char *name, const char *weights, cam_net **out, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    *out = NULL;
    const net_arch *arch = name ? net_arch_find(name) : NULL;
    if (!arch) return en_fail(e, EN_E_ARG, "no network is called '%s'", name ? name : "");
    cam_net *net = calloc(1, sizeof *net);
    if (!net) return en_fail(e, EN_E_NOMEM, "%s: out of memory", arch->name);
    net->arch = arch;
    net->classes = NET_CLASSES;
    en_status status = open_weights(net, weights, e);
    if (status == EN_OK && net->store) status = net_view_open(net->store, NULL, &net->view, e);
    if (status == EN_OK && net->store) status = en_params_new(net_source_view(&net->view), &net->params, e);
    if (status == EN_OK && net->seeded.net) status = wt_seeded_statistics(net->arch->name, &net->seeded.statistics, e);
    if (status == EN_OK && net->seeded.net) status = en_params_new(net_source_seeded(&net->seeded), &net->params, e);
    if (status == EN_OK) status = describe(net, e);
    if (status == EN_OK && net->params) status = read_parameters(net, e);
    if (status != EN_OK) {
        cam_net_close(net);
        return status;
    }
    *out = net;
    return EN_OK;
}

void cam_net_close(cam_net *net)
{
    if (!net) return;
    net_model_free(&net->shape);
    en_params_free(net->params);
    net_view_close(&net->view);
    wt_close(net->store);
    wt_close(net->seeded.statistics);
    free(net->weights);
    free(net);
}

char *cam_weights_wanted(const char *name)
{
    const net_arch *arch = net_arch_find(name);
    wt_paths places;
    if (!arch || wt_candidates(&(wt_names){arch->name, (const char *[]){arch->official, NULL}, arch->hub}, &places, NULL) != EN_OK) return NULL;
    size_t size = 1;
    for (size_t i = 0; i < places.count; i++) size += strlen(places.path[i]) + 1;
    char *text = malloc(size), *end = text;
    for (size_t i = 0; text && i < places.count; i++) end += sprintf(end, "%s\n", places.path[i]);
    if (text && end > text) end[-1] = 0;
    wt_paths_free(&places);
    return text;
}

const char *cam_net_name(const cam_net *net) { return net->arch->name; }
const char *cam_net_weights(const cam_net *net) { return net->weights; }
int32_t cam_net_seeded(const cam_net *net) { return net->seeded.net != NULL; }
int32_t cam_net_classes(const cam_net *net) { return net->classes; }
size_t cam_net_bytes(const cam_net *net) { return net->params ? en_params_bytes(net->params) : 0; }

const char *cam_net_layer(const cam_net *net, int32_t i, int32_t chw[3])
{
    if (i < 0 || i >= net->shape.count) return NULL;
    const en_shape *s = en_shape_of(net->shape.graph, net->shape.layers[i].ref);
    for (int k = 0; chw && k < 3; k++) chw[k] = s->dim[k + 1];
    return net->shape.layers[i].name;
}

const char *cam_net_layer_name(const cam_net *net, const char *layer)
{
    return net_same_name(layer, "pre_pool") ? net->arch->pre_pool : net_same_name(layer, "conv") ? net->arch->conv : layer;
}

const char *cam_list(const char *kind, int32_t i)
{
    if (!strcmp(kind, "nets")) return net_arch_at(i) ? net_arch_at(i)->name : NULL;
    if (!strcmp(kind, "methods")) return cam_method_at(i) ? cam_method_at(i)->name : NULL;
    if (!strcmp(kind, "utilities")) return i >= 0 && i < CAM_UTILITIES ? cam_utility_name((cam_utility)i) : NULL;
    return NULL;
}

cam_class cam_class_at(int32_t index)
{
    net_class from = net_class_at(index);
    cam_class c;
    memcpy(c.wnid, from.wnid, sizeof c.wnid);
    memcpy(c.name, from.name, sizeof c.name);
    return c;
}

cam_status cam_class_find(const char *text, int32_t *index, cam_error *e)
{
    int found;
    EN_TRY(net_class_find(text, &found, cam_engine_error(e)));
    *index = found;
    return EN_OK;
}

const char *cam_version(void) { return "0.1.0"; }

const char *cam_instruction_set(void) { return en_kernels()->name; }

const char *cam_build(void)
{
#if defined __clang__
    return "clang " __clang_version__;
#else
    return "gcc " __VERSION__;
#endif
}
