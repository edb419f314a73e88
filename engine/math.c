/* SPDX-License-Identifier: MIT */
/* exp: x = k ln2 + r with |r| <= ln2 / 2, e^r by its series, times 2^k.
 * log: x = 2^k m with m in [sqrt(1/2), sqrt(2)), log m = 2 artanh(s) with s = (m-1)/(m+1), by its series in s^2. */
#include "engine/math.h"

#include <math.h>
#include <stdint.h>
#include <string.h>

static const double ln2_high = 0x1.62e42feep-1, ln2_low = 0x1.a39ef35793c76p-33; /* ln2 in two parts, the first with 32 bits */

static const double inverse_factorial[14] = {1, 1, 1. / 2, 1. / 6, 1. / 24, 1. / 120, 1. / 720, 1. / 5040, 1. / 40320, 1. / 362880, 1. / 3628800,
                                             1. / 39916800, 1. / 479001600, 1. / 6227020800};

/* 2^(biased - 2048), for exponents from -1022 to 1023 */
static inline double power_of_two(uint64_t biased)
{
    uint64_t bits = (biased - 1025) << 52;
    double power;
    memcpy(&power, &bits, sizeof power);
    return power;
}

/* Without branches, so that a loop over it is one over vectors. Beyond the ends the result is 0 or infinity by itself; a NaN passes through. */
static inline double exponential(double x)
{
    x = x > 710 ? 710 : x < -746 ? -746 : x;
    const double shift = 0x1.8p52; /* whose last digit counts ones: adding it rounds, and leaves the integer there */
    double shifted = x * 1.4426950408889634 + shift, k = shifted - shift, high = x - k * ln2_high, low = k * ln2_low, r = high - low;
    double tail = 0; /* e^r - 1 - r, smallest terms first */
    for (int i = 13; i >= 2; i--) tail = tail * r + inverse_factorial[i];
    tail = tail * r * r;
    /* r itself was rounded: add back what was lost. */
    double lost = (high - r) - low;
    uint64_t bits;
    memcpy(&bits, &shifted, sizeof bits);
    uint64_t all = (bits + 2048) & 4095, half = all / 2 + 1024; /* 2^k in two steps: alone it may be out of range where the product is not */
    return (1 + (r + (tail + lost))) * power_of_two(half) * power_of_two(all - half + 2048);
}

double en_exp(double x) { return exponential(x); }

void en_exps(const float *x, int n, double less, double *out)
{
    for (int i = 0; i < n; i++) out[i] = exponential((double)x[i] - less);
}

double en_log(double x)
{
    if (isnan(x) || x < 0) return NAN;
    if (x == 0) return -INFINITY;
    if (isinf(x)) return x;
    int k;
    double m = frexp(x, &k);
    if (m < 0.70710678118654752) m = 2 * m, k--;
    double f = m - 1, s = f / (2 + f), s2 = s * s, sum = 0;
    for (int i = 25; i >= 3; i -= 2) sum = sum * s2 + 2.0 / i;
    /* log m = 2s + s^3 (2/3 + ..), and 2s = f - s f */
    double series = s * s2 * sum;
    return k * ln2_high + (f - (s * f - (series + k * ln2_low)));
}
