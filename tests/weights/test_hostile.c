/* SPDX-License-Identifier: MIT */
/* Files made to harm: each is refused with its reason, at once, and nothing has happened. */
#include "tests/test.h"
#include "tests/weights/archive.h"
#include "weights/checksum.h"
#include "weights/file.h"
#include "weights/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static t_text pickle, file;
static t_zip archive;
static const float numbers[24];

/* Refused in both of torch's formats, within a second of this process's time. */
static void pickle_refused(en_status status, const char *why)
{
    en_error e;
    clock_t start = clock();
    archive = (t_zip){0};
    t_zip_add(&archive, "net/data.pkl", pickle.byte, pickle.size);
    t_zip_add(&archive, "net/data/0", numbers, sizeof numbers);
    t_zip_end(&archive);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, status, why);
    file.size = 0;
    t_put_legacy_start(&file);
    t_put(&file, pickle.byte, pickle.size);
    T_PUT(&file, "\x80\x02](X\1\0\0\0" "0e.\x18\0\0\0\0\0\0\0");
    t_put(&file, numbers, sizeof numbers);
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, status, why);
    CHECK(clock() - start < CLOCKS_PER_SEC);
}

static void view_refused(const t_view *v, en_status status, const char *why)
{
    pickle.size = 0;
    T_PUT(&pickle, "\x80\x02}");
    t_put_view(&pickle, v);
    T_PUT(&pickle, ".");
    pickle_refused(status, why);
}

#define PICKLE(literal, status, why) (pickle.size = 0, T_PUT(&pickle, literal), pickle_refused(status, why))

/* Each would leave the file behind if somebody ran it. */
#define TOUCH "touch /tmp/shapleycam-owned"
#define SHELL "X\x1b\0\0\0" TOUCH

TEST(a_pickle_that_calls_os_system_is_refused)
{
    unlink("/tmp/shapleycam-owned");
    PICKLE("\x80\x02" "cos\nsystem\n" SHELL "\x85R.", EN_E_UNSUPPORTED, "offset 2: refused global os.system");
    PICKLE("\x80\x02" "cposix\nsystem\n" SHELL "\x85R.", EN_E_UNSUPPORTED, "refused global posix.system");
    PICKLE("\x80\x04\x8c\2os\x8c\6system\x93" SHELL "\x85R.", EN_E_UNSUPPORTED, "offset 14: refused global os.system");
    PICKLE("\x80\x02" "csubprocess\nPopen\n" SHELL "\x85R.", EN_E_UNSUPPORTED, "refused global subprocess.Popen");
    PICKLE("\x80\x02" "cbuiltins\nexec\n" SHELL "\x85R.", EN_E_UNSUPPORTED, "refused global builtins.exec");
    PICKLE("\x80\x02" "cbuiltins\ngetattr\ncos\nsystem\n\x85R.", EN_E_UNSUPPORTED, "refused global builtins.getattr");
    PICKLE("\x80\x02" "ctorch.serialization\nload\n" SHELL "\x85R.", EN_E_UNSUPPORTED, "refused global torch.serialization.load");
    CHECK(access("/tmp/shapleycam-owned", F_OK) != 0);
}

TEST(a_pickle_that_calls_by_other_opcodes_is_refused)
{
    PICKLE("\x80\x02(" SHELL "ios\nsystem\n.", EN_E_UNSUPPORTED, "refused opcode INST (0x69)");
    PICKLE("\x80\x02(cos\nsystem\n" SHELL "o.", EN_E_UNSUPPORTED, "refused global os.system");
    PICKLE("\x80\x02(" SHELL "o.", EN_E_UNSUPPORTED, "refused opcode OBJ (0x6f)");
    PICKLE("\x80\x02\x82\1.", EN_E_UNSUPPORTED, "refused opcode EXT1 (0x82)");
    PICKLE("\x80\x04)}\x92.", EN_E_UNSUPPORTED, "refused opcode NEWOBJ_EX (0x92)");
    PICKLE("Pos\n.", EN_E_UNSUPPORTED, "offset 0: refused opcode without a known name (0x50)");
}

TEST(a_pickle_that_calls_what_is_only_a_name_is_refused)
{
    PICKLE("\x80\x02" "ctorch\nFloatStorage\n)R.", EN_E_UNSUPPORTED, "refused call of torch.FloatStorage");
    PICKLE("\x80\x02" "ccollections\nOrderedDict\n)\x81.", EN_E_UNSUPPORTED, "refused to build an object from a global");
    PICKLE("\x80\x02" "ctorch\nFloatStorage\n}b.", EN_E_UNSUPPORTED, "refused to set attributes of a global");
    PICKLE("\x80\x02X\1\0\0\0x)R.", EN_E_FORMAT, "call of a text with a tuple");
}

TEST(a_pickle_whose_memo_goes_in_circles_is_refused)
{
    PICKLE("\x80\x02}q\0X\5\0\0\0modelh\0s.", EN_E_FORMAT, "no tensor in the state dict");
    PICKLE("\x80\x02]q\0h\0a.", EN_E_UNSUPPORTED, "the pickle holds a list, want a state dict");
    PICKLE("\x80\x02]q\0h\0ah\0\x85q\1h\1\x85.", EN_E_FORMAT, "STOP with 3 values");
    PICKLE("\x80\x02}h\0.", EN_E_FORMAT, "memo index 0 was never set");
    PICKLE("\x80\x02}r\xff\xff\xff\x7f.", EN_E_LIMIT, "memo index 2147483647 in a pickle of");
}

TEST(sizes_of_2_to_the_63_are_refused)
{
    const int64_t huge = INT64_MAX, half = INT64_C(1) << 62;
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, 0, 1, {huge}, {1}}, EN_E_LIMIT, "9223372036854775807 elements");
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, 0, 2, {half, 4}, {1, 1}}, EN_E_FORMAT, "impossible shape");
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, 0, 3, {half, 0, 4}, {1, 1, 1}}, EN_E_FORMAT, "impossible shape");
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, 0, 1, {-1}, {1}}, EN_E_FORMAT, "impossible shape");
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, huge, 1, {1}, {1}}, EN_E_FORMAT, "starts past the end");
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, 0, 1, {3}, {half}}, EN_E_FORMAT, "reaches past the end");
    view_refused(&(t_view){"w", "FloatStorage", "0", 24, 0, 1, {3}, {-1}}, EN_E_FORMAT, "negative stride");
    en_error e;
    pickle.size = 0;
    T_PUT(&pickle, "\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff");
    pickle_refused(EN_E_FORMAT, "18446744073709551615 bytes announced");
#define TENSORS(text) (file.size = 0, t_put_number(&file, sizeof(text) - 1, 8), T_PUT(&file, text))
    TENSORS("{\"w\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904,4],\"data_offsets\":[0,0]}}");
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "impossible shape");
    TENSORS("{\"w\":{\"dtype\":\"F32\",\"shape\":[9223372036854775808],\"data_offsets\":[0,0]}}");
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "want an integer of 64 bits");
    TENSORS("{\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[9223372036854775800,9223372036854775804]}}");
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "data_offsets [9223372036854775800");
}

TEST(a_storage_larger_than_the_file_is_refused)
{
    view_refused(&(t_view){"w", "FloatStorage", "0", INT64_MAX, 0, 1, {1}, {1}}, EN_E_FORMAT, "9223372036854775807");
}

TEST(header_lengths_past_the_end_are_refused)
{
    en_error e;
    for (int k = 3; k < 8; k++) {
        file.size = 0;
        t_put_number(&file, UINT64_C(1) << (8 * k + 7), 8);
        T_PUT(&file, "{}      ");
        CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "safetensors header of");
    }
    file.size = 0;
    T_PUT(&file, "\x93NUMPY\1\0\xff\xff{}  ");
    archive = (t_zip){0};
    t_zip_add(&archive, "w.npy", file.byte, file.size);
    t_zip_end(&archive);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, "npy header of 65535 bytes");
}

TEST(tensors_that_overlap_or_leave_holes_are_refused)
{
    en_error e;
#define TWO(a, b, c, d)                                                                                            \
    TENSORS("{\"v\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #a "," #b "]}," \
            "\"w\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[" #c "," #d "]}}"), T_PUT(&file, "12345678")
    TWO(0, 4, 4, 8);
    CHECK_OK(t_try_bytes(file.byte, file.size, &e), e);
    TWO(0, 4, 3, 7);
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "tensor 'w' overlaps another one");
    TWO(4, 8, 4, 8);
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "a hole in the data before tensor");
    TWO(0, 4, 0, 4);
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "overlaps another one");
}

/* Bytes that lie nowhere in particular are no harm: official files of 2024 have them, and they are read without being aligned. */
TEST(misaligned_tensors_are_read_as_they_lie)
{
    en_error e;
    wt_store *store;
    float got;
    TENSORS("{\"v\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"w\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[1,5]}}");
    T_PUT(&file, "x\0\0\x80\x3f");
    CHECK_OK(t_try_bytes(file.byte, file.size, &e), e);
    CHECK_OK(wt_open_bytes("f", file.byte, file.size, &store, &e), e);
    CHECK_OK(wt_read(store, wt_find(store, "w"), 0, 1, &got, &e), e);
    CHECK(got == 1);
    wt_close(store);
}

/* One entry of some bytes that claims to unpack to `size`. */
static void claim(uint64_t size)
{
    archive = (t_zip){0};
    t_zip_add(&archive, "net/data.pkl", "\x03\0", 2);
    t_zip_end(&archive);
    archive.file.byte[archive.central[0] + 10] = 8;
    memcpy(archive.file.byte + archive.central[0] + 24, &size, 4);
}

TEST(a_zip_bomb_is_refused_before_it_is_unpacked)
{
    en_error e;
    claim(UINT32_MAX - 1);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, "a zip bomb");
    claim((64 << 20) + 16 * (uint64_t)archive.file.size + 1);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, "a zip bomb");
    claim((64 << 20) + 16 * (uint64_t)archive.file.size);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, "zip: entry 'net/data.pkl'");
}

TEST(zip_entries_that_share_their_bytes_are_refused)
{
    en_error e;
    archive = (t_zip){0};
    t_zip_add(&archive, "net/data.pkl", "PK\3\4 and so on, some bytes that are the next entry's too, as far as they go", 70);
    t_zip_add(&archive, "net/data/0", numbers, sizeof numbers);
    t_zip_end(&archive);
    uint32_t more = 71;
    memcpy(archive.file.byte + archive.central[0] + 20, &more, 4);
    memcpy(archive.file.byte + archive.central[0] + 24, &more, 4);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, "zip: entry 'net/data/0': overlaps another one");
}

TEST(a_storage_key_that_is_a_path_is_refused)
{
    pickle.size = 0;
    T_PUT(&pickle, "\x80\x02}");
    t_put_view(&pickle, &(t_view){"w", "FloatStorage", "../data.pkl", 24, 0, 1, {1}, {1}});
    T_PUT(&pickle, ".");
    en_error e;
    archive = (t_zip){0};
    t_zip_add(&archive, "net/data.pkl", pickle.byte, pickle.size);
    t_zip_end(&archive);
    CHECK_FAILS(t_try_bytes(archive.file.byte, archive.file.size, &e), e, EN_E_FORMAT, "storage key '../data.pkl' is not a number");
}

TEST(shard_names_that_leave_the_folder_are_refused)
{
    static const char *const names[] = {"../a.safetensors", "/etc/a.safetensors", "b/../a.safetensors", "..\\\\a.safetensors", ".safetensors",
                                        "..", "", "a.safetensors/", "passwd", ".a.safetensors"};
    char path[64], text[128];
    en_error e;
    wt_store *store;
    snprintf(path, sizeof path, "/tmp/shard-index-%ld.json", (long)getpid());
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(text, sizeof text, "{\"weight_map\": {\"w\": \"%s\"}}", names[i]);
        CHECK_OK(wt_file_write(path, &(wt_part){text, strlen(text)}, 1, &e), e);
        CHECK_FAILS(wt_open(path, &store, &e), e, EN_E_FORMAT, "want the plain name of a .safetensors file beside the index");
    }
    unlink(path);
}

TEST(names_that_occur_twice_or_end_early_are_refused)
{
    en_error e;
    TENSORS("{\"v\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},\"\\u0076\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "tensor 'v' is there twice");
    TENSORS("{\"v\\u0000w\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}");
    CHECK_FAILS(t_try_bytes(file.byte, file.size, &e), e, EN_E_FORMAT, "a NUL character");
}
