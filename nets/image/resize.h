/* SPDX-License-Identifier: MIT */
/* Resampling as Pillow does it, bit for bit, so that a network here sees the pixels that it was trained on. */
#ifndef NETS_IMAGE_RESIZE_H
#define NETS_IMAGE_RESIZE_H

#include "nets/image/image.h"

typedef enum img_filter { IMG_BILINEAR, IMG_BICUBIC } img_filter;

/* A rectangle of pixels. */
typedef struct img_window {
    int left, top, width, height;
} img_window;

/* The whole picture, resized to width x height; out is a new picture, {0} on failure. */
en_status img_resize(const img *in, int width, int height, img_filter filter, img *out, en_error *e);

/* The same pixels as img_resize followed by cutting out the window, which must lie inside width x height; time and memory are
 * those of the window, so that a crop of a picture of extreme shape costs no more than any other. */
en_status img_resize_window(const img *in, int width, int height, img_filter filter, img_window window, img *out, en_error *e);

#endif
