/* SPDX-License-Identifier: MIT */
/* Inside of a cam_image. */
#ifndef CAM_IMAGE_H
#define CAM_IMAGE_H

#include "cam/internal.h"

struct cam_image {
    img photo;       /* what is drawn on; for a ready input, the input itself */
    net_input input; /* of n images, of which the first is `seen`             */
    int n;
};

#endif
