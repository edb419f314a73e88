/* SPDX-License-Identifier: MIT */
/* The last steps of a sum, on vectors in registers. */
#ifndef ENGINE_KERNELS_EPILOGUE_H
#define ENGINE_KERNELS_EPILOGUE_H

#include "engine/kernels/act.h"

/* x: a sum of channels o .. o + VW - 1; at: its place in the output, for the residual. */
INLINE vf finish(const kn_epilogue *e, vf x, size_t o, ptrdiff_t at, int biased)
{
    if (e->bias && biased) x = x + v_load(e->bias + o);
    if (e->scale) x = v_fma(x, v_load(e->scale + o), v_load(e->shift + o));
    if (e->residual) x = x + v_load(e->residual + at);
    if (e->act == KN_RELU) return v_relu(x);
    if (e->act == KN_RELU6) return v_relu6(x);
    return x;
}

INLINE void smooth_vectors(kn_act act, float *y, const int count, ptrdiff_t step)
{
    vf x[IN_STEP];
    UNROLL for (int i = 0; i < count; i++)
        UNROLL for (int j = 0; j < VN; j++) x[i * VN + j] = v_load(y + i * step + j * VW);
    v_smooth(act, x, count * VN);
    UNROLL for (int i = 0; i < count; i++)
        UNROLL for (int j = 0; j < VN; j++) v_store(y + i * step + j * VW, x[i * VN + j]);
}

/* Activations that take more than a few instructions are applied to what has just been stored and still lies in L1: `count` vectors of 16
 * numbers, `step` floats apart. */
INLINE void finish_smooth(const kn_epilogue *e, float *y, int count, ptrdiff_t step)
{
    if (e->act <= KN_RELU6) return;
    int i = 0;
    for (; i + IN_STEP / VN <= count; i += IN_STEP / VN) smooth_vectors(e->act, y + i * step, IN_STEP / VN, step);
    for (; i < count; i++) smooth_vectors(e->act, y + i * step, 1, step);
}

#endif
