/* SPDX-License-Identifier: MIT */
/* What fusing asks about convolutions. */
#ifndef ENGINE_OPS_CONV_H
#define ENGINE_OPS_CONV_H

#include "engine/op.h"

/* Floats of worker scratch with which `depthwise`, with weights of shape w, can make its input itself: what `expand`, with weights of shape expand_w,
 * would make of x. 0: it cannot, because they are no such pair, or need not, because all of it stays in a cache. */
size_t conv2d_join(const en_node *expand, const en_shape *x, const en_shape *expand_w, const en_node *depthwise, const en_shape *w);

/* Floats of worker scratch with which `n`, with weights of shape w, can multiply its input's channels by a gate while it reads them. 0: it cannot. */
size_t conv2d_gate(const en_node *n, const en_shape *x, const en_shape *w);

#endif
