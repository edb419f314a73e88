/* SPDX-License-Identifier: MIT */
/* torch.save's format since version 1.6: a zip archive (PKWARE APPNOTE 6.3.9, zip64 included) with the entries
 *     NAME/data.pkl   the state dict as a pickle      NAME/byteorder   "little"
 *     NAME/data/KEY   one flat array per storage, stored without compression: mapped, not copied
 * The archive is read through its central directory; every size and offset is checked against the file. */
#include "weights/formats.h"

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
    ENCRYPTED = 1 /* bit of the flags */
};

typedef struct entry {
    const char *name; /* in the file, name_size bytes */
    size_t name_size;
    const uint8_t *data;
    uint64_t packed, size; /* bytes in the archive, and unpacked */
    unsigned method, flags;
} entry;

typedef struct archive {
    const wt_store *store;
    size_t directory, directory_size; /* offset and size of the central directory */
    entry *entry;                     /* sorted by name */
    size_t count;
} archive;

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
static en_status find_end(const wt_store *s, size_t *at, en_error *e)
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
static en_status find_directory(archive *a, en_error *e)
{
    size_t end = 0;
    EN_TRY(find_end(a->store, &end, e));
    const uint8_t *b = a->store->bytes + end;
    uint64_t count = little(b + 10, 2), size = little(b + 12, 4), at = little(b + 16, 4),
             disks = little(b + 4, 2) | little(b + 6, 2);
    if (end >= LOCATOR_SIZE && signature(b - LOCATOR_SIZE, 6, 7)) {
        uint64_t end64 = little(b - LOCATOR_SIZE + 8, 8);
        if (end < LOCATOR_SIZE + END64_SIZE || end64 > end - LOCATOR_SIZE - END64_SIZE || !signature(a->store->bytes + end64, 6, 6))
            return en_fail(e, EN_E_FORMAT, "zip: no zip64 end of central directory where the file says it is");
        b = a->store->bytes + end64;
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
    a->directory = (size_t)at;
    a->directory_size = (size_t)size;
    a->count = (size_t)count;
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

static en_status bad_entry(const entry *n, const char *what, en_error *e)
{
    wt_shown name;
    return en_fail(e, EN_E_FORMAT, "zip: entry '%s': %s", wt_show(n->name, n->name_size, name), what);
}

/* Checks the local header, which repeats the name, and finds the data behind it. */
static en_status find_data(const archive *a, entry *n, uint64_t local, en_error *e)
{
    if (local > a->directory || a->directory - local < LOCAL_SIZE) return bad_entry(n, "its header lies outside of the file", e);
    const uint8_t *b = a->store->bytes + local;
    size_t left = a->directory - (size_t)local - LOCAL_SIZE, name_size = little(b + 26, 2), extra_size = little(b + 28, 2);
    if (!signature(b, 3, 4)) return bad_entry(n, "no header where the directory says it is", e);
    if (name_size + extra_size > left) return bad_entry(n, "its header lies outside of the file", e);
    if (name_size != n->name_size || memcmp(b + LOCAL_SIZE, n->name, name_size) != 0)
        return bad_entry(n, "its header has another name", e);
    n->data = b + LOCAL_SIZE + name_size + extra_size;
    if (n->packed > left - name_size - extra_size) return bad_entry(n, "its data lies outside of the file", e);
    if (n->method == STORED && n->packed != n->size) return bad_entry(n, "stored, yet its two sizes differ", e);
    return EN_OK;
}

/* Reads entry n at *at in the directory and moves on. */
static en_status read_entry(const archive *a, size_t *at, entry *n, en_error *e)
{
    const uint8_t *b = a->store->bytes + a->directory + *at;
    size_t left = a->directory_size - *at;
    if (left < DIRECTORY_SIZE || !signature(b, 1, 2)) return en_fail(e, EN_E_FORMAT, "zip: the central directory is cut off");
    size_t name_size = little(b + 28, 2), extra_size = little(b + 30, 2), comment_size = little(b + 32, 2);
    if (name_size + extra_size + comment_size > left - DIRECTORY_SIZE)
        return en_fail(e, EN_E_FORMAT, "zip: the central directory is cut off");
    *n = (entry){.name = (const char *)b + DIRECTORY_SIZE,
                 .name_size = name_size,
                 .packed = little(b + 20, 4),
                 .size = little(b + 24, 4),
                 .method = (unsigned)little(b + 10, 2),
                 .flags = (unsigned)little(b + 8, 2)};
    uint64_t local = little(b + 42, 4);
    read_zip64(b + DIRECTORY_SIZE + name_size, extra_size, (uint64_t *[]){&n->size, &n->packed, &local});
    *at += DIRECTORY_SIZE + name_size + extra_size + comment_size;
    return find_data(a, n, local, e);
}

static int compare_names(const char *a, size_t a_size, const char *b, size_t b_size)
{
    int order = memcmp(a, b, a_size < b_size ? a_size : b_size);
    return order ? order : (a_size > b_size) - (a_size < b_size);
}

static int compare_entries(const void *a, const void *b)
{
    const entry *x = a, *y = b;
    return compare_names(x->name, x->name_size, y->name, y->name_size);
}

static en_status read_directory(archive *a, en_error *e)
{
    size_t at = 0;
    EN_TRY(find_directory(a, e));
    a->entry = malloc((a->count + 1) * sizeof *a->entry);
    if (!a->entry) return en_fail(e, EN_E_NOMEM, "no memory for a directory of %zu entries", a->count);
    for (size_t i = 0; i < a->count; i++) EN_TRY(read_entry(a, &at, &a->entry[i], e));
    qsort(a->entry, a->count, sizeof *a->entry, compare_entries);
    for (size_t i = 1; i < a->count; i++)
        if (compare_entries(&a->entry[i - 1], &a->entry[i]) == 0) return bad_entry(&a->entry[i], "is there twice", e);
    return EN_OK;
}

/* The entry FOLDER + NAME, or NULL. Both parts together are short: a folder's name and a storage's number. */
static const entry *find_entry(const archive *a, wt_pickle_text folder, const char *name)
{
    size_t low = 0, high = a->count, name_size = strlen(name);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const entry *n = &a->entry[middle];
        size_t shared = n->name_size < folder.size ? n->name_size : folder.size;
        int order = compare_names(folder.at, folder.size, n->name, shared);
        if (order == 0) order = compare_names(name, name_size, n->name + shared, n->name_size - shared);
        if (order == 0) return n;
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}

/* The bytes of an entry that must be readable as it lies in the file. */
static en_status stored_bytes(const entry *n, en_error *e)
{
    wt_shown name;
    wt_show(n->name, n->name_size, name);
    if (n->flags & ENCRYPTED) return en_fail(e, EN_E_UNSUPPORTED, "zip: entry '%s' is encrypted", name);
    if (n->method != STORED)
        return en_fail(e, EN_E_UNSUPPORTED,
                       "zip: entry '%s' is compressed; load the file in torch and save it again with torch.save", name);
    return EN_OK;
}

/* The folder in front of data.pkl, with its slash: torch names it after the file. */
static en_status find_folder(const archive *a, wt_pickle_text *folder, en_error *e)
{
    static const char name[] = "/data.pkl";
    for (size_t i = 0; i < a->count; i++) {
        const entry *n = &a->entry[i];
        size_t tail = sizeof name - 1;
        if (n->name_size <= tail || memcmp(n->name + n->name_size - tail, name, tail) != 0) continue;
        if (memchr(n->name, '/', n->name_size) != n->name + n->name_size - tail) continue; /* not at the top */
        *folder = (wt_pickle_text){n->name, n->name_size - tail + 1};
        if (find_entry(a, *folder, "constants.pkl"))
            return en_fail(e, EN_E_UNSUPPORTED,
                           "this is TorchScript (torch.jit.save), a program; save the model's state_dict() with torch.save");
        return EN_OK;
    }
    return en_fail(e, EN_E_FORMAT, "a zip archive without data.pkl: not written by torch.save");
}

static en_status check_byte_order(const archive *a, wt_pickle_text folder, en_error *e)
{
    const entry *n = find_entry(a, folder, "byteorder");
    if (!n) return EN_OK; /* before torch 2.1 always little */
    EN_TRY(stored_bytes(n, e));
    if (n->size == 6 && memcmp(n->data, "little", 6) == 0) return EN_OK;
    return en_fail(e, EN_E_UNSUPPORTED, "byteorder is not little");
}

/* The entry with a storage's data. Keys are numbers; anything else might name some other entry. */
static en_status find_storage(const archive *a, wt_pickle_text folder, const wt_pickle_storage *s, const entry **out, en_error *e)
{
    char name[32] = "data/";
    wt_shown key;
    wt_show(s->key.at, s->key.size, key);
    if (s->key.size == 0 || s->key.size > 20 || strspn(key, "0123456789") != s->key.size)
        return en_fail(e, EN_E_FORMAT, "storage key '%s' is not a number", key);
    strcat(name, key);
    const entry *n = *out = find_entry(a, folder, name);
    if (!n) return en_fail(e, EN_E_FORMAT, "storage %s is missing from the archive", key);
    EN_TRY(stored_bytes(n, e));
    if ((uint64_t)s->elements > n->size / wt_dtype_size(s->dtype))
        return en_fail(e, EN_E_FORMAT, "storage %s: %lld elements of %s in an entry of %llu bytes", key, (long long)s->elements,
                       wt_dtype_name(s->dtype), (unsigned long long)n->size);
    return EN_OK;
}

static en_status add_tensor(wt_store *store, const archive *a, wt_pickle_text folder, const wt_pickle *p,
                            const wt_pickle_entry *named, en_error *e)
{
    const wt_pickle_tensor *view = &p->tensor[named->tensor];
    const wt_pickle_storage *storage = &p->storage[view->storage];
    const entry *n = NULL;
    wt_shown shown;
    wt_show(named->name.at, named->name.size, shown);
    en_status status = find_storage(a, folder, storage, &n, e);
    if (status != EN_OK) return en_wrap(e, status, "tensor '%s'", shown);
    if (view->offset > storage->elements) return en_fail(e, EN_E_FORMAT, "tensor '%s': starts past the end of its data", shown);
    wt_tensor tensor = {.dtype = storage->dtype, .rank = view->rank};
    memcpy(tensor.dim, view->dim, sizeof tensor.dim);
    memcpy(tensor.stride, view->stride, sizeof tensor.stride);
    size_t width = wt_dtype_size(storage->dtype), start = (size_t)(n->data - store->bytes);
    return wt_store_add(store, &tensor, named->name.at, named->name.size, start + (size_t)view->offset * width,
                        start + (size_t)storage->elements * width, e);
}

static en_status read_state_dict(wt_store *store, const archive *a, en_error *e)
{
    wt_pickle_text folder;
    wt_pickle pickle;
    EN_TRY(find_folder(a, &folder, e));
    EN_TRY(check_byte_order(a, folder, e));
    const entry *n = find_entry(a, folder, "data.pkl");
    EN_TRY(stored_bytes(n, e));
    en_status status = wt_pickle_parse(n->data, (size_t)n->size, &pickle, e);
    if (status != EN_OK) return en_wrap(e, status, "data.pkl");
    for (size_t i = 0; i < pickle.entries && status == EN_OK; i++)
        status = add_tensor(store, a, folder, &pickle, &pickle.entry[i], e);
    wt_pickle_free(&pickle);
    return status;
}

en_status wt_parse_torch_zip(wt_store *store, en_error *e)
{
    archive a = {.store = store};
    en_status status = read_directory(&a, e);
    if (status == EN_OK) status = read_state_dict(store, &a, e);
    free(a.entry);
    return status;
}
