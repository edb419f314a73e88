/* SPDX-License-Identifier: MIT */
/* Safetensors files, good and hostile; what is recognised by its first bytes; reading, writing and replacing files. */
#include "tests/test.h"
#include "weights/file.h"
#include "weights/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Opens header + data from an allocation that ends where the file ends. The store and *copy are the caller's. */
static en_status open_file(const char *header, uint64_t header_size, const void *data, size_t n, uint8_t **copy, wt_store **store,
                           en_error *e)
{
    size_t length = strlen(header);
    *copy = malloc(8 + length + n);
    CHECK(*copy != NULL);
    memcpy(*copy, &header_size, 8);
    memcpy(*copy + 8, header, length);
    if (n) memcpy(*copy + 8 + length, data, n);
    return wt_open_bytes("test.safetensors", *copy, 8 + length + n, store, e);
}

static en_status try_sized(const char *header, uint64_t header_size, size_t n, en_error *e)
{
    static const uint8_t data[64];
    uint8_t *copy;
    wt_store *store;
    en_status status = open_file(header, header_size, data, n, &copy, &store, e);
    wt_close(store);
    free(copy);
    return status;
}

static en_status try_header(const char *header, size_t n, en_error *e) { return try_sized(header, strlen(header), n, e); }

#define F32(name, shape, from, to) "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" #from "," #to "]}"

TEST(a_safetensors_file_is_read)
{
    static const float data[] = {1, 2, 3, 4, 5, 6};
    uint8_t *copy;
    wt_store *store;
    en_error e;
    float got[6];
    const char *header = "{\"__metadata__\":{\"format\":\"pt\"}," F32(
        "b", "[2,2]", 8, 24) ","
                             "\"none\": {\"shape\": [3, 0], \"data_offsets\": [8, 8], \"dtype\": \"F64\"}," F32("a\\u00e9", "[2]",
                                                                                                                0, 8) "}  ";
    CHECK_OK(open_file(header, strlen(header), data, sizeof data, &copy, &store, &e), e);
    CHECK(wt_count(store) == 3 && !strcmp(wt_path(store), "test.safetensors"));
    CHECK(!strcmp(wt_at(store, 0)->name, "b") && !strcmp(wt_at(store, 2)->name, "a\xC3\xA9"));
    const wt_tensor *b = wt_find(store, "b"), *none = wt_find(store, "none");
    CHECK(b && b->rank == 2 && b->dim[0] == 2 && b->stride[0] == 2 && b->stride[1] == 1 && b->dtype == WT_F32);
    CHECK(none && none->rank == 2 && wt_elements(none) == 0 && !wt_find(store, "c") && !wt_find(store, ""));
    CHECK_OK(wt_read(store, b, 1, 3, got, &e), e);
    CHECK(got[0] == 4 && got[2] == 6);
    CHECK_OK(wt_read(store, none, 0, 0, NULL, &e), e);
    CHECK_FAILS(wt_read(store, none, 0, 1, got, &e), e, EN_E_ARG, "'none' has 0 elements");
    CHECK_FAILS(wt_read(store, b, 2, 3, got, &e), e, EN_E_ARG, "'b' has 4 elements, want 3 from 2 on");
    CHECK_FAILS(wt_read(store, b, SIZE_MAX, 2, got, &e), e, EN_E_ARG, "'b' has 4 elements");
    wt_close(store);
    free(copy);
}

TEST(what_is_dense_and_aligned_can_be_looked_at_in_place)
{
    static const float data[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    const char *header = "{" F32("w", "[2,3]", 0, 24) ",\"h\":{\"dtype\":\"F16\",\"shape\":[4],\"data_offsets\":[24,32]}}";
    for (int shift = 0; shift < 4; shift++) { /* spaces after the header move the data */
        char padded[256];
        uint8_t *copy;
        wt_store *store;
        en_error e;
        float read[4];
        int room = snprintf(padded, sizeof padded, "%s%*s", header, (int)(4 - strlen(header) % 4) + shift, "");
        CHECK_OK(open_file(padded, (uint64_t)room, data, sizeof data, &copy, &store, &e), e);
        const wt_tensor *w = wt_find(store, "w");
        const float *there = wt_peek(store, w, 2, 4);
        CHECK_OK(wt_read(store, w, 2, 4, read, &e), e);
        CHECK((there != NULL) == (shift == 0));
        CHECK(!there || ((const uint8_t *)there == w->data + 8 && !memcmp(there, read, sizeof read)));
        CHECK(!wt_peek(store, w, 3, 4) && !wt_peek(store, w, SIZE_MAX, 1) && !wt_peek(store, wt_find(store, "h"), 0, 4));
        wt_tensor turned = *w;
        turned.dim[0] = 3, turned.dim[1] = 2, turned.stride[0] = 1, turned.stride[1] = 3;
        CHECK(!wt_peek(store, &turned, 0, 6));
        wt_close(store);
        free(copy);
    }
}

TEST(a_hostile_safetensors_file_is_refused_with_its_reason)
{
    en_error e;
#define REFUSED(header, n, status, why) CHECK_FAILS(try_header("{" header "}", n, &e), e, status, why)
    CHECK_OK(try_header("{" F32("a", "[2]", 0, 8) "}", 8, &e), e);
    CHECK_OK(try_header("{}", 0, &e), e);
    CHECK_FAILS(try_sized("{}", 3, 0, &e), e, EN_E_FORMAT, "header of 3 bytes in a file of 10");
    CHECK_FAILS(try_sized("{}", 1ull << 63, 0, &e), e, EN_E_FORMAT, "header of 9223372036854775808 bytes");
    CHECK_FAILS(try_sized("{}", UINT64_MAX, 0, &e), e, EN_E_FORMAT, "header of 18446744073709551615 bytes");
    CHECK_FAILS(try_sized("{}", 1, 0, &e), e, EN_E_FORMAT, "the text ends too early");
    REFUSED(F32("a", "[2]", 0, 8) "," F32("b", "[2]", 4, 12), 12, EN_E_FORMAT, "'b' overlaps another one");
    REFUSED(F32("a", "[2]", 0, 8) "," F32("b", "[2]", 0, 8), 8, EN_E_FORMAT, "overlaps another one");
    REFUSED(F32("a", "[2]", 0, 8) "," F32("b", "[2]", 12, 20), 20, EN_E_FORMAT, "a hole in the data before tensor 'b'");
    REFUSED(F32("a", "[2]", 4, 12), 12, EN_E_FORMAT, "a hole in the data before tensor 'a'");
    REFUSED(F32("a", "[2]", 0, 8), 9, EN_E_FORMAT, "1 bytes follow the last tensor");
    REFUSED(F32("a", "[2]", 0, 8) "," F32("a", "[2]", 8, 16), 16, EN_E_FORMAT, "'a' is there twice");
    REFUSED(F32("a", "[2]", 0, 8) "," F32("\\u0061", "[2]", 8, 16), 16, EN_E_FORMAT, "'a' is there twice");
    REFUSED(F32("a", "[2]", 0, 8), 4, EN_E_FORMAT, "data_offsets [0, 8] in 4 bytes of data");
    REFUSED(F32("a", "[2]", 8, 0), 8, EN_E_FORMAT, "data_offsets [8, 0]");
    REFUSED(F32("a", "[3]", 0, 8), 8, EN_E_FORMAT, "'a': shape and dtype do not give the 8 bytes");
    REFUSED(F32("a", "[4611686018427387906]", 0, 8), 8, EN_E_FORMAT, "shape and dtype do not give"); /* times 4 it wraps to 8 */
    REFUSED(F32("a", "[4294967296,4294967296]", 0, 0), 0, EN_E_FORMAT, "'a': impossible shape");
    REFUSED(F32("a", "[0,4294967296,4294967296]", 0, 0), 0, EN_E_FORMAT, "'a': impossible shape");
    REFUSED(F32("a", "[9223372036854775808]", 0, 0), 0, EN_E_FORMAT, "want an integer of 64 bits");
    REFUSED(F32("a", "[-2]", 0, 8), 8, EN_E_FORMAT, "'a': negative number in shape");
    REFUSED(F32("a", "[2.0]", 0, 8), 8, EN_E_FORMAT, "want an integer of 64 bits");
    REFUSED(F32("a", "[2]", -8, 0), 8, EN_E_FORMAT, "'a': negative number in data_offsets");
    REFUSED(F32("a", "[1,1,1,1,1,1,1,1,1]", 0, 4), 4, EN_E_LIMIT, "'a': more than 8 numbers in shape");
    REFUSED("\"a\":{\"dtype\":\"F31\",\"shape\":[],\"data_offsets\":[0,4]}", 4, EN_E_UNSUPPORTED, "'a': unknown dtype 'F31'");
    REFUSED("\"a\":{\"dtype\":\"F32\",\"dtype\":\"F32\"}", 4, EN_E_FORMAT, "'a': field 'dtype' is there twice");
    REFUSED("\"a\":{\"dtype\":\"F32\",\"shape\":[]}", 4, EN_E_FORMAT, "'a': want dtype, shape and two data_offsets");
    REFUSED("\"a\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[0]}", 4, EN_E_FORMAT, "'a': want dtype, shape and two");
    REFUSED("\"a\":{\"strides\":[1]}", 4, EN_E_FORMAT, "'a': unknown field 'strides'");
    REFUSED("\"a\":3", 4, EN_E_FORMAT, "offset 5: want an object");
    REFUSED("\"a\\u0000\":{}", 0, EN_E_FORMAT, "NUL");
    REFUSED("\"\\u001b[31m\":3", 0, EN_E_FORMAT, "want an object");
    REFUSED("\"\\u001b[31m\":{\"x\":3}", 0, EN_E_FORMAT, "tensor '?[31m'");
    REFUSED("\"__metadata__\":{\"a\":1}", 0, EN_E_FORMAT, "want a text as value of __metadata__");
    REFUSED("\"__metadata__\":{},\"__metadata__\":{}", 0, EN_E_FORMAT, "__metadata__ is there twice");
}

TEST(a_header_nested_without_end_or_too_long_is_refused)
{
    enum { SIZE = 17 << 20 };
    en_error e;
    char *header = malloc(SIZE + 1);
    CHECK(header != NULL);
    memset(header, ' ', SIZE);
    header[SIZE] = 0;
    memcpy(header, "{}", 2);
    CHECK_FAILS(try_header(header, 0, &e), e, EN_E_LIMIT, "want at most 16777216");
    memcpy(header, "{\"a\":", 5);
    memset(header + 5, '[', 100000);
    header[100005] = 0;
    CHECK_FAILS(try_header(header, 0, &e), e, EN_E_FORMAT, "want an object");
    memcpy(header, "{\"a\":{\"shape\":", 14);
    CHECK_FAILS(try_header(header, 0, &e), e, EN_E_FORMAT, "want an integer");
    free(header);
}

TEST(a_safetensors_file_cut_anywhere_or_with_any_bit_flipped_does_no_harm)
{
    const char *header = "{\"__metadata__\":{\"k\":\"v\"}," F32("a", "[2,1]", 0, 8) "," F32("b", "[]", 8, 12) "}";
    uint8_t whole[512], *copy;
    size_t n = 8 + strlen(header) + 12, size = strlen(header);
    en_error e;
    wt_store *store;
    memset(whole, 0, sizeof whole);
    memcpy(whole, &size, 8);
    memcpy(whole + 8, header, size);
    for (size_t cut = 0; cut < n; cut++) {
        copy = malloc(cut ? cut : 1);
        CHECK(copy != NULL);
        memcpy(copy, whole, cut);
        CHECK(wt_open_bytes("cut", copy, cut, &store, &e) != EN_OK && !store);
        free(copy);
    }
    copy = malloc(n);
    CHECK(copy != NULL);
    memcpy(copy, whole, n);
    for (size_t i = 0; i < 8 * n; i++) {
        float got[4];
        copy[i / 8] ^= (uint8_t)(1 << i % 8);
        if (wt_open_bytes("flipped", copy, n, &store, &e) == EN_OK)
            for (size_t k = 0; k < wt_count(store); k++)
                if (wt_elements(wt_at(store, k)) <= 4)
                    (void)wt_read(store, wt_at(store, k), 0, wt_elements(wt_at(store, k)), got, &e);
        wt_close(store);
        copy[i / 8] ^= (uint8_t)(1 << i % 8);
    }
    free(copy);
}

TEST(files_that_are_no_checkpoint_are_named)
{
    static uint8_t tar[512];
    en_error e;
    wt_store *store;
#define STRANGER(bytes, status, why) CHECK_FAILS(wt_open_bytes("f", bytes, sizeof(bytes) - 1, &store, &e), e, status, why)
    STRANGER("<!DOCTYPE html>", EN_E_UNSUPPORTED, "a web page");
    STRANGER("version https://git-lfs.github.com/spec/v1\n", EN_E_UNSUPPORTED, "Git LFS pointer");
    STRANGER("\x89HDF\r\n\x1a\n", EN_E_UNSUPPORTED, "HDF5");
    STRANGER("hello, world", EN_E_FORMAT, "f: not a checkpoint");
    STRANGER("P", EN_E_FORMAT, "not a checkpoint");
    memcpy(tar + 257, "ustar", 5);
    CHECK_FAILS(wt_open_bytes("f", tar, sizeof tar, &store, &e), e, EN_E_UNSUPPORTED, "torch's tar format");
    CHECK_FAILS(wt_open("no/such/file", &store, &e), e, EN_E_IO, "no/such/file: cannot open: No such file");
    CHECK_FAILS(wt_open("tests", &store, &e), e, EN_E_IO, "tests: not a regular file");
    CHECK(!store);
    wt_close(NULL);
}

/* A folder of the test's own; names in it. */
static const char *in_folder(const char *name)
{
    static char folder[] = "/tmp/weights-XXXXXX", path[2][64];
    static int made, turn;
    if (!made++) CHECK(mkdtemp(folder) != NULL);
    snprintf(path[turn ^= 1], sizeof path[0], "%s/%s", folder, name);
    return path[turn];
}

static void remove_all(const char *const *names)
{
    for (; *names; names++) unlink(in_folder(*names));
    CHECK_MSG(!rmdir(in_folder("")), "the folder is not empty: a temporary file was left behind");
}

TEST(saved_arrays_read_back_with_the_same_bits_and_files)
{
    static const float x[6] = {0, -1.5f, 2, 3, 4, 5}, nothing[1];
    static const double y = 3.25;
    const wt_array arrays[] = {{"x", WT_F32, 2, {2, 3}, x}, {"208/value", WT_F64, 0, {0}, &y}, {"q\"\n", WT_F32, 1, {0}, nothing}};
    const char *metadata[] = {"net", "resnet18", NULL};
    en_error e;
    wt_store *store;
    float got[6];
    size_t n[2];
    for (int i = 0; i < 2; i++) CHECK_OK(wt_save_safetensors(in_folder(i ? "2" : "1"), arrays, 3, metadata, &e), e);
    uint8_t *first = t_read_file(in_folder("1"), &n[0]), *second = t_read_file(in_folder("2"), &n[1]);
    CHECK(n[0] == n[1] && !memcmp(first, second, n[0]) && first[0] % 8 == 0);
    CHECK_OK(wt_open(in_folder("1"), &store, &e), e);
    CHECK(wt_count(store) == 3 && wt_find(store, "q\"\n"));
    CHECK_OK(wt_read(store, wt_find(store, "x"), 0, 6, got, &e), e);
    CHECK(!memcmp(got, x, sizeof x));
    CHECK_OK(wt_read(store, wt_find(store, "208/value"), 0, 1, got, &e), e);
    CHECK(got[0] == 3.25f && ((uintptr_t)wt_find(store, "208/value")->data & 7) == 0);
    wt_close(store);
    const wt_array twice[] = {arrays[0], arrays[1], arrays[0]}, wrong = {"w", WT_F32, 1, {-1}, x};
    CHECK_FAILS(wt_save_safetensors(in_folder("3"), twice, 3, NULL, &e), e, EN_E_ARG, "tensor 'x' is there twice");
    CHECK_FAILS(wt_save_safetensors(in_folder("3"), &wrong, 1, NULL, &e), e, EN_E_ARG, "tensor 'w': a name or a shape");
    CHECK_FAILS(wt_save_safetensors(in_folder("3/4"), arrays, 3, NULL, &e), e, EN_E_IO, "3/4: cannot create");
    free(first);
    free(second);
    remove_all((const char *[]){"1", "2", NULL});
}

TEST(a_file_is_replaced_whole_or_not_at_all)
{
    en_error e;
    uint8_t *bytes;
    size_t n;
    struct stat info;
    mode_t mask = umask(022);
    CHECK_OK(wt_file_write(in_folder("f"), &(wt_part){"old", 3}, 1, &e), e);
    CHECK(!stat(in_folder("f"), &info) && (info.st_mode & 0777) == 0644);
    umask(mask);
    CHECK_OK(wt_file_write(in_folder("f"), (wt_part[]){{"new", 3}, {"er", 2}, {NULL, 0}}, 3, &e), e);
    CHECK_OK(wt_file_read(in_folder("f"), 5, &bytes, &n, &e), e);
    CHECK(n == 5 && !memcmp(bytes, "newer", 5));
    free(bytes);
    CHECK_FAILS(wt_file_read(in_folder("f"), 4, &bytes, &n, &e), e, EN_E_LIMIT, "larger than 4 bytes");
    CHECK(!bytes && n == 0);
    char stale[32]; /* what a killed program of the same number left behind is not touched */
    snprintf(stale, sizeof stale, ".%ld-0.tmp", (long)getpid());
    CHECK(!mkdir(in_folder(stale), 0755));
    CHECK_OK(wt_file_write(in_folder("f"), &(wt_part){"x", 1}, 1, &e), e);
    CHECK(!rmdir(in_folder(stale)));
    CHECK(!mkdir(in_folder("d"), 0755));
    CHECK_FAILS(wt_file_write(in_folder("d"), &(wt_part){"x", 1}, 1, &e), e, EN_E_IO, "d: cannot replace");
    rmdir(in_folder("d"));
    remove_all((const char *[]){"f", NULL});
}

TEST(every_failed_allocation_while_opening_and_saving_is_reported)
{
    static const float x[6] = {1, 2, 3, 4, 5, 6};
    const wt_array arrays[] = {{"a", WT_F32, 2, {2, 1}, x}, {"b", WT_F32, 2, {1, 4}, x + 2}};
    const char *metadata[] = {"net", "resnet18", NULL};
    long saving = 1, opening = 1;
    en_error e;
    for (;; saving++) {
        t_fail_allocation(saving, 0);
        en_status status = wt_save_safetensors(in_folder("f"), arrays, 2, metadata, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && access(in_folder("f"), F_OK), "allocation %ld: %s", saving, e.text);
    }
    for (;; opening++) {
        wt_store *store;
        t_fail_allocation(opening, 0);
        en_status status = wt_open(in_folder("f"), &store, &e);
        t_fail_allocation(0, 0);
        wt_close(store);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && !store, "allocation %ld: %s", opening, e.text);
    }
    CHECK(saving > 3 && opening > 6);
    remove_all((const char *[]){"f", NULL});
}

/* Pages of this process that are resident, from the kernel's count. */
static long resident_bytes(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (!f) t_skip("needs /proc/self/statm");
    CHECK(fscanf(f, "%*d %ld", &pages) == 1);
    fclose(f);
    return pages * sysconf(_SC_PAGESIZE);
}

TEST(a_large_tensor_is_read_without_staying_in_memory)
{
    enum { COUNT = 16 << 20, PIECE = 400000 };
    en_error e;
    wt_store *store;
    float *x = calloc(COUNT, sizeof *x), *got = malloc(PIECE * sizeof *got);
    CHECK(x && got);
    for (size_t i = 0; i < COUNT; i++) x[i] = (float)i;
    CHECK_OK(wt_save_safetensors(in_folder("f"), &(wt_array){"w", WT_F32, 1, {COUNT}, x}, 1, NULL, &e), e);
    free(x);
    CHECK_OK(wt_open(in_folder("f"), &store, &e), e);
    memset(got, 0, PIECE * sizeof *got);
    long before = resident_bytes(), most = 0;
    for (size_t first = 0; first < COUNT; first += PIECE) {
        size_t count = COUNT - first < PIECE ? COUNT - first : PIECE;
        CHECK_OK(wt_read(store, wt_at(store, 0), first, count, got, &e), e);
        CHECK(got[0] == (float)first && got[count - 1] == (float)(first + count - 1));
        if (resident_bytes() - before > most) most = resident_bytes() - before;
    }
    CHECK_MSG(most < 8 << 20, "%ld bytes stay resident of %zu", most, COUNT * sizeof *got);
    wt_close(store);
    free(got);
    remove_all((const char *[]){"f", NULL});
}

/* A fault maps a whole large page of the system's cache: many small tensors must not add up to the file. */
TEST(many_small_tensors_are_read_without_staying_in_memory)
{
    enum { COUNT = 2000, SIZE = 8192 };
    static wt_array arrays[COUNT];
    static char names[COUNT][8];
    en_error e;
    wt_store *store;
    float *x = calloc(SIZE, sizeof *x), got;
    for (int i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "t%d", i);
        arrays[i] = (wt_array){names[i], WT_F32, 1, {SIZE}, x};
    }
    CHECK_OK(wt_save_safetensors(in_folder("f"), arrays, COUNT, NULL, &e), e);
    CHECK_OK(wt_open(in_folder("f"), &store, &e), e);
    long before = resident_bytes();
    for (size_t i = 0; i < COUNT; i++) CHECK_OK(wt_read(store, wt_at(store, i), SIZE / 2, 1, &got, &e), e);
    CHECK_MSG(resident_bytes() - before < 8 << 20, "%ld bytes stay resident", resident_bytes() - before);
    wt_close(store);
    free(x);
    remove_all((const char *[]){"f", NULL});
}

TEST(a_real_checkpoint_has_the_same_bits_in_both_formats)
{
    wt_store *pth, *safetensors;
    en_error e;
    size_t floats = 0;
    CHECK_OK(wt_open(t_shared("weights/mobilenet_v2_int8_dequantised.pth"), &pth, &e), e);
    CHECK_OK(wt_open(t_shared("weights/mobilenet_v2_int8_dequantised.safetensors"), &safetensors, &e), e);
    CHECK(wt_count(pth) == 314 && wt_count(safetensors) == 314);
    for (size_t i = 0; i < 314; i++) {
        const wt_tensor *a = wt_at(pth, i), *b = wt_find(safetensors, a->name);
        CHECK_MSG(b && a->dtype == b->dtype && a->rank == b->rank && !memcmp(a->dim, b->dim, sizeof a->dim), "%s", a->name);
        size_t n = wt_elements(a);
        float *x = malloc(2 * n * sizeof *x);
        CHECK(x != NULL);
        if (a->dtype == WT_F32) {
            CHECK_OK(wt_read(pth, a, 0, n, x, &e), e);
            CHECK_OK(wt_read(safetensors, b, 0, n, x + n, &e), e);
            CHECK_MSG(!memcmp(x, x + n, n * sizeof *x), "%s", a->name);
            floats++;
        } else {
            CHECK_FAILS(wt_read(pth, a, 0, n, x, &e), e, EN_E_ARG, "is int64, want floating point");
        }
        free(x);
    }
    CHECK(floats == 262);
    wt_close(pth);
    wt_close(safetensors);
}
