/* SPDX-License-Identifier: MIT */
/* Tensors on their way into a file, a piece at a time; and .safetensors, which needs nothing more. */
#include "weights/write.h"
#include "weights/checksum.h"
#include "weights/half.h"
#include "weights/json.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static en_status read_stored(const wt_output *t, size_t first, size_t count, void *out, en_error *e)
{
    const wt_tensor *tensor = t->tensor;
    return tensor->dtype == t->from ? wt_read_raw(t->self, tensor, first, count, out, e)
                                    : wt_read(t->self, tensor, first, count, out, e);
}

wt_output wt_output_of(const wt_store *store, const wt_tensor *tensor, const char *name, wt_dtype dtype)
{
    wt_output t = {.name = name, .dtype = dtype, .rank = tensor->rank, .read = read_stored, .self = store, .tensor = tensor};
    t.from = tensor->dtype == dtype ? dtype : WT_F32;
    memcpy(t.dim, tensor->dim, sizeof t.dim);
    return t;
}

size_t wt_output_bytes(const wt_output *t) { return (size_t)wt_shape_elements(t->dim, t->rank) * wt_dtype_size(t->dtype); }

static int compare_names(const void *a, const void *b) { return strcmp(*(const char *const *)a, *(const char *const *)b); }

static int is_half(wt_dtype dtype) { return dtype == WT_F16 || dtype == WT_BF16; }

en_status wt_check_outputs(const wt_output *tensors, size_t count, en_error *e)
{
    const char **names = malloc((count + 1) * sizeof *names);
    if (!names) return en_fail(e, EN_E_NOMEM, "no memory for %zu names", count);
    en_status status = EN_OK;
    for (size_t i = 0; i < count && status == EN_OK; i++) {
        const wt_output *t = &tensors[i];
        names[i] = t->name;
        int64_t elements = t->rank < 0 || t->rank > WT_MAX_RANK ? -1 : wt_shape_elements(t->dim, t->rank);
        if (elements < 0 || elements > INT64_MAX / 8 || !strcmp(t->name, "__metadata__"))
            status = en_fail(e, EN_E_ARG, "tensor '%s': a name or a shape that cannot be written", t->name);
        else if (t->from != t->dtype && !(t->from == WT_F32 && is_half(t->dtype)))
            status = en_fail(e, EN_E_ARG, "tensor '%s': cannot turn %s into %s", t->name, wt_dtype_name(t->from), wt_dtype_name(t->dtype));
    }
    if (status == EN_OK && count) qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 1; i < count && status == EN_OK; i++)
        if (!strcmp(names[i], names[i - 1])) status = en_fail(e, EN_E_ARG, "tensor '%s' is there twice", names[i]);
    free(names);
    return status;
}

/* Rounds in place: a half takes less room than its float. */
static en_status round_values(const wt_output *t, size_t first, size_t count, void *values, en_error *e)
{
    const uint8_t *in = values;
    uint8_t *out = values;
    const int to_f16 = t->dtype == WT_F16, infinity = to_f16 ? 0x7C00 : 0x7F80;
    for (size_t i = 0; i < count; i++) {
        float value;
        memcpy(&value, in + 4 * i, sizeof value);
        uint16_t half = to_f16 ? wt_to_f16(value) : wt_to_bf16(value);
        if ((half & 0x7FFF) == infinity && isfinite(value))
            return en_fail(e, EN_E_NONFINITE, "tensor '%s': element %zu, %g, is too large for %s", t->name, first + i, (double)value,
                           wt_dtype_name(t->dtype));
        memcpy(out + 2 * i, &half, sizeof half);
    }
    return EN_OK;
}

en_status wt_put_output(wt_writer *w, const wt_output *t, uint32_t *crc, en_error *e)
{
    enum { PIECE = 1 << 16 }; /* elements */
    size_t elements = (size_t)wt_shape_elements(t->dim, t->rank), width = wt_dtype_size(t->dtype);
    uint8_t *piece = malloc(PIECE * sizeof(double));
    if (!piece) return en_fail(e, EN_E_NOMEM, "tensor '%s': no memory to copy it", t->name);
    en_status status = EN_OK;
    uint32_t sum = 0;
    for (size_t first = 0; first < elements && status == EN_OK; first += PIECE) {
        size_t count = elements - first < PIECE ? elements - first : PIECE;
        status = t->read(t, first, count, piece, e);
        if (status == EN_OK && t->from != t->dtype) status = round_values(t, first, count, piece, e);
        if (status == EN_OK && crc) sum = wt_crc32(sum, piece, count * width);
        if (status == EN_OK) status = wt_writer_put(w, piece, count * width, e);
    }
    free(piece);
    if (crc) *crc = sum;
    return status;
}

/* ---- .safetensors ---- */

/* Writes one entry of the header; its data follows at *offset. */
static void put_entry(wt_json_writer *w, const wt_output *t, size_t *offset)
{
    wt_json_put_key(w, t->name);
    wt_json_open(w, '{');
    wt_json_put_key(w, "dtype");
    wt_json_put_string(w, wt_safetensors_dtype(t->dtype));
    wt_json_put_key(w, "shape");
    wt_json_open(w, '[');
    for (int i = 0; i < t->rank; i++) wt_json_put_integer(w, t->dim[i]);
    wt_json_close(w, ']');
    wt_json_put_key(w, "data_offsets");
    wt_json_open(w, '[');
    wt_json_put_integer(w, (int64_t)*offset);
    wt_json_put_integer(w, (int64_t)(*offset += wt_output_bytes(t)));
    wt_json_close(w, ']');
    wt_json_close(w, '}');
}

static void put_metadata(wt_json_writer *w, const char *const *metadata)
{
    if (!metadata || !*metadata) return;
    wt_json_put_key(w, "__metadata__");
    wt_json_open(w, '{');
    for (; metadata[0]; metadata += 2) {
        wt_json_put_key(w, metadata[0]);
        wt_json_put_string(w, metadata[1]);
    }
    wt_json_close(w, '}');
}

/* The order of the file: wider elements first. */
static const wt_output **sort_by_width(const wt_output *tensors, size_t count)
{
    const wt_output **order = malloc((count + 1) * sizeof *order), **next = order;
    for (size_t width = 8; order && width > 0; width /= 2)
        for (size_t i = 0; i < count; i++)
            if (wt_dtype_size(tensors[i].dtype) == width) *next++ = &tensors[i];
    return order;
}

static en_status make_header(const wt_output *const *order, size_t count, const char *const *metadata, char **text, size_t *size,
                             en_error *e)
{
    wt_json_writer w = {0};
    size_t offset = 0;
    wt_json_open(&w, '{');
    put_metadata(&w, metadata);
    for (size_t i = 0; i < count; i++) put_entry(&w, order[i], &offset);
    wt_json_close(&w, '}');
    return wt_json_take(&w, text, size, e);
}

static en_status put_file(wt_writer *w, const wt_output *const *order, size_t count, const char *header, size_t size, en_error *e)
{
    uint64_t padded = (size + 7) / 8 * 8; /* with spaces, so that the data is aligned */
    EN_TRY(wt_writer_put(w, &padded, sizeof padded, e));
    EN_TRY(wt_writer_put(w, header, size, e));
    EN_TRY(wt_writer_put(w, "        ", (size_t)padded - size, e));
    for (size_t i = 0; i < count; i++) EN_TRY(wt_put_output(w, order[i], NULL, e));
    return EN_OK;
}

en_status wt_write_safetensors(const char *path, const wt_output *tensors, size_t count, const char *const *metadata, en_error *e)
{
    EN_TRY(wt_check_outputs(tensors, count, e));
    const wt_output **order = sort_by_width(tensors, count);
    if (!order) return en_fail(e, EN_E_NOMEM, "%s: no memory for its header", path);
    wt_writer w;
    char *header = NULL;
    size_t size;
    en_status status = make_header(order, count, metadata, &header, &size, e);
    if (status == EN_OK) status = wt_writer_open(path, &w, e);
    if (status == EN_OK) status = wt_writer_end(&w, put_file(&w, order, count, header, size, e), e);
    free(header);
    free(order);
    return status;
}

static en_status read_array(const wt_output *t, size_t first, size_t count, void *out, en_error *e)
{
    (void)e;
    size_t width = wt_dtype_size(t->dtype);
    memcpy(out, (const uint8_t *)t->self + first * width, count * width);
    return EN_OK;
}

en_status wt_save_safetensors(const char *path, const wt_array *arrays, size_t count, const char *const *metadata, en_error *e)
{
    wt_output *tensors = malloc((count + 1) * sizeof *tensors);
    if (!tensors) return en_fail(e, EN_E_NOMEM, "%s: no memory for its header", path);
    for (size_t i = 0; i < count; i++) {
        const wt_array *a = &arrays[i];
        tensors[i] = (wt_output){a->name, a->dtype, a->rank, {0}, read_array, a->dtype, a->data, NULL};
        memcpy(tensors[i].dim, a->dim, sizeof a->dim);
    }
    en_status status = wt_write_safetensors(path, tensors, count, metadata, e);
    free(tensors);
    return status;
}
