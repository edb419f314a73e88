/* SPDX-License-Identifier: MIT */
/* torch.save's format before 1.6, built here byte by byte. */
#include "tests/test.h"
#include "tests/weights/archive.h"
#include "weights/store.h"

#include <stdlib.h>

static t_text file;
static const float numbers[6] = {1, 2, 3, 4, 5, 6};
static const int16_t integers[3] = {-7, 0, 300};

/* {"w": the 2 x 3 numbers, "t": their transpose, "n": integers}, in storages "500" and "40", which come in this order. */
static void put_state_dict(void)
{
    T_PUT(&file, "\x80\x02}");
    t_put_view(&file, &(t_view){"w", "FloatStorage", "500", 6, 0, 2, {2, 3}, {3, 1}});
    t_put_view(&file, &(t_view){"n", "ShortStorage", "40", 3, 1, 1, {2}, {1}});
    t_put_view(&file, &(t_view){"t", "FloatStorage", "500", 6, 0, 2, {3, 2}, {1, 3}});
    T_PUT(&file, ".");
}

static void put_keys(const char *first, const char *second)
{
    T_PUT(&file, "\x80\x02](");
    t_put_string(&file, first);
    t_put_string(&file, second);
    T_PUT(&file, "e.");
}

static void put_data(uint64_t count, const void *bytes, size_t n)
{
    t_put_number(&file, count, 8);
    t_put(&file, bytes, n);
}

static void start(void)
{
    file.size = 0;
    t_put_legacy_start(&file);
}

static void good_file(void)
{
    start();
    put_state_dict();
    put_keys("500", "40");
    put_data(6, numbers, sizeof numbers);
    put_data(3, integers, sizeof integers);
}

#define REFUSED(status, why) CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, status, why)

TEST(a_file_from_before_torch_1_6_is_read)
{
    wt_store *store;
    en_error e;
    float got[6];
    int16_t raw[2];
    good_file();
    CHECK_OK(wt_open_bytes("old.pth", file.byte, file.size, &store, &e), e);
    CHECK(wt_count(store) == 3 && !strcmp(wt_format(store), "torch before 1.6"));
    CHECK_OK(wt_read(store, wt_find(store, "w"), 0, 6, got, &e), e);
    CHECK(!memcmp(got, numbers, sizeof got));
    CHECK_OK(wt_read(store, wt_find(store, "t"), 0, 6, got, &e), e);
    CHECK(got[0] == 1 && got[1] == 4 && got[2] == 2 && got[5] == 6);
    CHECK_OK(wt_read_raw(store, wt_find(store, "n"), 0, 2, raw, &e), e);
    CHECK(raw[0] == 0 && raw[1] == 300);
    wt_close(store);
}

TEST(a_file_from_before_torch_1_6_that_is_cut_or_damaged_does_no_harm)
{
    good_file();
    t_check_hardness(file.byte, file.size);
}

TEST(storages_of_a_file_from_before_torch_1_6_must_be_as_the_state_dict_says)
{
    en_error e;
    start();
    put_state_dict();
    put_keys("500", "41");
    REFUSED(EN_E_FORMAT, "storage '500' lies outside of the file");
    size_t data = file.size;
    put_data(6, numbers, sizeof numbers);
    REFUSED(EN_E_FORMAT, "storage '41' is not in the state dict");
    file.size = data;
    put_data(5, numbers, sizeof numbers);
    REFUSED(EN_E_FORMAT, "storage '500' has 5 elements, the state dict wants 6");
    good_file();
    T_PUT(&file, "x");
    REFUSED(EN_E_FORMAT, "1 bytes follow the last storage");
    start();
    put_state_dict();
    put_keys("500", "500");
    put_data(6, numbers, sizeof numbers);
    put_data(6, numbers, sizeof numbers);
    REFUSED(EN_E_FORMAT, "a storage is there twice");
    start();
    put_state_dict();
    T_PUT(&file, "\x80\x02](");
    t_put_string(&file, "500");
    T_PUT(&file, "e.");
    put_data(6, numbers, sizeof numbers);
    REFUSED(EN_E_FORMAT, "tensor 'n': storage '40' is missing");
    start();
    T_PUT(&file, "\x80\x02}");
    t_put_view(&file, &(t_view){"w", "FloatStorage", "500", 6, 0, 1, {6}, {1}});
    t_put_view(&file, &(t_view){"v", "IntStorage", "500", 6, 0, 1, {6}, {1}});
    T_PUT(&file, ".");
    put_keys("500", "40");
    REFUSED(EN_E_FORMAT, "storage '500' has two descriptions");
}

TEST(what_stands_before_the_state_dict_must_be_right)
{
    en_error e;
    good_file();
    file.byte[17] = 'K';
    REFUSED(EN_E_UNSUPPORTED, "not its version 1001");
    file.size = 0;
    T_PUT(&file, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.\x80\x02M\xe9\x03.\x80\x02}");
    t_put_string(&file, "little_endian");
    size_t flag = file.size;
    T_PUT(&file, "\x89s.");
    REFUSED(EN_E_UNSUPPORTED, "big-endian");
    file.size = flag;
    T_PUT(&file, "Ns.");
    REFUSED(EN_E_FORMAT, "no truth value 'little_endian'");
    start();
    put_state_dict();
    T_PUT(&file, "\x80\x02}.");
    REFUSED(EN_E_FORMAT, "the pickle holds a dict, want a list");
    start();
    put_state_dict();
    T_PUT(&file, "\x80\x02](K\x05"
                 "e.");
    REFUSED(EN_E_FORMAT, "a name is an integer, want a text");
}

/* Before torch 0.4 a storage could be a view of another one: ('storage', type, key, place, elements, (key, first, elements)). */
TEST(a_view_of_a_storage_begins_where_it_says)
{
    wt_store *store;
    en_error e;
    float got[2];
    for (int first = 1; first <= 5; first += 4) {
        start();
        T_PUT(&file, "\x80\x02}");
        t_put_string(&file, "v");
        T_PUT(&file, "ctorch._utils\n_rebuild_tensor\n((");
        t_put_string(&file, "storage");
        T_PUT(&file, "ctorch\nFloatStorage\n");
        t_put_string(&file, "500");
        t_put_string(&file, "cpu");
        T_PUT(&file, "K\x06(");
        t_put_string(&file, "7");
        t_put_integer(&file, first);
        T_PUT(&file, "K\x04ttQK\x01K\x02\x85K\x01\x85tRs.\x80\x02](");
        t_put_string(&file, "500");
        T_PUT(&file, "e.");
        put_data(6, numbers, sizeof numbers);
        if (first == 5) {
            REFUSED(EN_E_FORMAT, "tensor 'v': reaches past the end of its data");
            continue;
        }
        CHECK_OK(wt_open_bytes("old.pth", file.byte, file.size, &store, &e), e);
        CHECK_OK(wt_read(store, wt_find(store, "v"), 0, 2, got, &e), e);
        CHECK(got[0] == 3 && got[1] == 4);
        wt_close(store);
    }
}
