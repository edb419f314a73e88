/* SPDX-License-Identifier: MIT */
/* Three checksums. CRC-32: the remainder of the message, a polynomial over GF(2), modulo x^32 + x^26 + ... + 1 (ISO 3309; RFC 1952
 * section 8). Adler-32: a = 1 + sum of bytes, b = sum of all a, both modulo 65521 (RFC 1950 section 8.2). SHA-256: FIPS 180-4. */
#include "weights/checksum.h"

#include <string.h>

static uint64_t load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

static uint32_t load_be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

static void store_be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++) p[i] = (uint8_t)(v >> (24 - 8 * i));
}

/* The remainder of four zero bits behind each value of the lowest four: two steps make a byte. */
static const uint32_t crc_nibble[16] = {
    0x00000000, 0x1DB71064, 0x3B6E20C8, 0x26D930AC, 0x76DC4190, 0x6B6B51F4, 0x4DB26158, 0x5005713C,
    0xEDB88320, 0xF00F9344, 0xD6D6A3E8, 0xCB61B38C, 0x9B64C2B0, 0x86D3D2D4, 0xA00AE278, 0xBDBDF21C,
};

static uint32_t crc_byte(uint32_t crc, uint8_t byte)
{
    crc ^= byte;
    crc = crc >> 4 ^ crc_nibble[crc & 15];
    return crc >> 4 ^ crc_nibble[crc & 15];
}

/* Eight bytes at a time (slicing): table[k][v] is the remainder of byte v with k zero bytes behind it. The tables live on the stack,
 * because making them costs as much as some 2000 bytes of checksum and a checksum needs no state that outlives it. */
static uint32_t crc_words(uint32_t crc, const uint8_t *p, size_t words)
{
    uint32_t table[8][256];
    for (int v = 0; v < 256; v++) table[0][v] = crc_byte(0, (uint8_t)v);
    for (int k = 1; k < 8; k++)
        for (int v = 0; v < 256; v++) table[k][v] = table[k - 1][v] >> 8 ^ table[0][table[k - 1][v] & 255];
    for (; words; words--, p += 8) {
        uint64_t x = load_le64(p) ^ crc;
        crc = table[7][x & 255] ^ table[6][x >> 8 & 255] ^ table[5][x >> 16 & 255] ^ table[4][x >> 24 & 255] ^
              table[3][x >> 32 & 255] ^ table[2][x >> 40 & 255] ^ table[1][x >> 48 & 255] ^ table[0][x >> 56];
    }
    return crc;
}

uint32_t wt_crc32(uint32_t crc, const void *bytes, size_t n)
{
    enum { TABLES_PAY = 4096 };
    const uint8_t *p = bytes;
    crc = ~crc;
    if (n >= TABLES_PAY) {
        crc = crc_words(crc, p, n / 8);
        p += n / 8 * 8;
        n %= 8;
    }
    while (n--) crc = crc_byte(crc, *p++);
    return ~crc;
}

uint32_t wt_adler32(uint32_t adler, const void *bytes, size_t n)
{
    enum { MODULUS = 65521, BLOCK = 5552 }; /* the most bytes for which b stays below 2^32 */
    const uint8_t *p = bytes;
    uint32_t a = adler & 0xFFFF, b = adler >> 16;
    while (n) {
        size_t block = n < BLOCK ? n : BLOCK;
        for (size_t i = 0; i < block; i++) b += a += p[i];
        a %= MODULUS;
        b %= MODULUS;
        p += block;
        n -= block;
    }
    return b << 16 | a;
}

/* The first 32 bits of the fractional parts of the cube roots of the first 64 primes (FIPS 180-4, 4.2.2). */
static const uint32_t sha_k[64] = {
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
static void sha_block(uint32_t state[8], const uint8_t *block)
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
        uint32_t t1 = h + (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) + choose + sha_k[t] + w[t];
        uint32_t t2 = (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) + majority;
        h = g, g = f, f = e, e = d + t1;
        d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t sum[8] = {a, b, c, d, e, f, g, h};
    for (int i = 0; i < 8; i++) state[i] += sum[i];
}

void wt_sha256_start(wt_sha256 *s)
{
    /* of the square roots of the first eight primes (5.3.3) */
    *s = (wt_sha256){.state = {0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19}};
}

void wt_sha256_add(wt_sha256 *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    size_t waiting = s->length % 64;
    s->length += n;
    if (waiting) {
        size_t take = n < 64 - waiting ? n : 64 - waiting;
        memcpy(s->block + waiting, p, take);
        p += take;
        n -= take;
        if (waiting + take < 64) return;
        sha_block(s->state, s->block);
    }
    for (; n >= 64; n -= 64, p += 64) sha_block(s->state, p);
    if (n) memcpy(s->block, p, n);
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
