/* SPDX-License-Identifier: MIT */
/* Pictures of explanations: the photograph, and beside it (under it, if it is wide) the heat map on the part of it that the
 * network saw, with a colour bar and the words that say what it is a map of. */
#ifndef CAM_RENDER_H
#define CAM_RENDER_H

#include "nets/image/image.h"
#include "nets/image/resize.h"

typedef enum cam_colormap { CAM_VIRIDIS, CAM_JET } cam_colormap;

typedef struct cam_rgb {
    uint8_t r, g, b;
} cam_rgb;

/* The colour of a step 0 (weakest) to 255 (strongest). */
cam_rgb cam_colour(cam_colormap map, int step);

typedef struct cam_picture {
    const img *photo;
    double crop[4];   /* what the network saw, in pixels of the photograph: x0, y0, x1, y1; may reach beyond its edges */
    const float *map; /* [map_h, map_w], 0..1, spread over the crop; may be NULL if there is a status */
    int map_h, map_w;
    const char *title;    /* the class and its probability */
    const char *subtitle; /* method, layer, utility, network; newlines allowed */
    const char *stamp;    /* a warning in a red band on top, such as "SEEDED WEIGHTS: not a finding"; NULL for none */
    const char *status;   /* why there is nothing to see: shown in place of colours; NULL if the map says something */
    cam_colormap colormap;
    double opacity; /* of the colours, up to 1; 0 is the default of 0.6 */
} cam_picture;

/* Where things are in the finished picture. `crop` is in both panels alike, relative to their corner. */
typedef struct cam_layout {
    int width, height;
    img_window photo, heat, bar, crop;
    int text_scale, header; /* dots per font dot of the small texts; height above the panels */
} cam_layout;

/* Fails if the photograph is empty or the crop misses it. */
en_status cam_render_layout(const cam_picture *p, cam_layout *out, en_error *e);

/* Draws the picture. The same input gives the same bytes. Outside the crop the panels show the photograph as img_resize gives it. */
en_status cam_render_overlay(const cam_picture *p, img *out, en_error *e);

/* The overlay that the grad-cam library draws, byte for byte: half photograph, half jet, brightened so that the strongest channel
 * is full. `map` is [height, width] like the picture. */
en_status cam_render_lookalike(const img *picture, const float *map, img *out, en_error *e);

#endif
