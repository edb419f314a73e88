/* SPDX-License-Identifier: MIT */
/* Methods that explain other inputs than the one they were given, in a context of their own.
 *
 *     augmented   the mean of the final maps of six inputs: as it is and mirrored (that map is mirrored back), times 0.9, 1 and 1.1
 *     SESS        (arXiv:2207.01769) the input at 12 sizes, shorter side w + i round(2 w / 7) with w its own shorter side; square windows of
 *                 side w, one beside the other, the last moved back inside. Each window's final map, times its class's probability (of the
 *                 largest), is pasted into zeros of the enlarged size and brought back to the input's; a pixel is the mean of those above 0
 *                 there; then a Gaussian of 11 x 11, deviation 5, mirrored at the borders. */
#include "cam/internal.h"

#include "engine/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { VARIANTS = 6, SCALES = 12, BLUR = 5 /* pixels on each side */ };

static en_status need_inner(cam_ctx *c, en_error *e)
{
    if (c->inner) return EN_OK;
    c->inner = calloc(1, sizeof *c->inner);
    if (!c->inner) return en_fail(e, EN_E_NOMEM, "context: out of memory");
    c->inner->net = c->net;
    c->inner->pool = c->pool;
    c->inner->outer = c;
    c->inner->exact = c->exact;
    return EN_OK;
}

/* The job as a request for another input, whose class is settled. */
static cam_request request_of(const cam_ctx *c, const cam_job *j, int image, const char *method, uint32_t without)
{
    int classes = c->net->classes;
    cam_aim aim = cam_aim_of(c, image, j->aim);
    cam_request r = {.size = sizeof r, .method = method, .utility = cam_utility_name(aim.utility), .layer = j->layer_name, .cls = aim.cls};
    r.seed = j->seed;
    r.flags = (j->flags & ~(without | CAM_WITH_HVP | CAM_WITH_GRADIENT)) | (aim.utility == CAM_CONTRAST ? CAM_AGAINST : 0);
    r.rival = cam_rival_of(c->logits + (size_t)image * (size_t)classes, classes, aim);
    return r;
}

/* ---- augmented ---- */

/* Variant v of an image: mirrored from the fourth on, times 0.9, 1, 1.1. */
static void make_variant(const float *x, int height, int width, int v, float *out)
{
    static const float factor[3] = {0.9f, 1, 1.1f};
    for (int row = 0; row < 3 * height; row++, x += width, out += width)
        for (int i = 0; i < width; i++) out[i] = factor[v % 3] * x[v < 3 ? i : width - 1 - i];
}

en_status cam_augmented_map(cam_ctx *c, const cam_job *j, cam_input in, int image, double *raw, en_error *e)
{
    size_t floats = 3 * (size_t)in.height * (size_t)in.width;
    float *variant = malloc(floats * sizeof *variant);
    cam_request want = request_of(c, j, image, j->method->name, CAM_AUG_SMOOTH);
    cam_result got;
    en_status status = variant ? need_inner(c, e) : en_fail(e, EN_E_NOMEM, "%s: out of memory", j->method->name);
    memset(raw, 0, floats / 3 * sizeof *raw);
    for (int v = 0; v < VARIANTS && status == EN_OK; v++) {
        make_variant(in.nchw + (size_t)image * floats, in.height, in.width, v, variant);
        status = cam_explain(c->inner, (cam_input){variant, 1, in.height, in.width}, &want, 1, &got, (cam_error *)e);
        const float *map = status == EN_OK ? cam_map(c->inner, 0, 0) : NULL;
        for (int y = 0; y < in.height && map; y++)
            for (int x = 0; x < in.width; x++) raw[y * in.width + x] += (double)map[y * in.width + (v < 3 ? x : in.width - 1 - x)] / VARIANTS;
    }
    free(variant);
    return status;
}

/* ---- SESS ---- */

typedef struct window {
    int top, left, scale; /* number of the scale */
    double score;         /* probability of the class */
    float *map;           /* [side,side] */
} window;

typedef struct scales {
    int side, height, width;      /* of windows; of the input */
    int tall[SCALES], wide[SCALES]; /* sizes of the enlarged inputs */
    window *windows;
    int count, room;
} scales;

static void find_sizes(scales *s)
{
    s->side = s->height < s->width ? s->height : s->width;
    int step = (2 * s->side + 3) / 7; /* 2 side / 7, rounded: no halves can be */
    for (int i = 0; i < SCALES; i++) {
        int shorter = s->side + i * step;
        s->tall[i] = (int)((int64_t)s->height * shorter / s->side);
        s->wide[i] = (int)((int64_t)s->width * shorter / s->side);
    }
}

/* Explains one window; its map joins the list. */
static en_status add_window(cam_ctx *c, scales *s, const cam_request *want, const float *x, window w, en_error *e)
{
    cam_result got;
    size_t pixels = (size_t)s->side * (size_t)s->side;
    if (s->count == s->room) {
        int room = s->room ? 2 * s->room : 32;
        window *grown = realloc(s->windows, (size_t)room * sizeof *grown);
        if (!grown) return en_fail(e, EN_E_NOMEM, "sess: out of memory");
        s->windows = grown;
        s->room = room;
    }
    EN_TRY(cam_explain(c->inner, (cam_input){x, 1, s->side, s->side}, want, 1, &got, (cam_error *)e));
    w.score = (double)got.probability;
    w.map = malloc(pixels * sizeof *w.map);
    if (!w.map) return en_fail(e, EN_E_NOMEM, "sess: out of memory");
    memcpy(w.map, cam_map(c->inner, 0, 0), pixels * sizeof *w.map);
    s->windows[s->count++] = w;
    return EN_OK;
}

static int windows_along(const scales *s, int size) { return (size + s->side - 1) / s->side; }
static int window_start(const scales *s, int i, int size) { return i * s->side < size - s->side ? i * s->side : size - s->side; }

/* All windows of scale i. image: [3,height,width] in double. */
static en_status add_scale(cam_ctx *c, scales *s, const cam_request *want, const double *image, int i, en_error *e)
{
    size_t pixels = (size_t)s->height * (size_t)s->width, large = (size_t)s->tall[i] * (size_t)s->wide[i], side = (size_t)s->side;
    double *enlarged = malloc(3 * large * sizeof *enlarged);
    float *x = malloc(3 * side * side * sizeof *x);
    en_status status = enlarged && x ? EN_OK : en_fail(e, EN_E_NOMEM, "sess: out of memory");
    for (size_t k = 0; k < 3 && status == EN_OK; k++)
        status = cam_resize(image + k * pixels, s->height, s->width, enlarged + k * large, s->tall[i], s->wide[i], e);
    for (int row = 0; row < windows_along(s, s->tall[i]) && status == EN_OK; row++)
        for (int column = 0; column < windows_along(s, s->wide[i]) && status == EN_OK; column++) {
            window w = {.top = window_start(s, row, s->tall[i]), .left = window_start(s, column, s->wide[i]), .scale = i};
            for (size_t k = 0; k < 3 * side * side; k++) {
                size_t at = k / side % side + (size_t)w.top;
                x[k] = (float)enlarged[k / (side * side) * large + at * (size_t)s->wide[i] + (size_t)w.left + k % side];
            }
            status = add_window(c, s, want, x, w, e);
        }
    free(enlarged);
    free(x);
    return status;
}

/* The mean over windows of what they paste above 0, [height,width]. count: as large, all 0. */
static en_status fuse(const scales *s, double *sum, double *count, en_error *e)
{
    size_t pixels = (size_t)s->height * (size_t)s->width, most = (size_t)s->tall[SCALES - 1] * (size_t)s->wide[SCALES - 1];
    double *canvas = malloc((most + pixels) * sizeof *canvas), *pasted = canvas + most, best = 0;
    if (!canvas) return en_fail(e, EN_E_NOMEM, "sess: out of memory");
    en_status status = EN_OK;
    for (int i = 0; i < s->count; i++) best = fmax(best, s->windows[i].score);
    for (int i = 0; i < s->count && status == EN_OK; i++) {
        const window *w = &s->windows[i];
        int tall = s->tall[w->scale], wide = s->wide[w->scale];
        memset(canvas, 0, (size_t)tall * (size_t)wide * sizeof *canvas);
        for (int y = 0; y < s->side; y++)
            for (int x = 0; x < s->side; x++)
                canvas[(size_t)(w->top + y) * (size_t)wide + (size_t)(w->left + x)] = (double)w->map[y * s->side + x] * (best > 0 ? w->score / best : 1);
        status = cam_resize(canvas, tall, wide, pasted, s->height, s->width, e);
        for (size_t k = 0; k < pixels && status == EN_OK; k++)
            if (pasted[k] > 0) sum[k] += pasted[k], count[k]++;
    }
    for (size_t k = 0; k < pixels; k++) sum[k] /= count[k] > 0 ? count[k] : 1;
    free(canvas);
    return status;
}

/* The Gaussian along one axis: `count` lines of `size` numbers, which lie `step` apart. */
static void blur_axis(const double *from, double *to, int size, int count, size_t line, size_t step)
{
    double tap[2 * BLUR + 1], total = 0;
    for (int i = 0; i <= 2 * BLUR; i++) total += tap[i] = en_exp(-(double)((i - BLUR) * (i - BLUR)) / (2.0 * BLUR * BLUR));
    for (int k = 0; k < count; k++)
        for (int i = 0; i < size; i++) {
            double sum = 0;
            for (int t = 0; t <= 2 * BLUR; t++) {
                int at = abs(i + t - BLUR);
                if (at >= size) at = 2 * size - 2 - at; /* inputs have 32 pixels at least */
                sum += tap[t] / total * from[(size_t)k * line + (size_t)at * step];
            }
            to[(size_t)k * line + (size_t)i * step] = sum;
        }
}

en_status cam_scales_map(cam_ctx *c, const cam_job *j, cam_input in, int image, double *raw, en_error *e)
{
    scales s = {.height = in.height, .width = in.width};
    size_t pixels = (size_t)in.height * (size_t)in.width;
    cam_request want = request_of(c, j, image, "gradcam", 0);
    double *work = calloc(3 * pixels, sizeof *work);
    en_status status = work ? need_inner(c, e) : en_fail(e, EN_E_NOMEM, "sess: out of memory");
    for (size_t i = 0; i < 3 * pixels && work; i++) work[i] = (double)in.nchw[(size_t)image * 3 * pixels + i];
    find_sizes(&s);
    for (int i = 0; i < SCALES && status == EN_OK; i++) status = add_scale(c, &s, &want, work, i, e);
    if (work) memset(work, 0, 3 * pixels * sizeof *work);
    if (status == EN_OK) status = fuse(&s, work, work + pixels, e);
    if (status == EN_OK) {
        blur_axis(work, work + pixels, in.width, in.height, (size_t)in.width, 1);
        blur_axis(work + pixels, raw, in.height, in.width, 1, (size_t)in.width);
    }
    for (int i = 0; i < s.count; i++) free(s.windows[i].map);
    free(s.windows);
    free(work);
    return status;
}
