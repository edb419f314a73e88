/* SPDX-License-Identifier: MIT */
/* What the sweeps of kernels share: buffers between guards, arithmetic as an instruction set has it, and the epilogue in scalars. Memory that a
 * kernel has no business with is NaN: gaps between rows, lanes past the depth, guards around each buffer. */
#ifndef TESTS_ENGINE_KERNELS_SCALAR_H
#define TESTS_ENGINE_KERNELS_SCALAR_H

#include "engine/kernels/kernels.h"
#include "tests/test.h"

enum { GUARD = 32 };

/* An output or input of n floats with guards; all NaN at first. */
typedef struct buffer {
    float *memory, *at;
    size_t n;
} buffer;

buffer buffer_new(size_t n);
buffer buffer_random(size_t n);
buffer buffer_copy(const buffer *from);
/* Frees both. */
void check_same(const char *what, buffer got, buffer want);
/* a * b + c as this instruction set has it: only the base set of x86-64 rounds twice. */
float multiply_add(const kn_table *k, float a, float b, float c);
/* The sum over lanes, in the order that kernels have. */
float sum16(const float *x);
/* The smooth ones are the kernel's own: fused and alone must agree to the bit, and activate is held against the formulas below. */
float act(const kn_table *k, kn_act a, float x);
/* The documented epilogue: y = act(scale * (sum + bias) + shift + residual), for channel o and place `at` of the output. */
float finish(const kn_table *k, const kn_epilogue *e, float sum, size_t o, ptrdiff_t at, int biased);

/* Which steps an epilogue has. */
typedef struct steps {
    int bias, biased, affine;
    enum { NO_RESIDUAL, RESIDUAL, IN_PLACE } residual;
    kn_act act;
} steps;

/* An epilogue and the buffers behind it. */
typedef struct ending {
    buffer bias, scale, shift, residual;
    kn_epilogue e;
} ending;

ending ending_of(const steps *s, size_t channels, const buffer *out);
void ending_free(ending *x);
/* Every combination of steps. */
void each_epilogue(const kn_table *k, int rows, void (*try)(const kn_table *, const steps *));

/* Of linear.c and winograd.c, for the tests of kernels.def. */
void sweep_linear(const kn_table *k);
void sweep_linear_t(const kn_table *k);
void sweep_winograd_filter(const kn_table *k);
void sweep_winograd_product(const kn_table *k);
void sweep_winograd_input(const kn_table *k);
void sweep_winograd_output(const kn_table *k);

#endif
