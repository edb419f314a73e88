/* SPDX-License-Identifier: MIT */
/* The dump: a list of arrays that mostly stay where the context has them. */
#include "tools/dump.h"

#include "cam/methods.h"
#include "engine/status.h"
#include "weights/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct dump {
    wt_array *arrays;
    char (*names)[64];
    float **owned; /* raw maps turned to float32 */
    size_t count;
} dump;

static void add(dump *d, const char *name, wt_dtype dtype, int rank, const int64_t *dim, const void *data)
{
    wt_array *a = &d->arrays[d->count];
    snprintf(d->names[d->count], sizeof d->names[0], "%s", name);
    *a = (wt_array){.name = d->names[d->count], .dtype = dtype, .rank = rank, .data = data};
    for (int i = 0; i < rank; i++) a->dim[i] = dim[i];
    d->count++;
}

static int has(const dump *d, const char *name)
{
    for (size_t i = 0; i < d->count; i++)
        if (!strcmp(d->names[i], name)) return 1;
    return 0;
}

/* Raw maps are double in memory and float32 in the file. */
static en_status add_raw(dump *d, const char *name, const double *raw, const int64_t *dim, en_error *e)
{
    size_t n = (size_t)(dim[0] * dim[1]);
    float *copy = d->owned[d->count] = malloc(n * sizeof *copy);
    if (!copy) return en_fail(e, EN_E_NOMEM, "dump: out of memory");
    for (size_t i = 0; i < n; i++) copy[i] = (float)raw[i];
    add(d, name, WT_F32, 2, dim, copy);
    return EN_OK;
}

/* The arrays of request i that are not there yet. */
static en_status collect(dump *d, const cam_ctx *ctx, const request_list *list, const cam_result *results, int i, cam_input input,
                         en_error *e)
{
    int32_t chw[3];
    char prefix[16] = "", name[64];
    const float *gradient = cam_gradient(ctx, 0, i), *hvp = cam_hvp_activation(ctx, 0, i);
    const cam_request *q = &list->request[i];
    cam_activation(ctx, 0, i, chw);
    const int64_t shape[3] = {chw[0], chw[1], chw[2]}, raw[2] = {results[i].height, results[i].width};
    if (request_has_class(q)) snprintf(prefix, sizeof prefix, "%d/", results[i].cls);
    snprintf(name, sizeof name, "%sgradient", prefix);
    if (gradient && hvp && !has(d, name)) {
        add(d, name, WT_F32, 3, shape, gradient);
        snprintf(name, sizeof name, "%svalue", prefix), add(d, name, WT_F64, 1, (int64_t[]){1}, &results[i].utility);
        snprintf(name, sizeof name, "%shvp", prefix), add(d, name, WT_F32, 3, shape, hvp);
    }
    snprintf(name, sizeof name, "%s%s/raw", prefix, q->method);
    if (has(d, name)) return EN_OK;
    EN_TRY(add_raw(d, name, cam_raw_map(ctx, 0, i), raw, e));
    snprintf(name, sizeof name, "%s%s/map", prefix, q->method);
    add(d, name, WT_F32, 2, (int64_t[]){input.height, input.width}, cam_map(ctx, 0, i));
    if (gradient && cam_method_is_whole(cam_method_find(q->method))) {
        snprintf(name, sizeof name, "%s%s/gradient", prefix, q->method);
        add(d, name, WT_F32, 3, shape, gradient);
    }
    return EN_OK;
}

cam_status dump_write(const char *path, const cam_ctx *ctx, const cam_net *net, const request_list *list, const cam_result *results,
                      cam_input input, cam_error *error)
{
    en_error *e = (en_error *)error;
    size_t room = 6 * (size_t)list->count + 2;
    int32_t chw[3];
    dump d = {calloc(room, sizeof *d.arrays), calloc(room, sizeof *d.names), calloc(room, sizeof *d.owned), 0};
    en_status status = d.arrays && d.names && d.owned ? EN_OK : en_fail(e, EN_E_NOMEM, "%s: out of memory", path);
    if (status == EN_OK) {
        int first = 0; /* of the layer, not of the whole network */
        while (first < list->count - 1 && cam_method_is_whole(cam_method_find(list->request[first].method))) first++;
        const float *activation = cam_activation(ctx, 0, first, chw);
        add(&d, "logits", WT_F32, 2, (int64_t[]){1, cam_net_classes(net)}, cam_logits(ctx, 0));
        add(&d, "activation", WT_F32, 3, (int64_t[]){chw[0], chw[1], chw[2]}, activation);
    }
    for (int i = 0; i < list->count && status == EN_OK; i++) status = collect(&d, ctx, list, results, i, input, e);
    if (status == EN_OK)
        status = wt_save_safetensors(path, d.arrays, d.count, (const char *const[]){"format", "shapleycam-dump", NULL}, e);
    for (size_t i = 0; d.owned && i < room; i++) free(d.owned[i]);
    free(d.arrays);
    free(d.names);
    free(d.owned);
    return status;
}
