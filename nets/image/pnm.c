/* SPDX-License-Identifier: MIT */
/* PNM decoding (the netpbm formats P1 to P6): bitmap, grey and colour, first as decimal text, then as binary. Samples 0 to maxval
 * become round(sample / maxval * 255), ties to even, as Pillow has it; 16-bit grey, which Pillow leaves as it is, likewise. */
#include "nets/image/image.h"

#include <math.h>
#include <string.h>

typedef struct pnm {
    const uint8_t *at, *end;
    int kind; /* the digit behind P */
    size_t width, height, samples;
    unsigned maxval;
    uint8_t scaled[65536]; /* by sample, the first 256 if maxval is below that */
} pnm;

static int is_space(uint8_t c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

/* Skips white space, and comments from # to the end of the line. */
static void skip_space(pnm *p)
{
    int comment = 0;
    for (; p->at < p->end && (comment || is_space(*p->at) || *p->at == '#'); p->at++)
        comment = *p->at == '#' || (comment && *p->at != '\n' && *p->at != '\r');
}

static en_status read_number(pnm *p, const char *what, size_t most, size_t *value, en_error *e)
{
    skip_space(p);
    if (p->at == p->end) return en_fail(e, EN_E_FORMAT, "PNM: the file ends before its %s", what);
    const uint8_t *first = p->at;
    for (*value = 0; p->at < p->end && *p->at >= '0' && *p->at <= '9'; p->at++) {
        *value = *value * 10 + (size_t)(*p->at - '0');
        if (*value > most) return en_fail(e, EN_E_FORMAT, "PNM: the %s is above %zu", what, most);
    }
    if (p->at == first) return en_fail(e, EN_E_FORMAT, "PNM: no number where the %s is due", what);
    return EN_OK;
}

static en_status read_header(const uint8_t *bytes, size_t size, pnm *p, en_error *e)
{
    if (size < 2 || bytes[0] != 'P' || bytes[1] < '1' || bytes[1] > '6')
        return en_fail(e, EN_E_FORMAT, "PNM: the header is missing");
    p->at = bytes + 2;
    p->end = bytes + size;
    p->kind = bytes[1] - '0';
    p->samples = p->kind % 3 == 0 ? 3 : 1;
    size_t maxval = 1;
    EN_TRY(read_number(p, "width", INT32_MAX, &p->width, e));
    EN_TRY(read_number(p, "height", INT32_MAX, &p->height, e));
    if (p->kind % 3 != 1) EN_TRY(read_number(p, "maxval", 65535, &maxval, e));
    if (maxval == 0) return en_fail(e, EN_E_FORMAT, "PNM: the maxval is 0");
    if (p->at == p->end || !is_space(*p->at++)) return en_fail(e, EN_E_FORMAT, "PNM: no white space behind the header");
    p->maxval = (unsigned)maxval;
    for (unsigned i = 0; i < (maxval > 255 ? 65536 : 256); i++)
        p->scaled[i] = i < maxval ? (uint8_t)nearbyint(i / (double)maxval * 255) : 255;
    if (p->kind % 3 == 1) p->scaled[0] = 255, p->scaled[1] = 0; /* in bitmaps 1 is black */
    return EN_OK;
}

/* Bytes of a row of the binary formats; at least as many characters are needed in the text formats. */
static size_t row_bytes(const pnm *p)
{
    if (p->kind == 4) return (p->width + 7) / 8;
    return p->width * p->samples * (p->kind > 4 && p->maxval > 255 ? 2 : 1);
}

static void put_sample(const pnm *p, uint8_t *rgb, size_t i, unsigned sample)
{
    if (p->samples == 3)
        rgb[i] = p->scaled[sample];
    else
        memset(rgb + 3 * i, p->scaled[sample], 3);
}

static void read_binary(const pnm *p, uint8_t *rgb)
{
    size_t bytes = row_bytes(p), n = p->width * p->samples;
    for (size_t y = 0; y < p->height; y++) {
        const uint8_t *row = p->at + y * bytes;
        for (size_t x = 0; x < n; x++) {
            int sample = p->kind == 4 ? row[x / 8] >> (7 - x % 8) & 1 : p->maxval > 255 ? row[2 * x] << 8 | row[2 * x + 1] : row[x];
            put_sample(p, rgb, y * n + x, (unsigned)sample);
        }
    }
}

static en_status read_text(pnm *p, uint8_t *rgb, en_error *e)
{
    size_t n = p->width * p->height * p->samples, sample;
    for (size_t i = 0; i < n; i++) {
        if (p->kind == 1) { /* digits of bitmaps need no space between them */
            skip_space(p);
            if (p->at == p->end || (*p->at != '0' && *p->at != '1'))
                return en_fail(e, EN_E_FORMAT, "PNM: bit %zu of %zu is not 0 or 1", i, n);
            sample = (size_t)(*p->at++ - '0');
        } else {
            en_status status = read_number(p, "sample", p->maxval, &sample, e);
            if (status != EN_OK) return en_wrap(e, status, "PNM: sample %zu of %zu", i, n);
        }
        put_sample(p, rgb, i, (unsigned)sample);
    }
    return EN_OK;
}

en_status img_decode_pnm(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e)
{
    *out = (img){0};
    pnm p;
    EN_TRY(read_header(bytes, size, &p, e));
    size_t left = (size_t)(p.end - p.at);
    if (p.width && p.height > left / row_bytes(&p)) /* before memory is taken */
        return en_fail(e, EN_E_FORMAT, "PNM: %zu bytes of pixels are too few for %zux%zu", left, p.width, p.height);
    EN_TRY(img_new(p.width, p.height, max_pixels, out, e));
    en_status status = EN_OK;
    if (p.kind >= 4)
        read_binary(&p, out->rgb);
    else
        status = read_text(&p, out->rgb, e);
    if (status != EN_OK) img_free(out);
    return status;
}
