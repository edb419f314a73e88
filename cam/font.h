/* SPDX-License-Identifier: MIT */
/* Text in pictures: a bitmap font for ASCII 32 to 126, in whole multiples of its size. Other characters show as '?'. */
#ifndef CAM_FONT_H
#define CAM_FONT_H

#include "cam/render.h"

enum { FONT_WIDTH = 6, FONT_HEIGHT = 13, TEXT_MAX_LINES = 8, TEXT_MAX_COLUMNS = 255 };

/* Text broken into lines. */
typedef struct cam_text {
    int lines;
    char line[TEXT_MAX_LINES][TEXT_MAX_COLUMNS + 1];
} cam_text;

/* Breaks at newlines, at spaces, and in a word only if it is longer than a line. What does not fit into max_lines lines is cut
 * and ends in "...". NULL is no line at all. */
cam_text cam_text_wrap(const char *text, int columns, int max_lines);

/* Draws one line with its top left corner at (x, y), each dot of the font scale x scale pixels; what lies outside is clipped. */
void cam_text_draw(img *to, int x, int y, int scale, cam_rgb colour, const char *line);

#endif
