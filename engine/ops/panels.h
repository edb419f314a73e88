/* SPDX-License-Identifier: MIT */
/* Weights as the matrix kernels want them: panels [O/16][taps][depth][16], 16 output channels side by side. A dense layer has depth = C.
 * With groups, a panel covers the channels lo .. lo+depth-1 that any of its 16 outputs reads, and holds zeros where an output does
 * not read a channel (so NaN and infinity pass from one group to another inside a panel). */
#ifndef ENGINE_OPS_PANELS_H
#define ENGINE_OPS_PANELS_H

#include "engine/op.h"

typedef struct panel_form {
    int outputs, channels, groups, taps;
    int panels, depth;
    int side_by_side; /* panels whose 16 numbers for one input lie together: 1, or more in a linear layer (kn_linear) */
} panel_form;

panel_form panels_for(int outputs, int channels, int groups, int taps);
panel_form panels_for_linear(int outputs, int inputs);
size_t panels_floats(const panel_form *f);
int panel_lo(const panel_form *f, int panel); /* a multiple of 16 */

/* Packs weights that lie in memory, row-major [O][C/groups][taps]. */
void panels_pack(const panel_form *f, const float *weights, float *out);

/* Packs the constant input 1 of a node into a blob, reading 16 rows at a time, so that the source's copy is never resident whole. */
en_status panels_prepare(en_graph *g, en_node *n, const panel_form *f, en_error *e);

/* The same of weights [O][C][positions] summed over positions, in double. */
en_status panels_prepare_sums(en_graph *g, const en_node *n, const panel_form *f, int positions, const float **out, en_error *e);

/* The panels of input 1: the prepared ones, or packed into the call's scratch from `weights`. */
const float *panels_of(const en_call *c, const panel_form *f, const float *weights);

#endif
