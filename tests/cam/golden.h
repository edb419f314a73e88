/* SPDX-License-Identifier: MIT */
/* What the tests of whole networks share: opening them, asking for maps, and comparing with golden files. A golden file says what a
 * double-precision run gives and how far PyTorch's own float32 is from it; tests/golden/README.md has its format and the yardstick
 *
 *     L2 error  <=  4 * (f32err[2] + spread)  +  2e-6 * f32err[3] */
#ifndef TESTS_CAM_GOLDEN_H
#define TESTS_CAM_GOLDEN_H

#include "cam/methods.h"
#include "cam/shapleycam.h"
#include "tests/test.h"
#include "weights/json.h"
#include "weights/store.h"

/* True under sanitizers that have memory of their own and make everything many times slower. */
#if defined __has_feature
#define T_HAS(what) __has_feature(what)
#else
#define T_HAS(what) 0
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__ || T_HAS(address_sanitizer) || T_HAS(thread_sanitizer) ||          \
    T_HAS(undefined_behavior_sanitizer)
#define T_SANITIZED 1
#else
#define T_SANITIZED 0
#endif

/* ---- golden files ---- */

typedef struct t_golden {
    wt_store *store;
    uint64_t image_seed;
    int classes[2]; /* the best one, then 281                          */
    size_t thin;    /* 1 in a full file: how much more an extract skips */
} t_golden;

void t_golden_open(const char *path, t_golden *out);
void t_golden_close(t_golden *g);

/* The golden file of other methods and games of a seeded network: whole where it lies beside the checkout, otherwise its extract. */
void t_golden_methods(const char *net, t_golden *out);

/* An entry as doubles; the caller frees. Fails the test if there is none. */
double *t_golden_read(const t_golden *g, const char *name, size_t *count);

/* L2 error divided by its bound, of x, the whole array with n numbers. Infinite for NaN, and for any error where the bound is 0. */
double t_golden_ratio(const t_golden *g, const char *name, const double *x, size_t n);

/* Calls see() for every number, string and truth value of a JSON file; `where` is its place: "images/dog.png/top5/0/prob". */
void t_json_each(const char *path, void (*see)(void *arg, const char *where, const wt_json_token *value), void *arg);

/* ---- networks ---- */

/* Opens or fails the test. weights NULL: "seeded". */
cam_net *t_net(const char *name, const char *weights);
cam_ctx *t_ctx(const cam_net *net, int threads);
cam_request t_request(const char *method, const char *utility, const char *layer, int cls);

/* A batch of seeded images, with seeds first, first + 1, ..; the caller frees the numbers. */
cam_input t_images(uint64_t first, int n, int height, int width);

void t_explain(cam_ctx *ctx, cam_input in, const cam_request *requests, int count, cam_result *results);

/* FNV-1a, going on from `hash` (T_HASH to begin). */
#define T_HASH 0xCBF29CE484222325u
uint64_t t_hash(uint64_t hash, const void *bytes, size_t size);

/* The call must fail with this CAM_E_ status, and a message that contains this text. */
#define CAM_FAILS(call, e, want, part)                                                                                             \
    t_check_fails((en_status)(call), (const en_error *)&(e), (en_status)(want), (part), #call, __FILE__, __LINE__)

/* ---- formulas ---- */

/* The raw map of a method straight from its definition, in double; terms[s] is the sum of the absolute values of what was added up
 * at position s. False: no such method here. */
int t_formula(const char *method, const cam_site *site, double *map, double *terms);

double *t_doubles(const float *x, size_t n); /* the caller frees */
double t_norm(const float *x, size_t n);
double t_dot(const float *x, const float *y, size_t n);

#endif
