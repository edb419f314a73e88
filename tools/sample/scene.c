/* SPDX-License-Identifier: MIT */
/* A still life as one function from a point to a colour: layers are painted over each other where their coverage says so.
 * Shapes are signed distances, fruits are spheres (n = normal) lit by Lambert's law and a highlight, skins and wood are value noise
 * on a hashed grid. Points are 0..1 from the top left; 2 x 2 points are averaged for each pixel. */
#include "tools/sample/scene.h"

#include <math.h>

static const double PI = 3.141592653589793;

typedef struct rgb {
    double r, g, b;
} rgb;

/* One point of the canvas while it is painted. `edge` is the spacing of points: coverage changes from 0 to 1 over that. */
typedef struct point {
    double x, y, edge;
    rgb colour;
} point;

static double clip(double v) { return v < 0 ? 0 : v > 1 ? 1 : v; }

static rgb mix(rgb a, rgb b, double t) { return (rgb){a.r * (1 - t) + b.r * t, a.g * (1 - t) + b.g * t, a.b * (1 - t) + b.b * t}; }

/* A surface: its own colour in diffuse light, and a white highlight on top. */
static rgb lit(rgb c, double diffuse, double highlight)
{
    return (rgb){c.r * diffuse + highlight, c.g * diffuse + highlight, c.b * diffuse + highlight};
}

static void paint(point *p, double coverage, rgb colour) { p->colour = mix(p->colour, colour, coverage); }

/* Coverage from the signed distance to an outline: sharp, or smooth over the given width. */
static double sharp(const point *p, double distance) { return clip(0.5 - distance / p->edge); }

static double soft(double distance, double width)
{
    double t = clip(0.5 - distance / width);
    return t * t * (3 - 2 * t);
}

/* Distance to the segment a-b, thickened by `radius`. */
static double segment(const point *p, double ax, double ay, double bx, double by, double radius)
{
    double px = p->x - ax, py = p->y - ay, ex = bx - ax, ey = by - ay;
    double h = clip((px * ex + py * ey) / (ex * ex + ey * ey + 1e-12));
    return hypot(px - ex * h, py - ey * h) - radius;
}

/* A random number 0..1 for each cell of the integer grid. */
static double cell_noise(double x, double y, int seed)
{
    uint32_t h = (uint32_t)(int64_t)x * 374761393u + (uint32_t)(int64_t)y * 668265263u + (uint32_t)seed * 1442695041u;
    h = (h ^ (h >> 13)) * 1274126177u;
    return ((h ^ (h >> 16)) & 0xffffffu) / (double)0x1000000;
}

/* The same, smoothly interpolated between the cells. */
static double value_noise(double x, double y, int seed)
{
    double ix = floor(x), iy = floor(y), fx = x - ix, fy = y - iy;
    fx = fx * fx * (3 - 2 * fx);
    fy = fy * fy * (3 - 2 * fy);
    double top = cell_noise(ix, iy, seed) * (1 - fx) + cell_noise(ix + 1, iy, seed) * fx;
    double bottom = cell_noise(ix, iy + 1, seed) * (1 - fx) + cell_noise(ix + 1, iy + 1, seed) * fx;
    return top * (1 - fy) + bottom * fy;
}

/* Octaves of value noise, each twice as fine and half as strong. */
static double noise(double x, double y, int seed, int octaves)
{
    double sum = 0, weight = 0.5, total = 0;
    for (int o = 0; o < octaves; o++, weight *= 0.5) {
        sum += weight * value_noise(ldexp(x, o), ldexp(y, o), seed + o);
        total += weight;
    }
    return sum / total;
}

/* Light from the upper left front on the normal n: ambient plus Lambert, and the cosine that a highlight is a power of. */
static void light(double nx, double ny, double nz, double ambient, double strength, double *diffuse, double *glance)
{
    static const double direction[3] = {-0.45, -0.6, 0.66};
    double norm = sqrt(direction[0] * direction[0] + direction[1] * direction[1] + direction[2] * direction[2]);
    double lx = direction[0] / norm, ly = direction[1] / norm, lz = direction[2] / norm;
    double cosine = nx * lx + ny * ly + nz * lz;
    *diffuse = ambient + strength * fmax(cosine, 0);
    *glance = fmax(2 * cosine * nz - lz, 0);
}

static void wall(point *p)
{
    double t = p->y * 0.8 + 0.2 * noise(p->x * 4, p->y * 4, 3, 4);
    p->colour = mix((rgb){0.35, 0.33, 0.32}, (rgb){0.22, 0.2, 0.2}, t);
}

static void table(point *p, double top)
{
    double rings = sin(p->y * 40 + noise(p->x * 4, p->y * 6, 9, 4) * 6);
    double grain = noise(p->x * 3, p->y * 30, 5, 4) * 0.6 + 0.4 * rings * 0.5 + 0.2;
    paint(p, sharp(p, top - p->y), mix((rgb){0.55, 0.36, 0.20}, (rgb){0.38, 0.23, 0.12}, clip(grain)));
}

static void shadow(point *p, double cx, double cy, double a, double b)
{
    double u = (p->x - cx) / a, v = (p->y - cy) / b;
    paint(p, exp(-(u * u + v * v)) * 0.55, (rgb){0.03, 0.02, 0.02});
}

/* The five short strokes of the star where the stalk was. */
static void stalk(point *p, double x, double y, double r)
{
    paint(p, soft(hypot(p->x - x, p->y - y) - 0.07 * r, 0.06 * r), (rgb){0.25, 0.30, 0.08});
    for (int k = 0; k < 5; k++) {
        double angle = k * 2 * PI / 5, tip_x = x + 0.12 * r * cos(angle), tip_y = y + 0.06 * r * sin(angle);
        paint(p, soft(segment(p, x, y, tip_x, tip_y, 0.012 * r), 0.02 * r), (rgb){0.25, 0.33, 0.08});
    }
}

static void orange(point *p, double cx, double cy, double r)
{
    shadow(p, cx + 0.25 * r, cy + 0.93 * r, 1.15 * r, 0.22 * r);
    double nx = (p->x - cx) / r, ny = (p->y - cy) / r, q = nx * nx + ny * ny, nz = sqrt(fmax(1 - q, 0));
    double pores = noise(nx / (nz + 0.35) * 26, ny / (nz + 0.35) * 26, 7, 2) - 0.5, diffuse, glance;
    light(nx + 0.28 * pores, ny + 0.28 * pores, nz, 0.42, 0.75, &diffuse, &glance);
    rgb peel = mix((rgb){0.85, 0.36, 0.02}, (rgb){1.0, 0.58, 0.08}, clip(diffuse - 0.3));
    paint(p, sharp(p, (sqrt(q) - 1) * r), lit(peel, diffuse, pow(glance, 25) * 0.45 * nz));
    stalk(p, cx - 0.12 * r, cy - 0.72 * r, r);
}

/* The apple's outline in polar coordinates: a circle with a dip at the top, narrower at the bottom. */
static double apple_radius(double angle)
{
    double dip = angle / 0.35, foot = (fabs(angle) - PI) / 0.4;
    return 1.0 - 0.18 * exp(-(dip * dip)) - 0.06 * exp(-(foot * foot)) + 0.04 * cos(2 * angle);
}

/* Pale spots of the peel, one in seven cells has one. */
static double lenticels(double u, double v)
{
    double spot = cell_noise(floor(u * 22 + 0.5 * sin(v * 30)), floor(v * 22), 5) > 0.86;
    double x = u * 22 - floor(u * 22) - 0.5, y = v * 22 - floor(v * 22) - 0.5;
    return spot * exp(-(x * x + y * y) * 30);
}

static void apple(point *p, double cx, double cy, double r)
{
    shadow(p, cx + 0.2 * r, cy + 0.92 * r, 1.1 * r, 0.2 * r);
    double u = (p->x - cx) / r, v = (p->y - cy) / r, radius = apple_radius(atan2(u, -v)), q = hypot(u, v) / radius;
    double coverage = sharp(p, (q - 1) * r * 0.9), nz = sqrt(fmax(1 - q * q, 0)), diffuse, glance;
    light(u / radius, v / radius, nz, 0.40, 0.72, &diffuse, &glance);
    double ripe = clip(0.3 + 0.5 * noise(u * 3 + v, v * 2, 21, 4) + 0.3 * (diffuse - 0.6));
    rgb peel = mix((rgb){0.42, 0.60, 0.12}, (rgb){0.66, 0.80, 0.25}, ripe);
    peel = lit(peel, 0.45 + 0.65 * diffuse, lenticels(u, v) * 0.18);
    paint(p, coverage, lit(peel, 1, pow(glance, 30) * 0.55));
    double cavity_x = u / 0.30, cavity_y = (v + 0.74) / 0.12;
    paint(p, exp(-(cavity_x * cavity_x + cavity_y * cavity_y)) * coverage * 0.75, (rgb){0.20, 0.27, 0.05});
    paint(p, sharp(p, segment(p, cx, cy - 0.72 * r, cx + 0.10 * r, cy - 1.08 * r, 0.035 * r)), (rgb){0.30, 0.20, 0.10});
}

static rgb colour_at(double x, double y)
{
    point p = {.x = x, .y = y, .edge = 1.0 / (2 * SCENE_SIDE)};
    wall(&p);
    table(&p, 0.42);
    orange(&p, 0.31, 0.56, 0.20);
    apple(&p, 0.70, 0.55, 0.20);
    return p.colour;
}

static uint8_t to_byte(double v) { return (uint8_t)(clip(v) * 255 + 0.5); }

en_status scene_orange_granny(img *out, en_error *e)
{
    EN_TRY(img_new(SCENE_SIDE, SCENE_SIDE, 0, out, e));
    uint8_t *to = out->rgb;
    for (int y = 0; y < SCENE_SIDE; y++)
        for (int x = 0; x < SCENE_SIDE; x++, to += 3) {
            rgb sum = {0};
            for (int i = 0; i < 4; i++) {
                rgb c = colour_at((2 * x + i % 2 + 0.5) / (2 * SCENE_SIDE), (2 * y + i / 2 + 0.5) / (2 * SCENE_SIDE));
                sum = (rgb){sum.r + c.r, sum.g + c.g, sum.b + c.b};
            }
            to[0] = to_byte(sum.r / 4);
            to[1] = to_byte(sum.g / 4);
            to[2] = to_byte(sum.b / 4);
        }
    return EN_OK;
}
