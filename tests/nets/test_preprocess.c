/* SPDX-License-Identifier: MIT */
/* Preprocessing against torchvision's own output (tests/data/preprocess) and against its rules where they are easily got wrong. */
#include "nets/preprocess.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static img load(const char *path)
{
    size_t size;
    img picture = {0};
    en_error e;
    uint8_t *bytes = t_read_file(path, &size);
    CHECK_OK(img_decode(bytes, size, 0, &picture, &e), e);
    free(bytes);
    return picture;
}

static img picture(int width, int height)
{
    img p = {0};
    en_error e;
    CHECK_OK(img_new((size_t)width, (size_t)height, 0, &p, &e), e);
    for (size_t i = 0; i < 3 * (size_t)width * (size_t)height; i++) p.rgb[i] = (uint8_t)(1 + t_random() % 255);
    return p;
}

static net_input prepared(const img *photo, const net_recipe *recipe)
{
    net_input input = {0};
    en_error e;
    CHECK_OK(net_prepare(photo, recipe, &input, &e), e);
    CHECK(input.width == recipe->crop_width && input.height == recipe->crop_height);
    CHECK(input.seen.width == input.width && input.seen.height == input.height);
    return input;
}

static net_recipe crop_only(int shorter, int crop_width, int crop_height)
{
    net_recipe r = net_recipe_paper();
    r.shorter = shorter;
    r.crop_width = crop_width;
    r.crop_height = crop_height;
    return r;
}

static void check_golden(const char *name, img_filter filter, int shorter)
{
    char path[128];
    snprintf(path, sizeof path, "tests/data/preprocess/%s.jpg", name);
    img photo = load(path);
    snprintf(path, sizeof path, "tests/data/preprocess/%s.%s%d.png", name, filter == IMG_BICUBIC ? "bicubic" : "bilinear", shorter);
    img want = load(path);
    net_recipe recipe = crop_only(shorter, 224, 224);
    recipe.filter = filter;
    net_input got = prepared(&photo, &recipe);
    CHECK(want.width == 224 && want.height == 224);
    CHECK_MSG(!memcmp(got.seen.rgb, want.rgb, 3 * 224 * 224), "%s differs", path);
    net_input_free(&got);
    img_free(&want);
    img_free(&photo);
}

TEST(crops_are_torchvisions_bit_for_bit)
{
    static const char *const names[] = {"huge", "square", "tall", "tiny", "wide"};
    for (int i = 0; i < 5; i++) {
        check_golden(names[i], IMG_BILINEAR, 256);
        check_golden(names[i], IMG_BICUBIC, 248);
        check_golden(names[i], IMG_BICUBIC, 256);
    }
}

TEST(the_tensor_has_torchvisions_floats_channel_by_channel)
{
    static const float want[3][3] = {
        {-0x1.0f177ap+1f, -0x1.9f28acp-2f, 0x1.1fdc3ap+1f},
        {-0x1.049248p+1f, -0x1.23dab4p-2f, 0x1.36db6ep+1f},
        {-0x1.cdf012p+0f, -0x1.f8033ap-5f, 0x1.51eb86p+1f}}; /* for 0, 100, 255; from numpy's float32 */
    uint8_t rgb[] = {0, 100, 255, 100, 255, 0, 255, 0, 100};
    static const int level[3][3] = {{0, 1, 2}, {1, 2, 0}, {2, 0, 1}}; /* [channel][pixel] */
    img photo = {3, 1, rgb};
    net_recipe recipe = crop_only(1, 3, 1);
    net_input input = prepared(&photo, &recipe);
    for (int c = 0; c < 3; c++)
        for (int x = 0; x < 3; x++) CHECK(input.chw[3 * c + x] == want[c][level[c][x]]);
    net_input_free(&input);
}

/* A picture of this size, cropped to c x c without resizing: where does the crop start? */
static void check_start(int size, int crop, int want)
{
    img photo = picture(size, size);
    net_recipe recipe = crop_only(size, crop, crop);
    net_input input = prepared(&photo, &recipe);
    CHECK_MSG(input.box[0] == want && input.box[1] == want, "%d in %d starts at %g", crop, size, input.box[0]);
    CHECK(input.box[2] == want + crop && input.box[3] == want + crop);
    for (int y = 0; y < crop; y++)
        for (int x = 0; x < crop; x++) {
            int inside = x + want >= 0 && x + want < size && y + want >= 0 && y + want < size;
            uint8_t pixel = inside ? photo.rgb[3 * ((y + want) * size + x + want)] : 0;
            CHECK(input.seen.rgb[3 * (y * crop + x)] == pixel);
        }
    net_input_free(&input);
    img_free(&photo);
}

TEST(crops_start_at_halves_rounded_to_even_and_small_pictures_get_a_black_border)
{
    static const int cases[][3] = {{10, 10, 0}, {11, 10, 0}, {12, 10, 1}, {13, 10, 2}, {15, 10, 2}, {17, 10, 4},
                                   {9, 10, 0},  {8, 10, -1}, {7, 10, -1}, {1, 10, -4}, {5, 12, -3}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) check_start(cases[i][0], cases[i][1], cases[i][2]);
}

TEST(the_longer_side_is_truncated_and_the_box_is_in_pixels_of_the_photograph)
{
    net_recipe paper = net_recipe_paper();
    img photo = picture(299, 200), upright = picture(200, 299);
    net_input input = prepared(&photo, &paper), turned = prepared(&upright, &paper); /* 382.72 x 256, from (79, 16) */
    const double want[4] = {79 * 299 / 382.0, 16 * 200 / 256.0, 303 * 299 / 382.0, 240 * 200 / 256.0};
    for (int i = 0; i < 4; i++) {
        CHECK(fabs(input.box[i] - want[i]) < 1e-9);
        CHECK(fabs(turned.box[i] - want[i ^ 1]) < 1e-9);
    }
    net_input_free(&input);
    net_input_free(&turned);
    img_free(&photo);
    img_free(&upright);
}

TEST(a_crop_that_is_not_square_has_its_width_first)
{
    img photo = picture(9, 7);
    net_recipe recipe = crop_only(7, 5, 3);
    net_input input = prepared(&photo, &recipe);
    CHECK(input.box[0] == 2 && input.box[1] == 2 && input.box[2] == 7 && input.box[3] == 5);
    CHECK(!memcmp(input.seen.rgb, photo.rgb + 3 * (2 * 9 + 2), 15));
    net_input_free(&input);
    img_free(&photo);
}

TEST(a_size_with_a_filter_takes_the_whole_picture)
{
    net_recipe recipe, native = net_recipe_paper();
    img photo = picture(31, 57), whole = {0};
    en_error e;
    native.mean[1] = 0.5f;
    CHECK_OK(net_recipe_parse("40x20:bicubic", &native, &recipe, &e), e);
    CHECK(recipe.mean[1] == 0.5f);
    CHECK_OK(img_resize(&photo, 40, 20, IMG_BICUBIC, &whole, &e), e);
    net_input input = prepared(&photo, &recipe);
    CHECK(input.width == 40 && input.height == 20 && !memcmp(input.seen.rgb, whole.rgb, 3 * 40 * 20));
    CHECK(input.box[0] == 0 && input.box[1] == 0 && input.box[2] == 31 && input.box[3] == 57);
    net_input_free(&input);
    img_free(&photo);
    img_free(&whole);
}

TEST(none_wants_the_very_size)
{
    net_recipe recipe, native = net_recipe_paper();
    img photo = picture(8, 6), other = picture(6, 8);
    net_input input = {0}, refused;
    en_error e;
    CHECK_OK(net_recipe_parse("8x6:none", &native, &recipe, &e), e);
    CHECK_OK(net_prepare(&photo, &recipe, &input, &e), e);
    CHECK(!memcmp(input.seen.rgb, photo.rgb, 3 * 8 * 6));
    CHECK_FAILS(net_prepare(&other, &recipe, &refused, &e), e, EN_E_ARG, "has 6 x 8 pixels, wanted 8 x 6");
    CHECK(!refused.chw && !refused.seen.rgb);
    net_input_free(&input);
    img_free(&photo);
    img_free(&other);
}

TEST(recipes_are_read_by_name)
{
    net_recipe recipe, native = crop_only(248, 224, 224);
    en_error e;
    native.filter = IMG_BICUBIC;
    CHECK_OK(net_recipe_parse("native", &native, &recipe, &e), e);
    CHECK(recipe.shorter == 248 && recipe.filter == IMG_BICUBIC && recipe.sizing == NET_SHORTER);
    CHECK_OK(net_recipe_parse("paper", &native, &recipe, &e), e);
    CHECK(recipe.shorter == 256 && recipe.filter == IMG_BILINEAR && recipe.crop_width == 224 && recipe.crop_height == 224);
    CHECK_OK(net_recipe_parse("32x16:bilinear", &native, &recipe, &e), e);
    CHECK(recipe.sizing == NET_WHOLE && recipe.crop_width == 32 && recipe.crop_height == 16 && recipe.filter == IMG_BILINEAR);
    CHECK_OK(net_recipe_parse("232/224x200:bicubic", &native, &recipe, &e), e);
    CHECK(recipe.sizing == NET_SHORTER && recipe.shorter == 232 && recipe.crop_width == 224 && recipe.crop_height == 200 && recipe.filter == IMG_BICUBIC);
}

TEST(mean_and_deviation_are_read_for_all_channels_or_for_each)
{
    net_recipe recipe, native = net_recipe_paper();
    en_error e;
    CHECK_OK(net_recipe_parse("native@0.5/0.25", &native, &recipe, &e), e);
    for (int i = 0; i < 3; i++) CHECK(recipe.mean[i] == 0.5f && recipe.std[i] == 0.25f && recipe.shorter == 256);
    CHECK_OK(net_recipe_parse("224x224:bicubic@0,-0.5,1e-1/1", &native, &recipe, &e), e);
    CHECK(recipe.mean[0] == 0 && recipe.mean[1] == -0.5f && recipe.mean[2] == 0.1f && recipe.std[2] == 1 && recipe.filter == IMG_BICUBIC);
    CHECK_OK(net_recipe_parse("paper@0/1,2,3", &native, &recipe, &e), e);
    CHECK(recipe.mean[2] == 0 && recipe.std[0] == 1 && recipe.std[1] == 2 && recipe.std[2] == 3);
    static const char *const bad[] = {"native@", "native@0.5", "native@/1", "native@0,1/1", "native@0/0", "native@0/-1", "native@0/1,2", "native@nan/1",
                                      "native@0/1,2,3,4", "native@0/inf", "native@ 0/1", "native@0/1 ", "paper@0,0,0,0/1", "native@0/1@0/1"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        CHECK_FAILS(net_recipe_parse(bad[i], &native, &recipe, &e), e, EN_E_ARG, "wanted @MEAN/STD");
}

TEST(a_stored_recipe_is_the_one_that_was_meant)
{
    net_recipe r = net_recipe_stored(&(wt_preprocess){"shorter", 248, "bicubic", 224, 200, {1, 2, 3}, {4, 5, 6}});
    CHECK(r.sizing == NET_SHORTER && r.shorter == 248 && r.filter == IMG_BICUBIC && r.crop_width == 224 && r.crop_height == 200);
    CHECK(r.mean[0] == 1 && r.mean[2] == 3 && r.std[0] == 4 && r.std[2] == 6);
    r = net_recipe_stored(&(wt_preprocess){"whole", 0, "bilinear", 10, 20, {0}, {1, 1, 1}});
    CHECK(r.sizing == NET_WHOLE && r.filter == IMG_BILINEAR && r.crop_width == 10 && r.crop_height == 20);
    r = net_recipe_stored(&(wt_preprocess){"as-is", 0, "none", 10, 20, {0}, {1, 1, 1}});
    CHECK(r.sizing == NET_AS_IS);
}

TEST(recipes_that_make_no_sense_are_refused)
{
    static const char *const unknown[] = {"",
                                          "Paper2",
                                          "224",
                                          "224x",
                                          "x224:none",
                                          "224x224",
                                          "224x224:",
                                          "224x224:b",
                                          "224x224:nones",
                                          "224 x 224:none",
                                          "-1x5:bicubic",
                                          "1x-5:none",
                                          "12345678x5:none",
                                          "232/224:bicubic",
                                          "232/224x224:none",
                                          "0/224x224:bicubic",
                                          "/224x224:bicubic",
                                          "native2@0/1"};
    static const char *const sizes[] = {"0x5:none", "5x0:bilinear", "4097x1:bicubic", "1x99999:none"};
    net_recipe recipe, native = net_recipe_paper();
    en_error e;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++)
        CHECK_FAILS(net_recipe_parse(unknown[i], &native, &recipe, &e), e, EN_E_ARG, "wanted native, paper, or [SHORTER/]WIDTHxHEIGHT");
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK_FAILS(net_recipe_parse(sizes[i], &native, &recipe, &e), e, EN_E_ARG, "between 1 and 4096");
}

TEST(a_picture_of_extreme_shape_is_cropped_without_making_all_of_it)
{
    img line = picture(65535, 1), column = picture(1, 65535);
    net_recipe paper = net_recipe_paper();
    net_input input = prepared(&line, &paper), turned = prepared(&column, &paper);
    CHECK(input.box[0] > 32766 && input.box[2] < 32769);
    CHECK(turned.box[1] > 32766 && turned.box[3] < 32769);
    net_input_free(&input);
    net_input_free(&turned);
    img_free(&line);
    img_free(&column);
}

TEST(an_empty_picture_and_an_impossible_crop_are_refused)
{
    net_recipe recipe = net_recipe_paper();
    img empty = {0}, photo = picture(3, 3);
    net_input input;
    en_error e;
    CHECK_FAILS(net_prepare(&empty, &recipe, &input, &e), e, EN_E_ARG, "empty");
    recipe.crop_width = 0;
    CHECK_FAILS(net_prepare(&photo, &recipe, &input, &e), e, EN_E_ARG, "0 x 224");
    recipe = net_recipe_paper();
    recipe.shorter = 0;
    CHECK_FAILS(net_prepare(&photo, &recipe, &input, &e), e, EN_E_ARG, "shorter side to 0");
    img_free(&photo);
}

TEST(preprocessing_survives_every_failing_allocation)
{
    img photo = picture(20, 30);
    net_input input;
    en_error e;
    for (int padded = 0; padded < 2; padded++)
        for (long n = 1;; n++) {
            net_recipe recipe = crop_only(25, padded ? 40 : 10, 10);
            t_fail_allocation(n, 0);
            en_status status = net_prepare(&photo, &recipe, &input, &e);
            t_fail_allocation(0, 0);
            if (status == EN_OK) {
                CHECK(n > 11 + padded); /* ten to resize, one for the border, the tensor */
                net_input_free(&input);
                break;
            }
            CHECK(status == EN_E_NOMEM && strstr(e.text, "memory"));
            CHECK(!input.chw && !input.seen.rgb);
        }
    img_free(&photo);
}
