/* SPDX-License-Identifier: MIT */
/* Checkpoints built byte by byte: a pickle writer and a zip writer, both able to lie; and what all of them must withstand. */
#ifndef TESTS_WEIGHTS_ARCHIVE_H
#define TESTS_WEIGHTS_ARCHIVE_H

#include "engine/status.h"

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

/* The parts of a file from before torch 1.6 that are always alike: magic number, version, system info. */
void t_put_legacy_start(t_text *t);

/* Opens a copy that ends where its allocation ends, so that reading past it is seen, and reads everything in it. */
en_status t_try_bytes(const void *bytes, size_t n, en_error *e);

/* For a file that is read: cut anywhere it must be refused; with any bit flipped, or some bytes replaced, it may do no harm; and a
 * failed allocation, whichever it is, must be told as that. */
void t_check_hardness(const void *bytes, size_t n);

#endif
