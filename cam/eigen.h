/* SPDX-License-Identifier: MIT */
/* First principal components of maps. */
#ifndef CAM_EIGEN_H
#define CAM_EIGEN_H

#include "engine/status.h"

#include <stddef.h>

/* Projects the channels of P, [channels][positions], on their first principal component: with X[s,k] = P[k,s] - mean over s and v the right
 * singular vector of the largest singular value of X,  map[s] = sum over k of X[s,k] v[k].
 *
 * The sign of v is arbitrary; here it is the one for which the map agrees with the plain sum of the channels, sum over s of
 * map[s] (sum over k of P[k,s] - mean) >= 0, and on an exact tie the entry of largest magnitude is positive. */
en_status cam_project(const double *p, size_t channels, size_t positions, double *map, en_error *e);

/* Kernel PCA (arXiv:2410.00267): the same with the kernel tanh(gamma x y + 1), gamma = 1 / channels, centred; the entry of largest magnitude is
 * positive. EN_E_ARG if the largest eigenvalue is negative, for this kernel may have such. */
en_status cam_project_kernel(const double *p, size_t channels, size_t positions, double *map, en_error *e);

#endif
