/* SPDX-License-Identifier: MIT */
/* .camw, our own checkpoint format: weights that can be used where they are mapped, and beside them what one has to know in order to
 * use them: the network, its classes, how a picture is prepared, and which files all that was made from. README.md has the layout,
 * byte by byte. wt_open opens it like any other checkpoint; here is what only this format has. */
#ifndef WEIGHTS_CAMW_H
#define WEIGHTS_CAMW_H

#include "weights/store.h"

typedef struct wt_class {
    const char *id;   /* a WordNet id, "n02099712"; "" for classes that have none */
    const char *name; /* "Labrador retriever"                                     */
} wt_class;

typedef struct wt_preprocess { /* resize, crop the centre, scale to 0..1, subtract mean, divide by std */
    const char *sizing; /* "shorter": the shorter side becomes `shorter`; "whole": resized to width x height; "as-is": has that size */
    int shorter;
    const char *filter; /* "bilinear" or "bicubic"; "none" with "as-is" */
    int width, height;  /* of the network's input */
    float mean[3], std[3]; /* red, green, blue */
} wt_preprocess;

typedef struct wt_origin { /* a file that the weights were read from */
    const char *name;   /* without its folder            */
    uint64_t bytes;
    const char *sha256; /* 64 lower-case digits of it all */
} wt_origin;

typedef struct wt_metadata {
    const char *net; /* "resnet18"; "" if not said */
    const wt_class *classes;
    int class_count; /* 0 if not said; else one for each logit */
    const wt_preprocess *preprocess; /* NULL if not said */
    const wt_origin *origins;
    int origin_count;
} wt_metadata;

/* What a .camw says of itself, owned by the store; NULL for every other format. It has been checked: texts are UTF-8 without NUL,
 * sizes positive, numbers finite, std not 0, words among those named above. That `net` exists is for the caller to find out. */
const wt_metadata *wt_metadata_of(const wt_store *store);

/* Compares every checksum of a .camw, which opening does not, so as to touch no more than is needed. */
en_status wt_camw_verify(const wt_store *store, en_error *e);

/* Writes a .camw, atomically, of tensors in float32, float16 or bfloat16, in this order: that of their use, for reading ahead. Same
 * arguments, same bytes. Memory does not grow with the tensors. */
en_status wt_camw_write(const char *path, const wt_metadata *metadata, const wt_output *tensors, size_t count, en_error *e);

#endif
