/* SPDX-License-Identifier: MIT */
/* JPEG (ITU-T T.81, T.871): the segments of a file, the frame, and what may follow what. Baseline, extended and progressive
 * Huffman frames of 8 bits with 1, 3 or 4 components; the other processes are refused by name.
 *
 * Time and memory are bounded by the file's length: a block takes at least one bit in some scan, so that a frame with more
 * blocks than bits is refused before anything is allocated, and so are scans that go over the same blocks too often. */
#include "nets/image/jpeg.h"

#include <stdlib.h>
#include <string.h>

/* The second bytes of markers (table B.1). */
/* clang-format off */
enum {
    SOI = 0xD8, EOI = 0xD9, SOS = 0xDA, DQT = 0xDB, DHT = 0xC4, DRI = 0xDD, RST0 = 0xD0, RST7 = 0xD7, TEM = 0x01,
    SOF0 = 0xC0, SOF2 = 0xC2, SOF3 = 0xC3, SOF5 = 0xC5, SOF6 = 0xC6, SOF7 = 0xC7, JPG = 0xC8, SOF15 = 0xCF,
    DAC = 0xCC, DNL = 0xDC, DHP = 0xDE, EXP = 0xDF, APP0 = 0xE0, APP1 = 0xE1, APP14 = 0xEE, APP15 = 0xEF, COM = 0xFE
};
/* clang-format on */

/* A scan may take as little as no bits at all for most blocks. libjpeg writes at most 100 scans, so no honest file comes near. */
enum { VISITS_PER_BIT = 128 };

static int u16(const uint8_t *at) { return at[0] << 8 | at[1]; }

static int divide_up(int a, int b) { return (a + b - 1) / b; }

int img_jpeg_next_marker(jpeg *j)
{
    for (; j->end - j->at >= 2; j->at++)
        if (j->at[0] == 0xFF && j->at[1] != 0 && j->at[1] != 0xFF) {
            j->at += 2;
            return j->at[-1];
        }
    return -1;
}

static en_status read_quantisation(jpeg *j, const uint8_t *body, size_t size, en_error *e)
{
    while (size) {
        int wide = body[0] >> 4, index = body[0] & 15;
        size_t entry = wide ? 2 : 1;
        if (wide > 1 || index > 3)
            return en_fail(e, EN_E_FORMAT, "quantisation table %d of precision %d, want 0 to 3 of precision 0 or 1", index, wide);
        if (size < 1 + 64 * entry) return en_fail(e, EN_E_FORMAT, "quantisation table %d is cut off", index);
        for (size_t k = 0; k < 64; k++)
            j->quant[index][img_jpeg_zigzag[k]] = (uint16_t)(wide ? u16(body + 1 + 2 * k) : body[1 + k]);
        j->quant_defined[index] = 1;
        body += 1 + 64 * entry;
        size -= 1 + 64 * entry;
    }
    return EN_OK;
}

static en_status read_huffman(jpeg *j, const uint8_t *body, size_t size, en_error *e)
{
    while (size) {
        int ac = body[0] >> 4, index = body[0] & 15, symbols = 0;
        if (ac > 1 || index > 3)
            return en_fail(e, EN_E_FORMAT, "Huffman table %d of class %d, want 0 to 3 of class 0 or 1", index, ac);
        for (size_t i = 1; i <= 16 && i < size; i++) symbols += body[i];
        if (symbols > 256 || size < 17 + (size_t)symbols) return en_fail(e, EN_E_FORMAT, "Huffman table %d is cut off", index);
        for (int i = 0; i < symbols && !ac; i++)
            if (body[17 + i] > 15)
                return en_fail(e, EN_E_FORMAT, "DC Huffman table %d: differences of %d bits", index, body[17 + i]);
        if (!img_jpeg_huffman(ac ? &j->ac[index] : &j->dc[index], body + 1, body + 17, symbols))
            return en_fail(e, EN_E_FORMAT, "Huffman table %d has more codes than fit in their lengths", index);
        body += 17 + symbols;
        size -= 17 + (size_t)symbols;
    }
    return EN_OK;
}

/* ---- the frame ---- */

static en_status refuse_process(int marker, en_error *e)
{
    int hierarchical = marker == DHP || marker == EXP || marker == SOF5 || marker == SOF6;
    int lossless = marker == SOF3 || marker == SOF7;
    return en_fail(e, EN_E_UNSUPPORTED, "%s frames (marker FF%02X) are not supported, want baseline or progressive Huffman",
                   hierarchical ? "hierarchical"
                   : lossless   ? "lossless"
                                : "arithmetic-coded",
                   marker);
}

static en_status read_components(jpeg *j, const uint8_t *at, en_error *e)
{
    for (int i = 0; i < j->components; i++, at += 3) {
        jpeg_component *c = &j->component[i];
        *c = (jpeg_component){.id = at[0], .h = at[1] >> 4, .v = at[1] & 15, .quant_index = at[2]};
        memset(c->shift, -1, sizeof c->shift);
        if (c->h < 1 || c->h > 4 || c->v < 1 || c->v > 4)
            return en_fail(e, EN_E_FORMAT, "component %d has sampling factors %d x %d, want 1 to 4", i, c->h, c->v);
        if (c->quant_index > 3)
            return en_fail(e, EN_E_FORMAT, "component %d uses quantisation table %d, want 0 to 3", i, c->quant_index);
        if (c->h > j->max_h) j->max_h = c->h;
        if (c->v > j->max_v) j->max_v = c->v;
    }
    return EN_OK;
}

/* Sizes of each component (A.1.1, A.2.4), and whether the file is long enough for so many blocks. */
static en_status lay_out(jpeg *j, en_error *e)
{
    uint64_t blocks = 0, bits = (uint64_t)(j->end - j->at) * 8;
    int mcus_wide = divide_up(j->width, 8 * j->max_h), mcus_high = divide_up(j->height, 8 * j->max_v);
    for (int i = 0; i < j->components; i++) {
        jpeg_component *c = &j->component[i];
        if (j->max_h % c->h || j->max_v % c->v)
            return en_fail(e, EN_E_UNSUPPORTED,
                           "component %d is sampled %d x %d where the most is %d x %d: fractions are not supported", i, c->h, c->v,
                           j->max_h, j->max_v);
        c->expand_x = j->max_h / c->h;
        c->expand_y = j->max_v / c->v;
        c->width = divide_up(j->width, c->expand_x);
        c->height = divide_up(j->height, c->expand_y);
        c->blocks_wide = divide_up(c->width, 8);
        c->blocks_high = divide_up(c->height, 8);
        c->stored_wide = mcus_wide * c->h;
        c->stored_high = mcus_high * c->v;
        blocks += (uint64_t)c->blocks_wide * (uint64_t)c->blocks_high;
    }
    uint64_t least = j->progressive ? blocks : 2 * blocks; /* sequential: a bit for DC, a bit for the end of block */
    if (least > bits)
        return en_fail(e, EN_E_FORMAT, "%d x %d pixels are %llu blocks, more than the %llu bytes that follow can hold", j->width,
                       j->height, (unsigned long long)blocks, (unsigned long long)bits / 8);
    j->max_visits = bits * VISITS_PER_BIT;
    return EN_OK;
}

static en_status allocate(jpeg *j, en_error *e)
{
    for (int i = 0; i < j->components; i++) {
        jpeg_component *c = &j->component[i];
        size_t samples = (size_t)c->stored_wide * (size_t)c->stored_high * 64;
        if (j->progressive)
            c->coefficients = calloc(samples, sizeof *c->coefficients);
        else
            c->plane = malloc(samples);
        if (!c->coefficients && !c->plane)
            return en_fail(e, EN_E_NOMEM, "no memory for component %d of %d x %d samples", i, c->width, c->height);
    }
    return EN_OK;
}

static en_status read_frame(jpeg *j, int marker, const uint8_t *body, size_t size, en_error *e)
{
    if (marker > SOF2) return refuse_process(marker, e);
    if (j->components) return en_fail(e, EN_E_FORMAT, "a second frame header");
    if (size < 6) return en_fail(e, EN_E_FORMAT, "the frame header is cut off");
    int precision = body[0], components = body[5];
    j->progressive = marker == SOF2;
    j->height = u16(body + 1);
    j->width = u16(body + 3);
    if (precision != 8) return en_fail(e, EN_E_UNSUPPORTED, "%d bits per sample are not supported, want 8", precision);
    if (!j->width) return en_fail(e, EN_E_FORMAT, "the picture is 0 pixels wide");
    if (!j->height) return en_fail(e, EN_E_UNSUPPORTED, "a height that follows the picture (DNL marker) is not supported");
    if (components != 1 && components != 3 && components != 4)
        return en_fail(e, EN_E_UNSUPPORTED, "%d components are not supported, want 1, 3 or 4", components);
    if (size != 6 + 3 * (size_t)components)
        return en_fail(e, EN_E_FORMAT, "a frame header of %zu bytes for %d components", size, components);
    if ((uint64_t)j->width * (uint64_t)j->height > j->max_pixels)
        return en_fail(e, EN_E_LIMIT, "%d x %d pixels, the limit is %zu", j->width, j->height, j->max_pixels);
    j->components = components;
    EN_TRY(read_components(j, body + 6, e));
    EN_TRY(lay_out(j, e));
    return allocate(j, e);
}

/* ---- scans ---- */

static jpeg_component *find_component(jpeg *j, const jpeg_scan *scan, int id)
{
    for (int i = 0; i < j->components; i++) {
        int taken = 0;
        for (int n = 0; n < scan->parts; n++) taken |= scan->part[n] == &j->component[i];
        if (j->component[i].id == id && !taken) return &j->component[i];
    }
    return NULL;
}

/* The band and bits that a scan sends, Ss Se Ah Al, must make sense by themselves (G.1.1.1) ... */
static en_status check_band(const jpeg_scan *s, int number, en_error *e)
{
    int dc = s->first == 0 && s->last == 0;
    int ac = s->first > 0 && s->last >= s->first && s->last < 64 && s->parts == 1;
    if ((!dc && !ac) || s->low > 13 || (s->high && s->high != s->low + 1))
        return en_fail(e, EN_E_FORMAT, "scan %d of %d components: coefficients %d to %d, bits %d to %d, is no progressive scan",
                       number, s->parts, s->first, s->last, s->high, s->low);
    return EN_OK;
}

/* ... and go on where the scans before it left off. So nothing is sent twice, and the number of scans is finite. */
static en_status check_order(const jpeg *j, const jpeg_scan *s, jpeg_component *c, en_error *e)
{
    for (int k = s->first; k <= s->last; k++) {
        int want = s->high ? s->high : -1;
        if (c->shift[k] != want)
            return en_fail(e, EN_E_FORMAT, "scan %d: coefficient %d of component %d comes again or out of order", j->scans, k,
                           (int)(c - j->component));
        c->shift[k] = (int8_t)s->low;
    }
    return EN_OK;
}

/* The tables that the scan needs. Quantisation tables count as they are at the component's first scan. */
static en_status check_tables(const jpeg *j, const jpeg_scan *s, jpeg_component *c, en_error *e)
{
    int needs_dc = !j->progressive || (s->first == 0 && !s->high), needs_ac = !j->progressive || s->first > 0;
    if ((needs_dc && !c->dc->defined) || (needs_ac && !c->ac->defined))
        return en_fail(e, EN_E_FORMAT, "scan %d uses a Huffman table that is not defined", j->scans);
    if (c->begun) return EN_OK;
    if (!j->quant_defined[c->quant_index])
        return en_fail(e, EN_E_FORMAT, "scan %d uses quantisation table %d, which is not defined", j->scans, c->quant_index);
    memcpy(c->quant, j->quant[c->quant_index], sizeof c->quant);
    c->begun = 1;
    return EN_OK;
}

/* Bounds the time of progressive frames, where a scan of a few bytes can go over the whole picture. */
static en_status count_visits(jpeg *j, const jpeg_scan *s, en_error *e)
{
    for (int i = 0; i < s->parts; i++) j->visits += (uint64_t)s->part[i]->stored_wide * (uint64_t)s->part[i]->stored_high;
    if (j->visits > j->max_visits)
        return en_fail(e, EN_E_LIMIT, "%d scans go through %llu blocks, the limit for a file of this length is %llu", j->scans,
                       (unsigned long long)j->visits, (unsigned long long)j->max_visits);
    return EN_OK;
}

static en_status read_scan_components(jpeg *j, const uint8_t *at, int parts, jpeg_scan *s, en_error *e)
{
    int blocks = 0;
    for (; s->parts < parts; s->parts++, at += 2) {
        int dc = at[1] >> 4, ac = at[1] & 15;
        jpeg_component *c = find_component(j, s, at[0]);
        if (!c || dc > 3 || ac > 3)
            return en_fail(e, EN_E_FORMAT, "scan %d: no component %d with Huffman tables %d, %d", j->scans, at[0], dc, ac);
        c->dc = &j->dc[dc];
        c->ac = &j->ac[ac];
        blocks += c->h * c->v;
        s->part[s->parts] = c;
    }
    if (parts > 1 && blocks > 10) return en_fail(e, EN_E_FORMAT, "scan %d: %d blocks in an MCU, want at most 10", j->scans, blocks);
    return EN_OK;
}

static en_status read_scan(jpeg *j, const uint8_t *body, size_t size, en_error *e)
{
    if (!j->components) return en_fail(e, EN_E_FORMAT, "a scan before the frame header");
    int parts = size ? body[0] : 0;
    if (parts < 1 || parts > j->components || size != 4 + 2 * (size_t)parts)
        return en_fail(e, EN_E_FORMAT, "a scan header of %zu bytes for %d components", size, parts);
    jpeg_scan scan = {.last = 63}; /* all that a sequential scan can be; some encoders write something else */
    j->scans++;
    EN_TRY(read_scan_components(j, body + 1, parts, &scan, e));
    if (j->progressive) {
        const uint8_t *band = body + 1 + 2 * parts;
        scan.first = band[0];
        scan.last = band[1];
        scan.high = band[2] >> 4;
        scan.low = band[2] & 15;
        EN_TRY(check_band(&scan, j->scans, e));
        EN_TRY(count_visits(j, &scan, e));
    }
    for (int i = 0; i < parts; i++) {
        EN_TRY(check_order(j, &scan, scan.part[i], e));
        EN_TRY(check_tables(j, &scan, scan.part[i], e));
    }
    return img_jpeg_scan(j, &scan, e);
}

/* ---- the file ---- */

/* Application data counts before the first scan only, as for libjpeg. */
static void read_application(jpeg *j, int marker, const uint8_t *body, size_t size)
{
    if (j->scans) return;
    if (marker == APP0 && size >= 14 && !memcmp(body, "JFIF", 5)) j->jfif = 1;
    if (marker == APP14 && size >= 12 && !memcmp(body, "Adobe", 5)) j->adobe = body[11];
    if (marker == APP1 && size >= 6 && !memcmp(body, "Exif\0", 6) && j->orientation == 0)
        j->orientation = img_exif_orientation(body + 6, size - 6);
}

static en_status read_segment(jpeg *j, int marker, en_error *e)
{
    size_t left = (size_t)(j->end - j->at), size = left < 2 ? 0 : (size_t)u16(j->at);
    if (size > left || left < 2) return en_fail(e, EN_E_FORMAT, "the file is truncated in segment FF%02X", marker);
    if (size < 2) return en_fail(e, EN_E_FORMAT, "segment FF%02X has length %zu, want 2 or more", marker, size);
    const uint8_t *body = j->at + 2;
    j->at += size;
    size -= 2;
    switch (marker) {
    case DQT: return read_quantisation(j, body, size, e);
    case DHT: return read_huffman(j, body, size, e);
    case SOS: return read_scan(j, body, size, e);
    case DRI:
        if (size != 2) return en_fail(e, EN_E_FORMAT, "a restart interval of %zu bytes, want 2", size);
        j->restart_interval = u16(body);
        return EN_OK;
    case DHP:
    case EXP: return refuse_process(marker, e);
    case DNL: /* repeats the height that the frame header already gave */
    case DAC: /* matters to arithmetic frames only                     */
    case COM: return EN_OK;
    default: break;
    }
    if (marker >= SOF0 && marker <= SOF15 && marker != JPG) return read_frame(j, marker, body, size, e);
    if (marker < APP0 || marker > APP15) return en_fail(e, EN_E_FORMAT, "unknown marker FF%02X", marker);
    read_application(j, marker, body, size);
    return EN_OK;
}

/* A file that ends without an end-of-image marker is whole if all bits of all coefficients are there. */
static en_status check_complete(const jpeg *j, int marker, en_error *e)
{
    int some = j->components > 0, all = some;
    for (int i = 0; i < j->components; i++) {
        some &= j->component[i].shift[0] >= 0;
        for (int k = 0; k < 64; k++) all &= j->component[i].shift[k] == 0;
    }
    if (marker != EOI && !all) return en_fail(e, EN_E_FORMAT, "the file is truncated after %d scans", j->scans);
    if (!some) return en_fail(e, EN_E_FORMAT, "the picture ends before all %d components have come", j->components);
    return EN_OK;
}

static en_status read_file(jpeg *j, en_error *e)
{
    if (j->end - j->at < 2 || j->at[0] != 0xFF || j->at[1] != SOI) return en_fail(e, EN_E_FORMAT, "does not begin with FFD8");
    j->at += 2;
    for (;;) {
        int marker = img_jpeg_next_marker(j);
        if (marker < 0 || marker == EOI) return check_complete(j, marker, e);
        if (marker == TEM || (marker >= RST0 && marker <= RST7)) continue;
        if (marker == SOI) return en_fail(e, EN_E_FORMAT, "a second picture begins inside of the first");
        EN_TRY(read_segment(j, marker, e));
    }
}

en_status img_decode_jpeg(const uint8_t *bytes, size_t size, size_t max_pixels, img *out, en_error *e)
{
    *out = (img){0};
    jpeg j = {.at = bytes, .end = bytes + size, .max_pixels = max_pixels ? max_pixels : IMG_MAX_PIXELS, .adobe = -1};
    en_status status = read_file(&j, e);
    if (status == EN_OK) status = img_jpeg_render(&j, out, e);
    if (status == EN_OK) status = img_orient(out, j.orientation, e);
    for (int i = 0; i < j.components; i++) {
        free(j.component[i].coefficients);
        free(j.component[i].plane);
    }
    if (status == EN_OK) return EN_OK;
    img_free(out);
    return en_wrap(e, status, "JPEG");
}
