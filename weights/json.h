/* SPDX-License-Identifier: MIT */
/* JSON (RFC 8259), read strictly and written compactly.
 *
 * The reader pulls one token at a time from the caller's text, copies nothing and allocates nothing:
 *     wt_json json = wt_json_text(text, size);
 *     wt_json_token token;
 *     do EN_TRY(wt_json_next(&json, &token, e)); while (token.kind != WT_JSON_EOF);
 * The order of tokens is checked (a key before each value of an object, commas, one value in all), as is UTF-8. */
#ifndef WEIGHTS_JSON_H
#define WEIGHTS_JSON_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

enum { WT_JSON_DEPTH = 64 }; /* how deep arrays and objects may nest; deeper is EN_E_LIMIT */

typedef enum wt_json_kind {
    WT_JSON_EOF, /* the text has ended, as it should */
    WT_JSON_OBJECT,
    WT_JSON_OBJECT_END,
    WT_JSON_ARRAY,
    WT_JSON_ARRAY_END,
    WT_JSON_KEY, /* the value follows as the next token */
    WT_JSON_STRING,
    WT_JSON_NUMBER,
    WT_JSON_TRUE,
    WT_JSON_FALSE,
    WT_JSON_NULL
} wt_json_kind;

typedef struct wt_json_token {
    wt_json_kind kind;
    const char *text; /* in the caller's text: of a key or string what stands between the quotes, escapes unresolved */
    size_t size;
    size_t offset; /* of the token in the text, for messages */
} wt_json_token;

typedef struct wt_json {
    const char *text;
    size_t size, at;
    uint64_t objects; /* bit d: the container at depth d is an object */
    int depth;
    int expect; /* what may come next; private to json.c */
} wt_json;

wt_json wt_json_text(const char *text, size_t size);
en_status wt_json_next(wt_json *json, wt_json_token *token, en_error *e);

/* Resolves the escapes of a key or string into `out` (room for token->size + 1 bytes) and ends it with a NUL. An escaped NUL
 * character (backslash u0000) is refused, so that the result is a C string. */
en_status wt_json_string(const wt_json_token *token, char *out, en_error *e);

/* Numbers: integers without fraction, exponent or loss; and doubles, correctly rounded, too large ones refused. */
en_status wt_json_integer(const wt_json_token *token, int64_t *out, en_error *e);
en_status wt_json_double(const wt_json_token *token, double *out, en_error *e);

/* The writer grows one text. A failed allocation is remembered and told by wt_json_take; commas and colons set themselves.
 *     wt_json_writer w = {0};
 *     wt_json_open(&w, '{');  wt_json_put_key(&w, "top");  wt_json_put_integer(&w, 208);  wt_json_close(&w, '}'); */
typedef struct wt_json_writer {
    char *text;
    size_t size, capacity;
    int after_value; /* the next value or key needs a comma before it */
    int failed;
} wt_json_writer;

void wt_json_open(wt_json_writer *w, char bracket);
void wt_json_close(wt_json_writer *w, char bracket);
void wt_json_put_key(wt_json_writer *w, const char *key);
void wt_json_put_string(wt_json_writer *w, const char *text); /* bytes that are not UTF-8 become U+FFFD; NULL becomes null */
void wt_json_put_integer(wt_json_writer *w, int64_t value);
void wt_json_put_float(wt_json_writer *w, float value);   /* fewest digits that read back as the same float;  */
void wt_json_put_double(wt_json_writer *w, double value); /* ... as the same double; NaN and infinity: null    */
void wt_json_put_bool(wt_json_writer *w, int value);
void wt_json_put_null(wt_json_writer *w);

/* Hands the text, ended by a NUL, to the caller, who frees it; resets the writer. */
en_status wt_json_take(wt_json_writer *w, char **text, size_t *size, en_error *e);

#endif
