/* SPDX-License-Identifier: MIT */
/* shapleycam: explain what an image classifier saw.
 *
 *     cam_net *net;  cam_ctx *ctx;  cam_image *photo;  cam_error e;
 *     cam_net_open("mobilenet_v2", "mobilenet_v2.safetensors", &net, &e);
 *     cam_ctx_new(net, NULL, &ctx, &e);
 *     cam_image_open(net, "dog.jpg", "native", &photo, &e);
 *
 *     cam_request want = {.size = sizeof want, .method = "shapleycam", .utility = "rest", .layer = "pre_pool", .cls = CAM_TOP1};
 *     cam_result got;
 *     cam_explain(ctx, cam_image_input(photo), &want, 1, &got, &e);
 *     printf("class %d, probability %.3f\n", got.cls, got.probability);
 *     const float *map = cam_map(ctx, 0, 0);              224 x 224 numbers from 0 to 1
 *
 * Every function that can fail returns a status and leaves one line in the cam_error (which may be NULL): what failed, where, and what was
 * wanted. Nothing prints, exits, aborts or keeps global state. A cam_net may be used by any number of threads at once; a cam_ctx
 * belongs to one thread at a time. Results have the same bits for any number of threads, any position in a batch, and on any processor with
 * fused multiply-add. Strings are UTF-8; pointers that are returned belong to the object that returned them and live as long as it does. */
#ifndef SHAPLEYCAM_H
#define SHAPLEYCAM_H

#include <stddef.h>
#include <stdint.h>

#if defined __GNUC__
#define CAM_API __attribute__((visibility("default")))
#else
#define CAM_API
#endif

typedef int32_t cam_status;
enum {
    CAM_OK = 0,
    CAM_E_ARG = -1,         /* something that does not exist or does not fit was asked for */
    CAM_E_NOMEM = -2,
    CAM_E_IO = -3,
    CAM_E_FORMAT = -4,      /* a file is not what it claims to be           */
    CAM_E_UNSUPPORTED = -5,
    CAM_E_NONFINITE = -6,
    CAM_E_LIMIT = -7,
    CAM_E_CANCELLED = -8
};

typedef struct cam_error {
    cam_status status;
    char text[512];
} cam_error;

CAM_API const char *cam_version(void);
CAM_API const char *cam_build(void);           /* the compiler                                                  */
CAM_API const char *cam_instruction_set(void); /* of the kernels in use: avx512, avx2, base (EN_ISA=name asks for a lesser one) */

/* ---- what there is ---- */

/* Name number i of a kind: "nets", "methods", "utilities". NULL past the end. */
CAM_API const char *cam_list(const char *kind, int32_t i);

/* An ImageNet class by its index: WordNet id and name; both empty outside 0 .. 999. */
typedef struct cam_class {
    char wnid[12], name[48];
} cam_class;
CAM_API cam_class cam_class_at(int32_t index);

/* A class by decimal index, WordNet id or name; part of a name will do if no other class has it. */
CAM_API cam_status cam_class_find(const char *text, int32_t *index, cam_error *e);

/* ---- a network with its weights ---- */

typedef struct cam_net cam_net;

/* What weights may be given as: a network without any, which can name its layers and prepare pictures but not run. */
#define CAM_NO_WEIGHTS "none"

/* name: as cam_list("nets") has it, or torchvision's or timm's long name. weights: a .safetensors or .pth file; "seeded" or "seeded:N" for made-up
 * stand-ins that know nothing; NULL to look where users keep them ($CAM_WEIGHTS, weights/ beside the program, the user's data folder,
 * torch's and Hugging Face's caches). CAM_E_IO if there are none; cam_weights_wanted then tells what was looked for. */
CAM_API cam_status cam_net_open(const char *name, const char *weights, cam_net **out, cam_error *e);

/* What else may be said of weights; NULL and 0 say nothing. */
typedef struct cam_net_options {
    uint32_t size;       /* sizeof(cam_net_options)                                                                 */
    const char *classes; /* a text file, a line NAME or ID<tab>NAME for each logit                                  */
    const char *map;     /* a text file, a line OLD NEW for each tensor that the network knows under another name;
                          * names that end in a dot stand for all below them; NEW may be -: leave it out            */
    const char *strip;   /* a prefix of tensors' names to take off                                                  */
    int32_t defer;       /* 1: check names and shapes now, and read the numbers when they are first used            */
} cam_net_options;

/* The same. name may be "auto": the network whose tensors the file holds. The number of classes is the checkpoint's. Their names: those of
 * `classes`, else those in a .camw, else ImageNet's if there are 1000, else "class 0", "class 1" .. How pictures are prepared: as a .camw
 * says, else as the official weights of the network want it. */
CAM_API cam_status cam_net_open_with(const char *name, const char *weights, const cam_net_options *options, cam_net **out, cam_error *e);
CAM_API void cam_net_close(cam_net *net); /* NULL is fine; no context of it may be in use */

/* The places that cam_net_open searches for a network's weights, one per line. The caller frees. NULL: unknown network, or out of memory. */
CAM_API char *cam_weights_wanted(const char *name);

CAM_API const char *cam_net_name(const cam_net *net);    /* the short name                      */
CAM_API const char *cam_net_weights(const cam_net *net); /* the file in use, or "seeded:N"      */
CAM_API int32_t cam_net_seeded(const cam_net *net);      /* 1 if the weights are made-up        */
CAM_API int32_t cam_net_classes(const cam_net *net);

/* A class of this network: its name; its id (a WordNet id), "" if it has none. Both are "" for an index outside. */
CAM_API const char *cam_net_class_name(const cam_net *net, int32_t index);
CAM_API const char *cam_net_class_id(const cam_net *net, int32_t index);
/* As cam_class_find, among the classes of this network. */
CAM_API cam_status cam_net_class_find(const cam_net *net, const char *text, int32_t *index, cam_error *e);

/* Layer number i in order of evaluation, with its output's channels, height and width for the usual input. NULL past the end. */
CAM_API const char *cam_net_layer(const cam_net *net, int32_t i, int32_t chw[3]);
/* The name that "pre_pool" or "conv" stands for; other names come back as they are. */
CAM_API const char *cam_net_layer_name(const cam_net *net, const char *layer);

/* ---- pictures ---- */

typedef struct cam_image cam_image;

/* A batch of network inputs: [n, 3, height, width], normalised. */
typedef struct cam_input {
    const float *nchw;
    int32_t n, height, width;
} cam_input;

/* Decodes JPEG, PNG, BMP or PNM and prepares it as `preprocess` says: "native" (what the weights were trained with), "paper", or
 * WIDTHxHEIGHT:bilinear|bicubic|none. max_pixels caps width * height (0: 268 million). */
CAM_API cam_status cam_image_open(const cam_net *net, const char *path, const char *preprocess, cam_image **out, cam_error *e);
CAM_API cam_status cam_image_decode(const cam_net *net, const void *bytes, size_t size, size_t max_pixels, const char *preprocess, cam_image **out,
                                    cam_error *e);
/* The picture that is built in: an orange and a green apple. */
CAM_API cam_status cam_image_sample(const cam_net *net, const char *preprocess, cam_image **out, cam_error *e);
/* Ready inputs: a .npy file, float32 [3,H,W] or [N,3,H,W]; or "seeded-image:N". They have no photograph to draw on but themselves. */
CAM_API cam_status cam_image_tensor(const cam_net *net, const char *file, cam_image **out, cam_error *e);
CAM_API void cam_image_free(cam_image *image);
CAM_API cam_input cam_image_input(const cam_image *image);
/* The pixels that the network sees, [height, width, 3]; and the whole photograph's size. */
CAM_API const uint8_t *cam_image_pixels(const cam_image *image, int32_t photo_size[2]);

/* ---- running and explaining ---- */

typedef struct cam_ctx cam_ctx;

typedef struct cam_options {
    uint32_t size;   /* sizeof(cam_options) */
    int32_t threads; /* 0: one per usable processor */
    uint32_t flags;  /* CAM_EXACT                   */
} cam_options;

enum { CAM_EXACT = 1 }; /* every convolution as its formula says, without Winograd's, which multiplies less and rounds somewhat more */

CAM_API cam_status cam_ctx_new(const cam_net *net, const cam_options *options, cam_ctx **out, cam_error *e); /* options may be NULL */
CAM_API void cam_ctx_free(cam_ctx *ctx);

/* Class selectors besides indices. */
enum { CAM_TOP1 = -1 }; /* -2 is the second, and so on */

/* One explanation that is wanted of each image of a batch. */
typedef struct cam_request {
    uint32_t size;       /* sizeof(cam_request)                                              */
    const char *method;  /* cam_list("methods")                                              */
    const char *utility; /* cam_list("utilities")                                            */
    const char *layer;   /* "pre_pool", "conv", or a layer's name; several joined with '+' make one map (refinecam:
                          * the product, else the mean). fullgrad and guidedbackprop always start at the input */
    int32_t cls;         /* index, or CAM_TOP1, ..                                           */
    uint64_t seed;       /* for methods that draw random numbers: the same for every image   */
    uint32_t flags;      /* CAM_WITH_HVP, ..                                                 */
    int32_t rival;       /* with CAM_AGAINST: the class that the utility contrast compares with, like cls */
} cam_request;

enum {
    CAM_WITH_HVP = 1,     /* find H A and G at each position, for cam_hvp_activation and cam_gradient, although the
                           * method does without: what takes means over positions can often have those for less  */
    CAM_EIGEN_SMOOTH = 2, /* project products on their first principal component instead of adding them up; a
                           * method that does so anyway stays as it is                                       */
    CAM_AUG_SMOOTH = 4,   /* the mean of the final maps of six variants of the input: as it is and mirrored, times
                           * 0.9, 1 and 1.1; all explain the class of the input as it is                     */
    CAM_AGAINST = 8,      /* rival counts; without it contrast compares with the strongest other class       */
    CAM_WITH_GRADIENT = 16 /* find G at each position, likewise                                              */
};

/* What a map says. CAM_MAP_BLANK: no position speaks for the class. CAM_MAP_CONSTANT: all positions say the same. */
enum { CAM_STATUS_OK, CAM_STATUS_BLANK, CAM_STATUS_CONSTANT, CAM_STATUS_NONFINITE };

typedef struct cam_result {
    int32_t status;           /* CAM_STATUS_*                                                                      */
    int32_t cls;              /* the class that was explained                                                      */
    int32_t height, width;    /* of the raw map: the layer's; the input's where several layers or inputs are joined */
    float logit, probability;
    double utility;           /* its value                                                                         */
    double positive, negative;/* sums of the raw map's positive and negative values (the latter without sign)       */
    double hvp_ratio;         /* |H A| / |G|, of means over positions for a method that uses those; 0 where the Hessian
                               * vanishes; -1 if the method does not use it                                        */
    int32_t hvp_zero;         /* 1: the Hessian is zero by construction: utility and tail are (piecewise) linear    */
    const char *same_as;      /* another method that gives the same map here by construction, or NULL               */
    const char *because;      /* why, in words, or NULL                                                            */
} cam_result;

/* One forward pass: logits [n, classes]. */
CAM_API cam_status cam_forward(cam_ctx *ctx, cam_input input, float *logits, cam_error *e);

/* One forward pass, then for all requests together the fewest sweeps over the part of the network behind each layer. results is
 * [n, requests]. What the functions below return belongs to the context and lives until its next call of cam_forward or cam_explain. */
CAM_API cam_status cam_explain(cam_ctx *ctx, cam_input input, const cam_request *requests, int32_t count, cam_result *results, cam_error *e);

CAM_API const float *cam_logits(const cam_ctx *ctx, int32_t image);                  /* [classes]                                     */
CAM_API const float *cam_map(const cam_ctx *ctx, int32_t image, int32_t request);    /* final, [input height, input width], 0 .. 1    */
CAM_API const double *cam_raw_map(const cam_ctx *ctx, int32_t image, int32_t request); /* before ReLU, scaling and resize              */
/* Activation A, gradient G, and product H A of the request's (first) layer, utility and class: [C,H,W] in chw; NULL if it was not needed
 * at each position (CAM_WITH_GRADIENT, CAM_WITH_HVP). Of guidedbackprop the gradient at the input by its own rule. */
CAM_API const float *cam_activation(const cam_ctx *ctx, int32_t image, int32_t request, int32_t chw[3]);
CAM_API const float *cam_gradient(const cam_ctx *ctx, int32_t image, int32_t request);
CAM_API const float *cam_hvp_activation(const cam_ctx *ctx, int32_t image, int32_t request);

/* Hessian-vector product of a request's utility at its layer, in any direction: vector and product are [n,C,H,W] (of a
 * transformer with a class token: [n,C,tokens], the class token first), for the images and
 * requests of the last cam_explain, of which the first for this layer must have needed a gradient. */
CAM_API cam_status cam_hvp(cam_ctx *ctx, int32_t request, const float *vector, float *product, cam_error *e);

/* A request's product H A found in two other ways: by differences of gradients along A, which is a check of the second order, and where the
 * layer's tail is affine in closed form, which is a check of everything. Wants H A at each position (CAM_WITH_HVP). The caller sets size. */
typedef struct cam_hvp_check {
    uint32_t size;
    double norm;        /* |H A|                                                                                    */
    double differences; /* distance of the differences from it, as a share of |H A| (of |G| where H A is 0). A kink of the tail near A
                         * makes it large: differences cross it, derivatives do not                                  */
    double closed_form; /* the same of the closed form; -1 where there is none                                      */
} cam_hvp_check;
CAM_API cam_status cam_check_hvp(cam_ctx *ctx, int32_t image, int32_t request, cam_hvp_check *out, cam_error *e);

/* The part of the network behind a layer: activations [n,C,H,W] in, logits [n,classes] out. What else that part reads (a residual shortcut)
 * is taken from image 0 of the last cam_explain that had a request for this layer. */
CAM_API cam_status cam_tail(cam_ctx *ctx, const char *layer, const float *activations, int32_t n, float *logits, cam_error *e);

/* Deep feature factorisation of the activation of a request's (first) layer: concepts, each with a map of where it is seen (the method dff
 * shows the one of five in which the network sees the class most). The caller sets size, count and the arrays, of which any may be NULL. */
enum { CAM_MAX_CONCEPTS = 32 };
typedef struct cam_factors {
    uint32_t size;    /* sizeof(cam_factors)                                                                        */
    int32_t count;    /* of concepts                                                                                */
    double *maps;     /* [count][height,width] H                                                                    */
    float *vectors;   /* [count][channels] W, plus each channel's minimum                                           */
    int32_t *cls;     /* [count] the class that the tail sees in a vector which stands at every position            */
    int32_t height, width, channels, iterations;
    double error, norm; /* |X - W H| and |X|, X being the activation less each channel's minimum                    */
} cam_factors;
CAM_API cam_status cam_factorise(cam_ctx *ctx, int32_t image, int32_t request, cam_factors *factors, cam_error *e);

/* Bytes of memory that the context holds for its graph, and that the network holds for its weights. */
CAM_API size_t cam_ctx_bytes(const cam_ctx *ctx);
CAM_API size_t cam_net_bytes(const cam_net *net);

/* ---- results for people ---- */

/* A picture of request `request` for image 0: photograph, heat map on what the network saw, colour bar, class, probability. style: "viridis"
 * or "jet". Encoded as PNG; the caller frees. */
CAM_API cam_status cam_render(const cam_ctx *ctx, const cam_image *image, int32_t request, const char *style, uint8_t **png, size_t *size, cam_error *e);

/* One JSON object, without a newline, that describes the last cam_explain for one image: top classes and maps. The caller frees. */
CAM_API cam_status cam_report(const cam_ctx *ctx, const char *image_name, int32_t image, int32_t topk, char **json, cam_error *e);

/* Indices of the k largest logits, best first; equal ones in order of index. */
CAM_API void cam_top(const float *logits, int32_t classes, int32_t k, int32_t *indices);

/* ---- the Shapley values that maps stand for ---- */

/* The game: players are regions of a layer's positions. A coalition's worth is the utility when the activations at all other positions
 * are 0 in all channels; everything else (biases, a residual shortcut, a class token) stays. A map's sum over a region is that method's
 * estimate of the region's Shapley value. */
typedef struct cam_shapley_request {
    uint32_t size;          /* sizeof(cam_shapley_request)                                                        */
    const char *layer;      /* one of the last cam_explain                                                        */
    const char *utility;
    int32_t cls;            /* index, or CAM_TOP1, ..                                                             */
    int32_t rows, columns;  /* of the grid of regions; 0, 0: each position is a player                            */
    int64_t permutations;   /* orders at most, if values are sampled; they are drawn in pairs, 0: 2000            */
    int64_t tail_runs;      /* runs of the tail at most, 0: 65536                                                 */
    double error;           /* sampling stops when no standard error is larger; 0: when the permutations are used */
    uint64_t seed;          /* its low 32 bits count                                                              */
    uint32_t flags;         /* CAM_AGAINST                                                                        */
    int32_t rival;          /* as in cam_request; otherwise the strongest other class of the image, in every coalition */
} cam_shapley_request;

typedef struct cam_shapley_result {
    uint32_t size;          /* sizeof(cam_shapley_result), the caller's to set as are the next four               */
    int32_t room;           /* numbers that fit in each array: at least height * width of the layer               */
    double *values;         /* [players], may be NULL                                                             */
    double *errors;         /* [players] standard errors, 0 where exact; may be NULL                              */
    int32_t *regions;       /* [height, width] the player of each position; may be NULL                           */
    int32_t height, width, players, cls;
    int32_t exact;          /* 1: by enumeration or in closed form, not sampled                                   */
    int32_t additive;       /* 1: each position adds to the logits by itself, so that two runs tell all           */
    double empty, full;     /* worth of nobody and of all: the values' sum is the difference                      */
    int64_t permutations, tail_runs; /* used                                                                      */
} cam_shapley_result;

/* Exact for up to 20 players if 2^players is not more than tail_runs or the tail is additive over positions, as behind the last convolution
 * of most networks; otherwise sampled. For one image of the last cam_explain. */
CAM_API cam_status cam_shapley(cam_ctx *ctx, int32_t image, const cam_shapley_request *want, cam_shapley_result *got, cam_error *e);

/* How a map m agrees with values t. NaN: not defined, because all numbers on a side are equal. */
typedef struct cam_agreement {
    double distance;  /* |m - t| / |t|                  */
    double pearson;   /* correlation                    */
    double spearman;  /* correlation of ranks           */
    double kendall;   /* tau-b: how many pairs of regions are in the right order, from -1 to 1 */
} cam_agreement;

/* Compares a request's raw map, summed over regions, with values that have their regions beside them. */
CAM_API cam_status cam_shapley_agreement(const cam_ctx *ctx, int32_t image, int32_t request, const cam_shapley_result *truth, cam_agreement *out,
                                         cam_error *e);

#endif
