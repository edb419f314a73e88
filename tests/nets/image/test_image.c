/* SPDX-License-Identifier: MIT */
/* What all formats share: recognising them, caps on size, orientation. */
#include "nets/image/image.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

TEST(formats_we_do_not_read_are_named)
{
    static const struct {
        const char *bytes;
        size_t size;
        en_status status;
        const char *message;
    } cases[] = {
        {"RIFF\x10\0\0\0WEBPVP8 ", 16, EN_E_UNSUPPORTED, "WebP pictures are not supported; convert it to JPEG, PNG, BMP or PNM"},
        {"GIF89a", 6, EN_E_UNSUPPORTED, "GIF"},
        {"GIF87a", 6, EN_E_UNSUPPORTED, "GIF"},
        {"II*\0", 4, EN_E_UNSUPPORTED, "TIFF"},
        {"MM\0*", 4, EN_E_UNSUPPORTED, "TIFF"},
        {"\0\0\0\x18"
         "ftypheic",
         12, EN_E_UNSUPPORTED, "HEIC"},
        {"\0\0\0\x18"
         "ftypavif",
         12, EN_E_UNSUPPORTED, "AVIF"},
        {"P7\nWIDTH", 8, EN_E_UNSUPPORTED, "PAM"},
        {"", 0, EN_E_FORMAT, "empty"},
        {"RIFF\x10\0\0\0WEB", 11, EN_E_FORMAT, "not a picture of a known format (JPEG, PNG, BMP, PNM)"},
        {"hello, world", 12, EN_E_FORMAT, "not a picture of a known format"},
        {"\x89PNG\r\n\x1A\n", 8, EN_E_FORMAT, "PNG: "},
        {"BM", 2, EN_E_FORMAT, "BMP: "},
        {"P5", 2, EN_E_FORMAT, "PNM: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        uint8_t *exact = malloc(cases[i].size + 1);
        CHECK(exact != NULL);
        memcpy(exact, cases[i].bytes, cases[i].size);
        img out = {7, 7, exact};
        en_error e;
        CHECK_FAILS(img_decode(exact, cases[i].size, 0, &out, &e), e, cases[i].status, cases[i].message);
        CHECK(!out.rgb && out.width == 0 && out.height == 0);
        free(exact);
    }
}

TEST(pictures_are_capped_in_sides_and_pixels)
{
    img p;
    en_error e;
    CHECK_FAILS(img_new(IMG_MAX_SIDE + 1, 1, 0, &p, &e), e, EN_E_LIMIT, "65536x1, the limit is 65535 a side");
    CHECK_FAILS(img_new(1, SIZE_MAX, 0, &p, &e), e, EN_E_LIMIT, "the limit is 65535 a side");
    CHECK_FAILS(img_new(16384, 16385, 0, &p, &e), e, EN_E_LIMIT, "the limit is 268435456 pixels");
    CHECK_FAILS(img_new(10, 11, 109, &p, &e), e, EN_E_LIMIT, "the limit is 109 pixels");
    CHECK(!p.rgb);
    CHECK_OK(img_new(10, 11, 110, &p, &e), e);
    CHECK(p.width == 10 && p.height == 11);
    img_free(&p);
    CHECK(!p.rgb && p.width == 0 && p.height == 0);
    img_free(&p);
}

/* A picture of 3x2 whose pixels are the letters given, row by row. */
static img letters(const char *text)
{
    img p;
    en_error e;
    CHECK_OK(img_new(3, 2, 0, &p, &e), e);
    for (int i = 0; i < 6; i++)
        for (int c = 0; c < 3; c++) p.rgb[3 * i + c] = (uint8_t)(text[i] + 32 * c);
    return p;
}

TEST(the_eight_orientations_turn_and_flip_as_exif_says)
{
    /* The stored picture is ABC over DEF; orientation 6 is shown a quarter clockwise, 8 a quarter counter-clockwise. */
    static const struct {
        int orientation, width;
        const char *want;
    } cases[] = {{0, 3, "ABCDEF"}, {1, 3, "ABCDEF"}, {2, 3, "CBAFED"}, {3, 3, "FEDCBA"}, {4, 3, "DEFABC"}, {5, 2, "ADBECF"},
                 {6, 2, "DAEBFC"}, {7, 2, "FCEBDA"}, {8, 2, "CFBEAD"}, {9, 3, "ABCDEF"}, {-1, 3, "ABCDEF"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        img p = letters("ABCDEF"), want = letters(cases[i].want);
        en_error e;
        CHECK_OK(img_orient(&p, cases[i].orientation, &e), e);
        CHECK(p.width == cases[i].width && p.height == 6 / cases[i].width);
        CHECK_MSG(!memcmp(p.rgb, want.rgb, 18), "orientation %d", cases[i].orientation);
        img_free(&p);
        img_free(&want);
    }
}

TEST(a_picture_that_cannot_be_turned_for_want_of_memory_stays_as_it_was)
{
    img p = letters("ABCDEF"), want = letters("ABCDEF");
    en_error e;
    t_fail_allocation(1, 0);
    CHECK_FAILS(img_orient(&p, 6, &e), e, EN_E_NOMEM, "no memory for a picture of 2x3");
    t_fail_allocation(0, 0);
    CHECK(p.width == 3 && p.height == 2 && !memcmp(p.rgb, want.rgb, 18));
    img_free(&p);
    img_free(&want);
}
