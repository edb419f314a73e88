/* SPDX-License-Identifier: MIT */
/* Checkpoints: named tensors in a file. Opened directly as users have them: .safetensors, also sharded (by the index file); .pth of
 * torch.save, zip or as before torch 1.6; .npz; our own .camw. Recognised by content, mapped where possible, never trusted. Pickle
 * is interpreted by an allow-list; nothing in a file is ever executed. */
#ifndef WEIGHTS_STORE_H
#define WEIGHTS_STORE_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

enum { WT_MAX_RANK = 8 };

typedef enum wt_dtype { WT_F32, WT_F64, WT_F16, WT_BF16, WT_I64, WT_I32, WT_I16, WT_I8, WT_U8, WT_BOOL } wt_dtype;

/* The name of a dtype as PyTorch writes it ("float32"), and the bytes of one element. */
const char *wt_dtype_name(wt_dtype dtype);
size_t wt_dtype_size(wt_dtype dtype);

typedef struct wt_tensor {
    const char *name; /* owned by the store                                        */
    wt_dtype dtype;
    int rank;
    int64_t dim[WT_MAX_RANK];
    int64_t stride[WT_MAX_RANK]; /* in elements, not negative; row-major unless a torch file says otherwise */
    const uint8_t *data;         /* the first element, in the mapped file          */
} wt_tensor;

typedef struct wt_store wt_store;

/* Opens and checks a whole checkpoint. Every tensor lies inside the file; names are unique. wt_close(NULL) is fine. */
en_status wt_open(const char *path, wt_store **out, en_error *e);

/* The same for a checkpoint that lies in several files, at least one. Of a training checkpoint with two sets of weights `ema` asks for
 * their moving average, and fails without one; wt_open takes the plain ones. */
en_status wt_open_all(const char *const *paths, size_t count, int ema, wt_store **out, en_error *e);

/* The same from memory that stays the caller's and must outlive the store; `name` stands for the path in messages. */
en_status wt_open_bytes(const char *name, const void *bytes, size_t size, wt_store **out, en_error *e);
void wt_close(wt_store *store);

size_t wt_count(const wt_store *store);
const wt_tensor *wt_at(const wt_store *store, size_t i); /* in the file's order, i < wt_count */
const wt_tensor *wt_find(const wt_store *store, const char *name); /* NULL if absent */
const char *wt_path(const wt_store *store);
const char *wt_format(const wt_store *store); /* "camw", "torch", "torch before 1.6", "safetensors", "sharded safetensors", "npz", "several files" */

/* The files that a checkpoint is made of, an index included, with their sizes and SHA-256: the path of number i, NULL past the last.
 * What is hashed is what was mapped and checked. Takes about a second for each gigabyte. */
const char *wt_file_at(const wt_store *store, size_t i, uint64_t *bytes, char sha256[65]);

/* Copies elements first .. first+count-1, counted in row-major order, as float32; integers are refused. Several threads may read
 * at once. What has been read is given back to the system: the pages of the file do not stay resident. */
en_status wt_read(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count, float *out, en_error *e);

/* The same elements where they lie, if that is all there is to reading them: float32, aligned, in row-major order; otherwise NULL. They can be
 * read until the store is closed. */
const float *wt_peek(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count);

/* The same elements as they are, each wt_dtype_size bytes. */
en_status wt_read_raw(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count, void *out, en_error *e);

/* The number of elements: the product of the dimensions, 1 for rank 0. It fits, since every tensor lies inside its file. */
size_t wt_elements(const wt_tensor *tensor);

/* A tensor on its way into a file. */
typedef struct wt_output {
    const char *name;
    wt_dtype dtype; /* in the file */
    int rank;
    int64_t dim[WT_MAX_RANK];
    /* Elements first .. first+count-1 in row-major order, as `from`: the dtype itself or, for the writer to round, float32. */
    en_status (*read)(const struct wt_output *self, size_t first, size_t count, void *out, en_error *e);
    wt_dtype from;
    const void *self, *tensor; /* for `read` */
} wt_output;

/* A tensor of a store under another name and dtype: its own, float32, float16 or bfloat16. All of them must outlive the result. */
wt_output wt_output_of(const wt_store *store, const wt_tensor *tensor, const char *name, wt_dtype dtype);

/* A dense row-major array in memory, to be saved. */
typedef struct wt_array {
    const char *name;
    wt_dtype dtype;
    int rank;
    int64_t dim[WT_MAX_RANK];
    const void *data;
} wt_array;

/* Writes a .safetensors file, atomically; the same tensors give the same bytes. Wider elements come first, so that all data is
 * aligned; otherwise the order is the caller's. `metadata` holds pairs key, value, ended by NULL; it may be NULL itself. Memory does
 * not grow with the tensors. */
en_status wt_write_safetensors(const char *path, const wt_output *tensors, size_t count, const char *const *metadata, en_error *e);

/* The same for arrays in memory. */
en_status wt_save_safetensors(const char *path, const wt_array *arrays, size_t count, const char *const *metadata, en_error *e);

#endif
