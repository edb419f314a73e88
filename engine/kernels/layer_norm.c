/* SPDX-License-Identifier: MIT */
/* Layer norm: lanes are channels, so what has to be added up runs down the channel blocks of a position and then along 16 lanes. Two
 * passes, the second around the mean; some positions together, because one alone is a single chain of additions. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

#include <math.h>

enum { TOGETHER = 4 };

/* Adds up f(x) over the channels of each position: x itself, or with `mean` the square of its distance. */
INLINE void add_up(const kn_layer_norm *l, const float *x, const float *mean, const int32_t *live, float *sums, const int count)
{
    vf sum[TOGETHER][VN];
    UNROLL for (int p = 0; p < count; p++)
        UNROLL for (int j = 0; j < VN; j++) sum[p][j] = v_set(0);
    for (int c = 0; c < l->channels; c += 16, x += l->block)
        UNROLL for (int p = 0; p < count; p++)
            UNROLL for (int j = 0; j < VN; j++) {
                vf v = v_load(x + p * 16 + j * VW);
                if (!mean) {
                    sum[p][j] = sum[p][j] + v;
                    continue;
                }
                v = v - v_set(mean[p]);
                if (c + 16 > l->channels) v = v_sel(v_mask(live + j * VW), v, v_set(0));
                sum[p][j] = v_fma(v, v, sum[p][j]);
            }
    for (int p = 0; p < count; p++) {
        float lane[16];
        UNROLL for (int j = 0; j < VN; j++) v_store(lane + j * VW, sum[p][j]);
        sums[p] = sum16(lane);
    }
}

INLINE void positions(const kn_layer_norm *l, int first, const int32_t *live, const int count)
{
    float mean[TOGETHER], scale[TOGETHER], n = (float)l->channels;
    const float *x = l->x + first * 16;
    float *y = l->y + first * 16;
    add_up(l, x, NULL, live, mean, count);
    for (int p = 0; p < count; p++) mean[p] /= n;
    add_up(l, x, mean, live, scale, count);
    for (int p = 0; p < count; p++) scale[p] = 1 / sqrtf(scale[p] / n + l->eps);
    for (int c = 0; c < l->channels; c += 16, x += l->block, y += l->block)
        UNROLL for (int j = 0; j < VN; j++) {
            const vf gamma = v_load(l->gamma + c + j * VW), beta = v_load(l->beta + c + j * VW);
            UNROLL for (int p = 0; p < count; p++) {
                vf v = v_fma((v_load(x + p * 16 + j * VW) - v_set(mean[p])) * v_set(scale[p]), gamma, beta);
                if (c + 16 > l->channels) v = v_sel(v_mask(live + j * VW), v, v_set(0));
                v_store(y + p * 16 + j * VW, v);
            }
        }
}

void KN(layer_norm)(const kn_layer_norm *l)
{
    int32_t live[16];
    for (int i = 0; i < 16; i++) live[i] = i < (l->channels - 1) % 16 + 1 ? -1 : 0;
    int p = 0;
    for (; p + TOGETHER <= l->positions; p += TOGETHER) positions(l, p, live, TOGETHER);
    for (; p < l->positions; p++) positions(l, p, live, 1);
}
