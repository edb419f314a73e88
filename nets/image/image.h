/* SPDX-License-Identifier: MIT */
/* Pictures: JPEG, PNG, BMP and PNM in, PNG out; always 8-bit RGB in memory, row by row from the top left.
 *
 * Decoding is bit-exact with libjpeg-turbo (islow DCT, fancy upsampling) and libpng as Pillow's convert("RGB") shows them: alpha is
 * dropped, 16-bit samples keep their upper 8 bits, EXIF orientation is applied. Bytes are treated as hostile: every size is
 * checked before it is trusted, and the caps below bound memory and time. */
#ifndef NETS_IMAGE_IMAGE_H
#define NETS_IMAGE_IMAGE_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct img {
    int width, height;
    uint8_t *rgb; /* [height][width][3], from malloc, owned by this struct */
} img;

enum {
    IMG_MAX_SIDE = 65535,
    IMG_MAX_PIXELS = 1 << 28 /* 268 million: the default cap on width * height */
};

/* Decodes a picture of any known format, recognised by its first bytes. max_pixels caps width * height (0: IMG_MAX_PIXELS).
 * On failure *out is {0}. */
en_status img_decode(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e);

/* The formats one by one; same contract. */
en_status img_decode_jpeg(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e);
en_status img_decode_png(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e);
en_status img_decode_bmp(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e);
en_status img_decode_pnm(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e);

/* Turns or flips the picture in place as the EXIF orientation 1 to 8 says (anything else: no change). */
en_status img_orient(img *picture, int orientation, en_error *e);

/* The orientation stored in a block of EXIF data (a TIFF header and what follows), 1 if there is none. */
int img_exif_orientation(const uint8_t *tiff, size_t size);

/* Allocates an uninitialised picture after checking its size against the cap (0: IMG_MAX_PIXELS). */
en_status img_new(size_t width, size_t height, size_t max_pixels, img *out, en_error *e);

/* Frees the pixels and resets the struct; {0} is fine. */
void img_free(img *picture);

/* Encodes as PNG (8-bit RGB, deflate). `text` holds pairs key, value of tEXt chunks, ended by NULL; it may be NULL itself.
 * The caller frees *out. */
en_status img_encode_png(const img *picture, const char *const *text, uint8_t **out, size_t *size, en_error *e);

#endif
