/* SPDX-License-Identifier: MIT */
/* The safetensors format (github.com/huggingface/safetensors): 8 bytes n, little-endian; n bytes of JSON; the data.
 *     {"__metadata__": {"key": "text"}, "NAME": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, ...}
 * Offsets count from the start of the data. The tensors tile the data: no overlap, no hole, nothing behind the last. */
#include "weights/formats.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

enum {
    PREFIX = 8,
    MAX_HEADER = 16 << 20 /* the specification allows 100 MB; the largest of our networks needs 40 kB */
};

static const struct {
    const char *name;
    wt_dtype dtype;
} dtypes[] = {
    {"F32", WT_F32}, {"F64", WT_F64}, {"F16", WT_F16}, {"BF16", WT_BF16}, {"I64", WT_I64},
    {"I32", WT_I32}, {"I16", WT_I16}, {"I8", WT_I8},   {"U8", WT_U8},     {"BOOL", WT_BOOL},
};

const char *wt_safetensors_dtype(wt_dtype dtype)
{
    size_t i = 0;
    while (dtypes[i].dtype != dtype) i++;
    return dtypes[i].name;
}

typedef struct reader {
    wt_store *store;
    wt_json json;
    wt_json_token token;
    size_t data, data_size; /* where the data starts in the file, and its bytes */
    char *name;             /* of the current tensor; room for the whole header */
    wt_shown shown;
} reader;

static en_status expect(reader *r, wt_json_kind kind, const char *what, en_error *e)
{
    EN_TRY(wt_json_next(&r->json, &r->token, e));
    if (r->token.kind != kind) return en_fail(e, EN_E_FORMAT, "header, offset %zu: want %s", r->token.offset, what);
    return EN_OK;
}

/* The numbers of an array, at most `max`, all of them at least 0. Returns how many in *count. */
static en_status read_numbers(reader *r, const char *field, int64_t *out, int max, int *count, en_error *e)
{
    EN_TRY(expect(r, WT_JSON_ARRAY, "an array", e));
    for (*count = 0;; ++*count) {
        int64_t value;
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_ARRAY_END) return EN_OK;
        if (*count == max) return en_fail(e, EN_E_LIMIT, "tensor '%s': more than %d numbers in %s", r->shown, max, field);
        EN_TRY(wt_json_integer(&r->token, &value, e));
        if (value < 0) return en_fail(e, EN_E_FORMAT, "tensor '%s': negative number in %s", r->shown, field);
        out[*count] = value;
    }
}

static en_status read_dtype(reader *r, wt_dtype *out, en_error *e)
{
    wt_shown found;
    EN_TRY(expect(r, WT_JSON_STRING, "the name of a dtype", e));
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        if (strlen(dtypes[i].name) != r->token.size || memcmp(dtypes[i].name, r->token.text, r->token.size) != 0) continue;
        *out = dtypes[i].dtype;
        return EN_OK;
    }
    return en_fail(e, EN_E_UNSUPPORTED, "tensor '%s': unknown dtype '%s'", r->shown, wt_show(r->token.text, r->token.size, found));
}

/* One value of the header's dict, "NAME": already read. */
static en_status read_tensor(reader *r, en_error *e)
{
    enum { DTYPE = 1, SHAPE = 2, OFFSETS = 4, ALL = 7 };
    wt_tensor tensor = {0};
    int64_t offsets[2];
    int seen = 0, offset_count = 0;
    EN_TRY(expect(r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_OBJECT_END) break;
        wt_shown field;
        wt_show(r->token.text, r->token.size, field);
        int bit = !strcmp(field, "dtype") ? DTYPE : !strcmp(field, "shape") ? SHAPE : !strcmp(field, "data_offsets") ? OFFSETS : 0;
        if (!bit) return en_fail(e, EN_E_FORMAT, "tensor '%s': unknown field '%s'", r->shown, field);
        if (seen & bit) return en_fail(e, EN_E_FORMAT, "tensor '%s': field '%s' is there twice", r->shown, field);
        seen |= bit;
        if (bit == DTYPE) EN_TRY(read_dtype(r, &tensor.dtype, e));
        if (bit == SHAPE) EN_TRY(read_numbers(r, field, tensor.dim, WT_MAX_RANK, &tensor.rank, e));
        if (bit == OFFSETS) EN_TRY(read_numbers(r, field, offsets, 2, &offset_count, e));
    }
    if (seen != ALL || offset_count != 2)
        return en_fail(e, EN_E_FORMAT, "tensor '%s': want dtype, shape and two data_offsets", r->shown);
    uint64_t begin = (uint64_t)offsets[0], end = (uint64_t)offsets[1];
    if (begin > end || end > r->data_size)
        return en_fail(e, EN_E_FORMAT, "tensor '%s': data_offsets [%lld, %lld] in %zu bytes of data", r->shown,
                       (long long)offsets[0], (long long)offsets[1], r->data_size);
    int64_t elements = wt_shape_elements(tensor.dim, tensor.rank);
    if (elements >= 0 && ((uint64_t)elements > end - begin || (uint64_t)elements * wt_dtype_size(tensor.dtype) != end - begin))
        return en_fail(e, EN_E_FORMAT, "tensor '%s': shape and dtype do not give the %llu bytes of its data_offsets", r->shown,
                       (unsigned long long)(end - begin));
    if (elements >= 0) wt_row_major(tensor.dim, tensor.rank, tensor.stride);
    return wt_store_add(r->store, &tensor, r->name, strlen(r->name), r->store->bytes, r->data + (size_t)begin,
                        r->data + (size_t)end, e);
}

static en_status read_metadata(reader *r, en_error *e)
{
    EN_TRY(expect(r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_OBJECT_END) return EN_OK;
        EN_TRY(expect(r, WT_JSON_STRING, "a text as value of __metadata__", e));
    }
}

static en_status read_header(reader *r, en_error *e)
{
    int metadata = 0;
    EN_TRY(expect(r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_OBJECT_END) return expect(r, WT_JSON_EOF, "the end", e);
        EN_TRY(wt_json_string(&r->token, r->name, e));
        wt_show(r->name, strlen(r->name), r->shown);
        if (strcmp(r->name, "__metadata__") != 0) {
            EN_TRY(read_tensor(r, e));
        } else if (metadata++) {
            return en_fail(e, EN_E_FORMAT, "__metadata__ is there twice");
        } else {
            EN_TRY(read_metadata(r, e));
        }
    }
}

static size_t byte_size(const wt_tensor *t) { return wt_elements(t) * wt_dtype_size(t->dtype); }

static int compare_places(const void *a, const void *b)
{
    const wt_tensor *x = *(const wt_tensor *const *)a, *y = *(const wt_tensor *const *)b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (byte_size(x) > 0) - (byte_size(y) > 0); /* empty tensors first */
}

/* Every byte of the data belongs to exactly one tensor. */
static en_status check_tiling(const wt_store *store, size_t data, en_error *e)
{
    const wt_tensor **order = malloc((store->count + 1) * sizeof *order);
    if (!order) return en_fail(e, EN_E_NOMEM, "no memory to check %zu tensors", store->count);
    for (size_t i = 0; i < store->count; i++) order[i] = &store->tensor[i];
    qsort(order, store->count, sizeof *order, compare_places);
    const uint8_t *end = store->bytes + data;
    en_status status = EN_OK;
    for (size_t i = 0; i < store->count && status == EN_OK; i++) {
        wt_shown name;
        wt_show(order[i]->name, strlen(order[i]->name), name);
        if (order[i]->data < end) status = en_fail(e, EN_E_FORMAT, "tensor '%s' overlaps another one", name);
        if (order[i]->data > end) status = en_fail(e, EN_E_FORMAT, "a hole in the data before tensor '%s'", name);
        end = order[i]->data + byte_size(order[i]);
    }
    free(order);
    if (status == EN_OK && end != store->bytes + store->size)
        status = en_fail(e, EN_E_FORMAT, "%zu bytes follow the last tensor", (size_t)(store->bytes + store->size - end));
    return status;
}

en_status wt_parse_safetensors(wt_store *store, en_error *e)
{
    uint64_t header;
    if (store->size < PREFIX) return en_fail(e, EN_E_FORMAT, "too short for a safetensors file");
    memcpy(&header, store->bytes, sizeof header);
    if (header > store->size - PREFIX)
        return en_fail(e, EN_E_FORMAT, "safetensors header of %llu bytes in a file of %zu", (unsigned long long)header,
                       store->size);
    if (header > MAX_HEADER)
        return en_fail(e, EN_E_LIMIT, "safetensors header of %llu bytes, want at most %d", (unsigned long long)header, MAX_HEADER);
    size_t data = PREFIX + (size_t)header;
    reader r = {.store = store, .data = data, .data_size = store->size - data, .name = malloc((size_t)header + 1)};
    if (!r.name) return en_fail(e, EN_E_NOMEM, "no memory to read the header");
    r.json = wt_json_text((const char *)store->bytes + PREFIX, (size_t)header);
    en_status status = read_header(&r, e);
    free(r.name);
    return status == EN_OK ? check_tiling(store, data, e) : status;
}
