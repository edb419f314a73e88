/* SPDX-License-Identifier: MIT */
/* A store is a mapped file, a table of tensors inside it and an index sorted by name. Formats fill the table (formats.h); here are
 * opening and finding. */
#include "weights/checksum.h"
#include "weights/formats.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    size_t size;
} dtypes[] = {
    [WT_F32] = {"float32", 4}, [WT_F64] = {"float64", 8}, [WT_F16] = {"float16", 2}, [WT_BF16] = {"bfloat16", 2},
    [WT_I64] = {"int64", 8},   [WT_I32] = {"int32", 4},   [WT_I16] = {"int16", 2},   [WT_I8] = {"int8", 1},
    [WT_U8] = {"uint8", 1},    [WT_BOOL] = {"bool", 1},
};

const char *wt_dtype_name(wt_dtype dtype) { return dtypes[dtype].name; }
size_t wt_dtype_size(wt_dtype dtype) { return dtypes[dtype].size; }

size_t wt_count(const wt_store *store) { return store->count; }
const wt_tensor *wt_at(const wt_store *store, size_t i) { return &store->tensor[i]; }
const char *wt_path(const wt_store *store) { return store->path; }
const char *wt_format(const wt_store *store) { return store->format; }

const char *wt_show(const void *text, size_t size, wt_shown out)
{
    const unsigned char *s = text;
    size_t n = size < sizeof(wt_shown) ? size : sizeof(wt_shown) - 1;
    for (size_t i = 0; i < n; i++) out[i] = s[i] >= 0x20 && s[i] < 0x7F ? (char)s[i] : '?';
    if (n < size) memset(out + n - 3, '.', 3);
    out[n] = 0;
    return out;
}

int wt_compare_texts(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

int64_t wt_shape_elements(const int64_t *dim, int rank)
{
    int64_t product = 1, elements = 1; /* product: without the zeros */
    for (int i = 0; i < rank; i++) {
        if (dim[i] < 0 || __builtin_mul_overflow(product, dim[i] ? dim[i] : 1, &product)) return -1;
        if (dim[i] == 0) elements = 0;
    }
    return elements ? product : 0;
}

size_t wt_elements(const wt_tensor *tensor) { return (size_t)wt_shape_elements(tensor->dim, tensor->rank); }

void wt_row_major(const int64_t *dim, int rank, int64_t *stride)
{
    int64_t step = 1;
    for (int i = rank - 1; i >= 0; i--) {
        stride[i] = step;
        step *= dim[i] ? dim[i] : 1;
    }
}

/* The index of the last element that a view with these strides touches; -1 on overflow. */
static int64_t last_element(const wt_tensor *t)
{
    int64_t last = 0, reach;
    for (int i = 0; i < t->rank; i++)
        if (__builtin_mul_overflow(t->dim[i] - 1, t->stride[i], &reach) || __builtin_add_overflow(last, reach, &last)) return -1;
    return last;
}

static en_status check_extent(const wt_store *store, const wt_tensor *t, const char *name, size_t offset, size_t limit, en_error *e)
{
    int64_t elements = wt_shape_elements(t->dim, t->rank);
    size_t most = store->size > limit ? store->size : limit;
    if (elements < 0)
        return en_fail(e, EN_E_FORMAT, "tensor '%s': impossible shape: a size is negative or the product overflows", name);
    if ((uint64_t)elements > most)
        return en_fail(e, EN_E_LIMIT, "tensor '%s': %lld elements in a file of %zu bytes", name, (long long)elements, store->size);
    for (int i = 0; i < t->rank; i++)
        if (t->stride[i] < 0) return en_fail(e, EN_E_FORMAT, "tensor '%s': negative stride %lld", name, (long long)t->stride[i]);
    if (offset > limit) return en_fail(e, EN_E_FORMAT, "tensor '%s': starts past the end of its data", name);
    int64_t last = elements ? last_element(t) : -1;
    if (elements && (last < 0 || (uint64_t)last >= (limit - offset) / wt_dtype_size(t->dtype)))
        return en_fail(e, EN_E_FORMAT, "tensor '%s': reaches past the end of its data", name);
    return EN_OK;
}

/* The table with room for one more tensor. */
static en_status make_room(wt_store *store, en_error *e)
{
    if (store->count == WT_MAX_TENSORS) return en_fail(e, EN_E_LIMIT, "more than %d tensors", WT_MAX_TENSORS);
    if (store->count < store->capacity) return EN_OK;
    size_t capacity = store->capacity ? 2 * store->capacity : 64;
    wt_tensor *grown = realloc(store->tensor, capacity * sizeof *grown);
    if (!grown) return en_fail(e, EN_E_NOMEM, "no memory for a table of %zu tensors", capacity);
    store->tensor = grown;
    store->capacity = capacity;
    return EN_OK;
}

static en_status append(wt_store *store, const wt_tensor *tensor, const char *name, size_t name_size, const uint8_t *data, en_error *e)
{
    EN_TRY(make_room(store, e));
    char *copy = malloc(name_size + 1);
    if (!copy) return en_fail(e, EN_E_NOMEM, "no memory for a tensor's name");
    memcpy(copy, name, name_size);
    copy[name_size] = 0;
    wt_tensor *slot = &store->tensor[store->count++];
    *slot = *tensor;
    slot->name = copy;
    slot->data = data;
    return EN_OK;
}

en_status wt_store_add(wt_store *store, const wt_tensor *tensor, const char *name, size_t name_size, const uint8_t *bytes,
                       size_t offset, size_t limit, en_error *e)
{
    wt_shown shown;
    EN_TRY(check_extent(store, tensor, wt_show(name, name_size, shown), offset, limit, e));
    if (memchr(name, 0, name_size)) return en_fail(e, EN_E_FORMAT, "tensor '%s': a NUL in its name", shown);
    return append(store, tensor, name, name_size, bytes + offset, e);
}

en_status wt_store_adopt(wt_store *store, const wt_tensor *tensor, en_error *e)
{
    return append(store, tensor, tensor->name, strlen(tensor->name), tensor->data, e);
}

en_status wt_store_add_view(wt_store *store, const wt_pickle *pickle, const wt_pickle_entry *entry, const uint8_t *data,
                            size_t available, en_error *e)
{
    const wt_pickle_tensor *view = &pickle->tensor[entry->tensor];
    const wt_pickle_storage *storage = &pickle->storage[view->storage];
    size_t width = wt_dtype_size(storage->dtype);
    int64_t first;
    wt_shown shown;
    wt_show(entry->name.at, entry->name.size, shown);
    if ((uint64_t)storage->elements > available / width)
        return en_fail(e, EN_E_FORMAT, "tensor '%s': a storage of %lld elements of %s in %zu bytes", shown,
                       (long long)storage->elements, wt_dtype_name(storage->dtype), available);
    if (__builtin_add_overflow(storage->first, view->offset, &first) || first > storage->elements)
        return en_fail(e, EN_E_FORMAT, "tensor '%s': starts past the end of its data", shown);
    wt_tensor tensor = {.dtype = storage->dtype, .rank = view->rank};
    memcpy(tensor.dim, view->dim, sizeof tensor.dim);
    memcpy(tensor.stride, view->stride, sizeof tensor.stride);
    return wt_store_add(store, &tensor, entry->name.at, entry->name.size, data, (size_t)first * width,
                        (size_t)storage->elements * width, e);
}

struct wt_block {
    struct wt_block *next;
    uint8_t bytes[];
};

en_status wt_store_block(wt_store *store, size_t size, uint8_t **out, en_error *e)
{
    struct wt_block *block = size < SIZE_MAX / 2 ? malloc(sizeof *block + size) : NULL;
    if (!block) return en_fail(e, EN_E_NOMEM, "no memory for %zu bytes", size);
    block->next = store->block;
    store->block = block;
    *out = block->bytes;
    return EN_OK;
}

static int compare_names(const void *a, const void *b)
{
    return strcmp((*(const wt_tensor *const *)a)->name, (*(const wt_tensor *const *)b)->name);
}

static en_status index_names(wt_store *store, en_error *e)
{
    store->by_name = malloc((store->count + 1) * sizeof *store->by_name);
    if (!store->by_name) return en_fail(e, EN_E_NOMEM, "no memory for the index of %zu tensors", store->count);
    for (size_t i = 0; i < store->count; i++) store->by_name[i] = &store->tensor[i];
    qsort(store->by_name, store->count, sizeof *store->by_name, compare_names);
    for (size_t i = 1; i < store->count; i++) {
        const char *name = store->by_name[i]->name;
        wt_shown shown;
        if (strcmp(name, store->by_name[i - 1]->name) == 0)
            return en_fail(e, EN_E_FORMAT, "tensor '%s' is there twice", wt_show(name, strlen(name), shown));
    }
    return EN_OK;
}

const wt_tensor *wt_find(const wt_store *store, const char *name)
{
    size_t low = 0, high = store->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = strcmp(name, store->by_name[middle]->name);
        if (order == 0) return store->by_name[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* Files that are often found under a checkpoint's name, and what to do about them. */
static const struct {
    size_t at, size;
    const char *bytes, *what;
} strangers[] = {
    {257, 5, "ustar", "torch's tar format before version 0.1.10; load it in torch and save it again with torch.save"},
    {0, 2, "\x1f\x8b", "a gzip file; unpack it first"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (Keras); only torch's and safetensors' formats are read"},
    {0, 22, "version https://git-lf", "a Git LFS pointer, not the file itself; fetch it with git lfs pull"},
    {0, 5, "<html", "a web page, not a checkpoint; download it again"},
    {0, 9, "<!DOCTYPE", "a web page, not a checkpoint; download it again"},
};

/* What is read. The first row that fits counts. */
static const struct {
    size_t at, size;
    const char *bytes, *name;
    en_status (*parse)(wt_store *store, en_error *e);
} formats[] = {
    {0, 8, "\x89" "CAMW\r\n\x1a", "camw", wt_parse_camw},
    {0, 4, "PK\3\4", "torch", wt_parse_zip},
    {0, 4, "PK\5\6", "torch", wt_parse_zip},
    {2, 12, "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19", "torch before 1.6", wt_parse_legacy}, /* the pickle of a number */
    {8, 1, "{", "safetensors", wt_parse_safetensors},
    {0, 1, "{", "sharded safetensors", wt_parse_shards},
};

static int begins(const wt_store *s, size_t at, const char *bytes, size_t size)
{
    return s->size >= at + size && memcmp(s->bytes + at, bytes, size) == 0;
}

static en_status parse(wt_store *s, en_error *e)
{
    for (size_t i = 0; i < sizeof strangers / sizeof *strangers; i++)
        if (begins(s, strangers[i].at, strangers[i].bytes, strangers[i].size))
            return en_fail(e, EN_E_UNSUPPORTED, "this is %s", strangers[i].what);
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++) {
        if (!begins(s, formats[i].at, formats[i].bytes, formats[i].size)) continue;
        s->format = formats[i].name;
        return formats[i].parse(s, e);
    }
    return en_fail(e, EN_E_FORMAT, "not a checkpoint: want .safetensors, torch's .pth, .npz or .camw");
}

/* The mapping, {0} if there is none, belongs to the store from here on, also on failure. */
static en_status open_store(const char *name, wt_file map, const void *bytes, size_t size, int ema, wt_store **out, en_error *e)
{
    *out = NULL;
    wt_store *store = calloc(1, sizeof *store);
    if (!store) {
        wt_file_unmap(&map);
        return en_fail(e, EN_E_NOMEM, "%s: no memory to open it", name);
    }
    *store = (wt_store){.path = strdup(name), .map = map, .count_read = &store->read, .bytes = bytes, .size = size, .ema = ema};
    en_status status = store->path ? parse(store, e) : en_fail(e, EN_E_NOMEM, "no memory for its name");
    if (status == EN_OK) status = index_names(store, e);
    if (status != EN_OK) {
        wt_close(store);
        return en_wrap(e, status, "%s", name);
    }
    *out = store;
    return EN_OK;
}

en_status wt_open_bytes(const char *name, const void *bytes, size_t size, wt_store **out, en_error *e)
{
    return open_store(name, (wt_file){0}, bytes, size, 0, out, e);
}

static en_status open_file(const char *path, int ema, wt_store **out, en_error *e)
{
    wt_file map;
    *out = NULL;
    EN_TRY(wt_file_map(path, &map, e));
    return open_store(path, map, map.bytes, map.size, ema, out, e);
}

en_status wt_open(const char *path, wt_store **out, en_error *e) { return open_file(path, 0, out, e); }

/* Opens every file as a shard of the store and gathers their tensors. */
static en_status open_parts(wt_store *store, const char *const *paths, size_t count, int ema, en_error *e)
{
    store->format = "several files";
    store->path = strdup(paths[0]);
    store->shard = calloc(count, sizeof *store->shard);
    if (!store->path || !store->shard) return en_fail(e, EN_E_NOMEM, "no memory for %zu files", count);
    for (; store->shards < count; store->shards++) {
        wt_store *part;
        EN_TRY(open_file(paths[store->shards], ema, &part, e));
        store->shard[store->shards] = part;
    }
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < store->shard[i]->count; k++) EN_TRY(wt_store_adopt(store, &store->shard[i]->tensor[k], e));
    en_status status = index_names(store, e);
    return status == EN_OK ? EN_OK : en_wrap(e, status, "the %zu files together", count);
}

en_status wt_open_all(const char *const *paths, size_t count, int ema, wt_store **out, en_error *e)
{
    if (count == 1) return open_file(paths[0], ema, out, e);
    *out = NULL;
    wt_store *store = calloc(1, sizeof *store);
    if (!store) return en_fail(e, EN_E_NOMEM, "%s: no memory to open it", paths[0]);
    en_status status = open_parts(store, paths, count, ema, e);
    if (status == EN_OK)
        *out = store;
    else
        wt_close(store);
    return status;
}

/* Part number *i of a store: itself, unless it is only a list, then its shards. */
static const wt_store *part_at(const wt_store *store, size_t *i)
{
    if (store->bytes && (*i)-- == 0) return store;
    for (size_t k = 0; k < store->shards; k++) {
        const wt_store *part = part_at(store->shard[k], i);
        if (part) return part;
    }
    return NULL;
}

const char *wt_file_at(const wt_store *store, size_t i, uint64_t *bytes, char sha256[65])
{
    enum { PIECE = 1 << 20 };
    const wt_store *part = part_at(store, &i);
    wt_sha256 sum;
    uint8_t digest[32];
    if (!part) return NULL;
    wt_sha256_start(&sum);
    for (size_t at = 0; at < part->size; at += PIECE) {
        size_t n = part->size - at < PIECE ? part->size - at : PIECE;
        wt_sha256_add(&sum, part->bytes + at, n);
        wt_release(part, part->bytes + at, part->bytes + at + n);
    }
    wt_sha256_end(&sum, digest);
    wt_sha256_text(digest, sha256);
    *bytes = part->size;
    return part->path;
}

void wt_close(wt_store *store)
{
    if (!store) return;
    for (size_t i = 0; i < store->count; i++) free((void *)store->tensor[i].name);
    for (size_t i = 0; i < store->shards; i++) wt_close(store->shard[i]);
    for (struct wt_block *next; store->block; store->block = next) {
        next = store->block->next;
        free(store->block);
    }
    free(store->shard);
    free(store->tensor);
    free(store->by_name);
    free(store->path);
    wt_file_unmap(&store->map);
    free(store);
}
