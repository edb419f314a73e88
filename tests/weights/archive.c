/* SPDX-License-Identifier: MIT */
/* A pickle writer and a zip writer. */
#include "tests/weights/archive.h"
#include "tests/test.h"

void t_put(t_text *t, const void *bytes, size_t n)
{
    CHECK(t->size + n <= sizeof t->byte);
    memcpy(t->byte + t->size, bytes, n);
    t->size += n;
}

void t_put_number(t_text *t, uint64_t value, size_t bytes) { t_put(t, &value, bytes); }

void t_put_string(t_text *t, const char *s)
{
    T_PUT(t, "X");
    t_put_number(t, strlen(s), 4);
    t_put(t, s, strlen(s));
}

void t_put_integer(t_text *t, int64_t value)
{
    T_PUT(t, "\x8a\x08");
    t_put_number(t, (uint64_t)value, 8);
}

void t_put_tuple(t_text *t, int n, const int64_t *value)
{
    T_PUT(t, "(");
    for (int i = 0; i < n; i++) t_put_integer(t, value[i]);
    T_PUT(t, "t");
}

void t_put_view(t_text *t, const t_view *v)
{
    t_put_string(t, v->name);
    T_PUT(t, "ctorch._utils\n_rebuild_tensor_v2\n((");
    t_put_string(t, "storage");
    T_PUT(t, "ctorch\n");
    t_put(t, v->type, strlen(v->type));
    T_PUT(t, "\n");
    t_put_string(t, v->key);
    t_put_string(t, "cpu");
    t_put_integer(t, v->elements);
    T_PUT(t, "tQ");
    t_put_integer(t, v->offset);
    t_put_tuple(t, v->rank, v->dim);
    t_put_tuple(t, v->rank, v->stride);
    T_PUT(t, "\x89"
           "ccollections\nOrderedDict\n)RtRs");
}

void t_zip_add(t_zip *z, const char *name, const void *bytes, size_t n)
{
    z->local[z->count] = z->file.size;
    z->central[z->count++] = z->directory.size;
    T_PUT(&z->directory, "PK\1\2\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    t_put_number(&z->directory, n, 4);
    t_put_number(&z->directory, n, 4);
    t_put_number(&z->directory, strlen(name), 2);
    t_put_number(&z->directory, 0, 8);
    t_put_number(&z->directory, 0, 4);
    t_put_number(&z->directory, z->file.size, 4);
    t_put(&z->directory, name, strlen(name));
    T_PUT(&z->file, "PK\3\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0");
    t_put_number(&z->file, n, 4);
    t_put_number(&z->file, n, 4);
    t_put_number(&z->file, strlen(name), 2);
    t_put_number(&z->file, 0, 2);
    t_put(&z->file, name, strlen(name));
    t_put(&z->file, bytes, n);
}

void t_zip_end(t_zip *z)
{
    size_t at = z->file.size;
    for (int i = 0; i < z->count; i++) z->central[i] += at;
    t_put(&z->file, z->directory.byte, z->directory.size);
    z->end = z->file.size;
    T_PUT(&z->file, "PK\5\6\0\0\0\0");
    t_put_number(&z->file, (uint64_t)z->count, 2);
    t_put_number(&z->file, (uint64_t)z->count, 2);
    t_put_number(&z->file, z->directory.size, 4);
    t_put_number(&z->file, at, 4);
    t_put_number(&z->file, 0, 2);
}

