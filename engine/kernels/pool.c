/* SPDX-License-Identifier: MIT */
/* Pooling: lanes are channels. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

#include <math.h>

/* The maximum of rows x columns pixels. */
INLINE void window_max(const float *x, ptrdiff_t row, const int rows, const int columns, float *y)
{
    vf best[VN];
    UNROLL for (int j = 0; j < VN; j++) best[j] = v_set(-INFINITY);
    for (int r = 0; r < rows; r++)
        for (int s = 0; s < columns; s++)
            UNROLL for (int j = 0; j < VN; j++) best[j] = v_larger(best[j], v_load(x + r * row + s * 16 + j * VW));
    UNROLL for (int j = 0; j < VN; j++) v_store(y + j * VW, best[j]);
}

void KN(max_pool)(const kn_pool *o)
{
    ptrdiff_t row = (ptrdiff_t)o->w * 16;
    float *out = o->y;
    for (int p = 0; p < o->p; p++)
        for (int q = 0; q < o->q; q++, out += 16) {
            int y0 = p * o->stride_h - o->pad_h, x0 = q * o->stride_w - o->pad_w;
            int y = y0 < 0 ? 0 : y0, x = x0 < 0 ? 0 : x0, rows = (y0 + o->kh < o->h ? y0 + o->kh : o->h) - y, columns = (x0 + o->kw < o->w ? x0 + o->kw : o->w) - x;
            const float *from = o->x + y * row + x * 16;
            if (rows == 3 && columns == 3) window_max(from, row, 3, 3, out);
            else window_max(from, row, rows, columns, out);
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
