/* SPDX-License-Identifier: MIT */
/* JSON (RFC 8259): a pull reader, which is a tokeniser with one bit of memory per open container, and a writer.
 * Numbers go through strtod and snprintf, whose decimal point follows the locale; only the point is put right here. */
#include "weights/json.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the reader may meet next. */
enum { VALUE, VALUE_OR_END, KEY, KEY_OR_END, COMMA_OR_END, END_OF_TEXT };

wt_json wt_json_text(const char *text, size_t size) { return (wt_json){.text = text, .size = size}; }

static en_status wrong(const wt_json *json, const char *what, en_error *e)
{
    return en_fail(e, EN_E_FORMAT, "JSON: offset %zu: %s", json->at, what);
}

/* The length of the UTF-8 sequence at s (1 to 4), 0 if it is malformed, overlong, a surrogate or past U+10FFFF (RFC 3629). */
static size_t utf8_length(const uint8_t *s, size_t size)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xC2 ? 0 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : s[0] < 0xF5 ? 4 : 0;
    if (n > size) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xC0) != 0x80) return 0;
    if (n > 1 && ((s[0] == 0xE0 && s[1] < 0xA0) || (s[0] == 0xED && s[1] > 0x9F) || (s[0] == 0xF0 && s[1] < 0x90) ||
                  (s[0] == 0xF4 && s[1] > 0x8F)))
        return 0;
    return n;
}

/* Four hexadecimal digits, or -1. */
static int hex4(const char *s, size_t size)
{
    int value = 0;
    if (size < 4) return -1;
    for (int i = 0; i < 4; i++) {
        char c = s[i];
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (digit < 0) return -1;
        value = value * 16 + digit;
    }
    return value;
}

static int is_high(int unit) { return unit >= 0xD800 && unit < 0xDC00; }
static int is_low(int unit) { return unit >= 0xDC00 && unit < 0xE000; }

/* The length of the escape at s, which starts with a backslash; 0 if it is none, or half of a surrogate pair. */
static size_t escape_length(const char *s, size_t size)
{
    if (size < 2) return 0;
    if (s[1] != 'u') return strchr("\"\\/bfnrt", s[1]) && s[1] ? 2 : 0;
    int unit = hex4(s + 2, size - 2);
    if (unit < 0 || is_low(unit)) return 0;
    if (!is_high(unit)) return 6;
    return size >= 12 && s[6] == '\\' && s[7] == 'u' && is_low(hex4(s + 8, size - 8)) ? 12 : 0;
}

/* From behind the opening quote to behind the closing one. */
static en_status scan_string(wt_json *json, wt_json_token *token, en_error *e)
{
    size_t start = json->at;
    while (json->at < json->size && json->text[json->at] != '"') {
        const char *s = json->text + json->at;
        size_t left = json->size - json->at;
        if ((uint8_t)*s < 0x20) return wrong(json, "a control character inside a string", e);
        size_t n = *s == '\\' ? escape_length(s, left) : utf8_length((const uint8_t *)s, left);
        if (n == 0) return wrong(json, *s == '\\' ? "a bad escape inside a string" : "a string that is not UTF-8", e);
        json->at += n;
    }
    if (json->at == json->size) return wrong(json, "the text ends inside a string", e);
    token->text = json->text + start;
    token->size = json->at++ - start;
    return EN_OK;
}

static size_t scan_digits(wt_json *json)
{
    size_t start = json->at;
    while (json->at < json->size && json->text[json->at] >= '0' && json->text[json->at] <= '9') json->at++;
    return json->at - start;
}

static int accept(wt_json *json, const char *any)
{
    if (json->at == json->size || !json->text[json->at] || !strchr(any, json->text[json->at])) return 0;
    json->at++;
    return 1;
}

/* -? (0 | [1-9][0-9]*) (. [0-9]+)? ([eE] [+-]? [0-9]+)? */
static en_status scan_number(wt_json *json, wt_json_token *token, en_error *e)
{
    size_t start = json->at;
    accept(json, "-");
    if (!accept(json, "0") && !scan_digits(json)) return wrong(json, "a digit must follow", e);
    if (accept(json, ".") && !scan_digits(json)) return wrong(json, "a digit must follow the decimal point", e);
    if (accept(json, "eE")) {
        accept(json, "+-");
        if (!scan_digits(json)) return wrong(json, "a digit must follow in the exponent", e);
    }
    *token = (wt_json_token){.kind = WT_JSON_NUMBER, .text = json->text + start, .size = json->at - start, .offset = start};
    return EN_OK;
}

static en_status scan_word(wt_json *json, wt_json_token *token, en_error *e)
{
    static const struct {
        const char *word;
        wt_json_kind kind;
    } words[] = {{"true", WT_JSON_TRUE}, {"false", WT_JSON_FALSE}, {"null", WT_JSON_NULL}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        size_t n = strlen(words[i].word);
        if (json->size - json->at < n || memcmp(json->text + json->at, words[i].word, n) != 0) continue;
        token->kind = words[i].kind;
        token->size = n;
        json->at += n;
        return EN_OK;
    }
    return wrong(json, "want a value", e);
}

static int in_object(const wt_json *json) { return json->depth > 0 && (json->objects >> (json->depth - 1) & 1); }

static void value_done(wt_json *json) { json->expect = json->depth ? COMMA_OR_END : END_OF_TEXT; }

static en_status open_container(wt_json *json, wt_json_token *token, en_error *e)
{
    int object = json->text[json->at] == '{';
    if (json->depth == WT_JSON_DEPTH)
        return en_fail(e, EN_E_LIMIT, "JSON: offset %zu: nested deeper than %d", json->at, WT_JSON_DEPTH);
    uint64_t bit = (uint64_t)1 << json->depth++;
    json->objects = object ? json->objects | bit : json->objects & ~bit;
    json->expect = object ? KEY_OR_END : VALUE_OR_END;
    json->at++;
    token->kind = object ? WT_JSON_OBJECT : WT_JSON_ARRAY;
    return EN_OK;
}

static en_status close_container(wt_json *json, wt_json_token *token)
{
    token->kind = in_object(json) ? WT_JSON_OBJECT_END : WT_JSON_ARRAY_END;
    json->at++;
    json->depth--;
    value_done(json);
    return EN_OK;
}

static void skip_space(wt_json *json)
{
    while (accept(json, " \t\r\n")) {
    }
}

static en_status next_key(wt_json *json, wt_json_token *token, en_error *e)
{
    if (!accept(json, "\"")) return wrong(json, "want a key in quotes", e);
    EN_TRY(scan_string(json, token, e));
    skip_space(json);
    if (!accept(json, ":")) return wrong(json, "want ':' after the key", e);
    token->kind = WT_JSON_KEY;
    json->expect = VALUE;
    return EN_OK;
}

static en_status next_value(wt_json *json, wt_json_token *token, en_error *e)
{
    char c = json->text[json->at];
    if (c == '{' || c == '[') return open_container(json, token, e);
    if (c == '"') {
        json->at++;
        token->kind = WT_JSON_STRING;
        EN_TRY(scan_string(json, token, e));
    } else if (c == '-' || (c >= '0' && c <= '9')) {
        EN_TRY(scan_number(json, token, e));
    } else {
        EN_TRY(scan_word(json, token, e));
    }
    value_done(json);
    return EN_OK;
}

en_status wt_json_next(wt_json *json, wt_json_token *token, en_error *e)
{
    skip_space(json);
    *token = (wt_json_token){.kind = WT_JSON_EOF, .text = json->text + json->at, .offset = json->at};
    if (json->at == json->size) return json->expect == END_OF_TEXT ? EN_OK : wrong(json, "the text ends too early", e);
    if (json->expect == END_OF_TEXT) return wrong(json, "something follows the end of the value", e);
    int may_end = json->expect == COMMA_OR_END || json->expect == KEY_OR_END || json->expect == VALUE_OR_END;
    if (may_end && json->text[json->at] == (in_object(json) ? '}' : ']')) return close_container(json, token);
    if (json->expect == COMMA_OR_END) {
        if (!accept(json, ",")) return wrong(json, in_object(json) ? "want ',' or '}'" : "want ',' or ']'", e);
        json->expect = in_object(json) ? KEY : VALUE;
        skip_space(json);
        if (json->at == json->size) return wrong(json, "the text ends too early", e);
        token->text = json->text + json->at;
        token->offset = json->at;
    }
    return json->expect == KEY || json->expect == KEY_OR_END ? next_key(json, token, e) : next_value(json, token, e);
}

/* Appends a code point as UTF-8; returns the end. */
static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) return *out++ = (char)c, out;
    int more = c < 0x800 ? 1 : c < 0x10000 ? 2 : 3;
    static const unsigned lead[] = {0, 0xC0, 0xE0, 0xF0};
    *out++ = (char)(lead[more] | c >> (6 * more));
    while (more-- > 0) *out++ = (char)(0x80 | (c >> (6 * more) & 0x3F));
    return out;
}

en_status wt_json_string(const wt_json_token *token, char *out, en_error *e)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *s = token->text, *end = s + token->size;
    while (s < end) {
        if (*s != '\\') {
            *out++ = *s++;
            continue;
        }
        size_t n = escape_length(s, (size_t)(end - s)); /* not 0: the token has been checked */
        if (n == 2) {
            *out++ = to[strchr(from, s[1]) - from];
        } else {
            unsigned c = (unsigned)hex4(s + 2, 4);
            if (n == 12) c = 0x10000 + ((c - 0xD800) << 10) + ((unsigned)hex4(s + 8, 4) - 0xDC00);
            if (c == 0) return en_fail(e, EN_E_FORMAT, "JSON: offset %zu: a NUL character inside a string", token->offset);
            out = put_utf8(out, c);
        }
        s += n;
    }
    *out = 0;
    return EN_OK;
}

en_status wt_json_integer(const wt_json_token *token, int64_t *out, en_error *e)
{
    int64_t value = 0;
    size_t i = token->kind == WT_JSON_NUMBER && token->text[0] == '-';
    int negative = i == 1, bad = token->kind != WT_JSON_NUMBER;
    for (; i < token->size && !bad; i++) {
        int digit = token->text[i] - '0'; /* counts downwards, since INT64_MIN has no positive twin */
        bad = digit < 0 || digit > 9 || __builtin_mul_overflow(value, 10, &value) || __builtin_sub_overflow(value, digit, &value);
    }
    if (bad || (!negative && value == INT64_MIN))
        return en_fail(e, EN_E_FORMAT, "JSON: offset %zu: want an integer of 64 bits", token->offset);
    *out = negative ? value : -value;
    return EN_OK;
}

/* The decimal point of the current locale, as snprintf writes it. */
static void decimal_point(char out[16])
{
    char half[32];
    snprintf(half, sizeof half, "%.1f", 0.5);
    size_t n = strlen(half) - 2;
    if (n > 15) n = 15;
    memcpy(out, half + 1, n);
    out[n] = 0;
}

en_status wt_json_double(const wt_json_token *token, double *out, en_error *e)
{
    char text[512], point[16];
    if (token->kind != WT_JSON_NUMBER) return en_fail(e, EN_E_FORMAT, "JSON: offset %zu: want a number", token->offset);
    if (token->size + sizeof point > sizeof text)
        return en_fail(e, EN_E_LIMIT, "JSON: offset %zu: a number too long", token->offset);
    decimal_point(point);
    const char *dot = memchr(token->text, '.', token->size);
    int before = (int)(dot ? (size_t)(dot - token->text) : token->size);
    int after = dot ? (int)token->size - before - 1 : 0;
    snprintf(text, sizeof text, "%.*s%s%.*s", before, token->text, dot ? point : "", after, dot ? dot + 1 : "");
    *out = strtod(text, NULL);
    if (isinf(*out)) return en_fail(e, EN_E_FORMAT, "JSON: offset %zu: a number too large", token->offset);
    return EN_OK;
}

static void put_bytes(wt_json_writer *w, const char *bytes, size_t n)
{
    if (w->failed) return;
    if (n >= w->capacity - w->size) { /* one byte stays free for the NUL */
        size_t capacity = 2 * w->capacity + n + 256;
        char *grown = realloc(w->text, capacity);
        if (!grown) {
            w->failed = 1;
            return;
        }
        w->text = grown;
        w->capacity = capacity;
    }
    memcpy(w->text + w->size, bytes, n);
    w->size += n;
}

static void put_value(wt_json_writer *w, const char *text)
{
    if (w->after_value) put_bytes(w, ",", 1);
    put_bytes(w, text, strlen(text));
    w->after_value = 1;
}

void wt_json_open(wt_json_writer *w, char bracket)
{
    put_value(w, (char[]){bracket, 0});
    w->after_value = 0;
}

void wt_json_close(wt_json_writer *w, char bracket)
{
    put_bytes(w, &bracket, 1);
    w->after_value = 1;
}

static void put_escaped(wt_json_writer *w, const char *text)
{
    size_t left = strlen(text);
    while (left > 0) {
        unsigned char c = (unsigned char)*text;
        size_t n = utf8_length((const uint8_t *)text, left);
        char escape[8];
        if (c == '"' || c == '\\')
            snprintf(escape, sizeof escape, "\\%c", c);
        else if (c < 0x20 || c == 0x7F)
            snprintf(escape, sizeof escape, "\\u%04x", c);
        else
            escape[0] = 0;
        if (n == 0)
            put_bytes(w, "\xEF\xBF\xBD", 3);
        else if (escape[0])
            put_bytes(w, escape, strlen(escape));
        else
            put_bytes(w, text, n);
        text += n ? n : 1;
        left -= n ? n : 1;
    }
}

void wt_json_put_string(wt_json_writer *w, const char *text)
{
    if (!text) {
        wt_json_put_null(w);
        return;
    }
    put_value(w, "\"");
    put_escaped(w, text);
    put_bytes(w, "\"", 1);
}

void wt_json_put_key(wt_json_writer *w, const char *key)
{
    wt_json_put_string(w, key);
    put_bytes(w, ":", 1);
    w->after_value = 0;
}

void wt_json_put_integer(wt_json_writer *w, int64_t value)
{
    char text[32];
    snprintf(text, sizeof text, "%lld", (long long)value);
    put_value(w, text);
}

/* What snprintf wrote, with the locale's decimal point (any bytes that belong to no number) replaced by a dot. */
static void put_number(wt_json_writer *w, char *text)
{
    size_t before = strspn(text, "0123456789-"), point = strcspn(text + before, "0123456789-+e");
    if (point > 0) {
        text[before] = '.';
        memmove(text + before + 1, text + before + point, strlen(text + before + point) + 1);
    }
    put_value(w, text);
}

void wt_json_put_double(wt_json_writer *w, double value)
{
    char text[64];
    int digits = 6;
    do snprintf(text, sizeof text, "%.*g", digits, value);
    while (strtod(text, NULL) != value && digits++ < 17);
    if (isfinite(value))
        put_number(w, text);
    else
        wt_json_put_null(w);
}

void wt_json_put_float(wt_json_writer *w, float value)
{
    char text[64];
    int digits = 6;
    do snprintf(text, sizeof text, "%.*g", digits, (double)value);
    while (strtof(text, NULL) != value && digits++ < 9);
    if (isfinite(value))
        put_number(w, text);
    else
        wt_json_put_null(w);
}

void wt_json_put_bool(wt_json_writer *w, int value) { put_value(w, value ? "true" : "false"); }

void wt_json_put_null(wt_json_writer *w) { put_value(w, "null"); }

en_status wt_json_take(wt_json_writer *w, char **text, size_t *size, en_error *e)
{
    put_bytes(w, "", 0);
    wt_json_writer done = *w;
    *w = (wt_json_writer){0};
    *text = NULL;
    *size = 0;
    if (done.failed) {
        free(done.text);
        return en_fail(e, EN_E_NOMEM, "JSON: no memory for a text of %zu bytes", done.size);
    }
    done.text[done.size] = 0;
    *text = done.text;
    *size = done.size;
    return EN_OK;
}
