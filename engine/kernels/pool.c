/* SPDX-License-Identifier: MIT */
/* Pooling: lanes are channels. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

#include <math.h>

void KN(max_pool)(const kn_pool *o)
{
    for (int p = 0; p < o->p; p++)
        for (int q = 0; q < o->q; q++) {
            vf best[VN];
            UNROLL for (int j = 0; j < VN; j++) best[j] = v_set(-INFINITY);
            for (int ky = 0; ky < o->kh; ky++)
                for (int kx = 0; kx < o->kw; kx++) {
                    int y = p * o->stride_h - o->pad_h + ky, x = q * o->stride_w - o->pad_w + kx;
                    if (y < 0 || y >= o->h || x < 0 || x >= o->w) continue;
                    const float *from = o->x + ((ptrdiff_t)y * o->w + x) * 16;
                    UNROLL for (int j = 0; j < VN; j++) best[j] = v_larger(best[j], v_load(from + j * VW));
                }
            for (int j = 0; j < VN; j++) v_store(o->y + ((ptrdiff_t)p * o->q + q) * 16 + j * VW, best[j]);
        }
}

void KN(mean)(const kn_mean *m)
{
    vf sum[4][VN];
    UNROLL for (int i = 0; i < 4; i++)
        UNROLL for (int j = 0; j < VN; j++) sum[i][j] = v_set(0);
    for (int p = 0; p < m->rows; p++) {
        const float *x = m->x + p * m->row;
        int q = 0;
        for (; q + 4 <= m->columns; q += 4, x += 64)
            UNROLL for (int i = 0; i < 4; i++)
                UNROLL for (int j = 0; j < VN; j++) sum[i][j] = sum[i][j] + v_load(x + i * 16 + j * VW);
        UNROLL for (int i = 0; i < 3; i++)
            if (q + i < m->columns)
                UNROLL for (int j = 0; j < VN; j++) sum[i][j] = sum[i][j] + v_load(x + i * 16 + j * VW);
    }
    UNROLL for (int j = 0; j < VN; j++) v_store(m->y + j * VW, ((sum[0][j] + sum[2][j]) + (sum[1][j] + sum[3][j])) * v_set(m->weight));
}
