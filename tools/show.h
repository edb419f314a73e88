/* SPDX-License-Identifier: MIT */
/* The report that people read, on stdout: the best classes of a picture, then for each class and layer a table of the methods and
 * the cells of their maps in shades. */
#ifndef TOOLS_SHOW_H
#define TOOLS_SHOW_H

#include "cam/shapleycam.h"
#include "tools/requests.h"

/* Image `image` of the last cam_explain, whose results are `results`; `topk` of its classes are listed. */
void show_report(const cam_ctx *ctx, const cam_net *net, const char *name, int image, long topk, const request_list *list,
                 const cam_result *results);

#endif
