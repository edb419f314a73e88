/* SPDX-License-Identifier: MIT */
/* Seeded weights and inputs: deterministic stand-ins for a checkpoint and a picture, made from an integer hash, the same bits in
 * every language. They carry no knowledge; whoever shows a result made with them says so.
 *
 *     h = FNV-1a-64(stream) xor (seed * G)        G = 0x9E3779B97F4A7C15
 *     u(i) = (splitmix64(h + (i + 1) * G) >> 40) * 2^-23 - 1        in [-1, 1), exact */
#ifndef WEIGHTS_SEEDED_H
#define WEIGHTS_SEEDED_H

#include "weights/store.h"

/* The start h of a stream with this name, and value number i of it. */
uint64_t wt_seeded_stream(const char *name, uint64_t seed);
double wt_uniform(uint64_t stream, uint64_t i);

/* Values first .. first+count-1, in row-major order, of entry `key` with shape `dim` of network `net` (its golden file's name:
 * "resnet18", "resnext50_32x4d", "swin_tiny"). Computed in double, rounded once:
 *     conv weight (rank 4)  sqrt(3 * 2 / fan_in) u     linear weight  sqrt(3 / fan_in) u, the classifier (1000 rows) times 6
 *     norm weight (rank 1)  1 + u/4, a quarter of that for "...bn3.weight"     bias  u/5
 *     relative_position_bias_table, cls_token, pos_embed  u     num_batches_tracked  0
 *     running_mean, running_var  from the statistics below, the same for every seed
 * Any thread may call this at any time. EN_E_ARG: no rule for the key, or a range outside of the shape. */
en_status wt_seeded_read(const char *net, uint64_t seed, const char *key, int rank, const int64_t *dim, size_t first, size_t count,
                         float *out, en_error *e);

/* Opens the BatchNorm statistics of a network, which are compiled in; *out is NULL, and all is well, for one that has none. */
en_status wt_seeded_statistics(const char *net, wt_store **out, en_error *e);

/* A normalised input: an 8 x 8 grid, interpolated, plus noise. chw has room for 3 * height * width values; sides of at least 2. */
en_status wt_seeded_image(uint64_t seed, int height, int width, float *chw, en_error *e);

#endif
