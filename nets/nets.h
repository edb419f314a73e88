/* SPDX-License-Identifier: MIT */
/* Networks: each is a page of code that writes itself into a graph, with parameters under the names of the official checkpoints and
 * layers under the names of the official modules. */
#ifndef NETS_NETS_H
#define NETS_NETS_H

#include "engine/engine.h"
#include "nets/preprocess.h"
#include "weights/store.h"

enum { NET_NUMBERS = 8, NET_MIN_SIDE = 32, NET_MAX_SIDE = 4096 };

typedef struct net_builder net_builder;

typedef struct net_arch {
    const char *name;          /* as golden files and --net have it                       */
    const char *aliases;       /* torchvision's and timm's long names, space separated    */
    en_ref (*build)(net_builder *b, en_ref x); /* image [N,3,H,W] -> logits [N,classes]   */
    int number[NET_NUMBERS];   /* what the family's page needs to know                    */
    const char *pre_pool, *conv; /* the layers of the paper's two tables                  */
    net_recipe (*recipe)(void);  /* what the weights were trained with                    */
    const char *official;      /* the file name of torchvision's weights                  */
    const char *hub;           /* the Hugging Face repository of timm's, or NULL          */
} net_arch;

/* Number i of nets.def, NULL past the end; by name or alias, without regard to case, '-' and '_'. */
const net_arch *net_arch_at(int i);
const net_arch *net_arch_find(const char *name);

/* Whether two names are the same without regard to case, '-' and '_'; '+' and "plus" read as p. */
int net_same_name(const char *a, const char *b);

/* A network written into a graph that is not finished yet. The caller adds cuts and finishes. */
typedef struct net_layer {
    char name[96];
    en_ref ref;
    int rows, columns; /* of tokens [C, 1, 1 + rows*columns]: the grid behind the class token; otherwise 0 */
} net_layer;

typedef struct net_model {
    const net_arch *arch;
    en_graph *graph;     /* owned */
    en_ref input, logits;
    net_layer *layers;   /* owned; in order of evaluation, "input" first */
    int count;
} net_model;

/* Sizes from NET_MIN_SIDE to NET_MAX_SIDE. On failure *out is {0}; net_model_free({0}) is fine. */
en_status net_model_build(const net_arch *arch, int classes, int n, int height, int width, en_params *params, net_model *out, en_error *e);
void net_model_free(net_model *model);

/* A layer by its name, or "pre_pool" or "conv"; EN_NONE with a message that names near ones. */
en_ref net_model_layer(const net_model *model, const char *name, en_error *e);

/* The layer of a node whose positions are tokens behind a class token; NULL for maps. */
const net_layer *net_model_tokens(const net_model *model, en_ref ref);

/* ---- where parameters come from ---- */

/* A checkpoint under our names (nets/remap.h), with a message that names key, found and wanted shape when one does not fit. */
typedef struct net_view net_view;
en_source net_source_view(const net_view *view);

/* Seeded stand-ins (weights/seeded.h). `seeded` must outlive the source. */
typedef struct net_seeded {
    const char *net;
    uint64_t seed;
    wt_store *statistics; /* of batch norm, from wt_seeded_statistics; NULL for a network without any */
} net_seeded;
en_source net_source_seeded(net_seeded *seeded);

/* Whether the checkpoint holds every parameter of the graph, with its shape and in floating point, and nothing else. Reads no data. */
en_status net_check(const net_view *view, const en_graph *graph, en_error *e);

#endif
