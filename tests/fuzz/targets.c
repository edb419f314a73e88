/* SPDX-License-Identifier: MIT */
/* The table of targets. `make fuzz F=NAME` makes a program of one for libFuzzer; test_corpus.c replays what it found. */
#include "tests/fuzz/targets.h"

#include "weights/camw.h"
#include "weights/checksum.h"
#include "weights/formats.h"
#include "weights/inflate.h"
#include "weights/json.h"

#include <stdlib.h>
#include <string.h>

/* The input once more, ending where its allocation ends, so that reading past it is seen. */
static uint8_t *copy_of(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size + !size);
    if (copy && size) memcpy(copy, bytes, size);
    return copy;
}

static void read_all(const wt_store *store)
{
    enum { MOST = 1 << 16 }; /* elements of one tensor */
    uint64_t *values = malloc(MOST * sizeof *values);
    for (size_t i = 0; values && i < wt_count(store); i++) {
        const wt_tensor *t = wt_at(store, i);
        size_t n = wt_elements(t) < MOST ? wt_elements(t) : MOST;
        if (wt_find(store, t->name) != t) abort();
        if (wt_read_raw(store, t, wt_elements(t) - n, n, values, NULL) != EN_OK) abort();
        (void)wt_read(store, t, 0, n, (float *)(void *)values, NULL);
    }
    free(values);
}

static void open_bytes(const uint8_t *bytes, size_t size)
{
    wt_store *store;
    en_error e = {0};
    uint8_t *copy = copy_of(bytes, size);
    en_status status = wt_open_bytes("fuzz", copy, size, &store, &e);
    if (status == EN_OK)
        read_all(store);
    else if (!e.text[0] || store)
        abort(); /* every refusal has its reason */
    wt_close(store);
    free(copy);
}

/* As it is; and with size and checksum put right, or little would be seen of what is behind them. */
static void run_camw(const uint8_t *bytes, size_t size)
{
    open_bytes(bytes, size);
    if (size < 64) return;
    uint8_t *copy = copy_of(bytes, size);
    uint64_t whole = size, data;
    if (!copy) return;
    memcpy(copy, "\x89" "CAMW\r\n\x1a\1\0\0", 12);
    memcpy(copy + 16, &whole, 8);
    memcpy(&data, copy + 24, 8);
    uint32_t crc = data >= 16 && data <= size ? wt_crc32(0, copy + 16, (size_t)data - 16) : 0;
    memcpy(copy + 12, &crc, 4);
    open_bytes(copy, size);
    free(copy);
}

static void run_pickle(const uint8_t *bytes, size_t size)
{
    wt_pickle p;
    int flag;
    size_t used;
    uint8_t *copy = copy_of(bytes, size);
    for (int ema = 0; ema < 2; ema++)
        if (wt_pickle_parse(copy, size, ema, &p, NULL) == EN_OK) wt_pickle_free(&p);
    if (wt_pickle_parse_texts(copy, size, &p, NULL) == EN_OK) wt_pickle_free(&p);
    (void)wt_pickle_parse_flag(copy, size, "little_endian", &flag, &used, NULL);
    free(copy);
}

/* The first two bytes are the size that is expected. */
static void run_inflate(const uint8_t *bytes, size_t size)
{
    if (size < 2) return;
    size_t want = bytes[0] | (size_t)bytes[1] << 8, used = 0;
    uint8_t *copy = copy_of(bytes + 2, size - 2), *out = malloc(want + !want);
    if (out && wt_inflate(copy, size - 2, out, want, &used, NULL) == EN_OK && used > size - 2) abort();
    if (out) (void)wt_inflate_zlib(copy, size - 2, out, want, &used, NULL);
    free(out);
    free(copy);
}

static void run_json(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = copy_of(bytes, size);
    wt_json json = wt_json_text((const char *)copy, size);
    wt_json_token token = {.kind = WT_JSON_NULL};
    char *text = malloc(size + 1);
    int64_t integer;
    double number;
    while (text && wt_json_next(&json, &token, NULL) == EN_OK && token.kind != WT_JSON_EOF) {
        if (token.kind == WT_JSON_KEY || token.kind == WT_JSON_STRING) (void)wt_json_string(&token, text, NULL);
        if (token.kind == WT_JSON_NUMBER) (void)wt_json_integer(&token, &integer, NULL), (void)wt_json_double(&token, &number, NULL);
    }
    free(text);
    free(copy);
}

static const fuzz_target targets[] = {
    {"zip", open_bytes},  {"legacy", open_bytes}, {"safetensors", open_bytes}, {"npz", open_bytes},
    {"camw", run_camw}, {"pickle", run_pickle}, {"inflate", run_inflate},    {"json", run_json},
};

fuzz_target fuzz_target_at(int i)
{
    int count = sizeof targets / sizeof *targets;
    return i >= 0 && i < count ? targets[i] : (fuzz_target){0};
}

#ifdef FUZZ
int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    for (int i = 0; fuzz_target_at(i).name; i++)
        if (!strcmp(fuzz_target_at(i).name, FUZZ)) fuzz_target_at(i).run(bytes, size);
    return 0;
}
#endif
