/* SPDX-License-Identifier: MIT */
/* Our own format: what is written is read, and nothing that README.md does not allow. */
#include "tests/test.h"
#include "tests/weights/archive.h"
#include "weights/camw.h"
#include "weights/checksum.h"
#include "weights/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const float numbers[6] = {0.1f, -2, 3, 4, 5, 65504};

static en_status read_numbers(const wt_output *t, size_t first, size_t count, void *out, en_error *e)
{
    (void)t, (void)e;
    memcpy(out, numbers + first, count * sizeof *numbers);
    return EN_OK;
}

static wt_output output(const char *name, wt_dtype dtype, int rank, int64_t d0, int64_t d1)
{
    return (wt_output){.name = name, .dtype = dtype, .rank = rank, .dim = {d0, d1}, .read = read_numbers, .from = WT_F32};
}

static const wt_class classes[] = {{"n01440764", "tench"}, {"", "a \"dog\""}};
static const wt_preprocess preprocess = {"shorter", 256, "bicubic", 224, 192, {0.485f, 0.456f, 0.406f}, {0.229f, 0.224f, 0.225f}};
static const wt_origin origins[] = {{"resnet18.pth", 46830571, "5c106cde386e87d4033832f2996f5493238eda96ccf559d1d62760c4de0613f8"}};
static const wt_metadata metadata = {"resnet18", classes, 2, &preprocess, origins, 1};

static const char *path(void)
{
    static char name[64];
    snprintf(name, sizeof name, "/tmp/camw-%ld", (long)getpid());
    return name;
}

/* The bytes of a file with the three dtypes, a scalar and an empty tensor; the caller frees. */
static uint8_t *good_file(size_t *size)
{
    const wt_output t[] = {output("b.weight", WT_F32, 2, 2, 3), output("a.weight", WT_F16, 2, 3, 2), output("scalar", WT_BF16, 0, 0, 0),
                           output("empty", WT_F32, 2, 0, 3), output("last", WT_F16, 1, 3, 0)};
    en_error e;
    CHECK_OK(wt_camw_write(path(), &metadata, t, 5, &e), e);
    uint8_t *bytes = t_read_file(path(), size);
    unlink(path());
    return bytes;
}

TEST(a_camw_file_gives_back_what_was_written)
{
    size_t size;
    wt_store *store;
    en_error e;
    float got[6];
    uint8_t *bytes = good_file(&size);
    CHECK_OK(wt_open_bytes("w.camw", bytes, size, &store, &e), e);
    CHECK(wt_count(store) == 5 && !strcmp(wt_at(store, 0)->name, "b.weight") && !strcmp(wt_format(store), "camw"));
    CHECK_OK(wt_read(store, wt_find(store, "b.weight"), 0, 6, got, &e), e);
    CHECK(!memcmp(got, numbers, sizeof got));
    CHECK(!memcmp(wt_find(store, "b.weight")->data, numbers, sizeof numbers)); /* in the file, as it is used */
    for (size_t i = 0; i < 5; i++) CHECK((size_t)(wt_at(store, i)->data - bytes) % 64 == 0);
    CHECK_OK(wt_read(store, wt_find(store, "a.weight"), 0, 6, got, &e), e);
    CHECK(got[0] == 0x1.998p-4f && got[1] == -2 && got[5] == 65504 && wt_find(store, "a.weight")->dim[0] == 3);
    CHECK_OK(wt_read(store, wt_find(store, "scalar"), 0, 1, got, &e), e);
    CHECK(got[0] == 0x1.9ap-4f && wt_elements(wt_find(store, "empty")) == 0);
    CHECK_OK(wt_camw_verify(store, &e), e);
    wt_close(store);
    free(bytes);
}

TEST(a_camw_file_says_what_it_was_told)
{
    size_t size;
    wt_store *store;
    en_error e;
    uint8_t *bytes = good_file(&size);
    CHECK_OK(wt_open_bytes("w.camw", bytes, size, &store, &e), e);
    const wt_metadata *m = wt_metadata_of(store);
    CHECK(m && !strcmp(m->net, "resnet18") && m->class_count == 2 && m->origin_count == 1);
    CHECK(!strcmp(m->classes[0].id, "n01440764") && !strcmp(m->classes[1].id, "") && !strcmp(m->classes[1].name, "a \"dog\""));
    const wt_preprocess *p = m->preprocess;
    CHECK(!strcmp(p->sizing, "shorter") && p->shorter == 256 && !strcmp(p->filter, "bicubic") && p->width == 224 && p->height == 192);
    CHECK(!memcmp(p->mean, preprocess.mean, sizeof p->mean) && !memcmp(p->std, preprocess.std, sizeof p->std));
    CHECK(!strcmp(m->origins[0].name, "resnet18.pth") && m->origins[0].bytes == 46830571 && !strcmp(m->origins[0].sha256, origins[0].sha256));
    wt_close(store);
    const wt_output t = output("w", WT_F32, 1, 2, 0);
    CHECK_OK(wt_camw_write(path(), &(wt_metadata){.net = ""}, &t, 1, &e), e);
    CHECK_OK(wt_open(path(), &store, &e), e);
    m = wt_metadata_of(store);
    CHECK(m && !*m->net && !m->class_count && !m->preprocess && !m->origin_count);
    wt_close(store);
    unlink(path());
    free(bytes);
}

TEST(a_camw_file_that_is_cut_or_damaged_does_no_harm)
{
    size_t size;
    uint8_t *bytes = good_file(&size);
    t_check_hardness(bytes, size);
    free(bytes);
}

TEST(any_flipped_bit_of_a_camw_file_is_seen)
{
    size_t size;
    wt_store *store;
    en_error e;
    uint8_t *bytes = good_file(&size);
    for (size_t i = 0; i < size; i++) {
        bytes[i] ^= (uint8_t)(1 << i % 8);
        en_status status = wt_open_bytes("w.camw", bytes, size, &store, &e);
        if (status == EN_OK) status = wt_camw_verify(store, &e);
        CHECK_MSG(status != EN_OK, "byte %zu", i);
        wt_close(store);
        bytes[i] ^= (uint8_t)(1 << i % 8);
    }
    memcpy(bytes + size - 6, "\0\0", 2); /* in the last tensor */
    CHECK_OK(wt_open_bytes("w.camw", bytes, size, &store, &e), e);
    CHECK_FAILS(wt_camw_verify(store, &e), e, EN_E_FORMAT, "tensor 'last' is damaged: its checksum is wrong");
    wt_close(store);
    free(bytes);
}

/* Where things are, from weights/README.md. */
enum { VERSION = 8, CRC = 12, SIZE = 16, DATA = 24, TENSORS = 32, NAMES = 36, TEXT = 40, ZERO = 44, RECORD = 64, RECORD_SIZE = 96 };
enum { OFFSET = RECORD, DIM = RECORD + 8, NAME = RECORD + 72, DTYPE = RECORD + 80, RANK = RECORD + 81, RECORD_ZERO = RECORD + 82 };

/* Puts a number into a good file, makes the checksum right again, and opens it. */
static en_status open_with(size_t at, uint64_t value, size_t width, en_error *e)
{
    size_t size;
    wt_store *store;
    uint64_t data;
    uint8_t *bytes = good_file(&size);
    memcpy(bytes + at, &value, width);
    memcpy(&data, bytes + DATA, 8);
    if (data > 16 && data <= size) {
        uint32_t crc = wt_crc32(0, bytes + 16, (size_t)data - 16);
        memcpy(bytes + CRC, &crc, 4);
    }
    en_status status = wt_open_bytes("w.camw", bytes, size, &store, e);
    wt_close(store);
    free(bytes);
    return status;
}

#define REFUSED(status, why, at, value, width) CHECK_FAILS(open_with(at, value, width, &e), e, status, why)

TEST(a_camw_file_that_lies_is_refused_with_its_reason)
{
    en_error e;
    CHECK_OK(open_with(VERSION, 1, 4, &e), e);
    REFUSED(EN_E_UNSUPPORTED, "camw: version 2, want 1", VERSION, 2, 4);
    REFUSED(EN_E_FORMAT, "that should have 1", SIZE, 1, 8);
    REFUSED(EN_E_FORMAT, "its data begins at 64", DATA, 64, 8);
    REFUSED(EN_E_FORMAT, "its data begins at 9223372036854775808", DATA, 1ull << 63, 8);
    REFUSED(EN_E_LIMIT, "more than 1000000 tensors", TENSORS, UINT32_MAX, 4);
    REFUSED(EN_E_FORMAT, "its data begins", NAMES, UINT32_MAX, 4);
    REFUSED(EN_E_LIMIT, "metadata of 4294967295 bytes", TEXT, UINT32_MAX, 4);
    REFUSED(EN_E_FORMAT, "bytes that must be zero are not", ZERO, 1, 1);
    REFUSED(EN_E_FORMAT, "'b.weight' is at 64, want", OFFSET, 64, 8);
    REFUSED(EN_E_FORMAT, "tensor 'b.weight': impossible shape", DIM, 1ull << 63, 8);
    REFUSED(EN_E_LIMIT, "tensor 'b.weight': 3", DIM, 1ull << 40, 8);
    REFUSED(EN_E_FORMAT, "tensor 'b.weight': impossible shape", DIM + 8 * 7, 1, 8);
    REFUSED(EN_E_FORMAT, "tensor 0 has no name", NAME, 1000, 4);
    REFUSED(EN_E_FORMAT, "dtype 4", DTYPE, 4, 1);
    REFUSED(EN_E_FORMAT, "dtype 0", DTYPE, 0, 1);
    REFUSED(EN_E_FORMAT, "rank 9", RANK, 9, 1);
    REFUSED(EN_E_FORMAT, "dtype 1", RECORD_ZERO, 1, 1);
    REFUSED(EN_E_FORMAT, "tensor 'a.weight' is at", DIM, 10, 8);                   /* overlaps what follows */
    REFUSED(EN_E_FORMAT, "tensor 'a.weight' is there twice", NAME, 9, 4);          /* the second name */
    REFUSED(EN_E_FORMAT, "2 bytes follow the last tensor", DIM + 4 * RECORD_SIZE, 2, 8);
}

/* Metadata of the same length as the good one's, which is replaced from its beginning on. */
static en_status open_with_text(const char *text, en_error *e)
{
    size_t size;
    wt_store *store;
    uint64_t data;
    uint32_t length, names;
    uint8_t *bytes = good_file(&size);
    memcpy(&length, bytes + TEXT, 4);
    memcpy(&names, bytes + NAMES, 4);
    memcpy(&data, bytes + DATA, 8);
    uint8_t *at = bytes + RECORD + 5 * RECORD_SIZE + names;
    CHECK(strlen(text) <= length);
    memset(at, ' ', length);
    memcpy(at, text, strlen(text));
    uint32_t crc = wt_crc32(0, bytes + 16, (size_t)data - 16);
    memcpy(bytes + CRC, &crc, 4);
    en_status status = wt_open_bytes("w.camw", bytes, size, &store, e);
    wt_close(store);
    free(bytes);
    return status;
}

TEST(metadata_that_says_something_else_is_refused)
{
    en_error e;
#define BAD(text, why) CHECK_FAILS(open_with_text(text, &e), e, EN_E_FORMAT, why)
#define COLOURS "\"mean\":[0,0,0],\"std\":[1,1,1]"
    CHECK_OK(open_with_text("{}", &e), e);
    CHECK_OK(open_with_text("{\"preprocess\":{\"sizing\":\"as-is\",\"filter\":\"none\",\"width\":1,\"height\":2," COLOURS "}}", &e), e);
    BAD("[]", "want an object");
    BAD("{\"net\":1}", "want a text");
    BAD("{\"net\":\"a\",\"net\":\"b\"}", "want a key that is known, once");
    BAD("{\"weights\":1}", "want a key that is known, once");
    BAD("{} {}", "offset");
    BAD("{\"classes\":[\"dog\"]}", "want [id, name]");
    BAD("{\"classes\":[[\"n1\",\"dog\",\"cat\"]]}", "want [id, name]");
    BAD("{\"preprocess\":{}}", "want sizing, shorter");
    BAD("{\"preprocess\":{\"sizing\":\"shorter\",\"filter\":\"none\",\"width\":1,\"height\":2," COLOURS "}}", "want sizing, shorter");
    BAD("{\"preprocess\":{\"sizing\":\"as-is\",\"filter\":\"box\",\"width\":1,\"height\":2," COLOURS "}}", "want sizing, shorter");
    BAD("{\"preprocess\":{\"width\":0}}", "want a size from 1 to 65536");
    BAD("{\"preprocess\":{\"mean\":[0,0]}}", "three numbers");
    BAD("{\"preprocess\":{\"mean\":[0,0,1e300]}}", "want a finite number");
    BAD("{\"preprocess\":{\"std\":[1,0,1]}}", "want a positive number");
    BAD("{\"origins\":[{\"name\":\"a\"}]}", "want name, bytes and sha256");
    BAD("{\"origins\":[{\"name\":\"a\",\"bytes\":1,\"sha256\":\"xyz\"}]}", "want name, bytes and sha256");
}

TEST(what_a_camw_cannot_hold_is_refused_and_leaves_no_file)
{
    en_error e;
    const wt_output wide = output("w", WT_F64, 1, 2, 0), large = output("w", WT_F16, 1, 6, 0), negative = output("w", WT_F32, 1, -1, 0);
    wt_output integer = output("w", WT_I64, 1, 2, 0), twice[2] = {output("w", WT_F32, 1, 1, 0), output("w", WT_F32, 1, 1, 0)};
    integer.from = WT_I64;
    CHECK_FAILS(wt_camw_write(path(), &metadata, &wide, 1, &e), e, EN_E_ARG, "cannot turn float32 into float64");
    CHECK_FAILS(wt_camw_write(path(), &metadata, &integer, 1, &e), e, EN_E_ARG, "a .camw holds float32, float16 and bfloat16");
    CHECK_FAILS(wt_camw_write(path(), &metadata, &negative, 1, &e), e, EN_E_ARG, "a shape that cannot be written");
    CHECK_FAILS(wt_camw_write(path(), &metadata, twice, 2, &e), e, EN_E_ARG, "'w' is there twice");
    CHECK_FAILS(wt_camw_write("/no/such/folder/w.camw", &metadata, twice, 1, &e), e, EN_E_IO, "cannot create");
    CHECK_OK(wt_camw_write(path(), &metadata, &large, 1, &e), e); /* 65504 is the largest float16 */
    unlink(path());
}

static en_status read_large(const wt_output *t, size_t first, size_t count, void *out, en_error *e)
{
    (void)t, (void)e;
    for (size_t i = 0; i < count; i++) ((float *)out)[i] = first + i == 4 ? 65520.0f : 1.0f;
    return EN_OK;
}

TEST(a_number_too_large_for_float16_is_named_and_the_old_file_stays)
{
    en_error e;
    size_t size;
    wt_output t = output("w", WT_F16, 1, 6, 0);
    t.read = read_large;
    CHECK_OK(wt_file_write(path(), &(wt_part){"old", 3}, 1, &e), e);
    CHECK_FAILS(wt_camw_write(path(), &metadata, &t, 1, &e), e, EN_E_NONFINITE, "tensor 'w': element 4, 65520, is too large for float16");
    uint8_t *bytes = t_read_file(path(), &size);
    CHECK(size == 3 && !memcmp(bytes, "old", 3));
    free(bytes);
    unlink(path());
}

TEST(every_failed_allocation_while_writing_a_camw_is_reported)
{
    const wt_output t[] = {output("a", WT_F32, 2, 2, 3), output("b", WT_F16, 1, 2, 0)};
    en_error e;
    long n = 1;
    for (;; n++) {
        t_fail_allocation(n, 0);
        en_status status = wt_camw_write(path(), &metadata, t, 2, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) break;
        CHECK_MSG(status == EN_E_NOMEM && access(path(), F_OK), "allocation %ld: %s", n, e.text);
    }
    CHECK(n > 5);
    unlink(path());
}
