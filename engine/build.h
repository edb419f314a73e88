/* SPDX-License-Identifier: MIT */
/* Inside of a graph, for the passes. */
#ifndef ENGINE_BUILD_H
#define ENGINE_BUILD_H

#include "engine/memory.h"
#include "engine/op.h"

typedef struct en_cut_set {
    en_ref *refs;
    int count;
    en_ref from, by; /* where the first member's adjoint, summed over positions, comes from (sums.c) */
    size_t sums;     /* offset: [order][seed][n][C], and if `by` is a node its own sums after them    */
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
void en_find_sums(en_graph *g);                        /* how each cut's adjoint is summed over positions */
void en_fuse(en_graph *g);                             /* fold batch norm, residual, activation into the op before */
en_status en_plan(en_graph *g, en_error *e);           /* memory                              */

/* sums.c, for the reverse pass: the floats that a cut's sums want for each order and seed; the node at which they can be made, when its adjoint is
 * complete; and their making. en_zero_is_dead: whether nobody reads the adjoint of x where x is zero, because a relu lies before it. */
size_t en_sums_floats(const en_graph *g, const en_cut_set *s);
en_ref en_sums_at(const en_cut_set *s);
void en_make_sums(en_graph *g);
int en_zero_is_dead(const en_graph *g, en_ref x, int cut);

/* Whether a node is in the tail of cut k, and whether it carries a tangent there. */
static inline int en_in_tail(const en_node *n, int k) { return (int)(n->tail >> k & 1); }
static inline int en_active(const en_node *n, int k) { return (int)((n->tail | n->cut) >> k & 1); }

#endif
