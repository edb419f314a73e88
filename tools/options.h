/* SPDX-License-Identifier: MIT */
/* Command lines: one table of options makes the parser and the help. Long options match without regard to '-' and '_' and take
 * their value after '=' or as the next word; "--" ends options; an option given twice is an error, as is one that does not exist
 * (the nearest name is suggested). */
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

/* Parses argv[1..] into *options (which holds the defaults); operands are moved to the front of argv, from argv[1] on, and counted. */
en_status opt_parse(const opt_row *rows, size_t count, int argc, char **argv, void *options, int *operands, en_error *e);

/* The help text of the table, on stdout. */
void opt_print(const opt_row *rows, size_t count);

/* The name of a list that is nearest to `text`, NULL if none is near: name_at(i) is NULL past the end. */
const char *opt_nearest(const char *text, const char *(*name_at)(int i));

#endif
