/* SPDX-License-Identifier: MIT */
/* Reading tensors: strided views become dense, and what is wanted as float32 is converted: float64 rounded to nearest, float16 and
 * bfloat16 exactly. */
#include "weights/formats.h"
#include "weights/half.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Converts n elements that lie `step` bytes apart to float32. The file's data need not be aligned. */
static void convert(wt_dtype dtype, const uint8_t *data, ptrdiff_t step, size_t n, float *out)
{
    if (dtype == WT_F64) {
        for (size_t i = 0; i < n; i++) {
            double value;
            memcpy(&value, data + (ptrdiff_t)i * step, sizeof value);
            out[i] = (float)value;
        }
    } else {
        for (size_t i = 0; i < n; i++) {
            uint16_t half;
            memcpy(&half, data + (ptrdiff_t)i * step, sizeof half);
            out[i] = dtype == WT_F16 ? wt_from_f16(half) : wt_from_bf16(half);
        }
    }
}

/* Copies n elements of `width` bytes that lie `step` bytes apart. */
static void gather(const uint8_t *data, ptrdiff_t step, size_t width, size_t n, uint8_t *out)
{
    if (step == (ptrdiff_t)width) {
        memcpy(out, data, n * width);
    } else if (width == 4) {
        for (size_t i = 0; i < n; i++) memcpy(out + i * 4, data + (ptrdiff_t)i * step, 4);
    } else {
        for (size_t i = 0; i < n; i++) memcpy(out + i * width, data + (ptrdiff_t)i * step, width);
    }
}

/* The store, or shard of it, whose file these bytes are mapped from; NULL for memory of the caller's or of our own. */
static const wt_store *mapping_of(const wt_store *store, const uint8_t *at)
{
    for (size_t i = 0; i < store->shards; i++) {
        const wt_store *shard = mapping_of(store->shard[i], at);
        if (shard) return shard;
    }
    return store->map.bytes && at >= store->map.bytes && at < store->map.bytes + store->map.size ? store : NULL;
}

/* Once QUOTA bytes have been read, gives the pages of the file back, all that are resident. They are clean: whoever needs one again,
 * another thread or a neighbouring tensor, gets it again from the system's cache, together with those around it. To give back each part at
 * once would cost more than to read it: Linux maps up to 2 MiB around a page (since 6.18), and unmapping interrupts all other threads. */
void wt_release(const wt_store *store, const uint8_t *from, const uint8_t *to)
{
    enum { QUOTA = 2 << 20, LEAST = 64 << 10 }; /* the little that is read of a page costs the page and its neighbours */
    const wt_store *owner = mapping_of(store, from);
    size_t bytes = to - from < LEAST ? LEAST : (size_t)(to - from);
    if (!owner || atomic_fetch_add(owner->count_read, bytes) + bytes < QUOTA) return;
    atomic_store(owner->count_read, 0);
    (void)!madvise((void *)owner->map.bytes, owner->map.size, MADV_DONTNEED);
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

static en_status check_range(const wt_store *store, const wt_tensor *t, size_t first, size_t count, en_error *e)
{
    size_t elements = wt_elements(t);
    wt_shown name;
    if (first <= elements && count <= elements - first) return EN_OK;
    return en_fail(e, EN_E_ARG, "%s: tensor '%s' has %zu elements, want %zu from %zu on", store->path,
                   wt_show(t->name, strlen(t->name), name), elements, count, first);
}

/* Reads in runs along the last axis, as float32 or, if `raw`, as they are. */
static en_status read_runs(const wt_store *store, const wt_tensor *tensor, int raw, size_t first, size_t count, uint8_t *out, en_error *e)
{
    enum { BLOCK = 1 << 18 }; /* elements read between two releases: bounds what is resident */
    EN_TRY(check_range(store, tensor, first, count, e));
    if (count == 0) return EN_OK; /* the only case that an axis of size 0 allows */
    wt_tensor t = simplified(tensor);
    size_t width = wt_dtype_size(t.dtype), out_width = raw ? width : sizeof(float);
    ptrdiff_t step = (ptrdiff_t)(t.rank ? t.stride[t.rank - 1] : 1) * (ptrdiff_t)width;
    while (count > 0) {
        const uint8_t *low = NULL, *high = NULL;
        for (size_t left = count < BLOCK ? count : BLOCK; left > 0;) {
            const uint8_t *start;
            size_t run = find_run(&t, first, &start);
            if (run > left) run = left;
            if (raw || t.dtype == WT_F32)
                gather(start, step, width, run, out);
            else
                convert(t.dtype, start, step, run, (float *)(void *)out);
            const uint8_t *end = start + (ptrdiff_t)(run - 1) * step + width;
            if (!low || start < low) low = start;
            if (!high || end > high) high = end;
            out += run * out_width;
            first += run;
            count -= run;
            left -= run;
        }
        wt_release(store, low, high);
    }
    return EN_OK;
}

en_status wt_read(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count, float *out, en_error *e)
{
    wt_shown name;
    if (tensor->dtype > WT_BF16)
        return en_fail(e, EN_E_ARG, "%s: tensor '%s' is %s, want floating point", store->path,
                       wt_show(tensor->name, strlen(tensor->name), name), wt_dtype_name(tensor->dtype));
    return read_runs(store, tensor, 0, first, count, (uint8_t *)out, e);
}

const float *wt_peek(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count)
{
    wt_tensor t = simplified(tensor);
    int dense = t.rank == 0 || (t.rank == 1 && t.stride[0] == 1);
    if (t.dtype != WT_F32 || !dense || (uintptr_t)t.data % sizeof(float) || check_range(store, tensor, first, count, NULL) != EN_OK) return NULL;
    const float *start = (const float *)(const void *)t.data + first;
    wt_release(store, (const uint8_t *)start, (const uint8_t *)(start + count));
    return start;
}

en_status wt_read_raw(const wt_store *store, const wt_tensor *tensor, size_t first, size_t count, void *out, en_error *e)
{
    return read_runs(store, tensor, 1, first, count, out, e);
}
