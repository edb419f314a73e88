/* SPDX-License-Identifier: MIT */
/* Checksums: CRC-32 (zip, PNG), Adler-32 (zlib), and SHA-256, which says which checkpoint a result was made from. */
#ifndef WEIGHTS_CHECKSUM_H
#define WEIGHTS_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>

/* Continue a checksum over n more bytes. A CRC starts from 0, an Adler sum from 1. */
uint32_t wt_crc32(uint32_t crc, const void *bytes, size_t n);
uint32_t wt_adler32(uint32_t adler, const void *bytes, size_t n);

/* SHA-256 piece by piece: wt_sha256_start, wt_sha256_add as often as there are pieces, wt_sha256_end. */
typedef struct wt_sha256 {
    uint32_t state[8];
    uint64_t length; /* bytes so far; length % 64 of them wait in block */
    uint8_t block[64];
} wt_sha256;

void wt_sha256_start(wt_sha256 *s);
void wt_sha256_add(wt_sha256 *s, const void *bytes, size_t n);
void wt_sha256_end(wt_sha256 *s, uint8_t digest[32]);

/* The work itself: `count` blocks of 64 bytes, as the standard has it, and the fastest that this processor can; same results. */
typedef void wt_sha256_blocks(uint32_t state[8], const uint8_t *blocks, size_t count);
wt_sha256_blocks wt_sha256_portable;
wt_sha256_blocks *wt_sha256_fast(void);

/* The digest as 64 lower-case hexadecimal digits and a terminating 0. */
void wt_sha256_text(const uint8_t digest[32], char text[65]);

#endif
