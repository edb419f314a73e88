/* SPDX-License-Identifier: MIT */
/* The way from a raw map to a final one. */
#include "cam/final.h"
#include "tests/test.h"

#include <math.h>

static void finish(const double *raw, int h, int w, float *map, int height, int width)
{
    en_error e;
    CHECK_OK(cam_finish_map(raw, h, w, map, height, width, &e), e);
}

static void check_near(const float *got, const double *want, int n, double tolerance)
{
    for (int i = 0; i < n; i++)
        CHECK_MSG(fabs((double)got[i] - want[i]) <= tolerance, "%d: %.9g, want %.9g", i, (double)got[i], want[i]);
}

TEST(maps_are_enlarged_between_half_pixel_centres)
{
    float row[6], square[16];
    finish((double[]){0, 1, 4}, 1, 3, row, 1, 6);
    check_near(row, (double[]){0, .25 / 4, .75 / 4, 1.75 / 4, 3.25 / 4, 1}, 6, 2e-7);
    finish((double[]){0, 1, 4}, 3, 1, row, 6, 1);
    check_near(row, (double[]){0, .25 / 4, .75 / 4, 1.75 / 4, 3.25 / 4, 1}, 6, 2e-7);
    finish((double[]){0, 1, 2, 3}, 2, 2, square, 4, 4);
    check_near(square, (double[]){0, .25 / 3, .75 / 3, 1. / 3, .5 / 3, .75 / 3, 1.25 / 3, 1.5 / 3}, 8, 2e-7);
}

TEST(a_map_of_the_final_size_is_clipped_and_scaled_twice)
{
    float map[4];
    finish((double[]){1.29375, .61875, .5625, 1.8}, 2, 2, map, 2, 2);
    check_near(map, (double[]){.59090912, .04545452, 0, .9999999}, 4, 2e-7);
    finish((double[]){-3, 1, 3, -.5}, 2, 2, map, 2, 2);
    check_near(map, (double[]){0, 1. / 3, 1, 0}, 4, 2e-7);
}

/* The largest value of a peak amid 7 x 7 lies 1/64 of a cell off every sample, and is stretched back to 1. */
TEST(a_peak_inside_is_stretched_to_the_full_scale)
{
    double raw[49] = {0};
    float map[224 * 224], most = 0;
    raw[24] = 1;
    finish(raw, 7, 7, map, 224, 224);
    for (int i = 0; i < 224 * 224; i++) most = map[i] > most ? map[i] : most;
    CHECK(most > 0.9999997f && most <= 1);
    CHECK(map[112 * 224 + 112] == most && map[0] == 0);
}

/* Larger, of the same size, and smaller; against the three steps one after the other. */
TEST(a_final_map_is_normalised_enlarged_and_normalised)
{
    static const int sizes[][4] = {{7, 7, 224, 224}, {3, 5, 11, 9}, {1, 4, 6, 6}, {6, 2, 6, 8}, {9, 7, 4, 5}};
    static double raw[63], full[224 * 224];
    static float map[224 * 224];
    for (int i = 0; i < 5; i++) {
        const int *s = sizes[i], pixels = s[2] * s[3];
        en_error e;
        for (int k = 0; k < s[0] * s[1]; k++) raw[k] = t_uniform(1, 2);
        finish(raw, s[0], s[1], map, s[2], s[3]);
        cam_normalise(raw, (size_t)(s[0] * s[1]));
        CHECK_OK(cam_resize(raw, s[0], s[1], full, s[2], s[3], &e), e);
        cam_normalise(full, (size_t)pixels);
        check_near(map, full, pixels, 6e-8);
        for (int k = 0; k < pixels; k++) CHECK(map[k] >= 0);
    }
}

TEST(maps_that_say_nothing_become_zeros)
{
    static const double rows[][4] = {{-1, -2, 0, -3}, {0, 0, 0, 0}, {2, 2, 2, 2}};
    float map[64];
    for (int i = 0; i < 3; i++) {
        finish(rows[i], 2, 2, map, 8, 8);
        for (int k = 0; k < 64; k++) CHECK_MSG(map[k] == 0, "map %d: %g", i, (double)map[k]);
    }
    finish((double[]){5}, 1, 1, map, 8, 8);
    for (int k = 0; k < 64; k++) CHECK(map[k] == 0);
}

TEST(one_number_that_is_not_finite_spoils_the_whole_map)
{
    static const double bad[] = {NAN, INFINITY};
    for (int i = 0; i < 2; i++) {
        float map[64];
        finish((double[]){1, bad[i], 3, 4}, 2, 2, map, 8, 8);
        for (int k = 0; k < 64; k++) CHECK_MSG(isnan(map[k]), "%g at %d of a map with %g", (double)map[k], k, bad[i]);
    }
}

TEST(a_map_is_judged_by_what_it_says)
{
    double p, n;
    CHECK(cam_judge_map((double[]){1, -2, 3}, 3, &p, &n) == CAM_MAP_OK && p == 4 && n == 2);
    CHECK(cam_judge_map((double[]){0, -2, -3}, 3, &p, &n) == CAM_MAP_BLANK && p == 0 && n == 5);
    CHECK(cam_judge_map((double[]){0, 0}, 2, &p, &n) == CAM_MAP_BLANK);
    CHECK(cam_judge_map((double[]){7, 7}, 2, &p, &n) == CAM_MAP_CONSTANT && p == 14 && n == 0);
    CHECK(cam_judge_map((double[]){7}, 1, &p, &n) == CAM_MAP_CONSTANT);
    CHECK(cam_judge_map((double[]){1, NAN, 2}, 3, &p, &n) == CAM_MAP_NONFINITE);
    CHECK(cam_judge_map((double[]){-1, -INFINITY}, 2, &p, &n) == CAM_MAP_NONFINITE);
}
