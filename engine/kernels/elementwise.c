/* SPDX-License-Identifier: MIT */
/* One number in, one number out. */
#include "engine/kernels/act.h"

static void smooth(kn_act act, size_t n, const float *x, float *y)
{
    size_t i = 0;
    vf v[IN_STEP];
    for (; i + IN_STEP * VW <= n; i += IN_STEP * VW) {
        UNROLL for (int k = 0; k < IN_STEP; k++) v[k] = v_load(x + i + k * VW);
        v_smooth(act, v, IN_STEP);
        UNROLL for (int k = 0; k < IN_STEP; k++) v_store(y + i + k * VW, v[k]);
    }
    for (; i < n; i += VW) {
        v[0] = v_load(x + i);
        v_smooth(act, v, 1);
        v_store(y + i, v[0]);
    }
}

void KN(activate)(kn_act act, size_t n, const float *x, float *y, float *slope, float *curvature)
{
    if (act > KN_RELU6 && y && !slope && !curvature) {
        smooth(act, n, x, y);
        return;
    }
    for (size_t i = 0; i < n; i += VW) {
        vf d = v_set(0), dd = v_set(0), f = v_act(act, v_load(x + i), slope ? &d : NULL, curvature ? &dd : NULL);
        if (y) v_store(y + i, f);
        if (slope) v_store(slope + i, d);
        if (curvature) v_store(curvature + i, dd);
    }
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
