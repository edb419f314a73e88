/* SPDX-License-Identifier: MIT */
/* A store is a mapped file, a table of tensors inside it and an index sorted by name. Formats fill the table (formats.h); here are
 * opening, finding, and reading with conversion: float32 as it is, float64 rounded to nearest, float16 (IEEE 754 binary16) and
 * bfloat16 (the upper half of a binary32) exactly. */
#include "weights/formats.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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
const wt_metadata *wt_metadata_of(const wt_store *store) { return store->metadata; }

const char *wt_show(const void *text, size_t size, wt_shown out)
{
    const unsigned char *s = text;
    size_t n = size < sizeof(wt_shown) ? size : sizeof(wt_shown) - 1;
    for (size_t i = 0; i < n; i++) out[i] = s[i] >= 0x20 && s[i] < 0x7F ? (char)s[i] : '?';
    if (n < size) memset(out + n - 3, '.', 3);
    out[n] = 0;
    return out;
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
    if (elements < 0)
        return en_fail(e, EN_E_FORMAT, "tensor '%s': impossible shape: a size is negative or the product overflows", name);
    if ((uint64_t)elements > store->size)
        return en_fail(e, EN_E_LIMIT, "tensor '%s': %lld elements in a file of %zu bytes", name, (long long)elements, store->size);
    for (int i = 0; i < t->rank; i++)
        if (t->stride[i] < 0) return en_fail(e, EN_E_FORMAT, "tensor '%s': negative stride %lld", name, (long long)t->stride[i]);
    if (offset > limit) return en_fail(e, EN_E_FORMAT, "tensor '%s': starts past the end of its data", name);
    int64_t last = elements ? last_element(t) : -1;
    if (elements && (last < 0 || (uint64_t)last >= (limit - offset) / wt_dtype_size(t->dtype)))
        return en_fail(e, EN_E_FORMAT, "tensor '%s': reaches past the end of its data", name);
    return EN_OK;
}

en_status wt_store_add(wt_store *store, const wt_tensor *tensor, const char *name, size_t name_size, size_t offset, size_t limit,
                       en_error *e)
{
    wt_shown shown;
    EN_TRY(check_extent(store, tensor, wt_show(name, name_size, shown), offset, limit, e));
    if (memchr(name, 0, name_size)) return en_fail(e, EN_E_FORMAT, "tensor '%s': a NUL in its name", shown);
    if (store->count == WT_MAX_TENSORS) return en_fail(e, EN_E_LIMIT, "more than %d tensors", WT_MAX_TENSORS);
    if (store->count == store->capacity) {
        size_t capacity = store->capacity ? 2 * store->capacity : 64;
        wt_tensor *grown = realloc(store->tensor, capacity * sizeof *grown);
        if (!grown) return en_fail(e, EN_E_NOMEM, "no memory for a table of %zu tensors", capacity);
        store->tensor = grown;
        store->capacity = capacity;
    }
    char *copy = malloc(name_size + 1);
    if (!copy) return en_fail(e, EN_E_NOMEM, "no memory for a tensor's name");
    memcpy(copy, name, name_size);
    copy[name_size] = 0;
    wt_tensor *slot = &store->tensor[store->count++];
    *slot = *tensor;
    slot->name = copy;
    slot->data = store->bytes + offset;
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
    {0, 14, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19",
     "torch's file format before version 1.6; load it in torch and save it again with torch.save"},
    {257, 5, "ustar", "torch's tar format before version 0.1.10; load it in torch and save it again with torch.save"},
    {0, 2, "\x1f\x8b", "a gzip file; unpack it first"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file (Keras); only torch's and safetensors' formats are read"},
    {0, 22, "version https://git-lf", "a Git LFS pointer, not the file itself; fetch it with git lfs pull"},
    {0, 5, "<html", "a web page, not a checkpoint; download it again"},
    {0, 9, "<!DOCTYPE", "a web page, not a checkpoint; download it again"},
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
    if (begins(s, 0, "PK\3\4", 4) || begins(s, 0, "PK\5\6", 4)) return wt_parse_torch_zip(s, e);
    if (begins(s, 8, "{", 1)) return wt_parse_safetensors(s, e);
    return en_fail(e, EN_E_FORMAT, "not a checkpoint: want .safetensors, or torch's .pth (a zip archive)");
}

static en_status open_store(const char *name, const wt_file *map, const void *bytes, size_t size, wt_store **out, en_error *e)
{
    *out = NULL;
    wt_store *store = calloc(1, sizeof *store);
    if (!store) return en_fail(e, EN_E_NOMEM, "%s: no memory to open it", name);
    *store = (wt_store){.path = strdup(name), .bytes = bytes, .size = size};
    en_status status = store->path ? parse(store, e) : en_fail(e, EN_E_NOMEM, "no memory for its name");
    if (status == EN_OK) status = index_names(store, e);
    if (status != EN_OK) {
        wt_close(store);
        return en_wrap(e, status, "%s", name);
    }
    if (map) store->map = *map;
    *out = store;
    return EN_OK;
}

en_status wt_open_bytes(const char *name, const void *bytes, size_t size, wt_store **out, en_error *e)
{
    return open_store(name, NULL, bytes, size, out, e);
}

en_status wt_open(const char *path, wt_store **out, en_error *e)
{
    wt_file map;
    *out = NULL;
    EN_TRY(wt_file_map(path, &map, e));
    en_status status = open_store(path, &map, map.bytes, map.size, out, e);
    if (status != EN_OK) wt_file_unmap(&map);
    return status;
}

void wt_close(wt_store *store)
{
    if (!store) return;
    for (size_t i = 0; i < store->count; i++) free((void *)store->tensor[i].name);
    free(store->tensor);
    free(store->by_name);
    free(store->path);
    wt_file_unmap(&store->map);
    free(store);
}

static float from_bits(uint32_t bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float from_bf16(uint16_t bits) { return from_bits((uint32_t)bits << 16); }

static float from_f16(uint16_t half)
{
    uint32_t sign = (uint32_t)(half & 0x8000) << 16, exponent = half >> 10 & 31, fraction = half & 0x3FF;
    if (exponent == 31) return from_bits(sign | 0x7F800000 | fraction << 13); /* infinity, NaN with its payload */
    if (exponent) return from_bits(sign | (exponent + 112) << 23 | fraction << 13);
    float tiny = (float)fraction * 0x1p-24f; /* zero and subnormals: exact */
    return sign ? -tiny : tiny;
}

/* Converts n elements that lie `step` elements apart. The file's data need not be aligned. */
static void convert(wt_dtype dtype, const uint8_t *data, int64_t step, size_t n, float *out)
{
    ptrdiff_t bytes = (ptrdiff_t)step * (ptrdiff_t)wt_dtype_size(dtype);
    if (dtype == WT_F32 && step == 1) {
        memcpy(out, data, n * sizeof *out);
    } else if (dtype == WT_F32) {
        for (size_t i = 0; i < n; i++) memcpy(&out[i], data + (ptrdiff_t)i * bytes, sizeof *out);
    } else if (dtype == WT_F64) {
        for (size_t i = 0; i < n; i++) {
            double value;
            memcpy(&value, data + (ptrdiff_t)i * bytes, sizeof value);
            out[i] = (float)value;
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, data + (ptrdiff_t)i * bytes, sizeof half);
            out[i] = dtype == WT_F16 ? from_f16(half) : from_bf16(half);
        }
    }
}

/* Gives the pages of this part of the mapping back. They are clean pages of a file: whoever needs one again, another thread or a
 * neighbouring tensor, gets it again from the system's cache, so rounding outwards is right, and leaves nothing behind. */
static void release(const wt_store *store, const uint8_t *from, const uint8_t *to)
{
    if (!store->map.bytes) return;
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t start = (size_t)(from - store->bytes) / page * page, end = (size_t)(to - store->bytes);
    (void)!madvise((void *)(store->bytes + start), end - start, MADV_DONTNEED);
}

/* The tensor with axes of size 1 dropped and neighbours merged where one continues the other; dense tensors get rank 0 or 1. */
static wt_tensor simplified(const wt_tensor *t)
{
    wt_tensor s = *t;
    s.rank = 0;
    for (int i = 0; i < t->rank; i++) {
        int last = s.rank - 1;
        if (t->dim[i] == 1) continue;
        if (last >= 0 && t->stride[i] > 0 && s.stride[last] / t->dim[i] == t->stride[i] && s.stride[last] % t->dim[i] == 0) {
            s.dim[last] *= t->dim[i];
            s.stride[last] = t->stride[i];
        } else {
            s.dim[s.rank] = t->dim[i];
            s.stride[s.rank++] = t->stride[i];
        }
    }
    return s;
}

/* The longest run from element `first` along the last axis: where it starts, and how many elements. */
static size_t find_run(const wt_tensor *t, size_t first, const uint8_t **start)
{
    if (t->rank == 0) return *start = t->data, 1;
    size_t run = (size_t)t->dim[t->rank - 1] - first % (size_t)t->dim[t->rank - 1];
    int64_t element = 0;
    for (int i = t->rank - 1; i >= 0; i--) {
        element += (int64_t)(first % (size_t)t->dim[i]) * t->stride[i];
        first /= (size_t)t->dim[i];
    }
    *start = t->data + (size_t)element * wt_dtype_size(t->dtype);
    return run;
}

en_status wt_read(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count, float *out, en_error *e)
{
    enum { BLOCK = 1 << 18 }; /* elements converted between two releases: bounds what is resident */
    wt_shown name;
    wt_show(tensor->name, strlen(tensor->name), name);
    if (tensor->dtype > WT_BF16)
        return en_fail(e, EN_E_ARG, "%s: tensor '%s' is %s, want floating point", store->path, name, wt_dtype_name(tensor->dtype));
    size_t elements = wt_elements(tensor);
    if (first > elements || count > elements - first)
        return en_fail(e, EN_E_ARG, "%s: tensor '%s' has %zu elements, want %zu from %zu on", store->path, name, elements, count,
                       first);
    if (count == 0) return EN_OK; /* the only case that an axis of size 0 allows */
    wt_tensor t = simplified(tensor);
    int64_t step = t.rank ? t.stride[t.rank - 1] : 1;
    while (count > 0) {
        const uint8_t *low = NULL, *high = NULL;
        for (size_t left = count < BLOCK ? count : BLOCK; left > 0;) {
            const uint8_t *start;
            size_t run = find_run(&t, first, &start);
            if (run > left) run = left;
            convert(t.dtype, start, step, run, out);
            const uint8_t *end = start + ((run - 1) * (size_t)step + 1) * wt_dtype_size(t.dtype);
            if (!low || start < low) low = start;
            if (!high || end > high) high = end;
            out += run;
            first += run;
            count -= run;
            left -= run;
        }
        release(store, low, high);
    }
    return EN_OK;
}
