/* SPDX-License-Identifier: MIT */
/* Where a network's weights may lie. In this order:
 *     $CAM_WEIGHTS; weights/ beside the program or two folders above it (the source tree of build-CC/tools/PROGRAM);
 *     $XDG_DATA_HOME/shapleycam, else ~/.local/share/shapleycam: in each NAME.camw, NAME.safetensors, NAME.pth, the official names;
 *     torch hub's cache, $TORCH_HOME/hub/checkpoints, else ~/.cache/torch/hub/checkpoints: the official names;
 *     the Hugging Face hub's cache, $HF_HOME/hub, else ~/.cache/huggingface/hub: model.safetensors in any snapshot.
 * $XDG_CACHE_HOME stands for ~/.cache where it is set. The environment is read at the time of the call. */
#ifndef WEIGHTS_LOOKUP_H
#define WEIGHTS_LOOKUP_H

#include "engine/status.h"

#include <stddef.h>

typedef struct wt_names {
    const char *net;             /* "resnet18"                                                       */
    const char *const *official; /* file names, ended by NULL: {"resnet18-f37072fd.pth", NULL}; may be NULL */
    const char *hub;             /* "timm/swin_tiny_patch4_window7_224.ms_in1k"; may be NULL         */
} wt_names;

typedef struct wt_paths {
    char **path; /* count strings, owned by this struct */
    size_t count, capacity;
} wt_paths;

/* All places in their order, whether or not something is there: what to tell a user who has no weights. */
en_status wt_candidates(const wt_names *names, wt_paths *out, en_error *e);
void wt_paths_free(wt_paths *paths); /* {0} is fine */

/* The first candidate that exists; the caller frees *path. EN_E_IO: there is none. */
en_status wt_lookup(const wt_names *names, char **path, en_error *e);

#endif
