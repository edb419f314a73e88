/* SPDX-License-Identifier: MIT */
/* Compression to a zlib stream (RFC 1950, 1951), for PNG. Decompression is in weights/inflate.h. */
#ifndef NETS_IMAGE_DEFLATE_H
#define NETS_IMAGE_DEFLATE_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

/* Compresses n bytes, about as tightly as zlib at its default level. The same bytes come out on every machine.
 * The caller frees *out; on failure it is NULL. */
en_status img_deflate(const uint8_t *in, size_t n, uint8_t **out, size_t *size, en_error *e);

#endif
