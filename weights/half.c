/* SPDX-License-Identifier: MIT */
/* float16: sign, 5 bits of exponent (bias 15), 10 of fraction. bfloat16: sign, 8 (bias 127), 7. */
#include "weights/half.h"

#include <string.h>

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t to_bits(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

float wt_from_bf16(uint16_t bits) { return from_bits((uint32_t)bits << 16); }

float wt_from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3FF;
    if (exponent == 31) return from_bits(sign | 0x7F800000 | fraction << 13); /* infinity, NaN with its payload */
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = (float)fraction * 0x1p-24f; /* zero and subnormals: exact */
    return sign ? -tiny : tiny;
}

/* The upper bits of `bits`, `drop` of them dropped, rounded to nearest even: a carry out of the fraction raises the exponent, which
 * is right, up to infinity. */
static uint32_t round_off(uint32_t bits, int drop)
{
    uint32_t half = 1u << (drop - 1);
    return (bits + (half - 1) + (bits >> drop & 1)) >> drop;
}

uint16_t wt_to_bf16(float value)
{
    uint32_t bits = to_bits(value);
    if ((bits & 0x7FFFFFFF) > 0x7F800000) return (uint16_t)(bits >> 16 | 0x40); /* a NaN stays one */
    return (uint16_t)round_off(bits, 16);
}

uint16_t wt_to_f16(float value)
{
    uint32_t bits = to_bits(value), size = bits & 0x7FFFFFFF;
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    if (size > 0x7F800000) return (uint16_t)(sign | 0x7E00 | (size >> 13 & 0x3FF));
    if (size >= 0x47800000) return sign | 0x7C00;                                  /* 2^16 and more */
    if (size >= 0x38800000) return (uint16_t)(sign | round_off(size - (112u << 23), 13)); /* 2^-14: the least normal one */
    if (size < 0x33000000) return sign;                                            /* below 2^-25: nearer to 0 */
    uint32_t exponent = size >> 23, fraction = (size & 0x7FFFFF) | 0x800000;
    return (uint16_t)(sign | round_off(fraction, (int)(126 - exponent))); /* multiples of 2^-24 */
}
