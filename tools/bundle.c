/* SPDX-License-Identifier: MIT */
/* Bundles and dumps. */
#include "tools/bundle.h"

#include "weights/checksum.h"
#include "weights/file.h"
#include "weights/json.h"
#include "weights/store.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- bundles ---- */

static int is_empty(const char *folder)
{
    DIR *d = opendir(folder);
    int entries = 0;
    if (!d) return 0;
    while (readdir(d)) entries++;
    closedir(d);
    return entries <= 2; /* . and .. */
}

en_status bundle_open(const char *folder, int force, bundle *out, en_error *e)
{
    *out = (bundle){.folder = folder};
    if (!mkdir(folder, 0777)) return EN_OK;
    if (errno != EEXIST) return en_fail(e, EN_E_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    struct stat st;
    if (stat(folder, &st) || !S_ISDIR(st.st_mode)) return en_fail(e, EN_E_IO, "%s: is there and is no folder", folder);
    if (!force && !is_empty(folder)) return en_fail(e, EN_E_ARG, "%s: is not empty; want a new folder, or --force", folder);
    return EN_OK;
}

static en_status note_file(bundle *b, const char *name, const void *bytes, size_t size, en_error *e)
{
    if (b->count == b->room) {
        size_t room = b->room ? 2 * b->room : 16;
        bundle_file *grown = realloc(b->files, room * sizeof *grown);
        if (!grown) return en_fail(e, EN_E_NOMEM, "%s: out of memory", b->folder);
        b->files = grown;
        b->room = room;
    }
    bundle_file *f = &b->files[b->count];
    f->name = strdup(name);
    if (!f->name) return en_fail(e, EN_E_NOMEM, "%s: out of memory", b->folder);
    f->size = size;
    wt_sha256 s;
    uint8_t digest[32];
    wt_sha256_start(&s);
    wt_sha256_add(&s, bytes, size);
    wt_sha256_end(&s, digest);
    wt_sha256_text(digest, f->sha256);
    b->count++;
    return EN_OK;
}

static en_status write_into(const bundle *b, const char *name, const void *bytes, size_t size, en_error *e)
{
    char path[4096];
    if ((size_t)snprintf(path, sizeof path, "%s/%s", b->folder, name) >= sizeof path) return en_fail(e, EN_E_ARG, "%s: the path is too long", b->folder);
    return wt_file_write(path, &(wt_part){bytes, size}, 1, e);
}

en_status bundle_write(bundle *b, const char *name, const void *bytes, size_t size, en_error *e)
{
    EN_TRY(write_into(b, name, bytes, size, e));
    return note_file(b, name, bytes, size, e);
}

static en_status write_npy(bundle *b, const char *name, int height, int width, const float *data, en_error *e)
{
    char header[128];
    size_t bytes = (size_t)height * (size_t)width * sizeof *data;
    int used = snprintf(header, sizeof header, "%c%s%c%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%d, %d), }", 0x93, "NUMPY", 1, 0, 118, 0, height, width);
    char *file = malloc(sizeof header + bytes);
    if (!file) return en_fail(e, EN_E_NOMEM, "%s: out of memory", name);
    memset(file, ' ', sizeof header);
    memcpy(file, header, (size_t)used);
    file[sizeof header - 1] = '\n';
    memcpy(file + sizeof header, data, bytes);
    en_status status = bundle_write(b, name, file, sizeof header + bytes, e);
    free(file);
    return status;
}

en_status bundle_write_map(bundle *b, const cam_ctx *ctx, const char *stem, const cam_request *request, int i, const cam_result *result, cam_input input,
                           en_error *e)
{
    char name[512];
    size_t cells = (size_t)result->height * (size_t)result->width;
    float *raw = malloc(cells * sizeof *raw);
    if (!raw) return en_fail(e, EN_E_NOMEM, "%s: out of memory", stem);
    for (size_t k = 0; k < cells; k++) raw[k] = (float)cam_raw_map(ctx, 0, i)[k];
    snprintf(name, sizeof name, "%s-%s-%s-%d.npy", stem, request->layer, request->method, result->cls);
    en_status status = write_npy(b, name, input.height, input.width, cam_map(ctx, 0, i), e);
    snprintf(name, sizeof name, "%s-%s-%s-%d.raw.npy", stem, request->layer, request->method, result->cls);
    if (status == EN_OK) status = write_npy(b, name, result->height, result->width, raw, e);
    free(raw);
    return status;
}

en_status bundle_close(bundle *b, const cam_net *net, int argc, char **argv, en_error *e)
{
    wt_json_writer w = {0};
    char *text;
    size_t size;
    wt_json_open(&w, '{');
    wt_json_put_key(&w, "program"), wt_json_put_string(&w, "cam_run");
    wt_json_put_key(&w, "version"), wt_json_put_string(&w, cam_version());
    wt_json_put_key(&w, "net"), wt_json_put_string(&w, cam_net_name(net));
    wt_json_put_key(&w, "weights"), wt_json_put_string(&w, cam_net_weights(net));
    if (cam_net_seeded(net)) wt_json_put_key(&w, "warning"), wt_json_put_string(&w, "seeded weights: made up, not a finding");
    wt_json_put_key(&w, "command");
    wt_json_open(&w, '[');
    for (int i = 0; i < argc; i++) wt_json_put_string(&w, argv[i]);
    wt_json_close(&w, ']');
    wt_json_put_key(&w, "files");
    wt_json_open(&w, '[');
    for (size_t i = 0; i < b->count; i++) {
        wt_json_open(&w, '{');
        wt_json_put_key(&w, "name"), wt_json_put_string(&w, b->files[i].name);
        wt_json_put_key(&w, "size"), wt_json_put_integer(&w, (int64_t)b->files[i].size);
        wt_json_put_key(&w, "sha256"), wt_json_put_string(&w, b->files[i].sha256);
        wt_json_close(&w, '}');
    }
    wt_json_close(&w, ']');
    wt_json_close(&w, '}');
    EN_TRY(wt_json_take(&w, &text, &size, e));
    en_status status = write_into(b, "manifest.json", text, size, e);
    free(text);
    return status;
}

void bundle_free(bundle *b)
{
    for (size_t i = 0; i < b->count; i++) free(b->files[i].name);
    free(b->files);
    *b = (bundle){0};
}

/* ---- dumps ---- */

typedef struct dump {
    wt_array *arrays;
    char (*names)[64];
    float **owned; /* raw maps turned to float32 */
    size_t count, room;
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

static en_status collect(dump *d, const cam_ctx *ctx, const cam_net *net, const cam_request *requests, const cam_result *results, int count,
                         const int64_t *size, en_error *e)
{
    int32_t chw[3];
    char name[64], prefix[16];
    const float *a = cam_activation(ctx, 0, 0, chw);
    const int64_t shape[3] = {chw[0], chw[1], chw[2]};
    add(d, "logits", WT_F32, 2, (int64_t[]){1, cam_net_classes(net)}, cam_logits(ctx, 0));
    add(d, "activation", WT_F32, 3, shape, a);
    for (int i = 0; i < count; i++) {
        const float *gradient = cam_gradient(ctx, 0, i), *hvp = cam_hvp_activation(ctx, 0, i);
        prefix[0] = 0;
        if (gradient) snprintf(prefix, sizeof prefix, "%d/", results[i].cls);
        snprintf(name, sizeof name, "%svalue", prefix);
        if (gradient && !has(d, name)) {
            add(d, name, WT_F64, 1, (int64_t[]){1}, &results[i].utility);
            snprintf(name, sizeof name, "%sgradient", prefix), add(d, name, WT_F32, 3, shape, gradient);
            snprintf(name, sizeof name, "%shvp", prefix), add(d, name, WT_F32, 3, shape, hvp);
        }
        snprintf(name, sizeof name, "%s%s/raw", prefix, requests[i].method);
        if (has(d, name)) continue;
        EN_TRY(add_raw(d, name, cam_raw_map(ctx, 0, i), shape + 1, e));
        snprintf(name, sizeof name, "%s%s/map", prefix, requests[i].method), add(d, name, WT_F32, 2, size, cam_map(ctx, 0, i));
    }
    return EN_OK;
}

en_status dump_write(const char *path, const cam_ctx *ctx, const cam_net *net, const cam_request *requests, const cam_result *results, int count,
                     int height, int width, en_error *e)
{
    size_t room = 5 * (size_t)count + 2;
    dump d = {calloc(room, sizeof *d.arrays), calloc(room, sizeof *d.names), calloc(room, sizeof *d.owned), 0, room};
    en_status status = d.arrays && d.names && d.owned ? EN_OK : en_fail(e, EN_E_NOMEM, "%s: out of memory", path);
    if (status == EN_OK) status = collect(&d, ctx, net, requests, results, count, (int64_t[]){height, width}, e);
    if (status == EN_OK) status = wt_save_safetensors(path, d.arrays, d.count, (const char *const[]){"format", "shapleycam-dump", NULL}, e);
    for (size_t i = 0; d.owned && i < d.count; i++) free(d.owned[i]);
    free(d.arrays);
    free(d.names);
    free(d.owned);
    return status;
}
