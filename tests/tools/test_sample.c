/* SPDX-License-Identifier: MIT */
/* The bundled sample picture is what its generator draws, and that is the scene it was modelled on, pixel by pixel. */
#include "tests/test.h"
#include "tools/sample/scene.h"

#include <stdlib.h>

static void check_drawn(const char *path)
{
    size_t size;
    img file = {0}, drawn = {0};
    en_error e;
    uint8_t *bytes = t_read_file(path, &size);
    CHECK_OK(img_decode(bytes, size, 0, &file, &e), e);
    CHECK_OK(scene_orange_granny(&drawn, &e), e);
    CHECK(file.width == SCENE_SIDE && file.height == SCENE_SIDE);
    for (size_t i = 0; i < 3 * SCENE_SIDE * SCENE_SIDE; i++)
        CHECK_MSG(file.rgb[i] == drawn.rgb[i], "%s: byte %zu is %d, drawn %d", path, i, file.rgb[i], drawn.rgb[i]);
    img_free(&file);
    img_free(&drawn);
    free(bytes);
}

TEST(the_committed_sample_picture_is_what_the_generator_draws) { check_drawn("tools/sample/orange_granny.png"); }

TEST(the_sample_picture_is_the_scene_drawn_by_the_original_script) { check_drawn(t_shared("images/procedural/orange_granny.png")); }

TEST(drawing_survives_a_failing_allocation)
{
    img out;
    en_error e;
    t_fail_allocation(1, 1);
    CHECK(scene_orange_granny(&out, &e) == EN_E_NOMEM && !out.rgb);
}
