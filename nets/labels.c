/* SPDX-License-Identifier: MIT */
/* Class names, read where they are from the embedded table: a header line, then a line "index TAB wnid TAB name" per class, in
 * the order of the index. The table is ours, so it is trusted; a test reads all of it. */
#include "nets/labels.h"

#include "weights/embed.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

WT_EMBED(net_imagenet_classes, "nets/imagenet_classes.tsv");

enum { MAX_KEY = 64, MAX_SHOWN = 5 };

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
        net_class label = net_class_at(c->index[i]);
        int wrote = snprintf(text + n, size - n, "%s\"%s\" (%d)", i ? ", " : "", label.name, c->index[i]);
        if (wrote < 0 || (size_t)wrote >= size - n) return;
        n += (size_t)wrote;
    }
}

static en_status find_index(const char *text, int *index, en_error *e)
{
    char *end;
    long value = strtol(text, &end, 10);
    if (*end || value < 0 || value >= NET_CLASSES)
        return en_fail(e, EN_E_ARG, "class index \"%.80s\" does not exist: wanted 0 to %d", text, NET_CLASSES - 1);
    *index = (int)value;
    return EN_OK;
}

en_status net_class_find(const char *text, int *index, en_error *e)
{
    char key[MAX_KEY], other[MAX_KEY], names[320] = "";
    if (*text && !text[strspn(text, "0123456789")]) return find_index(text, index, e);
    make_key(text, key);
    if (!*key) return en_fail(e, EN_E_ARG, "class \"%.80s\" is no name: wanted an index, a WordNet id or a name", text);
    candidates whole = {0}, part = {0}, near = {0};
    const char *at = first_line();
    net_class c;
    for (int i = 0; next_class(&at, &c); i++) {
        make_key(c.name, other);
        int exact = !strcmp(text, c.name) || !strcmp(key, c.wnid);
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
