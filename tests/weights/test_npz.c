/* SPDX-License-Identifier: MIT */
/* Zip archives whose entries are packed, and those of NumPy. */
#include "nets/image/deflate.h"
#include "tests/test.h"
#include "tests/weights/archive.h"
#include "weights/checksum.h"
#include "weights/store.h"

#include <stdio.h>
#include <stdlib.h>

static t_zip archive;
static const float numbers[6] = {1, 2, 3, 4, 5, 6};

/* An .npy file of the numbers, with this dtype, order and shape. */
static void put_npy(t_text *t, const char *descr, const char *fortran, const char *shape, const void *data, size_t n)
{
    char header[128];
    t->size = 0;
    int length = snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': %s, 'shape': %s, }", descr, fortran, shape);
    T_PUT(t, "\x93NUMPY\1\0");
    t_put_number(t, (uint64_t)length, 2);
    t_put(t, header, (size_t)length);
    t_put(t, data, n);
}

/* Adds an entry packed with deflate: a zlib stream without its header and its checksum. */
static void add_packed(const char *name, const void *bytes, size_t n)
{
    uint8_t *packed;
    size_t size, i = (size_t)archive.count;
    en_error e;
    CHECK_OK(img_deflate(bytes, n, &packed, &size, &e), e);
    t_zip_add(&archive, name, packed + 2, size - 6);
    uint8_t *central = archive.directory.byte + archive.central[i];
    uint32_t crc = wt_crc32(0, bytes, n), whole = (uint32_t)n;
    central[10] = 8;
    memcpy(central + 16, &crc, 4);
    memcpy(central + 24, &whole, 4);
    free(packed);
}

static void patch(size_t at, uint64_t value, size_t bytes) { memcpy(archive.file.byte + at, &value, bytes); }

static void good_npz(void)
{
    static t_text npy;
    static const int16_t integers[2] = {-1, 300};
    archive = (t_zip){0};
    put_npy(&npy, "<f4", "False", "(2, 3)", numbers, sizeof numbers);
    t_zip_add(&archive, "rows.npy", npy.byte, npy.size);
    put_npy(&npy, "<f4", "True", "(2, 3)", numbers, sizeof numbers);
    add_packed("columns.npy", npy.byte, npy.size);
    put_npy(&npy, "<i2", "False", "(2,)", integers, sizeof integers);
    add_packed("integers.npy", npy.byte, npy.size);
    t_zip_end(&archive);
}

TEST(an_npz_file_is_read_packed_or_not_and_in_either_order)
{
    wt_store *store;
    en_error e;
    float got[6];
    int16_t raw[2];
    good_npz();
    CHECK_OK(wt_open_bytes("w.npz", archive.file.byte, archive.file.size, &store, &e), e);
    CHECK(wt_count(store) == 3 && !strcmp(wt_format(store), "npz"));
    CHECK_OK(wt_read(store, wt_find(store, "rows"), 0, 6, got, &e), e);
    CHECK(!memcmp(got, numbers, sizeof got));
    CHECK_OK(wt_read(store, wt_find(store, "columns"), 0, 6, got, &e), e);
    CHECK(got[0] == 1 && got[1] == 3 && got[2] == 5 && got[3] == 2 && got[5] == 6); /* memory 1 2 3 4 5 6, first axis first */
    CHECK_OK(wt_read_raw(store, wt_find(store, "integers"), 0, 2, raw, &e), e);
    CHECK(raw[0] == -1 && raw[1] == 300);
    wt_close(store);
}

TEST(an_npz_file_that_is_cut_or_damaged_does_no_harm)
{
    good_npz();
    t_check_hardness(archive.file.byte, archive.file.size);
}

TEST(a_packed_entry_must_be_what_its_directory_says)
{
    en_error e;
#define REFUSED(status, why, ...)                                                                        \
    do {                                                                                                 \
        good_npz();                                                                                      \
        __VA_ARGS__;                                                                                     \
        CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, status, why);              \
    } while (0)
    REFUSED(EN_E_FORMAT, "'columns.npy': its CRC is not that of its data", patch(archive.central[1] + 16, 0, 4));
    REFUSED(EN_E_FORMAT, "zip: entry 'columns.npy'", patch(archive.central[1] + 24, 10, 4));   /* unpacks to more */
    REFUSED(EN_E_FORMAT, "zip: entry 'columns.npy'", patch(archive.central[1] + 24, 5000, 4)); /* and to less */
    REFUSED(EN_E_UNSUPPORTED, "'columns.npy' is packed with method 9", patch(archive.central[1] + 10, 9, 2));
    REFUSED(EN_E_FORMAT, "array 'rows.npy': not a .npy file", patch(archive.local[0] + 30 + 8, 'x', 1));
    REFUSED(EN_E_FORMAT, "'rows.npx' is no array", {
        patch(archive.central[0] + 46 + 7, 'x', 1);
        patch(archive.local[0] + 30 + 7, 'x', 1);
    });
}

TEST(what_is_unpacked_counts_together)
{
    static t_text npy;
    static const uint8_t zeros[200000];
    en_error e;
    for (int more = 0; more < 2; more++) {
        archive = (t_zip){0};
        put_npy(&npy, "|u1", "False", "(200000,)", zeros, sizeof zeros);
        add_packed("a.npy", npy.byte, npy.size);
        size_t used = npy.size;
        add_packed("b.npy", npy.byte, npy.size);
        t_zip_end(&archive);
        patch(archive.central[1] + 24, (64 << 20) + 16 * archive.file.size - used + (size_t)more, 4);
        CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, more ? "'b.npy': unpacks to far more" : "zip: entry 'b.npy'");
        CHECK(more || !strstr(e.text, "bomb"));
    }
}
