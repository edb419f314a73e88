/* SPDX-License-Identifier: MIT */
/* Small dense products and softmax of rows, for the inside of one attention window; everything lies in L1 or L2. */
#include "engine/kernels/act.h"

/* Tile: MR rows by NV groups of 16 columns, as in gemm.c. */
#if defined __AVX512F__
enum { MR = 7, NV = 2 };
#elif defined __AVX2__ || defined __aarch64__
enum { MR = 6, NV = 1 };
#else
enum { MR = 2, NV = 1 };
#endif

INLINE void tile(const kn_matmul *m, int i, int j, const int R, const int W)
{
    vf sum[MR][NV * VN];
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < W * VN; v++) sum[r][v] = v_set(0);
    const float *a = m->a + i * m->a_row, *b = m->b + j;
    for (int k = 0; k < m->inner; k++, a += m->a_step, b += m->b_row) {
        vf line[NV * VN];
        UNROLL for (int v = 0; v < W * VN; v++) line[v] = v_load(b + v * VW);
        UNROLL for (int r = 0; r < R; r++) {
            vf x = v_set(a[r * m->a_row]);
            UNROLL for (int v = 0; v < W * VN; v++) sum[r][v] = v_fma(x, line[v], sum[r][v]);
        }
    }
    const vf scale = v_set(m->scale);
    if (m->plus)
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < W * VN; v++) sum[r][v] = v_fma(sum[r][v], scale, v_load(m->plus + (i + r) * m->plus_row + j + v * VW));
    else
        UNROLL for (int r = 0; r < R; r++)
            UNROLL for (int v = 0; v < W * VN; v++) sum[r][v] = sum[r][v] * scale;
    UNROLL for (int r = 0; r < R; r++)
        UNROLL for (int v = 0; v < W * VN; v++) v_store(m->c + (i + r) * m->c_row + j + v * VW, sum[r][v]);
}

INLINE void columns(const kn_matmul *m, int j, const int W)
{
    int i = 0;
    for (; i + MR <= m->rows; i += MR) tile(m, i, j, MR, W);
    for (; i + 2 <= m->rows; i += 2) tile(m, i, j, 2, W);
    for (; i < m->rows; i++) tile(m, i, j, 1, W);
}

void KN(matmul)(const kn_matmul *m)
{
    int j = 0;
    for (; j + NV * 16 <= m->columns; j += NV * 16) columns(m, j, NV);
    for (; j < m->columns; j += 16) columns(m, j, 1);
}

/* The largest of 16 lanes. NaN does not count: it shows in the sum. */
INLINE float max16(const float *x)
{
    float t[8];
    for (int i = 0; i < 8; i++) t[i] = x[i] > x[i + 8] ? x[i] : x[i + 8];
    for (int i = 0; i < 4; i++) t[i] = t[i] > t[i + 4] ? t[i] : t[i + 4];
    for (int i = 0; i < 2; i++) t[i] = t[i] > t[i + 2] ? t[i] : t[i + 2];
    return t[0] > t[1] ? t[0] : t[1];
}

/* Subtracts from the first n numbers of a row their maximum, and makes the rest -INFINITY. `live` marks the lanes before n in n's block. */
INLINE void subtract_maximum(int n, int row, const int32_t *live, float *x)
{
    vf most[VN];
    float lane[16];
    int k = n / 16 * 16;
    for (int j = 0; j < (n % 16 ? 16 : 0); j += VW) v_store(x + k + j, v_sel(v_mask(live + j), v_load(x + k + j), v_set(-INFINITY)));
    for (k = (n + 15) / 16 * 16; k < row; k += VW) v_store(x + k, v_set(-INFINITY));
    UNROLL for (int j = 0; j < VN; j++) most[j] = v_set(-INFINITY);
    for (k = 0; k < row; k += 16)
        UNROLL for (int j = 0; j < VN; j++) most[j] = v_max(v_load(x + k + j * VW), most[j]);
    UNROLL for (int j = 0; j < VN; j++) v_store(lane + j * VW, most[j]);
    const vf top = v_set(max16(lane));
    for (k = 0; k < row; k += VW) v_store(x + k, v_load(x + k) - top);
}

/* e^x for x <= 0, and 0 where that is of no account: a denormal number would cost a hundred cycles each time it is multiplied. */
INLINE void shares(float *x, const int n)
{
    vf v[IN_STEP], e[IN_STEP];
    EACH e[i] = v[i] = v_load(x + i * VW);
    v_exp(e, n);
    EACH v_store(x + i * VW, v_sel(v[i] < v_set(-85.5f), v_set(0), e[i]));
}

INLINE void divide_by_sum(int row, float *x)
{
    vf sum[VN];
    float lane[16];
    UNROLL for (int j = 0; j < VN; j++) sum[j] = v_set(0);
    for (int k = 0; k < row; k += 16)
        UNROLL for (int j = 0; j < VN; j++) sum[j] = sum[j] + v_load(x + k + j * VW);
    UNROLL for (int j = 0; j < VN; j++) v_store(lane + j * VW, sum[j]);
    const vf share = v_set(1 / sum16(lane));
    for (int k = 0; k < row; k += VW) v_store(x + k, v_load(x + k) * share);
}

void KN(softmax_rows)(int count, int n, int row, float *x)
{
    int32_t live[16];
    for (int i = 0; i < 16; i++) live[i] = i < n % 16 ? -1 : 0;
    for (int i = 0; i < count; i++) subtract_maximum(n, row, live, x + i * row);
    int k = 0, all = count * row;
    for (; k + IN_STEP * VW <= all; k += IN_STEP * VW) shares(x + k, IN_STEP);
    for (; k < all; k += VW) shares(x + k, 1);
    for (int i = 0; i < count; i++) divide_by_sum(row, x + i * row);
}

/* Four lanes on every instruction set: the shuffles of wider ones cost more. */
typedef float v4 __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t i4 __attribute__((vector_size(16)));
#if defined __clang__
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (i4){__VA_ARGS__})
#endif

/* `live` rows of x, zeros for the rest. */
INLINE void transpose4(const float *x, int x_row, int live, float *y, int y_row)
{
    v4 row[4];
    UNROLL for (int i = 0; i < 4; i++) row[i] = i < live ? *(const v4 *)(x + i * x_row) : (v4){0};
    v4 a = SHUFFLE(row[0], row[1], 0, 4, 1, 5), b = SHUFFLE(row[0], row[1], 2, 6, 3, 7);
    v4 c = SHUFFLE(row[2], row[3], 0, 4, 1, 5), d = SHUFFLE(row[2], row[3], 2, 6, 3, 7);
    *(v4 *)y = SHUFFLE(a, c, 0, 1, 4, 5);
    *(v4 *)(y + y_row) = SHUFFLE(a, c, 2, 3, 6, 7);
    *(v4 *)(y + 2 * y_row) = SHUFFLE(b, d, 0, 1, 4, 5);
    *(v4 *)(y + 3 * y_row) = SHUFFLE(b, d, 2, 3, 6, 7);
}

void KN(transpose)(int rows, int columns, const float *x, int x_row, float *y, int y_row)
{
    int i = 0;
    for (; i + 4 <= rows; i += 4)
        for (int j = 0; j < columns; j += 4) transpose4(x + i * x_row + j, x_row, 4, y + j * y_row + i, y_row);
    for (; i % 16 || i < rows; i += 4)
        for (int j = 0; j < columns; j += 4) transpose4(x + i * x_row + j, x_row, rows - i, y + j * y_row + i, y_row);
}
