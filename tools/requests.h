/* SPDX-License-Identifier: MIT */
/* From the lists of the command line to requests: every method, for every class, at every layer. Names match without regard to
 * case, '-' and '_'; what does not exist is refused before any work is done, with the nearest name. */
#ifndef TOOLS_REQUESTS_H
#define TOOLS_REQUESTS_H

#include "cam/shapleycam.h"

typedef struct request_words {
    const char *methods, *utility, *layers, *classes; /* comma-separated, but for the utility */
    uint64_t seed;
    uint32_t flags;                                   /* of all requests                      */
} request_words;

typedef struct request_list {
    cam_request *request; /* ordered by layer, then class, then method; layer names belong to the network */
    int count, layers;
} request_list;

enum { REQUESTS_MAX = 1000 /* maps of one picture: 200 MB */ };

/* Methods without a class appear once for each layer. Free with requests_free; on failure *out is {0}. */
cam_status requests_make(const cam_net *net, const request_words *words, request_list *out, cam_error *e);
void requests_free(request_list *list);

/* Whether the map depends on a class at all. */
int request_has_class(const cam_request *request);

/* Whether an earlier request turned out to be the same one: "top1,285" asks twice for the same class if that comes first. */
int request_repeats(const request_list *list, const cam_result *results, int i);

#endif
