/* SPDX-License-Identifier: MIT */
/* Graphs: a network is written as mathematics, finished once, then run many times without allocating.
 *
 *     en_graph *g;
 *     en_graph_new(params, &g, e);
 *     en_ref x = en_input(g, en_nchw(1, 3, 224, 224));
 *     en_ref a = en_relu(g, en_conv2d(g, x, en_param(g, "conv.weight", 4, dims), EN_NONE, options));
 *     en_ref y = en_linear(g, en_flatten(g, a), ...);
 *     int cut = en_cut(g, &a, 1);
 *     en_output(g, y);
 *     en_graph_finish(g, &(en_options){.pool = pool, .seeds = 1}, e);        the first thing that went wrong is told here
 *
 * A cut is the set of nodes with respect to which one differentiates. What depends on it is its tail; everything else is prefix and is
 * only ever evaluated. With u(y) a scalar, A the value at the cut and v a direction, forward over reverse gives
 *
 *     values     en_forward(g, cut, v)         y = f(A)      dy = J v          (v NULL: the direction is A itself)
 *     seeds      en_seed(g, cut, n, 2)         the caller fills gy = grad u(y) and dgy = (Hessian of u at y) dy
 *     adjoints   en_reverse(g)                 gx = grad u(A)                  dgx = (Hessian of u at A) v
 *
 * Several seeds (classes, utilities) go through one reverse pass, and linear ops see value and tangent, or all adjoints, as one
 * larger batch, so that their weights are read once. */
#ifndef ENGINE_GRAPH_H
#define ENGINE_GRAPH_H

#include "engine/params.h"
#include "engine/pool.h"
#include "engine/status.h"
#include "engine/tensor.h"

typedef struct en_graph en_graph;
typedef int en_ref;
enum { EN_NONE = -1, EN_MAX_CUTS = 31 };

/* Building never fails at once: the first error sticks, later calls return EN_NONE, and en_graph_finish reports it. `params` (may be NULL
 * if there is no en_param) must outlive the graph. */
en_status en_graph_new(en_params *params, en_graph **out, en_error *e);
void en_graph_free(en_graph *g);

en_ref en_input(en_graph *g, en_shape shape);                                  /* the caller writes its value        */
en_ref en_param(en_graph *g, const char *key, int rank, const int dim[]);      /* a constant, read from the source   */
en_ref en_name(en_graph *g, en_ref x, const char *name);                       /* names a node; returns x            */
int en_cut(en_graph *g, const en_ref *refs, int n);                            /* number of the cut, from 0          */
void en_output(en_graph *g, en_ref y);                                         /* keep this value until the next run */
void en_graph_error(en_graph *g, en_status status, const char *format, ...) __attribute__((format(printf, 3, 4)));
en_status en_graph_status(const en_graph *g, en_error *e); /* the error that has stuck, if any */

typedef struct en_options {
    en_pool *pool;     /* NULL: the calling thread alone; otherwise it must outlive the graph */
    int seeds;         /* largest number of seeds in one reverse pass (0: no reverse pass)     */
    int first_order;   /* no memory for tangents: values and gradients only                    */
    int tail_only;     /* memory for tails and what they read alone: only en_forward_tail and what follows it may be called */
    int no_fuse;       /* leave every op by itself (for tests: fusing changes no bit)          */
    int exact;         /* no convolution with fewer multiplications and larger rounding errors (ops/winograd.h) */
    const char *isa;   /* instruction set by name (NULL: the best one)                         */
} en_options;

en_status en_graph_finish(en_graph *g, const en_options *options, en_error *e);

/* Reads and packs the parameters of a graph that is not to be run: every later graph on the same en_params finds them there. */
en_status en_graph_prepare(en_graph *g, en_pool *pool, en_error *e);

en_ref en_find(const en_graph *g, const char *name); /* a named node, EN_NONE if there is none */
int en_nodes(const en_graph *g);                     /* refs are 0 .. en_nodes-1               */
const char *en_name_of(const en_graph *g, en_ref x); /* NULL if it has none                    */
const char *en_key_of(const en_graph *g, en_ref x);  /* of a parameter, otherwise NULL         */
const en_shape *en_shape_of(const en_graph *g, en_ref x);
size_t en_graph_bytes(const en_graph *g);            /* memory for values, adjoints, scratch   */
char *en_graph_text(const en_graph *g);              /* one line per node; the caller frees; NULL: out of memory */

/* Memory of a kept node (input, output, member of a cut or of a tail, or read by one), in stored layout; NULL for others. The tangent exists for
 * nodes of a tail or cut. en_adjoint is valid between en_seed and the next en_seed; order 1 is gx, order 2 is dgx. */
float *en_value(en_graph *g, en_ref x);
float *en_tangent(en_graph *g, en_ref x);
float *en_adjoint(en_graph *g, en_ref x, int seed, int order);
/* The adjoint of the first member of the sweep's cut, an activation, summed over positions: [N][C], C rounded up to whole blocks of 16. Valid like
 * en_adjoint. */
const float *en_adjoint_sum(en_graph *g, int seed, int order);

/* Values of all nodes; with cut >= 0 also tangents over its tail, starting from the direction (stored layout, for the first member of the
 * cut; NULL: the members' own values). cut -1: values alone. */
void en_forward(en_graph *g, int cut, const float *direction);
/* One node's value from those before it, for who wants to look in between: en_forward in steps, of a graph of one image. Leaves, and nodes that
 * are part of another one's work, do nothing. */
void en_forward_node(en_graph *g, en_ref x);
/* The same for the tail alone, from the values that the caller or an earlier pass left at the cut and in the prefix. Without
 * `tangents` only values. */
void en_forward_tail(en_graph *g, int cut, int tangents);
/* Tangents alone over the tail, for another direction; values stay. Tangents at the members of the cut are the caller's to write. */
void en_forward_tangents(en_graph *g, int cut);

/* Gives the nodes that a tail reads from outside of itself the values that they have in another graph of the same network, of which image
 * `image` is repeated over the batch. */
void en_copy_outside(en_graph *g, int cut, en_graph *from, int image);

/* Begins a reverse pass of `seeds` pairs, at most as many as the options said: clears the adjoints of the output. order 1: gradients only. */
void en_seed(en_graph *g, int cut, int seeds, int order);
/* Adjoints of the members of the cut. */
void en_reverse(en_graph *g);
/* The same for who wants the first member's adjoint summed over positions alone; adjoints of the cut may be left out where that is quicker. */
void en_reverse_sums(en_graph *g);
/* The same; each node of the tail is shown, the last first, when its adjoints are complete and before they go on to its inputs. The visitor may
 * change them (guided backpropagation does) or add them up (FullGrad does). */
typedef void en_visitor(void *arg, en_ref x);
void en_reverse_shown(en_graph *g, en_visitor *visit, void *arg);

/* The name of a node's op, as in ops.def; NULL for a leaf. */
const char *en_op_name(const en_graph *g, en_ref x);
/* What a convolution with a window or a batch norm adds to each channel whatever its input: [C], or NULL if it adds nothing or is no
 * such node. After en_graph_finish. */
const float *en_constant_term(const en_graph *g, en_ref x);

/* What the ops of a tail say of themselves: the strongest statement that holds for all of them. */
typedef enum en_curvature {
    EN_AFFINE,           /* y = J x + b: the Hessian of each logit is zero everywhere         */
    EN_PIECEWISE_AFFINE, /* the same inside each of finitely many pieces                      */
    EN_CURVED
} en_curvature;
en_curvature en_tail_curvature(const en_graph *g, int cut);

/* Whether nothing but global averages read a node: gradients there are the same at every position. */
int en_only_pooled(const en_graph *g, en_ref x);

/* The node from which on a tail is a sum over positions: what it holds at a position depends on the cut's activation at that position alone,
 * it is the only such node that the rest of the tail reads, and that rest is affine. *node is EN_NONE if there is none. */
en_status en_sum_over_positions(const en_graph *g, int cut, en_ref *node, en_error *e);

#endif
