/* SPDX-License-Identifier: MIT */
/* Inside of a graph, for the passes. */
#ifndef ENGINE_BUILD_H
#define ENGINE_BUILD_H

#include "engine/memory.h"
#include "engine/op.h"

typedef struct en_cut_set {
    en_ref *refs;
    int count;
} en_cut_set;

struct en_graph {
    en_params *params;
    en_pool *pool;
    const kn_table *kernels;
    en_arena arena; /* names, keys, cuts */
    en_node *node;
    int nodes, room;
    en_cut_set cut[EN_MAX_CUTS];
    int cuts, seeds;
    en_error error;  /* the first one while building */
    float *memory;   /* every value, adjoint and scratch, at planned offsets */
    size_t floats, scratch, worker_scratch, worker_floats; /* offsets; room of one worker */
    int by_image, images; /* so many nodes from the first run image by image, of how many (plan.c) */
    int tail_only, first_order, exact, finished;
    int sweep_cut, sweep_seeds, sweep_order; /* of the reverse pass under way */
};

/* The passes, in the order in which en_graph_finish runs them. */
void en_mark_tails(en_graph *g);                       /* who depends on which cut            */
en_status en_prepare(en_graph *g, en_error *e);        /* parameters into blobs               */
void en_fuse(en_graph *g);                             /* fold batch norm, residual, activation into the op before */
en_status en_plan(en_graph *g, en_error *e);           /* memory                              */

/* Whether a node is in the tail of cut k, and whether it carries a tangent there. */
static inline int en_in_tail(const en_node *n, int k) { return (int)(n->tail >> k & 1); }
static inline int en_active(const en_node *n, int k) { return (int)((n->tail | n->cut) >> k & 1); }

#endif
