/* SPDX-License-Identifier: MIT */
/* Inside of the linear layer: gradients summed over the positions that were flattened into its input. */
#ifndef ENGINE_OPS_LINEAR_H
#define ENGINE_OPS_LINEAR_H

#include "engine/op.h"

/* For an input that was [C, positions]: asks for the weights summed over positions; and with them, gx [images][C] += (summed w)' gy. */
en_status linear_prepare_sums(en_graph *g, en_node *n, const en_shape *flattened, en_error *e);
void linear_back_sums(const en_call *c, int channels, const float *gy, float *gx);

#endif
