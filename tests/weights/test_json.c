/* SPDX-License-Identifier: MIT */
/* JSON: what the strict reader takes and refuses, and that the writer's text reads back. */
#include "tests/test.h"
#include "weights/json.h"

#include <locale.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Reads all tokens from a copy that ends where its allocation ends; `kinds` gets one letter for each. */
static en_status scan(const char *text, size_t size, char *kinds, en_error *e)
{
    char *copy = malloc(size + 1), *string = malloc(size + 1);
    CHECK(copy && string);
    memcpy(copy, text, size);
    copy = realloc(copy, size ? size : 1);
    CHECK(copy != NULL);
    wt_json json = wt_json_text(copy, size);
    wt_json_token token;
    en_status status;
    while ((status = wt_json_next(&json, &token, e)) == EN_OK && token.kind != WT_JSON_EOF) {
        if (kinds) *kinds++ = ".{}[]ks0tfn"[token.kind];
        if (token.kind == WT_JSON_KEY || token.kind == WT_JSON_STRING) (void)wt_json_string(&token, string, NULL);
    }
    if (kinds) *kinds = 0;
    free(copy);
    free(string);
    return status;
}

TEST(every_kind_of_json_value_is_read)
{
    const char *text = " {\"a\" : [1, -0.5e+3, true,false , null, \"x\", [], {}], \"b\":{\"c\":\"\"}}\n";
    char kinds[64];
    en_error e;
    CHECK_OK(scan(text, strlen(text), kinds, &e), e);
    CHECK_MSG(!strcmp(kinds, "{k[00tfns[]{}]k{ks}}"), "%s", kinds);
    CHECK_OK(scan("7", 1, kinds, &e), e);
    CHECK(!strcmp(kinds, "0"));
}

TEST(text_that_is_not_json_is_refused_with_offset_and_reason)
{
    static const struct {
        const char *text, *why;
    } cases[] = {{"", "offset 0: the text ends too early"},
                 {"  ", "offset 2: the text ends too early"},
                 {"[1", "the text ends too early"},
                 {"[1,", "the text ends too early"},
                 {"{\"a\":", "the text ends too early"},
                 {"{\"a\"", "want ':' after the key"},
                 {"{a:1}", "offset 1: want a key in quotes"},
                 {"{\"a\":1,}", "want a key in quotes"},
                 {"{\"a\":1 \"b\":2}", "want ',' or '}'"},
                 {"[1 2]", "offset 3: want ',' or ']'"},
                 {"[1,]", "offset 3: want a value"},
                 {"[1}", "want ',' or ']'"},
                 {"{]", "want a key in quotes"},
                 {"]", "want a value"},
                 {"1 2", "offset 2: something follows the end"},
                 {"{}{}", "something follows the end"},
                 {"nul", "want a value"},
                 {"NaN", "want a value"},
                 {"01", "something follows"},
                 {"-", "a digit must follow"},
                 {"+1", "want a value"},
                 {".5", "want a value"},
                 {"1.", "a digit must follow the decimal point"},
                 {"1e", "a digit must follow in the exponent"},
                 {"\"a", "the text ends inside a string"},
                 {"\"a\\", "a bad escape"},
                 {"\"\\x\"", "a bad escape"},
                 {"\"\\u12g4\"", "a bad escape"},
                 {"\"\\ud800\"", "a bad escape"},
                 {"\"\\ud800\\u0041\"", "a bad escape"},
                 {"\"\\udc00\"", "a bad escape"},
                 {"\"a\nb\"", "a control character"},
                 {"\"\xC0\x80\"", "not UTF-8"},
                 {"\"\xED\xA0\x80\"", "not UTF-8"},
                 {"\"\xF4\x90\x80\x80\"", "not UTF-8"},
                 {"\"\xE2\x82\"", "not UTF-8"},
                 {"\"\x80\"", "not UTF-8"}};
    en_error e;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        en_status status = scan(cases[i].text, strlen(cases[i].text), NULL, &e);
        CHECK_MSG(status == EN_E_FORMAT && strstr(e.text, cases[i].why), "%s: %d, %s", cases[i].text, status, e.text);
    }
    CHECK_FAILS(scan("[\0]", 3, NULL, &e), e, EN_E_FORMAT, "want a value");
    CHECK_FAILS(scan("1\0", 2, NULL, &e), e, EN_E_FORMAT, "something follows");
    CHECK_FAILS(scan("\"\\\0\"", 4, NULL, &e), e, EN_E_FORMAT, "a bad escape");
}

TEST(json_nests_64_deep_and_no_deeper)
{
    char text[130];
    en_error e;
    memset(text, '[', 65);
    memset(text + 64, ']', 64);
    CHECK_OK(scan(text, 128, NULL, &e), e);
    memset(text, '[', 65);
    CHECK_FAILS(scan(text, 65, NULL, &e), e, EN_E_LIMIT, "offset 64: nested deeper than 64");
}

TEST(strings_are_unescaped)
{
    const char *text = "\"a\\n\\\\\\/\\\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\xC3\xA9\"";
    wt_json json = wt_json_text(text, strlen(text));
    wt_json_token token;
    char out[64];
    en_error e;
    CHECK_OK(wt_json_next(&json, &token, &e), e);
    CHECK_OK(wt_json_string(&token, out, &e), e);
    CHECK(!strcmp(out, "a\n\\/\"A\xC3\xA9\xE2\x82\xAC\xF0\x9F\x98\x80\xC3\xA9"));
    json = wt_json_text("\"\\u0000\"", 8);
    CHECK_OK(wt_json_next(&json, &token, &e), e);
    CHECK_FAILS(wt_json_string(&token, out, &e), e, EN_E_FORMAT, "NUL");
}

static wt_json_token number(const char *text)
{
    wt_json json = wt_json_text(text, strlen(text));
    wt_json_token token;
    en_error e;
    CHECK_OK(wt_json_next(&json, &token, &e), e);
    return token;
}

TEST(integers_are_exact_or_refused)
{
    int64_t value;
    en_error e;
    static const char *const good[] = {"0", "-0", "9223372036854775807", "-9223372036854775808", "-17"};
    static const int64_t want[] = {0, 0, INT64_MAX, INT64_MIN, -17};
    static const char *const bad[] = {
        "9223372036854775808", "-9223372036854775809", "1.0", "1e3", "99999999999999999999", "true", "\"1\""};
    for (int i = 0; i < 5; i++) {
        wt_json_token token = number(good[i]);
        CHECK_OK(wt_json_integer(&token, &value, &e), e);
        CHECK_MSG(value == want[i], "%s", good[i]);
    }
    for (int i = 0; i < 7; i++) {
        wt_json_token token = number(bad[i]);
        CHECK_FAILS(wt_json_integer(&token, &value, &e), e, EN_E_FORMAT, "want an integer of 64 bits");
    }
}

TEST(doubles_are_correctly_rounded_and_too_large_ones_refused)
{
    double value;
    en_error e;
    wt_json_token token = number("-12.5e-1");
    CHECK_OK(wt_json_double(&token, &value, &e), e);
    CHECK(value == -1.25);
    token = number("0.1");
    CHECK_OK(wt_json_double(&token, &value, &e), e);
    CHECK(value == 0.1);
    token = number("1e999");
    CHECK_FAILS(wt_json_double(&token, &value, &e), e, EN_E_FORMAT, "too large");
    token = number("null");
    CHECK_FAILS(wt_json_double(&token, &value, &e), e, EN_E_FORMAT, "want a number");
    char *digits = malloc(10001);
    CHECK(digits != NULL);
    memset(digits, '1', 10000);
    digits[10000] = 0;
    token = number(digits);
    CHECK_FAILS(wt_json_double(&token, &value, &e), e, EN_E_LIMIT, "too long");
    free(digits);
}

static void put_sample(wt_json_writer *w)
{
    wt_json_open(w, '{');
    wt_json_put_key(w, "a\"b");
    wt_json_put_string(w, "\n\\\x7F\xC3\xA9\xFF");
    wt_json_put_key(w, "list");
    wt_json_open(w, '[');
    wt_json_put_integer(w, INT64_MIN);
    wt_json_put_float(w, 0.1f);
    wt_json_put_double(w, 0.1);
    wt_json_put_double(w, NAN);
    wt_json_put_float(w, -INFINITY);
    wt_json_put_bool(w, 1);
    wt_json_put_string(w, NULL);
    wt_json_open(w, '[');
    wt_json_close(w, ']');
    wt_json_open(w, '{');
    wt_json_close(w, '}');
    wt_json_put_double(w, 1e300);
    wt_json_close(w, ']');
    wt_json_put_key(w, "end");
    wt_json_put_bool(w, 0);
    wt_json_close(w, '}');
}

TEST(the_writer_writes_compact_json)
{
    wt_json_writer w = {0};
    char *text;
    size_t size;
    en_error e;
    put_sample(&w);
    CHECK_OK(wt_json_take(&w, &text, &size, &e), e);
    CHECK_MSG(
        !strcmp(text,
                "{\"a\\\"b\":\"\\u000a\\\\\\u007f\xC3\xA9\xEF\xBF\xBD\",\"list\":[-9223372036854775808,0.1,0.1,null,null,true,null,"
                "[],{},1e+300],\"end\":false}"),
        "%s", text);
    CHECK(size == strlen(text));
    CHECK_OK(scan(text, size, NULL, &e), e);
    free(text);
}

TEST(written_numbers_read_back_with_the_same_bits)
{
    en_error e;
    char *text;
    size_t size;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = t_random();
        uint32_t half = (uint32_t)t_random();
        double d, back;
        float f;
        memcpy(&d, &bits, sizeof d);
        memcpy(&f, &half, sizeof f);
        if (!isfinite(d) || !isfinite(f)) continue;
        wt_json_writer w = {0};
        wt_json_put_double(&w, d);
        CHECK_OK(wt_json_take(&w, &text, &size, &e), e);
        wt_json_token token = number(text);
        CHECK_OK(wt_json_double(&token, &back, &e), e);
        CHECK_MSG(back == d, "%.17g gives %s", d, text);
        free(text);
        wt_json_put_float(&w, f);
        CHECK_OK(wt_json_take(&w, &text, &size, &e), e);
        CHECK_MSG(strtof(text, NULL) == f && size < 16, "%.9g gives %s", (double)f, text);
        free(text);
    }
}

TEST(numbers_have_a_point_in_every_locale)
{
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "pt_BR.UTF-8", "de_DE"};
    wt_json_writer w = {0};
    char *text;
    size_t size;
    double value;
    en_error e;
    int found = 0;
    for (int i = 0; i < 5 && !found; i++) found = setlocale(LC_NUMERIC, names[i]) != NULL;
    if (!found) t_skip("needs a locale with a decimal comma");
    wt_json_put_double(&w, 1.5);
    CHECK_OK(wt_json_take(&w, &text, &size, &e), e);
    CHECK_MSG(!strcmp(text, "1.5"), "%s", text);
    wt_json_token token = number(text);
    CHECK_OK(wt_json_double(&token, &value, &e), e);
    CHECK(value == 1.5);
    free(text);
}

TEST(json_with_random_damage_does_no_harm)
{
    const char *text = "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"x\":\"\\u00e9\\ud83d\\ude00\\n\"},\"b\":[1.5e-3,true,null]}";
    char copy[128];
    size_t n = strlen(text);
    for (size_t cut = 0; cut < n; cut++) CHECK(scan(text, cut, NULL, NULL) == EN_E_FORMAT);
    for (int i = 0; i < 20000; i++) {
        memcpy(copy, text, n);
        for (int k = 0; k < 3; k++) copy[t_random() % n] = (char)t_random();
        (void)scan(copy, n, NULL, NULL);
    }
}

TEST(a_writer_without_memory_says_so)
{
    en_error e;
    char *text;
    size_t size;
    long n = 1;
    for (;; n++) {
        wt_json_writer w = {0};
        t_fail_allocation(n, 0);
        for (int i = 0; i < 20; i++) put_sample(&w);
        en_status status = wt_json_take(&w, &text, &size, &e);
        t_fail_allocation(0, 0);
        free(text);
        if (status == EN_OK) break;
        CHECK(status == EN_E_NOMEM && !text && size == 0);
    }
    CHECK(n > 2);
}
