/* SPDX-License-Identifier: MIT */
/* Shapley values of a game of n players with worth v(S) for each coalition S (Shapley 1953):
 *
 *     phi_i = sum over S without i of  |S|! (n-|S|-1)! / n!  (v(S + i) - v(S))
 *
 * which is also the mean, over all orders in which the players may come, of what the worth changes by when i comes. Exact from the worths
 * of all 2^n coalitions, or sampled from orders, each used forwards and backwards: for a game that is nearly quadratic the errors of the
 * two nearly cancel (antithetic sampling, arXiv:2104.12199). */
#ifndef CAM_SHAPLEY_H
#define CAM_SHAPLEY_H

#include "engine/status.h"

#include <stdint.h>

enum { CAM_EXACT_PLAYERS = 20, CAM_MAX_PLAYERS = 1 << 16 };

/* A coalition is a set of bits, player p being bit p % 64 of word p / 64. */
static inline int cam_coalition_words(int players) { return (players + 63) / 64; }

typedef struct cam_game {
    int players;
    void *self;
    /* Worths of `count` coalitions, one after another, at most `batch` of them. */
    en_status (*worths)(void *self, const uint64_t *coalitions, int count, double *worth, en_error *e);
    int batch;
    /* For a game that knows faster ways, otherwise NULL. All 2^players worths, by mask; and the worths along `count` orders: worth
     * [count][players + 1] of the first 0, 1, .. players of an order. */
    en_status (*all)(void *self, double *worth, en_error *e);
    en_status (*along)(void *self, const int *orders, int count, double *worth, en_error *e);
} cam_game;

/* Values, [players], from all worths, [2^players], by mask. */
void cam_shapley_of_worths(const double *worth, int players, double *values);

/* Values of at most CAM_EXACT_PLAYERS players. ends: worth of nobody, worth of all. */
en_status cam_shapley_exact(const cam_game *game, double *values, double ends[2], en_error *e);

typedef struct cam_sampling {
    int64_t pairs;  /* of orders at most, at least 2                                             */
    double error;   /* stops before that when no player's standard error is larger; 0: does not  */
    uint64_t seed;  /* its low 32 bits count                                                     */
} cam_sampling;

/* Values, and standard errors of their means over pairs. *pairs: how many were drawn. For at least 2 players. */
en_status cam_shapley_sampled(const cam_game *game, const cam_sampling *s, double *values, double *errors, double ends[2], int64_t *pairs, en_error *e);

/* Order number i: the players by ascending uniform("permutation", i), see weights/seeded.h; equal ones by number. `keys` has room for as many. */
void cam_shapley_order(uint64_t i, int players, uint64_t *keys, int *order);

#endif
