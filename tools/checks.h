/* SPDX-License-Identifier: MIT */
/* --check: what a run can say of its own numbers. */
#ifndef TOOLS_CHECKS_H
#define TOOLS_CHECKS_H

#include "cam/shapleycam.h"
#include "tools/requests.h"
#include "weights/json.h"

#include <stdio.h>

typedef struct checks {
    int hvp;     /* the product H A found in other ways       */
    int repro;   /* the same again with another number of threads, bit for bit */
    int threads; /* of the run                                */
    cam_ctx *other; /* with another number, made when first wanted */
    int failed;
} checks;

/* A list of names: hvp, repro. */
cam_status checks_parse(const char *list, checks *c, cam_error *e);
void checks_free(checks *c);

/* Checks the last cam_explain of image `image` of the input, whose results are `results`: as text to `out` (NULL: not), as an object to `json`
 * (NULL: not). Counts what failed. */
cam_status checks_show(checks *c, const cam_net *net, cam_ctx *ctx, cam_input in, int image, const request_list *list, const cam_result *results,
                       FILE *out, wt_json_writer *json, cam_error *e);

#endif
