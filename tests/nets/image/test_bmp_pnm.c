/* SPDX-License-Identifier: MIT */
/* BMP and PNM: the corpus bit for bit, files made here in every variant, and files that are damaged or made to do harm. */
#include "nets/image/image.h"
#include "tests/test.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char corpus[] = "tests/data/codec";
enum { CORPUS_BMPS = 5, CORPUS_PPMS = 141 };

/* Calls f for every file of the corpus with this ending; returns how many there are. */
static int each(const char *ending, void (*f)(const char *path, const uint8_t *bytes, size_t size))
{
    DIR *dir = opendir(corpus);
    CHECK(dir != NULL);
    int n = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        const char *dot = strrchr(entry->d_name, '.');
        if (!dot || strcmp(dot, ending)) continue;
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

/* Compares with a binary PPM as the corpus has them: one line with the size, pixels at the end of the file. */
static void check_ppm(const char *path, const img *got, const uint8_t *ppm, size_t size)
{
    int width, height;
    char head[64] = {0};
    memcpy(head, ppm, size < 63 ? size : 63);
    CHECK(sscanf(head, "P6 %d %d 255", &width, &height) == 2);
    CHECK_MSG(got->width == width && got->height == height, "%s is %dx%d, want %dx%d", path, got->width, got->height, width,
              height);
    size_t n = (size_t)width * (size_t)height * 3;
    CHECK(size > n);
    CHECK_MSG(!memcmp(got->rgb, ppm + size - n, n), "%s differs", path);
}

static void check_bmp(const char *path, const uint8_t *bytes, size_t size)
{
    char want_path[512];
    snprintf(want_path, sizeof want_path, "%.*s_bmp.ppm", (int)(strlen(path) - 4), path);
    size_t want_size;
    uint8_t *want = t_read_file(want_path, &want_size);
    img got;
    en_error e;
    CHECK_OK(img_decode(bytes, size, 0, &got, &e), e);
    check_ppm(path, &got, want, want_size);
    img_free(&got);
    free(want);
}

static void check_itself(const char *path, const uint8_t *bytes, size_t size)
{
    img got;
    en_error e;
    CHECK_OK(img_decode(bytes, size, 0, &got, &e), e);
    check_ppm(path, &got, bytes, size);
    img_free(&got);
}

TEST(every_bmp_of_the_corpus_decodes_to_its_pixels) { CHECK(each(".bmp", check_bmp) >= CORPUS_BMPS); }
TEST(every_ppm_of_the_corpus_decodes_to_its_pixels) { CHECK(each(".ppm", check_itself) >= CORPUS_PPMS); }

/* Decodes from a block of exactly this size, so that the address sanitizer sees a byte too many. */
static en_status decode_exactly(const uint8_t *bytes, size_t size, img *out, en_error *e)
{
    uint8_t *exact = malloc(size + !size);
    CHECK(exact != NULL);
    memcpy(exact, bytes, size);
    *out = (img){7, 7, exact};
    en_status status = bytes[0] == 'B' ? img_decode_bmp(exact, size, 0, out, e) : img_decode_pnm(exact, size, 0, out, e);
    if (status != EN_OK) CHECK(!out->rgb && out->width == 0 && out->height == 0);
    free(exact);
    return status;
}

static void cut_everywhere(const char *path, const uint8_t *bytes, size_t size)
{
    en_error e;
    img out;
    size_t step = size > 4000 ? 7 : 1;
    for (size_t n = 1; n < size; n += n < 100 ? 1 : step)
        CHECK_MSG(decode_exactly(bytes, n, &out, &e) == EN_E_FORMAT, "%s, first %zu of %zu bytes", path, n, size);
}

TEST(bmp_cut_short_at_any_byte_is_refused) { CHECK(each(".bmp", cut_everywhere) >= CORPUS_BMPS); }
TEST(pnm_cut_short_at_any_byte_is_refused) { CHECK(each(".ppm", cut_everywhere) >= CORPUS_PPMS); }

static void damage(const char *path, const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size);
    CHECK(copy && path);
    en_error e;
    img out;
    for (int round = 0; round < 300; round++) {
        memcpy(copy, bytes, size);
        size_t header = size < 70 ? size : 70; /* behind it are only colours */
        for (uint64_t flips = 1 + t_random() % 3; flips; flips--)
            copy[1 + t_random() % (header - 1)] ^= (uint8_t)(1 << t_random() % 8);
        decode_exactly(copy, size, &out, &e);
        img_free(&out);
    }
    free(copy);
}

TEST(damaged_bmps_do_no_harm) { CHECK(each(".bmp", damage) >= CORPUS_BMPS); }
TEST(damaged_pnms_do_no_harm) { CHECK(each(".ppm", damage) >= CORPUS_PPMS); }

/* A BMP under construction. */
typedef struct file {
    uint8_t bytes[4096];
    size_t size;
} file;

static void put_le(file *f, uint32_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) f->bytes[f->size++] = (uint8_t)(v >> 8 * i);
}

static void put_bytes(file *f, const void *p, size_t n)
{
    CHECK(f->size + n <= sizeof f->bytes);
    memcpy(f->bytes + f->size, p, n);
    f->size += n;
}

/* File header and an information header of `header` bytes (12, or 40 and more), with the masks in it if there is room. */
static file start_bmp(unsigned header, int32_t width, int32_t height, unsigned depth, unsigned compression, const uint32_t *masks)
{
    file f = {.bytes = "BM", .size = 14};
    put_le(&f, header, 4);
    put_le(&f, (uint32_t)width, header == 12 ? 2 : 4);
    put_le(&f, (uint32_t)height, header == 12 ? 2 : 4);
    put_le(&f, 1, 2);
    put_le(&f, depth, 2);
    if (header > 12) {
        put_le(&f, compression, 4);
        f.size += 20;
        for (int i = 0; masks && i < 3; i++) put_le(&f, masks[i], 4);
        if (f.size < 14 + header) f.size = 14 + header;
    }
    return f;
}

/* Says that the pixels start here. */
static void start_pixels(file *f)
{
    for (int i = 0; i < 4; i++) f->bytes[10 + i] = (uint8_t)(f->size >> 8 * i);
}

static void check_rgb(const file *f, int width, int height, const uint8_t *want)
{
    img got;
    en_error e;
    CHECK_OK(decode_exactly(f->bytes, f->size, &got, &e), e);
    CHECK(got.width == width && got.height == height);
    for (int i = 0; i < 3 * width * height; i++) CHECK_MSG(got.rgb[i] == want[i], "byte %d is %d, want %d", i, got.rgb[i], want[i]);
    img_free(&got);
}

static void check_refused(const file *f, en_status want, const char *message)
{
    img out;
    en_error e;
    t_fail_allocation(0, 0);
    CHECK_FAILS(decode_exactly(f->bytes, f->size, &out, &e), e, want, message);
    CHECK(t_allocations() == 1); /* that of decode_exactly */
}

TEST(bmp_rows_run_up_or_down_in_every_version_of_the_header)
{
    static const unsigned headers[] = {12, 40, 52, 56, 64, 108, 124};
    static const uint8_t pixels[16] = {3, 2, 1, 6, 5, 4, 99, 99, 9, 8, 7, 12, 11, 10, 99, 99}; /* two rows, padded */
    static const uint8_t down[12] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}, up[12] = {7, 8, 9, 10, 11, 12, 1, 2, 3, 4, 5, 6};
    for (size_t i = 0; i < sizeof headers / sizeof *headers; i++) {
        for (int top_down = 0; top_down < (headers[i] == 12 ? 1 : 2); top_down++) {
            file f = start_bmp(headers[i], 2, top_down ? -2 : 2, 24, 0, NULL);
            start_pixels(&f);
            put_bytes(&f, pixels, 16);
            check_rgb(&f, 2, 2, top_down ? down : up);
        }
    }
}

TEST(bmp_palettes_have_3_or_4_bytes_and_what_they_lack_is_black)
{
    for (int core = 0; core < 2; core++) {
        for (unsigned depth = 1; depth <= 8; depth += depth == 1 ? 3 : 4) {
            file f = start_bmp(core ? 12 : 40, 3, 1, depth, 0, NULL);
            put_bytes(&f, core ? "\x1\x2\x3\x4\x5\x6" : "\x1\x2\x3\0\x4\x5\x6", core ? 6 : 8);
            start_pixels(&f);
            put_bytes(&f, depth == 1 ? "\x5F\0\0" : depth == 4 ? "\x01\x7F\0" : "\0\1\7", 4);
            uint8_t want[9] = {3, 2, 1, 6, 5, 4};
            if (depth == 1) memcpy(want + 6, want, 3);
            check_rgb(&f, 3, 1, want);
        }
    }
}

TEST(bmp_masks_say_where_the_colours_are)
{
    static const struct {
        unsigned depth, compression;
        uint32_t mask[3], pixel;
        uint8_t want[3];
    } cases[] = {
        {16, 0, {0}, 0xFFFF, {255, 255, 255}},
        {16, 0, {0}, 1 << 10 | 2 << 5 | 30, {8, 16, 246}}, /* n * 255 / 31, cut off */
        {16, 3, {0x7C00, 0x3E0, 0x1F}, 1 << 10 | 2 << 5 | 30, {8, 16, 246}},
        {16, 3, {0xF800, 0x7E0, 0x1F}, 1 << 11 | 62 << 5 | 31, {8, 250, 255}},
        {16, 3, {0xF00, 0xF0, 0xF}, 0xA1F, {170, 17, 255}},
        {32, 0, {0}, 0xAA112233, {0x11, 0x22, 0x33}},
        {32, 3, {0xFF0000, 0xFF00, 0xFF}, 0xAA112233, {0x11, 0x22, 0x33}},
        {32, 3, {0xFF000000, 0xFF0000, 0xFF00}, 0x112233AA, {0x11, 0x22, 0x33}},
        {32, 6, {0xFF, 0xFF00, 0xFF0000}, 0xAA332211, {0x11, 0x22, 0x33}},
        {32, 3, {0x3FF00000, 0xFFC00, 0x3FF}, 1023u << 20 | 512 << 10 | 3, {255, 127, 0}},
        {32, 3, {0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, 0x80000000, {127, 127, 127}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        for (unsigned header = 40; header <= 124; header += 84) {
            file f = start_bmp(header, 1, 1, cases[i].depth, cases[i].compression, cases[i].compression ? cases[i].mask : NULL);
            start_pixels(&f);
            put_le(&f, cases[i].pixel, 4);
            check_rgb(&f, 1, 1, cases[i].want);
        }
    }
    static const uint32_t empty[3] = {0xFF0000, 0, 0xFF}, holes[3] = {0xFF0000, 0xFF00, 0xF0F};
    file f = start_bmp(40, 1, 1, 32, 3, empty);
    check_refused(&f, EN_E_UNSUPPORTED, "the colour mask 00000000 is not one run of ones");
    f = start_bmp(40, 1, 1, 32, 3, holes);
    check_refused(&f, EN_E_UNSUPPORTED, "the colour mask 00000f0f");
}

/* A BMP of runs with 16 colours, of which colour i is (i, i, i). */
static file start_runs(int32_t width, int32_t height, unsigned depth)
{
    file f = start_bmp(40, width, height, depth, depth == 8 ? 1 : 2, NULL);
    for (unsigned i = 0; i < 16; i++) put_le(&f, i * 0x10101, 4);
    start_pixels(&f);
    return f;
}

static void check_grey(const file *f, int width, int height, const char *want)
{
    uint8_t rgb[300];
    for (int i = 0; i < width * height; i++) memset(rgb + 3 * i, want[i] - '0', 3);
    check_rgb(f, width, height, rgb);
}

TEST(bmp_runs_unpack)
{
    file f = start_runs(6, 3, 8);
    put_bytes(&f,
              "\6\1\0\0"
              "\2\2\0\3\3\4\5\0\1\6\0\0"
              "\0\2\2\0\1\7\0\1",
              24);
    check_grey(&f, 6, 3,
               "007000"
               "223456"
               "111111");
    f = start_runs(6, 3, 4);
    put_bytes(&f,
              "\6\x12\0\0"
              "\1\x34\0\5\x12\x34\x50\0\0\0"
              "\0\2\2\0\1\x70\0\1",
              22);
    check_grey(&f, 6, 3,
               "007000"
               "312345"
               "121212");
    f = start_runs(2, 3, 8);
    put_bytes(&f, "\0\2\1\2\1\3\0\1", 8); /* on to the last row */
    check_grey(&f, 2, 3,
               "03"
               "00"
               "00");
    f = start_runs(2, 2, 8);
    put_bytes(&f, "\2\5\0\0\2\6\0\0", 8); /* all rows, no end of picture */
    check_grey(&f, 2, 2,
               "66"
               "55");
}

TEST(bmp_runs_that_leave_the_picture_are_refused)
{
    static const struct {
        const char *runs;
        size_t size;
        const char *message;
    } cases[] = {
        {"\7\1\0\1", 4, "a run is longer than row 0"},
        {"\0\0\6\1\1\1\0\1", 8, "a run is longer than row 1"},
        {"\0\7\1\1\1\1\1\1\1\0\0\1", 12, "a run is longer than row 0"},
        {"\0\2\xFF\0\1\1\0\1", 8, "a run is longer than row 0"},
        {"\0\2\1", 3, "the runs end in row 0"},
        {"\0\5\1\1\1\1\1", 7, "the runs end in row 0"},
        {"\0\6\1\1\1", 5, "the runs end in row 0"},
        {"\0\0\6\1\0", 5, "the runs end in row 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = start_runs(6, 3, 8);
        put_bytes(&f, cases[i].runs, cases[i].size);
        img out;
        en_error e;
        CHECK_FAILS(decode_exactly(f.bytes, f.size, &out, &e), e, EN_E_FORMAT, cases[i].message);
    }
    file f = start_runs(6, 3, 8);
    put_bytes(&f, "\0\2\0\x50\1\1", 6); /* below the last row is the end */
    check_grey(&f, 6, 3,
               "000000"
               "000000"
               "000000");
    for (int round = 0; round < 20000; round++) {
        f = start_runs(6, 3, round % 2 ? 4 : 8);
        for (int i = 0; i < 30; i++) put_le(&f, t_random() % 3 ? t_random() % 8 : 0, 1);
        img out;
        en_error e;
        decode_exactly(f.bytes, f.size, &out, &e);
        img_free(&out);
    }
}

TEST(bmp_refuses_headers_that_make_no_sense_without_taking_memory)
{
    static const struct {
        unsigned header;
        int32_t width, height;
        unsigned depth, compression;
        en_status status;
        const char *message;
    } cases[] = {
        {39, 1, 1, 24, 0, EN_E_UNSUPPORTED, "a header of 39 bytes"},
        {125, 1, 1, 24, 0, EN_E_UNSUPPORTED, "a header of 125 bytes"},
        {40, 1, 1, 2, 0, EN_E_UNSUPPORTED, "2 bits per pixel"},
        {40, 1, 1, 0, 0, EN_E_UNSUPPORTED, "0 bits per pixel"},
        {40, 1, 1, 24, 4, EN_E_UNSUPPORTED, "a wrapped JPEG picture"},
        {40, 1, 1, 24, 5, EN_E_UNSUPPORTED, "a wrapped PNG picture"},
        {40, 1, 1, 24, 1, EN_E_UNSUPPORTED, "compression 1 with 24 bits"},
        {40, 1, 1, 8, 2, EN_E_UNSUPPORTED, "compression 2 with 8 bits"},
        {40, 1, 1, 24, 3, EN_E_UNSUPPORTED, "compression 3 with 24 bits"},
        {40, 1, 1, 24, 77, EN_E_UNSUPPORTED, "compression 77"},
        {40, 0, 1, 24, 0, EN_E_FORMAT, "no pixels: its size is 0x1"},
        {40, 1, 0, 24, 0, EN_E_FORMAT, "no pixels: its size is 1x0"},
        {40, -1, 1, 24, 0, EN_E_FORMAT, "too few for 4294967295x1"},
        {40, 1, INT32_MIN, 24, 0, EN_E_FORMAT, "too few for 1x2147483648"},
        {40, INT32_MAX, INT32_MAX, 32, 0, EN_E_FORMAT, "too few for 2147483647x2147483647"},
        {40, 60000, 60000, 8, 1, EN_E_FORMAT, "too few for 60000x60000"},
        {40, -1, -1, 4, 2, EN_E_FORMAT, "too few for 4294967295x1"},
        {40, 70000, 1, 4, 2, EN_E_LIMIT, "65535 a side"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = start_bmp(cases[i].header, cases[i].width, cases[i].height, cases[i].depth, cases[i].compression, NULL);
        put_le(&f, 0, 4);
        start_pixels(&f);
        f.size += 100;
        check_refused(&f, cases[i].status, cases[i].message);
    }
    file f = start_bmp(40, 1, 1, 24, 0, NULL);
    check_refused(&f, EN_E_FORMAT, "the pixels start at byte 0, want 54 to 54");
    start_pixels(&f);
    f.bytes[13] = 0x80;
    check_refused(&f, EN_E_FORMAT, "the pixels start at byte 2147483702");
    f = start_bmp(40, 1, 1, 8, 0, NULL);
    start_pixels(&f);
    put_le(&f, 0, 4);
    check_refused(&f, EN_E_FORMAT, "no palette");
    f = start_bmp(40, 1, 1, 32, 3, NULL);
    check_refused(&f, EN_E_FORMAT, "before its colour masks");
    f.size = 50;
    check_refused(&f, EN_E_FORMAT, "ends within its header");
}

static void check_pnm(const char *text, size_t size, int width, int height, const char *want, size_t n)
{
    img got;
    en_error e;
    CHECK_OK(decode_exactly((const uint8_t *)text, size, &got, &e), e);
    CHECK(got.width == width && got.height == height);
    for (size_t i = 0; i < n; i++)
        CHECK_MSG(got.rgb[i] == (uint8_t)want[i], "%.2s: byte %zu is %d, want %d", text, i, got.rgb[i], (uint8_t)want[i]);
    img_free(&got);
}

#define PNM(text, width, height, want) check_pnm(text, sizeof(text) - 1, width, height, want, sizeof(want) - 1)

TEST(pnm_reads_all_six_kinds)
{
    PNM("P1 3 1\n1 01", 3, 1, "\0\0\0\xFF\xFF\xFF\0\0\0");
    PNM("P2 2 1 255\n7 200\n", 2, 1, "\7\7\7\xC8\xC8\xC8");
    PNM("P3 1 2 255\n1 2 3\n4 5 6", 1, 2, "\1\2\3\4\5\6");
    PNM("P4 2 2\n\x7F\x80", 2, 2, "\xFF\xFF\xFF\0\0\0\0\0\0\xFF\xFF\xFF");
    PNM("P4 9 1\n\xFF\x7F", 9, 1, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xFF\xFF\xFF");
    PNM("P5 2 1 255\n\x7\xC8", 2, 1, "\7\7\7\xC8\xC8\xC8");
    PNM("P6 1 2 255\n\1\2\3\4\5\6", 1, 2, "\1\2\3\4\5\6");
}

TEST(pnm_headers_may_hold_comments_and_any_white_space)
{
    PNM("P5# size\n\t2#c\r1\n# P6 9 9\n255\n\n#", 2, 1, "\n\n\n###"); /* one space behind maxval, then pixels */
    PNM("P3 # c\n1 1 9 9 # max 9\n0 #\n9", 1, 1, "\xFF\0\xFF");
    PNM("P1#\n2 1\n#1\n1#0\n0", 2, 1, "\0\0\0\xFF\xFF\xFF");
}

TEST(pnm_scales_by_maxval_and_rounds_ties_to_even)
{
    PNM("P2 4 1 10\n0 1 3 10", 4, 1, "\0\0\0\x1A\x1A\x1A\x4C\x4C\x4C\xFF\xFF\xFF"); /* 25.5 -> 26, 76.5 -> 76 */
    PNM("P5 4 1 2\n\0\1\2\3", 4, 1, "\0\0\0\x80\x80\x80\xFF\xFF\xFF\xFF\xFF\xFF");  /* 127.5 -> 128; above maxval: white */
    PNM("P5 3 1 65535\n\x12\x34\x80\x80\xFF\xFF", 3, 1, "\x12\x12\x12\x80\x80\x80\xFF\xFF\xFF");
    PNM("P6 1 1 1023\n\0\1\2\0\3\xFF", 1, 1, "\0\x80\xFF");
}

TEST(pnm_refuses_what_makes_no_sense_without_taking_memory)
{
    static const struct {
        const char *text;
        en_status status;
        const char *message;
    } cases[] = {
        {"P", EN_E_FORMAT, "header is missing"},
        {"P7 1 1 255\n", EN_E_FORMAT, "header is missing"},
        {"P5", EN_E_FORMAT, "ends before its width"},
        {"P5 #", EN_E_FORMAT, "ends before its width"},
        {"P5 x", EN_E_FORMAT, "no number where the width is due"},
        {"P5 -1 1 255\n1", EN_E_FORMAT, "no number where the width is due"},
        {"P5 1 1 1.0\n1", EN_E_FORMAT, "no white space behind the header"},
        {"P5 1 1 255", EN_E_FORMAT, "no white space behind the header"},
        {"P5 99999999999999999999 1 255\n", EN_E_FORMAT, "the width is above 2147483647"},
        {"P5 1 1 65536\n1", EN_E_FORMAT, "the maxval is above 65535"},
        {"P5 1 1 0\n1", EN_E_FORMAT, "the maxval is 0"},
        {"P5 0 1 255\n1", EN_E_FORMAT, "its size is 0x1"},
        {"P5 1 0 255\n1", EN_E_FORMAT, "its size is 1x0"},
        {"P6 2147483647 2147483647 65535\n1", EN_E_FORMAT, "1 bytes of pixels are too few"},
        {"P3 40000 40000 255\n1", EN_E_FORMAT, "too few for 40000x40000"},
        {"P1 40000 40000 \n1", EN_E_FORMAT, "too few for 40000x40000"},
        {"P5 2 1 255\n1", EN_E_FORMAT, "1 bytes of pixels are too few for 2x1"},
        {"P5 1 1 256\n1", EN_E_FORMAT, "too few for 1x1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        file f = {.size = 0};
        put_bytes(&f, cases[i].text, strlen(cases[i].text));
        check_refused(&f, cases[i].status, cases[i].message);
    }
    img out;
    en_error e;
    const char *const samples[][2] = {{"P2 1 1 9\n10", "sample 0 of 1: PNM: the sample is above 9"},
                                      {"P2 2 1 9\n1 x", "sample 1 of 2"},
                                      {"P1 2 1\n12", "bit 1 of 2 is not 0 or 1"},
                                      {"P1 2 1\n1 ", "bit 1 of 2"}};
    for (size_t i = 0; i < 4; i++)
        CHECK_FAILS(decode_exactly((const uint8_t *)samples[i][0], strlen(samples[i][0]), &out, &e), e, EN_E_FORMAT, samples[i][1]);
}

TEST(bmp_and_pnm_hand_back_nothing_when_memory_runs_out)
{
    file f = start_runs(6, 3, 8);
    put_bytes(&f, "\0\1", 2);
    img out;
    en_error e;
    for (int pnm = 0; pnm < 2; pnm++) {
        t_fail_allocation(1, 0);
        const uint8_t *text = (const uint8_t *)"P5 1 1 255\n1";
        en_status status = pnm ? img_decode_pnm(text, 12, 0, &out, &e) : img_decode_bmp(f.bytes, f.size, 0, &out, &e);
        t_fail_allocation(0, 0);
        CHECK(status == EN_E_NOMEM && !out.rgb);
    }
}
