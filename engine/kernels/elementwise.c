/* SPDX-License-Identifier: MIT */
/* One number in, one number out. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

void KN(relu)(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i += VW) v_store(y + i, v_relu(v_load(x + i)));
}

void KN(relu6)(size_t n, const float *x, float *y)
{
    for (size_t i = 0; i < n; i += VW) v_store(y + i, v_relu6(v_load(x + i)));
}

void KN(affine)(size_t pixels, const float *scale, const float *shift, const float *x, float *y)
{
    for (int j = 0; j < VN; j++) {
        const float *from = x + j * VW;
        float *to = y + j * VW;
        vf a = v_load(scale + j * VW);
        if (shift)
            for (size_t i = 0; i < pixels * 16; i += 16) v_store(to + i, v_fma(v_load(from + i), a, v_load(shift + j * VW)));
        else
            for (size_t i = 0; i < pixels * 16; i += 16) v_store(to + i, v_load(from + i) * a);
    }
}
