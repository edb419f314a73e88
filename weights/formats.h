/* SPDX-License-Identifier: MIT */
/* Inside weights/: what a checkpoint format has to do. store.c recognises a file by its first bytes and calls one parser, which
 * checks everything and calls wt_store_add for each tensor. */
#ifndef WEIGHTS_FORMATS_H
#define WEIGHTS_FORMATS_H

#include "weights/camw.h"
#include "weights/file.h"
#include "weights/store.h"

#include <stdatomic.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "checkpoints are little-endian and are read in place");

enum { WT_MAX_TENSORS = 1000000 };

struct wt_store {
    char *path;
    wt_file map;          /* {0} when the bytes are the caller's */
    atomic_size_t read;   /* bytes of it since its pages were given back, see wt_release */
    atomic_size_t *count_read; /* that, for readers of a store that does not change otherwise */
    const uint8_t *bytes; /* the whole checkpoint */
    size_t size;
    const char *format;     /* its name */
    int ema;                /* which weights of a training checkpoint are wanted */
    wt_store **shard;       /* the files of a sharded checkpoint, owned */
    size_t shards;
    struct wt_block *block; /* unpacked parts, owned */
    wt_tensor *tensor; /* in the file's order */
    size_t count, capacity;
    const wt_tensor **by_name; /* sorted, for wt_find */
    wt_metadata *metadata;     /* of a .camw, otherwise NULL */
};

/* Adds a tensor with dtype, rank, dim and stride set, whose first element is at `offset` in `bytes`, of which it may use `limit`:
 * a part of the file, or a block. Checks that all its elements lie before the limit, that the dimensions make sense, that it has no
 * more elements than the file or `bytes` have bytes, and that the name, which is copied, is a C string. */
en_status wt_store_add(wt_store *store, const wt_tensor *tensor, const char *name, size_t name_size, const uint8_t *bytes,
                       size_t offset, size_t limit, en_error *e);

/* Adds a tensor of another store, which must outlive this one. */
en_status wt_store_adopt(wt_store *store, const wt_tensor *tensor, en_error *e);

/* Tells that bytes from .. to-1 are read. Every few megabytes all pages of their file are given back; nothing happens for bytes in memory. */
void wt_release(const wt_store *store, const uint8_t *from, const uint8_t *to);

/* Memory that lives as long as the store. */
en_status wt_store_block(wt_store *store, size_t size, uint8_t **out, en_error *e);

en_status wt_parse_safetensors(wt_store *store, en_error *e);
en_status wt_parse_shards(wt_store *store, en_error *e);
en_status wt_parse_zip(wt_store *store, en_error *e); /* torch's, or .npz */
en_status wt_parse_legacy(wt_store *store, en_error *e);
en_status wt_parse_camw(wt_store *store, en_error *e);

/* The name of a dtype in .safetensors files, "F32". */
const char *wt_safetensors_dtype(wt_dtype dtype);

/* The number of elements of a shape; -1 if a dimension is negative or the product overflows (zeros do not hide that). */
int64_t wt_shape_elements(const int64_t *dim, int rank);

/* Row-major strides. */
void wt_row_major(const int64_t *dim, int rank, int64_t *stride);

/* Text from a file made fit for a message: printable ASCII, at most 79 characters. Returns out. */
typedef char wt_shown[80];
const char *wt_show(const void *text, size_t size, wt_shown out);

/* The order of two texts that have no NUL at their end, as strcmp would say it. */
int wt_compare_texts(const char *a, size_t a_size, const char *b, size_t b_size);

/* ---- pickle.c: what torch.save wrote, without running it ---- */

typedef struct wt_pickle_text { /* a part of the pickle's bytes */
    const char *at;
    size_t size;
} wt_pickle_text;

typedef struct wt_pickle_storage { /* a flat array kept outside the pickle */
    wt_pickle_text key;            /* its name there */
    wt_dtype dtype;
    int64_t elements;
    int64_t first; /* where tensors' offsets count from: 0 unless this is a view of another storage (before torch 0.4) */
} wt_pickle_storage;

typedef struct wt_pickle_tensor { /* a view of a storage; its shape is not yet checked against it */
    size_t storage;               /* index */
    int64_t offset;               /* of the first element */
    int rank;
    int64_t dim[WT_MAX_RANK], stride[WT_MAX_RANK];
} wt_pickle_tensor;

typedef struct wt_pickle_entry { /* one tensor of the state dict */
    wt_pickle_text name;
    size_t tensor; /* index */
} wt_pickle_entry;

typedef struct wt_pickle { /* arrays owned by this struct; texts point into the pickle's bytes */
    wt_pickle_storage *storage;
    wt_pickle_tensor *tensor;
    wt_pickle_entry *entry;
    size_t storages, tensors, entries;
    size_t size; /* bytes of the pickle itself: what follows belongs to the enclosing format */
} wt_pickle;

/* Interprets the pickle at the start of `bytes`, which must build a state dict or a dict that has one under model, state_dict or
 * the like; with `ema` the one with the weights' moving average. On failure *out is {0}. */
en_status wt_pickle_parse(const uint8_t *bytes, size_t size, int ema, wt_pickle *out, en_error *e);
void wt_pickle_free(wt_pickle *pickle);

/* The same for a pickle that builds a list of texts: they become the entries' names. */
en_status wt_pickle_parse_texts(const uint8_t *bytes, size_t size, wt_pickle *out, en_error *e);

/* The same for a pickle that builds a dict: *flag becomes the boolean of that key, *used the pickle's size. */
en_status wt_pickle_parse_flag(const uint8_t *bytes, size_t size, const char *key, int *flag, size_t *used, en_error *e);

/* Adds the tensor of an entry, whose storage has `available` bytes at `data`. */
en_status wt_store_add_view(wt_store *store, const wt_pickle *pickle, const wt_pickle_entry *entry, const uint8_t *data,
                            size_t available, en_error *e);

#endif
