/* SPDX-License-Identifier: MIT */
/* Resampling against its formula in double precision, and against vectors worked out by hand. That the bits are Pillow's is proved
 * by the pictures of test_preprocess.c. */
#include "nets/image/resize.h"
#include "tests/test.h"

#include <math.h>
#include <string.h>

static const img_filter both[] = {IMG_BILINEAR, IMG_BICUBIC};

static img picture(int width, int height)
{
    img p = {0};
    en_error e;
    CHECK_OK(img_new((size_t)width, (size_t)height, 0, &p, &e), e);
    for (size_t i = 0; i < 3 * (size_t)width * (size_t)height; i++) p.rgb[i] = (uint8_t)t_random();
    return p;
}

static img resized(const img *in, int width, int height, img_filter filter)
{
    img out = {0};
    en_error e;
    CHECK_OK(img_resize(in, width, height, filter, &out, &e), e);
    CHECK(out.width == width && out.height == height);
    return out;
}

static int same(const img *a, const img *b)
{
    return a->width == b->width && a->height == b->height && !memcmp(a->rgb, b->rgb, 3 * (size_t)a->width * (size_t)a->height);
}

static double kernel(img_filter filter, double x)
{
    x = fabs(x);
    if (filter == IMG_BILINEAR) return x < 1 ? 1 - x : 0;
    return x < 1 ? 1.5 * x * x * x - 2.5 * x * x + 1 : x < 2 ? -0.5 * x * x * x + 2.5 * x * x - 4 * x + 2 : 0;
}

/* Output i of a row of n samples that is resized to `count`. All samples are weighed, those out of reach by nothing. */
static double exact(const uint8_t *row, int n, int count, int i, img_filter filter)
{
    double scale = (double)n / count, f = fmax(scale, 1), centre = (i + 0.5) * scale, sum = 0, weights = 0;
    for (int j = 0; j < n; j++) {
        double w = kernel(filter, (j + 0.5 - centre) / f);
        sum += w * row[3 * j];
        weights += w;
    }
    return fmin(fmax(sum / weights, 0), 255);
}

TEST(a_row_follows_the_formula_within_rounding_even_where_black_and_white_alternate)
{
    for (int f = 0; f < 2; f++)
        for (int n = 1; n <= 40; n++)
            for (int count = 1; count <= 50; count++) {
                img in = picture(n, 1);
                for (int j = 0; n % 2 && j < 3 * n; j++) in.rgb[j] = j / 3 % 2 ? 255 : 0;
                img out = resized(&in, count, 1, both[f]);
                for (int i = 0; i < count; i++) {
                    double want = exact(in.rgb, n, count, i, both[f]);
                    CHECK_MSG(fabs(out.rgb[3 * i] - want) < 0.51, "%d to %d, filter %d, output %d: got %d, want %g", n, count, f, i,
                              out.rgb[3 * i], want);
                }
                img_free(&in);
                img_free(&out);
            }
}

TEST(enlarging_two_pixels_bilinearly_gives_quarter_steps)
{
    uint8_t pixels[] = {0, 200, 7, 255, 100, 7};
    const uint8_t want[] = {0, 200, 7, 64, 175, 7, 191, 125, 7, 255, 100, 7};
    img in = {2, 1, pixels}, out = resized(&in, 4, 1, IMG_BILINEAR);
    CHECK(!memcmp(out.rgb, want, sizeof want));
    img_free(&out);
}

TEST(a_column_is_resized_like_a_row)
{
    for (int f = 0; f < 2; f++)
        for (int count = 1; count < 30; count++) {
            img row = picture(13, 1), column = {1, 13, row.rgb};
            img across = resized(&row, count, 1, both[f]), down = resized(&column, 1, count, both[f]);
            CHECK(!memcmp(across.rgb, down.rgb, 3 * (size_t)count));
            img_free(&row);
            img_free(&across);
            img_free(&down);
        }
}

TEST(the_passes_are_one_after_the_other_across_first)
{
    for (int f = 0; f < 2; f++) {
        img in = picture(31, 57), both_ways = resized(&in, 40, 20, both[f]);
        img across = resized(&in, 40, 57, both[f]), then_down = resized(&across, 40, 20, both[f]);
        CHECK(same(&both_ways, &then_down));
        img_free(&in);
        img_free(&both_ways);
        img_free(&across);
        img_free(&then_down);
    }
}

TEST(the_same_size_is_a_copy)
{
    img in = picture(23, 17), out = resized(&in, 23, 17, IMG_BICUBIC);
    CHECK(same(&in, &out) && in.rgb != out.rgb);
    img_free(&in);
    img_free(&out);
}

TEST(one_colour_stays_that_colour)
{
    const int sizes[] = {1, 2, 5, 33, 224, 700};
    for (int i = 0; i < 36; i++)
        for (int f = 0; f < 2; f++) {
            img in = picture(sizes[i % 6], 9);
            memset(in.rgb, i % 3 == 0 ? 255 : i, 3 * (size_t)in.width * 9);
            img out = resized(&in, sizes[i / 6], 21, both[f]);
            for (int k = 0; k < 3 * out.width * 21; k++) CHECK(out.rgb[k] == in.rgb[0]);
            img_free(&in);
            img_free(&out);
        }
}

TEST(a_window_has_the_pixels_of_the_whole)
{
    for (int round = 0; round < 200; round++) {
        img in = picture(1 + (int)(t_random() % 60), 1 + (int)(t_random() % 60));
        int width = round % 5 ? 1 + (int)(t_random() % 90) : in.width, height = round % 7 ? 1 + (int)(t_random() % 90) : in.height;
        img_window w = {(int)(t_random() % (unsigned)width), (int)(t_random() % (unsigned)height), 0, 0};
        w.width = 1 + (int)(t_random() % (unsigned)(width - w.left));
        w.height = 1 + (int)(t_random() % (unsigned)(height - w.top));
        img whole = resized(&in, width, height, both[round % 2]), part = {0};
        en_error e;
        CHECK_OK(img_resize_window(&in, width, height, both[round % 2], w, &part, &e), e);
        CHECK(part.width == w.width && part.height == w.height);
        for (int y = 0; y < w.height; y++)
            CHECK(!memcmp(part.rgb + 3 * y * w.width, whole.rgb + 3 * ((w.top + y) * width + w.left), 3 * (size_t)w.width));
        img_free(&in);
        img_free(&whole);
        img_free(&part);
    }
}

TEST(sizes_that_make_no_sense_are_refused)
{
    img in = picture(4, 4), out = {0}, empty = {0};
    en_error e;
    CHECK_FAILS(img_resize(&in, 0, 4, IMG_BILINEAR, &out, &e), e, EN_E_ARG, "0 x 4");
    CHECK_FAILS(img_resize(&in, 4, -1, IMG_BILINEAR, &out, &e), e, EN_E_ARG, "4 x -1");
    CHECK_FAILS(img_resize(&empty, 4, 4, IMG_BILINEAR, &out, &e), e, EN_E_ARG, "empty");
    CHECK_FAILS(img_resize_window(&in, 8, 8, IMG_BILINEAR, (img_window){5, 0, 4, 4}, &out, &e), e, EN_E_ARG, "not inside 8 x 8");
    CHECK_FAILS(img_resize_window(&in, 8, 8, IMG_BILINEAR, (img_window){0, 0, 4, 9}, &out, &e), e, EN_E_ARG, "not inside 8 x 8");
    CHECK_FAILS(img_resize_window(&in, 8, 8, IMG_BILINEAR, (img_window){-1, 0, 4, 4}, &out, &e), e, EN_E_ARG, "not inside 8 x 8");
    CHECK(!out.rgb);
    img_free(&in);
}

TEST(a_few_bytes_cannot_become_gigabytes)
{
    img line = picture(65535, 1), column = picture(1, 65535), out = {0};
    en_error e;
    CHECK_FAILS(img_resize(&line, 256 * 65535, 256, IMG_BILINEAR, &out, &e), e, EN_E_LIMIT, "16776960 x 256");
    CHECK_FAILS(img_resize(&column, 65535, 1, IMG_BILINEAR, &out, &e), e, EN_E_LIMIT, "resizing 1 x 65535 pixels to 65535 x 1");
    CHECK_FAILS(img_resize(&column, 65535, 65535, IMG_BILINEAR, &out, &e), e, EN_E_LIMIT, "65535 x 65535");
    CHECK(!out.rgb);
    img_window middle = {128 * 65535 - 112, 16, 224, 224};
    CHECK_OK(img_resize_window(&line, 256 * 65535, 256, IMG_BILINEAR, middle, &out, &e), e);
    img_free(&out);
    img_free(&line);
    img_free(&column);
}

TEST(resizing_survives_every_failing_allocation)
{
    img in = picture(20, 30), out = {0};
    en_error e;
    for (long n = 1;; n++) {
        t_fail_allocation(n, 0);
        en_status status = img_resize(&in, 33, 11, IMG_BICUBIC, &out, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) {
            CHECK(n > 10); /* two axes of four blocks each, the rows between the passes, and the result */
            break;
        }
        CHECK_FAILS(status, e, EN_E_NOMEM, "20 x 30");
        CHECK(!out.rgb);
    }
    img_free(&in);
    img_free(&out);
}
