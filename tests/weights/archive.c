/* SPDX-License-Identifier: MIT */
/* A pickle writer and a zip writer. */
#include "tests/weights/archive.h"
#include "tests/test.h"
#include "weights/store.h"

#include <stdlib.h>

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


void t_put_legacy_start(t_text *t)
{
    T_PUT(t, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}");
    t_put_string(t, "little_endian");
    T_PUT(t, "\x88s.");
}

static void read_everything(const wt_store *store)
{
    for (size_t i = 0; i < wt_count(store); i++) {
        const wt_tensor *t = wt_at(store, i);
        size_t n = wt_elements(t);
        double *values = malloc(n * sizeof *values + 1);
        en_error e;
        CHECK(values && wt_find(store, t->name) == t);
        CHECK_OK(wt_read_raw(store, t, 0, n, values, &e), e);
        (void)wt_read(store, t, 0, n, (float *)(void *)values, NULL);
        free(values);
    }
}

en_status t_try_bytes(const void *bytes, size_t n, en_error *e)
{
    wt_store *store;
    uint8_t *copy = malloc(n + !n);
    CHECK(copy != NULL);
    memcpy(copy, bytes, n);
    en_status status = wt_open_bytes("test.pth", copy, n, &store, e);
    CHECK((status == EN_OK) == (store != NULL));
    if (store) read_everything(store);
    wt_close(store);
    free(copy);
    return status;
}

static void check_failed_allocations(const void *bytes, size_t n)
{
    en_error e;
    for (long k = 1;; k++) {
        wt_store *store;
        t_fail_allocation(k, 0);
        en_status status = wt_open_bytes("test.pth", bytes, n, &store, &e);
        t_fail_allocation(0, 0);
        wt_close(store);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && !store, "allocation %ld: %s", k, e.text);
    }
}

void t_check_hardness(const void *bytes, size_t n)
{
    en_error e;
    uint8_t *copy = malloc(n);
    CHECK(copy != NULL);
    CHECK_OK(t_try_bytes(bytes, n, &e), e);
    for (size_t cut = 0; cut < n; cut++) CHECK_MSG(t_try_bytes(bytes, cut, &e) != EN_OK, "cut at %zu it is still read", cut);
    memcpy(copy, bytes, n);
    for (size_t i = 0; i < n; i++)
        for (int bit = 0; bit < 8; bit++) {
            copy[i] ^= (uint8_t)(1 << bit);
            (void)t_try_bytes(copy, n, &e);
            copy[i] ^= (uint8_t)(1 << bit);
        }
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, bytes, n);
        for (int k = 0; k < 3; k++) copy[t_random() % n] = (uint8_t)t_random();
        (void)t_try_bytes(copy, n, &e);
    }
    free(copy);
    check_failed_allocations(bytes, n);
}
