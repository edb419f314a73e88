/* SPDX-License-Identifier: MIT */
/* Shapes, and the two ways in which numbers lie in memory.
 *
 * Activations are [N, C, H, W] outside and NC16 inside: [N][C/16][H*W][16]. Sixteen channels of one position are one cache line, so
 * every kernel reads and writes whole vectors along channels whatever the width of the map; C is padded to a multiple of 16 and
 * the padding is always zero. A vector of F features is [N, F, 1, 1]. Parameters are plain: row-major, as the checkpoint has them. A picture
 * that only convolutions read has no padding: [N][H*W][C], each image rounded up to 16 floats. */
#ifndef ENGINE_TENSOR_H
#define ENGINE_TENSOR_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

enum { EN_LANES = 16, EN_MAX_RANK = 4, EN_COLOURS = 4 /* channels of a picture, at most */ };

typedef enum en_layout { EN_BLOCKED, EN_PLAIN, EN_PICTURE } en_layout;

typedef struct en_shape {
    en_layout layout;
    int rank; /* 4, unless EN_PLAIN */
    int dim[EN_MAX_RANK];
} en_shape;

en_shape en_nchw(int n, int c, int h, int w);          /* an activation                */
en_shape en_plain(int rank, const int dim[]);          /* a parameter                  */
int en_same_shape(const en_shape *a, const en_shape *b);

/* Numbers in the tensor, and floats it occupies (padding included; a multiple of 16). 0 when the shape has a dimension below 1 or the
 * product does not fit. */
size_t en_count(const en_shape *s);
size_t en_floats(const en_shape *s);

/* Floats of one image of an activation, and of a blocked one from one channel block to the next. */
size_t en_image_floats(const en_shape *s);
size_t en_block_floats(const en_shape *s);

static inline int en_blocks(int channels) { return (channels + EN_LANES - 1) / EN_LANES; }

/* out[j * column + i] = in[i * row + j] for i, j below EN_LANES. */
void en_transpose(const float *in, size_t row, float *out, size_t column);

/* Between the caller's row-major order and the stored one; the padding is written as zero. */
void en_store(const en_shape *s, const float *row_major, float *stored);
void en_load(const en_shape *s, const float *stored, float *row_major);

/* Writes zeros into the padding of an activation. */
void en_clear_padding(const en_shape *s, float *stored);

/* "[1, 512, 7, 7]" into a buffer of 64 bytes, which is returned. */
char *en_shape_text(const en_shape *s, char buffer[64]);

#endif
