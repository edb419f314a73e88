/* SPDX-License-Identifier: MIT */
/* PNG encoding: 8-bit RGB, not interlaced. Each row gets the filter after which its bytes, taken as signed, have the smallest sum
 * of magnitudes (W3C PNG third edition, 12.7): such rows compress well. */
#include "nets/image/deflate.h"
#include "nets/image/image.h"
#include "weights/checksum.h"

#include <stdlib.h>
#include <string.h>

enum {
    CHUNK_FRAME = 12,       /* length, name, CRC */
    MAX_CHUNK = 0x7FFFFFFF, /* bytes in a chunk */
    IDAT_BYTES = 1 << 20,   /* we start a new chunk after these */
    PIXEL = 3
};

static uint8_t *put_be32(uint8_t *to, size_t v)
{
    for (int i = 0; i < 4; i++) *to++ = (uint8_t)(v >> (24 - 8 * i));
    return to;
}

/* Completes the chunk of n bytes of data that have been written at to + 8; returns where the next one starts. */
static uint8_t *put_frame(uint8_t *to, const char *name, size_t n)
{
    put_be32(to, n);
    memcpy(to + 4, name, 4);
    return put_be32(to + 8 + n, wt_crc32(0, to + 4, n + 4));
}

static uint8_t *put_chunk(uint8_t *to, const char *name, const uint8_t *data, size_t n)
{
    if (n) memcpy(to + 8, data, n);
    return put_frame(to, name, n);
}

/* What filter 1 to 4 expects for a byte: left, above, their mean, or the one nearest to left + above - corner (9.2). */
static inline int predict(int filter, int left, int above, int corner)
{
    if (filter < 2) return filter ? left : 0;
    if (filter < 4) return filter == 2 ? above : (left + above) / 2;
    int to_left = abs(above - corner), to_above = abs(left - corner), to_corner = abs(left + above - 2 * corner);
    if (to_left <= to_above && to_left <= to_corner) return left;
    return to_above <= to_corner ? above : corner;
}

/* Filters n bytes of a row; returns the sum of magnitudes. */
static inline __attribute__((always_inline)) size_t filter_with(int filter, const uint8_t *row, const uint8_t *above, size_t n, uint8_t *to)
{
    size_t sum = 0;
    for (size_t i = 0; i < n; i++) {
        int left = i < PIXEL ? 0 : row[i - PIXEL], corner = i < PIXEL ? 0 : above[i - PIXEL];
        to[i] = (uint8_t)(row[i] - predict(filter, left, above[i], corner));
        sum += to[i] < 128 ? to[i] : 256u - to[i];
    }
    return sum;
}

/* All scanlines, filtered, from malloc. Behind them, in the same block, a row of zeros and the row that is being tried. */
static uint8_t *filter_rows(const img *picture, size_t *size)
{
    size_t n = PIXEL * (size_t)picture->width, rows = (size_t)picture->height;
    *size = rows * (n + 1);
    uint8_t *filtered = malloc(*size + 2 * n);
    if (!filtered) return NULL;
    uint8_t *zeros = filtered + *size, *trial = zeros + n, *to = filtered;
    memset(zeros, 0, n);
    for (size_t y = 0; y < rows; y++, to += n + 1) {
        const uint8_t *row = picture->rgb + y * n, *above = y ? row - n : zeros;
        size_t best = SIZE_MAX;
#pragma GCC unroll 5 /* a loop for each filter, none that asks which it is */
        for (int filter = 0; filter <= 4; filter++) {
            size_t sum = filter_with(filter, row, above, n, trial);
            if (sum >= best) continue;
            best = sum;
            to[0] = (uint8_t)filter;
            memcpy(to + 1, trial, n);
        }
    }
    return filtered;
}

/* Latin-1 without control characters. */
static int printable(const char *s, int newlines)
{
    for (; *s; s++) {
        unsigned char c = (unsigned char)*s;
        if ((c < 32 && !(newlines && c == '\n')) || (c > 126 && c < 161)) return 0;
    }
    return 1;
}

/* Checks the pairs for tEXt chunks (11.3.3.2) and finds the sum of their sizes, frames included. */
static en_status check_text(const char *const *text, size_t *size, en_error *e)
{
    *size = 0;
    for (size_t i = 0; text && text[2 * i]; i++) {
        const char *key = text[2 * i], *value = text[2 * i + 1];
        size_t n = strlen(key), m = value ? strlen(value) : 0;
        if (n < 1 || n > 79 || !printable(key, 0) || key[0] == ' ' || key[n - 1] == ' ' || strstr(key, "  "))
            return en_fail(e, EN_E_ARG, "PNG: the key of text %zu must be 1 to 79 Latin-1 characters with single spaces inside", i);
        if (!value || m > MAX_CHUNK - 80 || !printable(value, 1))
            return en_fail(e, EN_E_ARG, "PNG: the text \"%s\" must be of Latin-1 characters and newlines, less than 2 GB", key);
        *size += CHUNK_FRAME + n + 1 + m;
    }
    return EN_OK;
}

static uint8_t *put_text(uint8_t *to, const char *key, const char *value)
{
    size_t n = strlen(key) + 1, m = strlen(value);
    memcpy(to + 8, key, n);
    memcpy(to + 8 + n, value, m);
    return put_frame(to, "tEXt", n + m);
}

en_status img_encode_png(const img *picture, const char *const *text, uint8_t **out, size_t *size, en_error *e)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    *out = NULL;
    if (!picture->rgb || picture->width < 1 || picture->height < 1)
        return en_fail(e, EN_E_ARG, "PNG: cannot encode a picture of %dx%d", picture->width, picture->height);
    size_t text_bytes, raw_bytes, n;
    EN_TRY(check_text(text, &text_bytes, e));
    uint8_t *raw = filter_rows(picture, &raw_bytes), *stream;
    if (!raw) return en_fail(e, EN_E_NOMEM, "PNG: no memory for %zu bytes of scanlines", raw_bytes);
    en_status status = img_deflate(raw, raw_bytes, &stream, &n, e);
    free(raw);
    if (status != EN_OK) return en_wrap(e, status, "PNG");

    size_t chunks = (n + IDAT_BYTES - 1) / IDAT_BYTES;
    *size = 8 + CHUNK_FRAME + 13 + text_bytes + chunks * CHUNK_FRAME + n + CHUNK_FRAME;
    uint8_t *to = *out = malloc(*size);
    if (to) {
        uint8_t header[13] = {[8] = 8, [9] = 2}; /* bits per sample, colour type RGB */
        put_be32(header, (size_t)picture->width);
        put_be32(header + 4, (size_t)picture->height);
        memcpy(to, signature, 8);
        to = put_chunk(to + 8, "IHDR", header, 13);
        for (; text && text[0]; text += 2) to = put_text(to, text[0], text[1]);
        for (size_t i = 0; i < n; i += IDAT_BYTES) to = put_chunk(to, "IDAT", stream + i, n - i < IDAT_BYTES ? n - i : IDAT_BYTES);
        put_chunk(to, "IEND", NULL, 0);
    }
    free(stream);
    return *out ? EN_OK : en_fail(e, EN_E_NOMEM, "PNG: no memory for %zu bytes of file", *size);
}
