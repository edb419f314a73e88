/* SPDX-License-Identifier: MIT */
/* Depthwise convolution: lanes are channels, so a pixel is kh*kw vector multiply-adds. Taps outside the picture are left out. */
#include "engine/kernels/epilogue.h"

enum { STEP = 4 }; /* pixels together, for independent sums */

typedef struct range {
    int from, to;
} range;

/* The taps of `size` that fall inside 0 .. limit-1 when the window begins at `start`. */
static range inside(int start, int size, int limit)
{
    return (range){start < 0 ? -start : 0, limit - start < size ? limit - start : size};
}

/* `count` neighbouring pixels of output row p, beginning at column q, whose windows have the same taps inside the picture. */
INLINE void pixels(const kn_depthwise *d, int p, int q, range ty, range tx, const int count)
{
    vf sum[STEP][VN];
    UNROLL for (int i = 0; i < count; i++)
        UNROLL for (int j = 0; j < VN; j++) sum[i][j] = v_set(0);
    int y0 = p * d->stride_h - d->pad_h, x0 = q * d->stride_w - d->pad_w;
    for (int ky = ty.from; ky < ty.to; ky++) {
        const float *row = d->x + ((ptrdiff_t)(y0 + ky) * d->w + x0) * 16, *weights = d->weights + ky * d->kw * 16;
        for (int kx = tx.from; kx < tx.to; kx++)
            UNROLL for (int j = 0; j < VN; j++) {
                vf w = v_load(weights + kx * 16 + j * VW);
                UNROLL for (int i = 0; i < count; i++)
                    sum[i][j] = v_fma(v_load(row + (kx + i * d->stride_w) * 16 + j * VW), w, sum[i][j]);
            }
    }
    UNROLL for (int i = 0; i < count; i++)
        UNROLL for (int j = 0; j < VN; j++) {
            ptrdiff_t at = ((ptrdiff_t)p * d->q + q + i) * 16 + j * VW;
            v_store(d->y + at, finish(&d->epilogue, sum[i][j], (size_t)(j * VW), at, d->epilogue.biased > 0));
        }
}

void KN(depthwise)(const kn_depthwise *d)
{
    for (int p = 0; p < d->p; p++) {
        range ty = inside(p * d->stride_h - d->pad_h, d->kh, d->h), all = {0, d->kw};
        for (int q = 0; q < d->q;) {
            int start = q * d->stride_w - d->pad_w, last = start + (STEP - 1) * d->stride_w;
            if (q + STEP <= d->q && start >= 0 && last + d->kw <= d->w) {
                pixels(d, p, q, ty, all, STEP);
                q += STEP;
            } else {
                pixels(d, p, q, ty, inside(start, d->kw, d->w), 1);
                q++;
            }
        }
        finish_smooth(&d->epilogue, d->y + (ptrdiff_t)p * d->q * 16, d->q, 16);
    }
}
