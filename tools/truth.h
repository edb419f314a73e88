/* SPDX-License-Identifier: MIT */
/* --shapley: the values that maps stand for, beside the maps; and over many pictures, how far which method is from them. */
#ifndef TOOLS_TRUTH_H
#define TOOLS_TRUTH_H

#include "cam/shapleycam.h"
#include "tools/requests.h"
#include "weights/json.h"

#include <stdio.h>

/* Means over pictures of one method with one utility at one layer. */
typedef struct truth_row {
    request_layer layer;
    const char *method, *utility;
    double sum[4]; /* distance, pearson, spearman, kendall; undefined ones left out */
    int count[4];
} truth_row;

typedef struct truth {
    int wanted;             /* --shapley was given                    */
    int rows, columns;      /* of the grid; 0, 0: every position      */
    cam_shapley_request like;
    truth_row *means;
    int count, room, pictures;
} truth;

/* The word of --shapley: "ROWSxCOLUMNS", a number N of regions (the grid nearest to a square), or "all". */
cam_status truth_parse(const char *word, truth *t, cam_error *e);
void truth_free(truth *t);

/* The values for each layer, class and utility of the requests, for one image of the last cam_explain: as text to `out` (NULL: not), and
 * as an array to `json` (NULL: not). Requests with several layers, or of the whole network, have no game. */
cam_status truth_show(truth *t, cam_ctx *ctx, int image, const request_list *list, const cam_result *results, FILE *out, wt_json_writer *json, cam_error *e);

/* The means, if there was more than one picture. */
void truth_summary(const truth *t, FILE *out);

#endif
