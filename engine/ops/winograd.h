/* SPDX-License-Identifier: MIT */
/* Dense 3 x 3 convolution at stride 1 with a quarter of the multiplications. */
#ifndef ENGINE_OPS_WINOGRAD_H
#define ENGINE_OPS_WINOGRAD_H

#include "engine/op.h"

typedef struct winograd {
    const en_call *call;
    int c, h, w, o, p, q, pad_h, pad_w; /* channels, height, width of input and output */
    const float *x, *packed;            /* packed: the panels of the direct convolution, [O/16][9][C][16] */
    float *y;
    int pooled;                         /* y holds the maxima of 2 x 2 pixels */
    kn_epilogue epilogue;               /* for all channels; residual laid out like y; `biased` counts images */
} winograd;

/* Whether a layer of this shape is computed so. Nothing but the layer's own shape decides, because bits depend on it. */
int winograd_suits(int c, int o, int p, int q);

size_t winograd_worker_floats(int c);

void winograd_convolve(const winograd *g);

#endif
