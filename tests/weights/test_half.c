/* SPDX-License-Identifier: MIT */
/* Sixteen-bit floating point, against the definition. */
#include "tests/test.h"
#include "weights/half.h"

#include <math.h>
#include <string.h>

typedef struct half_format {
    const char *name;
    int exponent_bits, fraction_bits;
    float (*from)(uint16_t);
    uint16_t (*to)(float);
} half_format;

static const half_format formats[] = {{"float16", 5, 10, wt_from_f16, wt_to_f16}, {"bfloat16", 8, 7, wt_from_bf16, wt_to_bf16}};

/* IEEE 754: (-1)^s 2^(e - bias) (1 + f), or without the 1 and with the least exponent for e = 0. */
static double meaning(const half_format *f, uint16_t bits)
{
    int bias = (1 << (f->exponent_bits - 1)) - 1, exponent = bits >> f->fraction_bits & ((1 << f->exponent_bits) - 1);
    double fraction = ldexp(bits & ((1 << f->fraction_bits) - 1), -f->fraction_bits);
    double size = exponent ? ldexp(1 + fraction, exponent - bias) : ldexp(fraction, 1 - bias);
    return bits >> 15 ? -size : size;
}

static int is_special(const half_format *f, uint16_t bits) { return (bits & 0x7FFF) >> f->fraction_bits == (1 << f->exponent_bits) - 1; }

TEST(every_half_means_what_the_standard_says_and_comes_back)
{
    for (size_t k = 0; k < 2; k++)
        for (unsigned bits = 0; bits < 65536; bits++) {
            const half_format *f = &formats[k];
            float value = f->from((uint16_t)bits);
            if (!is_special(f, (uint16_t)bits)) CHECK_MSG((double)value == meaning(f, (uint16_t)bits), "%s %04x", f->name, bits);
            if (isnan(value))
                CHECK_MSG(isnan(f->from(f->to(value))), "%s %04x", f->name, bits);
            else
                CHECK_MSG(f->to(value) == bits, "%s %04x becomes %04x", f->name, bits, f->to(value));
        }
    CHECK(isinf(wt_from_f16(0x7C00)) && isinf(wt_from_bf16(0xFF80)) && wt_from_bf16(0xFF80) < 0 && isnan(wt_from_f16(0x7C01)));
}

/* Between two neighbours the nearer one, in the middle the even one; all midpoints and the floats beside them. */
TEST(floats_are_rounded_to_the_nearest_half_and_ties_to_even)
{
    for (size_t k = 0; k < 2; k++)
        for (unsigned bits = 0; bits < 0x7FFF; bits++) {
            const half_format *f = &formats[k];
            if (is_special(f, (uint16_t)(bits + 1))) break;
            float low = f->from((uint16_t)bits), middle = (float)(((double)low + (double)f->from((uint16_t)(bits + 1))) / 2);
            unsigned even = bits + (bits & 1);
            CHECK_MSG(f->to(middle) == even, "%s: the middle above %04x", f->name, bits);
            CHECK_MSG(f->to(-middle) == (even | 0x8000), "%s: the middle below -%04x", f->name, bits);
            CHECK_MSG(f->to(nextafterf(middle, 0)) == bits, "%s: less than the middle above %04x", f->name, bits);
            CHECK_MSG(f->to(nextafterf(middle, INFINITY)) == bits + 1, "%s: more than the middle above %04x", f->name, bits);
        }
    CHECK(wt_to_f16(65519.99f) == 0x7BFF && wt_to_f16(65520) == 0x7C00 && wt_to_f16(-1e30f) == 0xFC00 && wt_to_f16(1e-30f) == 0);
    CHECK(wt_to_bf16(3.4e38f) == 0x7F80 && wt_to_f16(INFINITY) == 0x7C00);
}
