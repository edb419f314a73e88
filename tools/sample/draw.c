/* SPDX-License-Identifier: MIT */
/* Draws the bundled sample picture: draw FILE.png. The file beside this one is its output. */
#include "tools/sample/scene.h"

#include <stdio.h>
#include <stdlib.h>

static int write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f) return 0;
    int complete = fwrite(bytes, 1, size, f) == size;
    return fclose(f) == 0 && complete;
}

int main(int argc, char **argv)
{
    img picture = {0};
    en_error e = {0};
    uint8_t *png = NULL;
    size_t size = 0;
    if (argc != 2) return fprintf(stderr, "usage: draw FILE.png\n"), 2;
    en_status status = scene_orange_granny(&picture, &e);
    if (status == EN_OK) status = img_encode_png(&picture, NULL, &png, &size, &e);
    if (status != EN_OK)
        fprintf(stderr, "draw: %s\n", e.text);
    else if (!write_file(argv[1], png, size)) {
        fprintf(stderr, "draw: cannot write %s\n", argv[1]);
        status = EN_E_IO;
    }
    free(png);
    img_free(&picture);
    return status != EN_OK;
}
