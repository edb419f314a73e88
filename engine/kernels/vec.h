/* SPDX-License-Identifier: MIT */
/* Vectors as wide as the instruction set that this file is compiled for. A kernel thinks in 16 lanes (one channel block), which
 * are VN vectors of VW lanes. Lanes never mix inside a kernel's arithmetic, so the width does not show in the results.
 *
 * Contraction is off everywhere, so v_fma is the one place where a multiply-add rounds once. The base set of x86-64 has no fused
 * multiply-add and rounds twice: it alone has results of its own. */
#ifndef ENGINE_KERNELS_VEC_H
#define ENGINE_KERNELS_VEC_H

#include <stddef.h>
#include <stdint.h>

#if defined __AVX512F__
#include <immintrin.h>
enum { VW = 16 };
#elif defined __AVX2__ && defined __FMA__
#include <immintrin.h>
enum { VW = 8 };
#else
#if defined __ARM_NEON
#include <arm_neon.h>
#endif
enum { VW = 4 };
#endif
enum { VN = 16 / VW };

#if defined __AVX512F__
typedef float vf __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(64), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(64), aligned(4), may_alias));
#elif defined __AVX2__ && defined __FMA__
typedef float vf __attribute__((vector_size(32), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(32), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(32), aligned(4), may_alias));
#else
typedef float vf __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t vi __attribute__((vector_size(16), aligned(4), may_alias));
typedef uint32_t vu __attribute__((vector_size(16), aligned(4), may_alias));
#endif

#define INLINE static inline __attribute__((always_inline))
/* Before a loop over registers: unrolled whole, so that arrays of vectors live in registers. */
#if defined __clang__
#define UNROLL _Pragma("clang loop unroll(full)")
#else
#define UNROLL _Pragma("GCC unroll 16")
#endif

INLINE vf v_load(const float *p) { return *(const vf *)p; }
INLINE void v_store(float *p, vf x) { *(vf *)p = x; }

INLINE vf v_set(float s)
{
#if defined __AVX512F__
    return (vf)_mm512_set1_ps(s);
#elif defined __AVX2__ && defined __FMA__
    return (vf)_mm256_set1_ps(s);
#else
    return (vf){s, s, s, s};
#endif
}

/* a * b + c, rounded once where the hardware can. */
INLINE vf v_fma(vf a, vf b, vf c)
{
#if defined __AVX512F__
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
#elif defined __AVX2__ && defined __FMA__
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#elif defined __aarch64__
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
#else
    return a * b + c;
#endif
}

/* Lanes j .. j+VW-1 of a pixel x of 16 channels in groups of 4 or 8: each lane gets number `channel` of its group. */
INLINE vf v_group(const float *x, int j, int group, int channel)
{
#if defined __AVX512F__
    const vi lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return (vf)_mm512_permutexvar_ps((__m512i)((lanes & -group) + channel), (__m512)v_load(x + j));
#elif defined __AVX2__ && defined __FMA__
    const vi lanes = {0, 1, 2, 3, 4, 5, 6, 7};
    return (vf)_mm256_permutevar8x32_ps((__m256)v_load(x + j), (__m256i)((lanes & -group) + channel));
#else
    return v_set(x[(j & -group) + channel]);
#endif
}

/* mask ? a : b for each lane; the mask is what a comparison of two vectors gives. */
INLINE vf v_sel(vi mask, vf a, vf b) { return (vf)((mask & (vi)a) | (~mask & (vi)b)); }

INLINE vi v_mask(const int32_t *p) { return *(const vi *)p; }

/* a > b ? a : b and a < b ? a : b, so b where either is NaN. */
INLINE vf v_max(vf a, vf b)
{
#if defined __AVX512F__
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined __AVX2__ && defined __FMA__
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
    return v_sel(a > b, a, b);
#endif
}

INLINE vf v_min(vf a, vf b)
{
#if defined __AVX512F__
    return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined __AVX2__ && defined __FMA__
    return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#else
    return v_sel(a < b, a, b);
#endif
}

/* The sum of 16 lanes in one fixed order, the same for every vector width. */
INLINE float sum16(const float *x)
{
    float t[8];
    for (int i = 0; i < 8; i++) t[i] = x[i] + x[i + 8];
    for (int i = 0; i < 4; i++) t[i] = t[i] + t[i + 4];
    return (t[0] + t[2]) + (t[1] + t[3]);
}

/* The larger of the two, or NaN if there is one. */
INLINE vf v_larger(vf best, vf x) { return v_sel((x > best) | (x != x), x, best); }

/* max(x, 0) and min(max(x, 0), 6); NaN stays NaN. */
INLINE vf v_relu(vf x) { return v_max(v_set(0), x); }
INLINE vf v_relu6(vf x) { return v_min(v_set(6), v_relu(x)); }

#endif
