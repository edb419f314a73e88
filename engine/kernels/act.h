/* SPDX-License-Identifier: MIT */
/* Activations on vectors, with first and second derivative. Own exp and erf: the same bits on every instruction set with fused
 * multiply-add. NaN stays NaN. */
#ifndef ENGINE_KERNELS_ACT_H
#define ENGINE_KERNELS_ACT_H

#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

#include <math.h>

/* c[0] + c[1] u + .. by Horner's rule. */
INLINE vf v_polynomial(const float *c, const int degree, vf u)
{
    vf sum = v_set(c[degree]);
    UNROLL for (int i = degree - 1; i >= 0; i--) sum = v_fma(sum, u, v_set(c[i]));
    return sum;
}

/* e^x = 2^k e^r with r = x - k ln2 in [-ln2/2, ln2/2], e^r by its Taylor series to r^7 / 7! (the next term is 5e-9). Arguments are
 * clamped to -87 .. 88, where e^x is a normal number. */
INLINE vf v_exp(vf x)
{
    static const float series[] = {1, 1, 1.f / 2, 1.f / 6, 1.f / 24, 1.f / 120, 1.f / 720, 1.f / 5040};
    const vf rounder = v_set(0x1.8p23f); /* adding it leaves the nearest integer in the low bits */
    x = v_sel(x < v_set(-87), v_set(-87), x);
    x = v_sel(x > v_set(88), v_set(88), x);
    vf t = v_fma(x, v_set(1.44269504f), rounder), k = t - rounder;
    vf r = v_fma(k, v_set(-0x1.62e4p-1f), x); /* ln2 in two parts, the first with few bits, so that k ln2 is exact */
    r = v_fma(k, v_set(-0x1.7f7d1cp-20f), r);
    vf e = (vf)((vu)v_polynomial(series, 7, r) + ((vu)t << 23));
    return v_sel(x == x, e, x);
}

/* 1 / (1 + e^-x) */
INLINE vf v_sigmoid(vf x) { return v_set(1) / (v_set(1) + v_exp(-x)); }

/* The normal distribution's Phi(x) = (1 + erf(x / sqrt 2)) / 2: erf(x / sqrt 2) / x is a polynomial in u = 2 x^2 / 5.5^2 - 1 fitted at
 * Chebyshev nodes over |x| <= 5.5 (largest error in single precision 1.4e-7); beyond, Phi is 0 or 1. */
INLINE vf v_normal(vf x)
{
    static const float fit[] = {0.25710386f,   -0.128344625f,  0.0954746678f,   -0.0775875896f,  0.0641538203f,   -0.0520723015f,
                                0.0406146348f, -0.030125048f,  0.0209372733f,   -0.0133013567f,  0.00814825948f,  -0.00531740487f,
                                0.00281485287f, -0.000713509216f, 0.000367833331f, -0.000571352663f, 0.000236159991f};
    vf u = v_fma(x * x, v_set(2 / 30.25f), v_set(-1));
    vf phi = v_fma(x * v_polynomial(fit, 16, u), v_set(0.5f), v_set(0.5f));
    return v_sel(x < v_set(-5.5f), v_set(0), v_sel(x > v_set(5.5f), v_set(1), phi));
}

/* phi(x) = e^(-x^2 / 2) / sqrt(2 pi) */
INLINE vf v_normal_density(vf x) { return v_exp(x * x * v_set(-0.5f)) * v_set(0.398942280f); }

/* f(x); slope and curvature receive f' and f'' where they are not NULL. A kink has slope 0, as in PyTorch. */
INLINE vf v_act(kn_act act, vf x, vf *slope, vf *curvature)
{
    const vf zero = v_set(0), one = v_set(1), two = v_set(2);
    if (curvature) *curvature = zero;
    switch (act) {
    case KN_RELU:
        if (slope) *slope = v_sel(x > zero, one, zero);
        return v_relu(x);
    case KN_RELU6:
        if (slope) *slope = v_sel((x > zero) & (x < v_set(6)), one, zero);
        return v_relu6(x);
    case KN_SIGMOID: {
        vf s = v_sigmoid(x), d = s * (one - s);
        if (slope) *slope = d;
        if (curvature) *curvature = d * (one - two * s);
        return s;
    }
    case KN_SILU: {
        vf s = v_sigmoid(x);
        if (slope) *slope = s * v_fma(x, one - s, one);
        if (curvature) *curvature = s * (one - s) * v_fma(x, v_fma(s, -two, one), two);
        return x * s;
    }
    case KN_GELU: {
        vf phi = v_normal(x);
        if (slope) *slope = v_fma(x, v_normal_density(x), phi);
        if (curvature) *curvature = v_normal_density(x) * v_fma(-x, x, two);
        return x * phi;
    }
    default:
        if (slope) *slope = one;
        return x;
    }
}

#endif
