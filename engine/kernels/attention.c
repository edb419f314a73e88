/* SPDX-License-Identifier: MIT */
/* Small dense products and softmax of rows, for the inside of one attention window. */
#include "engine/kernels/act.h"

enum { ROWS = 8 };

INLINE void rows(const kn_matmul *m, int i, int j, const int R)
{
    vf sum[ROWS][VN];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < VN; v++) sum[r][v] = m->add ? v_load(m->c + (i + r) * m->c_row + j + v * VW) : v_set(0);
    for (int k = 0; k < m->inner; k++) {
        vf b[VN];
        UNROLL for (int v = 0; v < VN; v++) b[v] = v_load(m->b + (size_t)k * (size_t)m->b_row + j + v * VW);
        UNROLL for (int r = 0; r < R; r++) {
            vf a = v_set(m->a[(i + r) * m->a_row + k * m->a_step]);
            UNROLL for (int v = 0; v < VN; v++) sum[r][v] = v_fma(a, b[v], sum[r][v]);
        }
    }
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < VN; v++) v_store(m->c + (i + r) * m->c_row + j + v * VW, sum[r][v]);
}

void KN(matmul)(const kn_matmul *m)
{
    for (int j = 0; j < m->columns; j += 16) {
        int i = 0;
        for (; i + 8 <= m->rows; i += 8) rows(m, i, j, 8);
        for (; i + 2 <= m->rows; i += 2) rows(m, i, j, 2);
        for (; i < m->rows; i++) rows(m, i, j, 1);
    }
}

/* 16 lanes to one number in a fixed order. */
static float fold(const float lane[16], int maximum)
{
    float t[16];
    for (int i = 0; i < 16; i++) t[i] = lane[i];
    for (int n = 8; n > 0; n /= 2)
        for (int i = 0; i < n; i++) t[i] = maximum ? (t[i + n] > t[i] || t[i + n] != t[i + n] ? t[i + n] : t[i]) : t[i] + t[i + n];
    return t[0];
}

void KN(softmax_rows)(int count, int n, int row, float *x)
{
    for (int i = 0; i < count; i++, x += row) {
        float lane[16], sums[16];
        for (int k = n; k < row; k++) x[k] = -INFINITY;
        for (int k = 0; k < 16; k++) lane[k] = x[k];
        for (int k = 16; k < row; k++) lane[k % 16] = x[k] > lane[k % 16] || x[k] != x[k] ? x[k] : lane[k % 16];
        vf most = v_set(fold(lane, 1)), sum[VN];
        for (int v = 0; v < VN; v++) sum[v] = v_set(0);
        for (int k = 0; k < row; k += 16) {
            for (int v = 0; v < VN; v++) v_store(x + k + v * VW, v_exp(v_load(x + k + v * VW) - most));
            for (int p = n > k ? n - k : 0; p < 16; p++) x[k + p] = 0;
            for (int v = 0; v < VN; v++) sum[v] = sum[v] + v_load(x + k + v * VW);
        }
        for (int v = 0; v < VN; v++) v_store(sums + v * VW, sum[v]);
        vf total = v_set(fold(sums, 0));
        for (int k = 0; k < row; k += VW) v_store(x + k, v_load(x + k) / total);
    }
}
