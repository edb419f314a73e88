/* SPDX-License-Identifier: MIT */
/* Inside of the public types. */
#ifndef CAM_INTERNAL_H
#define CAM_INTERNAL_H

#include "cam/methods.h"
#include "cam/shapleycam.h"
#include "cam/utility.h"
#include "nets/nets.h"

struct cam_net {
    const net_arch *arch;
    net_seeded seeded;   /* net NULL if the weights are real */
    wt_store *store;     /* NULL if they are seeded          */
    en_params *params;
    net_model shape;     /* the network for one usual input, to name its layers; never run */
    int classes;
    char *weights;       /* how the user knows them */
};

/* One distinct (layer, utility, class) of the requests: what one seed of a reverse pass stands for. */
typedef struct cam_pair {
    int layer;
    cam_utility utility;
    int cls;             /* as in cam_request                        */
    int hvp;             /* whether any request needs the second order */
    float *gradient, *hvp_activation; /* [n][C,H,W], owned           */
    double *value;       /* [n], owned                               */
} cam_pair;

/* A layer that is explained. */
typedef struct cam_site_layer {
    char name[96];       /* in full                        */
    en_ref ref;          /* the same in every graph of the network */
    int cut;             /* in the graph                   */
    float *activation;   /* [n][C,H,W], owned              */
    int c, h, w;
    int skip;            /* tokens in front that are no position */
} cam_site_layer;

/* A request, resolved, and its maps. */
typedef struct cam_job {
    const cam_method *method;
    int layer, pair;     /* indices; pair -1 if no derivative is needed */
    char layer_name[96]; /* as the request had it */
    cam_utility utility;
    int cls;
    uint64_t seed;
    int smooth;          /* eigen smoothing          */
    double *raw;         /* [n][h,w], owned          */
    float *map;          /* [n][height,width], owned */
    cam_result *result;  /* [n], owned               */
} cam_job;

enum { CAM_MAX_LAYERS = EN_MAX_CUTS, CAM_SEEDS = 8 /* pairs in one reverse pass */ };

struct cam_ctx {
    const cam_net *net;
    en_pool *pool;
    int exact;           /* CAM_EXACT                       */
    net_model model;     /* finished, for the input's size and the layers below */
    int n, height, width;
    net_model tail;      /* of cam_tail: the same, for another batch */
    en_ref tail_layer;
    int tail_n, tail_height, tail_width;
    cam_site_layer layers[CAM_MAX_LAYERS];
    int layer_count;
    cam_pair *pairs;
    int pair_count;
    cam_job *jobs;
    int job_count;
    float *logits;       /* [n][classes]                     */
    int32_t *top;        /* [n][ranks], best first           */
    int ranks;
    int explained;       /* the last call explained          */
};

/* The class that a selector means for an image of the last forward pass. */
int cam_class_of(const cam_ctx *ctx, int image, int cls);

/* Makes ctx->tail a graph of n images, cut 0 being the layer, of which only the tail can run. */
en_status cam_fit_tail(cam_ctx *ctx, const cam_site_layer *layer, int n, en_error *e);

/* The public error and statuses are the engine's. */
_Static_assert(sizeof(cam_error) == sizeof(en_error) && CAM_E_CANCELLED == (int)EN_E_CANCELLED, "one error, two names");
static inline en_error *cam_engine_error(cam_error *e) { return (en_error *)e; }

#endif
