/* SPDX-License-Identifier: MIT */
/* Command lines from a table. */
#include "tools/options.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the nearest name ---- */

enum { MAX_NAME = 96 };

/* What counts of a name, in lower case; its length. */
static size_t letters(const char *text, char out[MAX_NAME])
{
    size_t n = 0;
    for (; *text && n < MAX_NAME - 1; text++)
        if (*text != '-' && *text != '_') out[n++] = (char)tolower((unsigned char)*text);
    out[n] = 0;
    return n;
}

/* Levenshtein's distance: the least number of letters to insert, delete or replace that makes a of b; *begin is the same for the
 * beginning of b that suits best. */
static size_t distance(const char *a, size_t n, const char *b, size_t m, size_t *begin)
{
    size_t row[MAX_NAME];
    for (size_t j = 0; j <= m; j++) row[j] = j;
    for (size_t i = 1; i <= n; i++) {
        size_t corner = row[0];
        row[0] = i;
        for (size_t j = 1; j <= m; j++) {
            size_t least = corner + (a[i - 1] != b[j - 1]);
            corner = row[j];
            if (row[j - 1] + 1 < least) least = row[j - 1] + 1;
            if (row[j] + 1 < least) least = row[j] + 1;
            row[j] = least;
        }
    }
    *begin = row[m];
    for (size_t j = 0; j < m; j++)
        if (row[j] < *begin) *begin = row[j];
    return row[m];
}

const char *opt_nearest(const char *text, opt_names name_at, const void *list)
{
    char wanted[MAX_NAME], other[MAX_NAME];
    size_t n = letters(text, wanted), least = SIZE_MAX;
    const char *best = NULL, *name;
    for (int i = 0; n && (name = name_at(list, i)); i++) {
        size_t m = letters(name, other), begin, whole = distance(wanted, n, other, m, &begin), cost = SIZE_MAX;
        if (begin <= n / 3) cost = 2 * begin + 1; /* of an abbreviation a third of the letters may be wrong, */
        if (whole <= 1 + n / 3 && 2 * whole < cost) cost = 2 * whole; /* of a whole name one more */
        if (cost < least) least = cost, best = name;
    }
    return best;
}

/* ---- parsing ---- */

typedef struct opt_table {
    const opt_row *rows;
    size_t count;
} opt_table;

static const char *option_name(const void *list, int i)
{
    const opt_table *t = list;
    size_t row = 0;
    for (int left = i; row < t->count; row++)
        if (t->rows[row].kind != OPT_HEADING && left-- == 0) return t->rows[row].name;
    return NULL;
}

/* Whether the first n letters of text are the name. */
static int same(const char *text, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++, name++)
        if (*name != (text[i] == '_' ? '-' : text[i])) return 0;
    return *name == 0;
}

static en_status unknown(const opt_table *t, const char *word, size_t n, en_error *e)
{
    char text[MAX_NAME];
    snprintf(text, sizeof text, "%.*s", (int)(n < sizeof text ? n : sizeof text - 1), word);
    const char *near = opt_nearest(text, option_name, t);
    return en_fail(e, EN_E_ARG, near ? "there is no option --%s; did you mean --%s?" : "there is no option --%s (see --help)", text,
                   near ? near : "");
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
        if (*value < '0' || *value > '9' || *end || errno)
            return en_fail(e, EN_E_ARG, "--%s '%s': want a whole number", r->name, value);
        *(long *)place = n;
    }
    return EN_OK;
}

/* Finds the row of a word that begins with '-', and the value written into the same word. */
static en_status find_row(const opt_table *t, const char *word, size_t *row, const char **value, en_error *e)
{
    *value = NULL;
    if (word[1] != '-') {
        for (*row = 0; *row < t->count && t->rows[*row].letter != word[1]; ++*row) continue;
        if (*row == t->count) return en_fail(e, EN_E_ARG, "there is no option -%c (see --help)", word[1]);
        if (word[2]) *value = word + 2;
        return EN_OK;
    }
    const char *equals = strchr(word, '=');
    size_t n = equals ? (size_t)(equals - word - 2) : strlen(word + 2);
    if (equals) *value = equals + 1;
    for (*row = 0; *row < t->count && (t->rows[*row].kind == OPT_HEADING || !same(word + 2, n, t->rows[*row].name)); ++*row)
        continue;
    return *row < t->count ? EN_OK : unknown(t, word + 2, n, e);
}

en_status opt_parse(const opt_row *rows, size_t count, int argc, char **words, void *options, int *operands, en_error *e)
{
    const opt_table table = {rows, count};
    uint64_t seen = 0; /* bit i: row i was given */
    int ended = 0;
    *operands = 0;
    for (int i = 1; i < argc; i++) {
        size_t row;
        const char *value;
        if (ended || words[i][0] != '-' || !words[i][1]) {
            words[++*operands] = words[i];
            continue;
        }
        if (!strcmp(words[i], "--")) {
            ended = 1;
            continue;
        }
        EN_TRY(find_row(&table, words[i], &row, &value, e));
        const opt_row *r = &rows[row];
        if (seen >> row & 1) return en_fail(e, EN_E_ARG, "--%s is given twice", r->name);
        seen |= (uint64_t)1 << row;
        if (r->kind == OPT_FLAG && value) return en_fail(e, EN_E_ARG, "--%s takes no value, but '%s' is given", r->name, value);
        if (r->kind == OPT_OPTIONAL && !value) value = "";
        if (r->kind != OPT_FLAG && !value && ++i < argc) value = words[i];
        if (r->kind != OPT_FLAG && !value) return en_fail(e, EN_E_ARG, "--%s wants a value: %s", r->name, r->value);
        EN_TRY(set(r, value, options, e));
    }
    return EN_OK;
}

/* ---- help ---- */

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
        snprintf(left + n, sizeof left - (size_t)n, "--%s%s%s%s", r->name,
                 r->kind == OPT_OPTIONAL ? "[="
                 : r->value              ? " "
                                         : "",
                 r->value ? r->value : "", r->kind == OPT_OPTIONAL ? "]" : "");
        printf("  %-30s %s\n", left, r->help);
    }
}
