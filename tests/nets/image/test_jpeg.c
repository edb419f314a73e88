/* SPDX-License-Identifier: MIT */
/* JPEG: the corpus to the last bit, pictures built here coefficient by coefficient, and every kind of bad news. */
#include "tests/test.h"
#include "nets/image/image.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CORPUS = 67 };

static en_error e;
static const char folder[] = "tests/data/codec";

/* Calls check(path of the JPEG, its bytes) for every JPEG of the corpus. */
static void for_each_jpeg(void (*check)(const char *path, const uint8_t *bytes, size_t size))
{
    DIR *d = opendir(folder);
    CHECK(d != NULL);
    int found = 0;
    for (struct dirent *entry; (entry = readdir(d));) {
        const char *suffix = strrchr(entry->d_name, '.');
        if (!suffix || strcmp(suffix, ".jpg")) continue;
        char path[512];
        size_t size;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        uint8_t *bytes = t_read_file(path, &size);
        check(path, bytes, size);
        free(bytes);
        found++;
    }
    closedir(d);
    CHECK_MSG(found >= CORPUS, "%d JPEG files in %s, want %d", found, folder, CORPUS);
}

static uint8_t *corpus_file(const char *name, size_t *size)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return t_read_file(path, size);
}

static int same_pixels(const img *a, const img *b)
{
    return a->width == b->width && a->height == b->height && !memcmp(a->rgb, b->rgb, (size_t)a->width * (size_t)a->height * 3);
}

/* Reads a P6 file whose header is three lines, as those of the corpus are. */
static img read_ppm(const char *path)
{
    size_t size;
    img picture;
    int header = 0;
    uint8_t *bytes = t_read_file(path, &size);
    bytes[size] = 0;
    CHECK(sscanf((const char *)bytes, "P6 %d %d 255%n", &picture.width, &picture.height, &header) == 2 && header > 0);
    size_t pixels = (size_t)picture.width * (size_t)picture.height * 3;
    CHECK(size == (size_t)header + 1 + pixels);
    memmove(bytes, bytes + header + 1, pixels);
    picture.rgb = bytes;
    return picture;
}

static void check_pixels(const char *path, const uint8_t *bytes, size_t size)
{
    char expected[600];
    snprintf(expected, sizeof expected, "%.*s_jpg.ppm", (int)(strlen(path) - 4), path);
    img want = read_ppm(expected), got;
    CHECK_OK(img_decode_jpeg(bytes, size, 0, &got, &e), e);
    CHECK_MSG(got.width == want.width && got.height == want.height, "%s is %d x %d", path, got.width, got.height);
    for (int i = 0; i < got.width * got.height * 3; i++)
        CHECK_MSG(got.rgb[i] == want.rgb[i], "%s: pixel %d, %d, channel %d is %d, want %d", path, i / 3 % got.width,
                  i / 3 / got.width, i % 3, got.rgb[i], want.rgb[i]);
    img_free(&got);
    img_free(&want);
}

TEST(every_jpeg_of_the_corpus_decodes_to_the_bits_of_libjpeg_turbo) { for_each_jpeg(check_pixels); }

/* Decodes a copy that ends where the sanitizer watches. A failure must have a reason and leave no picture. */
static en_status decode_exactly(const uint8_t *bytes, size_t size, img *out)
{
    uint8_t *copy = malloc(size ? size : 1);
    CHECK(copy != NULL);
    memcpy(copy, bytes, size);
    e = (en_error){0};
    en_status status = img_decode_jpeg(copy, size, 0, out, &e);
    free(copy);
    if (status == EN_OK) return status;
    CHECK(!strncmp(e.text, "JPEG: ", 6) && e.status == status);
    CHECK(!out->rgb && !out->width && !out->height);
    return status;
}

static void check_truncations(const char *path, const uint8_t *bytes, size_t size)
{
    img whole, part;
    CHECK_OK(img_decode_jpeg(bytes, size, 0, &whole, &e), e);
    size_t step = size / 400 + 1, lengths = 0;
    for (size_t length = 0; length < size; length += step, lengths++)
        if (decode_exactly(bytes, length, &part) == EN_OK) {
            CHECK_MSG(same_pixels(&part, &whole), "%s cut to %zu bytes gives another picture", path, length);
            img_free(&part);
        } else {
            CHECK_MSG(e.status == EN_E_FORMAT, "%s cut to %zu bytes: %s", path, length, e.text);
        }
    CHECK(lengths > 0);
    CHECK_OK(decode_exactly(bytes, size - 2, &part), e);
    img_free(&part);
    CHECK_FAILS(decode_exactly(bytes, size - 4, &part), e, EN_E_FORMAT, "truncated");
    img_free(&whole);
}

TEST(a_truncated_file_is_an_error_unless_only_the_end_marker_is_missing) { for_each_jpeg(check_truncations); }

static void check_flips(const char *path, const uint8_t *bytes, size_t size)
{
    (void)path;
    uint8_t *copy = malloc(size);
    CHECK(copy != NULL);
    for (int round = 0; round < 60; round++) {
        memcpy(copy, bytes, size);
        for (int flips = 1 << round % 4; flips > 0; flips--) copy[t_random() % size] ^= (uint8_t)(1 << t_random() % 8);
        img picture;
        if (decode_exactly(copy, size, &picture) == EN_OK) img_free(&picture);
    }
    free(copy);
}

TEST(flipped_bits_never_crash_the_jpeg_decoder) { for_each_jpeg(check_flips); }

/* ---- files built here ---- */

typedef struct file {
    uint8_t bytes[1 << 16];
    size_t size;
    uint32_t bits; /* not yet written, `pending` of them */
    int pending;
    int predictor[4];
} file;

static void append(file *f, const uint8_t *bytes, size_t size)
{
    CHECK(f->size + size <= sizeof f->bytes);
    memcpy(f->bytes + f->size, bytes, size);
    f->size += size;
}

#define APPEND(f, ...) append(f, (const uint8_t[]){__VA_ARGS__}, sizeof((const uint8_t[]){__VA_ARGS__}))

static void put_bits(file *f, unsigned value, int n)
{
    for (int i = n - 1; i >= 0; i--) {
        f->bits = f->bits << 1 | (value >> i & 1);
        if (++f->pending < 8) continue;
        APPEND(f, (uint8_t)f->bits);
        if ((f->bits & 255) == 255) APPEND(f, 0);
        f->pending = 0;
    }
}

static void end_scan(file *f)
{
    while (f->pending) put_bits(f, 1, 1);
    memset(f->predictor, 0, sizeof f->predictor);
}

/* One DC coefficient: size 0 has code 0, sizes 1 to 11 have 10000 to 11010. */
static void put_dc(file *f, int component, int value)
{
    int difference = value - f->predictor[component], size = 0;
    while (abs(difference) >> size) size++;
    f->predictor[component] = value;
    put_bits(f, size ? 15 + (unsigned)size : 0, size ? 5 : 1);
    if (size) put_bits(f, (unsigned)(difference > 0 ? difference : difference + (1 << size) - 1), size);
}

/* SOI and the tables: all steps are 8, so that a DC coefficient of v makes a flat block of 128 + v. AC: end of block is 0,
 * an end-of-band run of 2^14 to 2^15 - 1 blocks is 10 and 14 bits. */
static void begin_file(file *f)
{
    uint8_t steps[64];
    memset(steps, 8, sizeof steps);
    *f = (file){0};
    APPEND(f, 0xFF, 0xD8, 0xFF, 0xDB, 0, 67, 0);
    append(f, steps, sizeof steps);
    APPEND(f, 0xFF, 0xC4, 0, 31, 0x00, 1, 0, 0, 0, 11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11);
    APPEND(f, 0xFF, 0xC4, 0, 21, 0x10, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x00, 0xE0);
}

static void put_jfif(file *f) { APPEND(f, 0xFF, 0xE0, 0, 16, 'J', 'F', 'I', 'F', 0, 1, 1, 0, 0, 1, 0, 1, 0, 0); }
static void put_adobe(file *f, int transform)
{
    APPEND(f, 0xFF, 0xEE, 0, 14, 'A', 'd', 'o', 'b', 'e', 0, 100, 0, 0, 0, 0, (uint8_t)transform);
}

/* sampling[i] is h << 4 | v. */
static void put_frame(file *f, int marker, int width, int height, int components, const char *ids, const uint8_t *sampling)
{
    APPEND(f, 0xFF, (uint8_t)marker, 0, (uint8_t)(8 + 3 * components), 8, (uint8_t)(height >> 8), (uint8_t)height,
           (uint8_t)(width >> 8), (uint8_t)width, (uint8_t)components);
    for (int i = 0; i < components; i++) APPEND(f, (uint8_t)ids[i], sampling[i], 0);
}

static void put_scan(file *f, int components, const char *ids, int first, int last, int high, int low)
{
    APPEND(f, 0xFF, 0xDA, 0, (uint8_t)(6 + 2 * components), (uint8_t)components);
    for (int i = 0; i < components; i++) APPEND(f, (uint8_t)ids[i], 0);
    APPEND(f, (uint8_t)first, (uint8_t)last, (uint8_t)(high << 4 | low));
}

static const uint8_t unsampled[4] = {0x11, 0x11, 0x11, 0x11};

TEST(colour_follows_the_markers_and_component_names_as_in_libjpeg)
{
    static const uint8_t sample[4] = {150, 90, 200, 128};
    static const struct {
        int components, jfif, adobe;
        const char *ids;
        uint8_t rgb[3];
    } cases[] = {
        {1, 1, -1, "\1", {150, 150, 150}},    {1, 0, 0, "R", {150, 150, 150}},      {3, 1, -1, "\1\2\3", {251, 112, 83}},
        {3, 0, -1, "\1\2\3", {251, 112, 83}}, {3, 0, -1, "\0\1\2", {251, 112, 83}}, {3, 0, -1, "RGB", {150, 90, 200}},
        {3, 1, -1, "RGB", {251, 112, 83}},    {3, 0, 0, "\1\2\3", {150, 90, 200}},  {3, 1, 0, "\1\2\3", {251, 112, 83}},
        {3, 0, 1, "RGB", {251, 112, 83}},     {3, 0, 2, "\1\2\3", {251, 112, 83}},  {4, 0, -1, "\1\2\3\4", {75, 45, 100}},
        {4, 1, 0, "\1\2\3\4", {75, 45, 100}}, {4, 0, 2, "\1\2\3\4", {2, 72, 86}},   {4, 0, 1, "CMYK", {2, 72, 86}},
    };
    static file f;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin_file(&f);
        if (cases[i].jfif) put_jfif(&f);
        if (cases[i].adobe >= 0) put_adobe(&f, cases[i].adobe);
        put_frame(&f, 0xC0, 1, 1, cases[i].components, cases[i].ids, unsampled);
        put_scan(&f, cases[i].components, cases[i].ids, 0, 63, 0, 0);
        for (int c = 0; c < cases[i].components; c++) put_dc(&f, c, sample[c] - 128), put_bits(&f, 0, 1);
        end_scan(&f);
        APPEND(&f, 0xFF, 0xD9);
        img picture;
        CHECK_OK(decode_exactly(f.bytes, f.size, &picture), e);
        CHECK_MSG(!memcmp(picture.rgb, cases[i].rgb, 3), "case %zu: %d %d %d", i, picture.rgb[0], picture.rgb[1], picture.rgb[2]);
        img_free(&picture);
    }
}

TEST(markers_after_the_first_scan_do_not_change_the_colour)
{
    static const uint8_t sample[3] = {150, 90, 200};
    static file f;
    begin_file(&f);
    put_frame(&f, 0xC0, 1, 1, 3, "\1\2\3", unsampled);
    for (int i = 0; i < 3; i++) {
        put_scan(&f, 1, &"\1\2\3"[i], 0, 63, 0, 0);
        put_dc(&f, i, sample[i] - 128), put_bits(&f, 0, 1);
        end_scan(&f);
        put_adobe(&f, 0);
    }
    img picture;
    CHECK_OK(decode_exactly(f.bytes, f.size, &picture), e);
    CHECK(picture.rgb[0] == 251 && picture.rgb[1] == 112 && picture.rgb[2] == 83);
    img_free(&picture);
}

/* Files that differ from the corpus in one byte, and the FNV-1a hash of their pixels as Pillow 13 shows them: YCCK where the
 * Adobe marker said CMYK, and 4:2:2 cut to 4 pixels, where libjpeg does not interpolate. */
TEST(ycck_and_very_narrow_pictures_decode_as_pillow_shows_them)
{
    static const struct {
        const char *name;
        int offset, was, value;
        uint32_t hash;
    } cases[] = {
        {"cmyk.jpg", 17, 0, 2, 0x89bbc402},
        {"cmyk_black_progressive.jpg", 17, 0, 2, 0xcf10246a},
        {"baseline_422_7x5.jpg", 166, 7, 4, 0x82b2b196},
    };
    for (int i = 0; i < 3; i++) {
        size_t size;
        uint8_t *bytes = corpus_file(cases[i].name, &size);
        CHECK(bytes[cases[i].offset] == cases[i].was);
        bytes[cases[i].offset] = (uint8_t)cases[i].value;
        img picture;
        CHECK_OK(img_decode_jpeg(bytes, size, 0, &picture, &e), e);
        uint32_t hash = 2166136261u;
        for (int n = 0; n < picture.width * picture.height * 3; n++) hash = (hash ^ picture.rgb[n]) * 16777619u;
        CHECK_MSG(hash == cases[i].hash, "%s: %08x", cases[i].name, hash);
        img_free(&picture);
        free(bytes);
    }
}

/* ---- sampling factors ---- */

typedef struct plane {
    int across, down, width, height; /* pixels per sample; samples */
    int blocks_wide;                 /* in rows of `block`         */
    uint8_t block[64 * 64];          /* value of each flat block   */
} plane;

static int sample_at(const plane *p, int x, int y)
{
    x = x < 0 ? 0 : x >= p->width ? p->width - 1 : x;
    y = y < 0 ? 0 : y >= p->height ? p->height - 1 : y;
    return p->block[y / 8 * p->blocks_wide + x / 8];
}

/* One pixel by libjpeg's definition: 3/4 of the near sample and 1/4 of the far one where two pixels share one. */
static int pixel_at(const plane *p, int x, int y)
{
    int near_x = x / p->across, near_y = y / p->down;
    int far_x = near_x + (x & 1 ? 1 : -1), far_y = near_y + (y & 1 ? 1 : -1);
    int near = sample_at(p, near_x, near_y);
    if (p->across == 1 && p->down == 2) return (3 * near + sample_at(p, near_x, far_y) + (y & 1 ? 2 : 1)) >> 2;
    if (p->across != 2 || p->down > 2 || p->width <= 2) return near;
    if (p->down == 1) return (3 * near + sample_at(p, far_x, near_y) + (x & 1 ? 2 : 1)) >> 2;
    int sum = 9 * near + 3 * sample_at(p, far_x, near_y) + 3 * sample_at(p, near_x, far_y) + sample_at(p, far_x, far_y);
    return (sum + (x & 1 ? 7 : 8)) >> 4;
}

/* One block of each component, or of the only one, at its place in the picture padded to whole MCUs. */
static void put_block(file *f, int component, plane *p, int x, int y)
{
    put_dc(f, component, p->block[y * p->blocks_wide + x] - 128);
    put_bits(f, 0, 1);
}

static void build_sampled(file *f, int width, int height, const uint8_t sampling[3], int interleaved, plane plane_of[3])
{
    int max_h = 1, max_v = 1;
    for (int i = 0; i < 3; i++) {
        if (sampling[i] >> 4 > max_h) max_h = sampling[i] >> 4;
        if ((sampling[i] & 15) > max_v) max_v = sampling[i] & 15;
    }
    int mcus_wide = (width + 8 * max_h - 1) / (8 * max_h), mcus_high = (height + 8 * max_v - 1) / (8 * max_v);
    begin_file(f);
    put_frame(f, 0xC1, width, height, 3, "RGB", sampling);
    for (int i = 0; i < 3; i++) {
        plane *p = &plane_of[i];
        p->across = max_h / (sampling[i] >> 4);
        p->down = max_v / (sampling[i] & 15);
        p->width = (width + p->across - 1) / p->across;
        p->height = (height + p->down - 1) / p->down;
        p->blocks_wide = mcus_wide * (sampling[i] >> 4);
        for (size_t n = 0; n < sizeof p->block; n++) p->block[n] = (uint8_t)t_random();
        if (interleaved) continue;
        put_scan(f, 1, &"RGB"[i], 0, 63, 0, 0);
        for (int y = 0; y < (p->height + 7) / 8; y++)
            for (int x = 0; x < (p->width + 7) / 8; x++) put_block(f, i, p, x, y);
        end_scan(f);
    }
    if (interleaved) put_scan(f, 3, "RGB", 0, 63, 0, 0);
    for (int mcu = 0; interleaved && mcu < mcus_wide * mcus_high; mcu++)
        for (int i = 0; i < 3; i++) {
            int h = sampling[i] >> 4, v = sampling[i] & 15;
            for (int n = 0; n < h * v; n++) put_block(f, i, &plane_of[i], mcu % mcus_wide * h + n % h, mcu / mcus_wide * v + n / h);
        }
    end_scan(f);
    APPEND(f, 0xFF, 0xD9);
}

TEST(all_whole_sampling_ratios_upsample_as_in_libjpeg_turbo)
{
    static const uint8_t samplings[][3] = {{0x11, 0x11, 0x11}, {0x21, 0x11, 0x11}, {0x12, 0x11, 0x11}, {0x22, 0x11, 0x11},
                                           {0x41, 0x11, 0x11}, {0x14, 0x12, 0x11}, {0x42, 0x11, 0x11}, {0x24, 0x11, 0x11},
                                           {0x31, 0x11, 0x11}, {0x13, 0x11, 0x11}, {0x22, 0x21, 0x12}, {0x11, 0x22, 0x21},
                                           {0x22, 0x22, 0x11}, {0x41, 0x21, 0x11}, {0x32, 0x11, 0x12}};
    static const int sizes[][2] = {{1, 1}, {3, 4}, {5, 2}, {6, 17}, {17, 6}, {33, 31}, {64, 70}, {3, 33}, {33, 3}};
    static file f;
    static plane plane_of[3];
    for (size_t s = 0; s < sizeof samplings / sizeof *samplings; s++)
        for (size_t n = 0; n < 2 * sizeof sizes / sizeof *sizes; n++) {
            int width = sizes[n / 2][0], height = sizes[n / 2][1];
            build_sampled(&f, width, height, samplings[s], n & 1, plane_of);
            img picture;
            CHECK_OK(decode_exactly(f.bytes, f.size, &picture), e);
            CHECK(picture.width == width && picture.height == height);
            for (int i = 0; i < width * height * 3; i++) {
                int x = i / 3 % width, y = i / 3 / width, want = pixel_at(&plane_of[i % 3], x, y);
                CHECK_MSG(picture.rgb[i] == want, "sampling %zu, %d x %d: component %d at %d, %d is %d, want %d", s, width, height,
                          i % 3, x, y, picture.rgb[i], want);
            }
            img_free(&picture);
        }
}

/* ---- refusals ---- */

/* The first segment with this marker; its offset is that of the FF. */
static uint8_t *segment(uint8_t *bytes, size_t size, int marker)
{
    for (size_t at = 2; at + 4 <= size && bytes[at] == 0xFF; at += 2 + (size_t)(bytes[at + 2] << 8 | bytes[at + 3]))
        if (bytes[at + 1] == marker) return bytes + at;
    t_fail(__FILE__, __LINE__, "no marker FF%02X", marker);
}

typedef struct damage {
    const char *file;
    int marker, offset, value; /* the byte at this offset from the marker gets this value */
    en_status status;
    const char *message;
} damage;

TEST(what_a_jpeg_may_not_say_is_refused_by_name)
{
    static const damage cases[] = {
        {"baseline_420_17x33.jpg", 0xC0, 1, 0xC3, EN_E_UNSUPPORTED, "lossless"},
        {"baseline_420_17x33.jpg", 0xC0, 1, 0xC5, EN_E_UNSUPPORTED, "hierarchical"},
        {"baseline_420_17x33.jpg", 0xC0, 1, 0xC9, EN_E_UNSUPPORTED, "arithmetic"},
        {"baseline_420_17x33.jpg", 0xC0, 1, 0xCA, EN_E_UNSUPPORTED, "arithmetic"},
        {"baseline_420_17x33.jpg", 0xC0, 1, 0xDE, EN_E_UNSUPPORTED, "hierarchical"},
        {"baseline_420_17x33.jpg", 0xC0, 4, 12, EN_E_UNSUPPORTED, "12 bits per sample"},
        {"baseline_420_17x33.jpg", 0xC0, 6, 0, EN_E_UNSUPPORTED, "DNL"},
        {"baseline_420_17x33.jpg", 0xC0, 8, 0, EN_E_FORMAT, "0 pixels wide"},
        {"baseline_420_17x33.jpg", 0xC0, 9, 2, EN_E_UNSUPPORTED, "2 components"},
        {"baseline_420_17x33.jpg", 0xC0, 9, 4, EN_E_FORMAT, "frame header of"},
        {"baseline_420_17x33.jpg", 0xC0, 11, 0x02, EN_E_FORMAT, "sampling factors 0 x 2"},
        {"baseline_420_17x33.jpg", 0xC0, 11, 0x25, EN_E_FORMAT, "sampling factors 2 x 5"},
        {"baseline_420_17x33.jpg", 0xC0, 14, 0x31, EN_E_UNSUPPORTED, "fractions"},
        {"baseline_420_17x33.jpg", 0xC0, 11, 0x44, EN_E_FORMAT, "18 blocks in an MCU"},
        {"baseline_420_17x33.jpg", 0xC0, 12, 4, EN_E_FORMAT, "quantisation table 4"},
        {"baseline_420_17x33.jpg", 0xC0, 12, 3, EN_E_FORMAT, "quantisation table 3, which is not defined"},
        {"baseline_420_17x33.jpg", 0xDB, 4, 4, EN_E_FORMAT, "quantisation table 4"},
        {"baseline_420_17x33.jpg", 0xDB, 4, 0x10, EN_E_FORMAT, "cut off"},
        {"baseline_420_17x33.jpg", 0xDB, 3, 1, EN_E_FORMAT, "length 1"},
        {"baseline_420_17x33.jpg", 0xDB, 2, 0xFF, EN_E_FORMAT, "truncated in segment FFDB"},
        {"baseline_420_17x33.jpg", 0xDB, 1, 0x02, EN_E_FORMAT, "unknown marker FF02"},
        {"baseline_420_17x33.jpg", 0xDB, 1, 0xD8, EN_E_FORMAT, "second picture"},
        {"baseline_420_17x33.jpg", 0xC4, 1, 0xFE, EN_E_FORMAT, "Huffman table that is not defined"},
        {"baseline_420_17x33.jpg", 0xC4, 4, 0x20, EN_E_FORMAT, "class 2"},
        {"baseline_420_17x33.jpg", 0xC4, 20, 255, EN_E_FORMAT, "cut off"},
        {"baseline_420_17x33.jpg", 0xC4, 21, 16, EN_E_FORMAT, "differences of 16 bits"},
        {"baseline_420_17x33.jpg", 0xDA, 4, 0, EN_E_FORMAT, "scan header"},
        {"baseline_420_17x33.jpg", 0xDA, 5, 77, EN_E_FORMAT, "no component 77"},
        {"baseline_420_17x33.jpg", 0xDA, 7, 1, EN_E_FORMAT, "no component 1"},
        {"baseline_420_17x33.jpg", 0xDA, 6, 0x40, EN_E_FORMAT, "Huffman tables 4, 0"},
        {"progressive_420_17x33.jpg", 0xDA, 11, 1, EN_E_FORMAT, "no progressive scan"},
        {"progressive_420_17x33.jpg", 0xDA, 12, 5, EN_E_FORMAT, "no progressive scan"},
        {"progressive_420_17x33.jpg", 0xDA, 13, 0x0E, EN_E_FORMAT, "no progressive scan"},
        {"progressive_420_17x33.jpg", 0xDA, 13, 0x31, EN_E_FORMAT, "no progressive scan"},
        {"progressive_420_17x33.jpg", 0xDA, 13, 0x21, EN_E_FORMAT, "out of order"},
        {"restart_rows.jpg", 0xDD, 5, 3, EN_E_FORMAT, "where restart marker FFD3 should be"},
        {"restart_rows.jpg", 0xDD, 3, 3, EN_E_FORMAT, "restart interval of 1 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t size;
        uint8_t *bytes = corpus_file(cases[i].file, &size);
        segment(bytes, size, cases[i].marker)[cases[i].offset] = (uint8_t)cases[i].value;
        img picture;
        en_status got = decode_exactly(bytes, size, &picture);
        CHECK_MSG(got == cases[i].status && strstr(e.text, cases[i].message), "case %zu, \"%s\": got %d, %s", i, cases[i].message,
                  got, e.text);
        free(bytes);
    }
}

/* Five codes of one bit: the counts of lengths 1 and 3 exchanged, so that the table keeps its size. */
TEST(a_huffman_table_with_more_codes_than_fit_is_refused)
{
    size_t size;
    uint8_t *bytes = corpus_file("baseline_420_17x33.jpg", &size), *table = segment(bytes, size, 0xC4);
    CHECK(table[5] == 0 && table[7] == 5);
    table[5] = 5;
    table[7] = 0;
    img picture;
    CHECK_FAILS(decode_exactly(bytes, size, &picture), e, EN_E_FORMAT, "more codes than fit");
    free(bytes);
}

TEST(a_wrong_restart_marker_is_an_error)
{
    size_t size;
    uint8_t *bytes = corpus_file("restart_rows.jpg", &size);
    uint8_t *at = segment(bytes, size, 0xDA);
    while (at[0] != 0xFF || at[1] != 0xD1) CHECK(++at < bytes + size - 1);
    at[1] = 0xD5;
    img picture;
    CHECK_FAILS(decode_exactly(bytes, size, &picture), e, EN_E_FORMAT, "marker FFD5 where restart marker FFD1 should be");
    free(bytes);
}

TEST(bytes_before_a_marker_and_after_the_end_are_passed_over)
{
    size_t size;
    uint8_t *bytes = corpus_file("baseline_420_17x33.jpg", &size), padded[4096] = {0};
    CHECK(size + 8 < sizeof padded);
    memcpy(padded, bytes, size - 2);
    memcpy(padded + size - 2, "\0\0\xFF\0\xFF\xFF\xFF\xD9zz", 10);
    img picture, want;
    CHECK_OK(decode_exactly(bytes, size, &want), e);
    CHECK_OK(decode_exactly(padded, size + 8, &picture), e);
    CHECK(same_pixels(&picture, &want));
    img_free(&picture);
    img_free(&want);
    free(bytes);
}

/* Would otherwise take 8.6 GB for coefficients. */
TEST(a_small_file_that_claims_a_huge_picture_is_refused_before_anything_is_allocated)
{
    static file f;
    for (int marker = 0xC0; marker <= 0xC2; marker++) {
        begin_file(&f);
        put_frame(&f, marker, 65500, 65500, 1, "\1", unsampled);
        put_scan(&f, 1, "\1", 0, marker == 0xC2 ? 0 : 63, 0, 0);
        for (int i = 0; i < 64; i++) put_bits(&f, 0, 2);
        img picture;
        t_fail_allocation(1, 1);
        en_status by_pixels = img_decode_jpeg(f.bytes, f.size, 0, &picture, &e);
        CHECK_FAILS(by_pixels, e, EN_E_LIMIT, "65500 x 65500 pixels, the limit is 268435456");
        CHECK_FAILS(img_decode_jpeg(f.bytes, f.size, (size_t)1 << 40, &picture, &e), e, EN_E_FORMAT,
                    "67043344 blocks, more than the");
        t_fail_allocation(0, 0);
    }
}

/* 4096 blocks take 512 bytes of a progressive file at least, 1024 of a sequential one. */
TEST(a_block_takes_two_bits_of_a_sequential_file_and_one_of_a_progressive_one)
{
    static file f;
    img picture;
    for (int progressive = 0; progressive < 2; progressive++) {
        begin_file(&f);
        put_frame(&f, progressive ? 0xC2 : 0xC0, 512, 512, 1, "\1", unsampled);
        put_scan(&f, 1, "\1", 0, progressive ? 0 : 63, 0, 0);
        for (int i = 0; i < 4096; i++) put_dc(&f, 0, 0);
        end_scan(&f);
        APPEND(&f, 0xFF, 0xD9);
        en_status got = decode_exactly(f.bytes, f.size, &picture);
        if (progressive) {
            CHECK_OK(got, e);
            img_free(&picture);
        } else {
            CHECK_FAILS(got, e, EN_E_FORMAT, "512 x 512 pixels are 4096 blocks, more than the 524 bytes");
        }
    }
}

TEST(max_pixels_is_the_largest_picture_that_is_decoded)
{
    size_t size;
    uint8_t *bytes = corpus_file("baseline_420_17x33.jpg", &size);
    img picture;
    CHECK_FAILS(img_decode_jpeg(bytes, size, 17 * 33 - 1, &picture, &e), e, EN_E_LIMIT, "the limit is 560");
    CHECK_OK(img_decode_jpeg(bytes, size, 17 * 33, &picture, &e), e);
    img_free(&picture);
    free(bytes);
}

TEST(scans_that_repeat_or_go_over_the_picture_too_often_are_refused)
{
    static file f;
    img picture;
    begin_file(&f);
    put_frame(&f, 0xC2, 8, 8, 1, "\1", unsampled);
    for (int i = 0; i < 3; i++) {
        put_scan(&f, 1, "\1", 0, 0, 0, 0);
        put_dc(&f, 0, 5);
        end_scan(&f);
    }
    CHECK_FAILS(decode_exactly(f.bytes, f.size, &picture), e, EN_E_FORMAT, "scan 2: coefficient 0 of component 0 comes again");

    begin_file(&f);
    put_frame(&f, 0xC2, 2048, 2048, 1, "\1", unsampled);
    put_scan(&f, 1, "\1", 0, 0, 0, 0);
    for (int i = 0; i < 65536; i++) put_dc(&f, 0, 0);
    end_scan(&f);
    for (int i = 0; i < 63 * 4; i++) { /* bits 3, 2, 1, 0 of each coefficient: a run of 65534 blocks, and two blocks */
        put_scan(&f, 1, "\1", 1 + i / 4, 1 + i / 4, i % 4 ? 4 - i % 4 : 0, 3 - i % 4);
        for (int n = 0; n < 2; n++) put_bits(&f, 2, 2), put_bits(&f, (1 << 14) - 1, 14);
        put_bits(&f, 0, 2);
        end_scan(&f);
    }
    CHECK_FAILS(decode_exactly(f.bytes, f.size, &picture), e, EN_E_LIMIT, "scans go through");
}

TEST(a_component_without_a_scan_is_an_error)
{
    static file f;
    img picture;
    begin_file(&f);
    put_frame(&f, 0xC2, 8, 8, 3, "\1\2\3", unsampled);
    put_scan(&f, 1, "\1", 0, 0, 0, 0);
    put_dc(&f, 0, 5);
    end_scan(&f);
    APPEND(&f, 0xFF, 0xD9);
    CHECK_FAILS(decode_exactly(f.bytes, f.size, &picture), e, EN_E_FORMAT, "before all 3 components");
}

TEST(a_jpeg_decoder_without_memory_says_so_and_leaks_nothing)
{
    static const char *const names[] = {"baseline_420_17x33.jpg", "progressive_420_17x33.jpg", "orientation_6.jpg"};
    for (int i = 0; i < 3; i++) {
        size_t size;
        uint8_t *bytes = corpus_file(names[i], &size);
        img picture;
        en_status status = EN_E_NOMEM;
        long failed = 0;
        while (status != EN_OK) {
            t_fail_allocation(failed + 1, 0);
            status = img_decode_jpeg(bytes, size, 0, &picture, &e);
            t_fail_allocation(0, 0);
            if (status == EN_OK) break;
            CHECK_FAILS(status, e, EN_E_NOMEM, "JPEG: no memory");
            CHECK(!picture.rgb);
            CHECK(++failed < 20);
        }
        CHECK_MSG(failed >= 5, "%s: only %ld allocations", names[i], failed);
        img_free(&picture);
        free(bytes);
    }
}

/* ---- EXIF ---- */

TEST(exif_orientation_is_read_in_both_byte_orders)
{
    static const uint8_t big[] = {'M', 'M', 0, 42, 0, 0, 0, 10,   9, 9, 0, 2, 1, 0, 0, 4, 0, 0,
                                  0,   1,   0, 0,  0, 7, 1, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0};
    static const uint8_t little[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 8, 0, 0, 0};
    CHECK(img_exif_orientation(big, sizeof big) == 6);
    CHECK(img_exif_orientation(little, sizeof little) == 8);
}

TEST(exif_that_is_garbage_means_orientation_one)
{
    static const uint8_t good[] = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12, 1, 3, 0, 1, 0, 0, 0, 8, 0, 0, 0};
    static const uint8_t damage_at[][2] = {{0, 'X'}, {1, 'M'}, {2, 43}, {4, 255}, {7, 255},
                                           {8, 0},   {12, 4},  {14, 2}, {18, 9},  {18, 0}};
    uint8_t bytes[sizeof good];
    for (size_t i = 0; i < sizeof damage_at / sizeof *damage_at; i++) {
        memcpy(bytes, good, sizeof good);
        bytes[damage_at[i][0]] = damage_at[i][1];
        CHECK_MSG(img_exif_orientation(bytes, sizeof bytes) == 1, "byte %d", damage_at[i][0]);
    }
    for (size_t size = 0; size < sizeof good; size++) {
        uint8_t *cut = malloc(size ? size : 1);
        CHECK(cut != NULL);
        memcpy(cut, good, size);
        CHECK_MSG(img_exif_orientation(cut, size) == 1, "%zu bytes", size);
        free(cut);
    }
    for (int round = 0; round < 20000; round++) {
        for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = t_random() & 1 ? good[i] : (uint8_t)t_random();
        int orientation = img_exif_orientation(bytes, sizeof bytes);
        CHECK(orientation >= 1 && orientation <= 8);
    }
}
