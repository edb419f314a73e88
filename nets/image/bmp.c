/* SPDX-License-Identifier: MIT */
/* BMP decoding: a file header of 14 bytes, an information header whose size tells its version, a palette, then rows from the
 * bottom up (from the top if the height is negative), each padded to four bytes, pixels as blue, green, red. Source: Microsoft's
 * documentation of BITMAPFILEHEADER, BITMAPCOREHEADER, BITMAPINFOHEADER, BITMAPV5HEADER and "Bitmap Compression". */
#include "nets/image/image.h"

#include <string.h>

enum { FILE_HEADER = 14, CORE_HEADER = 12, INFO_HEADER = 40 };

enum { BI_RGB = 0, BI_RLE8 = 1, BI_RLE4 = 2, BI_BITFIELDS = 3, BI_JPEG = 4, BI_PNG = 5, BI_ALPHABITFIELDS = 6 };

/* One colour within a pixel of 16 or 32 bits: `value >> shift & top`, 0 to top. */
typedef struct field {
    unsigned shift;
    uint32_t top;
} field;

typedef struct bmp {
    size_t width, height;
    int top_down;
    unsigned depth, compression;
    field field[3];          /* red, green, blue */
    uint8_t palette[256][3]; /* RGB; what the file does not define is black */
    const uint8_t *pixels;
    size_t bytes; /* from there to the end of the file */
} bmp;

static unsigned load_le16(const uint8_t *p) { return p[0] | (unsigned)p[1] << 8; }

static uint32_t load_le32(const uint8_t *p) { return load_le16(p) | (uint32_t)load_le16(p + 2) << 16; }

/* Splits a mask such as 0x00FF0000; it must be one run of ones. */
static en_status read_mask(uint32_t mask, field *f, en_error *e)
{
    f->shift = 0;
    for (f->top = mask; f->top && !(f->top & 1); f->top >>= 1) f->shift++;
    if (f->top == 0 || (f->top & (f->top + 1)))
        return en_fail(e, EN_E_UNSUPPORTED, "BMP: the colour mask %08x is not one run of ones", mask);
    return EN_OK;
}

static en_status read_masks(const uint8_t *bytes, size_t size, bmp *b, en_error *e)
{
    static const uint32_t usual[2][3] = {{0x7C00, 0x3E0, 0x1F}, {0xFF0000, 0xFF00, 0xFF}};
    enum { AT = FILE_HEADER + INFO_HEADER }; /* the same place in all versions */
    int given = b->compression != BI_RGB;
    if (given && size < AT + 12) return en_fail(e, EN_E_FORMAT, "BMP: the file ends before its colour masks");
    for (int i = 0; i < 3; i++)
        EN_TRY(read_mask(given ? load_le32(bytes + AT + 4 * i) : usual[b->depth == 32][i], &b->field[i], e));
    return EN_OK;
}

/* The palette lies between headers and pixels, and may be cut short: `entry` bytes a colour. */
static en_status read_palette(const uint8_t *bytes, size_t from, size_t to, size_t colours, size_t entry, bmp *b, en_error *e)
{
    size_t most = (size_t)1 << b->depth;
    if (colours == 0 || colours > most) colours = most;
    if (to < from || to - from < entry)
        return en_fail(e, EN_E_FORMAT, "BMP: no palette in a picture of %u bits per pixel", b->depth);
    if (colours > (to - from) / entry) colours = (to - from) / entry;
    for (size_t i = 0; i < colours; i++)
        for (int k = 0; k < 3; k++) b->palette[i][k] = bytes[from + i * entry + 2 - (size_t)k];
    return EN_OK;
}

static en_status check_kind(const bmp *b, en_error *e)
{
    unsigned d = b->depth, c = b->compression;
    if (c == BI_JPEG || c == BI_PNG)
        return en_fail(e, EN_E_UNSUPPORTED, "BMP: a wrapped %s picture", c == BI_JPEG ? "JPEG" : "PNG");
    if (d != 1 && d != 4 && d != 8 && d != 16 && d != 24 && d != 32)
        return en_fail(e, EN_E_UNSUPPORTED, "BMP: %u bits per pixel, want 1, 4, 8, 16, 24 or 32", d);
    if (c == BI_RGB || (c == BI_RLE8 && d == 8) || (c == BI_RLE4 && d == 4)) return EN_OK;
    if ((c == BI_BITFIELDS || c == BI_ALPHABITFIELDS) && (d == 16 || d == 32)) return EN_OK;
    return en_fail(e, EN_E_UNSUPPORTED, "BMP: compression %u with %u bits per pixel", c, d);
}

static en_status read_headers(const uint8_t *bytes, size_t size, bmp *b, en_error *e)
{
    if (size < FILE_HEADER + CORE_HEADER || bytes[0] != 'B' || bytes[1] != 'M')
        return en_fail(e, EN_E_FORMAT, "BMP: the header is missing");
    const uint8_t *h = bytes + FILE_HEADER;
    size_t start = load_le32(bytes + 10), header = load_le32(h), colours = 0, room = size - FILE_HEADER;
    int core = header == CORE_HEADER;
    if (!core && (header < INFO_HEADER || header > 124))
        return en_fail(e, EN_E_UNSUPPORTED, "BMP: a header of %zu bytes, want 12 or 40 to 124", header);
    if (header > room) return en_fail(e, EN_E_FORMAT, "BMP: the file ends within its header");
    if (core) {
        b->width = load_le16(h + 4);
        b->height = load_le16(h + 6);
        b->depth = load_le16(h + 10);
    } else {
        uint32_t width = load_le32(h + 4), height = load_le32(h + 8);
        b->top_down = height >> 31;
        b->width = width;
        b->height = b->top_down ? 0 - height : height;
        b->depth = load_le16(h + 14);
        b->compression = load_le32(h + 16);
        colours = load_le32(h + 32);
    }
    EN_TRY(check_kind(b, e));
    size_t palette = FILE_HEADER + header;
    if (b->depth == 16 || b->depth == 32) EN_TRY(read_masks(bytes, size, b, e));
    if (start < palette || start > size)
        return en_fail(e, EN_E_FORMAT, "BMP: the pixels start at byte %zu, want %zu to %zu (the file's size)", start, palette,
                       size);
    if (b->depth <= 8) EN_TRY(read_palette(bytes, palette, start, colours, core ? 3 : 4, b, e));
    b->pixels = bytes + start;
    b->bytes = size - start;
    return EN_OK;
}

static uint8_t *row_of(const bmp *b, const img *out, size_t y)
{
    return out->rgb + 3 * b->width * (b->top_down ? y : b->height - 1 - y);
}

static size_t stride(const bmp *b) { return (b->width * b->depth + 31) / 32 * 4; }

static void put_row(const bmp *b, const uint8_t *row, uint8_t *to)
{
    for (size_t x = 0, bit = 0; x < b->width; x++, bit += b->depth, to += 3) {
        const uint8_t *p = row + bit / 8;
        if (b->depth <= 8) {
            memcpy(to, b->palette[*p >> (8 - b->depth - bit % 8) & ((1u << b->depth) - 1)], 3);
        } else if (b->depth == 24) {
            for (int i = 0; i < 3; i++) to[i] = p[2 - i];
        } else {
            uint32_t v = b->depth == 16 ? load_le16(p) : load_le32(p);
            for (int i = 0; i < 3; i++)
                to[i] = (uint8_t)((uint64_t)(v >> b->field[i].shift & b->field[i].top) * 255 / b->field[i].top);
        }
    }
}

/* Run lengths: "n, colour" repeats; "0, n" is followed by n colours as they are, padded to two bytes; "0, 0" ends the row,
 * "0, 1" the picture, "0, 2, x, y" moves on. RLE4 has two colours in a byte, used in turn. What is skipped has colour 0. */
static en_status unpack_runs(const bmp *b, img *out, en_error *e)
{
    const uint8_t *p = b->pixels, *end = p + b->bytes;
    size_t x = 0, y = 0;
    unsigned half = b->depth == 4;
    for (size_t i = 0; i < b->width * b->height; i++) memcpy(out->rgb + 3 * i, b->palette[0], 3);
    while (y < b->height) {
        if (end - p < 2) return en_fail(e, EN_E_FORMAT, "BMP: the runs end in row %zu of %zu", y, b->height);
        unsigned n = p[0], what = p[1], literal = n == 0 && what > 2;
        p += 2;
        if (n == 0 && what == 0) {
            x = 0;
            y++;
        } else if (n == 0 && what == 1) {
            return EN_OK;
        } else if (n == 0 && what == 2) {
            if (end - p < 2) return en_fail(e, EN_E_FORMAT, "BMP: the runs end in row %zu of %zu", y, b->height);
            x += *p++;
            y += *p++;
        } else {
            size_t bytes = literal ? ((half ? (what + 1) / 2 : what) + 1) / 2 * 2 : 0;
            if ((size_t)(end - p) < bytes) return en_fail(e, EN_E_FORMAT, "BMP: the runs end in row %zu of %zu", y, b->height);
            if (literal) n = what;
            if (n > b->width - (x < b->width ? x : b->width))
                return en_fail(e, EN_E_FORMAT, "BMP: a run is longer than row %zu", y);
            uint8_t *to = row_of(b, out, y) + 3 * x;
            for (unsigned i = 0; i < n; i++, to += 3) {
                unsigned colour = !literal ? what : half ? p[i / 2] : p[i];
                if (half) colour = i % 2 ? colour & 15 : colour >> 4;
                memcpy(to, b->palette[colour], 3);
            }
            x += n;
            p += bytes;
        }
    }
    return EN_OK;
}

/* Before memory is taken: rows need their bytes, and two bytes of runs make at most 255 pixels. Small pictures may skip pixels. */
static en_status check_bytes(const bmp *b, en_error *e)
{
    enum { SMALL = 1 << 20 };
    int runs = b->compression == BI_RLE8 || b->compression == BI_RLE4;
    size_t most_rows = runs ? (b->bytes / 2 * 255 + SMALL) / (b->width + 1) : b->bytes / (stride(b) + !b->width);
    if (b->height > most_rows)
        return en_fail(e, EN_E_FORMAT, "BMP: %zu bytes of pixels are too few for %zux%zu of %u bits", b->bytes, b->width, b->height,
                       b->depth);
    return EN_OK;
}

en_status img_decode_bmp(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e)
{
    *out = (img){0};
    bmp b = {0};
    EN_TRY(read_headers(bytes, size, &b, e));
    EN_TRY(check_bytes(&b, e));
    EN_TRY(img_new(b.width, b.height, max_pixels, out, e));
    if (b.compression == BI_RLE8 || b.compression == BI_RLE4) {
        en_status status = unpack_runs(&b, out, e);
        if (status != EN_OK) img_free(out);
        return status;
    }
    for (size_t y = 0; y < b.height; y++) put_row(&b, b.pixels + y * stride(&b), row_of(&b, out, y));
    return EN_OK;
}
