/* SPDX-License-Identifier: MIT */
/* PNG decoding (W3C PNG third edition = ISO/IEC 15948). A file is a row of chunks; the IDAT chunks together are one zlib stream of
 * scanlines, each filtered: stored as differences from the bytes to the left and above. Interlaced, there are seven such pictures,
 * each a sparse grid of the whole (Adam7). Alpha and transparent colours are dropped, 16-bit samples keep their upper 8 bits. */
#include "nets/image/image.h"

#include "weights/checksum.h"
#include "weights/inflate.h"

#include <stdlib.h>
#include <string.h>

typedef struct chunk {
    char name[5];
    const uint8_t *data;
    size_t size;
} chunk;

enum { CHUNK_FRAME = 12 }; /* length, name, CRC */

enum { GREY = 0, RGB = 2, PALETTE = 3, GREY_ALPHA = 4, RGB_ALPHA = 6 };

typedef struct png {
    size_t width, height;
    unsigned depth, type, interlaced, samples; /* bits per sample; colour type; 0 or 1; samples per pixel */
    uint8_t palette[256][3];                   /* what the file does not define is black, as libpng has it */
    unsigned colours;
    const uint8_t *idat; /* the first IDAT chunk; all follow one another */
    size_t idat_chunks, idat_bytes;
    const uint8_t *exif;
    size_t exif_bytes;
} png;

static uint32_t load_be32(const uint8_t *p) { return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3]; }

/* The chunk at `at`, complete and with the right checksum. */
static en_status read_chunk(const uint8_t *bytes, size_t size, size_t at, chunk *c, en_error *e)
{
    if (size - at < CHUNK_FRAME) return en_fail(e, EN_E_FORMAT, "PNG: the file ends at byte %zu, before an IEND chunk", size);
    const uint8_t *p = bytes + at;
    for (int i = 0; i < 4; i++) {
        unsigned char letter = p[4 + i];
        if ((letter | 32) < 'a' || (letter | 32) > 'z')
            return en_fail(e, EN_E_FORMAT, "PNG: no chunk where one is due, at byte %zu", at);
        c->name[i] = (char)letter;
    }
    c->name[4] = 0;
    c->size = load_be32(p);
    c->data = p + 8;
    if (c->size > size - at - CHUNK_FRAME)
        return en_fail(e, EN_E_FORMAT, "PNG: the %s chunk at byte %zu has %zu bytes, which is past the end of the file", c->name,
                       at, c->size);
    uint32_t got = wt_crc32(0, p + 4, c->size + 4), want = load_be32(c->data + c->size);
    if (got != want)
        return en_fail(e, EN_E_FORMAT, "PNG: the CRC of the %s chunk at byte %zu is %08x, want %08x", c->name, at, got, want);
    return EN_OK;
}

static en_status read_header(const chunk *c, png *p, en_error *e)
{
    /* Samples per pixel of each colour type, and the depths it allows, as bits (table 11.1). */
    static const struct {
        unsigned samples, depths;
    } types[] = {[GREY] = {1, 1 | 2 | 4 | 8 | 16},
                 [RGB] = {3, 8 | 16},
                 [PALETTE] = {1, 1 | 2 | 4 | 8},
                 [GREY_ALPHA] = {2, 8 | 16},
                 [RGB_ALPHA] = {4, 8 | 16}};
    if (strcmp(c->name, "IHDR") || c->size != 13)
        return en_fail(e, EN_E_FORMAT, "PNG: the first chunk is %s with %zu bytes, want IHDR with 13", c->name, c->size);
    const uint8_t *d = c->data;
    p->width = load_be32(d);
    p->height = load_be32(d + 4);
    p->depth = d[8];
    p->type = d[9];
    p->interlaced = d[12];
    int is_power = p->depth && !(p->depth & (p->depth - 1));
    if (!is_power || p->type > RGB_ALPHA || !(types[p->type].depths & p->depth))
        return en_fail(e, EN_E_FORMAT, "PNG: there is no colour type %u with %u bits per sample", p->type, p->depth);
    if (d[10] || d[11] || d[12] > 1)
        return en_fail(e, EN_E_UNSUPPORTED, "PNG: unknown compression, filter or interlace method (%u, %u, %u)", d[10], d[11],
                       d[12]);
    p->samples = types[p->type].samples;
    return EN_OK;
}

static en_status read_palette(const chunk *c, png *p, en_error *e)
{
    if (p->idat || p->colours) return en_fail(e, EN_E_FORMAT, "PNG: a PLTE chunk behind %s", p->idat ? "IDAT" : "PLTE");
    if (c->size == 0 || c->size % 3 || c->size > sizeof p->palette)
        return en_fail(e, EN_E_FORMAT, "PNG: a PLTE chunk of %zu bytes, want 1 to 256 colours of 3", c->size);
    p->colours = (unsigned)(c->size / 3);
    if (p->type == PALETTE) memcpy(p->palette, c->data, c->size); /* elsewhere it is a suggestion only */
    return EN_OK;
}

/* Walks over all chunks up to IEND; what stands behind that is not looked at. */
static en_status read_chunks(const uint8_t *bytes, size_t size, png *p, en_error *e)
{
    static const uint8_t signature[8] = {0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n'};
    if (size < 8 || memcmp(bytes, signature, 8)) return en_fail(e, EN_E_FORMAT, "PNG: the signature is missing");
    chunk c;
    size_t at = 8;
    EN_TRY(read_chunk(bytes, size, at, &c, e));
    EN_TRY(read_header(&c, p, e));
    for (int after_idat = 0;;) {
        at += CHUNK_FRAME + c.size;
        EN_TRY(read_chunk(bytes, size, at, &c, e));
        int is_idat = !strcmp(c.name, "IDAT");
        after_idat |= p->idat && !is_idat;
        if (is_idat) {
            if (after_idat) return en_fail(e, EN_E_FORMAT, "PNG: the IDAT chunks do not follow one another");
            if (!p->idat) p->idat = bytes + at;
            p->idat_chunks++;
            p->idat_bytes += c.size;
        } else if (!strcmp(c.name, "PLTE")) {
            EN_TRY(read_palette(&c, p, e));
        } else if (!strcmp(c.name, "eXIf")) {
            p->exif = c.data;
            p->exif_bytes = c.size;
        } else if (!strcmp(c.name, "IEND")) {
            break;
        } else if (!(c.name[0] & 32)) { /* an upper-case letter says: not to be ignored */
            if (!strcmp(c.name, "IHDR")) return en_fail(e, EN_E_FORMAT, "PNG: a second IHDR chunk");
            return en_fail(e, EN_E_UNSUPPORTED, "PNG: unknown critical chunk %s", c.name);
        }
    }
    if (!p->idat) return en_fail(e, EN_E_FORMAT, "PNG: no IDAT chunk");
    if (p->type == PALETTE && !p->colours) return en_fail(e, EN_E_FORMAT, "PNG: no PLTE chunk in a picture with palette");
    return EN_OK;
}

/* A grid of pixels within the picture: the whole, or what one pass of Adam7 adds. */
typedef struct grid {
    uint8_t x, y, step_x, step_y;
} grid;

static const grid whole[1] = {{0, 0, 1, 1}};
static const grid adam7[7] = {{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2}};

static size_t columns(const png *p, grid g) { return p->width > g.x ? (p->width - g.x - 1) / g.step_x + 1 : 0; }
static size_t rows(const png *p, grid g) { return p->height > g.y ? (p->height - g.y - 1) / g.step_y + 1 : 0; }
static size_t row_bytes(const png *p, grid g) { return (columns(p, g) * p->samples * p->depth + 7) / 8; }

/* Size of a grid's scanlines, each with a byte in front that names its filter. Empty grids have none. */
static size_t grid_bytes(const png *p, grid g) { return columns(p, g) ? rows(p, g) * (row_bytes(p, g) + 1) : 0; }

/* The predictor of filter 4 (9.4): which of left, above and above-left is nearest to left + above - above-left. */
static inline uint8_t paeth(int left, int above, int corner)
{
    int to_left = abs(above - corner), to_above = abs(left - corner), to_corner = abs(left + above - 2 * corner);
    if (to_left <= to_above && to_left <= to_corner) return (uint8_t)left;
    return (uint8_t)(to_above <= to_corner ? above : corner);
}

/* Adds the prediction to n bytes of a scanline (9.2). `pixel` is the distance to the byte on the left; before the first pixel
 * and above the first row everything is 0. Returns 0 for an unknown filter. */
static int unfilter(unsigned filter, uint8_t *row, const uint8_t *above, size_t n, size_t pixel)
{
    size_t i = 0, first = n < pixel ? n : pixel;
    switch (filter) {
    case 0:
        return 1;
    case 1:
        for (i = first; i < n; i++) row[i] = (uint8_t)(row[i] + row[i - pixel]);
        return 1;
    case 2:
        for (; i < n; i++) row[i] = (uint8_t)(row[i] + above[i]);
        return 1;
    case 3:
        for (; i < first; i++) row[i] = (uint8_t)(row[i] + above[i] / 2);
        for (; i < n; i++) row[i] = (uint8_t)(row[i] + (row[i - pixel] + above[i]) / 2);
        return 1;
    case 4:
        for (; i < first; i++) row[i] = (uint8_t)(row[i] + above[i]);
        for (; i < n; i++) row[i] = (uint8_t)(row[i] + paeth(row[i - pixel], above[i], above[i - pixel]));
        return 1;
    }
    return 0;
}

/* Turns n pixels of a scanline into RGB, `step` bytes apart. */
static void put_row(const png *p, const uint8_t *row, size_t n, uint8_t *to, size_t step)
{
    if (p->samples == 1 && p->depth <= 8) { /* grey of few bits is a palette, too */
        unsigned mask = (1u << p->depth) - 1;
        for (size_t i = 0, bit = 0; i < n; i++, bit += p->depth, to += step) {
            unsigned index = row[bit / 8] >> (8 - p->depth - bit % 8) & mask;
            memcpy(to, p->palette[index], 3);
        }
        return;
    }
    size_t sample = p->depth / 8, pixel = p->samples * sample;
    size_t green = p->samples >= 3 ? sample : 0, blue = 2 * green;
    for (size_t i = 0; i < n; i++, row += pixel, to += step) {
        to[0] = row[0];
        to[1] = row[green];
        to[2] = row[blue];
    }
}

/* Unfilters the scanlines of one grid in place and puts its pixels where they belong. `zeros` is a row of zeros. */
static en_status put_grid(const png *p, grid g, uint8_t *raw, const uint8_t *zeros, img *out, en_error *e)
{
    size_t n = columns(p, g), bytes = row_bytes(p, g), pixel = (p->samples * p->depth + 7) / 8;
    if (n == 0) return EN_OK;
    const uint8_t *above = zeros;
    for (size_t y = g.y; y < p->height; y += g.step_y, raw += bytes + 1) {
        if (!unfilter(raw[0], raw + 1, above, bytes, pixel))
            return en_fail(e, EN_E_FORMAT, "PNG: row %zu has filter %u, want 0 to 4", y, raw[0]);
        put_row(p, raw + 1, n, out->rgb + 3 * (y * p->width + g.x), 3 * (size_t)g.step_x);
        above = raw + 1;
    }
    return EN_OK;
}

/* Decompresses all scanlines into raw[0 .. size-1]. The stream is cut into chunks anywhere, so it is put together first. */
static en_status decompress(const png *p, uint8_t *raw, size_t size, en_error *e)
{
    uint8_t *stream = malloc(p->idat_bytes + 1);
    if (!stream) return en_fail(e, EN_E_NOMEM, "PNG: no memory for %zu bytes of compressed data", p->idat_bytes);
    const uint8_t *from = p->idat;
    uint8_t *to = stream;
    for (size_t i = 0; i < p->idat_chunks; i++) {
        size_t n = load_be32(from);
        memcpy(to, from + 8, n);
        to += n;
        from += CHUNK_FRAME + n;
    }
    en_status status = wt_inflate_zlib(stream, p->idat_bytes, raw, size, NULL, e);
    free(stream);
    return status == EN_OK ? EN_OK : en_wrap(e, status, "PNG");
}

static en_status decode_pixels(const png *p, img *out, en_error *e)
{
    const grid *grids = p->interlaced ? adam7 : whole;
    size_t n = p->interlaced ? 7 : 1, size = 0, longest_row = row_bytes(p, whole[0]);
    for (size_t i = 0; i < n; i++) size += grid_bytes(p, grids[i]);
    uint8_t *raw = malloc(size + longest_row);
    if (!raw) return en_fail(e, EN_E_NOMEM, "PNG: no memory for %zu bytes of scanlines", size);
    memset(raw + size, 0, longest_row);
    en_status status = decompress(p, raw, size, e);
    uint8_t *at = raw;
    for (size_t i = 0; i < n && status == EN_OK; i++) {
        status = put_grid(p, grids[i], at, raw + size, out, e);
        at += grid_bytes(p, grids[i]);
    }
    free(raw);
    return status;
}

en_status img_decode_png(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e)
{
    enum { MAX_RATIO = 1032 }; /* of deflate: 258 bytes from two bits */
    *out = (img){0};
    png p = {0};
    EN_TRY(read_chunks(bytes, size, &p, e));
    /* Before memory is taken. Interlaced scanlines are never fewer bytes than plain ones. */
    if (p.height > MAX_RATIO * p.idat_bytes / (row_bytes(&p, whole[0]) + 1))
        return en_fail(e, EN_E_FORMAT, "PNG: %zu bytes of IDAT cannot hold a picture of %zux%zu", p.idat_bytes, p.width, p.height);
    if (p.type == GREY && p.depth <= 8)
        for (unsigned i = 0, top = (1u << p.depth) - 1; i <= top; i++) memset(p.palette[i], (int)(i * 255 / top), 3);
    EN_TRY(img_new(p.width, p.height, max_pixels, out, e));
    en_status status = decode_pixels(&p, out, e);
    if (status == EN_OK && p.exif) status = img_orient(out, img_exif_orientation(p.exif, p.exif_bytes), e);
    if (status != EN_OK) img_free(out);
    return status;
}
