/* SPDX-License-Identifier: MIT */
/* .npy: "\x93NUMPY", version (2 bytes), header length (2 bytes in version 1, 4 in 2 and 3), a Python dict as text, the data:
 *     {'descr': '<f4', 'fortran_order': False, 'shape': (3, 224, 224), }  padded with spaces to a multiple of 64, then a newline */
#include "weights/npy.h"
#include "weights/file.h"
#include "weights/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct text {
    const char *at, *end;
} text;

static void skip_space(text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n')) t->at++;
}

/* Skips spaces and then `word`, if it is next. */
static int accept(text *t, const char *word)
{
    size_t n = strlen(word);
    skip_space(t);
    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0) return 0;
    t->at += n;
    return 1;
}

static en_status malformed(const char *what, en_error *e) { return en_fail(e, EN_E_FORMAT, "npy header: want %s", what); }

/* (), (5,) or (3, 224, 224) */
static en_status read_shape(text *t, wt_npy *out, en_error *e)
{
    out->rank = 0;
    if (!accept(t, "(")) return malformed("a tuple as shape", e);
    while (!accept(t, ")")) {
        int64_t value = 0;
        skip_space(t);
        const char *start = t->at;
        for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++)
            if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, *t->at - '0', &value))
                return malformed("a shape that fits 64 bits", e);
        if (t->at == start) return malformed("whole numbers as shape", e);
        if (out->rank == WT_MAX_RANK) return en_fail(e, EN_E_LIMIT, "npy header: more than %d axes", WT_MAX_RANK);
        out->dim[out->rank++] = value;
        if (!accept(t, ",") && t->at < t->end && *t->at != ')') return malformed("',' between the sizes", e);
    }
    return EN_OK;
}

static en_status read_descr(text *t, wt_dtype *dtype, en_error *e)
{
    *dtype = accept(t, "'<f8'") ? WT_F64 : WT_F32;
    if (*dtype == WT_F64 || accept(t, "'<f4'")) return EN_OK;
    wt_shown found;
    const char *end = memchr(t->at, ',', (size_t)(t->end - t->at));
    return en_fail(e, EN_E_UNSUPPORTED, "npy: elements are %s, want '<f4' or '<f8'",
                   wt_show(t->at, (size_t)((end ? end : t->end) - t->at), found));
}

static en_status read_header(text *t, wt_npy *out, wt_dtype *dtype, en_error *e)
{
    int descr = 0, order = 0, shape = 0;
    if (!accept(t, "{")) return malformed("a dict", e);
    while (!accept(t, "}")) {
        if (accept(t, "'descr':") && !descr++) {
            EN_TRY(read_descr(t, dtype, e));
        } else if (accept(t, "'shape':") && !shape++) {
            EN_TRY(read_shape(t, out, e));
        } else if (accept(t, "'fortran_order':") && !order++) {
            if (accept(t, "True"))
                return en_fail(e, EN_E_UNSUPPORTED, "npy: Fortran order, want C order (numpy.ascontiguousarray)");
            if (!accept(t, "False")) return malformed("True or False as fortran_order", e);
        } else {
            return malformed("descr, fortran_order and shape, each once", e);
        }
        if (!accept(t, ",") && (t->at == t->end || *t->at != '}')) return malformed("',' or '}'", e);
    }
    skip_space(t);
    return descr && order && shape && t->at == t->end ? EN_OK : malformed("descr, fortran_order and shape, each once", e);
}

/* Where the header's text lies in the file. */
static en_status find_header(const wt_file *file, text *t, en_error *e)
{
    const uint8_t *b = file->bytes;
    if (file->size < 12 || memcmp(b, "\x93NUMPY", 6) != 0) return en_fail(e, EN_E_FORMAT, "not a .npy file");
    if (b[6] < 1 || b[6] > 3 || b[7] != 0) return en_fail(e, EN_E_UNSUPPORTED, "npy version %d.%d, want 1.0 to 3.0", b[6], b[7]);
    size_t start = b[6] == 1 ? 10 : 12, size = b[8] | (size_t)b[9] << 8;
    if (b[6] > 1) size |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (size > file->size - start) return en_fail(e, EN_E_FORMAT, "npy header of %zu bytes in a file of %zu", size, file->size);
    *t = (text){(const char *)b + start, (const char *)b + start + size};
    return EN_OK;
}

static en_status parse(const wt_file *file, wt_npy *out, en_error *e)
{
    text t = {0};
    wt_dtype dtype = WT_F32;
    EN_TRY(find_header(file, &t, e));
    const uint8_t *data = (const uint8_t *)t.end;
    EN_TRY(read_header(&t, out, &dtype, e));
    int64_t elements = wt_shape_elements(out->dim, out->rank);
    size_t have = (size_t)(file->bytes + file->size - data), width = wt_dtype_size(dtype);
    if (elements < 0 || (uint64_t)elements != have / width || have % width != 0)
        return en_fail(e, EN_E_FORMAT, "npy: the shape does not give the file's %zu bytes of data", have);
    out->data = malloc(elements ? (size_t)elements * sizeof *out->data : 1);
    if (!out->data) return en_fail(e, EN_E_NOMEM, "no memory for %lld values", (long long)elements);
    if (dtype == WT_F32) memcpy(out->data, data, have);
    for (int64_t i = 0; i < elements && dtype == WT_F64; i++) {
        double value;
        memcpy(&value, data + (size_t)i * width, width);
        out->data[i] = (float)value;
    }
    return EN_OK;
}

en_status wt_npy_read(const char *path, wt_npy *out, en_error *e)
{
    wt_file file;
    *out = (wt_npy){0};
    EN_TRY(wt_file_map(path, &file, e));
    en_status status = parse(&file, out, e);
    wt_file_unmap(&file);
    if (status == EN_OK) return EN_OK;
    *out = (wt_npy){0};
    return en_wrap(e, status, "%s", path);
}

void wt_npy_free(wt_npy *array)
{
    free(array->data);
    *array = (wt_npy){0};
}

en_status wt_npy_write(const char *path, int rank, const int64_t *dim, const float *data, en_error *e)
{
    char shape[WT_MAX_RANK * 24 + 1] = "", header[512];
    int64_t elements = rank < 0 || rank > WT_MAX_RANK ? -1 : wt_shape_elements(dim, rank);
    if (elements < 0 || elements > INT64_MAX / 4) return en_fail(e, EN_E_ARG, "%s: a shape that cannot be written", path);
    for (int i = 0, n = 0; i < rank; i++)
        n += snprintf(shape + n, sizeof shape - (size_t)n, "%s%lld", i ? ", " : "", (long long)dim[i]);
    int n = snprintf(header, sizeof header, "\x93NUMPY\x01%c%c%c{'descr': '<f4', 'fortran_order': False, 'shape': (%s%s), }", 0, 0,
                     0, shape, rank == 1 ? "," : "");
    size_t size = ((size_t)n + 1 + 63) / 64 * 64; /* a newline ends it; the data is aligned */
    memset(header + n, ' ', size - (size_t)n - 1);
    header[size - 1] = '\n';
    header[8] = (char)((size - 10) & 0xFF);
    header[9] = (char)((size - 10) >> 8);
    const wt_part parts[] = {{header, size}, {data, (size_t)elements * sizeof *data}};
    return wt_file_write(path, parts, 2, e);
}
