/* SPDX-License-Identifier: MIT */
/* Inside of the convolution: sizes, packed weights, adjoints; and what fusing asks about it. */
#ifndef ENGINE_OPS_CONV_H
#define ENGINE_OPS_CONV_H

#include "engine/ops/panels.h"

/* Channels, height and width of the input; those of the output; the window. */
typedef struct conv_geometry {
    int c, h, w, o, p, q, r, s, stride_h, stride_w, pad_h, pad_w;
    int blocks, depthwise;
    int group;              /* channels per group where a block's outputs read that block alone and there is a kernel for it; otherwise 0 */
    int few;                /* channels of a picture, which has no padding when it is read: [h][w][few]; otherwise 0 */
    int stored;             /* floats from one pixel of the input to the next, in a channel block */
    size_t x_image, y_image; /* floats */
    panel_form form;
} conv_geometry;

conv_geometry conv_geometry_of(const en_node *n, const en_shape *x, const en_shape *w);

/* The packed weights: those that were prepared, or these, packed into the call's scratch. */
const float *conv_weights(const en_call *c, const conv_geometry *m, const float *weights);

/* gx += B'(w) gy, and the floats of worker scratch that it needs. */
void conv_back(const en_call *c, const float *gy, const float *weights, float *gx);
size_t conv_back_floats(const conv_geometry *m);

/* Whether it is 1 x 1 at stride 1, so that it sees no rows, only pixels; and for such a convolution gx [images][C] += w' gy [images][O]. */
int conv_is_flat(const conv_geometry *m);
void conv2d_back_sums(const en_call *c, const float *gy, float *gx);

/* gw += B'(x) gy and gb += sum of gy: plain loops in double, for training and tests. */
void conv_weight_gradient(const en_call *c, const float *x, const float *gy, float *gw);
void conv_bias_gradient(const en_call *c, const float *gy, float *gb);

/* Floats of worker scratch with which `depthwise`, with weights of shape w, can make its input itself: what `expand`, with weights of shape expand_w,
 * would make of x. 0: it cannot, because they are no such pair, or need not, because all of it stays in a cache. */
size_t conv2d_join(const en_node *expand, const en_shape *x, const en_shape *expand_w, const en_node *depthwise, const en_shape *w);

/* Floats of worker scratch with which `n`, with weights of shape w, can multiply its input's channels by a gate while it reads them. 0: it cannot. */
size_t conv2d_gate(const en_node *n, const en_shape *x, const en_shape *w);

/* Whether `n` can store the maxima of 2 x 2 pixels instead of its output, if graphs are not `exact`: by Winograd's method, in whole tiles. */
int conv2d_pools(const en_node *n, const en_shape *x, const en_shape *w);

#endif
