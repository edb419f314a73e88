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
} en_source;

typedef struct en_params en_params;

/* The source must outlive the parameters. en_params_free(NULL) is fine; no graph may use them then. */
en_status en_params_new(en_source source, en_params **out, en_error *e);
void en_params_free(en_params *params);

/* Bytes held in blobs. */
size_t en_params_bytes(const en_params *params);

/* A run of elements straight from the source. */
en_status en_params_read(en_params *params, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e);

/* The blob of that name; if it does not exist yet, `make` fills `floats` numbers of memory. Threads that ask at once wait for the first.
 * The blob lives as long as the parameters. */
typedef en_status en_make(void *arg, float *data, en_error *e);
en_status en_params_blob(en_params *params, const char *name, size_t floats, en_make *make, void *arg, const float **out, en_error *e);

/* A whole parameter as it is, padded with zeros to whole blocks of 16. */
en_status en_params_plain(en_params *params, const char *key, const en_shape *shape, const float **out, en_error *e);

#endif
