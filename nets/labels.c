/* SPDX-License-Identifier: MIT */
/* Class names. ImageNet's stand in the embedded table: a header line, then a line "index TAB wnid TAB name" per class, in the order of
 * the index. The table is ours, so it is trusted; a test reads all of it. */
#include "nets/labels.h"

#include "weights/embed.h"
#include "weights/file.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WT_EMBED(net_imagenet_classes, "nets/imagenet_classes.tsv");

enum { MAX_KEY = 128, MAX_SHOWN = 5, MAX_FILE = 1 << 24 };

/* Reads the line at *at and moves on to the next. 0 at the end of the table. */
static int next_class(const char **at, net_class *c)
{
    size_t left = (size_t)((const char *)net_imagenet_classes_end - *at);
    const char *end = left ? memchr(*at, '\n', left) : NULL;
    if (!end) return 0;
    const char *wnid = (const char *)memchr(*at, '\t', (size_t)(end - *at)) + 1;
    const char *name = (const char *)memchr(wnid, '\t', (size_t)(end - wnid)) + 1;
    snprintf(c->wnid, sizeof c->wnid, "%.*s", (int)(name - 1 - wnid), wnid);
    snprintf(c->name, sizeof c->name, "%.*s", (int)(end - name), name);
    *at = end + 1;
    return 1;
}

/* The first class's line: behind the header. */
static const char *first_line(void) { return strchr((const char *)net_imagenet_classes, '\n') + 1; }

net_class net_class_at(int index)
{
    const char *at = first_line();
    net_class c = {"", ""};
    for (int i = 0; i <= index && i < NET_CLASSES; i++) next_class(&at, &c);
    return index < NET_CLASSES ? c : (net_class){"", ""};
}

/* ---- a network's names ---- */

static en_status labels_new(int count, size_t size, net_labels *out, en_error *e)
{
    *out = (net_labels){calloc((size_t)count + 1, sizeof *out->of), count, malloc(size + 1)};
    if (out->of && out->text) return EN_OK;
    net_labels_free(out);
    return en_fail(e, EN_E_NOMEM, "no memory for the names of %d classes", count);
}

void net_labels_free(net_labels *labels)
{
    free(labels->of);
    free(labels->text);
    *labels = (net_labels){0};
}

/* Cuts the text into lines ID<tab>NAME or NAME; returns how many there are, of which labels->count are kept. */
static int cut_lines(net_labels *labels, char *text)
{
    int n = 0;
    for (char *line = text, *next; *line; line = next, n++) {
        next = line + strcspn(line, "\n");
        if (*next) *next++ = 0;
        line[strcspn(line, "\r")] = 0;
        char *tab = strchr(line, '\t');
        if (tab) *tab = 0;
        if (n < labels->count) labels->of[n] = (wt_class){tab ? line : "", tab ? tab + 1 : line};
    }
    return n;
}

en_status net_labels_imagenet(net_labels *out, en_error *e)
{
    char *to;
    const char *at = first_line();
    net_class c;
    EN_TRY(labels_new(NET_CLASSES, NET_CLASSES * (sizeof c.wnid + sizeof c.name), out, e));
    for (to = out->text; next_class(&at, &c);) to += sprintf(to, "%s\t%s\n", c.wnid, c.name);
    cut_lines(out, out->text);
    return EN_OK;
}

en_status net_labels_read(const char *path, int count, net_labels *out, en_error *e)
{
    uint8_t *bytes;
    size_t size;
    *out = (net_labels){0};
    EN_TRY(wt_file_read(path, MAX_FILE, &bytes, &size, e));
    en_status status = memchr(bytes, 0, size) ? en_fail(e, EN_E_FORMAT, "%s: not a text: it has a NUL byte", path) : labels_new(count, size, out, e);
    if (status == EN_OK) {
        memcpy(out->text, bytes, size);
        out->text[size] = 0;
        int lines = cut_lines(out, out->text);
        if (lines != count) status = en_fail(e, EN_E_ARG, "%s: %d lines, want one for each of the %d classes", path, lines, count);
    }
    free(bytes);
    if (status != EN_OK) net_labels_free(out);
    return status;
}

en_status net_labels_from(const wt_class *classes, int count, net_labels *out, en_error *e)
{
    EN_TRY(labels_new(count, 0, out, e));
    memcpy(out->of, classes, (size_t)count * sizeof *classes);
    return EN_OK;
}

en_status net_labels_numbered(int count, net_labels *out, en_error *e)
{
    enum { LONGEST = sizeof "class 2147483647" };
    EN_TRY(labels_new(count, (size_t)count * LONGEST, out, e));
    char *to = out->text;
    for (int i = 0; i < count; i++) {
        out->of[i] = (wt_class){"", to};
        to += sprintf(to, "class %d", i) + 1;
    }
    return EN_OK;
}

/* ---- finding ---- */

/* What counts of a name: letters and digits in lower case, and bytes beyond ASCII, so that they match nothing. */
static void make_key(const char *text, char key[MAX_KEY])
{
    size_t n = 0;
    for (; *text && n < MAX_KEY - 1; text++) {
        unsigned char c = (unsigned char)*text;
        if (c >= 0x80 || isalnum(c)) key[n++] = (char)tolower(c);
    }
    key[n] = 0;
}

/* Levenshtein's distance: the least number of letters to insert, delete or replace that makes a of b. */
static int distance(const char *a, const char *b)
{
    int row[MAX_KEY];
    int n = (int)strlen(b);
    for (int j = 0; j <= n; j++) row[j] = j;
    for (int i = 1; a[i - 1]; i++) {
        int diagonal = row[0];
        row[0] = i;
        for (int j = 1; j <= n; j++) {
            int best = diagonal + (a[i - 1] != b[j - 1]);
            if (row[j] + 1 < best) best = row[j] + 1;
            if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[n];
}

/* The classes that come into question, best first; `score` is smallest for the best. */
typedef struct candidates {
    const net_labels *labels;
    int count, index[MAX_SHOWN], score[MAX_SHOWN];
} candidates;

static void add_candidate(candidates *c, int index, int score)
{
    int at = c->count < MAX_SHOWN ? c->count : MAX_SHOWN;
    while (at > 0 && c->score[at - 1] > score) at--;
    for (int i = MAX_SHOWN - 1; i > at; i--) {
        c->index[i] = c->index[i - 1];
        c->score[i] = c->score[i - 1];
    }
    if (at < MAX_SHOWN) {
        c->index[at] = index;
        c->score[at] = score;
    }
    c->count++;
}

static int shown(const candidates *c) { return c->count < MAX_SHOWN ? c->count : MAX_SHOWN; }

/* `"tench" (0), "goldfish" (1)` */
static void list(const candidates *c, char *text, size_t size)
{
    size_t n = 0;
    for (int i = 0; i < shown(c); i++) {
        int wrote = snprintf(text + n, size - n, "%s\"%s\" (%d)", i ? ", " : "", c->labels->of[c->index[i]].name, c->index[i]);
        if (wrote < 0 || (size_t)wrote >= size - n) return;
        n += (size_t)wrote;
    }
}

static en_status find_index(const net_labels *labels, const char *text, int *index, en_error *e)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 0 || value >= labels->count)
        return en_fail(e, EN_E_ARG, "class index \"%.80s\" does not exist: wanted 0 to %d", text, labels->count - 1);
    *index = (int)value;
    return EN_OK;
}

en_status net_class_find(const net_labels *labels, const char *text, int *index, en_error *e)
{
    char key[MAX_KEY], id[MAX_KEY], other[MAX_KEY], names[320] = "";
    if (*text && !text[strspn(text, "0123456789")]) return find_index(labels, text, index, e);
    make_key(text, key);
    if (!*key) return en_fail(e, EN_E_ARG, "class \"%.80s\" is no name: wanted an index, a WordNet id or a name", text);
    candidates whole = {.labels = labels}, part = whole, near = whole;
    for (int i = 0; i < labels->count; i++) {
        make_key(labels->of[i].id, id);
        make_key(labels->of[i].name, other);
        int exact = !strcmp(text, labels->of[i].name) || !strcmp(key, id);
        if (exact) whole.count = 0;
        if (exact || !strcmp(key, other)) add_candidate(&whole, i, 0);
        if (exact) break;
        if (strstr(other, key)) add_candidate(&part, i, (int)strlen(other));
        add_candidate(&near, i, distance(key, other));
    }
    const candidates *best = whole.count ? &whole : part.count ? &part : &near;
    if (best != &near && best->count == 1) {
        *index = best->index[0];
        return EN_OK;
    }
    list(best, names, sizeof names);
    if (best == &near) return en_fail(e, EN_E_ARG, "class \"%.80s\" does not exist; the nearest: %s", text, names);
    return en_fail(e, EN_E_ARG, "class \"%.80s\" could be any of %d classes: %s%s", text, best->count, names,
                   best->count > MAX_SHOWN ? ", ..." : "");
}
