/* SPDX-License-Identifier: MIT */
/* Worked examples of every op: shapes and options at which an op is tried. */
#ifndef TESTS_ENGINE_CASES_H
#define TESTS_ENGINE_CASES_H

#include "engine/op.h"

/* How an input is drawn, so that differences of the value are derivatives. */
typedef enum t_draw {
    T_PLAIN,    /* uniform in -1 .. 1                                     */
    T_KINKS,    /* -9 .. 9, nowhere within 0.02 of 0 and 6                 */
    T_DISTINCT, /* a shuffle of multiples of 0.02: no two numbers are near */
    T_POSITIVE  /* 0.5 .. 2, a variance                                    */
} t_draw;

typedef struct t_case {
    const char *op;
    int inputs;
    en_shape in[EN_MAX_INPUTS];
    t_draw draw[EN_MAX_INPUTS];
    en_attr attr;
    int terms; /* products in the longest sum, for tolerances */
} t_case;

extern const t_case t_cases[]; /* ended by op == NULL */

const en_op *t_op(const t_case *c); /* NULL if there is no such op */

/* Fills `count` numbers. */
void t_draw_floats(t_draw draw, size_t count, float *out);

/* Fills the memory of a finished graph, constants excepted, with NaN: nothing may depend on what memory held before. */
void t_poison(en_graph *g);
void t_poison_adjoints(en_graph *g); /* these alone */

/* "conv2d [1, 3, 5, 5] [16, 3, 3, 3], stride 1 1, ..." into a buffer that the next call reuses. */
const char *t_case_text(const t_case *c);

#endif
