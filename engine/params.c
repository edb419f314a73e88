/* SPDX-License-Identifier: MIT */
/* Parameters: a list of named blobs behind one lock. Graphs are built rarely, so the list is searched one by one. */
#include "engine/params.h"

#include "engine/memory.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef struct blob {
    struct blob *next;  /* the one before it                                        */
    float *data;
    float *owned;       /* the memory of a whole batch, which its first blob holds  */
    size_t floats;
    int pieces;
    en_status (*make)(const void *arg, int piece, float *data, en_error *e);
    void *arg;          /* owned; NULL once the blob is made                        */
    char name[];
} blob;

typedef struct asker { /* who gets a blob when the batch ends */
    const float **out;
    const blob *blob;
} asker;

struct en_params {
    en_source source;
    pthread_mutex_t lock; /* held by a batch */
    blob *blobs;          /* the newest first */
    asker *askers;
    int count, room;
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

static void free_newest(en_params *p)
{
    blob *b = p->blobs;
    p->blobs = b->next;
    free(b->owned);
    free(b->arg);
    free(b);
}

void en_params_free(en_params *p)
{
    if (!p) return;
    while (p->blobs) free_newest(p);
    free(p->askers);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

size_t en_params_bytes(const en_params *p) { return p->bytes; }

en_status en_params_read(en_params *p, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e)
{
    return p->source.read(p->source.self, key, shape, first, count, out, e);
}

const float *en_params_peek(en_params *p, const char *key, const en_shape *shape, size_t first, size_t count)
{
    return p->source.peek ? p->source.peek(p->source.self, key, shape, first, count) : NULL;
}

/* ---- asking ---- */

void en_params_begin(en_params *p) { pthread_mutex_lock(&p->lock); }

static blob *add_blob(en_params *p, const en_blob *want)
{
    size_t n = strlen(want->name) + 1;
    blob *b = calloc(1, sizeof *b + n);
    void *arg = b ? malloc(want->arg_size) : NULL;
    if (!arg) return free(b), NULL;
    memcpy(b->name, want->name, n);
    memcpy(arg, want->arg, want->arg_size);
    b->floats = want->floats;
    b->pieces = want->pieces;
    b->make = want->make;
    b->arg = arg;
    b->next = p->blobs;
    return p->blobs = b;
}

static int add_asker(en_params *p, const blob *b, const float **out)
{
    if (p->count == p->room) {
        int room = p->room ? 2 * p->room : 64;
        asker *grown = realloc(p->askers, (size_t)room * sizeof *grown);
        if (!grown) return 0;
        p->askers = grown;
        p->room = room;
    }
    p->askers[p->count++] = (asker){out, b};
    return 1;
}

en_status en_params_blob(en_params *p, const en_blob *want, const float **out, en_error *e)
{
    blob *b = p->blobs;
    while (b && strcmp(b->name, want->name)) b = b->next;
    if (b && b->floats != want->floats)
        return en_fail(e, EN_E_ARG, "%s: wanted with %zu numbers, is there with %zu", want->name, want->floats, b->floats);
    if (b && !b->arg) return *out = b->data, EN_OK;
    if (!b) b = add_blob(p, want);
    return b && add_asker(p, b, out) ? EN_OK : en_fail(e, EN_E_NOMEM, "%s: no memory to remember it", want->name);
}

/* ---- making ---- */

typedef struct piece {
    const blob *blob;
    int number;
} piece;

typedef struct batch {
    piece *piece;
    int pieces;
    pthread_mutex_t lock; /* over the rest */
    int failed;           /* the first piece that failed; `pieces` if none did */
    en_error error;
} batch;

static void make_piece(void *arg, int job, int worker)
{
    (void)worker;
    batch *b = arg;
    en_error error;
    const piece *w = &b->piece[job];
    if (w->blob->make(w->blob->arg, w->number, w->blob->data, &error) == EN_OK) return;
    pthread_mutex_lock(&b->lock);
    if (job < b->failed) {
        b->failed = job;
        b->error = error;
    }
    pthread_mutex_unlock(&b->lock);
}

static size_t padded(const blob *b) { return (b->floats + EN_LANES - 1) / EN_LANES * EN_LANES; }

/* Gives the new blobs memory, all in one block, for large pages to serve it. The newest come last, as in the file. */
static en_status allocate(en_params *p, en_error *e)
{
    size_t floats = 0;
    blob *first = NULL;
    for (blob *b = p->blobs; b && b->arg; first = b, b = b->next) floats += padded(b);
    float *block = first ? en_alloc_floats(floats) : NULL;
    if (!first) return EN_OK;
    if (!block) return en_fail(e, EN_E_NOMEM, "no memory for %zu bytes of parameters", floats * sizeof *block);
    first->owned = block;
    for (blob *b = p->blobs; b && b->arg; b = b->next) b->data = block + (floats -= padded(b));
    return EN_OK;
}

static en_status make_new(en_params *p, en_pool *pool, en_error *e)
{
    batch w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    EN_TRY(allocate(p, e));
    for (blob *b = p->blobs; b && b->arg; b = b->next) w.pieces += b->pieces;
    w.failed = w.pieces;
    w.piece = malloc(((size_t)w.pieces + 1) * sizeof *w.piece);
    if (!w.piece) return en_fail(e, EN_E_NOMEM, "no memory for %d pieces of parameters", w.pieces);
    int at = w.pieces;
    for (blob *b = p->blobs; b && b->arg; b = b->next)
        for (int i = b->pieces; i-- > 0;) w.piece[--at] = (piece){b, i};
    en_parallel(pool, w.pieces, make_piece, &w);
    free(w.piece);
    return w.failed == w.pieces ? EN_OK : en_fail(e, w.error.status, "%s", w.error.text);
}

en_status en_params_end(en_params *p, en_pool *pool, en_status status, en_error *e)
{
    if (status == EN_OK) status = make_new(p, pool, e);
    while (status != EN_OK && p->blobs && p->blobs->arg) free_newest(p);
    for (blob *b = p->blobs; b && b->arg; b = b->next) {
        free(b->arg);
        b->arg = NULL;
        p->bytes += b->floats * sizeof *b->data;
    }
    for (int i = 0; i < p->count && status == EN_OK; i++) *p->askers[i].out = p->askers[i].blob->data;
    p->count = 0;
    pthread_mutex_unlock(&p->lock);
    return status;
}

typedef struct plain {
    en_params *params;
    const char *key;
    const en_shape *shape;
} plain;

static en_status read_plain(const void *arg, int number, float *data, en_error *e)
{
    (void)number;
    const plain *a = arg;
    size_t n = en_count(a->shape), floats = en_floats(a->shape);
    memset(data + n, 0, (floats - n) * sizeof *data);
    return en_params_read(a->params, a->key, a->shape, 0, n, data, e);
}

en_status en_params_plain(en_params *p, const char *key, const en_shape *shape, const float **out, en_error *e)
{
    const plain a = {p, key, shape};
    return en_params_blob(p, &(en_blob){key, en_floats(shape), 1, read_plain, &a, sizeof a}, out, e);
}
