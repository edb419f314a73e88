/* SPDX-License-Identifier: MIT */
/* torch.save's files, built byte by byte: a pickle writer and a zip writer, both able to lie. */
#ifndef TESTS_WEIGHTS_ARCHIVE_H
#define TESTS_WEIGHTS_ARCHIVE_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

typedef struct t_text {
    uint8_t byte[1 << 18];
    size_t size;
} t_text;

void t_put(t_text *t, const void *bytes, size_t n);
#define T_PUT(t, literal) t_put(t, literal, sizeof(literal) - 1)

/* Little-endian; a text as BINUNICODE; an integer as LONG1 of 8 bytes; a tuple of such. */
void t_put_number(t_text *t, uint64_t value, size_t bytes);
void t_put_string(t_text *t, const char *s);
void t_put_integer(t_text *t, int64_t value);
void t_put_tuple(t_text *t, int n, const int64_t *value);

/* One entry of a state dict: the dict is on the stack. */
typedef struct t_view {
    const char *name, *type, *key;
    int64_t elements, offset;
    int rank;
    int64_t dim[10], stride[10];
} t_view;

void t_put_view(t_text *t, const t_view *v);

enum { T_ENTRIES = 8 };

typedef struct t_zip {
    t_text file, directory;
    int count;
    size_t local[T_ENTRIES], central[T_ENTRIES], end; /* offsets; central: in the finished file */
} t_zip;

void t_zip_add(t_zip *z, const char *name, const void *bytes, size_t n);
void t_zip_end(t_zip *z);

#endif
