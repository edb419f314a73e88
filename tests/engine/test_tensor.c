/* SPDX-License-Identifier: MIT */
/* Shapes and the NC16 layout. */
#include "engine/tensor.h"
#include "tests/test.h"

#include <limits.h>
#include <string.h>

TEST(a_blocked_tensor_holds_sixteen_channels_of_a_pixel_together)
{
    en_shape s = en_nchw(2, 17, 2, 3);
    enum { COUNT = 2 * 17 * 2 * 3, FLOATS = 2 * 32 * 2 * 3 };
    float in[COUNT], stored[FLOATS], out[COUNT];
    CHECK(en_count(&s) == COUNT && en_floats(&s) == FLOATS && en_image_floats(&s) == FLOATS / 2 && en_block_floats(&s) == 6 * 16);
    for (int i = 0; i < COUNT; i++) in[i] = (float)(i + 1);
    for (int i = 0; i < FLOATS; i++) stored[i] = -1;
    en_store(&s, in, stored);
    for (int i = 0; i < FLOATS; i++) { /* [N][C/16][H*W][16] */
        int lane = i % 16, pixel = i / 16 % 6, channel = i / 16 / 6 % 2 * 16 + lane, image = i / 16 / 6 / 2;
        CHECK(stored[i] == (channel < 17 ? in[(image * 17 + channel) * 6 + pixel] : 0));
    }
    en_load(&s, stored, out);
    CHECK(!memcmp(in, out, sizeof in));
}

TEST(a_plain_tensor_is_row_major_and_padded_at_its_end)
{
    en_shape s = en_plain(2, (int[]){3, 7});
    float in[21], stored[32], out[21];
    CHECK(s.layout == EN_PLAIN && s.rank == 2 && en_count(&s) == 21 && en_floats(&s) == 32);
    for (int i = 0; i < 21; i++) in[i] = (float)(i + 1);
    for (int i = 0; i < 32; i++) stored[i] = -1;
    en_store(&s, in, stored);
    for (int i = 0; i < 32; i++) CHECK(stored[i] == (i < 21 ? in[i] : 0));
    en_load(&s, stored, out);
    CHECK(!memcmp(in, out, sizeof in));
}

TEST(a_picture_holds_the_channels_of_a_pixel_together_and_nothing_else)
{
    en_shape s = en_nchw(2, 3, 2, 5);
    s.layout = EN_PICTURE;
    enum { IMAGE = 3 * 2 * 5, FLOATS = 32 };
    float in[2 * IMAGE], stored[2 * FLOATS], out[2 * IMAGE];
    CHECK(en_count(&s) == 2 * IMAGE && en_floats(&s) == 2 * FLOATS && en_image_floats(&s) == FLOATS);
    for (int i = 0; i < 2 * IMAGE; i++) in[i] = (float)(i + 1);
    for (int i = 0; i < 2 * FLOATS; i++) stored[i] = -1;
    en_store(&s, in, stored);
    for (int i = 0; i < 2 * FLOATS; i++) { /* [N][H*W][C] */
        int image = i / FLOATS, at = i % FLOATS;
        CHECK(stored[i] == (at < IMAGE ? in[image * IMAGE + at % 3 * 10 + at / 3] : 0));
    }
    en_load(&s, stored, out);
    CHECK(!memcmp(in, out, sizeof in));
}

TEST(channels_are_counted_in_blocks_of_sixteen)
{
    static const int channels[] = {1, 15, 16, 17, 32, 33}, blocks[] = {1, 1, 1, 2, 2, 3};
    for (int i = 0; i < 6; i++) CHECK(en_blocks(channels[i]) == blocks[i]);
}

TEST(shapes_without_numbers_or_with_too_many_count_as_zero)
{
    en_shape shapes[] = {en_nchw(0, 1, 1, 1),
                         en_nchw(1, -1, 1, 1),
                         en_nchw(1, 1, 1, INT_MIN),
                         en_nchw(INT_MAX, INT_MAX, INT_MAX, 1),
                         en_nchw(INT_MAX, INT_MAX, 8, 1),
                         en_nchw(65536, 65536, 65536, 65536)};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        CHECK_MSG(en_count(&shapes[i]) == 0 && en_floats(&shapes[i]) == 0, "shape %zu", i);
}

TEST(shapes_are_the_same_in_layout_and_every_dimension)
{
    en_shape a = en_nchw(1, 2, 3, 4), b = en_plain(4, (int[]){1, 2, 3, 4}), c = en_plain(3, (int[]){1, 2, 3});
    CHECK(en_same_shape(&a, &a) && !en_same_shape(&a, &b) && !en_same_shape(&b, &c));
    for (int i = 0; i < 4; i++) {
        en_shape other = a;
        other.dim[i]++;
        CHECK(!en_same_shape(&a, &other));
    }
}

TEST(a_shape_is_written_in_brackets)
{
    char text[64];
    en_shape s = en_nchw(1, 512, 7, 7), one = en_plain(1, (int[]){5}), long_one = en_nchw(INT_MIN, INT_MIN, INT_MIN, INT_MIN);
    CHECK(!strcmp(en_shape_text(&s, text), "[1, 512, 7, 7]"));
    CHECK(!strcmp(en_shape_text(&one, text), "[5]"));
    CHECK(!strcmp(en_shape_text(&long_one, text), "[-2147483648, -2147483648, -2147483648, -2147483648]"));
}
