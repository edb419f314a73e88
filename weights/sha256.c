/* SPDX-License-Identifier: MIT */
/* SHA-256 (FIPS 180-4), as it is written there, and with the instructions that x86 processors have for it: a checkpoint of hundreds of
 * megabytes is hashed as a whole when it is converted. */
#include "weights/checksum.h"

#include <string.h>
#if defined __x86_64__ || defined __i386__
#include <cpuid.h>
#include <immintrin.h>
#endif

static uint32_t load_be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void store_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t k[64] = {
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5, 0xD807AA98, 0x12835B01,
    0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174, 0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC,
    0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA, 0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147,
    0x06CA6351, 0x14292967, 0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070, 0x19A4C116, 0x1E376C08,
    0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3, 0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208,
    0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
};

static uint32_t rotate(uint32_t x, int n) { return x >> n | x << (32 - n); }

/* One block of 64 bytes: the message schedule w (6.2.2 step 1), then 64 rounds on the working variables a to h. */
static void hash_block(uint32_t state[8], const uint8_t *block)
{
    uint32_t w[64];
    for (int t = 0; t < 16; t++) w[t] = load_be32(block + 4 * t);
    for (int t = 16; t < 64; t++) {
        uint32_t s0 = rotate(w[t - 15], 7) ^ rotate(w[t - 15], 18) ^ w[t - 15] >> 3;
        uint32_t s1 = rotate(w[t - 2], 17) ^ rotate(w[t - 2], 19) ^ w[t - 2] >> 10;
        w[t] = w[t - 16] + s0 + w[t - 7] + s1;
    }
    uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4], f = state[5], g = state[6], h = state[7];
    for (int t = 0; t < 64; t++) {
        uint32_t choose = (e & f) ^ (~e & g), majority = (a & b) ^ (a & c) ^ (b & c);
        uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choose + k[t] + w[t];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority;
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t sum[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] += sum[i];
}

void wt_sha256_portable(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    for (; count > 0; count--, blocks += 64) hash_block(state, blocks);
}

#if defined __x86_64__ || defined __i386__
/* Intel's SHA extensions: one instruction makes two rounds, on a state kept as (a b e f) and (c d g h). w0 .. w3 are the 16 words of
 * the message schedule that are in use. */
__attribute__((target("sha,sse4.1"))) static void hash_sha_ni(uint32_t state[8], const uint8_t *blocks, size_t count)
{
    const __m128i swap = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
    const __m128i abcd = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xB1);
    const __m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1B);
    __m128i abef = _mm_alignr_epi8(abcd, efgh, 8), cdgh = _mm_blend_epi16(efgh, abcd, 0xF0);
    for (; count > 0; count--, blocks += 64) {
        const __m128i abef_before = abef, cdgh_before = cdgh, *in = (const __m128i *)(const void *)blocks;
        __m128i w0 = _mm_shuffle_epi8(_mm_loadu_si128(in), swap), w1 = _mm_shuffle_epi8(_mm_loadu_si128(in + 1), swap);
        __m128i w2 = _mm_shuffle_epi8(_mm_loadu_si128(in + 2), swap), w3 = _mm_shuffle_epi8(_mm_loadu_si128(in + 3), swap);
        for (int t = 0; t < 64; t += 4) {
            const __m128i wk = _mm_add_epi32(w0, _mm_loadu_si128((const __m128i *)(k + t)));
            const __m128i sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8(w3, w2, 4));
            cdgh = _mm_sha256rnds2_epu32(cdgh, abef, wk);
            abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(wk, 0x0E));
            w0 = w1, w1 = w2, w2 = w3;
            w3 = _mm_sha256msg2_epu32(sum, w2);
        }
        abef = _mm_add_epi32(abef, abef_before);
        cdgh = _mm_add_epi32(cdgh, cdgh_before);
    }
    const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(feba, dchg, 0xF0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(dchg, feba, 8));
}

/* CPUID leaf 7, EBX bit 29; leaf 1, ECX bit 19 is SSE4.1. */
wt_sha256_blocks *wt_sha256_fast(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c >> 19 & 1)) return wt_sha256_portable;
    if (!__get_cpuid_count(7, 0, &a, &b, &c, &d) || !(b >> 29 & 1)) return wt_sha256_portable;
    return hash_sha_ni;
}
#else
wt_sha256_blocks *wt_sha256_fast(void) { return wt_sha256_portable; }
#endif

void wt_sha256_start(wt_sha256 *s)
{
    /* of the square roots of the first eight primes (5.3.3) */
    *s = (wt_sha256){.state = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19}};
}

void wt_sha256_add(wt_sha256 *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    wt_sha256_blocks *hash = wt_sha256_fast();
    size_t waiting = s->length % 64;
    s->length += n;
    if (waiting) {
        size_t take = n < 64 - waiting ? n : 64 - waiting;
        memcpy(s->block + waiting, p, take);
        p += take;
        n -= take;
        if (waiting + take < 64) return;
        hash(s->state, s->block, 1);
    }
    hash(s->state, p, n / 64);
    if (n % 64) memcpy(s->block, p + n / 64 * 64, n % 64);
}

void wt_sha256_end(wt_sha256 *s, uint8_t digest[32])
{
    /* A one bit, zeros up to 8 bytes before the end of a block, the length in bits (5.1.1). */
    uint8_t padding[72] = {0x80};
    size_t zeros = (119 - s->length % 64) % 64;
    uint64_t bits = s->length * 8;
    store_be32(padding + 1 + zeros, (uint32_t)(bits >> 32));
    store_be32(padding + 5 + zeros, (uint32_t)bits);
    wt_sha256_add(s, padding, zeros + 9);
    for (int i = 0; i < 8; i++) store_be32(digest + 4 * i, s->state[i]);
}

void wt_sha256_text(const uint8_t digest[32], char text[65])
{
    for (int i = 0; i < 64; i++) text[i] = "0123456789abcdef"[digest[i / 2] >> (i % 2 ? 0 : 4) & 15];
    text[64] = 0;
}
