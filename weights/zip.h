/* SPDX-License-Identifier: MIT */
/* Inside weights/: zip archives (PKWARE APPNOTE 6.3.9, zip64 included), read through their central directory. Every size and offset
 * is checked against the archive; entries are unique and do not overlap. */
#ifndef WEIGHTS_ZIP_H
#define WEIGHTS_ZIP_H

#include "weights/formats.h"

typedef struct wt_zip_entry {
    const char *name; /* in the archive, name_size bytes */
    size_t name_size;
    const uint8_t *header, *data; /* data: as it lies in the archive */
    uint64_t packed, size;        /* bytes there, and unpacked       */
    unsigned method, flags;
    uint32_t crc;
    const uint8_t *unpacked; /* once it has been, in a block of the store */
} wt_zip_entry;

typedef struct wt_zip {
    const uint8_t *bytes;
    size_t size;
    wt_zip_entry *entry; /* sorted by name; owned */
    size_t count;
    uint64_t unpacked; /* bytes so far */
} wt_zip;

/* On failure *out is {0}. */
en_status wt_zip_open(const uint8_t *bytes, size_t size, wt_zip *out, en_error *e);
void wt_zip_free(wt_zip *zip);

/* The entry FOLDER + NAME, or NULL. */
wt_zip_entry *wt_zip_find(const wt_zip *zip, wt_pickle_text folder, const char *name);

/* The bytes of an entry, n->size many: where they lie if they are stored; otherwise unpacked into a block of the store, and checked
 * against their CRC. All that is unpacked together may be 16 times as large as the archive, and 64 MB: weights hardly shrink when
 * packed, so that more is a bomb. */
en_status wt_zip_bytes(wt_zip *zip, wt_zip_entry *n, wt_store *store, const uint8_t **out, en_error *e);

/* What wt_parse_zip goes on with when there is no data.pkl. */
en_status wt_parse_npz(wt_store *store, wt_zip *zip, en_error *e);

#endif
