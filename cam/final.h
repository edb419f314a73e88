/* SPDX-License-Identifier: MIT */
/* From a raw map, one number in double for each position of a layer, to the final one of the input's size. */
#ifndef CAM_FINAL_H
#define CAM_FINAL_H

#include "engine/status.h"

#include <stddef.h>

/* From raw to final in three steps, as the reference implementation has them. Normalise: negative values count as 0, subtract the minimum,
 * divide by 1e-7 + the maximum of what is left (multiply by its reciprocal); one number that is not finite makes all NaN. */
void cam_normalise(double *x, size_t n);
/* Enlarge (or shrink): bilinear, half-pixel centres, no anti-aliasing; places are exact fractions. to: [height, width]. */
en_status cam_resize(const double *from, int h, int w, double *to, int height, int width, en_error *e);
/* Normalise, enlarge, normalise again. `map` is [height, width]. */
en_status cam_finish_map(const double *raw, int h, int w, float *map, int height, int width, en_error *e);

/* What a raw map says. */
typedef enum cam_map_status { CAM_MAP_OK, CAM_MAP_BLANK, CAM_MAP_CONSTANT, CAM_MAP_NONFINITE } cam_map_status;
cam_map_status cam_judge_map(const double *raw, size_t positions, double *positive, double *negative);

#endif
