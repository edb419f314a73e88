/* SPDX-License-Identifier: MIT */
/* The last steps of a sum, on vectors in registers. */
#ifndef ENGINE_KERNELS_EPILOGUE_H
#define ENGINE_KERNELS_EPILOGUE_H

#include "engine/kernels/act.h"

/* A tile of rows x columns sums, x [rows][width], of which `biased` rows get the bias. Column j is lanes j * VW .. of channels o ..; in the output the first
 * vector lies at `at`, rows `row` floats apart, blocks of 16 channels `block`. Step by step for all of them: to ask at each vector which steps there are takes
 * longer than the steps. */
INLINE void finish_tile(const kn_epilogue *e, vf *x, const int width, const int rows, const int columns, size_t o, ptrdiff_t at, ptrdiff_t row, ptrdiff_t block, int biased)
{
    if (e->bias)
        UNROLL for (int i = 0; i < rows; i++)
            if (i < biased)
                UNROLL for (int j = 0; j < columns; j++) x[i * width + j] = x[i * width + j] + v_load(e->bias + o + (size_t)(j * VW));
    if (e->scale)
        UNROLL for (int j = 0; j < columns; j++) {
            vf scale = v_load(e->scale + o + (size_t)(j * VW)), shift = v_load(e->shift + o + (size_t)(j * VW));
            UNROLL for (int i = 0; i < rows; i++) x[i * width + j] = v_fma(x[i * width + j], scale, shift);
        }
    if (e->residual)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < columns; j++) x[i * width + j] = x[i * width + j] + v_load(e->residual + at + i * row + j / VN * block + j % VN * VW);
    if (e->act == KN_RELU)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < columns; j++) x[i * width + j] = v_relu(x[i * width + j]);
    if (e->act == KN_RELU6)
        UNROLL for (int i = 0; i < rows; i++)
            UNROLL for (int j = 0; j < columns; j++) x[i * width + j] = v_relu6(x[i * width + j]);
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
