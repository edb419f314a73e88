/* SPDX-License-Identifier: MIT */
/* A network with its weights. */
#include "cam/internal.h"
#include "engine/cpu.h"
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

static en_status no_memory(en_error *e) { return en_fail(e, EN_E_NOMEM, "network: out of memory"); }

static int is_seeded(const char *weights) { return weights && !strncmp(weights, "seeded", 6) && (!weights[6] || weights[6] == ':'); }

/* Made-up weights. */
static en_status open_seeded(cam_net *net, const char *weights, en_error *e)
{
    char text[64];
    EN_TRY(parse_seed(weights, &net->seeded.seed, e));
    net->seeded.net = net->arch->name;
    snprintf(text, sizeof text, "seeded:%llu", (unsigned long long)net->seeded.seed);
    if (!(net->weights = strdup(text))) return no_memory(e);
    EN_TRY(wt_seeded_statistics(net->arch->name, &net->seeded.statistics, e));
    return en_params_new(net_source_seeded(&net->seeded), &net->params, e);
}

/* A checkpoint's network and number of classes. */
static en_status find_net(cam_net *net, en_error *e)
{
    if (net->arch) return net_view_classes(&net->view, net->arch, &net->classes, e);
    return net_recognise(&net->view, &net->arch, &net->classes, e);
}

static en_status open_file(cam_net *net, const char *weights, const cam_net_options *o, en_error *e)
{
    const net_remap remap = {o->map, o->strip};
    if (weights && !(net->weights = strdup(weights))) return no_memory(e);
    if (!weights)
        EN_TRY(wt_lookup(&(wt_names){net->arch->name, (const char *[]){net->arch->official, NULL}, net->arch->hub}, &net->weights, e));
    EN_TRY(wt_open(net->weights, &net->store, e));
    EN_TRY(net_view_open(net->store, &remap, &net->view, e));
    EN_TRY(find_net(net, e));
    return en_params_new(net_source_view(&net->view), &net->params, e);
}

static en_status open_weights(cam_net *net, const char *weights, const cam_net_options *o, en_error *e)
{
    int none = weights && !strcmp(weights, CAM_NO_WEIGHTS), file = !none && !is_seeded(weights);
    if (!net->arch && (!weights || !file)) return en_fail(e, EN_E_ARG, "network auto: want a file with weights, to see which network it is");
    if (!file && (o->map || o->strip)) return en_fail(e, EN_E_ARG, "%s: names of tensors can be changed in a file only", weights);
    net->classes = NET_CLASSES;
    if (file) return open_file(net, weights, o, e);
    if (is_seeded(weights)) return open_seeded(net, weights, e);
    return (net->weights = strdup(weights)) ? EN_OK : no_memory(e);
}

/* What a user says of classes, what the file says, what is known of 1000, or nothing but numbers. */
static en_status name_classes(cam_net *net, const char *file, const wt_metadata *known, en_error *e)
{
    if (file) return net_labels_read(file, net->classes, &net->labels, e);
    if (known && known->class_count == net->classes) return net_labels_from(known->classes, net->classes, &net->labels, e);
    return net->classes == NET_CLASSES ? net_labels_imagenet(&net->labels, e) : net_labels_numbered(net->classes, &net->labels, e);
}

/* Writes the network down for one usual input, for the names and shapes of its layers and parameters. */
static en_status describe(cam_net *net, const cam_net_options *o, en_error *e)
{
    const wt_metadata *known = net->store ? wt_metadata_of(net->store) : NULL;
    net->recipe = known && known->preprocess ? net_recipe_stored(known->preprocess) : net->arch->recipe();
    EN_TRY(name_classes(net, o->classes, known, e));
    EN_TRY(net_model_build(net->arch, net->classes, 1, net->recipe.crop_height, net->recipe.crop_width, net->params, &net->shape, e));
    return net->store ? net_check(&net->view, net->shape.graph, e) : EN_OK;
}

/* Reads and packs every parameter. */
static en_status read_parameters(cam_net *net, en_error *e)
{
    en_pool *pool;
    EN_TRY(en_pool_new(0, &pool, e));
    en_status status = en_graph_prepare(net->shape.graph, pool, e);
    en_pool_free(pool);
    return status;
}

cam_status cam_net_open_with(const char *name, const char *weights, const cam_net_options *options, cam_net **out, cam_error *error)
{
    const cam_net_options nothing = {.size = sizeof nothing}, *o = options ? options : &nothing;
    en_error *e = cam_engine_error(error);
    *out = NULL;
    const net_arch *arch = name ? net_arch_find(name) : NULL;
    if (!arch && !(name && net_same_name(name, "auto"))) return en_fail(e, EN_E_ARG, "no network is called '%s'", name ? name : "");
    if (o->size != sizeof *o) return en_fail(e, EN_E_ARG, "cam_net_options: size %u, want %zu", (unsigned)o->size, sizeof *o);
    cam_net *net = calloc(1, sizeof *net);
    if (!net) return no_memory(e);
    net->arch = arch;
    en_status status = open_weights(net, weights, o, e);
    if (status == EN_OK) status = describe(net, o, e);
    if (status == EN_OK && net->params && !o->defer) status = read_parameters(net, e);
    if (status != EN_OK) {
        cam_net_close(net);
        return status;
    }
    *out = net;
    return EN_OK;
}

cam_status cam_net_open(const char *name, const char *weights, cam_net **out, cam_error *error)
{
    return cam_net_open_with(name, weights, NULL, out, error);
}

void cam_net_close(cam_net *net)
{
    if (!net) return;
    net_model_free(&net->shape);
    net_labels_free(&net->labels);
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

static cam_status find_class(const net_labels *labels, const char *text, int32_t *index, en_error *e)
{
    int found;
    EN_TRY(net_class_find(labels, text, &found, e));
    *index = found;
    return EN_OK;
}

cam_status cam_class_find(const char *text, int32_t *index, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    net_labels labels;
    EN_TRY(net_labels_imagenet(&labels, e));
    cam_status status = find_class(&labels, text, index, e);
    net_labels_free(&labels);
    return status;
}

cam_status cam_net_class_find(const cam_net *net, const char *text, int32_t *index, cam_error *error)
{
    return find_class(&net->labels, text, index, cam_engine_error(error));
}

static const wt_class *class_of(const cam_net *net, int32_t index)
{
    static const wt_class nobody = {"", ""};
    return index >= 0 && index < net->classes ? &net->labels.of[index] : &nobody;
}

const char *cam_net_class_name(const cam_net *net, int32_t index) { return class_of(net, index)->name; }
const char *cam_net_class_id(const cam_net *net, int32_t index) { return class_of(net, index)->id; }

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
