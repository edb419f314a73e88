/* SPDX-License-Identifier: MIT */
/* From the lists of the command line to requests: every method, for every class and utility, at every layer. Names match without regard to
 * case, '-' and '_'; what does not exist is refused before any work is done, with the nearest name. */
#ifndef TOOLS_REQUESTS_H
#define TOOLS_REQUESTS_H

#include "cam/shapleycam.h"

typedef struct request_words {
    const char *methods, *utilities, *layers, *classes; /* comma-separated; layers joined with '+' make one map   */
    const char *rival;                                  /* a class to contrast with, instead of utilities; NULL   */
    const char *smooth;                                 /* none, aug, eigen                                       */
    uint64_t seed;
    uint32_t flags;                                     /* of all requests, besides those of the words            */
} request_words;

typedef char request_layer[768];

typedef struct request_list {
    cam_request *request;  /* ordered by layer, then class, utility and method; those of the whole network last   */
    request_layer *layer;  /* their names in full                                                                 */
    int count, layers, utilities;
    int joined;            /* whether a request has several layers                                                */
} request_list;

enum { REQUESTS_MAX = 1000 /* maps of one picture: 200 MB */ };

/* Methods without a class appear once for each layer, those with a utility of their own once for each class. Free with requests_free; on failure *out is {0}. */
cam_status requests_make(const cam_net *net, const request_words *words, request_list *out, cam_error *e);
void requests_free(request_list *list);

/* Whether the map is made from one layer's activation alone, with its positions. */
int request_has_positions(const cam_request *request, const cam_result *result, int height, int width);

/* How often the network runs for a picture, besides the once that serves all requests. */
long requests_passes(const request_list *list, const cam_net *net);

/* Whether the map depends on a class at all. */
int request_has_class(const cam_request *request);

/* Whether an earlier request turned out to be the same one: "top1,285" asks twice for the same class if that comes first. */
int request_repeats(const request_list *list, const cam_result *results, int i);

#endif
