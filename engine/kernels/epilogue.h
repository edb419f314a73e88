/* SPDX-License-Identifier: MIT */
/* The last steps of a sum, on vectors in registers. */
#ifndef ENGINE_KERNELS_EPILOGUE_H
#define ENGINE_KERNELS_EPILOGUE_H

#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

/* x: a sum of channels o .. o + VW - 1; at: its place in the output, for the residual. */
INLINE vf finish(const kn_epilogue *e, vf x, size_t o, ptrdiff_t at, int biased)
{
    if (e->bias && biased) x = x + v_load(e->bias + o);
    if (e->scale) x = v_fma(x, v_load(e->scale + o), v_load(e->shift + o));
    if (e->residual) x = x + v_load(e->residual + at);
    if (e->act == KN_RELU) x = v_relu(x);
    if (e->act == KN_RELU6) x = v_relu6(x);
    return x;
}

#endif
