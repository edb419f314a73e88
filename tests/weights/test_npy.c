/* SPDX-License-Identifier: MIT */
/* .npy files: as NumPy writes them, and malformed. */
#include "tests/test.h"
#include "weights/file.h"
#include "weights/npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The name of a file that the test may use; gone when remove_file has been called. */
static const char *file_name(void)
{
    static char name[] = "/tmp/npy-XXXXXX";
    static int made;
    if (!made++) {
        int fd = mkstemp(name);
        CHECK(fd >= 0);
        close(fd);
    }
    return name;
}

static void remove_file(void) { unlink(file_name()); }

/* Writes magic, version, length, header and data to the file and reads it. */
static en_status try_npy(int version, const char *header, const void *data, size_t n, wt_npy *out, en_error *e)
{
    size_t length = strlen(header);
    uint8_t start[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t)version, 0, (uint8_t)length, (uint8_t)(length >> 8)};
    CHECK_OK(wt_file_write(file_name(), (wt_part[]){{start, version == 1 ? 10 : 12}, {header, length}, {data, n}}, 3, e), *e);
    en_status status = wt_npy_read(file_name(), out, e);
    return status;
}

TEST(npy_versions_1_to_3_are_read)
{
    static const float x[6] = {0, 1, 2, -3, 4, 5.5f};
    wt_npy a;
    en_error e;
    for (int version = 1; version <= 3; version++) {
        CHECK_OK(try_npy(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }          \n", x, sizeof x, &a, &e),
                 e);
        CHECK(a.rank == 2 && a.dim[0] == 2 && a.dim[1] == 3 && !memcmp(a.data, x, sizeof x));
        wt_npy_free(&a);
        CHECK(!a.data && a.rank == 0);
    }
    CHECK_OK(try_npy(1, "{'shape':(6,),'fortran_order':False,'descr':'<f4'}", x, sizeof x, &a, &e), e);
    CHECK(a.rank == 1 && a.dim[0] == 6);
    wt_npy_free(&a);
    remove_file();
}

TEST(npy_doubles_are_rounded_and_scalars_and_empty_arrays_read)
{
    static const double y[2] = {1 + 0x1p-24, 1 + 0x1.8p-24};
    wt_npy a;
    en_error e;
    CHECK_OK(try_npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (2,), }\n", y, sizeof y, &a, &e), e);
    CHECK(a.data[0] == 1 && a.data[1] == 1 + 0x1p-23f);
    wt_npy_free(&a);
    CHECK_OK(try_npy(1, "{'descr': '<f8', 'fortran_order': False, 'shape': (), }\n", y, 8, &a, &e), e);
    CHECK(a.rank == 0 && a.data[0] == 1);
    wt_npy_free(&a);
    CHECK_OK(try_npy(1, "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 0), }\n", NULL, 0, &a, &e), e);
    CHECK(a.rank == 2 && a.dim[0] == 3 && a.dim[1] == 0);
    wt_npy_free(&a);
    remove_file();
}

TEST(what_is_written_reads_back_and_is_aligned)
{
    static const float x[24] = {1, 2, 3, [23] = -1};
    static const struct {
        int rank;
        int64_t dim[3];
        const char *shape;
    } cases[] = {{3, {2, 3, 4}, "(2, 3, 4)"}, {1, {24}, "(24,)"}, {0, {0}, "()"}, {2, {5, 0}, "(5, 0)"}};
    wt_npy a;
    en_error e;
    for (int i = 0; i < 4; i++) {
        size_t size;
        CHECK_OK(wt_npy_write(file_name(), cases[i].rank, cases[i].dim, x, &e), e);
        uint8_t *bytes = t_read_file(file_name(), &size);
        size_t header = bytes[8] | (size_t)bytes[9] << 8;
        char want[128];
        snprintf(want, sizeof want, "{'descr': '<f4', 'fortran_order': False, 'shape': %s, }", cases[i].shape);
        CHECK_MSG(!memcmp(bytes + 10, want, strlen(want)), "%.*s", (int)header, bytes + 10);
        CHECK((10 + header) % 64 == 0 && bytes[9 + header] == '\n');
        free(bytes);
        CHECK_OK(wt_npy_read(file_name(), &a, &e), e);
        CHECK(a.rank == cases[i].rank && !memcmp(a.dim, cases[i].dim, (size_t)a.rank * sizeof *a.dim));
        CHECK(!memcmp(a.data, x, size - 10 - header));
        wt_npy_free(&a);
    }
    CHECK_FAILS(wt_npy_write(file_name(), 2, (int64_t[]){-1, 2}, x, &e), e, EN_E_ARG, "a shape that cannot be written");
    CHECK_FAILS(wt_npy_write(file_name(), 9, (int64_t[9]){1}, x, &e), e, EN_E_ARG, "a shape that cannot be written");
    remove_file();
}

TEST(a_malformed_npy_file_is_refused_with_its_reason)
{
    static const float x[7];
    wt_npy a;
    en_error e;
#define HEAD "{'descr': '<f4', 'fortran_order': False, 'shape': "
#define REFUSED(version, header, n, status, why)                                                                                   \
    do {                                                                                                                           \
        CHECK_FAILS(try_npy(version, header, x, n, &a, &e), e, status, why);                                                       \
        CHECK(!a.data && a.rank == 0);                                                                                             \
    } while (0)
    REFUSED(1, HEAD "(2, 3)}", 20, EN_E_FORMAT, "does not give the file's 20 bytes");
    REFUSED(1, HEAD "(2, 3)}", 25, EN_E_FORMAT, "does not give the file's 25 bytes");
    REFUSED(1, HEAD "(2, 4)}", 24, EN_E_FORMAT, "does not give the file's 24 bytes");
    REFUSED(1, HEAD "(4294967296, 4294967296)}", 0, EN_E_FORMAT, "does not give");
    REFUSED(1, HEAD "(99999999999999999999,)}", 0, EN_E_FORMAT, "a shape that fits 64 bits");
    REFUSED(1, HEAD "(-6,)}", 24, EN_E_FORMAT, "whole numbers as shape");
    REFUSED(1, HEAD "(2 3)}", 24, EN_E_FORMAT, "',' between the sizes");
    REFUSED(1, HEAD "(2, 3", 24, EN_E_FORMAT, "want");
    REFUSED(1, HEAD "6}", 24, EN_E_FORMAT, "a tuple as shape");
    REFUSED(1, HEAD "(1,1,1,1,1,1,1,1,1)}", 4, EN_E_LIMIT, "more than 8 axes");
    REFUSED(1, HEAD "(6,), 'shape': (6,)}", 24, EN_E_FORMAT, "each once");
    REFUSED(1, HEAD "(6,)} x", 24, EN_E_FORMAT, "each once");
    REFUSED(1, "{'descr': '<f4', 'shape': (6,)}", 24, EN_E_FORMAT, "each once");
    REFUSED(1, "{'descr': '>f4', 'fortran_order': False, 'shape': (6,)}", 24, EN_E_UNSUPPORTED,
            "elements are '>f4', want '<f4' or '<f8'");
    REFUSED(1, "{'descr': '|S1', 'fortran_order': False, 'shape': (6,)}", 6, EN_E_UNSUPPORTED, "elements are '|S1'");
    REFUSED(1, "{'descr': '|u1', 'fortran_order': False, 'shape': (6,)}", 6, EN_E_UNSUPPORTED, "elements are uint8");
    REFUSED(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3)}", 24, EN_E_UNSUPPORTED, "Fortran order");
    REFUSED(1, "{'descr': '<f4', 'fortran_order': 0, 'shape': (2, 3)}", 24, EN_E_FORMAT, "True or False");
    REFUSED(4, HEAD "(6,)}", 24, EN_E_UNSUPPORTED, "npy version 4.0");
    CHECK_OK(wt_file_write(file_name(), &(wt_part){"\x93NUMPY\1\0\xff\xff{ }", 13}, 1, &e), e);
    CHECK_FAILS(wt_npy_read(file_name(), &a, &e), e, EN_E_FORMAT, "npy header of 65535 bytes in a file of 13");
    CHECK_OK(wt_file_write(file_name(), &(wt_part){"not an array at all", 19}, 1, &e), e);
    CHECK_FAILS(wt_npy_read(file_name(), &a, &e), e, EN_E_FORMAT, "not a .npy file");
    CHECK_OK(wt_file_write(file_name(), NULL, 0, &e), e);
    CHECK_FAILS(wt_npy_read(file_name(), &a, &e), e, EN_E_FORMAT, "the file is empty");
    remove_file();
}

TEST(an_npy_file_cut_anywhere_is_refused)
{
    static const float x[6];
    wt_npy a;
    en_error e;
    size_t n;
    CHECK_OK(wt_npy_write(file_name(), 2, (int64_t[]){2, 3}, x, &e), e);
    uint8_t *bytes = t_read_file(file_name(), &n);
    for (size_t cut = 0; cut < n; cut++) {
        CHECK_OK(wt_file_write(file_name(), &(wt_part){bytes, cut}, 1, &e), e);
        CHECK(wt_npy_read(file_name(), &a, &e) == EN_E_FORMAT && !a.data);
    }
    free(bytes);
    remove_file();
}

TEST(failed_allocations_while_reading_an_array_are_reported)
{
    static const float x[6];
    wt_npy a;
    en_error e;
    CHECK_OK(wt_npy_write(file_name(), 2, (int64_t[]){2, 3}, x, &e), e);
    for (long n = 1;; n++) {
        t_fail_allocation(n, 0);
        en_status status = wt_npy_read(file_name(), &a, &e);
        t_fail_allocation(0, 0);
        wt_npy_free(&a);
        if (status == EN_OK) {
            CHECK(n == 3); /* the mapping, the values */
            break;
        }
        CHECK(status == EN_E_NOMEM);
    }
    remove_file();
}
