/* SPDX-License-Identifier: MIT */
/* .npz (numpy.savez): a zip archive of .npy files, stored or deflated. NAME.npy is the array NAME. */
#include "weights/npy.h"
#include "weights/zip.h"

#include <string.h>

static en_status add_array(wt_store *store, wt_zip *zip, wt_zip_entry *n, en_error *e)
{
    wt_tensor tensor;
    const uint8_t *bytes;
    size_t data;
    EN_TRY(wt_zip_bytes(zip, n, store, &bytes, e));
    EN_TRY(wt_npy_header(bytes, (size_t)n->size, &tensor, &data, e));
    return wt_store_add(store, &tensor, n->name, n->name_size - 4, bytes, data, (size_t)n->size, e);
}

en_status wt_parse_npz(wt_store *store, wt_zip *zip, en_error *e)
{
    store->format = "npz";
    for (size_t i = 0; i < zip->count; i++) {
        wt_zip_entry *n = &zip->entry[i];
        wt_shown name;
        wt_show(n->name, n->name_size, name);
        if (n->name_size < 5 || memcmp(n->name + n->name_size - 4, ".npy", 4) != 0)
            return en_fail(e, EN_E_FORMAT, "a zip archive without data.pkl, and '%s' is no array: neither torch.save's nor numpy.savez's", name);
        en_status status = add_array(store, zip, n, e);
        if (status != EN_OK) return en_wrap(e, status, "array '%s'", name);
    }
    return zip->count ? EN_OK : en_fail(e, EN_E_FORMAT, "a zip archive without data.pkl, with nothing in it");
}
