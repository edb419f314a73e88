/* SPDX-License-Identifier: MIT */
/* Memory: an arena for small things that live and die together, and large blocks for numbers. */
#ifndef ENGINE_MEMORY_H
#define ENGINE_MEMORY_H

#include <stddef.h>

/* {0} is an empty arena. Allocations are zeroed, aligned for any type, and freed all at once. NULL means out of memory. */
typedef struct en_arena {
    struct en_chunk *chunks;
} en_arena;

void *en_arena_alloc(en_arena *a, size_t size);
char *en_arena_copy(en_arena *a, const char *text);
void en_arena_free(en_arena *a);

/* n floats, uninitialised, on a cache line; blocks of megabytes ask for large pages. Release with free(). */
float *en_alloc_floats(size_t n);

#endif
