/* SPDX-License-Identifier: MIT */
/* The font is drawn below as it looks: six rows of sixteen characters, ASCII 32 to 126, each in a cell 6 wide and 13 high with
 * the baseline under its tenth row. */
#include "cam/font.h"

#include <string.h>

enum { PER_ROW = 16 };

/* clang-format off */
static const char sheet[6 * FONT_HEIGHT][PER_ROW * FONT_WIDTH + 1] = {
    "                                                                                                ",
    "        #    # #          #    #  #  ##     #      #   #                                      # ",
    "        #    # #   # #   #### # # # #  #    #     #     #                                     # ",
    "        #    # #   # #  # #    # #  #  #    #     #     #     #     #                        #  ",
    "        #         ##### # #      #   ##          #       #  # # #   #                        #  ",
    "        #          # #   ###    #    ##          #       #   ###  #####                     #   ",
    "        #          # #    # #  #    #  #         #       #  # # #   #          ###         #    ",
    "                  #####   # #  # #  #  ##         #     #     #     #                      #    ",
    "                   # #  ####  # # # #  #          #     #                ##          ##   #     ",
    "        #          # #    #   #  #   ## #          #   #                 ##          ##   #     ",
    "                                                                          #                     ",
    "                                                                         #                      ",
    "                                                                                                ",

    "                                                                                                ",
    "  #     #    ###   ###     #  #####  ###  #####  ###   ###                                 ###  ",
    " # #   ##   #   # #   #   ##  #     #   #     # #   # #   #                #         #    #   # ",
    "#   # # #       #     #   ##  #     #        #  #   # #   #               #           #       # ",
    "#   #   #       #     #  # #  ####  #        #  #   # #   #  ##    ##    #             #     #  ",
    "#   #   #      #    ##   # #  #   # ####    #    ###   ####  ##    ##   #     #####     #   #   ",
    "#   #   #     #       # #  #      # #   #   #   #   #     #              #             #    #   ",
    "#   #   #    #        # #####     # #   #  #    #   #     #               #   #####   #         ",
    " # #    #   #     #   #    #  #   # #   #  #    #   # #   #  ##    ##      #         #          ",
    "  #   ##### #####  ###     #   ###   ###   #     ###   ###   ##    ##                       #   ",
    "                                                                    #                           ",
    "                                                                   #                            ",
    "                                                                                                ",

    "                                                                                                ",
    " ###    #   ####   ###  ####  ##### #####  ###  #   #  ###    ### #   # #     #   # #   #  ###  ",
    "#   #  # #  #   # #   # #   # #     #     #   # #   #   #      #  #   # #     ## ## #   # #   # ",
    "#  ##  # #  #   # #     #   # #     #     #     #   #   #      #  #  #  #     ## ## ##  # #   # ",
    "# # # #   # #   # #     #   # #     #     #     #   #   #      #  # #   #     # # # # # # #   # ",
    "# # # #   # ####  #     #   # ####  ####  #     #####   #      #  ##    #     # # # # # # #   # ",
    "# # # ##### #   # #     #   # #     #     #  ## #   #   #      #  # #   #     #   # # # # #   # ",
    "# ##  #   # #   # #     #   # #     #     #   # #   #   #      #  #  #  #     #   # #  ## #   # ",
    "#     #   # #   # #   # #   # #     #     #   # #   #   #   #  #  #   # #     #   # #   # #   # ",
    " #### #   # ####   ###  ####  ##### #      ###  #   #  ###   ##   #   # ##### #   # #   #  ###  ",
    "                                                                                                ",
    "                                                                                                ",
    "                                                                                                ",

    "                                                                                                ",
    "####   ###  ####   ###  ##### #   # #   # #   # #   # #   # #####  ###  #      ###    #         ",
    "#   # #   # #   # #   #   #   #   # #   # #   # #   # #   #     #  #    #        #   # #        ",
    "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #   #     #       #  #   #       ",
    "#   # #   # #   # #       #   #   # #   # #   #  # #   # #     #   #     #       #              ",
    "####  #   # ####   ###    #   #   #  # #  # # #   #     #     #    #      #      #              ",
    "#     #   # # #       #   #   #   #  # #  # # #  # #    #    #     #       #     #              ",
    "#     #   # #  #      #   #   #   #  # #  # # #  # #    #    #     #       #     #              ",
    "#     # # # #   # #   #   #   #   #  # #  ## ## #   #   #   #      #        #    #              ",
    "#      ###  #   #  ###    #    ###    #   #   # #   #   #   #####  ###      #  ###              ",
    "          #                                                                               ##### ",
    "                                                                                                ",
    "                                                                                                ",

    "                                                                                                ",
    " #          #               #         ##        #       #      #  #      ##                     ",
    "  #         #               #        #  #       #                 #       #                     ",
    "            #               #        #          #                 #       #                     ",
    "       ###  # ##   ###   ## #  ###   #     #### # ##   ##     ##  #  #    #   ## #  # ##   ###  ",
    "          # ##  # #   # #  ## #   # ####  #   # ##  #   #      #  # #     #   # # # ##  # #   # ",
    "       #### #   # #     #   # #####  #    #   # #   #   #      #  ##      #   # # # #   # #   # ",
    "      #   # #   # #     #   # #      #    #   # #   #   #      #  # #     #   # # # #   # #   # ",
    "      #  ## #   # #   # #   # #   #  #    #   # #   #   #      #  #  #    #   # # # #   # #   # ",
    "       ## # ####   ###   ####  ###   #     #### #   #  ###     #  #   #  ###  # # # #   #  ###  ",
    "                                              #                #                                ",
    "                                          #   #             #  #                                ",
    "                                           ###               ##                                 ",

    "                                                                                                ",
    "                                                                     ##   #   ##                ",
    "                         #                                          #     #     #               ",
    "                         #                                          #     #     #               ",
    "# ##   ## # # ##   ###  ####  #   # #   # #   # #   # #   # #####   #     #     #               ",
    "##  # #  ## ##  # #   #  #    #   # #   # #   #  # #  #   #    #   #      #      #   #  #       ",
    "#   # #   # #      ##    #    #   # #   # # # #   #   #   #   #     #     #     #   # # #       ",
    "#   # #   # #        #   #    #   #  # #  # # #   #   #   #  #      #     #     #   #  #        ",
    "#   # #   # #     #   #  #  # #  ##  # #  # # #  # #  #  ## #       #     #     #               ",
    "####   #### #      ###    ##   ## #   #    # #  #   #  ## # #####    ##   #   ##                ",
    "#         #                                               #               #                     ",
    "#         #                                           #   #                                     ",
    "#         #                                            ###                                      ",
};
/* clang-format on */

/* One '?' for each character that the font lacks: the continuation bytes of UTF-8 do not count. */
static void to_printable(const char *text, char *out, size_t size)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++) {
        unsigned char c = (unsigned char)*text;
        if ((c & 0xC0) == 0x80) continue;
        out[n++] = (c >= 32 && c < 127) || c == '\n' ? (char)c : '?';
    }
    out[n] = 0;
}

/* How many characters of `at` the next line takes. */
static size_t line_length(const char *at, size_t columns)
{
    size_t length = strcspn(at, "\n");
    if (length <= columns) return length;
    for (length = columns; length > 0 && at[length] != ' ';) length--;
    return length ? length : columns;
}

static void cut(char *line, size_t columns)
{
    size_t n = strlen(line), keep = columns > 3 ? columns - 3 : 0;
    if (n > keep) n = keep;
    while (n > 0 && line[n - 1] == ' ') n--;
    strcpy(line + n, columns > 3 ? "..." : "");
}

cam_text cam_text_wrap(const char *text, int columns, int max_lines)
{
    char plain[1024];
    cam_text t = {0};
    size_t width = columns < 1 ? 1 : columns > TEXT_MAX_COLUMNS ? TEXT_MAX_COLUMNS : (size_t)columns;
    if (max_lines > TEXT_MAX_LINES) max_lines = TEXT_MAX_LINES;
    to_printable(text ? text : "", plain, sizeof plain);
    const char *at = plain;
    while (*at && t.lines < max_lines) {
        size_t n = line_length(at, width);
        memcpy(t.line[t.lines], at, n);
        t.line[t.lines++][n] = 0;
        at += n;
        at += *at == ' ' || *at == '\n';
    }
    if (*at && t.lines > 0) cut(t.line[t.lines - 1], width);
    return t;
}

static int ink(int cell, int column, int row)
{
    if (column < 0 || column >= FONT_WIDTH || row < 0 || row >= FONT_HEIGHT) return 0;
    return sheet[cell / PER_ROW * FONT_HEIGHT + row][cell % PER_ROW * FONT_WIDTH + column] == '#';
}

/* Whether pixel (i, j) of a dot is dark. Steps of diagonals are rounded: an empty dot between two that touch only at their corner
 * is filled at that corner, up to its diagonal. */
static int dark(int cell, int column, int row, int i, int j, int scale)
{
    if (ink(cell, column, row)) return 1;
    for (int corner = 0; corner < 4; corner++) {
        int right = corner & 1, down = corner >> 1, x = column + (right ? 1 : -1), y = row + (down ? 1 : -1);
        int away = (right ? scale - 1 - i : i) + (down ? scale - 1 - j : j);
        if (away < scale - 1 && ink(cell, x, row) && ink(cell, column, y) && !ink(cell, x, y)) return 1;
    }
    return 0;
}

static void draw_cell(img *to, int left, int top, int scale, cam_rgb colour, int cell)
{
    for (int y = 0; y < FONT_HEIGHT * scale; y++)
        for (int x = 0; x < FONT_WIDTH * scale; x++) {
            int inside = left + x >= 0 && left + x < to->width && top + y >= 0 && top + y < to->height;
            if (!inside || !dark(cell, x / scale, y / scale, x % scale, y % scale, scale)) continue;
            uint8_t *p = to->rgb + 3 * ((size_t)(top + y) * (size_t)to->width + (size_t)(left + x));
            p[0] = colour.r;
            p[1] = colour.g;
            p[2] = colour.b;
        }
}

void cam_text_draw(img *to, int x, int y, int scale, cam_rgb colour, const char *line)
{
    for (; *line; line++, x += FONT_WIDTH * scale)
        draw_cell(to, x, y, scale, colour, (*line >= 32 && *line < 127 ? *line : '?') - 32);
}
