/* SPDX-License-Identifier: MIT */
/* Inflate on streams written bit by bit here, on streams by zlib, on those of our own compressor, and on damaged ones. */
#include "nets/image/deflate.h"
#include "tests/test.h"
#include "weights/checksum.h"
#include "weights/inflate.h"

#include <stdlib.h>
#include <string.h>

/* A deflate stream under construction. */
typedef struct stream {
    uint8_t bytes[4096];
    size_t bits;
} stream;

static void put(stream *s, unsigned value, unsigned bits) /* the first bit lowest: numbers */
{
    for (unsigned i = 0; i < bits; i++, s->bits++) s->bytes[s->bits / 8] |= (uint8_t)((value >> i & 1) << s->bits % 8);
}

static void put_code(stream *s, unsigned code, unsigned bits) /* the first bit highest: Huffman codes */
{
    while (bits--) put(s, code >> bits & 1, 1);
}

/* Starts the last block, of dynamic type, with these lengths of codes; the lengths have codes of four bits each. */
static void put_codes(stream *s, const uint8_t *literal, unsigned literals, const uint8_t *distance, unsigned distances)
{
    put(s, 1 | 2 << 1, 3);
    put(s, literals - 257, 5);
    put(s, distances - 1, 5);
    put(s, 19 - 4, 4);
    for (int i = 0; i < 19; i++) put(s, i < 3 ? 0 : 4, 3);
    for (unsigned i = 0; i < literals; i++) put_code(s, literal[i], 4);
    for (unsigned i = 0; i < distances; i++) put_code(s, distance[i], 4);
}

static size_t bytes_of(const stream *s) { return (s->bits + 7) / 8; }

/* Inflates into a block of exactly `size` bytes, so that the address sanitizer sees a byte too many. */
static en_status inflate(const stream *s, size_t size, uint8_t *copy, en_error *e)
{
    uint8_t *in = malloc(bytes_of(s) + 1), *out = malloc(size ? size : 1);
    CHECK(in && out);
    memcpy(in, s->bytes, bytes_of(s));
    size_t used;
    en_status status = wt_inflate(in, bytes_of(s), out, size, &used, e);
    if (status == EN_OK) CHECK(used == bytes_of(s));
    if (status == EN_OK && copy) memcpy(copy, out, size);
    free(in);
    free(out);
    return status;
}

TEST(inflate_reads_stored_blocks)
{
    static const uint8_t in[] = {0x00, 3, 0, 0xFC, 0xFF, 'a', 'b', 'c', 0x01, 0, 0, 0xFF, 0xFF, 'x'};
    uint8_t out[3];
    size_t used;
    en_error e;
    CHECK_OK(wt_inflate(in, sizeof in, out, 3, &used, &e), e);
    CHECK(!memcmp(out, "abc", 3) && used == sizeof in - 1);
    CHECK_FAILS(wt_inflate(in, sizeof in, out, 2, NULL, &e), e, EN_E_FORMAT, "more output than the expected 2 bytes");
    CHECK_FAILS(wt_inflate(in, sizeof in, out, 4, NULL, &e), e, EN_E_FORMAT, "holds 3 bytes, want 4");
    static const uint8_t wrong[] = {0x01, 3, 0, 0xFC, 0xFE, 'a', 'b', 'c'};
    CHECK_FAILS(wt_inflate(wrong, sizeof wrong, out, 3, NULL, &e), e, EN_E_FORMAT, "complement");
}

TEST(inflate_refuses_stored_blocks_cut_short_at_any_byte)
{
    static const uint8_t in[] = {0x00, 3, 0, 0xFC, 0xFF, 'a', 'b', 'c', 0x01, 9, 0, 0xF6, 0xFF, 1, 2, 3, 4, 5, 6, 7, 8, 9};
    uint8_t out[12];
    en_error e;
    for (size_t n = 0; n < sizeof in; n++) {
        uint8_t *part = malloc(n + !n);
        CHECK(part != NULL);
        memcpy(part, in, n);
        CHECK_FAILS(wt_inflate(part, n, out, sizeof out, NULL, &e), e, EN_E_FORMAT, "the data end");
        free(part);
    }
    CHECK_OK(wt_inflate(in, sizeof in, out, sizeof out, NULL, &e), e);
}

/* Takes the bits of the second stream behind those of the first, which stops being the last block. */
static void join(stream *s, const stream *next)
{
    s->bytes[0] &= (uint8_t)~1;
    for (size_t i = 0; i < next->bits; i++) put(s, next->bytes[i / 8] >> i % 8 & 1, 1);
}

static stream fixed_letter(void)
{
    stream s = {0};
    put(&s, 1 | 1 << 1, 3);
    put_code(&s, 0x30 + 'f', 8);
    put_code(&s, 0, 7);
    return s;
}

TEST(inflate_goes_from_fixed_codes_to_others_and_back)
{
    uint8_t literal[257] = {['d'] = 1, [256] = 1}, distance[1] = {0}, out[3];
    stream s = fixed_letter(), fixed = fixed_letter(), dynamic = {0}, rest;
    en_error e;
    put_codes(&dynamic, literal, 257, distance, 1);
    put_code(&dynamic, 1, 2); /* 'd' is 0, the end 1 */
    rest = dynamic;
    join(&rest, &fixed);
    join(&s, &rest);
    CHECK_OK(inflate(&s, 3, out, &e), e);
    CHECK(!memcmp(out, "fdf", 3));
}

TEST(inflate_repeats_the_last_bytes_when_a_copy_overlaps_itself)
{
    for (unsigned distance = 1; distance <= 4; distance++) {
        stream s = {0};
        en_error e;
        uint8_t out[262];
        put(&s, 1 | 1 << 1, 3); /* fixed codes: literals have 8 bits from 0x30 on, length 258 is 0xC5, distance d is d - 1 */
        for (unsigned i = 0; i < 4; i++) put_code(&s, 0x30 + 'a' + i, 8);
        put_code(&s, 0xC5, 8);
        put_code(&s, distance - 1, 5);
        put_code(&s, 0, 7);
        CHECK_OK(inflate(&s, 262, out, &e), e);
        for (unsigned i = 0; i < 262; i++) CHECK(out[i] == 'a' + (i < 4 ? i : 4 - distance + (i - 4) % distance));
    }
}

TEST(inflate_finds_codes_of_every_length_from_1_to_15_bits)
{
    uint8_t literal[257] = {0}, distance[1] = {0}, out[15];
    for (unsigned i = 0; i < 15; i++) literal['a' + i] = (uint8_t)(i + 1); /* codes 0, 10, 110, ... */
    literal[256] = 15;
    stream s = {0};
    en_error e;
    put_codes(&s, literal, 257, distance, 1);
    for (unsigned i = 15; i-- > 0;) put_code(&s, (2u << i) - 2, i + 1);
    put_code(&s, 0x7FFF, 15);
    CHECK_OK(inflate(&s, 15, out, &e), e);
    for (unsigned i = 0; i < 15; i++) CHECK(out[i] == 'a' + 14 - i);
}

/* A stream of fixed codes that holds one copy: symbols 257 + l and d, with these extra bits. */
static stream one_copy(unsigned l, unsigned length_extra, unsigned d, unsigned distance_extra)
{
    stream s = {0};
    put(&s, 1 | 1 << 1, 3);
    if (l < 23)
        put_code(&s, l + 1, 7);
    else
        put_code(&s, 0xC0 + l - 23, 8);
    put(&s, length_extra, l < 8 || l == 28 ? 0 : l / 4 - 1);
    put_code(&s, d, 5);
    put(&s, distance_extra, d < 4 ? 0 : d / 2 - 1);
    put_code(&s, 0, 7);
    return s;
}

TEST(inflate_knows_all_lengths_and_distances)
{
    /* The tables of section 3.2.5; the last entry ends the group before. */
    static const unsigned length_from[] = {3,  4,  5,  6,  7,  8,  9,  10, 11,  13,  15,  17,  19,  23,  27,
                                           31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195, 227, 258, 259};
    static const unsigned distance_from[] = {1,    2,    3,    4,    5,    7,     9,     13,    17,   25,   33,
                                             49,   65,   97,   129,  193,  257,   385,   513,   769,  1025, 1537,
                                             2049, 3073, 4097, 6145, 8193, 12289, 16385, 24577, 32769};
    enum { HISTORY = 32768 };
    static const uint8_t stored[5] = {0, 0xFF, 0x7F, 0, 0x80}, stored_1[6] = {0, 1, 0, 0xFE, 0xFF, 99}; /* 32767 bytes and one */
    uint8_t *in = calloc(1, HISTORY + 64), *out = malloc(HISTORY + 258);
    CHECK(in && out);
    memcpy(in, stored, 5);
    for (unsigned i = 0; i < HISTORY - 1; i++) in[5 + i] = (uint8_t)(i * 7 + i / 256);
    memcpy(in + 5 + HISTORY - 1, stored_1, 6);
    for (unsigned l = 0; l < 29; l++) {
        for (unsigned d = 0; d < 30; d++) {
            unsigned length_extra = (unsigned)(t_random() % (length_from[l + 1] - length_from[l]));
            unsigned distance_extra = (unsigned)(t_random() % (distance_from[d + 1] - distance_from[d]));
            unsigned length = length_from[l] + length_extra, distance = distance_from[d] + distance_extra;
            stream s = one_copy(l, length_extra, d, distance_extra);
            memcpy(in + HISTORY + 10, s.bytes, 16);
            en_error e;
            CHECK_OK(wt_inflate(in, HISTORY + 10 + bytes_of(&s), out, HISTORY + length, NULL, &e), e);
            CHECK(out[HISTORY - 1] == 99 && !memcmp(out, in + 5, HISTORY - 1));
            for (unsigned i = 0; i < length; i++) CHECK(out[HISTORY + i] == out[HISTORY + i - distance]);
        }
    }
    free(in);
    free(out);
}

TEST(inflate_reads_what_zlib_writes)
{
    /* zlib.compress(bytes(i * i // 7 % 251 % (i // 64 + 3) for i in range(600)), 9): a block with dynamic codes */
    static const uint8_t in[] = {
        0x78, 0xDA, 0x65, 0x50, 0x41, 0x82, 0x24, 0x31, 0x08, 0x12, 0x45, 0x4D, 0x6A, 0xFE, 0xFF, 0xDF, 0x81, 0xEA, 0x9E, 0xBD,
        0xAC, 0xB9, 0x44, 0x45, 0x40, 0x23, 0x02, 0x19, 0x89, 0x48, 0xC5, 0xF7, 0xEB, 0xF8, 0xBF, 0x08, 0xE8, 0x83, 0x6F, 0xFF,
        0xFD, 0xBA, 0x5D, 0x88, 0xCA, 0x7F, 0x30, 0x77, 0xAB, 0xDE, 0x7E, 0x41, 0xAF, 0x12, 0x8E, 0x4F, 0x62, 0x64, 0x29, 0x8C,
        0x54, 0xFA, 0xE5, 0x2C, 0x4F, 0xC5, 0x9B, 0x91, 0xF4, 0x60, 0x24, 0x5F, 0x22, 0x9A, 0xB8, 0x28, 0x19, 0x42, 0xEF, 0xA5,
        0x76, 0x50, 0x05, 0x8F, 0x80, 0x9E, 0xCA, 0x6A, 0x30, 0x4A, 0x0C, 0xC1, 0xFC, 0xF3, 0xC9, 0x36, 0x6F, 0xBB, 0x14, 0xCD,
        0x8F, 0x6C, 0x07, 0x5E, 0x6A, 0x55, 0xBB, 0x80, 0xE8, 0x96, 0xCF, 0x6C, 0x74, 0x49, 0x09, 0xD3, 0xC2, 0xC9, 0xC0, 0x08,
        0xD5, 0x91, 0x23, 0xD8, 0xA8, 0xAA, 0x4E, 0xC4, 0x8C, 0x91, 0x1F, 0xDD, 0x1A, 0xC1, 0x73, 0x5E, 0x86, 0x71, 0x64, 0x6D,
        0x75, 0x6E, 0xC6, 0xD8, 0xB1, 0x76, 0xEF, 0xD9, 0x5E, 0x9F, 0x4E, 0x82, 0x3D, 0xB9, 0x18, 0x6C, 0xC7, 0x6A, 0x99, 0x5D,
        0x76, 0x71, 0x7A, 0x07, 0xB2, 0xAC, 0xA6, 0x07, 0x51, 0x13, 0xDC, 0xDA, 0xDC, 0x92, 0xAF, 0x58, 0xED, 0x79, 0xCE, 0xEE,
        0xEC, 0x1E, 0xEF, 0xB6, 0x52, 0x04, 0x4F, 0x1D, 0x75, 0x73, 0xE5, 0x7D, 0xC7, 0x77, 0x81, 0x2E, 0x53, 0x3D, 0x07, 0x67,
        0xB4, 0xF8, 0xF5, 0xC4, 0x9E, 0xA3, 0xEB, 0x71, 0x2E, 0xFA, 0x48, 0x9B, 0x97, 0x61, 0xD9, 0xF0, 0xD0, 0xD9, 0x26, 0x7D,
        0x3A, 0xB6, 0x69, 0xC5, 0xCA, 0x85, 0x31, 0x3D, 0x57, 0xE4, 0x8F, 0xA0, 0xF9, 0x74, 0x3D, 0x66, 0x7B, 0x9E, 0x47, 0x74,
        0xE7, 0x5E, 0x5F, 0x67, 0x6E, 0xF2, 0x3C, 0xBC, 0xD8, 0x1C, 0x4C, 0x5E, 0xE2, 0xD2, 0x1E, 0x74, 0x79, 0xE1, 0xEE, 0xE3,
        0x03, 0xDF, 0x2F, 0xBB, 0xC8, 0x67, 0xEF, 0x0F, 0xB8, 0xB2, 0xF0, 0x0B, 0x58, 0x4A, 0x07, 0x54,
    };
    uint8_t out[600];
    size_t used;
    en_error e;
    CHECK_OK(wt_inflate_zlib(in, sizeof in, out, 600, &used, &e), e);
    CHECK(used == sizeof in);
    for (int i = 0; i < 600; i++) CHECK(out[i] == i * i / 7 % 251 % (i / 64 + 3));
    for (size_t n = 0; n < sizeof in; n++) {
        uint8_t *part = malloc(n + 1);
        CHECK(part != NULL);
        memcpy(part, in, n);
        CHECK(wt_inflate_zlib(part, n, out, 600, NULL, &e) == EN_E_FORMAT);
        free(part);
    }
}

TEST(inflate_refuses_malformed_blocks_by_name)
{
    en_error e;
    stream s = {0};
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "the data end");
    put(&s, 1 | 3 << 1, 3);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "reserved type");

    s = (stream){0};
    put(&s, 1 | 1 << 1, 3);
    put_code(&s, 0x30 + 'a', 8);
    put_code(&s, 1, 7); /* length 3 */
    put_code(&s, 1, 5); /* distance 2, but there is one byte */
    put_code(&s, 0, 7);
    CHECK_FAILS(inflate(&s, 4, NULL, &e), e, EN_E_FORMAT, "a copy from before the start after 1 bytes");

    s = (stream){0};
    put(&s, 1 | 1 << 1, 3);
    put_code(&s, 0x30 + 'a', 8);
    put_code(&s, 1, 7);
    put_code(&s, 0, 5);
    put_code(&s, 0, 7);
    CHECK_OK(inflate(&s, 4, NULL, &e), e);
    CHECK_FAILS(inflate(&s, 3, NULL, &e), e, EN_E_FORMAT, "more output than the expected 3 bytes");

    for (unsigned reserved = 286; reserved < 288; reserved++) {
        s = (stream){0};
        put(&s, 1 | 1 << 1, 3);
        put_code(&s, 0xC0 + reserved - 280, 8);
        put_code(&s, 0, 12);
        CHECK_FAILS(inflate(&s, 9, NULL, &e), e, EN_E_FORMAT, "an invalid code");
    }
    for (unsigned reserved = 30; reserved < 32; reserved++) {
        s = (stream){0};
        put(&s, 1 | 1 << 1, 3);
        put_code(&s, 0x30 + 'a', 8);
        put_code(&s, 1, 7);
        put_code(&s, reserved, 5);
        put_code(&s, 0, 7);
        CHECK_FAILS(inflate(&s, 9, NULL, &e), e, EN_E_FORMAT, "an invalid distance code");
    }
}

TEST(inflate_refuses_codes_that_are_none)
{
    uint8_t literal[286] = {0}, distance[30] = {0};
    en_error e;
    stream s = {0};
    put_codes(&s, literal, 257, distance, 1);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "without an end of block");

    literal[256] = literal['a'] = literal['b'] = 1;
    s = (stream){0};
    put_codes(&s, literal, 257, distance, 1);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "an invalid code of literals"); /* three codes of one bit */

    literal['b'] = 0;
    literal[256] = 2;
    s = (stream){0};
    put_codes(&s, literal, 257, distance, 1);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "an invalid code of literals"); /* 11 is unused */

    literal[256] = 1;
    distance[0] = 2;
    s = (stream){0};
    put_codes(&s, literal, 257, distance, 1);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "an invalid code of distances");

    s = (stream){0};
    put(&s, 1 | 2 << 1, 3);
    put(&s, 287 - 257, 5);
    put(&s, 0, 30);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "too many symbols");

    s = (stream){0};
    put(&s, 1 | 2 << 1, 3);
    put(&s, 0, 14);
    for (int i = 0; i < 4; i++) put(&s, 1, 3); /* four codes of one bit */
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "an invalid code of code lengths");

    s = (stream){0};
    put(&s, 1 | 2 << 1, 3);
    put(&s, 0, 14);
    put(&s, 1 | 0 << 3 | 1 << 6, 12); /* 16 is 0, 18 is 1 */
    stream t = s;
    put_code(&s, 0, 20);
    CHECK_FAILS(inflate(&s, 0, NULL, &e), e, EN_E_FORMAT, "a repeated code length without a first one");
    put(&t, 1 | 127 << 1, 8); /* 138 zeros and 121 more, of 258 */
    put(&t, 1 | 110 << 1, 8);
    CHECK_FAILS(inflate(&t, 0, NULL, &e), e, EN_E_FORMAT, "too many code lengths");
}

TEST(inflate_accepts_a_single_code_of_one_bit_and_no_distances_at_all)
{
    uint8_t literal[286] = {0}, distance[1] = {0}, out[4];
    en_error e;
    literal[256] = 1;
    stream s = {0};
    put_codes(&s, literal, 257, distance, 1);
    stream other = s;
    put(&s, 0, 1);
    CHECK_OK(inflate(&s, 0, NULL, &e), e);
    put(&other, 1, 1); /* the bit that is no code */
    CHECK_FAILS(inflate(&other, 0, NULL, &e), e, EN_E_FORMAT, "an invalid code");

    literal['a'] = literal[257] = 2; /* 256 is 0, 'a' is 10, length 3 is 11 */
    for (unsigned one = 0; one < 2; one++) {
        distance[0] = (uint8_t)one;
        for (unsigned bit = 0; bit < 2; bit++) {
            s = (stream){0};
            put_codes(&s, literal, 258, distance, 1);
            put_code(&s, 2 << 2 | 3, 4);
            put(&s, bit, 1);
            put(&s, 0, 1);
            if (one && !bit) {
                CHECK_OK(inflate(&s, 4, out, &e), e);
                CHECK(!memcmp(out, "aaaa", 4));
            } else {
                CHECK_FAILS(inflate(&s, 4, out, &e), e, EN_E_FORMAT, "an invalid distance code");
            }
        }
    }
}

TEST(zlib_header_and_checksum_are_checked)
{
    uint8_t in[] = {0x78, 0x9C, 0x4B, 0x04, 0x00, 0x00, 0x62, 0x00, 0x62, 7}, out[1]; /* "a", then a byte that is not ours */
    size_t used;
    en_error e;
    CHECK_OK(wt_inflate_zlib(in, sizeof in, out, 1, &used, &e), e);
    CHECK(out[0] == 'a' && used == 9);
    CHECK_FAILS(wt_inflate_zlib(in, 8, out, 1, NULL, &e), e, EN_E_FORMAT, "the checksum at the end is missing");
    CHECK_FAILS(wt_inflate_zlib(in, 1, out, 1, NULL, &e), e, EN_E_FORMAT, "too few for a header");
    in[8]++;
    CHECK_FAILS(wt_inflate_zlib(in, 9, out, 1, NULL, &e), e, EN_E_FORMAT, "Adler-32 checksum is 00620062, want 00620063");
    in[1]++;
    CHECK_FAILS(wt_inflate_zlib(in, 9, out, 1, NULL, &e), e, EN_E_FORMAT, "header bytes are 78 9d");
    in[1] = 0xBB;
    CHECK_FAILS(wt_inflate_zlib(in, 9, out, 1, NULL, &e), e, EN_E_UNSUPPORTED, "dictionary");
    in[0] = 0x88, in[1] = 0x1C;
    CHECK_FAILS(wt_inflate_zlib(in, 9, out, 1, NULL, &e), e, EN_E_FORMAT, "header bytes are 88 1c");
}

/* Bytes of several characters: noise, one value, few values, words that come again, skewed far enough for the longest codes. */
static void fill(uint8_t *p, size_t n, int character)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t r = t_random();
        unsigned zeros = 0;
        while (zeros < 40 && !(r >> zeros & 1)) zeros++;
        if (character == 0) p[i] = (uint8_t)r;
        if (character == 1) p[i] = 'x';
        if (character == 2) p[i] = "abcd "[r % 5];
        if (character == 3) p[i] = i > 40 && r % 50 ? p[i - 1 - (r >> 8) % 40 / 39 * 39] : (uint8_t)(r >> 16);
        if (character == 4) p[i] = (uint8_t)zeros;
    }
}

TEST(what_deflate_writes_inflate_reads)
{
    static const size_t sizes[] = {0, 1, 2, 3, 4, 5, 6, 7, 257, 258, 259, 1000, 16383, 16384, 16385, 32767, 32768, 32770, 100003};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (int character = 0; character < 5; character++) {
            size_t n = sizes[i], packed, used;
            uint8_t *p = malloc(n + 1), *q = malloc(n + 1), *z;
            CHECK(p && q);
            fill(p, n, character);
            en_error e;
            CHECK_OK(img_deflate(p, n, &z, &packed, &e), e);
            CHECK_OK(wt_inflate_zlib(z, packed, q, n, &used, &e), e);
            CHECK(used == packed && !memcmp(p, q, n));
            if (character == 0) CHECK_MSG(packed < n + n / 100 + 120, "noise of %zu bytes became %zu", n, packed);
            if (character == 1) CHECK_MSG(packed < n / 500 + 80, "%zu equal bytes became %zu", n, packed);
            free(p);
            free(q);
            free(z);
        }
    }
}

TEST(deflate_copies_from_32768_back_and_no_further)
{
    enum { REPEATED = 100 };
    static uint8_t in[32768 + 1 + REPEATED], out[sizeof in];
    size_t sizes[2];
    for (size_t distance = 32768; distance <= 32769; distance++) {
        uint8_t *z;
        en_error e;
        fill(in, distance, 0);
        memcpy(in + distance, in, REPEATED);
        CHECK_OK(img_deflate(in, distance + REPEATED, &z, &sizes[distance - 32768], &e), e);
        CHECK_OK(wt_inflate_zlib(z, sizes[distance - 32768], out, distance + REPEATED, NULL, &e), e);
        CHECK(!memcmp(in, out, distance + REPEATED));
        free(z);
    }
    CHECK(sizes[1] > sizes[0] + REPEATED / 2);
}

TEST(damaged_streams_end_and_stay_within_bounds)
{
    enum { N = 5000 };
    uint8_t *p = malloc(N), *q = malloc(N), *z;
    size_t packed;
    en_error e;
    CHECK(p && q);
    for (int round = 0; round < 300; round++) {
        fill(p, N, 2 + round % 3);
        if (round % 100 == 0) memset(p, 0, N / 2);
        CHECK_OK(img_deflate(p, N, &z, &packed, &e), e);
        uint32_t sum = wt_adler32(1, p, N);
        for (int flips = 0; flips < 10; flips++) {
            size_t n = flips % 2 ? packed : 3 + t_random() % (packed - 3);
            uint8_t *part = malloc(n);
            CHECK(part != NULL);
            memcpy(part, z, n);
            for (int i = 0; i < flips; i++) part[t_random() % n] ^= (uint8_t)(1 << t_random() % 8);
            if (wt_inflate_zlib(part, n, q, N, NULL, &e) == EN_OK) CHECK(n == packed && wt_adler32(1, q, N) == sum); /* four letters of few kinds can change unseen */
            wt_inflate(part + 2, n - 2, q, N, NULL, &e);
            free(part);
        }
        free(z);
    }
    free(p);
    free(q);
}

TEST(noise_is_refused_or_inflated_within_bounds)
{
    uint8_t in[300], out[1000];
    en_error e;
    for (int round = 0; round < 100000; round++) {
        size_t n = t_random() % sizeof in;
        for (size_t i = 0; i < n; i++) in[i] = (uint8_t)t_random();
        if (n) in[0] = (uint8_t)((in[0] & ~6) | 2 << (round & 1));
        wt_inflate(in, n, out, t_random() % sizeof out, NULL, &e);
    }
}

TEST(deflate_hands_back_nothing_when_memory_runs_out)
{
    enum { N = 300000 };
    uint8_t *p = malloc(N), *z;
    size_t packed;
    en_error e;
    CHECK(p != NULL);
    fill(p, N, 0);
    en_status status = EN_E_NOMEM;
    long n;
    for (n = 1; status != EN_OK; n++) {
        t_fail_allocation(n, 0);
        status = img_deflate(p, N, &z, &packed, &e);
        t_fail_allocation(0, 0);
        CHECK(status == EN_OK || (status == EN_E_NOMEM && z == NULL));
    }
    CHECK(n > 3);
    free(z);
    free(p);
}
