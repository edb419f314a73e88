/* SPDX-License-Identifier: MIT */
/* CAM methods: each is a row of a table. From the activation A[k,s] of the target layer (channel k, position s), the gradient G of
 * the utility and the product HA of its Hessian with A, a method makes one number for each position:
 *
 *     M[s] = sum over k of  P[k,s],    P[k,s] = W[k,s] A[k,s]  or  max(W[k,s] A[k,s], 0)
 *
 * where the weights W come from a field of A, G and HA, taken as they are, or pooled over the positions of each channel (a linear field's mean is the
 * field of the means of G and HA, which are all it then gets). Some methods
 * project the channels of P on their first principal component instead of adding them up. A few look at something else than one layer, or
 * more than once: they have a kind of their own, and a source file. */
#ifndef CAM_METHODS_H
#define CAM_METHODS_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

/* What a method sees. Arrays are [channels, positions], means over positions [channels]; what the method does not need may be NULL. */
typedef struct cam_site {
    const float *a, *g, *h;
    const float *g_mean, *h_mean;
    size_t channels, positions;
    const double *weights; /* one per channel, for methods that find them by trying */
    uint64_t stream;    /* of random numbers, for the method that draws its weights */
} cam_site;

typedef enum cam_pooling { CAM_KEEP, CAM_MEAN, CAM_SUM } cam_pooling;
typedef enum cam_products { CAM_SIGNED, CAM_POSITIVE } cam_products;

/* From products to map: their sum; the first principal component; the same, turned so that the value of largest magnitude is positive; the
 * first component of kernel PCA. */
typedef enum cam_combination { CAM_ADD, CAM_PRINCIPAL, CAM_PRINCIPAL_TURNED, CAM_KERNEL } cam_combination;

/* Of one channel's activation over positions; the deviation is the population's. */
typedef struct cam_channel {
    double sum, mean, deviation;
} cam_channel;

enum { CAM_GRAD = 1, CAM_HVP = 2, CAM_ABLATION = 4, CAM_SCORE = 8, CAM_FAR_BELOW = 16 /* an ablated channel becomes min A - 1e7 */ };

/* What a method's map is made from. */
typedef enum cam_kind {
    CAM_LAYER,    /* products at a layer; of several layers, the mean of their scaled maps (maps.c)      */
    CAM_REFINED,  /* the same, but the product of their final maps (maps.c)                               */
    CAM_SCALES,   /* final maps of the same method on parts of the enlarged input (variants.c)            */
    CAM_FACTORS,  /* a factorisation of the activation (factors.c)                                        */
    CAM_FULLGRAD, /* gradients at the input and at every constant term of the network (whole.c)           */
    CAM_GUIDED    /* the gradient at the input by a rule of its own (whole.c)                             */
} cam_kind;

typedef struct cam_method {
    const char *name;
    cam_kind kind;
    void (*field)(const cam_site *site, size_t k, const cam_channel *channel, double *out); /* of channel k, [positions] */
    cam_pooling pooling;
    cam_products products;
    cam_combination combination;
    unsigned needs;          /* CAM_GRAD, ..                                             */
    int utility;             /* the cam_utility that it comes with, -1 for the caller's  */
    const char *first_order; /* the method that it is where the Hessian vanishes, or NULL */
    const char *where_flat;  /* the method that it is where G and HA are constant over positions, or NULL */
    const char *source;
} cam_method;

/* Whether the map depends on a class; whether the method looks at the whole network, whatever layer is asked for. */
int cam_method_has_class(const cam_method *m);
int cam_method_is_whole(const cam_method *m);

/* Number i of the table, NULL past its end; by name (case, '-', '_' do not count, '+' reads as p). */
const cam_method *cam_method_at(int i);
const cam_method *cam_method_find(const char *name);

/* The raw map, [positions], in double. `smooth`: the first principal component of the products takes the place of their sum (eigen
 * smoothing). */
en_status cam_method_map(const cam_method *m, const cam_site *site, int smooth, double *map, en_error *e);

#endif
