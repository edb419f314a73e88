/* SPDX-License-Identifier: MIT */
/* From a photograph to a network's input: resize, crop the centre, scale to 0..1, normalise. Equal to torchvision's Resize,
 * CenterCrop, ToTensor and Normalize on a PIL image, bit for bit. */
#ifndef NETS_PREPROCESS_H
#define NETS_PREPROCESS_H

#include "nets/image/resize.h"
#include "weights/camw.h"

typedef enum net_sizing {
    NET_SHORTER, /* the shorter side becomes `shorter`, then the centre is cropped                            */
    NET_WHOLE,   /* the whole picture is resized to crop_width x crop_height, its proportions notwithstanding */
    NET_AS_IS    /* the picture must have that size already                                                   */
} net_sizing;

enum { NET_MAX_INPUT_SIDE = 4096 };

typedef struct net_recipe {
    net_sizing sizing;
    int shorter;
    img_filter filter;
    int crop_width, crop_height;
    float mean[3], std[3]; /* red, green, blue, for values 0..1 */
} net_recipe;

/* All networks of the paper alike: shorter side 256 bilinear, centre crop 224, ImageNet's mean and deviation. */
net_recipe net_recipe_paper(void);

/* How pictures are prepared, as a user writes it: SIZING or SIZING@MEAN/STD.
 *     native                  as the network was trained: `native`
 *     paper                   net_recipe_paper
 *     224x224:bicubic         the whole picture becomes 224 x 224 (width x height); or :bilinear
 *     232/224x224:bicubic     the shorter side becomes 232, then the centre is cropped
 *     224x224:none            the picture must have that size
 *     @0.5/0.5                mean and deviation of all channels, for values 0 .. 1; three numbers each for red, green, blue:
 *                             @0.48,0.46,0.41/0.27,0.26,0.28. Without it those of `native`, and of paper its own. */
en_status net_recipe_parse(const char *text, const net_recipe *native, net_recipe *out, en_error *e);

/* What a .camw says. */
net_recipe net_recipe_stored(const wt_preprocess *stored);

typedef struct net_input {
    int width, height;
    float *chw;    /* [3, height, width], the normalised tensor                                            */
    img seen;      /* the same pixels before normalisation                                                 */
    double box[4]; /* where they lie in the photograph, in its pixels: x0, y0, x1, y1; beyond its edges if
                    * it was too small for the crop and got a black border                                 */
} net_input;

/* Applies a recipe. The caller frees *out with net_input_free; on failure it is {0}. */
en_status net_prepare(const img *photo, const net_recipe *recipe, net_input *out, en_error *e);
void net_input_free(net_input *input);

#endif
