/* SPDX-License-Identifier: MIT */
/* Activations on vectors, with first and second derivative. Own exp and erf: the same bits on every instruction set with fused
 * multiply-add. NaN stays NaN. */
#ifndef ENGINE_KERNELS_ACT_H
#define ENGINE_KERNELS_ACT_H

#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

#include <math.h>

/* Functions of n vectors in step: one alone is a chain of twenty instructions that wait for each other. */
#define EACH UNROLL for (int i = 0; i < n; i++)
#if defined __AVX512F__
enum { IN_STEP = 7 }; /* as many as a tile of gemm.c has rows */
#elif defined __aarch64__
enum { IN_STEP = 8 };
#else
enum { IN_STEP = 4 };
#endif

/* c[0] + c[1] u + .. by Horner's rule. */
INLINE void v_polynomial(const float *c, const int degree, const vf *u, vf *sum, const int n)
{
    EACH sum[i] = v_set(c[degree]);
    UNROLL for (int k = degree - 1; k >= 0; k--)
        EACH sum[i] = v_fma(sum[i], u[i], v_set(c[k]));
}

/* e^x = 2^k e^r with r = x - k ln2 in [-ln2/2, ln2/2], e^r = 1 + r + r^2 times a polynomial that is fitted for the smallest relative error
 * (3e-9). Arguments are at most 88; those below -87 count as -87, so that e^x is a normal number. */
INLINE void v_exp(vf *x, const int n)
{
    static const float fit[] = {1, 1, 0x1.fffffcp-2f, 0x1.555492p-3f, 0x1.5558f2p-5f, 0x1.123a2p-7f, 0x1.6a23dp-10f};
    const vf rounder = v_set(0x1.8p23f + 127); /* adding it leaves the nearest integer, and the exponent's bias, in the low bits */
    vf t[IN_STEP], e[IN_STEP];
    EACH x[i] = v_max(v_set(-87), x[i]);
    EACH t[i] = v_fma(x[i], v_set(1.44269504f), rounder);
    EACH x[i] = v_fma(t[i] - rounder, v_set(-0x1.62e4p-1f), x[i]); /* ln2 in two parts, the first with few bits, so that k ln2 is exact */
    EACH x[i] = v_fma(t[i] - rounder, v_set(-0x1.7f7d1cp-20f), x[i]);
    v_polynomial(fit, 6, x, e, n);
    EACH x[i] = e[i] * (vf)((vu)t[i] << 23);
}

/* 1 / (1 + e^-x). The denominator d is inverted without a division, which wide vectors are slow at: subtracting its bits from a
 * constant gives 1/d within 6 %, a step of third order 2e-4, and one of second (Newton's) all that single precision holds. */
INLINE void v_sigmoid(const vf *x, vf *s, const int n)
{
    vf d[IN_STEP], off[IN_STEP];
    EACH d[i] = v_min(v_set(87), -x[i]); /* so that 1/d is a normal number */
    v_exp(d, n);
    EACH d[i] = v_set(-1) - d[i];
    EACH s[i] = (vf)(0xfef311c3u - (vu)d[i]);
    EACH off[i] = v_fma(d[i], s[i], v_set(1));
    EACH off[i] = v_fma(off[i], off[i], off[i]);
    EACH s[i] = v_fma(s[i], off[i], s[i]);
    EACH off[i] = v_fma(d[i], s[i], v_set(1));
    EACH s[i] = v_fma(s[i], off[i], s[i]);
}

/* The normal distribution's Phi(x) = (1 + erf(x / sqrt 2)) / 2: erf(x / sqrt 2) / x is a polynomial in u = 2 x^2 / 5.5^2 - 1 fitted at
 * Chebyshev nodes over |x| <= 5.5 (largest error in single precision 1.4e-7); beyond, Phi is 0 or 1. */
INLINE void v_normal(const vf *x, vf *phi, const int n)
{
    static const float fit[] = {0.25710386f,   -0.128344625f,  0.0954746678f,   -0.0775875896f,  0.0641538203f,   -0.0520723015f,
                                0.0406146348f, -0.030125048f,  0.0209372733f,   -0.0133013567f,  0.00814825948f,  -0.00531740487f,
                                0.00281485287f, -0.000713509216f, 0.000367833331f, -0.000571352663f, 0.000236159991f};
    vf u[IN_STEP];
    EACH u[i] = v_fma(x[i] * x[i], v_set(2 / 30.25f), v_set(-1));
    v_polynomial(fit, 16, u, phi, n);
    EACH phi[i] = v_fma(x[i] * phi[i], v_set(0.5f), v_set(0.5f));
    EACH phi[i] = v_sel(x[i] < v_set(-5.5f), v_set(0), v_sel(x[i] > v_set(5.5f), v_set(1), phi[i]));
}

/* phi(x) = e^(-x^2 / 2) / sqrt(2 pi) */
INLINE vf v_normal_density(vf x)
{
    vf e = x * x * v_set(-0.5f);
    v_exp(&e, 1);
    return e * v_set(0.398942280f);
}

/* The activations of several instructions, in place. */
INLINE void v_smooth(kn_act act, vf *x, const int n)
{
    vf s[IN_STEP];
    if (act == KN_GELU) v_normal(x, s, n);
    else v_sigmoid(x, s, n);
    if (act == KN_SIGMOID) EACH x[i] = s[i];
    else EACH x[i] = x[i] * s[i];
}

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
        vf s, d;
        v_sigmoid(&x, &s, 1);
        d = s * (one - s);
        if (slope) *slope = d;
        if (curvature) *curvature = d * (one - two * s);
        return s;
    }
    case KN_SILU: {
        vf s;
        v_sigmoid(&x, &s, 1);
        if (slope) *slope = s * v_fma(x, one - s, one);
        if (curvature) *curvature = s * (one - s) * v_fma(x, v_fma(s, -two, one), two);
        return x * s;
    }
    case KN_GELU: {
        vf phi;
        v_normal(&x, &phi, 1);
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
