/* SPDX-License-Identifier: MIT */
/* CRC-32: the remainder of the message, a polynomial over GF(2), modulo x^32 + x^26 + ... + 1 (ISO 3309; RFC 1952 section 8).
 * Adler-32: a = 1 + sum of bytes, b = sum of all a, both modulo 65521 (RFC 1950 section 8.2). */
#include "weights/checksum.h"

static uint64_t load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
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
