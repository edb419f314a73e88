/* SPDX-License-Identifier: MIT */
/* Parameters: read once from wherever they come from, turned once into the form that a kernel wants, and shared by every graph that
 * is built on them. A blob is such a form, found by its name: "fc.weight/panels". */
#ifndef ENGINE_PARAMS_H
#define ENGINE_PARAMS_H

#include "engine/pool.h"
#include "engine/status.h"
#include "engine/tensor.h"

/* Where parameters come from. read() delivers elements first .. first+count-1 of a tensor in row-major order; it fails, with a message
 * that names the key, if there is no such tensor or it has another shape. It may be called from several threads at once. */
typedef struct en_source {
    void *self;
    en_status (*read)(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e);
    /* The same elements where they lie, which must be there as long as the source; NULL if they have to be read. May be NULL itself. */
    const float *(*peek)(void *self, const char *key, const en_shape *shape, size_t first, size_t count);
} en_source;

typedef struct en_params en_params;

/* The source must outlive the parameters. en_params_free(NULL) is fine; no graph may use them then. */
en_status en_params_new(en_source source, en_params **out, en_error *e);
void en_params_free(en_params *params);

/* Bytes held in blobs. */
size_t en_params_bytes(const en_params *params);

/* A run of elements straight from the source. */
en_status en_params_read(en_params *params, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e);

/* The same where it lies, or NULL. */
const float *en_params_peek(en_params *params, const char *key, const en_shape *shape, size_t first, size_t count);

/* What a blob is made of: `floats` numbers, filled in pieces that several threads may make at once: make(arg, i, data, e) for i from 0 to
 * pieces - 1, `data` being the whole blob. */
typedef struct en_blob {
    const char *name;
    size_t floats;
    int pieces;
    en_status (*make)(const void *arg, int piece, float *data, en_error *e);
    const void *arg; /* copied */
    size_t arg_size;
} en_blob;

/* Blobs are asked for one after another, and those that do not exist yet are then made together: nothing waits for one thread to have
 * finished one blob. Between begin and end, other threads that begin wait. */
void en_params_begin(en_params *params);

/* The blob of that name goes to *out, at the latest when the batch ends well. It lives as long as the parameters. */
en_status en_params_blob(en_params *params, const en_blob *blob, const float **out, en_error *e);

/* A whole parameter as it is, padded with zeros to whole blocks of 16. The shape must live until the batch ends. */
en_status en_params_plain(en_params *params, const char *key, const en_shape *shape, const float **out, en_error *e);

/* Makes what the batch has asked for, unless `status`, which says how that went, is an error; returns it or the first one in making. After an
 * error the parameters are what they were before the batch, and *out are not to be used. */
en_status en_params_end(en_params *params, en_pool *pool, en_status status, en_error *e);

#endif
