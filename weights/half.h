/* SPDX-License-Identifier: MIT */
/* Sixteen-bit floating point: IEEE 754's binary16 (float16) and bfloat16, the upper half of a binary32. */
#ifndef WEIGHTS_HALF_H
#define WEIGHTS_HALF_H

#include <stdint.h>

/* Exact. A NaN keeps its payload. */
float wt_from_f16(uint16_t half);
float wt_from_bf16(uint16_t half);

/* Rounded to nearest, ties to even, as PyTorch does; too large ones become infinite. */
uint16_t wt_to_f16(float value);
uint16_t wt_to_bf16(float value);

#endif
