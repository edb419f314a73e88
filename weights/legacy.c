/* SPDX-License-Identifier: MIT */
/* torch.save's format before version 1.6 (torch/serialization.py, _legacy_save); many official files still have it. Pickles, one
 * after another:
 *     0x1950a86a20f9469cfc6c    the magic number          1001    the version
 *     {'little_endian': True, ...}                        the state dict
 *     ['94012345', ...]         the storages' keys; then for each key in this order
 *     8 bytes                   its number of elements, and they themselves, packed and unaligned */
#include "weights/formats.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC_SIZE = 15, VERSION_SIZE = 6, COUNT_SIZE = 8 };

typedef struct reader {
    wt_store *store;
    size_t at;
    wt_pickle pickle, keys;
    const wt_pickle_storage **by_key; /* those of `pickle`, sorted */
    struct place {                    /* of each of `keys`, sorted alike */
        wt_pickle_text key;
        const uint8_t *data;
        size_t size;
    } *place;
} reader;

static int compare_texts(wt_pickle_text a, wt_pickle_text b) { return wt_compare_texts(a.at, a.size, b.at, b.size); }

static int compare_storages(const void *a, const void *b)
{
    return compare_texts((*(const wt_pickle_storage *const *)a)->key, (*(const wt_pickle_storage *const *)b)->key);
}

static int compare_places(const void *a, const void *b)
{
    return compare_texts(((const struct place *)a)->key, ((const struct place *)b)->key);
}

/* Everything before the data. */
static en_status read_pickles(reader *r, en_error *e)
{
    const uint8_t *b = r->store->bytes;
    size_t size = r->store->size, used = 0;
    int little = 0;
    if (size < MAGIC_SIZE + VERSION_SIZE || b[0] != 0x80 || b[MAGIC_SIZE - 1] != '.' || memcmp(b + MAGIC_SIZE, b, 2) != 0 ||
        memcmp(b + MAGIC_SIZE + 2, "M\xe9\x03.", VERSION_SIZE - 2) != 0)
        return en_fail(e, EN_E_UNSUPPORTED, "torch's format before 1.6, but not its version 1001");
    r->at = MAGIC_SIZE + VERSION_SIZE;
    en_status status = wt_pickle_parse_flag(b + r->at, size - r->at, "little_endian", &little, &used, e);
    if (status == EN_OK && !little) status = en_fail(e, EN_E_UNSUPPORTED, "big-endian data");
    if (status != EN_OK) return en_wrap(e, status, "system info at %zu", r->at);
    r->at += used;
    status = wt_pickle_parse(b + r->at, size - r->at, r->store->ema, &r->pickle, e);
    if (status != EN_OK) return en_wrap(e, status, "state dict at %zu", r->at);
    r->at += r->pickle.size;
    status = wt_pickle_parse_texts(b + r->at, size - r->at, &r->keys, e);
    if (status != EN_OK) return en_wrap(e, status, "storage keys at %zu", r->at);
    r->at += r->keys.size;
    return EN_OK;
}

/* The storage of this key; the state dict says what its elements are. */
static en_status find_storage(const reader *r, wt_pickle_text key, const wt_pickle_storage **out, en_error *e)
{
    const wt_pickle_storage wanted = {.key = key}, *at = &wanted;
    const wt_pickle_storage **found = bsearch(&at, r->by_key, r->pickle.storages, sizeof *found, compare_storages);
    wt_shown shown;
    if (!found) return en_fail(e, EN_E_FORMAT, "storage '%s' is not in the state dict", wt_show(key.at, key.size, shown));
    *out = *found;
    return EN_OK;
}

/* Places are where the counts lead; each storage's elements must be as many as the state dict says. */
static en_status find_places(reader *r, en_error *e)
{
    for (size_t i = 0; i < r->keys.entries; i++) {
        const wt_pickle_storage *s = NULL;
        size_t left = r->store->size - r->at;
        int64_t elements;
        wt_shown shown;
        EN_TRY(find_storage(r, r->keys.entry[i].name, &s, e));
        wt_show(s->key.at, s->key.size, shown);
        if (left < COUNT_SIZE) return en_fail(e, EN_E_FORMAT, "storage '%s' lies outside of the file", shown);
        memcpy(&elements, r->store->bytes + r->at, COUNT_SIZE);
        if (elements != s->elements)
            return en_fail(e, EN_E_FORMAT, "storage '%s' has %lld elements, the state dict wants %lld", shown, (long long)elements,
                           (long long)s->elements);
        size_t width = wt_dtype_size(s->dtype);
        if ((uint64_t)elements > (left - COUNT_SIZE) / width)
            return en_fail(e, EN_E_FORMAT, "storage '%s' lies outside of the file", shown);
        r->place[i] = (struct place){s->key, r->store->bytes + r->at + COUNT_SIZE, (size_t)elements * width};
        r->at += COUNT_SIZE + r->place[i].size;
    }
    if (r->at != r->store->size) return en_fail(e, EN_E_FORMAT, "%zu bytes follow the last storage", r->store->size - r->at);
    if (r->keys.entries) qsort(r->place, r->keys.entries, sizeof *r->place, compare_places);
    for (size_t i = 1; i < r->keys.entries; i++)
        if (compare_places(&r->place[i - 1], &r->place[i]) == 0) return en_fail(e, EN_E_FORMAT, "a storage is there twice");
    return EN_OK;
}

/* Storages of one key, sorted next to each other, must agree. */
static en_status sort_storages(reader *r, en_error *e)
{
    size_t count = r->pickle.storages;
    for (size_t i = 0; i < count; i++) r->by_key[i] = &r->pickle.storage[i];
    if (count) qsort(r->by_key, count, sizeof *r->by_key, compare_storages);
    for (size_t i = 1; i < count; i++) {
        const wt_pickle_storage *a = r->by_key[i - 1], *b = r->by_key[i];
        wt_shown shown;
        if (compare_texts(a->key, b->key) == 0 && (a->dtype != b->dtype || a->elements != b->elements))
            return en_fail(e, EN_E_FORMAT, "storage '%s' has two descriptions", wt_show(a->key.at, a->key.size, shown));
    }
    return EN_OK;
}

static en_status add_tensor(const reader *r, const wt_pickle_entry *entry, en_error *e)
{
    wt_pickle_text key = r->pickle.storage[r->pickle.tensor[entry->tensor].storage].key;
    const struct place wanted = {.key = key}, *p = bsearch(&wanted, r->place, r->keys.entries, sizeof wanted, compare_places);
    wt_shown name, shown;
    if (p) return wt_store_add_view(r->store, &r->pickle, entry, p->data, p->size, e);
    return en_fail(e, EN_E_FORMAT, "tensor '%s': storage '%s' is missing", wt_show(entry->name.at, entry->name.size, name),
                   wt_show(key.at, key.size, shown));
}

static en_status read_storages(reader *r, en_error *e)
{
    r->by_key = malloc((r->pickle.storages + 1) * sizeof *r->by_key);
    r->place = malloc((r->keys.entries + 1) * sizeof *r->place);
    if (!r->by_key || !r->place) return en_fail(e, EN_E_NOMEM, "no memory for %zu storages", r->keys.entries);
    EN_TRY(sort_storages(r, e));
    EN_TRY(find_places(r, e));
    for (size_t i = 0; i < r->pickle.entries; i++) EN_TRY(add_tensor(r, &r->pickle.entry[i], e));
    return EN_OK;
}

en_status wt_parse_legacy(wt_store *store, en_error *e)
{
    reader r = {.store = store};
    en_status status = read_pickles(&r, e);
    if (status == EN_OK) status = read_storages(&r, e);
    wt_pickle_free(&r.pickle);
    wt_pickle_free(&r.keys);
    free(r.by_key);
    free(r.place);
    return status;
}
