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
    int padded[4] = {s->dim[0], en_blocks(s->dim[1]) * EN_LANES, s->dim[2], s->dim[3]};
    return product(padded, 4);
}

size_t en_image_floats(const en_shape *s) { return en_floats(s) / (size_t)s->dim[0]; }

size_t en_block_floats(const en_shape *s) { return (size_t)s->dim[2] * (size_t)s->dim[3] * EN_LANES; }

void en_store(const en_shape *s, const float *from, float *to)
{
    size_t floats = en_floats(s);
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
    if (s->layout == EN_PLAIN) {
        memcpy(to, from, en_count(s) * sizeof *to);
        return;
    }
    size_t hw = en_block_floats(s) / EN_LANES, image = en_image_floats(s);
    for (int n = 0; n < s->dim[0]; n++, from += image)
        for (int c = 0; c < s->dim[1]; c++)
            for (size_t p = 0; p < hw; p++) *to++ = from[((size_t)(c / EN_LANES) * hw + p) * EN_LANES + (size_t)(c % EN_LANES)];
}

void en_clear_padding(const en_shape *s, float *stored)
{
    size_t hw = en_block_floats(s) / EN_LANES, image = en_image_floats(s);
    int used = s->dim[1] % EN_LANES;
    if (s->layout == EN_PLAIN || used == 0) return;
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
