/* SPDX-License-Identifier: MIT */
/* PNG: the corpus bit for bit, pictures there and back, and files that are damaged or made to do harm. */
#include "nets/image/deflate.h"
#include "nets/image/image.h"
#include "tests/test.h"
#include "weights/checksum.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char corpus[] = "tests/data/codec";
enum { CORPUS_PNGS = 69 };

/* Calls f for every PNG of the corpus; returns how many there are. */
static int each_png(void (*f)(const char *path, const uint8_t *bytes, size_t size))
{
    DIR *dir = opendir(corpus);
    CHECK(dir != NULL);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ".png")) continue;
        char path[512];
        snprintf(path, sizeof path, "%s/%s", corpus, entry->d_name);
        size_t size;
        uint8_t *bytes = t_read_file(path, &size);
        f(path, bytes, size);
        free(bytes);
        n++;
    }
    closedir(dir);
    return n;
}

/* The picture must equal the binary PPM beside the file: NAME.png and NAME_png.ppm. */
static void check_pixels(const char *path, const uint8_t *bytes, size_t size)
{
    char want_path[512];
    snprintf(want_path, sizeof want_path, "%.*s_png.ppm", (int)(strlen(path) - 4), path);
    size_t want_size;
    uint8_t *want = t_read_file(want_path, &want_size);
    want[want_size] = 0;
    int width, height, start;
    CHECK(sscanf((char *)want, "P6 %d %d 255%n", &width, &height, &start) == 2);
    start++;
    img got;
    en_error e;
    CHECK_OK(img_decode(bytes, size, 0, &got, &e), e);
    CHECK_MSG(got.width == width && got.height == height, "%s is %dx%d, want %dx%d", path, got.width, got.height, width, height);
    size_t n = (size_t)width * (size_t)height * 3;
    CHECK(want_size == (size_t)start + n);
    CHECK_MSG(!memcmp(got.rgb, want + start, n), "%s differs", path);
    img_free(&got);
    free(want);
}

TEST(every_png_of_the_corpus_decodes_to_its_pixels)
{
    int n = each_png(check_pixels);
    CHECK_MSG(n >= CORPUS_PNGS, "%d files, want %d", n, CORPUS_PNGS);
}

/* A PNG under construction. */
typedef struct file {
    uint8_t bytes[8192];
    size_t size;
} file;

static void put_be32(uint8_t *to, size_t v)
{
    for (int i = 0; i < 4; i++) to[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void add_chunk(file *f, const char *name, const void *data, size_t n)
{
    uint8_t *at = f->bytes + f->size;
    CHECK(f->size + n + 12 <= sizeof f->bytes);
    put_be32(at, n);
    memcpy(at + 4, name, 4);
    if (n) memcpy(at + 8, data, n);
    put_be32(at + 8 + n, wt_crc32(0, at + 4, n + 4));
    f->size += n + 12;
}

static file start(size_t width, size_t height, unsigned depth, unsigned type, unsigned interlaced)
{
    uint8_t header[13] = {[8] = (uint8_t)depth, [9] = (uint8_t)type, [12] = (uint8_t)interlaced};
    put_be32(header, width);
    put_be32(header + 4, height);
    file f = {.size = 8};
    memcpy(f.bytes, "\x89PNG\r\n\x1A\n", 8);
    add_chunk(&f, "IHDR", header, sizeof header);
    return f;
}

static void add_idat(file *f, const void *scanlines, size_t n)
{
    uint8_t *stream;
    size_t size;
    en_error e;
    CHECK_OK(img_deflate(scanlines, n, &stream, &size, &e), e);
    add_chunk(f, "IDAT", stream, size);
    free(stream);
}

static void finish(file *f) { add_chunk(f, "IEND", NULL, 0); }

/* A grey picture of 2x2 up to its pixels, complete, and refused. */
static file start_grey(void) { return start(2, 2, 8, 0, 0); }

static const uint8_t grey[6] = {0, 10, 20, 0, 30, 40};

static void check_refused(const file *f, en_status want, const char *message)
{
    uint8_t *exact = malloc(f->size + 1);
    CHECK(exact != NULL);
    memcpy(exact, f->bytes, f->size);
    img out = {7, 7, exact};
    en_error e;
    CHECK_FAILS(img_decode_png(exact, f->size, 0, &out, &e), e, want, message);
    CHECK(out.width == 0 && out.height == 0 && !out.rgb);
    free(exact);
}

static img decode(const file *f)
{
    img out;
    en_error e;
    CHECK_OK(img_decode_png(f->bytes, f->size, 0, &out, &e), e);
    return out;
}

TEST(png_accepts_what_stands_behind_the_end_and_ancillary_chunks)
{
    file f = start_grey();
    add_chunk(&f, "gAMA", "\0\0\xB1\x8F", 4);
    add_idat(&f, grey, sizeof grey);
    add_chunk(&f, "abCd", NULL, 0);
    finish(&f);
    memcpy(f.bytes + f.size, "garbage", 7);
    f.size += 7;
    img out = decode(&f);
    static const uint8_t want[12] = {10, 10, 10, 20, 20, 20, 30, 30, 30, 40, 40, 40};
    CHECK(out.width == 2 && out.height == 2 && !memcmp(out.rgb, want, 12));
    img_free(&out);
}

TEST(png_refuses_headers_that_make_no_sense)
{
    static const struct {
        size_t width, height;
        unsigned depth, type, interlaced;
        en_status status;
        const char *message;
    } cases[] = {
        {0, 1, 8, 2, 0, EN_E_FORMAT, "no pixels: its size is 0x1"},
        {1, 0, 8, 2, 0, EN_E_FORMAT, "no pixels: its size is 1x0"},
        {1, 1, 3, 0, 0, EN_E_FORMAT, "no colour type 0 with 3 bits"},
        {1, 1, 0, 0, 0, EN_E_FORMAT, "no colour type 0 with 0 bits"},
        {1, 1, 4, 2, 0, EN_E_FORMAT, "no colour type 2 with 4 bits"},
        {1, 1, 16, 3, 0, EN_E_FORMAT, "no colour type 3 with 16 bits"},
        {1, 1, 2, 4, 0, EN_E_FORMAT, "no colour type 4 with 2 bits"},
        {1, 1, 24, 6, 0, EN_E_FORMAT, "no colour type 6 with 24 bits"},
        {1, 1, 8, 1, 0, EN_E_FORMAT, "no colour type 1"},
        {1, 1, 8, 5, 0, EN_E_FORMAT, "no colour type 5"},
        {1, 1, 8, 7, 0, EN_E_FORMAT, "no colour type 7"},
        {1, 1, 8, 255, 0, EN_E_FORMAT, "no colour type 255"},
        {1, 1, 8, 2, 2, EN_E_UNSUPPORTED, "interlace method (0, 0, 2)"},
        {0x7FFFFFFF, 0x7FFFFFFF, 16, 6, 0, EN_E_FORMAT, "cannot hold a picture of 2147483647x2147483647"},
        {0xFFFFFFFF, 0xFFFFFFFF, 16, 6, 1, EN_E_FORMAT, "cannot hold a picture"},
        {65535, 65535, 1, 0, 0, EN_E_FORMAT, "cannot hold a picture"},
        {65535, 65535, 8, 2, 1, EN_E_FORMAT, "cannot hold a picture"},
        {65536, 1, 1, 0, 0, EN_E_LIMIT, "limit is 65535 a side"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = start(cases[i].width, cases[i].height, cases[i].depth, cases[i].type, cases[i].interlaced);
        uint8_t palette[3] = {1, 2, 3}, zeros[2000] = {0};
        if (cases[i].type == 3) add_chunk(&f, "PLTE", palette, 3);
        if (cases[i].width == 65536)
            add_chunk(&f, "IDAT", zeros, sizeof zeros);
        else
            add_idat(&f, zeros, sizeof zeros);
        finish(&f);
        t_fail_allocation(0, 0);
        check_refused(&f, cases[i].status, cases[i].message);
        CHECK(t_allocations() == 1); /* that of check_refused */
    }
}

TEST(png_refuses_chunks_out_of_order_by_name)
{
    static const uint8_t palette[768] = {0};
    file f = start_grey();
    add_chunk(&f, "IHDR", f.bytes + 16, 13);
    check_refused(&f, EN_E_FORMAT, "a second IHDR chunk");

    f = start_grey();
    memcpy(f.bytes + 12, "tEXt", 4);
    put_be32(f.bytes + 29, wt_crc32(0, f.bytes + 12, 17));
    check_refused(&f, EN_E_FORMAT, "the first chunk is tEXt with 13 bytes, want IHDR");

    f = start_grey();
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "no IDAT chunk");

    f = start(2, 2, 8, 3, 0);
    add_idat(&f, grey, sizeof grey);
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "no PLTE chunk");

    f = start(2, 2, 8, 3, 0);
    add_idat(&f, grey, sizeof grey);
    add_chunk(&f, "PLTE", palette, 3);
    check_refused(&f, EN_E_FORMAT, "a PLTE chunk behind IDAT");

    f = start(2, 2, 8, 3, 0);
    add_chunk(&f, "PLTE", palette, 3);
    add_chunk(&f, "PLTE", palette, 3);
    check_refused(&f, EN_E_FORMAT, "a PLTE chunk behind PLTE");

    static const size_t wrong_sizes[] = {0, 2, 4, 767, 769, 771};
    for (size_t i = 0; i < sizeof wrong_sizes / sizeof *wrong_sizes; i++) {
        uint8_t large[771] = {0};
        f = start(2, 2, 8, 3, 0);
        add_chunk(&f, "PLTE", large, wrong_sizes[i]);
        check_refused(&f, EN_E_FORMAT, "want 1 to 256 colours of 3");
    }

    f = start_grey();
    add_idat(&f, grey, sizeof grey);
    add_chunk(&f, "tEXt", "a", 2);
    add_idat(&f, grey, sizeof grey);
    check_refused(&f, EN_E_FORMAT, "do not follow one another");

    f = start_grey();
    add_chunk(&f, "CgBI", "abcd", 4);
    check_refused(&f, EN_E_UNSUPPORTED, "unknown critical chunk CgBI");
}

TEST(png_refuses_damaged_chunks_by_name)
{
    file f = start_grey();
    add_idat(&f, grey, sizeof grey);
    check_refused(&f, EN_E_FORMAT, "before an IEND chunk");
    finish(&f);
    file whole = f;

    f.bytes[20]++;
    check_refused(&f, EN_E_FORMAT, "the CRC of the IHDR chunk at byte 8 is");
    f = whole;
    put_be32(f.bytes + 33, 0x7FFFFFFF);
    check_refused(&f, EN_E_FORMAT, "the IDAT chunk at byte 33 has 2147483647 bytes, which is past the end");
    f = whole;
    put_be32(f.bytes + 33, 0xFFFFFFFF);
    check_refused(&f, EN_E_FORMAT, "past the end");
    f = whole;
    memcpy(f.bytes + 37, "ID\n\x01", 4);
    check_refused(&f, EN_E_FORMAT, "no chunk where one is due, at byte 33");
    f = whole;
    f.bytes[0] = 0;
    check_refused(&f, EN_E_FORMAT, "signature");
    f.size = 0;
    check_refused(&f, EN_E_FORMAT, "signature");
}

TEST(png_refuses_pixels_that_are_too_few_too_many_or_damaged)
{
    file f = start_grey();
    add_idat(&f, grey, 5);
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "PNG: deflate: the stream holds 5 bytes, want 6");

    f = start_grey();
    add_idat(&f, "\0ab\0cd\0", 7);
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "more output than the expected 6 bytes");

    f = start_grey();
    add_idat(&f,
             "\0ab\x05"
             "cd",
             6);
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "row 1 has filter 5, want 0 to 4");

    f = start(3, 2, 8, 0, 1); /* Adam7: rows of 1, 1, 1 and 3 pixels */
    add_idat(&f,
             "\0a\0b\0c\x09"
             "def",
             10);
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "row 1 has filter 9");

    f = start_grey();
    add_chunk(&f, "IDAT", "\x78\x9C\x00", 3);
    finish(&f);
    check_refused(&f, EN_E_FORMAT, "PNG: deflate: the data end");
}

TEST(png_colours_missing_from_the_palette_are_black)
{
    file f = start(2, 2, 8, 3, 0);
    add_chunk(&f, "PLTE", "\1\2\3\4\5\6", 6);
    add_idat(&f, "\0\0\1\0\2\xFF", 6);
    finish(&f);
    img out = decode(&f);
    static const uint8_t want[12] = {1, 2, 3, 4, 5, 6};
    CHECK(!memcmp(out.rgb, want, 12));
    img_free(&out);
}

TEST(png_turns_the_picture_as_its_exif_chunk_says)
{
    static const char exif[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    for (int behind = 0; behind < 2; behind++) {
        file f = start(2, 2, 8, 0, 0);
        if (!behind) add_chunk(&f, "eXIf", exif, 26);
        add_idat(&f, grey, sizeof grey);
        if (behind) add_chunk(&f, "eXIf", exif, 26);
        finish(&f);
        img out = decode(&f);
        CHECK(out.rgb[0] == 30 && out.rgb[3] == 10 && out.rgb[6] == 40 && out.rgb[9] == 20); /* a quarter clockwise */
        img_free(&out);
    }
}

TEST(png_obeys_the_callers_cap_on_pixels)
{
    file f = start_grey();
    add_idat(&f, grey, sizeof grey);
    finish(&f);
    img out;
    en_error e;
    CHECK_FAILS(img_decode_png(f.bytes, f.size, 3, &out, &e), e, EN_E_LIMIT, "size is 2x2, the limit is 3 pixels");
    CHECK_OK(img_decode_png(f.bytes, f.size, 4, &out, &e), e);
    img_free(&out);
}

/* Decodes from a block of exactly this size, so that the address sanitizer sees a byte too many. */
static en_status decode_exactly(const uint8_t *bytes, size_t size, en_error *e)
{
    uint8_t *exact = malloc(size + !size);
    img out;
    CHECK(exact != NULL);
    memcpy(exact, bytes, size);
    en_status status = img_decode_png(exact, size, 0, &out, e);
    if (status != EN_OK) CHECK(!out.rgb);
    img_free(&out);
    free(exact);
    return status;
}

static void cut_everywhere(const char *path, const uint8_t *bytes, size_t size)
{
    en_error e;
    for (size_t n = 0; n < size; n++) {
        en_status status = decode_exactly(bytes, n, &e);
        CHECK_MSG(status == EN_E_FORMAT, "%s, first %zu of %zu bytes: %s", path, n, size, en_status_text(status));
    }
}

TEST(png_cut_short_at_any_byte_is_refused) { CHECK(each_png(cut_everywhere) >= CORPUS_PNGS); }

/* Makes the checksums of all chunks right, so that damage gets past them. */
static void repair(uint8_t *bytes, size_t size)
{
    for (size_t at = 8; size - at >= 12;) {
        size_t n = (size_t)bytes[at] << 24 | (size_t)bytes[at + 1] << 16 | (size_t)bytes[at + 2] << 8 | bytes[at + 3];
        if (n > size - at - 12) return;
        put_be32(bytes + at + 8 + n, wt_crc32(0, bytes + at + 4, n + 4));
        at += n + 12;
    }
}

static void damage(const char *path, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size);
    CHECK(copy != NULL);
    en_error e;
    for (int round = 0; round < 400; round++) {
        memcpy(copy, bytes, size);
        for (uint64_t flips = 1 + t_random() % 3; flips; flips--) copy[t_random() % size] ^= (uint8_t)(1 << t_random() % 8);
        int changed = memcmp(copy, bytes, size) != 0;
        if (round % 2) repair(copy, size);
        en_status status = decode_exactly(copy, size, &e);
        if (round % 2 == 0 && changed) CHECK_MSG(status != EN_OK, "%s: damage was not noticed", path);
    }
    free(copy);
}

TEST(damaged_pngs_are_refused_and_with_repaired_checksums_do_no_harm) { CHECK(each_png(damage) >= CORPUS_PNGS); }

/* Noise, one colour, or a gradient. */
static img make(int width, int height, int character)
{
    img p;
    en_error e;
    CHECK_OK(img_new((size_t)width, (size_t)height, 0, &p, &e), e);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++) {
                int v = character == 0 ? (int)(t_random() & 255) : character == 1 ? 77 * c : x * 3 + y * 2 + c * 80 + x * y / 16;
                p.rgb[3 * (y * width + x) + c] = (uint8_t)v;
            }
    return p;
}

TEST(png_pictures_come_back_as_they_were)
{
    for (int width = 1; width <= 70; width += 1 + width / 5) {
        for (int height = 1; height <= 40; height += 1 + height / 3) {
            img p = make(width, height, (width + height) % 3), q;
            uint8_t *bytes;
            size_t size;
            en_error e;
            CHECK_OK(img_encode_png(&p, NULL, &bytes, &size, &e), e);
            CHECK_OK(img_decode(bytes, size, 0, &q, &e), e);
            CHECK(q.width == width && q.height == height && !memcmp(p.rgb, q.rgb, 3 * (size_t)width * (size_t)height));
            img_free(&p);
            img_free(&q);
            free(bytes);
        }
    }
}

TEST(png_of_many_idat_chunks_comes_back_and_simple_pictures_are_small)
{
    static const size_t most[3] = {800 * 700 * 3 + 20000, 5000, 240000};
    for (int character = 0; character < 3; character++) {
        img p = make(800, 700, character), q;
        uint8_t *bytes;
        size_t size;
        en_error e;
        CHECK_OK(img_encode_png(&p, NULL, &bytes, &size, &e), e);
        CHECK_MSG(size < most[character], "%zu bytes", size);
        CHECK_OK(img_decode(bytes, size, 0, &q, &e), e);
        CHECK(!memcmp(p.rgb, q.rgb, 800 * 700 * 3));
        img_free(&p);
        img_free(&q);
        free(bytes);
    }
}

TEST(png_bytes_are_the_same_on_every_machine)
{
    img p = make(123, 45, 2);
    uint8_t *bytes, digest[32];
    char text[65];
    size_t size;
    en_error e;
    CHECK_OK(img_encode_png(&p, NULL, &bytes, &size, &e), e);
    wt_sha256 s;
    wt_sha256_start(&s);
    wt_sha256_add(&s, bytes, size);
    wt_sha256_end(&s, digest);
    wt_sha256_text(digest, text);
    /* A better encoder has other bytes: then put its digest here, after seeing it from two compilers. */
    CHECK_MSG(!strcmp(text, "2a98a33b506b58c50015c90cafbeb93b66f2fc66325ac0085ac0c9bd217b65df"), "%s", text);
    img_free(&p);
    free(bytes);
}

TEST(png_text_stands_in_chunks_before_the_pixels)
{
    static const char *const text[] = {"Title", "caf\xE9\nsecond line", "Software", "", NULL};
    img p = make(3, 3, 0);
    uint8_t *bytes;
    size_t size;
    en_error e;
    CHECK_OK(img_encode_png(&p, text, &bytes, &size, &e), e);
    CHECK(!memcmp(bytes + 33, "\0\0\0\x16tEXtTitle\0caf\xE9\nsecond line", 30));
    CHECK(!memcmp(bytes + 67, "\0\0\0\x09tEXtSoftware\0", 17));
    CHECK(!memcmp(bytes + 92, "IDAT", 4));
    CHECK_OK(decode_exactly(bytes, size, &e), e);
    img_free(&p);
    free(bytes);
}

TEST(png_text_that_is_not_latin_1_is_refused)
{
    char long_key[81];
    memset(long_key, 'k', 80);
    long_key[80] = 0;
    const char *const cases[][2] = {{"", "x"},     {long_key, "x"}, {"a\nb", "x"}, {" a", "x"},       {"a ", "x"}, {"a  b", "x"},
                                    {"\x7F", "x"}, {"k\xA0", "x"},  {"k", "\x01"}, {"k", "\xC3\x89"}, {"k", "\r"}, {"k", NULL}};
    img p = make(3, 3, 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *const text[] = {cases[i][0], cases[i][1], NULL};
        uint8_t *bytes = p.rgb;
        size_t size;
        en_error e;
        CHECK_FAILS(img_encode_png(&p, text, &bytes, &size, &e), e, EN_E_ARG,
                    i < 8 ? "the key of text 0" : "the text \"k\" must be");
        CHECK(!bytes);
    }
    long_key[79] = 0;
    const char *const longest[] = {long_key, "x", NULL};
    uint8_t *bytes;
    size_t size;
    en_error e;
    CHECK_OK(img_encode_png(&p, longest, &bytes, &size, &e), e);
    free(bytes);
    img_free(&p);
    CHECK_FAILS(img_encode_png(&p, NULL, &bytes, &size, &e), e, EN_E_ARG, "0x0");
}

TEST(png_hands_back_nothing_when_memory_runs_out)
{
    static const char exif[] = "MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    file f = start(2, 2, 8, 0, 0);
    add_chunk(&f, "eXIf", exif, 26);
    add_idat(&f, grey, sizeof grey);
    finish(&f);
    en_error e;
    en_status status = EN_E_NOMEM;
    long n;
    for (n = 1; status != EN_OK; n++) {
        img out;
        t_fail_allocation(n, 0);
        status = img_decode_png(f.bytes, f.size, 0, &out, &e);
        t_fail_allocation(0, 0);
        CHECK(status == EN_OK || (status == EN_E_NOMEM && !out.rgb && strstr(e.text, "memory")));
        img_free(&out);
    }
    CHECK(n == 6); /* picture, scanlines, stream, turned picture */

    img p = make(50, 50, 0);
    status = EN_E_NOMEM;
    for (n = 1; status != EN_OK; n++) {
        uint8_t *bytes;
        size_t size;
        t_fail_allocation(n, 0);
        status = img_encode_png(&p, NULL, &bytes, &size, &e);
        t_fail_allocation(0, 0);
        CHECK(status == EN_OK || (status == EN_E_NOMEM && !bytes && strstr(e.text, "memory")));
        free(bytes);
    }
    CHECK(n >= 6); /* scanlines, compressor, its output, file */
    img_free(&p);
}
