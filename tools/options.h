/* SPDX-License-Identifier: MIT */
/* Command lines: one table of options makes the parser and the help. In the name of a long option '_' may stand for '-'; its value
 * comes after '=' or as the next word; "--" ends options. An option given twice is an error, as is one that does not exist (the
 * nearest name is suggested). */
#ifndef TOOLS_OPTIONS_H
#define TOOLS_OPTIONS_H

#include "engine/status.h"

#include <stddef.h>

typedef enum opt_kind {
    OPT_HEADING,  /* no option: a line of the help                             */
    OPT_FLAG,     /* int: set to 1                                             */
    OPT_TEXT,     /* const char *                                              */
    OPT_OPTIONAL, /* const char *: the value after '=', or "" if there is none */
    OPT_COUNT     /* long: a whole number from 0 on                            */
} opt_kind;

typedef struct opt_row {
    opt_kind kind;
    char letter;           /* 0 if it has none */
    const char *name, *value, *help;
    size_t at;             /* offset of its place in the struct of options */
} opt_row;

enum { OPT_MAX_ROWS = 64 };

/* Parses words[1..] into *options, which holds the defaults. Operands are moved to the front of words, from words[1] on, and
 * counted. At most OPT_MAX_ROWS rows. */
en_status opt_parse(const opt_row *rows, size_t count, int argc, char **words, void *options, int *operands, en_error *e);

/* The help text of the table, on stdout. */
void opt_print(const opt_row *rows, size_t count);

/* Name number i of some list, NULL past its end. */
typedef const char *(*opt_names)(const void *list, int i);

/* The name of a list that is nearest to `text` without regard to case, '-' and '_': one that begins with it, or that few changes
 * make of it; NULL if none is near. */
const char *opt_nearest(const char *text, opt_names name_at, const void *list);

#endif
