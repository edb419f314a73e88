/* SPDX-License-Identifier: MIT */
/* Every input that fuzzing found worth keeping, through its parser once more. corpus/NAME.tar.gz holds them, a small file each. */
#include "tests/fuzz/targets.h"
#include "tests/test.h"
#include "weights/inflate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512, SIZE_AT = 124, TYPE_AT = 156, GZIP_HEADER = 10, GZIP_TRAILER = 8 };

/* Unpacks a .gz made by gzip -n: no name, no extra fields; its last four bytes are the size. */
static uint8_t *unpack(const char *path, size_t *size)
{
    size_t n;
    en_error e;
    uint8_t *packed = t_read_file(path, &n);
    CHECK(n > GZIP_HEADER + GZIP_TRAILER && packed[3] == 0);
    *size = packed[n - 4] | (size_t)packed[n - 3] << 8 | (size_t)packed[n - 2] << 16 | (size_t)packed[n - 1] << 24;
    uint8_t *out = malloc(*size + 1);
    CHECK(out != NULL);
    CHECK_OK(wt_inflate(packed + GZIP_HEADER, n - GZIP_HEADER - GZIP_TRAILER, out, *size, NULL, &e), e);
    free(packed);
    return out;
}

/* A tar archive: a block that describes a file, then the file, filled up to whole blocks. */
static int replay(fuzz_target target)
{
    char path[128];
    size_t size;
    int files = 0;
    snprintf(path, sizeof path, "tests/fuzz/corpus/%s.tar.gz", target.name);
    uint8_t *tar = unpack(path, &size);
    for (size_t at = 0; at + BLOCK <= size && tar[at];) {
        size_t length = strtoul((const char *)tar + at + SIZE_AT, NULL, 8);
        CHECK(length <= size - at - BLOCK);
        if (tar[at + TYPE_AT] == '0') target.run(tar + at + BLOCK, length), files++;
        at += BLOCK + (length + BLOCK - 1) / BLOCK * BLOCK;
    }
    free(tar);
    return files;
}

TEST(what_fuzzing_found_does_no_harm)
{
    for (int i = 0; fuzz_target_at(i).name; i++) {
        int files = replay(fuzz_target_at(i));
        CHECK_MSG(files >= 10, "%s: %d files", fuzz_target_at(i).name, files);
    }
}
