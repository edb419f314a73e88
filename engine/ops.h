/* SPDX-License-Identifier: MIT */
/* Builders of ops: each appends a node and returns it. Shapes and formulas stand in ops.def. */
#ifndef ENGINE_OPS_H
#define ENGINE_OPS_H

#include "engine/graph.h"

/* Zero means the usual: stride 1, no padding, one group. Padding is on both sides. */
typedef struct en_conv {
    int stride, pad, groups;
    int stride_w, pad_w; /* where the horizontal ones differ */
} en_conv;

/* heads share C evenly. window 0: every position attends to every other; otherwise windows of that side, moved by `shift` up and left with
 * wrap-around, positions that met only through wrapping kept apart by a mask of -100. */
typedef struct en_windows {
    int heads, window, shift;
} en_windows;

#define OP(name, arguments, shapes, formula) en_ref en_##name arguments;
#include "engine/ops.def"
#undef OP

en_ref en_global_avg_pool(en_graph *g, en_ref x); /* adaptive_avg_pool to 1 x 1 */

#endif
