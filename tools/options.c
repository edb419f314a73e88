/* SPDX-License-Identifier: MIT */
/* Command lines from a table. */
#include "tools/options.h"

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 64, MAX_NAME = 32 };

/* Levenshtein distance, of names up to MAX_NAME letters. */
static int distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    int row[MAX_NAME + 1];
    if (n > MAX_NAME || m > MAX_NAME) return MAX_NAME;
    for (size_t j = 0; j <= m; j++) row[j] = (int)j;
    for (size_t i = 1; i <= n; i++) {
        int corner = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= m; j++) {
            int change = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            if (row[j - 1] + 1 < change) change = row[j - 1] + 1;
            row[j] = corner + 1 < change ? corner + 1 : change;
        }
    }
    return row[m];
}

const char *opt_nearest(const char *text, const char *(*name_at)(int i))
{
    const char *best = NULL, *name;
    int least = 4; /* more than three letters off is another word */
    for (int i = 0; (name = name_at(i)); i++)
        if (distance(text, name) < least) least = distance(text, name), best = name;
    return best;
}

/* Whether the first n letters of text are the name. */
static int same(const char *text, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++, name++)
        if (*name != (text[i] == '_' ? '-' : text[i])) return 0;
    return *name == 0;
}

static en_status unknown(const opt_row *rows, size_t count, const char *word, size_t n, en_error *e)
{
    char text[MAX_NAME + 1];
    const char *best = NULL;
    int least = 4;
    snprintf(text, sizeof text, "%.*s", (int)(n > MAX_NAME ? MAX_NAME : n), word);
    for (size_t i = 0; i < count; i++)
        if (rows[i].kind != OPT_HEADING && distance(text, rows[i].name) < least) least = distance(text, rows[i].name), best = rows[i].name;
    return en_fail(e, EN_E_ARG, best ? "there is no option --%s; did you mean --%s?" : "there is no option --%s", text, best ? best : "");
}

static en_status set(const opt_row *r, const char *value, void *options, en_error *e)
{
    void *place = (char *)options + r->at;
    if (r->kind == OPT_FLAG) {
        *(int *)place = 1;
    } else if (r->kind != OPT_COUNT) {
        *(const char **)place = value;
    } else {
        char *end;
        errno = 0;
        long n = strtol(value, &end, 10);
        if (*value < '0' || *value > '9' || *end || errno) return en_fail(e, EN_E_ARG, "--%s '%s': want a whole number", r->name, value);
        *(long *)place = n;
    }
    return EN_OK;
}

/* Finds the row of an argument that begins with '-', and the value written into the same word. */
static en_status find_row(const opt_row *rows, size_t count, const char *word, size_t *row, const char **value, en_error *e)
{
    *value = NULL;
    if (word[1] != '-') {
        for (*row = 0; *row < count && (!rows[*row].letter || rows[*row].letter != word[1]); ++*row) continue;
        if (*row == count) return en_fail(e, EN_E_ARG, "there is no option -%c", word[1]);
        if (word[2]) *value = word + 2;
        return EN_OK;
    }
    const char *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word - 2) : strlen(word + 2);
    if (equals) *value = equals + 1;
    for (*row = 0; *row < count && (rows[*row].kind == OPT_HEADING || !same(word + 2, n, rows[*row].name)); ++*row) continue;
    return *row < count ? EN_OK : unknown(rows, count, word + 2, n, e);
}

en_status opt_parse(const opt_row *rows, size_t count, int argc, char **argv, void *options, int *operands, en_error *e)
{
    uint64_t seen = 0; /* bit i: row i was given */
    int ended = 0;
    *operands = 0;
    for (int i = 1; i < argc; i++) {
        size_t row;
        const char *value;
        if (ended || argv[i][0] != '-' || !argv[i][1]) {
            argv[++*operands] = argv[i];
            continue;
        }
        if (!strcmp(argv[i], "--")) {
            ended = 1;
            continue;
        }
        EN_TRY(find_row(rows, count, argv[i], &row, &value, e));
        const opt_row *r = &rows[row];
        if (row < MAX_ROWS && seen >> row & 1) return en_fail(e, EN_E_ARG, "--%s is given twice", r->name);
        seen |= row < MAX_ROWS ? (uint64_t)1 << row : 0;
        if (r->kind == OPT_FLAG && value) return en_fail(e, EN_E_ARG, "--%s takes no value", r->name);
        if (r->kind == OPT_OPTIONAL && !value) value = "";
        if (r->kind != OPT_FLAG && !value && ++i < argc) value = argv[i];
        if (r->kind != OPT_FLAG && !value) return en_fail(e, EN_E_ARG, "--%s wants a value: %s", r->name, r->value);
        EN_TRY(set(r, value, options, e));
    }
    return EN_OK;
}

void opt_print(const opt_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const opt_row *r = &rows[i];
        char left[64];
        if (r->kind == OPT_HEADING) {
            printf("\n%s\n", r->help);
            continue;
        }
        int n = snprintf(left, sizeof left, r->letter ? "-%c, " : "    ", r->letter);
        snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s%s", r->name, r->kind == OPT_OPTIONAL ? "[=" : r->value ? " " : "", r->value ? r->value : "",
                 r->kind == OPT_OPTIONAL ? "]" : "");
        printf("  %-30s %s\n", left, r->help);
    }
}
