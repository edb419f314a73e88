/* SPDX-License-Identifier: MIT */
/* What is done to bytes of any kind, for each parser of foreign files in weights/: they are read as if they were such a file, and
 * everything that comes out is looked at. Nothing may crash, hang, leak or read what is not there. */
#ifndef TESTS_FUZZ_TARGETS_H
#define TESTS_FUZZ_TARGETS_H

#include <stddef.h>
#include <stdint.h>

typedef struct fuzz_target {
    const char *name;
    void (*run)(const uint8_t *bytes, size_t size);
} fuzz_target;

/* Number i, {NULL} past the last. */
fuzz_target fuzz_target_at(int i);

#endif
