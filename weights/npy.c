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
static en_status read_shape(text *t, wt_tensor *out, en_error *e)
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

static const struct {
    const char *name;
    wt_dtype dtype;
} descrs[] = {
    {"'<f4'", WT_F32}, {"'<f8'", WT_F64}, {"'<f2'", WT_F16}, {"'<i8'", WT_I64}, {"'<i4'", WT_I32},
    {"'<i2'", WT_I16}, {"'|i1'", WT_I8},  {"'|u1'", WT_U8},  {"'|b1'", WT_BOOL},
};

static en_status read_descr(text *t, wt_dtype *dtype, en_error *e)
{
    for (size_t i = 0; i < sizeof descrs / sizeof *descrs; i++)
        if (accept(t, descrs[i].name)) return *dtype = descrs[i].dtype, EN_OK;
    wt_shown found;
    const char *end = memchr(t->at, ',', (size_t)(t->end - t->at));
    return en_fail(e, EN_E_UNSUPPORTED, "npy: elements are %s, want '<f4' or '<f8'",
                   wt_show(t->at, (size_t)((end ? end : t->end) - t->at), found));
}

static en_status read_order(text *t, int *fortran, en_error *e)
{
    *fortran = accept(t, "True");
    return *fortran || accept(t, "False") ? EN_OK : malformed("True or False as fortran_order", e);
}

static en_status read_header(text *t, wt_tensor *out, int *fortran, en_error *e)
{
    int descr = 0, order = 0, shape = 0;
    if (!accept(t, "{")) return malformed("a dict", e);
    while (!accept(t, "}")) {
        if (accept(t, "'descr':") && !descr++) {
            EN_TRY(read_descr(t, &out->dtype, e));
        } else if (accept(t, "'shape':") && !shape++) {
            EN_TRY(read_shape(t, out, e));
        } else if (accept(t, "'fortran_order':") && !order++) {
            EN_TRY(read_order(t, fortran, e));
        } else {
            return malformed("descr, fortran_order and shape, each once", e);
        }
        if (!accept(t, ",") && (t->at == t->end || *t->at != '}')) return malformed("',' or '}'", e);
    }
    skip_space(t);
    return descr && order && shape && t->at == t->end ? EN_OK : malformed("descr, fortran_order and shape, each once", e);
}

/* Where the header's text lies in the file. */
static en_status find_header(const uint8_t *b, size_t file_size, text *t, en_error *e)
{
    if (file_size < 12 || memcmp(b, "\x93NUMPY", 6) != 0) return en_fail(e, EN_E_FORMAT, "not a .npy file");
    if (b[6] < 1 || b[6] > 3 || b[7] != 0) return en_fail(e, EN_E_UNSUPPORTED, "npy version %d.%d, want 1.0 to 3.0", b[6], b[7]);
    size_t start = b[6] == 1 ? 10 : 12, size = b[8] | (size_t)b[9] << 8;
    if (b[6] > 1) size |= (size_t)b[10] << 16 | (size_t)b[11] << 24;
    if (size > file_size - start) return en_fail(e, EN_E_FORMAT, "npy header of %zu bytes in a file of %zu", size, file_size);
    *t = (text){(const char *)b + start, (const char *)b + start + size};
    return EN_OK;
}

/* Strides of an array whose first axis is the fastest. */
static void column_major(wt_tensor *t)
{
    int64_t step = 1;
    for (int i = 0; i < t->rank; i++) {
        t->stride[i] = step;
        step *= t->dim[i] ? t->dim[i] : 1;
    }
}

en_status wt_npy_header(const uint8_t *bytes, size_t size, wt_tensor *out, size_t *data, en_error *e)
{
    text t = {0};
    int fortran = 0;
    *out = (wt_tensor){0};
    EN_TRY(find_header(bytes, size, &t, e));
    *data = (size_t)((const uint8_t *)t.end - bytes);
    EN_TRY(read_header(&t, out, &fortran, e));
    int64_t elements = wt_shape_elements(out->dim, out->rank);
    size_t have = size - *data, width = wt_dtype_size(out->dtype);
    if (elements < 0 || (uint64_t)elements != have / width || have % width != 0)
        return en_fail(e, EN_E_FORMAT, "npy: the shape does not give the file's %zu bytes of data", have);
    wt_row_major(out->dim, out->rank, out->stride);
    if (fortran) column_major(out);
    return EN_OK;
}

static en_status parse(const wt_file *file, wt_npy *out, en_error *e)
{
    wt_tensor t;
    size_t at;
    EN_TRY(wt_npy_header(file->bytes, file->size, &t, &at, e));
    size_t elements = wt_elements(&t), width = wt_dtype_size(t.dtype);
    if (t.dtype > WT_F64) return en_fail(e, EN_E_UNSUPPORTED, "npy: elements are %s, want '<f4' or '<f8'", wt_dtype_name(t.dtype));
    if (t.rank > 1 && t.stride[t.rank - 1] != 1)
        return en_fail(e, EN_E_UNSUPPORTED, "npy: Fortran order, want C order (numpy.ascontiguousarray)");
    out->rank = t.rank;
    memcpy(out->dim, t.dim, sizeof out->dim);
    out->data = malloc(elements ? elements * sizeof *out->data : 1);
    if (!out->data) return en_fail(e, EN_E_NOMEM, "no memory for %zu values", elements);
    if (t.dtype == WT_F32) memcpy(out->data, file->bytes + at, elements * width);
    for (size_t i = 0; i < elements && t.dtype == WT_F64; i++) {
        double value;
        memcpy(&value, file->bytes + at + i * width, width);
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
