/* SPDX-License-Identifier: MIT */
/* Kernels: the arithmetic that has to be fast. They know no threads, tensors or options; they get pointers and strides, counted in
 * floats, and allocate nothing. Activations are NC16: channel block by channel block, 16 channels of a pixel together. Buffers
 * hold whole blocks of 16, need the alignment of a float only, and inputs may not overlap outputs unless it says so. */
#ifndef ENGINE_KERNELS_KERNELS_H
#define ENGINE_KERNELS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef enum kn_act { KN_NONE, KN_RELU, KN_RELU6, KN_SIGMOID, KN_SILU, KN_GELU } kn_act;

/* What happens to a sum before it is stored, in this order:  y = act(scale * (sum + bias) + shift + residual).
 * Each pointer may be NULL, which leaves its step out. bias, scale and shift have one number per output channel (whole blocks). */
typedef struct kn_epilogue {
    const float *bias;
    int biased;               /* rows that get the bias: the first ones; the others are tangents, which have no constants */
    const float *scale, *shift; /* both or none */
    const float *residual;    /* laid out like the output; it may be the output itself */
    kn_act act;
} kn_epilogue;

/* Matrix product over an affine set of pixels, the inner part of convolution and linear layers:
 *
 *     sum[run][row][o] = sum over t < taps, k < depth of  a[run * a_run + row * a_row + tap[t] + k / 16 * a_block + k % 16]
 *                                                       * b[run * b_run + o / 16 * b_panel + (t * depth + k) * 16 + o % 16]
 *     c[run * c_run + row * c_row + o / 16 * c_panel + o % 16] = epilogue(sum)
 *
 * A sum is cut into as few chains of fused multiply-adds, in the order of (t, k), as there can be if none has more than KN_CHAIN steps: of whole
 * taps where these are short (so many as make equal chains), of equal numbers of channel blocks where they are longer than KN_CHAIN. The
 * chains' sums are added up in order. Tile sizes do not show in it: that makes results independent of vector width, batch and threads. Short
 * chains are for accuracy, as the rounding error of a chain grows with its length (6144 steps in Swin-L). Only where the residual is the
 * output itself there is one chain. `biased` of the epilogue counts the rows of each run. */
enum { KN_CHAIN = 144 };

/* n things in as few equal parts as hold at most `most` each: how many in a part. */
static inline int kn_part(int n, int most)
{
    int parts = (n + most - 1) / most;
    return (n + parts - 1) / parts;
}

typedef struct kn_gemm {
    const float *a;
    ptrdiff_t a_run, a_row, a_block;
    const ptrdiff_t *tap;
    int taps, depth;
    const float *b;
    size_t b_run, b_panel;
    float *c;
    ptrdiff_t c_run, c_row, c_panel;
    int runs, rows, panels;
    const float *ahead; /* what the caller will read next, `ahead_count` pieces of `depth` * 16 floats: fetched on the way. NULL: the weights behind b */
    size_t ahead_step;
    int ahead_count;
    kn_epilogue epilogue;
} kn_gemm;

/* The transposed product on the same panels, for gradients; k < depth <= KN_T_DEPTH:
 *
 *     gx[row * gx_row + k / 16 * gx_block + k % 16] += sum over o of  b[o / 16 * b_panel + k * 16 + o % 16]
 *                                                                   * gy[row * gy_row + o / 16 * gy_panel + o % 16]
 *
 * Sixteen partial sums over o % 16, then a fixed tree. */
enum { KN_T_DEPTH = 64 };
typedef struct kn_gemm_t {
    const float *gy;
    ptrdiff_t gy_row, gy_panel;
    const float *b;
    size_t b_panel;
    int panels, depth, rows;
    float *gx;
    ptrdiff_t gx_row, gx_block;
} kn_gemm_t;

/* Linear layers. Their panels are packed in pairs, w[pair][k][2 * 16]; an odd one at the end is alone, [k][16].
 *
 *     y[row * y_row + o] = epilogue((add ? y : 0) + sum over k < depth of  x[row * x_row + k] * w[o / 32][k][o % 32])
 *
 * in chains as gemm has them. Weights of an input that is zero in all rows need not be read: infinity or NaN among them may go unnoticed. */
enum { KN_SIDE_BY_SIDE = 2 };
typedef struct kn_linear {
    const float *x;
    ptrdiff_t x_row;
    const float *w;
    float *y;
    ptrdiff_t y_row;
    int rows, depth, panels, add;
    kn_epilogue epilogue;
} kn_linear;

/* And backward, for the inputs k = first .. first + depth - 1 of `inputs`, depth <= KN_T_DEPTH:
 *
 *     gx[row * gx_row + k] += sum over o of  w[o / 32][k][o % 32] * gy[row * gy_row + o]
 *
 * with sixteen partial sums and a tree like gemm_t's. If `live` is not NULL, it holds the inputs of `live_rows` rows, gx_row floats apart, that all rows
 * of gx belong to in turn, and nobody reads a gx whose input is zero: it may stay as it is, and its weights are not read. */
typedef struct kn_linear_t {
    const float *gy;
    ptrdiff_t gy_row;
    const float *w;
    int inputs, first, depth, panels, rows;
    const float *live;
    int live_rows;
    float *gx;
    ptrdiff_t gx_row;
} kn_linear_t;

/* Convolution of one channel block of one image, depthwise or in groups of 4 or 8 channels: x [h][w][16], weights [group][kh][kw][16], y [..][q][16],
 * of which rows p0 .. p-1,
 *
 *     sum[o] = sum over c < group, ky, kx of  x[..][o / group * group + c] * weights[c][ky][kx][o]
 *
 * one chain in that order. The epilogue's channel pointers begin at this block; its `biased` is 1 or 0. */
typedef struct kn_depthwise {
    const float *x, *weights;
    float *y;
    int group; /* channels in a group: 1, 4 or 8 */
    int h, w, p0, p, q, kh, kw, stride_h, stride_w, pad_h, pad_w;
    kn_epilogue epilogue;
} kn_depthwise;

/* Max pooling of one channel block of one image; padding never wins; NaN wins. */
typedef struct kn_pool {
    const float *x;
    float *y;
    int h, w, p, q, kh, kw, stride_h, stride_w, pad_h, pad_w;
} kn_pool;

/* y = weight * sum over a rectangle of pixels of one channel block; y is one pixel. Four sums, of every fourth column, then (0 + 2) + (1 + 3). */
typedef struct kn_mean {
    const float *x;
    ptrdiff_t row;
    int rows, columns;
    float weight, *y;
} kn_mean;

/* Winograd's convolution with windows of 3 x 3 at stride 1: output tiles of up to 4 x 4 pixels are computed from input tiles of 6 x 6, which overlap.
 * Both are transformed to 36 numbers, as are the filters, and between the transforms stands a matrix product for each of the 36:
 *
 *     u[b * u_tap + k * 16 + o] = transform of  w[r * 3 + s][k][o],  w one panel of weights, its taps w_tap floats apart; k < depth; tap is 6 a + b
 *     v[tap * g->tap + i * 16 + c] = transform of one channel block of input, x [h][w][16]; i counts tiles
 *     y = epilogue(transform of m[tap * g->tap + i * 16 + c]), one channel block of output, y [h][w][16], only what belongs to the tiles
 *
 * The epilogue's channel pointers begin at this block; its `biased` counts images. Of pooled outputs only the maximum of each 2 x 2 pixels is
 * stored, y [h / 2][w / 2][16]: then all tiles are 4 x 4, and there is no residual. */
enum { KN_TILE = 4, KN_WINOGRAD_POINTS = 6, KN_WINOGRAD_TAPS = 36 };

/* The first pixel of an output tile, and how many rows and columns of it are wanted. */
typedef struct kn_tile {
    int image, y, x, rows, columns;
} kn_tile;

typedef struct kn_tiles {
    int h, w, pad_h, pad_w; /* of the side that is read or written; outputs have no padding */
    size_t image;           /* floats from one image of it to the next */
    const kn_tile *tile;
    int count, pooled;
    size_t tap;
} kn_tiles;

/* The transform of filters, and at once the product for at most KN_SOME tiles: one chain of multiply-adds, depth <= KN_CHAIN,
 *
 *     m[tap * m_tap + i * 16 + o] = (add ? m : 0) + sum over k < depth of  u[tap][k][o] * v[k / 16][tap][i][k % 16]
 *
 * with v [depth / 16][36][KN_SOME][16], or KN_FEW instead of KN_SOME if there are no more tiles than that. The last point, infinity, gives the fourth
 * row and the fourth column of a tile and nothing else: products with it along rows are made for tiles before `tall` only, along columns for tiles
 * from `wide` to wide_end - 1. */
enum { KN_FEW = 4, KN_SOME = 16 };
typedef struct kn_winograd {
    int depth, tiles, tall, wide, wide_end;
    const float *w;
    size_t w_tap;
    const float *v;
    float *m;
    size_t m_tap;
    int add;
} kn_winograd;

/* c[i * c_row + j] = scale * (sum over k < inner of a[i * a_row + k * a_step] * b[k * b_row + j]) + plus[i * plus_row + j], one chain of
 * multiply-adds in k and one more for the rest; columns is a multiple of 16. plus may be NULL, or c itself. */
typedef struct kn_matmul {
    const float *a;
    int a_row, a_step;
    const float *b;
    int b_row;
    float *c;
    int c_row, rows, inner, columns;
    float scale;
    const float *plus;
    int plus_row;
} kn_matmul;

/* Layer norm of `positions` neighbours, channel block b of x and y at b * block:  y = (x - mean) / sqrt(variance + eps) * gamma + beta. Sums over
 * channels have 16 lanes and one fixed tree. Channels that pad the last block become 0. */
typedef struct kn_layer_norm {
    const float *x;
    float *y;
    ptrdiff_t block;
    int positions, channels;
    const float *gamma, *beta;
    float eps;
} kn_layer_norm;

/* softmax_rows: of the first n numbers of each row, in place; what pads a row to `row` numbers (a multiple of 16) becomes 0.
 * transpose: y[j * y_row + i] = x[i * x_row + j], and 0 where i goes on beyond `rows` up to a multiple of 16; `columns` is one.
 * affine: y = scale * x + shift over pixels of one channel block, in place allowed; shift may be NULL.
 * activate: y = f(x), slope = f'(x), curvature = f''(x) over n floats (a multiple of 16); outputs may be NULL; in place allowed. */
typedef struct kn_table {
    const char *name; /* of the instruction set */
#define KERNEL(name, arguments) void(*name) arguments;
#include "engine/kernels/kernels.def"
#undef KERNEL
} kn_table;

#define KN_JOIN_(name, isa) kn_##name##_##isa
#define KN_JOIN(name, isa) KN_JOIN_(name, isa)

#ifdef ISA
/* Inside a kernel's own file: KN(gemm) is kn_gemm_avx2, kn_gemm_avx512, ... */
#define KN(name) KN_JOIN(name, ISA)
#define KERNEL(name, arguments) void KN(name) arguments;
#include "engine/kernels/kernels.def"
#undef KERNEL
#endif

#endif
