/* SPDX-License-Identifier: MIT */
/* A zip archive ends with a record that says where its directory is; the directory says where each entry's header is; the data
 * follows the header. */
#include "weights/zip.h"
#include "weights/checksum.h"
#include "weights/inflate.h"

#include <stdlib.h>
#include <string.h>

enum {
    MAX_ENTRIES = 1 << 21,
    END_SIZE = 22,       /* end of central directory, without its comment */
    LOCATOR_SIZE = 20,   /* zip64 end of central directory locator        */
    END64_SIZE = 56,     /* zip64 end of central directory                */
    DIRECTORY_SIZE = 46, /* one entry of the central directory            */
    LOCAL_SIZE = 30,     /* local header                                  */
    STORED = 0,
    DEFLATED = 8,
    ENCRYPTED = 1 /* bit of the flags */
};

typedef struct directory { /* the central directory */
    size_t at, size, count;
} directory;

static uint64_t little(const uint8_t *b, int bytes)
{
    uint64_t value = 0;
    for (int i = bytes; i-- > 0;) value = value << 8 | b[i];
    return value;
}

static int signature(const uint8_t *b, char third, char fourth)
{
    return b[0] == 'P' && b[1] == 'K' && b[2] == third && b[3] == fourth;
}

/* The offset of the end record: the last one whose comment reaches exactly to the file's end. */
static en_status find_end(const wt_zip *s, size_t *at, en_error *e)
{
    for (size_t comment = 0; comment <= UINT16_MAX && comment + END_SIZE <= s->size; comment++) {
        const uint8_t *b = s->bytes + s->size - END_SIZE - comment;
        if (!signature(b, 5, 6) || little(b + 20, 2) != comment) continue;
        *at = (size_t)(b - s->bytes);
        return EN_OK;
    }
    return en_fail(e, EN_E_FORMAT, "zip: no end of central directory: the file is cut off");
}

/* The end record, or its zip64 twin where there is one. */
static en_status find_directory(const wt_zip *a, directory *d, en_error *e)
{
    size_t end = 0;
    EN_TRY(find_end(a, &end, e));
    const uint8_t *b = a->bytes + end;
    uint64_t count = little(b + 10, 2), size = little(b + 12, 4), at = little(b + 16, 4),
             disks = little(b + 4, 2) | little(b + 6, 2);
    if (end >= LOCATOR_SIZE && signature(b - LOCATOR_SIZE, 6, 7)) {
        uint64_t end64 = little(b - LOCATOR_SIZE + 8, 8);
        if (end < LOCATOR_SIZE + END64_SIZE || end64 > end - LOCATOR_SIZE - END64_SIZE || !signature(a->bytes + end64, 6, 6))
            return en_fail(e, EN_E_FORMAT, "zip: no zip64 end of central directory where the file says it is");
        b = a->bytes + end64;
        disks = little(b + 16, 4) | little(b + 20, 4);
        count = little(b + 32, 8);
        size = little(b + 40, 8);
        at = little(b + 48, 8);
        end = (size_t)end64;
    }
    if (disks != 0) return en_fail(e, EN_E_UNSUPPORTED, "zip: an archive in several parts");
    if (at > end || size > end - at) return en_fail(e, EN_E_FORMAT, "zip: the central directory lies outside of the file");
    if (count > size / DIRECTORY_SIZE)
        return en_fail(e, EN_E_FORMAT, "zip: %llu entries in a directory of %llu bytes", (unsigned long long)count,
                       (unsigned long long)size);
    if (count > MAX_ENTRIES) return en_fail(e, EN_E_LIMIT, "zip: more than %d entries", MAX_ENTRIES);
    *d = (directory){(size_t)at, (size_t)size, (size_t)count};
    return EN_OK;
}

/* Sizes and offset that do not fit 32 bits stand in the extra field with id 1, in this order, only those that are 0xFFFFFFFF. */
static void read_zip64(const uint8_t *extra, size_t size, uint64_t *value[3])
{
    while (size >= 4) {
        size_t id = little(extra, 2), length = little(extra + 2, 2);
        if (length > size - 4) return;
        for (size_t i = 0, at = 0; i < 3 && id == 1; i++) {
            if (*value[i] != UINT32_MAX || length - at < 8) continue;
            *value[i] = little(extra + 4 + at, 8);
            at += 8;
        }
        extra += 4 + length;
        size -= 4 + length;
    }
}

static en_status bad_entry(const wt_zip_entry *n, const char *what, en_error *e)
{
    wt_shown name;
    return en_fail(e, EN_E_FORMAT, "zip: entry '%s': %s", wt_show(n->name, n->name_size, name), what);
}

/* Checks the local header, which repeats the name, and finds the data behind it. */
static en_status find_data(const wt_zip *a, const directory *d, wt_zip_entry *n, uint64_t local, en_error *e)
{
    if (local > d->at || d->at - local < LOCAL_SIZE) return bad_entry(n, "its header lies outside of the file", e);
    const uint8_t *b = a->bytes + local;
    size_t left = d->at - (size_t)local - LOCAL_SIZE, name_size = little(b + 26, 2), extra_size = little(b + 28, 2);
    if (!signature(b, 3, 4)) return bad_entry(n, "no header where the directory says it is", e);
    if (name_size + extra_size > left) return bad_entry(n, "its header lies outside of the file", e);
    if (name_size != n->name_size || memcmp(b + LOCAL_SIZE, n->name, name_size) != 0)
        return bad_entry(n, "its header has another name", e);
    n->header = b;
    n->data = b + LOCAL_SIZE + name_size + extra_size;
    if (n->packed > left - name_size - extra_size) return bad_entry(n, "its data lies outside of the file", e);
    if (n->method == STORED && n->packed != n->size) return bad_entry(n, "stored, yet its two sizes differ", e);
    return EN_OK;
}

/* Reads entry n at *at in the directory and moves on. */
static en_status read_entry(const wt_zip *a, const directory *d, size_t *at, wt_zip_entry *n, en_error *e)
{
    const uint8_t *b = a->bytes + d->at + *at;
    size_t left = d->size - *at;
    if (left < DIRECTORY_SIZE || !signature(b, 1, 2)) return en_fail(e, EN_E_FORMAT, "zip: the central directory is cut off");
    size_t name_size = little(b + 28, 2), extra_size = little(b + 30, 2), comment_size = little(b + 32, 2);
    if (name_size + extra_size + comment_size > left - DIRECTORY_SIZE)
        return en_fail(e, EN_E_FORMAT, "zip: the central directory is cut off");
    *n = (wt_zip_entry){.name = (const char *)b + DIRECTORY_SIZE,
                 .name_size = name_size,
                 .packed = little(b + 20, 4),
                 .size = little(b + 24, 4),
                 .method = (unsigned)little(b + 10, 2),
                 .flags = (unsigned)little(b + 8, 2),
                 .crc = (uint32_t)little(b + 16, 4)};
    uint64_t local = little(b + 42, 4);
    read_zip64(b + DIRECTORY_SIZE + name_size, extra_size, (uint64_t *[]){&n->size, &n->packed, &local});
    *at += DIRECTORY_SIZE + name_size + extra_size + comment_size;
    return find_data(a, d, n, local, e);
}

static int compare_entries(const void *a, const void *b)
{
    const wt_zip_entry *x = a, *y = b;
    return wt_compare_texts(x->name, x->name_size, y->name, y->name_size);
}

static int compare_places(const void *a, const void *b)
{
    const wt_zip_entry *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

/* No two entries share bytes: that is how small archives unpack to large ones. */
static en_status check_places(wt_zip *a, en_error *e)
{
    if (a->count) qsort(a->entry, a->count, sizeof *a->entry, compare_places);
    for (size_t i = 1; i < a->count; i++)
        if (a->entry[i].header < a->entry[i - 1].data + a->entry[i - 1].packed) return bad_entry(&a->entry[i], "overlaps another one", e);
    return EN_OK;
}

static en_status read_directory(wt_zip *a, en_error *e)
{
    size_t at = 0;
    directory d = {0};
    EN_TRY(find_directory(a, &d, e));
    a->entry = malloc((d.count + 1) * sizeof *a->entry);
    if (!a->entry) return en_fail(e, EN_E_NOMEM, "no memory for a directory of %zu entries", d.count);
    for (; a->count < d.count; a->count++) EN_TRY(read_entry(a, &d, &at, &a->entry[a->count], e));
    EN_TRY(check_places(a, e));
    if (a->count) qsort(a->entry, a->count, sizeof *a->entry, compare_entries);
    for (size_t i = 1; i < a->count; i++)
        if (compare_entries(&a->entry[i - 1], &a->entry[i]) == 0) return bad_entry(&a->entry[i], "is there twice", e);
    return EN_OK;
}

en_status wt_zip_open(const uint8_t *bytes, size_t size, wt_zip *out, en_error *e)
{
    *out = (wt_zip){.bytes = bytes, .size = size};
    en_status status = read_directory(out, e);
    if (status != EN_OK) wt_zip_free(out);
    return status;
}

void wt_zip_free(wt_zip *zip)
{
    free(zip->entry);
    *zip = (wt_zip){0};
}

wt_zip_entry *wt_zip_find(const wt_zip *zip, wt_pickle_text folder, const char *name)
{
    size_t low = 0, high = zip->count, name_size = strlen(name);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        wt_zip_entry *n = &zip->entry[middle];
        size_t shared = n->name_size < folder.size ? n->name_size : folder.size;
        int order = wt_compare_texts(folder.at, folder.size, n->name, shared);
        if (order == 0) order = wt_compare_texts(name, name_size, n->name + shared, n->name_size - shared);
        if (order == 0) return n;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

static en_status unpack(wt_zip *zip, wt_zip_entry *n, wt_store *store, en_error *e)
{
    enum { TIMES = 16, FREE = 64 << 20 };
    uint8_t *bytes;
    if (n->size > FREE + TIMES * (uint64_t)zip->size - zip->unpacked) return bad_entry(n, "unpacks to far more than weights do: a zip bomb", e);
    EN_TRY(wt_store_block(store, (size_t)n->size, &bytes, e));
    en_status status = wt_inflate(n->data, (size_t)n->packed, bytes, (size_t)n->size, NULL, e);
    wt_shown name;
    if (status != EN_OK) return en_wrap(e, status, "zip: entry '%s'", wt_show(n->name, n->name_size, name));
    if (wt_crc32(0, bytes, (size_t)n->size) != n->crc) return bad_entry(n, "its CRC is not that of its data", e);
    zip->unpacked += n->size;
    n->unpacked = bytes;
    return EN_OK;
}

en_status wt_zip_bytes(wt_zip *zip, wt_zip_entry *n, wt_store *store, const uint8_t **out, en_error *e)
{
    wt_shown name;
    wt_show(n->name, n->name_size, name);
    *out = n->data;
    if (n->flags & ENCRYPTED) return en_fail(e, EN_E_UNSUPPORTED, "zip: entry '%s' is encrypted", name);
    if (n->method == STORED) return EN_OK;
    if (n->method != DEFLATED)
        return en_fail(e, EN_E_UNSUPPORTED, "zip: entry '%s' is packed with method %u, want stored or deflated", name, n->method);
    if (!n->unpacked) EN_TRY(unpack(zip, n, store, e));
    *out = n->unpacked;
    return EN_OK;
}
