/* SPDX-License-Identifier: MIT */
/* The bundled sample picture: an orange and a Granny Smith on a table, drawn from formulas. */
#ifndef TOOLS_SAMPLE_SCENE_H
#define TOOLS_SAMPLE_SCENE_H

#include "nets/image/image.h"

enum { SCENE_SIDE = 448 };

en_status scene_orange_granny(img *out, en_error *e);

#endif
