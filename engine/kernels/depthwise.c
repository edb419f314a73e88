/* SPDX-License-Identifier: MIT */
/* Depthwise convolution: lanes are channels, so a pixel is kh*kw vector multiply-adds. With small groups a pixel has `group` vectors instead of
 * one: in vector c each lane holds channel c of its own group. Taps outside the picture are left out. */
#include "engine/kernels/epilogue.h"

enum { STEP = 7, MAX_WINDOW = 5 }; /* pixels together; every map of a picture of 224 x 224 is 7 * 2^k wide. Widest window that stays in registers */

/* Where the taps of a window begin and end that fall inside 0 .. limit-1 when it starts at `start`. */
typedef struct range {
    int from, to;
} range;

static range inside(int start, int size, int limit)
{
    return (range){start < 0 ? -start : 0, limit - start < size ? limit - start : size};
}

/* Lanes j .. j+VW-1 of `count` neighbouring pixels of output row p, beginning at column q. Each pixel of input is loaded once for all windows that
 * hold it: 9 loads for 21 multiply-adds. */
INLINE void pixels(const kn_depthwise *d, int p, int q, int j, range tx, const int count, const int kw, const int stride, const int grouped)
{
    const int span = (count - 1) * stride + kw;
    int y0 = p * d->stride_h - d->pad_h, x0 = q * stride - d->pad_w;
    range ty = inside(y0, d->kh, d->h);
    vf sum[STEP];
    UNROLL for (int i = 0; i < count; i++) sum[i] = v_set(0);
    for (int c = 0; c < (grouped ? d->group : 1); c++)
        for (int ky = ty.from; ky < ty.to; ky++) {
            const float *row = d->x + ((ptrdiff_t)(y0 + ky) * d->w + x0) * 16, *weights = d->weights + (c * d->kh + ky) * kw * 16 + j;
            vf w[MAX_WINDOW];
            UNROLL for (int kx = 0; kx < kw; kx++) w[kx] = v_load(weights + kx * 16);
            UNROLL for (int s = 0; s < span; s++) {
                if (s < tx.from || s >= tx.to) continue;
                vf x = grouped ? v_group(row + s * 16, j, d->group, c) : v_load(row + s * 16 + j);
                UNROLL for (int i = 0; i < count; i++)
                    if (s >= i * stride && s < i * stride + kw) sum[i] = v_fma(x, w[s - i * stride], sum[i]);
            }
        }
    ptrdiff_t at = ((ptrdiff_t)p * d->q + q) * 16 + j;
    finish_tile(&d->epilogue, sum, 1, count, 1, (size_t)j, at, 16, 0, d->epilogue.biased > 0 ? count : 0);
    UNROLL for (int i = 0; i < count; i++) v_store(d->y + at + i * 16, sum[i]);
}

/* One pixel of any window. */
static void pixel(const kn_depthwise *d, int p, int q, int j)
{
    int y0 = p * d->stride_h - d->pad_h, x0 = q * d->stride_w - d->pad_w;
    range ty = inside(y0, d->kh, d->h), tx = inside(x0, d->kw, d->w);
    vf sum = v_set(0);
    for (int c = 0; c < d->group; c++)
        for (int ky = ty.from; ky < ty.to; ky++)
            for (int kx = tx.from; kx < tx.to; kx++) {
                const float *x = d->x + ((ptrdiff_t)(y0 + ky) * d->w + x0 + kx) * 16;
                sum = v_fma(d->group > 1 ? v_group(x, j, d->group, c) : v_load(x + j), v_load(d->weights + ((c * d->kh + ky) * d->kw + kx) * 16 + j), sum);
            }
    ptrdiff_t at = ((ptrdiff_t)p * d->q + q) * 16 + j;
    finish_tile(&d->epilogue, &sum, 1, 1, 1, (size_t)j, at, 16, 0, d->epilogue.biased > 0);
    v_store(d->y + at, sum);
}

#define ROW(name, kw, stride, grouped)                                                                        \
    static int name(const kn_depthwise *given, int p, int j)                                                  \
    {                                                                                                         \
        const kn_depthwise local = *given, *d = &local; /* which no store can change: 1.3 times as fast */    \
        int q = 0;                                                                                            \
        const range all = {0, (STEP - 1) * (stride) + (kw)};                                                  \
        for (; q + STEP <= d->q; q += STEP) {                                                                 \
            range tx = inside(q * (stride)-d->pad_w, all.to, d->w);                                           \
            if (tx.from == 0 && tx.to == all.to) pixels(d, p, q, j, all, STEP, kw, stride, grouped);          \
            else pixels(d, p, q, j, tx, STEP, kw, stride, grouped);                                           \
        }                                                                                                     \
        return q;                                                                                             \
    }

/* Rows of whole steps, for the windows that networks have. */
ROW(row_3, 3, 1, 0) ROW(row_3_by_2, 3, 2, 0) ROW(row_5, 5, 1, 0) ROW(row_5_by_2, 5, 2, 0) ROW(row_grouped, 3, 1, 1) ROW(row_grouped_by_2, 3, 2, 1)

static int no_row(const kn_depthwise *d, int p, int j)
{
    (void)d, (void)p, (void)j;
    return 0;
}

void KN(depthwise)(const kn_depthwise *d)
{
    int (*row)(const kn_depthwise *, int, int) = no_row;
    if (d->kw == 3 && d->stride_w == 1) row = d->group > 1 ? row_grouped : row_3;
    if (d->kw == 3 && d->stride_w == 2) row = d->group > 1 ? row_grouped_by_2 : row_3_by_2;
    if (d->kw == 5 && d->stride_w == 1 && d->group == 1) row = row_5;
    if (d->kw == 5 && d->stride_w == 2 && d->group == 1) row = row_5_by_2;
    for (int p = d->p0; p < d->p; p++) {
        for (int j = 0; j < 16; j += VW)
            for (int q = row(d, p, j); q < d->q; q++) pixel(d, p, q, j);
        finish_smooth(&d->epilogue, d->y + (ptrdiff_t)p * d->q * 16, d->q, 16);
    }
}
