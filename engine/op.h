/* SPDX-License-Identifier: MIT */
/* What an op is: a shape rule and four rules of calculus. x value, dx tangent, gx gradient (adjoint), dgx tangent of the gradient;
 * J the Jacobian at x. A rule that writes += adds into what is there.
 *
 * Adding an op: a row in ops.def, a block in ops/<family>.c, example cases in tests/engine/cases.c, a naive version in tests/naive.c. */
#ifndef ENGINE_OP_H
#define ENGINE_OP_H

#include "engine/graph.h"
#include "engine/kernels/kernels.h"

enum { EN_MAX_INPUTS = 5 };

typedef struct en_attr {
    int kernel[2], stride[2], pad[2]; /* vertical, horizontal */
    int groups;
    int out[2];                       /* adaptive pooling: the output's height and width */
    int heads, window, shift;         /* attention                                        */
    int token;                        /* take_token                                       */
    float eps;
} en_attr;

typedef struct en_node en_node;

/* One evaluation of a rule. Pointers of inputs that are not differentiated are NULL (dx, gx, dgx). */
typedef struct en_call {
    const en_node *node;
    const en_shape *in[EN_MAX_INPUTS]; /* shapes of the inputs; their batch is `images`, not dim[0] */
    int images;                        /* tangents and adjoints of a linear op ride along as more images         */
    int biased;                        /* the first `biased` images get constant terms; the others are tangents */
    const float *x[EN_MAX_INPUTS], *dx[EN_MAX_INPUTS];
    float *gx[EN_MAX_INPUTS], *dgx[EN_MAX_INPUTS];
    float *y, *dy;
    const float *gy, *dgy;
    const float *residual;             /* what a fused op adds before it stores */
    const float *gate;                 /* what a fused op multiplies the channels of its input by, [images][C]; or NULL */
    int sparse;                        /* nobody reads gx[0] where x[0], of `biased` images, is zero: it need not be right there */
    const en_node *before;             /* the node whose work a fused op does first, on the same input; or NULL */
    float *scratch, *worker_scratch;   /* as many floats as the shape rule asked for; the second once per worker */
    en_pool *pool;
    const kn_table *kernels;
    int exact;                         /* no convolution with fewer multiplications and larger rounding errors */
} en_call;

typedef void en_rule(const en_call *c);

typedef struct en_op {
    const char *name;
    en_status (*shape)(en_node *node, const en_shape *const in[], en_error *e); /* output shape and scratch, or why not */
    en_status (*prepare)(en_graph *g, en_node *node, en_error *e);              /* turn constant parameters into blobs; may be NULL */
    en_rule *fwd;  /* y    = f(x)                              */
    en_rule *jvp;  /* dy   = J dx                              */
    en_rule *vjp;  /* gx  += J' gy                             */
    en_rule *dvjp; /* dgx += J' dgy + (D J[dx])' gy            */
    /* In the first input, the others held fixed. EN_PIECEWISE_AFFINE and EN_AFFINE: dvjp is vjp on dgy, and the rule may be NULL. */
    en_curvature curvature;
    /* Affine, and where only the first input is differentiated, fwd applied to a tangent (with biased = 0) is the tangent, and vjp needs no
     * x: then value and tangent, or many adjoints, are one call with more images, and jvp is not used; it may be NULL if there is no
     * other input. */
    int rides_along;
    unsigned packs; /* bit k: the blob made by prepare stands for input k, which is then not read */
    kn_act act;     /* an activation that a kernel can apply before it stores                      */
} en_op;

struct en_node {
    const en_op *op;   /* NULL: a leaf                                     */
    const char *name;  /* of an explainable layer, or NULL                 */
    const char *key;   /* of a parameter, or NULL                          */
    int inputs;
    en_ref in[EN_MAX_INPUTS];
    en_attr attr;
    en_shape shape;
    size_t floats;                      /* of one copy of the value                           */
    size_t scratch, worker_scratch;     /* floats; the first only where nothing was prepared  */
    const float *prepared;              /* an op's constant parameters as the kernel wants them */
    en_ref sums_of;                     /* a linear layer whose weights are wanted summed over positions: what is flattened into it; or EN_NONE */
    const float *summed;                /* those weights, as the kernel wants them (sums.c) */
    const float *constant;              /* a parameter's own values, if anyone reads them plain */
    unsigned cut, tail;                 /* bit k: member of cut k; depends on cut k           */
    int output;
    int kept;                           /* its memory is used for nothing else                */
    int absorbed;                       /* evaluated inside another node                      */
    int in_turn;                        /* memory for one image, which all images use in turn */
    /* Steps of later nodes that this one does before it stores (prefix only; see fuse.c). */
    const float *scale, *shift;
    en_ref residual;
    kn_act act;
    en_ref gate;                        /* [N,C,1,1]: multiplies the channels of the first input when it is read */
    int pooled;                         /* of each 2 x 2 pixels only the maximum is stored: `shape` is that of the maxima */
    en_ref before;                      /* the 1 x 1 convolution that makes this depthwise one's input, some rows at a time */
    size_t value, adjoint;              /* offsets into the graph's memory; NO_MEMORY if none */
    en_ref last_use;
};

#define EN_NO_MEMORY ((size_t)-1)

/* Writes zeros into the padding of the images that a call is about; y is laid out like its output. */
static inline void en_clear_output(const en_call *c, float *y)
{
    en_shape s = c->node->shape;
    s.dim[0] = c->images;
    en_clear_padding(&s, y);
}

/* Floats of the images that a call is about. */
static inline size_t en_call_floats(const en_call *c) { return (size_t)c->images * en_image_floats(&c->node->shape); }

/* Appends a node: checks that inputs exist, asks the op for the shape. Builders of ops are one call of this. */
en_ref en_apply(en_graph *g, const en_op *op, const en_ref *in, int inputs, const en_attr *attr);

/* For prepare rules. */
en_node *en_node_at(en_graph *g, en_ref x);
en_params *en_params_of(const en_graph *g);

/* All ops, ended by NULL. */
extern const en_op *const en_ops[];

#endif
