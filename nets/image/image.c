/* SPDX-License-Identifier: MIT */
/* What all formats share: pictures in memory, recognising a format by its first bytes, turning by EXIF orientation. */
#include "nets/image/image.h"

#include <stdlib.h>
#include <string.h>

en_status img_new(size_t width, size_t height, size_t max_pixels, img *out, en_error *e)
{
    *out = (img){0};
    if (max_pixels == 0) max_pixels = IMG_MAX_PIXELS;
    if (width == 0 || height == 0) return en_fail(e, EN_E_FORMAT, "the picture has no pixels: its size is %zux%zu", width, height);
    if (width > IMG_MAX_SIDE || height > IMG_MAX_SIDE)
        return en_fail(e, EN_E_LIMIT, "the picture's size is %zux%zu, the limit is %d a side", width, height, IMG_MAX_SIDE);
    if (width > max_pixels / height)
        return en_fail(e, EN_E_LIMIT, "the picture's size is %zux%zu, the limit is %zu pixels", width, height, max_pixels);
    out->rgb = malloc(width * height * 3);
    if (!out->rgb) return en_fail(e, EN_E_NOMEM, "no memory for a picture of %zux%zu", width, height);
    out->width = (int)width;
    out->height = (int)height;
    return EN_OK;
}

void img_free(img *picture)
{
    free(picture->rgb);
    *picture = (img){0};
}

/* The eight orientations are the symmetries of the rectangle: swap the axes or not, then read rows and columns of the stored
 * picture forwards or backwards. */
en_status img_orient(img *picture, int orientation, en_error *e)
{
    static const struct {
        uint8_t swap, mirror_x, mirror_y;
    } how[9] = {
        [2] = {0, 1, 0}, [3] = {0, 1, 1}, [4] = {0, 0, 1}, [5] = {1, 0, 0}, [6] = {1, 0, 1}, [7] = {1, 1, 1}, [8] = {1, 1, 0}};
    if (orientation < 2 || orientation > 8) return EN_OK;
    size_t w = (size_t)picture->width, h = (size_t)picture->height;
    int swap = how[orientation].swap;
    img turned;
    EN_TRY(img_new(swap ? h : w, swap ? w : h, w * h, &turned, e));
    uint8_t *to = turned.rgb;
    for (size_t y = 0; y < (size_t)turned.height; y++) {
        for (size_t x = 0; x < (size_t)turned.width; x++, to += 3) {
            size_t from_x = swap ? y : x, from_y = swap ? x : y;
            if (how[orientation].mirror_x) from_x = w - 1 - from_x;
            if (how[orientation].mirror_y) from_y = h - 1 - from_y;
            memcpy(to, picture->rgb + 3 * (from_y * w + from_x), 3);
        }
    }
    img_free(picture);
    *picture = turned;
    return EN_OK;
}

/* A format is recognised by `magic`, found `at` bytes from the start. */
typedef struct format {
    unsigned at;
    const char *magic;
    unsigned length;
    const char *name;
    en_status (*decode)(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e); /* NULL: not supported */
} format;

static const format formats[] = {
    {0, "\xFF\xD8\xFF", 3, "JPEG", img_decode_jpeg},
    {0, "\x89PNG\r\n\x1A\n", 8, "PNG", img_decode_png},
    {0, "BM", 2, "BMP", img_decode_bmp},
    {0, "P1", 2, "PBM", img_decode_pnm},
    {0, "P2", 2, "PGM", img_decode_pnm},
    {0, "P3", 2, "PPM", img_decode_pnm},
    {0, "P4", 2, "PBM", img_decode_pnm},
    {0, "P5", 2, "PGM", img_decode_pnm},
    {0, "P6", 2, "PPM", img_decode_pnm},
    {0, "P7", 2, "PAM", NULL},
    {0, "GIF8", 4, "GIF", NULL},
    {8, "WEBP", 4, "WebP", NULL},
    {0, "II*\0", 4, "TIFF", NULL},
    {0, "MM\0*", 4, "TIFF", NULL},
    {4, "ftypavif", 8, "AVIF", NULL},
    {4, "ftypavis", 8, "AVIF", NULL},
    {4, "ftyphei", 7, "HEIC", NULL},
    {4, "ftyphev", 7, "HEIC", NULL},
    {4, "ftypmif1", 8, "HEIC or AVIF", NULL},
    {4, "ftypmsf1", 8, "HEIC or AVIF", NULL},
    {4, "JXL ", 4, "JPEG XL", NULL},
    {0, "\xFF\x0A", 2, "JPEG XL", NULL},
    {4, "jP  ", 4, "JPEG 2000", NULL},
};

en_status img_decode(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e)
{
    *out = (img){0};
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        const format *f = &formats[i];
        if (size < f->at + f->length || memcmp(bytes + f->at, f->magic, f->length)) continue;
        if (f->decode) return f->decode(bytes, size, max_pixels, out, e);
        return en_fail(e, EN_E_UNSUPPORTED, "%s pictures are not supported; convert it to JPEG, PNG, BMP or PNM", f->name);
    }
    if (size == 0) return en_fail(e, EN_E_FORMAT, "no picture: the data are empty");
    return en_fail(e, EN_E_FORMAT, "not a picture of a known format (JPEG, PNG, BMP, PNM)");
}
