/* SPDX-License-Identifier: MIT */
/* The overlay picture: what is coloured and what is not, where, and that texts stay where they belong. */
#include "cam/render.h"
#include "cam/font.h"
#include "tests/test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static img photograph(int width, int height)
{
    img p = {0};
    en_error e;
    CHECK_OK(img_new((size_t)width, (size_t)height, 0, &p, &e), e);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++)
            for (int c = 0; c < 3; c++)
                p.rgb[3 * (y * width + x) + c] = (uint8_t)(40 + (x * (c + 1) + y * 3 + (x / 8 + y / 8) % 2 * 60) % 180);
    return p;
}

static const float ramp[6] = {0, 0.2f, 0.4f, 0.6f, 0.8f, 1};

/* A picture whose crop is the centred square of the photograph. */
static cam_picture explained(const img *photo)
{
    int side = photo->width < photo->height ? photo->width : photo->height;
    double x = (photo->width - side) / 2.0, y = (photo->height - side) / 2.0;
    return (cam_picture){.photo = photo,
                         .crop = {x, y, x + side, y + side},
                         .map = ramp,
                         .map_h = 2,
                         .map_w = 3,
                         .title = "orange 0.612",
                         .subtitle = "shapleycam, pre_pool, rest, resnet50"};
}

static img drawn(const cam_picture *p, cam_layout *l)
{
    img out = {0};
    en_error e;
    CHECK_OK(cam_render_layout(p, l, &e), e);
    CHECK_OK(cam_render_overlay(p, &out, &e), e);
    CHECK(out.width == l->width && out.height == l->height);
    return out;
}

static img shown_photograph(const cam_picture *p, const cam_layout *l)
{
    img out = {0};
    en_error e;
    CHECK_OK(img_resize(p->photo, l->photo.width, l->photo.height, IMG_BICUBIC, &out, &e), e);
    return out;
}

static const uint8_t *pixel(const img *p, int x, int y) { return p->rgb + 3 * ((size_t)y * (size_t)p->width + (size_t)x); }

static int same_pixel(const uint8_t *a, const uint8_t *b) { return !memcmp(a, b, 3); }

static int inside(img_window w, int x, int y) { return x >= w.left && x < w.left + w.width && y >= w.top && y < w.top + w.height; }

static int apart(img_window a, img_window b)
{
    return a.left + a.width <= b.left || b.left + b.width <= a.left || a.top + a.height <= b.top || b.top + b.height <= a.top;
}

static void check_layout(const cam_layout *l)
{
    const img_window all = {0, 0, l->width, l->height}, *parts[] = {&l->photo, &l->heat, &l->bar};
    CHECK(l->photo.width == l->heat.width && l->photo.height == l->heat.height);
    for (int i = 0; i < 3; i++) {
        CHECK(parts[i]->top >= l->header && inside(all, parts[i]->left, parts[i]->top));
        CHECK(inside(all, parts[i]->left + parts[i]->width - 1, parts[i]->top + parts[i]->height - 1));
        for (int j = 0; j < i; j++) CHECK(apart(*parts[i], *parts[j]));
    }
    CHECK(l->crop.left >= 0 && l->crop.left + l->crop.width <= l->heat.width);
    CHECK(l->crop.top >= 0 && l->crop.top + l->crop.height <= l->heat.height);
}

static const int shapes[][2] = {{224, 224}, {32, 32}, {1200, 600}, {300, 600}, {500, 375}, {3000, 2}, {2, 3000}, {1, 1}};
enum { SHAPES = sizeof shapes / sizeof shapes[0] };

TEST(parts_do_not_overlap_whatever_the_shape_of_the_photograph)
{
    for (int i = 0; i < SHAPES; i++)
        for (int words = 0; words < 2; words++) {
            char endless[1500];
            cam_layout l;
            img photo = photograph(shapes[i][0], shapes[i][1]);
            cam_picture p = explained(&photo);
            memset(endless, 'm', sizeof endless);
            endless[sizeof endless - 1] = 0;
            if (words) p.title = p.subtitle = p.stamp = p.status = endless;
            img out = drawn(&p, &l);
            check_layout(&l);
            CHECK(l.width <= 1700 && l.height <= 1400);
            img_free(&out);
            img_free(&photo);
        }
}

TEST(only_the_crop_is_coloured)
{
    for (int i = 0; i < SHAPES; i++) {
        cam_layout l;
        img photo = photograph(shapes[i][0], shapes[i][1]);
        cam_picture p = explained(&photo);
        img out = drawn(&p, &l), small = shown_photograph(&p, &l);
        long changed = 0;
        for (int y = 0; y < small.height; y++)
            for (int x = 0; x < small.width; x++) {
                int seen = inside(l.crop, x, y);
                int heat = same_pixel(pixel(&out, l.heat.left + x, l.heat.top + y), pixel(&small, x, y));
                int plain = same_pixel(pixel(&out, l.photo.left + x, l.photo.top + y), pixel(&small, x, y));
                int deep = inside((img_window){l.crop.left + 3, l.crop.top + 3, l.crop.width - 6, l.crop.height - 6}, x, y);
                if (!seen) CHECK(heat && plain);
                if (deep && l.crop.width >= 16 && l.crop.height >= 16) CHECK(plain);
                changed += seen && !heat;
            }
        CHECK(10 * changed > 9L * l.crop.width * l.crop.height);
        img_free(&out);
        img_free(&small);
        img_free(&photo);
    }
}

/* The middle of a cell of the map in the heat panel. */
static const uint8_t *cell(const img *out, const cam_layout *l, const cam_picture *p, int row, int column)
{
    return pixel(out, l->heat.left + l->crop.left + (2 * column + 1) * l->crop.width / (2 * p->map_w),
                 l->heat.top + l->crop.top + (2 * row + 1) * l->crop.height / (2 * p->map_h));
}

TEST(the_map_is_neither_turned_nor_mirrored)
{
    static const int sizes[][2] = {{640, 400}, {400, 640}, {500, 500}};
    for (int i = 0; i < 3; i++)
        for (int hot = 0; hot < 6; hot++) {
            float map[6] = {0};
            cam_layout l;
            img photo = photograph(sizes[i][0], sizes[i][1]);
            memset(photo.rgb, 128, 3 * (size_t)photo.width * (size_t)photo.height);
            cam_picture p = explained(&photo);
            map[hot] = 1;
            p.map = map;
            p.opacity = 1;
            img out = drawn(&p, &l);
            for (int k = 0; k < 6; k++) {
                cam_rgb want = cam_colour(CAM_VIRIDIS, k == hot ? 255 : 0);
                const uint8_t *got = cell(&out, &l, &p, k / 3, k % 3);
                CHECK(abs(got[0] - want.r) < 6 && abs(got[1] - want.g) < 6 && abs(got[2] - want.b) < 6);
            }
            img_free(&out);
            img_free(&photo);
        }
}

TEST(the_map_is_enlarged_with_half_pixel_centres)
{
    const float map[4] = {0, 1, 0, 1};
    cam_layout l;
    img photo = photograph(448, 448);
    cam_picture p = explained(&photo);
    p.map = map;
    p.map_w = p.map_h = 2;
    p.opacity = 1;
    img out = drawn(&p, &l);
    CHECK(l.heat.width == 448);
    for (int x = 0; x < 448; x++) {
        double f = (x + 0.5) * 2 / 448 - 0.5, value = f < 0 ? 0 : f > 1 ? 1 : f;
        cam_rgb want = cam_colour(CAM_VIRIDIS, (int)(255 * value + 0.5));
        CHECK(same_pixel(pixel(&out, l.heat.left + x, l.heat.top + 200), &want.r));
    }
    img_free(&out);
    img_free(&photo);
}

TEST(a_crop_beyond_the_edges_is_coloured_as_far_as_there_is_a_photograph)
{
    cam_layout l;
    img photo = photograph(448, 224);
    cam_picture p = explained(&photo);
    const double wide[4] = {112, -112, 336, 336};
    memcpy(p.crop, wide, sizeof wide);
    p.opacity = 1;
    img out = drawn(&p, &l);
    CHECK(l.crop.left == 112 && l.crop.width == 224 && l.crop.top == 0 && l.crop.height == 224);
    cam_rgb upper = cam_colour(CAM_VIRIDIS, 3), lower = cam_colour(CAM_VIRIDIS, 150); /* 0.6 f, f = (y + 112.5) 2/448 - 0.5 */
    CHECK(same_pixel(pixel(&out, l.heat.left + 116, l.heat.top + 4), &upper.r));
    CHECK(same_pixel(pixel(&out, l.heat.left + 116, l.heat.top + 219), &lower.r));
    img_free(&out);
    img_free(&photo);
}

TEST(values_outside_0_to_1_take_the_colour_of_the_end)
{
    const float wild[2] = {-3e38f, 3e38f}, tame[2] = {0, 1};
    cam_layout l;
    img photo = photograph(300, 300);
    cam_picture p = explained(&photo);
    p.map = wild;
    p.map_h = 1;
    p.map_w = 2;
    img out = drawn(&p, &l);
    p.map = tame;
    img want = drawn(&p, &l);
    CHECK(same_pixel(pixel(&out, l.heat.left + 5, l.heat.top + 9), pixel(&want, l.heat.left + 5, l.heat.top + 9)));
    CHECK(same_pixel(pixel(&out, l.heat.left + l.heat.width - 6, l.heat.top + 9),
                     pixel(&want, l.heat.left + l.heat.width - 6, l.heat.top + 9)));
    img_free(&out);
    img_free(&want);
    img_free(&photo);
}

TEST(the_same_input_gives_the_same_bytes)
{
    cam_layout l;
    img photo = photograph(500, 375);
    cam_picture p = explained(&photo);
    img first = drawn(&p, &l), second = drawn(&p, &l);
    CHECK(!memcmp(first.rgb, second.rgb, 3 * (size_t)first.width * (size_t)first.height));
    img_free(&first);
    img_free(&second);
    img_free(&photo);
}

TEST(the_bar_shows_the_strongest_colour_on_top)
{
    for (int map = 0; map < 2; map++) {
        cam_layout l;
        img photo = photograph(224, 224);
        cam_picture p = explained(&photo);
        p.colormap = map ? CAM_JET : CAM_VIRIDIS;
        img out = drawn(&p, &l);
        cam_rgb top = cam_colour(p.colormap, 255), bottom = cam_colour(p.colormap, 0);
        CHECK(same_pixel(pixel(&out, l.bar.left, l.bar.top), &top.r));
        CHECK(same_pixel(pixel(&out, l.bar.left + l.bar.width - 1, l.bar.top + l.bar.height - 1), &bottom.r));
        img_free(&out);
        img_free(&photo);
    }
}

TEST(a_status_takes_the_place_of_colours)
{
    cam_layout l;
    img photo = photograph(500, 375);
    cam_picture p = explained(&photo);
    p.status = "blank map";
    p.map = NULL;
    img out = drawn(&p, &l);
    for (int y = 0; y < l.crop.height; y++)
        for (int x = 0; x < l.crop.width; x++) {
            const uint8_t *dot = pixel(&out, l.heat.left + l.crop.left + x, l.heat.top + l.crop.top + y);
            CHECK(abs(dot[0] - dot[2]) <= 3); /* the ink is a bluish black */
        }
    CHECK(pixel(&out, l.bar.left, l.bar.top)[0] == 255 && pixel(&out, l.bar.left, l.bar.top)[2] == 255);
    img_free(&out);
    img_free(&photo);
}

TEST(a_stamp_is_a_red_band_across_the_top)
{
    cam_layout l;
    img photo = photograph(500, 375);
    cam_picture p = explained(&photo);
    img plain = drawn(&p, &l);
    CHECK(pixel(&plain, 0, 0)[1] == 255);
    p.stamp = "SEEDED WEIGHTS: not a finding";
    img out = drawn(&p, &l);
    long white = 0;
    for (int x = 0; x < out.width; x++) {
        CHECK(pixel(&out, x, 0)[0] > 150 && pixel(&out, x, 0)[1] < 60);
        for (int y = 0; y < 50; y++) white += pixel(&out, x, y)[1] == 255;
    }
    CHECK(white > 500);
    img_free(&plain);
    img_free(&out);
    img_free(&photo);
}

static void check_refused(cam_picture p, en_status want, const char *part)
{
    img out;
    en_error e;
    CHECK_FAILS(cam_render_overlay(&p, &out, &e), e, want, part);
    CHECK(!out.rgb);
}

TEST(pictures_that_cannot_be_drawn_are_refused)
{
    const float broken[6] = {0, 0, 0, 0, NAN, 0};
    img photo = photograph(20, 10), empty = {0};
    const cam_picture p = explained(&photo);
    cam_picture none = p, no_map = p, nan_map = p, outside = p, nan_crop = p, inverted = p;
    none.photo = &empty;
    no_map.map = NULL;
    nan_map.map = broken;
    outside.crop[0] = 30;
    nan_crop.crop[3] = NAN;
    inverted.crop[2] = -INFINITY;
    check_refused(none, EN_E_ARG, "no photograph");
    check_refused(no_map, EN_E_ARG, "neither a map nor a status");
    check_refused(nan_map, EN_E_NONFINITE, "row 1, column 1");
    check_refused(outside, EN_E_ARG, "photograph of 20 x 10");
    check_refused(nan_crop, EN_E_ARG, "photograph of 20 x 10");
    check_refused(inverted, EN_E_ARG, "photograph of 20 x 10");
    img_free(&photo);
}

TEST(rendering_survives_every_failing_allocation)
{
    img photo = photograph(60, 40), out;
    cam_picture p = explained(&photo);
    en_error e;
    for (long n = 1;; n++) {
        t_fail_allocation(n, 0);
        en_status status = cam_render_overlay(&p, &out, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) {
            CHECK(n > 11); /* ten to resize, and the picture */
            break;
        }
        CHECK(status == EN_E_NOMEM && !out.rgb);
    }
    img_free(&out);
    t_fail_allocation(1, 0);
    CHECK(cam_render_lookalike(&photo, ramp, &out, &e) == EN_E_NOMEM && !out.rgb);
    t_fail_allocation(0, 0);
    img_free(&photo);
}

TEST(jet_is_opencvs_table)
{
    static const struct {
        int i;
        cam_rgb c;
    } want[] = {{0, {0, 0, 128}},    {31, {0, 0, 252}},    {32, {0, 0, 255}},     {33, {0, 4, 255}},    {95, {0, 252, 255}},
                {96, {2, 255, 254}}, {158, {250, 255, 6}}, {159, {254, 255, 1}},  {160, {255, 252, 0}}, {223, {255, 0, 0}},
                {224, {252, 0, 0}},  {255, {128, 0, 0}},   {127, {126, 255, 130}}};
    for (size_t k = 0; k < sizeof want / sizeof *want; k++) {
        cam_rgb c = cam_colour(CAM_JET, want[k].i);
        CHECK_MSG(c.r == want[k].c.r && c.g == want[k].c.g && c.b == want[k].c.b, "step %d is %d %d %d", want[k].i, c.r, c.g, c.b);
    }
}

TEST(viridis_grows_evenly_in_lightness)
{
    double last = 0;
    for (int i = 0; i < 256; i++) {
        cam_rgb c = cam_colour(CAM_VIRIDIS, i);
        double luma = 0.299 * c.r + 0.587 * c.g + 0.114 * c.b;
        CHECK(i == 0 || (luma > last - 0.5 && luma < last + 2));
        last = luma;
    }
    cam_rgb first = cam_colour(CAM_VIRIDIS, 0), final = cam_colour(CAM_VIRIDIS, 255);
    CHECK(first.r == 0x44 && first.g == 0x01 && first.b == 0x54 && final.r == 0xfd && final.g == 0xe7);
}

TEST(the_lookalike_is_half_photograph_half_jet_over_the_strongest_channel)
{
    uint8_t rgb[] = {10, 20, 30, 0, 0, 0, 255, 128, 7, 90, 200, 77};
    const float map[] = {0, 0.5f, 0.9999999f, 0.3f};
    const uint8_t want[] = {6, 13, 104, 83, 168, 85, 255, 84, 4, 59, 247, 218};
    img picture = {4, 1, rgb}, out;
    en_error e;
    CHECK_OK(cam_render_lookalike(&picture, map, &out, &e), e);
    for (int i = 0; i < 12; i++) CHECK_MSG(out.rgb[i] == want[i], "byte %d is %d", i, out.rgb[i]);
    img_free(&out);
}

TEST(texts_break_at_spaces_and_end_in_dots_where_they_are_cut)
{
    cam_text t = cam_text_wrap("the quick brown fox", 10, 3);
    CHECK(t.lines == 2 && !strcmp(t.line[0], "the quick") && !strcmp(t.line[1], "brown fox"));
    t = cam_text_wrap("the quick brown fox", 10, 1);
    CHECK(t.lines == 1 && !strcmp(t.line[0], "the qui..."));
    t = cam_text_wrap("one\ntwo", 10, 3);
    CHECK(t.lines == 2 && !strcmp(t.line[0], "one") && !strcmp(t.line[1], "two"));
    t = cam_text_wrap("abcdefghijkl", 5, 8);
    CHECK(t.lines == 3 && !strcmp(t.line[1], "fghij") && !strcmp(t.line[2], "kl"));
    t = cam_text_wrap("caf\xc3\xa9\tau lait", 40, 1);
    CHECK(!strcmp(t.line[0], "caf??au lait"));
    CHECK(cam_text_wrap(NULL, 10, 3).lines == 0 && cam_text_wrap("", 10, 3).lines == 0);
    CHECK(cam_text_wrap("abcdef", 0, 2).lines == 2);
}

TEST(every_character_has_a_glyph_of_its_own)
{
    uint8_t rgb[95][3 * FONT_WIDTH * FONT_HEIGHT];
    for (int c = 0; c < 95; c++) {
        char text[2] = {(char)(32 + c), 0};
        img cell_picture = {FONT_WIDTH, FONT_HEIGHT, rgb[c]};
        memset(rgb[c], 255, sizeof rgb[c]);
        cam_text_draw(&cell_picture, 0, 0, 1, (cam_rgb){0, 0, 0}, text);
        for (int other = 0; other < c; other++)
            CHECK_MSG(memcmp(rgb[c], rgb[other], sizeof rgb[c]), "%c looks like %c", 32 + c, 32 + other);
    }
}

TEST(text_is_clipped_at_the_edges)
{
    img p = photograph(20, 20), before = photograph(20, 20);
    const int far[][2] = {{-500, 3}, {3, -500}, {500, 3}, {3, 500}};
    for (int i = 0; i < 4; i++) cam_text_draw(&p, far[i][0], far[i][1], 3, (cam_rgb){1, 2, 3}, "Wg");
    CHECK(!memcmp(p.rgb, before.rgb, 3 * 20 * 20));
    cam_text_draw(&p, -7, -9, 4, (cam_rgb){1, 2, 3}, "Wg");
    cam_text_draw(&p, 12, 9, 4, (cam_rgb){1, 2, 3}, "Wg");
    CHECK(memcmp(p.rgb, before.rgb, 3 * 20 * 20));
    img_free(&p);
    img_free(&before);
}
