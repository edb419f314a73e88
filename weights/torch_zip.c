/* SPDX-License-Identifier: MIT */
/* torch.save's format since version 1.6: a zip archive with the entries
 *     NAME/data.pkl   the state dict as a pickle      NAME/byteorder   "little"
 *     NAME/data/KEY   one flat array per storage; torch stores them without compression: mapped, not copied */
#include "weights/zip.h"

#include <string.h>

/* The folder in front of data.pkl, with its slash: torch names it after the file. 0 if there is none. */
static int find_folder(const wt_zip *zip, wt_pickle_text *folder)
{
    static const char name[] = "/data.pkl";
    size_t tail = sizeof name - 1;
    for (size_t i = 0; i < zip->count; i++) {
        const wt_zip_entry *n = &zip->entry[i];
        if (n->name_size <= tail || memcmp(n->name + n->name_size - tail, name, tail) != 0) continue;
        if (memchr(n->name, '/', n->name_size) != n->name + n->name_size - tail) continue; /* not at the top */
        return *folder = (wt_pickle_text){n->name, n->name_size - tail + 1}, 1;
    }
    return 0;
}

static en_status check_byte_order(wt_zip *zip, wt_pickle_text folder, wt_store *store, en_error *e)
{
    const uint8_t *bytes;
    wt_zip_entry *n = wt_zip_find(zip, folder, "byteorder");
    if (!n) return EN_OK; /* before torch 2.1 always little */
    EN_TRY(wt_zip_bytes(zip, n, store, &bytes, e));
    if (n->size == 6 && memcmp(bytes, "little", 6) == 0) return EN_OK;
    return en_fail(e, EN_E_UNSUPPORTED, "byteorder is not little");
}

/* The entry with a storage's data. Keys are numbers; anything else might name some other entry. */
static en_status find_storage(const wt_zip *zip, wt_pickle_text folder, const wt_pickle_storage *s, wt_zip_entry **out, en_error *e)
{
    char name[32] = "data/";
    wt_shown key;
    wt_show(s->key.at, s->key.size, key);
    if (s->key.size == 0 || s->key.size > 20 || strspn(key, "0123456789") != s->key.size)
        return en_fail(e, EN_E_FORMAT, "storage key '%s' is not a number", key);
    strcat(name, key);
    *out = wt_zip_find(zip, folder, name);
    return *out ? EN_OK : en_fail(e, EN_E_FORMAT, "storage %s is missing from the archive", key);
}

static en_status add_tensor(wt_store *store, wt_zip *zip, wt_pickle_text folder, const wt_pickle *p, const wt_pickle_entry *named,
                            en_error *e)
{
    wt_zip_entry *n = NULL;
    const uint8_t *data;
    wt_shown shown;
    en_status status = find_storage(zip, folder, &p->storage[p->tensor[named->tensor].storage], &n, e);
    if (status == EN_OK) status = wt_zip_bytes(zip, n, store, &data, e);
    if (status != EN_OK) return en_wrap(e, status, "tensor '%s'", wt_show(named->name.at, named->name.size, shown));
    return wt_store_add_view(store, p, named, data, (size_t)n->size, e);
}

static en_status read_state_dict(wt_store *store, wt_zip *zip, wt_pickle_text folder, en_error *e)
{
    wt_pickle pickle;
    const uint8_t *bytes;
    if (wt_zip_find(zip, folder, "constants.pkl"))
        return en_fail(e, EN_E_UNSUPPORTED, "this is TorchScript (torch.jit.save), a program; save the model's state_dict() with torch.save");
    EN_TRY(check_byte_order(zip, folder, store, e));
    wt_zip_entry *n = wt_zip_find(zip, folder, "data.pkl");
    EN_TRY(wt_zip_bytes(zip, n, store, &bytes, e));
    en_status status = wt_pickle_parse(bytes, (size_t)n->size, store->ema, &pickle, e);
    if (status != EN_OK) return en_wrap(e, status, "data.pkl");
    for (size_t i = 0; i < pickle.entries && status == EN_OK; i++)
        status = add_tensor(store, zip, folder, &pickle, &pickle.entry[i], e);
    wt_pickle_free(&pickle);
    return status;
}

en_status wt_parse_zip(wt_store *store, en_error *e)
{
    wt_zip zip;
    wt_pickle_text folder;
    EN_TRY(wt_zip_open(store->bytes, store->size, &zip, e));
    en_status status = find_folder(&zip, &folder) ? read_state_dict(store, &zip, folder, e) : wt_parse_npz(store, &zip, e);
    wt_zip_free(&zip);
    return status;
}
