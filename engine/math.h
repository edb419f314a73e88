/* SPDX-License-Identifier: MIT */
/* exp and log in double, our own because the C library's differ in the last bit from one processor and version to the next, and results
 * here must not. Both are within 1 unit in the last place; special values as in C. */
#ifndef ENGINE_MATH_H
#define ENGINE_MATH_H

double en_exp(double x);
double en_log(double x);

/* out[i] = exp(x[i] - less) for n numbers, the same bits about twice as fast. `out` does not overlap x. */
void en_exps(const float *x, int n, double less, double *out);

#endif
