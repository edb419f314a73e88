/* SPDX-License-Identifier: MIT */
/* What cam_convert writes: for each parameter of a network the tensor of the checkpoint that holds it, and how it is changed. */
#ifndef TOOLS_CONVERT_H
#define TOOLS_CONVERT_H

#include "nets/remap.h"
#include "weights/camw.h"

#include <signal.h>

typedef struct convert_item {
    const char *key;         /* the network's name of it */
    const wt_tensor *tensor; /* to be read; NULL: all zeros, because it is missing */
    const wt_tensor *from;   /* the same as the file has it */
    const float *scale;      /* one factor for each index of the first axis, or NULL */
    const float *values;     /* what stands there instead, or NULL */
    const wt_store *store;
    const volatile sig_atomic_t *stop;
} convert_item;

typedef struct convert_plan {
    const net_arch *arch;    /* NULL: no network, all tensors as they are */
    int classes;
    net_view view;
    net_model model;
    convert_item *item;      /* those that are written, in the order of their use; owned, as all below */
    wt_output *output;       /* the same, for the writers */
    size_t count;
    const wt_tensor **unused;
    size_t unused_count;
    const char **missing;    /* of the network's parameters; written as zeros where that is allowed */
    size_t missing_count, forbidden; /* forbidden: how many of them are not allowed to be missing */
    float **made;            /* arrays that folding has made */
    size_t made_count;
} convert_plan;

typedef struct convert_options {
    const char *net;           /* a name, "auto", or NULL for none */
    const net_remap *remap;
    const char *allow_missing; /* names, separated by commas; may be NULL */
    int dtype;                 /* a wt_dtype for tensors of at least two axes; -1: each keeps its own */
    const volatile sig_atomic_t *stop; /* once not 0, reading fails with EN_E_CANCELLED */
} convert_options;

/* The store must outlive the plan, which stays where it is. On failure *out can be freed. */
en_status convert_plan_make(const wt_store *store, const convert_options *options, convert_plan *out, en_error *e);
void convert_plan_free(convert_plan *plan);

/* Folds each batch norm into the convolution before it: w' = w s, s = gamma / sqrt(var + eps). What is left is a batch norm that only
 * adds: weight 1, bias beta - mean s, mean 0, variance 1 - eps; so the file fits the network as before, here and in PyTorch. */
en_status convert_fold(convert_plan *plan, en_error *e);

#endif
