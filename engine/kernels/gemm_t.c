/* SPDX-License-Identifier: MIT */
/* The transposed matrix product, read from the panels that the forward product uses: no second copy of the weights. A panel holds 16
 * output channels of one k side by side, so a gradient is a dot product along them: 16 partial sums per (row, k) stay in L1 while
 * the panels stream by, four rows at a time so that each weight is loaded once for them. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

enum { ROWS = 4 };

INLINE void rows(const kn_gemm_t *g, int row, const int R)
{
    float sums[ROWS][KN_T_DEPTH][16];
    for (int r = 0; r < R; r++)
        for (int k = 0; k < g->depth; k++)
            for (int j = 0; j < 16; j++) sums[r][k][j] = 0;
    for (int panel = 0; panel < g->panels; panel++) {
        const float *b = g->b + (size_t)panel * g->b_panel, *gy = g->gy + row * g->gy_row + panel * g->gy_panel;
        vf y[ROWS][VN];
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int j = 0; j < VN; j++) y[r][j] = v_load(gy + r * g->gy_row + j * VW);
        for (int k = 0; k < g->depth; k++)
            UNROLL for (int j = 0; j < VN; j++) {
                vf w = v_load(b + k * 16 + j * VW);
                UNROLL for (int r = 0; r < R; r++) {
                    float *sum = &sums[r][k][j * VW];
                    v_store(sum, v_fma(w, y[r][j], v_load(sum)));
                }
            }
    }
    for (int r = 0; r < R; r++) {
        float *gx = g->gx + (row + r) * g->gx_row;
        for (int k = 0; k < g->depth; k++) gx[k / 16 * g->gx_block + k % 16] += sum16(sums[r][k]);
    }
}

void KN(gemm_t)(const kn_gemm_t *g)
{
    int row = 0;
    for (; row + 4 <= g->rows; row += 4) rows(g, row, 4);
    for (; row + 2 <= g->rows; row += 2) rows(g, row, 2);
    for (; row < g->rows; row++) rows(g, row, 1);
}
