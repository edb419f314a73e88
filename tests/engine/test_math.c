/* SPDX-License-Identifier: MIT */
/* en_exp and en_log against the C library's long double functions. */
#include "engine/math.h"
#include "tests/test.h"

#include <float.h>
#include <math.h>
#include <string.h>

enum { TRIES = 1000000 };

/* The distance in units in the last place of the double that is nearest to `want`. */
static double units(double got, long double want)
{
    int exponent;
    frexpl(want, &exponent);
    if (exponent < DBL_MIN_EXP) exponent = DBL_MIN_EXP; /* below, the last place does not shrink any more */
    return (double)(fabsl((long double)got - want) / ldexpl(1, exponent - DBL_MANT_DIG));
}

static void check_exp(double x)
{
    long double want = expl((long double)x);
    if (want < (long double)DBL_MAX)
        CHECK_MSG(units(en_exp(x), want) <= 1, "exp(%.17g) = %.17g is off by %.3f", x, en_exp(x), units(en_exp(x), want));
}

static void check_log(double x)
{
    long double want = logl((long double)x);
    if (want == 0)
        CHECK(en_log(x) == 0);
    else
        CHECK_MSG(units(en_log(x), want) <= 1, "log(%.17g) = %.17g is off by %.3f", x, en_log(x), units(en_log(x), want));
}

TEST(exp_is_within_one_unit_in_the_last_place)
{
    if (LDBL_MANT_DIG == DBL_MANT_DIG) t_skip("needs a long double with more digits");
    for (int i = 0; i < TRIES; i++) {
        check_exp(t_uniform(-745.2, 709.8));
        check_exp(t_uniform(-1, 1));
        check_exp(ldexp(t_uniform(-1, 1), -(int)(t_random() % 60)));
    }
}

TEST(log_is_within_one_unit_in_the_last_place)
{
    if (LDBL_MANT_DIG == DBL_MANT_DIG) t_skip("needs a long double with more digits");
    for (int i = 0; i < TRIES; i++) {
        uint64_t bits = t_random() % 0x7FF0000000000000u;
        double x;
        memcpy(&x, &bits, sizeof x);
        if (x > 0) check_log(x);
        check_log(t_uniform(0.5, 2));
        check_log(1 + ldexp(t_uniform(-1, 1), -(int)(t_random() % 53)));
    }
}

TEST(exp_and_log_of_special_values_are_those_of_c)
{
    CHECK(isnan(en_exp(NAN)) && isnan(en_log(NAN)) && isnan(en_log(-1)) && isnan(en_log(-INFINITY)));
    CHECK(en_exp(INFINITY) == INFINITY && en_exp(-INFINITY) == 0 && en_exp(710) == INFINITY && en_exp(-746) == 0);
    CHECK(en_log(INFINITY) == INFINITY && en_log(0) == -INFINITY && en_log(-0.0) == -INFINITY);
    CHECK(en_exp(0) == 1 && en_exp(-0.0) == 1 && en_log(1) == 0);
    CHECK(isfinite(en_exp(709.782712893383)) && en_exp(-745.1) == 4.9406564584124654e-324);
    CHECK(en_exp(1e308) == INFINITY && en_exp(-1e308) == 0);
}

TEST(many_exponentials_have_the_bits_of_one_each)
{
    float x[67] = {INFINITY, -INFINITY, 710, -746, -745, -720, -0.0f, 0, 709, NAN};
    double many[67];
    for (int i = 10; i < 67; i++) x[i] = (float)t_uniform(-760, 720);
    for (int n = 1; n <= 67; n += 11) {
        en_exps(x, n, 0.125, many);
        for (int i = 0; i < n; i++) {
            double alone = en_exp((double)x[i] - 0.125);
            CHECK_MSG(many[i] == alone || (isnan(x[i]) && isnan(many[i])), "exp(%g - 1/8): %a, alone %a", (double)x[i], many[i], alone);
        }
    }
}
