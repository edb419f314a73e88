/* SPDX-License-Identifier: MIT */
/* Memory: the arena, and aligned blocks. */
#include "engine/memory.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum { CHUNK = 1 << 14, LINE = 64, LARGE_PAGE = 1 << 21 };

typedef struct en_chunk {
    struct en_chunk *next;
    size_t used, size;
    _Alignas(max_align_t) char bytes[];
} en_chunk;

void *en_arena_alloc(en_arena *a, size_t size)
{
    if (size > SIZE_MAX / 2) return NULL;
    size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
    if (!a->chunks || a->chunks->size - a->chunks->used < size) {
        size_t room = size > CHUNK ? size : CHUNK;
        en_chunk *c = calloc(1, sizeof *c + room);
        if (!c) return NULL;
        c->size = room;
        c->next = a->chunks;
        a->chunks = c;
    }
    void *p = a->chunks->bytes + a->chunks->used;
    a->chunks->used += size;
    return p;
}

char *en_arena_copy(en_arena *a, const char *text)
{
    size_t n = strlen(text) + 1;
    char *copy = en_arena_alloc(a, n);
    return copy ? memcpy(copy, text, n) : NULL;
}

void en_arena_free(en_arena *a)
{
    for (en_chunk *c = a->chunks, *next; c; c = next) {
        next = c->next;
        free(c);
    }
    a->chunks = NULL;
}

float *en_alloc_floats(size_t n)
{
    if (n == 0) n = 1;
    if (n > SIZE_MAX / sizeof(float) - LARGE_PAGE) return NULL;
    size_t size = n * sizeof(float), align = size >= 2 * (size_t)LARGE_PAGE ? LARGE_PAGE : LINE;
    size = (size + align - 1) / align * align;
    float *p = aligned_alloc(align, size);
#ifdef MADV_HUGEPAGE
    if (p && align == LARGE_PAGE) madvise(p, size, MADV_HUGEPAGE);
#endif
    return p;
}
