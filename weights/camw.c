/* SPDX-License-Identifier: MIT */
/* .camw (README.md has the layout): a head that is read as a whole and has a checksum, then the tensors' data, each at a multiple of
 * 64, in the order of the table, nothing between them but zeros. */
#include "weights/camw.h"
#include "weights/checksum.h"
#include "weights/json.h"
#include "weights/write.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VERSION = 1, HEADER = 64, RECORD = 96, ALIGN = 64, MAX_TEXT = 16 << 20 };

static const uint8_t magic[8] = "\x89" "CAMW\r\n\x1a";
static const wt_dtype dtypes[] = {[1] = WT_F32, [2] = WT_F16, [3] = WT_BF16}; /* by the number in the file */
enum { DTYPES = sizeof dtypes / sizeof *dtypes };

typedef struct head { /* the first bytes of the file, as they are */
    uint8_t magic[8];
    uint32_t version, crc; /* crc: of everything from `size` on up to the data */
    uint64_t size, data;   /* of the file; where the data begins */
    uint32_t tensors, names, text;
    uint8_t zero[20];
} head;

typedef struct record { /* of a tensor */
    uint64_t offset, dim[WT_MAX_RANK];
    uint32_t name, crc; /* name: offset among the names */
    uint8_t dtype, rank, zero[14];
} record;

_Static_assert(sizeof(head) == HEADER && sizeof(record) == RECORD, "the compiler pads nothing");

static uint64_t aligned(uint64_t n) { return (n + ALIGN - 1) / ALIGN * ALIGN; }

static int all_zero(const uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (bytes[i]) return 0;
    return 1;
}

static head head_of(const wt_store *store)
{
    head h;
    memcpy(&h, store->bytes, sizeof h);
    return h;
}

static record record_at(const wt_store *store, size_t i)
{
    record r;
    memcpy(&r, store->bytes + HEADER + i * RECORD, sizeof r);
    return r;
}

/* The end of the head's last part: what follows up to the data is zero. */
static uint64_t head_end(const head *h) { return HEADER + (uint64_t)h->tensors * RECORD + h->names + h->text; }

static en_status check_head(const wt_store *store, head *h, en_error *e)
{
    if (store->size < HEADER) return en_fail(e, EN_E_FORMAT, "camw: cut off inside its header");
    *h = head_of(store);
    if (h->version != VERSION) return en_fail(e, EN_E_UNSUPPORTED, "camw: version %u, want %d", h->version, VERSION);
    if (h->size != store->size)
        return en_fail(e, EN_E_FORMAT, "camw: a file of %zu bytes that should have %llu", store->size, (unsigned long long)h->size);
    if (h->tensors > WT_MAX_TENSORS) return en_fail(e, EN_E_LIMIT, "camw: more than %d tensors", WT_MAX_TENSORS);
    if (h->text > MAX_TEXT) return en_fail(e, EN_E_LIMIT, "camw: metadata of %u bytes, want at most %d", h->text, MAX_TEXT);
    if (h->data > store->size || h->data != aligned(head_end(h)))
        return en_fail(e, EN_E_FORMAT, "camw: its data begins at %llu, want %llu", (unsigned long long)h->data,
                       (unsigned long long)aligned(head_end(h)));
    if (wt_crc32(0, store->bytes + 16, (size_t)h->data - 16) != h->crc)
        return en_fail(e, EN_E_FORMAT, "camw: the header's checksum is wrong: the file is damaged");
    if (!all_zero(h->zero, sizeof h->zero) || !all_zero(store->bytes + head_end(h), (size_t)(h->data - head_end(h))))
        return en_fail(e, EN_E_FORMAT, "camw: bytes that must be zero are not");
    return EN_OK;
}

/* Adds tensor number i, which must begin at *at; moves *at behind it. */
static en_status add_tensor(wt_store *store, const head *h, size_t i, uint64_t *at, en_error *e)
{
    record r = record_at(store, i);
    const char *names = (const char *)store->bytes + HEADER + (size_t)h->tensors * RECORD;
    const char *name = r.name < h->names ? names + r.name : NULL, *end = name ? memchr(name, 0, h->names - r.name) : NULL;
    if (!end) return en_fail(e, EN_E_FORMAT, "camw: tensor %zu has no name", i);
    wt_shown shown;
    wt_show(name, (size_t)(end - name), shown);
    if (r.dtype == 0 || r.dtype >= DTYPES || r.rank > WT_MAX_RANK || !all_zero(r.zero, sizeof r.zero))
        return en_fail(e, EN_E_FORMAT, "camw: tensor '%s': dtype %d, rank %d", shown, r.dtype, r.rank);
    wt_tensor t = {.dtype = dtypes[r.dtype], .rank = r.rank};
    for (int k = 0; k < WT_MAX_RANK; k++) {
        if (r.dim[k] > (k < r.rank ? INT64_MAX : 0)) return en_fail(e, EN_E_FORMAT, "camw: tensor '%s': impossible shape", shown);
        t.dim[k] = (int64_t)r.dim[k];
    }
    if (r.offset != *at || *at > store->size)
        return en_fail(e, EN_E_FORMAT, "camw: tensor '%s' is at %llu, want %llu", shown, (unsigned long long)r.offset, (unsigned long long)*at);
    if (wt_shape_elements(t.dim, t.rank) >= 0) wt_row_major(t.dim, t.rank, t.stride);
    EN_TRY(wt_store_add(store, &t, name, (size_t)(end - name), store->bytes, (size_t)r.offset, store->size, e));
    *at = aligned(r.offset + wt_elements(&t) * wt_dtype_size(t.dtype));
    return EN_OK;
}

/* ---- the metadata: JSON ---- */

typedef struct reader {
    wt_store *store;
    wt_json json;
    wt_json_token token;
    wt_metadata *out;
    char *text; /* free room for texts: together they are shorter than the JSON */
} reader;

static en_status malformed(const reader *r, const char *want, en_error *e)
{
    return en_fail(e, EN_E_FORMAT, "camw: metadata, offset %zu: want %s", r->token.offset, want);
}

static en_status next(reader *r, wt_json_kind kind, const char *want, en_error *e)
{
    EN_TRY(wt_json_next(&r->json, &r->token, e));
    return r->token.kind == kind ? EN_OK : malformed(r, want, e);
}

static en_status read_text(reader *r, const char **out, en_error *e)
{
    EN_TRY(next(r, WT_JSON_STRING, "a text", e));
    EN_TRY(wt_json_string(&r->token, r->text, e));
    *out = r->text;
    r->text += strlen(r->text) + 1;
    return EN_OK;
}

static en_status read_size(reader *r, int *out, en_error *e)
{
    int64_t value;
    EN_TRY(next(r, WT_JSON_NUMBER, "a number", e));
    EN_TRY(wt_json_integer(&r->token, &value, e));
    if (value < 1 || value > 1 << 16) return malformed(r, "a size from 1 to 65536", e);
    *out = (int)value;
    return EN_OK;
}

static en_status read_colour(reader *r, int positive, float out[3], en_error *e)
{
    EN_TRY(next(r, WT_JSON_ARRAY, "three numbers", e));
    for (int i = 0; i < 3; i++) {
        double value;
        EN_TRY(next(r, WT_JSON_NUMBER, "three numbers", e));
        EN_TRY(wt_json_double(&r->token, &value, e));
        out[i] = (float)value;
        if (!isfinite(out[i]) || (positive && out[i] <= 0)) return malformed(r, positive ? "a positive number" : "a finite number", e);
    }
    return next(r, WT_JSON_ARRAY_END, "three numbers", e);
}

static int token_is(const reader *r, const char *word)
{
    return r->token.size == strlen(word) && memcmp(r->token.text, word, r->token.size) == 0;
}

/* The next key of an object: its place in `keys`; -1 at the end. Each may come once; `seen` holds a bit for each. */
static en_status next_key(reader *r, const char *const *keys, unsigned *seen, int *key, en_error *e)
{
    EN_TRY(wt_json_next(&r->json, &r->token, e));
    *key = -1;
    if (r->token.kind == WT_JSON_OBJECT_END) return EN_OK;
    for (int i = 0; keys[i] && *key < 0; i++)
        if (token_is(r, keys[i])) *key = i;
    if (*key < 0 || *seen >> *key & 1) return malformed(r, "a key that is known, once", e);
    *seen |= 1u << *key;
    return EN_OK;
}

static int is_one_of(const char *text, const char *const *words)
{
    while (*words && strcmp(*words, text)) words++;
    return *words != NULL;
}

static en_status read_preprocess(reader *r, en_error *e)
{
    static const char *const keys[] = {"sizing", "shorter", "filter", "width", "height", "mean", "std", NULL};
    static const char *const sizings[] = {"shorter", "whole", "as-is", NULL}, *const filters[] = {"bilinear", "bicubic", "none", NULL};
    uint8_t *block;
    unsigned seen = 0;
    int key;
    EN_TRY(wt_store_block(r->store, sizeof(wt_preprocess), &block, e));
    wt_preprocess *p = (wt_preprocess *)(void *)block;
    *p = (wt_preprocess){.sizing = ""};
    EN_TRY(next(r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(next_key(r, keys, &seen, &key, e));
        if (key < 0) break;
        if (key == 0) EN_TRY(read_text(r, &p->sizing, e));
        if (key == 1) EN_TRY(read_size(r, &p->shorter, e));
        if (key == 2) EN_TRY(read_text(r, &p->filter, e));
        if (key == 3) EN_TRY(read_size(r, &p->width, e));
        if (key == 4) EN_TRY(read_size(r, &p->height, e));
        if (key == 5) EN_TRY(read_colour(r, 0, p->mean, e));
        if (key == 6) EN_TRY(read_colour(r, 1, p->std, e));
    }
    unsigned want = strcmp(p->sizing, "shorter") ? 0x7D : 0x7F;
    if (seen != want || !is_one_of(p->sizing, sizings) || !is_one_of(p->filter, filters))
        return malformed(r, "sizing, shorter, filter, width, height, mean and std", e);
    r->out->preprocess = p;
    return EN_OK;
}

static en_status read_classes(reader *r, size_t room, en_error *e)
{
    uint8_t *block;
    EN_TRY(wt_store_block(r->store, (room / 7 + 1) * sizeof(wt_class), &block, e)); /* ["",""] are 7 bytes */
    wt_class *classes = (wt_class *)(void *)block;
    EN_TRY(next(r, WT_JSON_ARRAY, "an array", e));
    for (;; r->out->class_count++) {
        wt_class *c = &classes[r->out->class_count];
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_ARRAY_END) break;
        if (r->token.kind != WT_JSON_ARRAY) return malformed(r, "[id, name]", e);
        EN_TRY(read_text(r, &c->id, e));
        EN_TRY(read_text(r, &c->name, e));
        EN_TRY(next(r, WT_JSON_ARRAY_END, "[id, name]", e));
    }
    r->out->classes = classes;
    return EN_OK;
}

static en_status read_origin(reader *r, wt_origin *out, en_error *e)
{
    static const char *const keys[] = {"name", "bytes", "sha256", NULL};
    unsigned seen = 0;
    int key;
    int64_t bytes = 0;
    for (;;) {
        EN_TRY(next_key(r, keys, &seen, &key, e));
        if (key < 0) break;
        if (key == 0) EN_TRY(read_text(r, &out->name, e));
        if (key == 1) EN_TRY(next(r, WT_JSON_NUMBER, "a number", e));
        if (key == 1) EN_TRY(wt_json_integer(&r->token, &bytes, e));
        if (key == 2) EN_TRY(read_text(r, &out->sha256, e));
    }
    if (seen != 7 || bytes < 0 || strlen(out->sha256) != 64 || strspn(out->sha256, "0123456789abcdef") != 64)
        return malformed(r, "name, bytes and sha256", e);
    out->bytes = (uint64_t)bytes;
    return EN_OK;
}

static en_status read_origins(reader *r, size_t room, en_error *e)
{
    uint8_t *block;
    EN_TRY(wt_store_block(r->store, (room / 64 + 1) * sizeof(wt_origin), &block, e)); /* a SHA-256 alone are 64 bytes */
    wt_origin *origins = (wt_origin *)(void *)block;
    EN_TRY(next(r, WT_JSON_ARRAY, "an array", e));
    for (;; r->out->origin_count++) {
        EN_TRY(wt_json_next(&r->json, &r->token, e));
        if (r->token.kind == WT_JSON_ARRAY_END) break;
        if (r->token.kind != WT_JSON_OBJECT) return malformed(r, "an object", e);
        EN_TRY(read_origin(r, &origins[r->out->origin_count], e));
    }
    r->out->origins = origins;
    return EN_OK;
}

static en_status read_metadata(wt_store *store, const char *text, size_t size, en_error *e)
{
    static const char *const keys[] = {"net", "classes", "preprocess", "origins", NULL};
    uint8_t *block, *texts;
    unsigned seen = 0;
    int key;
    EN_TRY(wt_store_block(store, sizeof(wt_metadata), &block, e));
    EN_TRY(wt_store_block(store, size, &texts, e));
    reader r = {.store = store, .json = wt_json_text(text, size), .out = (wt_metadata *)(void *)block, .text = (char *)texts};
    *r.out = (wt_metadata){.net = ""};
    EN_TRY(next(&r, WT_JSON_OBJECT, "an object", e));
    for (;;) {
        EN_TRY(next_key(&r, keys, &seen, &key, e));
        if (key < 0) break;
        if (key == 0) EN_TRY(read_text(&r, &r.out->net, e));
        if (key == 1) EN_TRY(read_classes(&r, size, e));
        if (key == 2) EN_TRY(read_preprocess(&r, e));
        if (key == 3) EN_TRY(read_origins(&r, size, e));
    }
    store->metadata = r.out;
    return next(&r, WT_JSON_EOF, "the end", e);
}

const wt_metadata *wt_metadata_of(const wt_store *store) { return store->metadata; }

en_status wt_parse_camw(wt_store *store, en_error *e)
{
    head h;
    EN_TRY(check_head(store, &h, e));
    uint64_t at = h.data, end = h.data;
    for (size_t i = 0; i < h.tensors; i++) {
        EN_TRY(add_tensor(store, &h, i, &at, e));
        const wt_tensor *t = &store->tensor[i];
        end = (uint64_t)(t->data - store->bytes) + wt_elements(t) * wt_dtype_size(t->dtype);
    }
    if (end != store->size) return en_fail(e, EN_E_FORMAT, "camw: %llu bytes follow the last tensor", (unsigned long long)(store->size - end));
    return read_metadata(store, (const char *)store->bytes + head_end(&h) - h.text, h.text, e);
}

/* The checksum of a tensor's data, which does not stay in memory. */
static uint32_t data_crc(const wt_store *store, const uint8_t *data, size_t size)
{
    enum { PIECE = 1 << 20 };
    uint32_t crc = 0;
    for (size_t at = 0, n; at < size; at += n) {
        n = size - at < PIECE ? size - at : PIECE;
        crc = wt_crc32(crc, data + at, n);
        wt_release(store, data + at, data + at + n);
    }
    return crc;
}

en_status wt_camw_verify(const wt_store *store, en_error *e)
{
    if (!store->metadata) return en_fail(e, EN_E_ARG, "%s: not a .camw file: it has no checksums", store->path);
    size_t end = (size_t)head_of(store).data;
    for (size_t i = 0; i < store->count; i++) {
        const wt_tensor *t = &store->tensor[i];
        size_t at = (size_t)(t->data - store->bytes), size = wt_elements(t) * wt_dtype_size(t->dtype);
        if (!all_zero(store->bytes + end, at - end))
            return en_fail(e, EN_E_FORMAT, "%s: the bytes before tensor '%s' are not zero", store->path, t->name);
        if (data_crc(store, t->data, size) != record_at(store, i).crc)
            return en_fail(e, EN_E_FORMAT, "%s: tensor '%s' is damaged: its checksum is wrong", store->path, t->name);
        end = at + size;
    }
    return EN_OK;
}

/* ---- writing ---- */

static void put_preprocess(wt_json_writer *w, const wt_preprocess *p)
{
    wt_json_put_key(w, "preprocess");
    wt_json_open(w, '{');
    wt_json_put_key(w, "sizing");
    wt_json_put_string(w, p->sizing);
    if (!strcmp(p->sizing, "shorter")) {
        wt_json_put_key(w, "shorter");
        wt_json_put_integer(w, p->shorter);
    }
    wt_json_put_key(w, "filter");
    wt_json_put_string(w, p->filter);
    wt_json_put_key(w, "width");
    wt_json_put_integer(w, p->width);
    wt_json_put_key(w, "height");
    wt_json_put_integer(w, p->height);
    for (int std = 0; std < 2; std++) {
        wt_json_put_key(w, std ? "std" : "mean");
        wt_json_open(w, '[');
        for (int i = 0; i < 3; i++) wt_json_put_float(w, std ? p->std[i] : p->mean[i]);
        wt_json_close(w, ']');
    }
    wt_json_close(w, '}');
}

static void put_classes(wt_json_writer *w, const wt_metadata *m)
{
    wt_json_put_key(w, "classes");
    wt_json_open(w, '[');
    for (int i = 0; i < m->class_count; i++) {
        wt_json_open(w, '[');
        wt_json_put_string(w, m->classes[i].id);
        wt_json_put_string(w, m->classes[i].name);
        wt_json_close(w, ']');
    }
    wt_json_close(w, ']');
}

static void put_origins(wt_json_writer *w, const wt_metadata *m)
{
    wt_json_put_key(w, "origins");
    wt_json_open(w, '[');
    for (int i = 0; i < m->origin_count; i++) {
        wt_json_open(w, '{');
        wt_json_put_key(w, "name");
        wt_json_put_string(w, m->origins[i].name);
        wt_json_put_key(w, "bytes");
        wt_json_put_integer(w, (int64_t)m->origins[i].bytes);
        wt_json_put_key(w, "sha256");
        wt_json_put_string(w, m->origins[i].sha256);
        wt_json_close(w, '}');
    }
    wt_json_close(w, ']');
}

static en_status make_text(const wt_metadata *m, char **text, size_t *size, en_error *e)
{
    wt_json_writer w = {0};
    wt_json_open(&w, '{');
    wt_json_put_key(&w, "net");
    wt_json_put_string(&w, m->net);
    if (m->class_count) put_classes(&w, m);
    if (m->preprocess) put_preprocess(&w, m->preprocess);
    if (m->origin_count) put_origins(&w, m);
    wt_json_close(&w, '}');
    return wt_json_take(&w, text, size, e);
}

/* The head in memory: header, records, names, metadata, zeros; checksums are still missing. */
static en_status make_head(const wt_metadata *m, const wt_output *tensors, size_t count, uint8_t **out, en_error *e)
{
    char *text = NULL;
    size_t text_size, names = 0, name = 0;
    EN_TRY(make_text(m, &text, &text_size, e));
    for (size_t i = 0; i < count; i++) names += strlen(tensors[i].name) + 1;
    head h = {.version = VERSION, .tensors = (uint32_t)count, .names = (uint32_t)names, .text = (uint32_t)text_size};
    memcpy(h.magic, magic, sizeof h.magic);
    uint64_t at = h.data = h.size = aligned(head_end(&h));
    uint8_t *bytes = *out = calloc(1, (size_t)h.data);
    for (size_t i = 0; i < count && bytes; i++) {
        const wt_output *t = &tensors[i];
        record r = {.offset = at, .name = (uint32_t)name, .rank = (uint8_t)t->rank};
        while (dtypes[++r.dtype] != t->dtype) {}
        for (int k = 0; k < t->rank; k++) r.dim[k] = (uint64_t)t->dim[k];
        memcpy(bytes + HEADER + i * RECORD, &r, sizeof r);
        memcpy(bytes + HEADER + count * RECORD + name, t->name, strlen(t->name) + 1);
        name += strlen(t->name) + 1;
        h.size = at + wt_output_bytes(t);
        at = aligned(h.size);
    }
    if (bytes) memcpy(bytes, &h, sizeof h);
    if (bytes) memcpy(bytes + HEADER + count * RECORD + names, text, text_size);
    free(text);
    return bytes ? EN_OK : en_fail(e, EN_E_NOMEM, "no memory for a header of %llu bytes", (unsigned long long)h.data);
}

/* Head, data, and once more the head, with the checksums of the data. */
static en_status put_file(wt_writer *w, uint8_t *bytes, const wt_output *tensors, size_t count, en_error *e)
{
    static const uint8_t zeros[ALIGN];
    head h;
    memcpy(&h, bytes, sizeof h);
    EN_TRY(wt_writer_put(w, bytes, (size_t)h.data, e));
    for (size_t i = 0; i < count; i++) {
        uint8_t *at = bytes + HEADER + i * RECORD;
        record r;
        memcpy(&r, at, sizeof r);
        EN_TRY(wt_put_output(w, &tensors[i], &r.crc, e));
        memcpy(at, &r, sizeof r);
        size_t size = wt_output_bytes(&tensors[i]);
        if (i + 1 < count) EN_TRY(wt_writer_put(w, zeros, (size_t)aligned(size) - size, e));
    }
    h.crc = wt_crc32(0, bytes + 16, (size_t)h.data - 16);
    memcpy(bytes, &h, sizeof h);
    EN_TRY(wt_writer_rewind(w, e));
    return wt_writer_put(w, bytes, (size_t)h.data, e);
}

en_status wt_camw_write(const char *path, const wt_metadata *metadata, const wt_output *tensors, size_t count, en_error *e)
{
    EN_TRY(wt_check_outputs(tensors, count, e));
    if (count > WT_MAX_TENSORS) return en_fail(e, EN_E_LIMIT, "%s: more than %d tensors", path, WT_MAX_TENSORS);
    for (size_t i = 0; i < count; i++)
        if (tensors[i].dtype != WT_F32 && tensors[i].dtype != WT_F16 && tensors[i].dtype != WT_BF16)
            return en_fail(e, EN_E_ARG, "tensor '%s': %s; a .camw holds float32, float16 and bfloat16", tensors[i].name,
                           wt_dtype_name(tensors[i].dtype));
    uint8_t *bytes = NULL;
    wt_writer w;
    en_status status = make_head(metadata, tensors, count, &bytes, e);
    if (status == EN_OK) status = wt_writer_open(path, &w, e);
    if (status == EN_OK) status = wt_writer_end(&w, put_file(&w, bytes, tensors, count, e), e);
    free(bytes);
    return status;
}
