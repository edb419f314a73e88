/* SPDX-License-Identifier: MIT */
/* The content reserved game of a layer: what remains of the utility when only some positions speak (cam_shapley in shapleycam.h). */
#ifndef CAM_GAME_H
#define CAM_GAME_H

#include <stdint.h>

/* The region of each of h x w positions on a grid, (y rows div h) columns + (x columns div w); a side of 0, or finer than the positions, has
 * one region per position. Returns how many there are. */
int cam_regions(int rows, int columns, int h, int w, int32_t *region);

#endif
