/* SPDX-License-Identifier: MIT */
/* The game whose logits are sums: o(S) = o(nobody) + sum over i in S of z_i, worth v(S) = u(o(S)). Most utilities depend on o_c and
 * L = log sum exp(o) alone, and exponentials of sums are products of exponentials:
 *
 *     all coalitions   halves A and B of the players:  exp L(S) = sum over k of  E_A[S in A, k] E_B[S in B, k],
 *                      a dot product for each of the 2^n, after only 2 * 2^(n/2) rows of exponentials
 *     along an order   w_k *= exp z_ik  for the player i who comes, exp L = sum over k of w_k
 *
 * Factors are scaled to at most 1 (logarithms of the scales are carried along), so nothing overflows, and what becomes 0 does not count
 * beside a sum above 1e-200; a sum below that is made anew from the logits. Utilities of other logits are taken at each coalition's. */
#ifndef CAM_ADDITIVE_H
#define CAM_ADDITIVE_H

#include "cam/shapley.h"
#include "cam/utility.h"
#include "engine/pool.h"

#include <stddef.h>

typedef struct cam_additive {
    int players, classes;
    cam_aim aim;
    en_pool *pool;
    size_t row;     /* classes, rounded up to whole lanes                           */
    double *empty;  /* [classes] o(nobody)                                          */
    double *z;      /* [players][classes]                                           */
    double *factor; /* [players][row] exp(z - the largest of them), padded with 0   */
    double *most;   /* [players] that largest                                       */
} cam_additive;

/* Allocates for these sizes; the caller then writes empty and z. cam_additive_free is fine after a failure. */
en_status cam_additive_new(int players, int classes, en_pool *pool, cam_additive *out, en_error *e);
void cam_additive_free(cam_additive *a);

/* The game for one utility and class. It reads `a`, and is the only one of it at a time. */
cam_game cam_additive_game(cam_additive *a, cam_aim aim);

#endif
