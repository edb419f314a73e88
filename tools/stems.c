/* SPDX-License-Identifier: MIT */
/* Names of output files. No stem contains '~' but in its number, so numbered ones cannot meet others. */
#include "tools/stems.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 60 /* bytes, before the number */ };

/* The length of the UTF-8 sequence at p (RFC 3629), which a NUL ends at the latest; 0 if it is none. */
static size_t sequence(const unsigned char *p)
{
    size_t n = *p < 0x80 ? 1 : *p >= 0xC2 && *p < 0xE0 ? 2 : *p >= 0xE0 && *p < 0xF0 ? 3 : *p >= 0xF0 && *p < 0xF5 ? 4 : 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    int overlong = (*p == 0xE0 && p[1] < 0xA0) || (*p == 0xF0 && p[1] < 0x90),
        beyond = (*p == 0xED && p[1] > 0x9F) || (*p == 0xF4 && p[1] > 0x8F);
    return overlong || beyond ? 0 : n;
}

static int is_unwelcome(unsigned char c) { return c < ' ' || c == 127 || strchr(" :*?\"<>|\\~", c) != NULL; }

static void make_stem(const char *path, stem out)
{
    const char *slash = strrchr(path, '/'), *name = strcmp(path, "-") ? slash ? slash + 1 : path : "stdin",
               *dot = strrchr(name, '.');
    const unsigned char *from = (const unsigned char *)name,
                        *end = from + (dot && dot > name ? (size_t)(dot - name) : strlen(name));
    size_t used = 0;
    while (from < end) {
        size_t n = sequence(from);
        if (used + (n ? n : 1) > LONGEST) break;
        if (n > 1) memcpy(out + used, from, n);
        else out[used] = n == 0 || is_unwelcome(*from) || (used == 0 && *from == '.') ? '_' : (char)*from;
        used += n ? n : 1;
        from += n ? n : 1;
    }
    out[used] = 0;
}

static int by_text(const void *a, const void *b)
{
    const stem *const *x = a, *const *y = b;
    int order = strcmp(**x, **y);
    return order ? order : (*x > *y) - (*x < *y); /* equal ones in the order of the inputs */
}

stem *stems_make(char *const *paths, int count)
{
    stem *stems = calloc((size_t)count + 1, sizeof *stems), **sorted = calloc((size_t)count + 1, sizeof *sorted);
    if (!stems || !sorted) {
        free(stems);
        free(sorted);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        make_stem(paths[i], stems[i]);
        sorted[i] = &stems[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, by_text);
    for (int i = 1, first = 0; i < count; i++) /* the first of equal ones stays as it is */
        if (strcmp(*sorted[i], *sorted[first])) first = i;
        else sprintf(*sorted[i] + strlen(*sorted[i]), "~%d", i - first + 1);
    free(sorted);
    return stems;
}
