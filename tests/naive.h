/* SPDX-License-Identifier: MIT */
/* What every op means: its value in double precision, written as plainly as its formula, on row-major arrays. The tests hold the
 * engine's values, and by differences its derivatives, against it. */
#ifndef TESTS_NAIVE_H
#define TESTS_NAIVE_H

#include "engine/op.h"

typedef struct naive_call {
    const en_attr *attr;
    int inputs;
    en_shape in[EN_MAX_INPUTS];
    const double *x[EN_MAX_INPUTS];
    en_shape out; /* set by the function, from its own reading of the shapes */
    double *y;    /* NULL: only the shape is wanted                          */
} naive_call;

typedef void naive_fn(naive_call *c);

/* Weak, so that an op without a naive version is NULL in the table and fails a test by name instead of the link. */
#define OP(name, arguments, shapes, formula) __attribute__((weak)) naive_fn naive_##name;
#include "engine/ops.def"
#undef OP

/* The function for an op of that name, or NULL. */
naive_fn *naive_find(const char *op);

#endif
