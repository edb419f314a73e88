/* SPDX-License-Identifier: MIT */
/* The roofline (doi:10.1145/1498765.1498785) as SVG: over operations per byte, operations per second, both logarithmic. No layer that does all of
 * its operations can lie above the roof; those that do, save operations (Winograd) or find their data in a cache. */
#include "bench/bench.h"

#include <math.h>

enum { WIDTH = 900, HEIGHT = 600, LEFT = 70, RIGHT = 20, TOP = 40, BOTTOM = 50 };
static const double x_low = 0.1, x_high = 1000, y_low = 0.5, y_high = 1000;

static double along(double v, double low, double high) { return log(v < low ? 1 : v > high ? high / low : v / low) / log(high / low); }
static double x_of(double v) { return LEFT + (WIDTH - LEFT - RIGHT) * along(v, x_low, x_high); }
static double y_of(double v) { return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * along(v, y_low, y_high); }

static void axes(FILE *f)
{
    for (double x = x_low; x < 1.01 * x_high; x *= 10) {
        fprintf(f, "<line x1='%.1f' y1='%d' x2='%.1f' y2='%d' stroke='#ddd'/>\n", x_of(x), TOP, x_of(x), HEIGHT - BOTTOM);
        fprintf(f, "<text x='%.1f' y='%d' text-anchor='middle'>%g</text>\n", x_of(x), HEIGHT - BOTTOM + 18, x);
    }
    for (double y = 1; y < 1.01 * y_high; y *= 10) {
        fprintf(f, "<line x1='%d' y1='%.1f' x2='%d' y2='%.1f' stroke='#ddd'/>\n", LEFT, y_of(y), WIDTH - RIGHT, y_of(y));
        fprintf(f, "<text x='%d' y='%.1f' text-anchor='end'>%g</text>\n", LEFT - 6, y_of(y) + 4, y);
    }
    fprintf(f, "<text x='%d' y='%d' text-anchor='middle'>operations per byte of input, weights and output</text>\n", WIDTH / 2, HEIGHT - 12);
    fprintf(f, "<text x='16' y='%d' text-anchor='middle' transform='rotate(-90 16 %d)'>GFLOP/s</text>\n", HEIGHT / 2, HEIGHT / 2);
}

void bench_roofline(FILE *f, const char *title, double peak, double bandwidth, const bench_dot *dots, int count)
{
    fprintf(f, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' font-size='12'>\n", WIDTH, HEIGHT);
    fprintf(f, "<rect width='%d' height='%d' fill='white'/>\n<text x='%d' y='24' font-size='15'>%s: %.0f GFLOP/s, %.1f GB/s</text>\n", WIDTH, HEIGHT, LEFT,
            title, peak, bandwidth);
    axes(f);
    double start = y_low / bandwidth > x_low ? y_low / bandwidth : x_low, ridge = peak / bandwidth;
    fprintf(f, "<polyline points='%.1f,%.1f %.1f,%.1f %.1f,%.1f' fill='none' stroke='black' stroke-width='2'/>\n", x_of(start), y_of(start * bandwidth),
            x_of(ridge), y_of(peak), x_of(x_high), y_of(peak));
    for (int i = 0; i < count; i++)
        fprintf(f, "<circle cx='%.1f' cy='%.1f' r='4' fill='#06c' fill-opacity='0.5'><title>%s: %.1f GFLOP/s</title></circle>\n", x_of(dots[i].intensity),
                y_of(dots[i].gflops), dots[i].text, dots[i].gflops);
    fprintf(f, "</svg>\n");
}
