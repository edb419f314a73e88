/* SPDX-License-Identifier: MIT */
/* Shapes and the NC16 layout. */
#include "engine/tensor.h"

#include <stdio.h>
#include <string.h>

en_shape en_nchw(int n, int c, int h, int w) { return (en_shape){EN_BLOCKED, 4, {n, c, h, w}}; }

en_shape en_plain(int rank, const int dim[])
{
    en_shape s = {EN_PLAIN, rank, {0}};
    for (int i = 0; i < rank && i < EN_MAX_RANK; i++) s.dim[i] = dim[i];
    return s;
}

int en_same_shape(const en_shape *a, const en_shape *b)
{
    return a->layout == b->layout && a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof(int) * (size_t)a->rank);
}

static size_t product(const int *dim, int rank)
{
    size_t n = 1;
    for (int i = 0; i < rank; i++)
        if (dim[i] < 1 || __builtin_mul_overflow(n, (size_t)dim[i], &n)) return 0;
    return n > SIZE_MAX / 64 ? 0 : n;
}

size_t en_count(const en_shape *s) { return product(s->dim, s->rank); }

size_t en_floats(const en_shape *s)
{
    if (en_count(s) == 0) return 0;
    if (s->layout == EN_PLAIN) return (en_count(s) + EN_LANES - 1) / EN_LANES * EN_LANES;
    if (s->layout == EN_PICTURE) return (en_count(s) / (size_t)s->dim[0] + EN_LANES - 1) / EN_LANES * EN_LANES * (size_t)s->dim[0];
    int padded[4] = {s->dim[0], en_blocks(s->dim[1]) * EN_LANES, s->dim[2], s->dim[3]};
    return product(padded, 4);
}

size_t en_image_floats(const en_shape *s) { return en_floats(s) / (size_t)s->dim[0]; }

size_t en_block_floats(const en_shape *s) { return (size_t)s->dim[2] * (size_t)s->dim[3] * EN_LANES; }

typedef float four __attribute__((vector_size(16)));
#if defined __clang__ || __GNUC__ >= 12
#define PICK(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define PICK(a, b, ...) __builtin_shuffle(a, b, (int __attribute__((vector_size(16)))){__VA_ARGS__})
#endif

/* 4 x 4 at a time: five times as fast as element by element. What comes AHEAD in each row is fetched, since sixteen rows at once are more than the
 * processor notices by itself. */
void en_transpose(const float *in, size_t row, float *out, size_t column)
{
    enum { AHEAD = 64 };
    for (size_t i = 0; i < EN_LANES; i += 4)
        for (size_t j = 0; j < EN_LANES; j += 4) {
            four r[4];
            for (size_t k = 0; k < 4; k++) memcpy(&r[k], in + (i + k) * row + j, sizeof r[k]);
            __builtin_prefetch(in + (i + j / 4) * row + AHEAD);
            four a = PICK(r[0], r[1], 0, 4, 1, 5), b = PICK(r[2], r[3], 0, 4, 1, 5), c = PICK(r[0], r[1], 2, 6, 3, 7), d = PICK(r[2], r[3], 2, 6, 3, 7);
            four turned[4] = {PICK(a, b, 0, 1, 4, 5), PICK(a, b, 2, 3, 6, 7), PICK(c, d, 0, 1, 4, 5), PICK(c, d, 2, 3, 6, 7)};
            for (size_t k = 0; k < 4; k++) memcpy(out + (j + k) * column + i, &turned[k], sizeof turned[k]);
        }
}

/* A block becomes `lanes` planes of hw numbers each. */
static void load_block(const float *from, size_t lanes, size_t hw, float *to)
{
    size_t whole = lanes == EN_LANES ? hw / EN_LANES * EN_LANES : 0;
    for (size_t p = 0; p < whole; p += EN_LANES) en_transpose(from + p * EN_LANES, EN_LANES, to + p, hw);
    for (size_t i = 0; i < lanes; i++)
        for (size_t p = whole; p < hw; p++) to[i * hw + p] = from[p * EN_LANES + i];
}

/* Three rows of n numbers become groups of three, four at a time. Returns how many groups it has made. */
static size_t interleave_colours(size_t n, const float *from, float *to)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4, to += 12) {
        four r, g, b;
        memcpy(&r, from + i, sizeof r);
        memcpy(&g, from + n + i, sizeof g);
        memcpy(&b, from + 2 * n + i, sizeof b);
        four first = PICK(r, g, 0, 4, 1, 5), last = PICK(r, g, 2, 6, 3, 7), green_blue = PICK(first, b, 3, 5, 3, 5);
        four mixed[3] = {PICK(first, b, 0, 1, 4, 2), PICK(green_blue, last, 0, 1, 4, 5), PICK(b, last, 2, 6, 7, 3)};
        memcpy(to, mixed, sizeof mixed);
    }
    return i;
}

/* `count` rows of n numbers become n groups of `count`. */
static void interleave(size_t count, size_t n, const float *from, float *to)
{
    for (size_t i = count == 3 ? interleave_colours(n, from, to) : 0; i < n; i++)
        for (size_t c = 0; c < count; c++) to[i * count + c] = from[c * n + i];
}

/* Pictures either way: planes become pixels, or, with rows and columns exchanged, pixels planes. */
static void turn_pictures(const en_shape *s, const float *from, size_t from_image, float *to, size_t to_image, int load)
{
    size_t channels = (size_t)s->dim[1], pixels = (size_t)s->dim[2] * (size_t)s->dim[3];
    for (int n = 0; n < s->dim[0]; n++, from += from_image, to += to_image) interleave(load ? pixels : channels, load ? channels : pixels, from, to);
}

void en_store(const en_shape *s, const float *from, float *to)
{
    size_t floats = en_floats(s);
    if (s->layout == EN_PICTURE) {
        size_t image = en_image_floats(s), count = en_count(s) / (size_t)s->dim[0];
        turn_pictures(s, from, count, to, image, 0);
        for (int n = 0; n < s->dim[0]; n++) memset(to + (size_t)n * image + count, 0, (image - count) * sizeof *to);
        return;
    }
    if (s->layout == EN_PLAIN) {
        size_t n = en_count(s);
        memcpy(to, from, n * sizeof *to);
        memset(to + n, 0, (floats - n) * sizeof *to);
        return;
    }
    size_t hw = en_block_floats(s) / EN_LANES;
    for (int n = 0; n < s->dim[0]; n++)
        for (int c = 0, lanes; c < s->dim[1]; c += lanes, from += (size_t)lanes * hw) {
            lanes = s->dim[1] - c < EN_LANES ? s->dim[1] - c : EN_LANES;
            for (size_t p = 0; p < hw; p++, to += EN_LANES) {
                memset(to, 0, EN_LANES * sizeof *to);
                for (int i = 0; i < lanes; i++) to[i] = from[(size_t)i * hw + p];
            }
        }
}

void en_load(const en_shape *s, const float *from, float *to)
{
    if (s->layout == EN_PICTURE) {
        turn_pictures(s, from, en_image_floats(s), to, en_count(s) / (size_t)s->dim[0], 1);
        return;
    }
    if (s->layout == EN_PLAIN) {
        memcpy(to, from, en_count(s) * sizeof *to);
        return;
    }
    size_t hw = en_block_floats(s) / EN_LANES, channels = (size_t)s->dim[1], images = (size_t)s->dim[0];
    for (size_t n = 0; n < images; n++)
        for (size_t c = 0, lanes; c < channels; c += lanes, to += lanes * hw, from += EN_LANES * hw) {
            lanes = channels - c < EN_LANES ? channels - c : EN_LANES;
            load_block(from, lanes, hw, to);
        }
}

void en_clear_padding(const en_shape *s, float *stored)
{
    size_t hw = en_block_floats(s) / EN_LANES, image = en_image_floats(s);
    int used = s->dim[1] % EN_LANES;
    if (s->layout != EN_BLOCKED || used == 0) return;
    for (int n = 0; n < s->dim[0]; n++) {
        float *last = stored + ((size_t)n + 1) * image - hw * EN_LANES;
        for (size_t p = 0; p < hw; p++) memset(last + p * EN_LANES + used, 0, (size_t)(EN_LANES - used) * sizeof *last);
    }
}

char *en_shape_text(const en_shape *s, char buffer[64])
{
    int n = snprintf(buffer, 64, "[");
    for (int i = 0; i < s->rank && n < 64; i++) n += snprintf(buffer + n, 64 - (size_t)n, i ? ", %d" : "%d", s->dim[i]);
    if (n < 63) snprintf(buffer + n, 64 - (size_t)n, "]");
    return buffer;
}
