/* SPDX-License-Identifier: MIT */
/* Everything exact of one explanation, as .safetensors for comparison with other programs; c is a class's index, m a method:
 *     logits [N,1000]   activation [C,H,W]   c/value (float64)   c/gradient, c/hvp [C,H,W]   c/m/raw [H,W]   c/m/map [input]
 * and m/raw, m/map of methods without a class; c/guidedbackprop/gradient [3,H,W]. No path, time or provenance: the same inputs give the same bytes. */
#ifndef TOOLS_DUMP_H
#define TOOLS_DUMP_H

#include "cam/shapleycam.h"
#include "tools/requests.h"

/* The last cam_explain, of one image at one layer, its requests made with CAM_WITH_HVP. */
cam_status dump_write(const char *path, const cam_ctx *ctx, const cam_net *net, const request_list *list, const cam_result *results,
                      cam_input input, cam_error *e);

#endif
