/* SPDX-License-Identifier: MIT */
/* Decompression of deflate streams (RFC 1951), bare as in zip files or in the zlib wrapper (RFC 1950) as in PNG. */
#ifndef WEIGHTS_INFLATE_H
#define WEIGHTS_INFLATE_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

/* Decompresses one stream from in[0 .. n-1] to exactly `size` bytes at out; both formats that use it state the size beforehand.
 * *used (may be NULL) becomes the length of the stream; bytes behind it are not looked at.
 * Fails with EN_E_FORMAT when the stream is malformed, ends early, or holds fewer or more bytes than `size`; out is then undefined.
 * Takes time proportional to n + size, and no memory beyond a few kilobytes of stack. */
en_status wt_inflate(const uint8_t *in, size_t n, uint8_t *out, size_t size, size_t *used, en_error *e);

/* The same for a zlib stream: the two header bytes and the Adler-32 checksum are checked. */
en_status wt_inflate_zlib(const uint8_t *in, size_t n, uint8_t *out, size_t size, size_t *used, en_error *e);

#endif
