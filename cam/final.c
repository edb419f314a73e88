/* SPDX-License-Identifier: MIT */
/* Enlarging takes most of the time, and memory when the input is large, so that the last two steps go row by row. */
#include "cam/final.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The smallest and the largest of some numbers, and whether all are finite. */
typedef struct extent {
    double least, most;
    int finite;
} extent;

static const extent nothing = {INFINITY, -INFINITY, 1};

/* That of n numbers more. */
static void extend(extent *e, const double *x, size_t n)
{
    enum { LANES = 8 }; /* that do not wait for each other */
    double least[LANES], most[LANES], rest[LANES];
    for (int k = 0; k < LANES; k++) least[k] = e->least, most[k] = e->most, rest[k] = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (size_t k = 0; k < (n - i < LANES ? n - i : LANES); k++) {
            double v = x[i + k];
            least[k] = v < least[k] ? v : least[k];
            most[k] = v > most[k] ? v : most[k];
            rest[k] += v - v; /* 0, or NaN for ever */
        }
    for (int k = 0; k < LANES; k++) {
        e->least = least[k] < e->least ? least[k] : e->least;
        e->most = most[k] > e->most ? most[k] : e->most;
        e->finite &= rest[k] == 0;
    }
}

/* What a number is multiplied by once `least` is subtracted. */
static double factor_of(extent e) { return e.finite ? 1 / (1e-7 + (e.most - e.least)) : NAN; }

void cam_normalise(double *x, size_t n)
{
    extent e = nothing;
    for (size_t i = 0; i < n; i++) x[i] = x[i] < 0 ? 0 : x[i];
    extend(&e, x, n);
    double factor = factor_of(e);
    for (size_t i = 0; i < n; i++) x[i] = (x[i] - e.least) * factor;
}

/* One axis: destination d of `size` lies between sources i and i + 1, at t of the way: (d + 1/2) source / size - 1/2, as a fraction, so that
 * on a source t is 0 and not 1e-16. */
static void sample_at(int d, int size, int source, int *i, double *t)
{
    int64_t over = (2 * (int64_t)d + 1) * source - size, under = 2 * (int64_t)size, most = (source - 1) * under;
    over = over < 0 ? 0 : over > most ? most : over;
    *i = (int)(over / under);
    *t = (double)(over % under) / (double)under;
}

/* Rows of a map, enlarged along x, [h][width]; NULL without memory. */
static double *enlarge_rows(const double *from, int h, int w, int width)
{
    double *rows = malloc((size_t)h * (size_t)width * sizeof *rows), t;
    for (int x = 0, i; rows && x < width; x++) {
        sample_at(x, width, w, &i, &t);
        int next = i + 1 < w ? i + 1 : i;
        for (int y = 0; y < h; y++) rows[(size_t)y * (size_t)width + (size_t)x] = from[y * w + i] + t * (from[y * w + next] - from[y * w + i]);
    }
    return rows;
}

/* Row y of `height` between the h enlarged ones. */
static void row_between(const double *rows, int h, int width, int y, int height, double *out)
{
    int i;
    double t;
    sample_at(y, height, h, &i, &t);
    const double *here = rows + (size_t)i * (size_t)width, *next = i + 1 < h ? here + width : here;
    for (int x = 0; x < width; x++) out[x] = here[x] + t * (next[x] - here[x]);
}

en_status cam_resize(const double *from, int h, int w, double *to, int height, int width, en_error *e)
{
    double *rows = enlarge_rows(from, h, w, width);
    if (!rows) return en_fail(e, EN_E_NOMEM, "map: out of memory");
    for (int y = 0; y < height; y++) row_between(rows, h, width, y, height, to + (size_t)y * (size_t)width);
    free(rows);
    return EN_OK;
}

/* Which of the h rows lies above row y; -1 past the end. */
static int row_above(int h, int y, int height)
{
    int i = -1;
    double t;
    if (y < height) sample_at(y, height, h, &i, &t);
    return i;
}

/* From one row to the next numbers rise or fall, rounded or not, so that an extreme is in the first or the last row between the two. */
static extent extent_between(const double *rows, int h, int width, int height, double *line)
{
    extent e = nothing;
    int before = -1, here = row_above(h, 0, height);
    for (int y = 0, after; y < height; y++, before = here, here = after) {
        after = row_above(h, y + 1, height);
        if (before == here && here == after) continue;
        row_between(rows, h, width, y, height, line);
        extend(&e, line, (size_t)width);
    }
    return e;
}

en_status cam_finish_map(const double *raw, int h, int w, float *map, int height, int width, en_error *e)
{
    size_t small = (size_t)h * (size_t)w;
    double *work = malloc((small + (size_t)width) * sizeof *work), *rows = NULL;
    if (work) {
        memcpy(work, raw, small * sizeof *work);
        cam_normalise(work, small);
        rows = enlarge_rows(work, h, w, width);
    }
    if (rows) {
        double *line = work + small;
        extent x = extent_between(rows, h, width, height, line); /* nothing is negative any more */
        double factor = factor_of(x);
        for (int y = 0; y < height; y++, map += width) {
            row_between(rows, h, width, y, height, line);
            for (int k = 0; k < width; k++) map[k] = (float)((line[k] - x.least) * factor);
        }
    }
    en_status status = rows ? EN_OK : en_fail(e, EN_E_NOMEM, "map: out of memory");
    free(rows);
    free(work);
    return status;
}

cam_map_status cam_judge_map(const double *raw, size_t n, double *positive, double *negative)
{
    *positive = *negative = 0;
    int finite = 1, constant = 1;
    for (size_t i = 0; i < n; i++) {
        finite &= isfinite(raw[i]) != 0;
        constant &= raw[i] == raw[0];
        if (raw[i] > 0) *positive += raw[i];
        if (raw[i] < 0) *negative -= raw[i];
    }
    return !finite ? CAM_MAP_NONFINITE : *positive == 0 ? CAM_MAP_BLANK : constant ? CAM_MAP_CONSTANT : CAM_MAP_OK;
}
