/* SPDX-License-Identifier: MIT */
/* Inside of the public types. */
#ifndef CAM_INTERNAL_H
#define CAM_INTERNAL_H

#include "cam/final.h"
#include "cam/methods.h"
#include "cam/shapleycam.h"
#include "cam/utility.h"
#include "nets/labels.h"
#include "nets/remap.h"

struct cam_net {
    const net_arch *arch;
    net_seeded seeded;   /* net NULL if the weights are real */
    wt_store *store;     /* NULL if they are seeded          */
    net_view view;       /* of the store, under our names    */
    en_params *params;
    net_model shape;     /* the network for one usual input, to name its layers; never run */
    int classes;
    net_labels labels;   /* [classes] */
    net_recipe recipe;   /* how the weights want their pictures prepared */
    char *weights;       /* how the user knows them */
};

/* One distinct (layer, utility, class) of the requests: what one seed of a reverse pass stands for. */
typedef struct cam_pair {
    int layer;
    cam_aim aim;         /* class and rival as in cam_request        */
    int hvp, each;       /* whether any request needs the second order, and either at each position */
    float *gradient, *hvp_activation; /* [n][C,H,W], the call's; NULL if not needed */
    float *gradient_mean, *hvp_mean;  /* [n][C], over positions                     */
} cam_pair;

/* A layer that is explained. */
typedef struct cam_site_layer {
    char name[96];       /* in full                        */
    en_ref ref;          /* the same in every graph of the network */
    int cut;             /* in the graph                   */
    float *activation;   /* [n][C,H,W], the call's         */
    int c, h, w;
    int skip;            /* tokens in front that are no position */
} cam_site_layer;

enum {
    CAM_MAX_LAYERS = EN_MAX_CUTS,
    CAM_MAX_JOINED = 8, /* layers of one request                                        */
    CAM_SEEDS = 8       /* pairs in one reverse pass                                    */
};

/* A request, resolved, and its maps. */
typedef struct cam_job {
    const cam_method *method;
    int layers;                                      /* how many, usually 1                */
    int layer[CAM_MAX_JOINED], pair[CAM_MAX_JOINED]; /* indices; pair -1 if no derivative is needed */
    char layer_name[96 * CAM_MAX_JOINED];            /* as the request had it              */
    cam_aim aim;         /* class and rival as in cam_request */
    uint64_t seed;
    uint32_t flags;
    int h, w;            /* of the raw map           */
    double *raw;         /* [n][h,w], the call's      */
    float *map;          /* [n][height,width], the call's */
    float *pixels;       /* [n][3,height,width] of guided backpropagation, the call's; otherwise NULL */
    cam_result *result;  /* [n], the call's           */
} cam_job;

/* Logits of a network that was tried with each channel of a layer in turn (perturb.h). */
typedef struct cam_trials {
    struct cam_trials *next;
    unsigned kind;       /* CAM_SCORE, CAM_ABLATION and perhaps CAM_FAR_BELOW */
    int layer;
    float logits[];      /* [C][classes] */
} cam_trials;

/* Memory of one call's results. */
typedef struct cam_room {
    struct cam_room *next;
    size_t bytes;
    int taken;
    _Alignas(64) char data[];
} cam_room;

struct cam_ctx {
    const cam_net *net;
    en_pool *pool;
    cam_ctx *outer;      /* whose pool this is, NULL if it is this context's own */
    cam_ctx *inner;      /* for methods that explain other inputs; made when first wanted */
    net_model model;     /* finished, for the input's size and the layers below */
    int seeds, first_order;
    int exact;           /* CAM_EXACT */
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
    cam_trials *trials;  /* of the image whose maps are being made */
    int explained;       /* the last call explained          */
    cam_room *rooms;     /* of all that cam_take gave        */
};

/* ---- context.c: graphs and what they leave ---- */

/* Makes the context's graph fit the input's size and these layers; keeps the one it has if it does. seeds: pairs in one reverse pass. */
en_status cam_fit_graph(cam_ctx *ctx, cam_input in, const cam_site_layer *layers, int count, int seeds, int first_order, en_error *e);

/* That there is at least one image. */
en_status cam_check_input(cam_input in, en_error *e);

/* One forward pass; afterwards ctx->logits and ctx->top are there. With cut >= 0 tangents along the activation ride along. */
en_status cam_run_forward(cam_ctx *ctx, cam_input in, int cut, en_error *e);

/* Makes ctx->tail a graph of n images, cut 0 being the layer, of which only the tail can run. */
en_status cam_fit_tail(cam_ctx *ctx, const cam_site_layer *layer, int n, en_error *e);

/* Memory, not cleared, until the results are forgotten; NULL if there is none. The next call gets the same again: to have the system clear new pages
 * for every map would cost a small network a twentieth of its time. */
void *cam_take(cam_ctx *ctx, size_t bytes);
void cam_forget_results(cam_ctx *ctx);

/* The class that a selector means for an image of the last forward pass, and the aim with both of its classes. */
int cam_class_of(const cam_ctx *ctx, int image, int cls);
cam_aim cam_aim_of(const cam_ctx *ctx, int image, cam_aim aim);

/* Floats of all images of a layer's activation, [n][C,H,W]. */
size_t cam_layer_floats(const cam_ctx *ctx, int layer);

/* A job of the last cam_explain, NULL if image or request do not exist. */
const cam_job *cam_job_at(const cam_ctx *ctx, int32_t image, int32_t request);

/* ---- explain.c ---- */

/* Writes gradient and, for order 2, Hessian-vector product of an aim at the logits into a seed of the reverse pass. */
void cam_fill_seed(cam_ctx *ctx, cam_aim aim, int seed, int order);

/* ---- what makes the maps of the other kinds; raw maps of a job are [n][h,w], all images at once ---- */

en_status cam_whole_maps(cam_ctx *ctx, cam_job *job, en_error *e);                                   /* whole.c    */
en_status cam_factor_map(cam_ctx *ctx, const cam_job *job, int k, int image, double *raw, en_error *e); /* of its layer k, factors.c */
en_status cam_scales_map(cam_ctx *ctx, const cam_job *job, cam_input in, int image, double *raw, en_error *e); /* variants.c */
/* The mean of the final maps of six variants of the input. */
en_status cam_augmented_map(cam_ctx *ctx, const cam_job *job, cam_input in, int image, double *raw, en_error *e); /* variants.c */

/* ---- maps.c ---- */

/* From activations and derivatives to the maps and results of all jobs. */
en_status cam_make_maps(cam_ctx *ctx, cam_input in, cam_result *results, en_error *e);

/* The public error and statuses are the engine's. */
_Static_assert(sizeof(cam_error) == sizeof(en_error) && CAM_E_CANCELLED == (int)EN_E_CANCELLED, "one error, two names");
static inline en_error *cam_engine_error(cam_error *e) { return (en_error *)e; }

#endif
