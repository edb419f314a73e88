/* SPDX-License-Identifier: MIT */
/* A sharded checkpoint, NAME.safetensors.index.json: which tensor is in which of the .safetensors files beside it.
 *     {"metadata": {...}, "weight_map": {"fc.weight": "model-00001-of-00002.safetensors", ...}}
 * A file name is only a name: nothing outside of the index's folder is ever opened. */
#include "weights/formats.h"
#include "weights/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_INDEX = 16 << 20, MAX_SHARDS = 1024 };

typedef struct reader {
    wt_store *store;
    wt_json json;
    wt_json_token token;
    char *key, *file; /* room for the whole index each */
    size_t listed;
} reader;

static en_status expect(reader *r, wt_json_kind kind, const char *what, en_error *e)
{
    EN_TRY(wt_json_next(&r->json, &r->token, e));
    if (r->token.kind != kind) return en_fail(e, EN_E_FORMAT, "index, offset %zu: want %s", r->token.offset, what);
    return EN_OK;
}

static en_status skip_value(reader *r, en_error *e)
{
    int depth = r->json.depth;
    do EN_TRY(wt_json_next(&r->json, &r->token, e));
    while (r->json.depth > depth);
    return EN_OK;
}

static en_status check_name(const char *name, en_error *e)
{
    static const char end[] = ".safetensors";
    size_t n = strlen(name);
    wt_shown shown;
    if (!strchr(name, '/') && !strchr(name, '\\') && name[0] != '.' && n >= sizeof end && !strcmp(name + n - (sizeof end - 1), end))
        return EN_OK;
    return en_fail(e, EN_E_FORMAT, "shard '%s': want the plain name of a .safetensors file beside the index", wt_show(name, n, shown));
}

/* Opens a file of the index's folder. */
static en_status open_shard(wt_store *store, const char *name, wt_store **out, en_error *e)
{
    const char *slash = strrchr(store->path, '/');
    int folder = slash ? (int)(slash - store->path) + 1 : 0;
    size_t room = (size_t)folder + strlen(name) + 1;
    if (store->shards == MAX_SHARDS) return en_fail(e, EN_E_LIMIT, "more than %d shards", MAX_SHARDS);
    wt_store **grown = realloc(store->shard, (store->shards + 1) * sizeof *grown);
    if (grown) store->shard = grown;
    char *path = grown ? malloc(room) : NULL;
    if (!path) return en_fail(e, EN_E_NOMEM, "no memory for a shard");
    snprintf(path, room, "%.*s%s", folder, store->path, name);
    en_status status = wt_open(path, out, e);
    free(path);
    if (status != EN_OK) return status;
    store->shard[store->shards++] = *out;
    if ((*out)->shards || (*out)->block) return en_fail(e, EN_E_FORMAT, "shard '%s' is no .safetensors file", name);
    return EN_OK;
}

static en_status find_shard(wt_store *store, const char *name, wt_store **out, en_error *e)
{
    EN_TRY(check_name(name, e));
    for (size_t i = store->shards; i-- > 0;) { /* neighbours in the map mostly share a file */
        const char *path = store->shard[i]->path, *slash = strrchr(path, '/');
        if (!strcmp(slash ? slash + 1 : path, name)) return *out = store->shard[i], EN_OK;
    }
    return open_shard(store, name, out, e);
}

/* One pair of the map; its key has been read. */
static en_status read_pair(reader *r, en_error *e)
{
    wt_store *shard = NULL;
    wt_shown shown;
    EN_TRY(wt_json_string(&r->token, r->key, e));
    EN_TRY(expect(r, WT_JSON_STRING, "a file name", e));
    EN_TRY(wt_json_string(&r->token, r->file, e));
    EN_TRY(find_shard(r->store, r->file, &shard, e));
    const wt_tensor *t = wt_find(shard, r->key);
    if (!t) return en_fail(e, EN_E_FORMAT, "tensor '%s' is not in %s", wt_show(r->key, strlen(r->key), shown), r->file);
    r->listed++;
    return wt_store_adopt(r->store, t, e);
}

static en_status read_map(reader *r, en_error *e)
{
    EN_TRY(expect(r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_OBJECT_END) return EN_OK;
        EN_TRY(read_pair(r, e));
    }
}

static en_status read_index(reader *r, en_error *e)
{
    int maps = 0;
    EN_TRY(expect(r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_OBJECT_END) break;
        if (r->token.size == 10 && !memcmp(r->token.text, "weight_map", 10)) {
            if (maps++) return en_fail(e, EN_E_FORMAT, "weight_map is there twice");
            EN_TRY(read_map(r, e));
        } else {
            EN_TRY(skip_value(r, e));
        }
    }
    EN_TRY(expect(r, WT_JSON_EOF, "the end", e));
    if (!maps) return en_fail(e, EN_E_FORMAT, "JSON without a weight_map: not the index of a sharded checkpoint");
    size_t there = 0;
    for (size_t i = 0; i < r->store->shards; i++) there += r->store->shard[i]->count;
    if (there != r->listed) return en_fail(e, EN_E_FORMAT, "the index lists %zu tensors, its files hold %zu", r->listed, there);
    return EN_OK;
}

en_status wt_parse_shards(wt_store *store, en_error *e)
{
    if (store->size > MAX_INDEX) return en_fail(e, EN_E_LIMIT, "an index of %zu bytes, want at most %d", store->size, MAX_INDEX);
    if (!store->map.bytes) return en_fail(e, EN_E_ARG, "the index of a sharded checkpoint has to be opened as a file");
    reader r = {.store = store, .key = malloc(store->size + 1), .file = malloc(store->size + 1)};
    en_status status = r.key && r.file ? EN_OK : en_fail(e, EN_E_NOMEM, "no memory to read the index");
    r.json = wt_json_text((const char *)store->bytes, store->size);
    if (status == EN_OK) status = read_index(&r, e);
    free(r.key);
    free(r.file);
    return status;
}
