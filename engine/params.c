/* SPDX-License-Identifier: MIT */
/* Parameters: a list of named blobs behind one lock. Graphs are built rarely, so the list is searched one by one. */
#include "engine/params.h"

#include "engine/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct blob {
    struct blob *next;
    float *data;
    size_t floats;
    char name[];
} blob;

struct en_params {
    en_source source;
    pthread_mutex_t lock; /* over the blobs */
    blob *blobs;
    size_t bytes;
};

en_status en_params_new(en_source source, en_params **out, en_error *e)
{
    en_params *p = *out = calloc(1, sizeof *p);
    if (!p) return en_fail(e, EN_E_NOMEM, "parameters: out of memory");
    p->source = source;
    pthread_mutex_init(&p->lock, NULL);
    return EN_OK;
}

void en_params_free(en_params *p)
{
    if (!p) return;
    for (blob *b = p->blobs, *next; b; b = next) {
        next = b->next;
        free(b->data);
        free(b);
    }
    pthread_mutex_destroy(&p->lock);
    free(p);
}

size_t en_params_bytes(const en_params *p) { return p->bytes; }

en_status en_params_read(en_params *p, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e)
{
    return p->source.read(p->source.self, key, shape, first, count, out, e);
}

static en_status add_blob(en_params *p, const char *name, size_t floats, en_make *make, void *arg, const float **out, en_error *e)
{
    size_t n = strlen(name) + 1;
    blob *b = malloc(sizeof *b + n);
    float *data = b ? en_alloc_floats(floats) : NULL;
    if (!data) {
        free(b);
        return en_fail(e, EN_E_NOMEM, "%s: no memory for %zu bytes of parameters", name, floats * sizeof *data);
    }
    en_status status = make(arg, data, e);
    if (status != EN_OK) {
        free(data);
        free(b);
        return status;
    }
    memcpy(b->name, name, n);
    b->data = data;
    b->floats = floats;
    b->next = p->blobs;
    p->blobs = b;
    p->bytes += floats * sizeof *data;
    *out = data;
    return EN_OK;
}

en_status en_params_blob(en_params *p, const char *name, size_t floats, en_make *make, void *arg, const float **out, en_error *e)
{
    en_status status = EN_OK;
    pthread_mutex_lock(&p->lock);
    blob *b = p->blobs;
    while (b && strcmp(b->name, name)) b = b->next;
    if (b && b->floats != floats)
        status = en_fail(e, EN_E_ARG, "%s: wanted with %zu numbers, is there with %zu", name, floats, b->floats);
    else if (b)
        *out = b->data;
    else
        status = add_blob(p, name, floats, make, arg, out, e);
    pthread_mutex_unlock(&p->lock);
    return status;
}

typedef struct plain {
    en_params *params;
    const char *key;
    const en_shape *shape;
} plain;

static en_status read_plain(void *arg, float *data, en_error *e)
{
    const plain *a = arg;
    size_t n = en_count(a->shape), floats = en_floats(a->shape);
    memset(data + n, 0, (floats - n) * sizeof *data);
    return en_params_read(a->params, a->key, a->shape, 0, n, data, e);
}

en_status en_params_plain(en_params *p, const char *key, const en_shape *shape, const float **out, en_error *e)
{
    plain a = {p, key, shape};
    return en_params_blob(p, key, en_floats(shape), read_plain, &a, out, e);
}
