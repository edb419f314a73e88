/* SPDX-License-Identifier: MIT */
/* torch.save's archives, built here byte by byte: a zip writer, a pickle writer, and what must be refused. */
#include "tests/test.h"
#include "tests/weights/archive.h"
#include "weights/file.h"
#include "weights/store.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Opens a copy that ends where its allocation ends, so that reading past it is seen. The store and *copy are the caller's. */
static en_status open_copy(const uint8_t *bytes, size_t n, uint8_t **copy, wt_store **store, en_error *e)
{
    *copy = malloc(n ? n : 1);
    CHECK(*copy != NULL);
    memcpy(*copy, bytes, n);
    return wt_open_bytes("test.pth", *copy, n, store, e);
}

static const float numbers[24] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23};
static t_zip archive;

static en_status try_pickle(const t_text *pickle, en_error *e)
{
    archive = (t_zip){0};
    t_zip_add(&archive, "net/data.pkl", pickle->byte, pickle->size);
    t_zip_add(&archive, "net/byteorder", "little", 6);
    t_zip_add(&archive, "net/data/0", numbers, sizeof numbers);
    t_zip_end(&archive);
    return t_try_bytes(archive.file.byte, archive.file.size, e);
}

static en_status try_view(const t_view *v, en_error *e)
{
    static t_text pickle;
    pickle.size = 0;
    T_PUT(&pickle, "\x80\x02}");
    t_put_view(&pickle, v);
    T_PUT(&pickle, ".");
    return try_pickle(&pickle, e);
}

/* A good archive: two views of one storage, as torch writes a state dict with its _metadata. */
static void good_archive(void)
{
    static t_text pickle;
    pickle.size = 0;
    T_PUT(&pickle, "\x80\x02"
                 "ccollections\nOrderedDict\nq\0)Rq\1");
    t_put_view(&pickle, &(t_view){"w", "FloatStorage", "0", 24, 0, 2, {4, 6}, {6, 1}});
    t_put_view(&pickle, &(t_view){"t", "FloatStorage", "0", 24, 1, 3, {3, 2, 2}, {1, 12, 6}});
    T_PUT(&pickle, "}");
    t_put_string(&pickle, "_metadata");
    T_PUT(&pickle, "h\0sb.");
    en_error e;
    CHECK_OK(try_pickle(&pickle, &e), e);
}

static void refused(const char *pickle, size_t n, en_status status, const char *why)
{
    static t_text t;
    en_error e;
    t.size = 0;
    t_put(&t, pickle, n);
    CHECK_FAILS(try_pickle(&t, &e), e, status, why);
}

#define REFUSED(literal, status, why) refused(literal, sizeof(literal) - 1, status, why)

TEST(a_torch_archive_is_read_with_its_strides)
{
    uint8_t *copy;
    wt_store *store;
    en_error e;
    float got[24];
    good_archive();
    CHECK_OK(open_copy(archive.file.byte, archive.file.size, &copy, &store, &e), e);
    CHECK(wt_count(store) == 2 && !wt_find(store, "_metadata"));
    CHECK_OK(wt_read(store, wt_find(store, "w"), 0, 24, got, &e), e);
    CHECK(!memcmp(got, numbers, sizeof got));
    const wt_tensor *t = wt_find(store, "t");
    CHECK(t && t->rank == 3 && t->stride[1] == 12);
    for (size_t first = 0; first < 12; first++)
        for (size_t count = 0; count <= 12 - first; count++) {
            CHECK_OK(wt_read(store, t, first, count, got, &e), e);
            for (size_t i = 0; i < count; i++) {
                size_t k = first + i;
                CHECK(got[i] == (float)(1 + k / 4 + k / 2 % 2 * 12 + k % 2 * 6));
            }
        }
    CHECK_FAILS(wt_read(store, t, 5, 8, got, &e), e, EN_E_ARG, "'t' has 12 elements");
    CHECK_FAILS(wt_read(store, t, SIZE_MAX, 2, got, &e), e, EN_E_ARG, "'t' has 12 elements");
    CHECK_FAILS(wt_read(store, t, 1, SIZE_MAX, got, &e), e, EN_E_ARG, "'t' has 12 elements");
    wt_close(store);
    free(copy);
}

TEST(any_strides_give_the_elements_they_say)
{
    for (int round = 0; round < 2000; round++) {
        t_view v = {"w", "FloatStorage", "0", 24, (int64_t)(t_random() % 3), 3, {0}, {0}};
        for (int i = 0; i < 3; i++) v.dim[i] = 1 + (int64_t)(t_random() % 3), v.stride[i] = (int64_t)(t_random() % 8);
        en_error e;
        if (try_view(&v, &e) != EN_OK) continue; /* it reaches too far */
        uint8_t *copy;
        wt_store *store;
        float got[27];
        size_t n = (size_t)(v.dim[0] * v.dim[1] * v.dim[2]), k = 0;
        CHECK_OK(open_copy(archive.file.byte, archive.file.size, &copy, &store, &e), e);
        CHECK_OK(wt_read(store, wt_at(store, 0), 0, n, got, &e), e);
        for (int64_t a = 0; a < v.dim[0]; a++)
            for (int64_t b = 0; b < v.dim[1]; b++)
                for (int64_t c = 0; c < v.dim[2]; c++)
                    CHECK(got[k++] == (float)(v.offset + a * v.stride[0] + b * v.stride[1] + c * v.stride[2]));
        wt_close(store);
        free(copy);
    }
}

TEST(weights_wrapped_in_a_training_checkpoint_are_found)
{
    static t_text p;
    T_PUT(&p, "\x80\x02}");
    t_put_string(&p, "args");
    T_PUT(&p, "cargparse\nNamespace\n)\x81}");
    t_put_string(&p, "lr");
    T_PUT(&p, "G\0\0\0\0\0\0\0\0sbs");
    t_put_string(&p, "epoch");
    T_PUT(&p, "K\3s");
    t_put_string(&p, "state_dict");
    T_PUT(&p, "}");
    t_put_view(&p, &(t_view){"fc.weight", "LongStorage", "0", 12, 0, 1, {12}, {1}});
    T_PUT(&p, "s.");
    en_error e;
    uint8_t *copy;
    wt_store *store;
    float got[12];
    CHECK_OK(try_pickle(&p, &e), e);
    CHECK_OK(open_copy(archive.file.byte, archive.file.size, &copy, &store, &e), e);
    CHECK(wt_count(store) == 1);
    CHECK_FAILS(wt_read(store, wt_find(store, "fc.weight"), 0, 1, got, &e), e, EN_E_ARG, "'fc.weight' is int64");
    wt_close(store);
    free(copy);
}

/* {"model": {"w" at 0}, "model_ema": {"model": {"w" at 4}}, "epoch": 9} */
static void put_training_checkpoint(t_text *p, const char *average)
{
    p->size = 0;
    T_PUT(p, "\x80\x02}(");
    t_put_string(p, "model");
    T_PUT(p, "}");
    t_put_view(p, &(t_view){"w", "FloatStorage", "0", 24, 0, 1, {1}, {1}});
    t_put_string(p, average);
    T_PUT(p, "}");
    t_put_string(p, "model");
    T_PUT(p, "}");
    t_put_view(p, &(t_view){"w", "FloatStorage", "0", 24, 4, 1, {1}, {1}});
    T_PUT(p, "s");
    t_put_string(p, "epoch");
    T_PUT(p, "K\x09u.");
}

TEST(the_moving_average_of_the_weights_is_read_if_it_is_wanted)
{
    static const char *const names[] = {"model_ema", "state_dict_ema", "ema", "optimizer"};
    static t_text p;
    char path[] = "/tmp/ema-XXXXXX";
    int fd = mkstemp(path);
    CHECK(fd >= 0 && !close(fd));
    for (int i = 0; i < 4; i++)
        for (int ema = 0; ema < 2; ema++) {
            wt_store *store;
            en_error e;
            float got;
            put_training_checkpoint(&p, names[i]);
            CHECK_OK(try_pickle(&p, &e), e);
            CHECK_OK(wt_file_write(path, &(wt_part){archive.file.byte, archive.file.size}, 1, &e), e);
            if (ema && i == 3) {
                CHECK_FAILS(wt_open_all((const char *[]){path}, 1, ema, &store, &e), e, EN_E_FORMAT, "no moving average");
                continue;
            }
            CHECK_OK(wt_open_all((const char *[]){path}, 1, ema, &store, &e), e);
            CHECK_OK(wt_read(store, wt_find(store, "w"), 0, 1, &got, &e), e);
            CHECK_MSG(got == (ema ? 4 : 0), "%s, %d: %g", names[i], ema, (double)got);
            wt_close(store);
        }
    unlink(path);
}

TEST(a_pickle_that_would_run_something_is_refused_by_name_and_offset)
{
    REFUSED("\x80\x02"
            "cos\nsystem\n(X\2\0\0\0ls"
            "tR.",
            EN_E_UNSUPPORTED, "data.pkl: offset 2: refused global os.system: only tensors");
    REFUSED("\x80\x02"
            "cposix\nsystem\n(X\2\0\0\0ls"
            "tR.",
            EN_E_UNSUPPORTED, "refused global posix.system");
    REFUSED("\x80\x04\x8c\x08"
            "builtins\x8c\x04"
            "eval\x93.",
            EN_E_UNSUPPORTED, "offset 18: refused global builtins.eval");
    REFUSED("\x80\x02(ios\nsystem\n.", EN_E_UNSUPPORTED, "offset 3: refused opcode INST (0x69)");
    REFUSED("\x80\x02\x82\x01.", EN_E_UNSUPPORTED, "refused opcode EXT1 (0x82)");
    REFUSED("\x80\x02\xff.", EN_E_UNSUPPORTED, "refused opcode without a known name (0xff)");
    REFUSED("\x80\x02"
            "ctorch\nFloatStorage\n)R.",
            EN_E_UNSUPPORTED, "refused call of torch.FloatStorage");
    REFUSED("\x80\x02"
            "ccollections\nOrderedDict\n)\x81.",
            EN_E_UNSUPPORTED, "refused to build an object");
    REFUSED("\x80\x02"
            "cevil\x1b[31m\nname\n.",
            EN_E_UNSUPPORTED, "refused global evil?[31m.name");
}

TEST(a_malformed_pickle_is_refused_with_its_reason)
{
    REFUSED("", EN_E_FORMAT, "ends without STOP");
    REFUSED("\x80\x02}", EN_E_FORMAT, "offset 3: the pickle ends without STOP");
    REFUSED("\x80\x01}.", EN_E_UNSUPPORTED, "pickle protocol 1");
    REFUSED("\x80\x02K\1t.", EN_E_FORMAT, "offset 4: no mark on the stack");
    REFUSED("\x80\x02}u.", EN_E_FORMAT, "no mark");
    REFUSED("\x80\x02R.", EN_E_FORMAT, "too few values");
    REFUSED("\x80\x02K\1\x86.", EN_E_FORMAT, "too few values");
    REFUSED("\x80\x02(K\1\x86.", EN_E_FORMAT, "too few values");
    REFUSED("\x80\x02(u.", EN_E_FORMAT, "too few values");
    REFUSED("\x80\x02(0.", EN_E_FORMAT, "too few values");
    REFUSED("\x80\x02K\1K\1K\1s.", EN_E_FORMAT, "cannot add to an integer, want a dict");
    REFUSED("\x80\x02}(K\1u.", EN_E_FORMAT, "a key without a value");
    REFUSED("\x80\x02h\5.", EN_E_FORMAT, "memo index 5 was never set");
    REFUSED("\x80\x02j\xff\xff\xff\xff.", EN_E_FORMAT, "memo index 4294967295 was never set");
    REFUSED("\x80\x02}r\xff\xff\xff\xff.", EN_E_LIMIT, "memo index 4294967295 in a pickle");
    REFUSED("\x80\x02}r\0\1\0\0.", EN_E_LIMIT, "memo index 256 in a pickle of 9 bytes");
    REFUSED("\x80\x02X\xff\xff\xff\xff"
            "ab.",
            EN_E_FORMAT, "4294967295 bytes announced, 3 are left");
    REFUSED("\x80\x02\x8d\xff\xff\xff\xff\xff\xff\xff\xff"
            "ab.",
            EN_E_FORMAT, "18446744073709551615 bytes announced");
    REFUSED("\x80\x02X\xff", EN_E_FORMAT, "the pickle ends inside BINUNICODE");
    REFUSED("\x80\x02"
            "cos\nsystem",
            EN_E_FORMAT, "does not end");
    REFUSED("\x80\x02]K\1.", EN_E_FORMAT, "STOP with 2 values");
    REFUSED("\x80\x02].", EN_E_UNSUPPORTED, "holds a list, want a state dict");
    REFUSED("\x80\x02}.", EN_E_FORMAT, "no tensor in the state dict");
    REFUSED("\x80\x02K\1Q.", EN_E_FORMAT, "names no storage");
    REFUSED("\x80\x02"
            "ctorch._utils\n_rebuild_tensor_v2\n)R.",
            EN_E_FORMAT, "a tensor from 0 arguments");
    REFUSED("\x80\x02"
            "ccollections\nOrderedDict\nK\1\x85R.",
            EN_E_FORMAT, "OrderedDict of an integer");
}

TEST(deep_nesting_and_many_values_are_capped)
{
    static t_text t;
    en_error e;
    for (int i = 0; i < 100000; i++) T_PUT(&t, "(");
    CHECK_FAILS(try_pickle(&t, &e), e, EN_E_LIMIT, "offset 64: containers nested deeper than 64");
    t.size = 0;
    T_PUT(&t, ")");
    for (int i = 0; i < 200000; i++) T_PUT(&t, "\x85"); /* a tuple of a tuple of ...: nothing recurses */
    T_PUT(&t, ".");
    CHECK_FAILS(try_pickle(&t, &e), e, EN_E_UNSUPPORTED, "holds a tuple");
    t.size = 0;
    T_PUT(&t, "ccollections\nOrderedDict\nq\0"
            "0]q\1(K\1K\1\x86q\2"); /* a long list, copied again and again */
    for (int i = 0; i < 20000; i++) T_PUT(&t, "h\2");
    T_PUT(&t, "e0");
    for (int i = 0; i < 20000; i++) T_PUT(&t, "h\0h\1\x85R0");
    CHECK_FAILS(try_pickle(&t, &e), e, EN_E_LIMIT, "more than 4194304 values");
}

TEST(a_view_must_lie_inside_its_storage)
{
    en_error e;
    CHECK_OK(try_view(&(t_view){"w", "FloatStorage", "0", 24, 4, 2, {4, 5}, {5, 1}}, &e), e);
    CHECK_OK(try_view(&(t_view){"w", "FloatStorage", "0", 24, 23, 1, {7}, {0}}, &e), e);
    CHECK_OK(try_view(&(t_view){"w", "FloatStorage", "0", 24, 24, 2, {0, 5}, {5, 1}}, &e), e);
#define BAD_VIEW(status, why, ...) CHECK_FAILS(try_view(&(t_view){"w", __VA_ARGS__}, &e), e, status, why)
    BAD_VIEW(EN_E_FORMAT, "'w': reaches past the end", "FloatStorage", "0", 24, 5, 2, {4, 5}, {5, 1});
    BAD_VIEW(EN_E_FORMAT, "'w': reaches past the end", "FloatStorage", "0", 24, 0, 2, {2, 2}, {23, 1});
    BAD_VIEW(EN_E_FORMAT, "'w': reaches past the end", "FloatStorage", "0", 24, 0, 2, {2, 2}, {INT64_MAX, INT64_MAX});
    BAD_VIEW(EN_E_FORMAT, "'w': reaches past the end", "FloatStorage", "0", 24, 0, 1, {3}, {INT64_MAX});
    BAD_VIEW(EN_E_FORMAT, "'w': starts past the end", "FloatStorage", "0", 24, 25, 1, {0}, {1});
    BAD_VIEW(EN_E_FORMAT, "'w': starts past the end", "FloatStorage", "0", 24, INT64_MAX, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "want an offset in a storage", "FloatStorage", "0", 24, -1, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "'w': negative stride -1", "FloatStorage", "0", 24, 3, 1, {2}, {-1});
    BAD_VIEW(EN_E_FORMAT, "'w': impossible shape", "FloatStorage", "0", 24, 0, 1, {-2}, {1});
    BAD_VIEW(EN_E_FORMAT, "'w': impossible shape", "FloatStorage", "0", 24, 0, 3, {0, INT64_MAX, 3}, {0, 0, 0});
    BAD_VIEW(EN_E_LIMIT, "elements in a file of", "FloatStorage", "0", 24, 0, 1, {1 << 30}, {0});
    BAD_VIEW(EN_E_LIMIT, "a tensor of more than 8 axes", "FloatStorage", "0", 24, 0, 9, {1, 1, 1, 1, 1, 1, 1, 1, 1}, {0});
    BAD_VIEW(EN_E_FORMAT, "tensor 'w': a storage of 25 elements of float32 in 96 bytes", "FloatStorage", "0", 25, 0, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "a storage of 13 elements of float64 in 96 bytes", "DoubleStorage", "0", 13, 0, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "storage 7 is missing", "FloatStorage", "7", 24, 0, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "'../data.pkl' is not a number", "FloatStorage", "../data.pkl", 24, 0, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "'' is not a number", "FloatStorage", "", 24, 0, 1, {1}, {1});
    BAD_VIEW(EN_E_FORMAT, "names no storage", "FloatStorage", "0", -24, 0, 1, {1}, {1});
    BAD_VIEW(EN_E_UNSUPPORTED, "refused global torch.QInt8Storage", "QInt8Storage", "0", 24, 0, 1, {1}, {1});
}

TEST(a_name_that_is_there_twice_is_refused)
{
    static t_text p;
    en_error e;
    t_view v = {"w", "FloatStorage", "0", 24, 0, 1, {1}, {1}};
    T_PUT(&p, "\x80\x02}");
    t_put_view(&p, &v);
    t_put_view(&p, &v);
    T_PUT(&p, ".");
    CHECK_FAILS(try_pickle(&p, &e), e, EN_E_FORMAT, "tensor 'w' is there twice");
}

static float read_one(const char *type, const void *storage, size_t size, int64_t index)
{
    static t_text p;
    static t_zip z;
    uint8_t *copy;
    wt_store *store;
    en_error e;
    float got;
    int64_t elements = index + 1;
    p.size = 0;
    T_PUT(&p, "\x80\x02}");
    t_put_view(&p, &(t_view){"w", type, "0", elements, 0, 1, {elements}, {1}});
    T_PUT(&p, ".");
    z = (t_zip){0};
    t_zip_add(&z, "odd/data.pkl", p.byte, p.size); /* the names decide how the data is aligned: not at all */
    t_zip_add(&z, "odd/data/0", storage, size);
    t_zip_end(&z);
    CHECK_OK(open_copy(z.file.byte, z.file.size, &copy, &store, &e), e);
    CHECK_OK(wt_read(store, wt_at(store, 0), (size_t)index, 1, &got, &e), e);
    wt_close(store);
    free(copy);
    return got;
}

TEST(half_precision_and_double_are_converted_exactly)
{
    static const struct {
        uint16_t bits;
        float value;
    } halves[] = {{0x0000, 0},        {0x3C00, 1},           {0xC000, -2},       {0x7BFF, 65504},     {0x0400, 0x1p-14f},
                  {0x0001, 0x1p-24f}, {0x83FF, -0x3FFp-24f}, {0x7C00, INFINITY}, {0xFC00, -INFINITY}, {0x3555, 0x1.554p-2f}};
    for (size_t i = 0; i < sizeof halves / sizeof *halves; i++) {
        uint16_t bits[2] = {0x1234, halves[i].bits};
        CHECK_MSG(read_one("HalfStorage", bits, 4, 1) == halves[i].value, "half %04x", halves[i].bits);
    }
    CHECK(signbit(read_one("HalfStorage", (uint16_t[]){0x8000}, 2, 0)));
    CHECK(isnan(read_one("HalfStorage", (uint16_t[]){0x7E01}, 2, 0)));
    CHECK(read_one("BFloat16Storage", (uint16_t[]){0x3FC0}, 2, 0) == 1.5f);
    CHECK(isnan(read_one("BFloat16Storage", (uint16_t[]){0x7FC0}, 2, 0)));
    CHECK(read_one("DoubleStorage", (double[]){7, 1 + 0x1p-24}, 16, 1) == 1.0f); /* a tie, to even */
    CHECK(read_one("DoubleStorage", (double[]){1 + 0x1.8p-24}, 8, 0) == 1 + 0x1p-23f);
    CHECK(read_one("DoubleStorage", (double[]){1e300}, 8, 0) == INFINITY);
    CHECK(isnan(read_one("FloatStorage", (float[]){NAN}, 4, 0)));
}

static en_status try_archive(en_error *e) { return t_try_bytes(archive.file.byte, archive.file.size, e); }

static void patch(size_t at, uint64_t value, size_t bytes) { memcpy(archive.file.byte + at, &value, bytes); }

TEST(a_malformed_zip_is_refused_with_its_reason)
{
    static t_text p;
    en_error e;
    T_PUT(&p, "}.");
#define BAD_ZIP(status, why, change)                                                                                               \
    do {                                                                                                                           \
        good_archive();                                                                                                            \
        change;                                                                                                                    \
        CHECK_FAILS(try_archive(&e), e, status, why);                                                                              \
    } while (0)
    BAD_ZIP(EN_E_FORMAT, "no end of central directory", archive.file.size--);
    BAD_ZIP(EN_E_FORMAT, "outside of the file", patch(archive.end + 16, archive.end + 1, 4));
    BAD_ZIP(EN_E_FORMAT, "outside of the file", patch(archive.end + 12, 0xFFFFFFFF, 4));
    BAD_ZIP(EN_E_FORMAT, "65535 entries in a directory", patch(archive.end + 10, 65535, 2));
    BAD_ZIP(EN_E_FORMAT, "directory is cut off", patch(archive.central[2] + 28, 5000, 2));
    BAD_ZIP(EN_E_UNSUPPORTED, "several parts", patch(archive.end + 4, 1, 2));
    BAD_ZIP(EN_E_FORMAT, "'net/data/0': its data lies outside", patch(archive.central[2] + 20, 0x7FFFFFFF, 4));
    BAD_ZIP(EN_E_FORMAT, "'net/data/0': its header lies outside", patch(archive.central[2] + 42, 0x7FFFFFFF, 4));
    BAD_ZIP(EN_E_FORMAT, "'net/data/0': no header", patch(archive.central[2] + 42, 5, 4));
    BAD_ZIP(EN_E_FORMAT, "'net/data/0': its header has another name", patch(archive.central[2] + 42, archive.local[0], 4));
    BAD_ZIP(EN_E_FORMAT, "'net/data/0': stored, yet its two sizes differ", patch(archive.central[2] + 24, 0x7FFFFFFF, 4));
    BAD_ZIP(EN_E_UNSUPPORTED, "'net/data/0' is packed with method 12", patch(archive.central[2] + 10, 12, 2));
    BAD_ZIP(EN_E_UNSUPPORTED, "'net/data.pkl' is encrypted", patch(archive.central[0] + 8, 1, 2));
    BAD_ZIP(EN_E_UNSUPPORTED, "byteorder is not little", patch(archive.local[1] + 30 + strlen("net/byteorder"), 'b', 1));
    archive = (t_zip){0};
    t_zip_add(&archive, "net/data.pkl", p.byte, p.size);
    t_zip_add(&archive, "net/data.pkl", p.byte, p.size);
    t_zip_end(&archive);
    CHECK_FAILS(try_archive(&e), e, EN_E_FORMAT, "'net/data.pkl': is there twice");
    archive = (t_zip){0};
    t_zip_end(&archive);
    CHECK_FAILS(try_archive(&e), e, EN_E_FORMAT, "without data.pkl");
    archive = (t_zip){0};
    t_zip_add(&archive, "net/constants.pkl", p.byte, p.size);
    t_zip_add(&archive, "net/data.pkl", p.byte, p.size);
    t_zip_end(&archive);
    CHECK_FAILS(try_archive(&e), e, EN_E_UNSUPPORTED, "TorchScript");
}

/* Turns the good archive into one whose end record and third entry use the zip64 fields. */
static void use_zip64(uint64_t directory_at)
{
    static t_text tail;
    uint8_t *central = archive.file.byte + archive.central[2];
    size_t first = archive.central[0], name_end = archive.central[2] + 46 + strlen("net/data/0");
    uint32_t local;
    memcpy(&local, central + 42, 4);
    patch(archive.central[2] + 20, 0xFFFFFFFFFFFFFFFF, 8);
    patch(archive.central[2] + 30, 28, 2);
    patch(archive.central[2] + 42, 0xFFFFFFFF, 4);
    archive.file.size = name_end;
    t_put_number(&archive.file, 1, 2);
    t_put_number(&archive.file, 24, 2);
    t_put_number(&archive.file, sizeof numbers, 8);
    t_put_number(&archive.file, sizeof numbers, 8);
    t_put_number(&archive.file, local, 8);
    size_t end64 = archive.file.size;
    tail.size = 0;
    T_PUT(&tail, "PK\6\6\x2c\0\0\0\0\0\0\0\x2d\0\x2d\0\0\0\0\0\0\0\0\0");
    t_put_number(&tail, 3, 8);
    t_put_number(&tail, 3, 8);
    t_put_number(&tail, end64 - first, 8);
    t_put_number(&tail, directory_at ? directory_at : first, 8);
    T_PUT(&tail, "PK\6\7\0\0\0\0");
    t_put_number(&tail, end64, 8);
    T_PUT(&tail, "\1\0\0\0PK\5\6\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\0\0");
    t_put(&archive.file, tail.byte, tail.size);
}

TEST(zip64_archives_are_read_and_their_claims_are_checked)
{
    en_error e;
    good_archive();
    use_zip64(0);
    CHECK_OK(try_archive(&e), e);
    good_archive();
    use_zip64(UINT64_MAX - 3);
    CHECK_FAILS(try_archive(&e), e, EN_E_FORMAT, "outside of the file");
    good_archive();
    use_zip64(0);
    patch(archive.file.size - 22 - 20 - 16, UINT64_MAX - 3, 8); /* the directory's size; added to its offset it wraps */
    CHECK_FAILS(try_archive(&e), e, EN_E_FORMAT, "outside of the file");
    good_archive();
    use_zip64(0);
    patch(archive.file.size - 22 - 20 + 8, UINT64_MAX, 8);
    CHECK_FAILS(try_archive(&e), e, EN_E_FORMAT, "no zip64 end");
}

TEST(a_comment_that_looks_like_an_end_record_is_a_comment)
{
    en_error e;
    good_archive();
    patch(archive.end + 20, 30, 2);
    T_PUT(&archive.file, "PK\5\6..........................");
    CHECK_OK(try_archive(&e), e);
}

TEST(an_archive_that_is_cut_or_damaged_does_no_harm)
{
    good_archive();
    t_check_hardness(archive.file.byte, archive.file.size);
}
