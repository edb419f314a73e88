/* SPDX-License-Identifier: MIT */
/* Separable resampling with an antialiasing filter, in fixed point. Along one axis output i is a weighted mean of the inputs around
 * centre = (i + 0.5) in/out, with weights k((j - centre + 0.5) / f), f = max(in/out, 1): when shrinking, the filter widens.
 * Horizontal pass first, rounded to 8 bits, then the vertical one (Pillow 13 turns that round for very tall pictures; networks and
 * paper are older); an axis whose size does not change is copied.
 * Bicubic: Keys 1981, "Cubic convolution interpolation", with a = -0.5. */
#include "nets/image/resize.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* 22 fraction bits leave room for 8 bits of pixel and one of overshoot in an int32_t: the sum of |weight| stays below 2. */
enum { FRACTION_BITS = 22, HALF = 1 << (FRACTION_BITS - 1), MAX_MIDDLE_PIXELS = 1 << 26 };

/* The weights of `count` consecutive outputs along one axis. Output i reads inputs first[i] .. first[i] + taps[i] - 1. */
typedef struct axis {
    int *first, *taps;
    int32_t *weight; /* [count][stride] */
    size_t stride;
} axis;

static double triangle(double x) { return x < 1 ? 1 - x : 0; }

static double cubic(double x)
{
    const double a = -0.5;
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
    return 0;
}

static void axis_free(axis *a)
{
    free(a->first);
    free(a->taps);
    free(a->weight);
    *a = (axis){0};
}

/* Half away from zero: C's conversion truncates. */
static int32_t to_fixed(double w) { return (int32_t)(w * (1 << FRACTION_BITS) + (w < 0 ? -0.5 : 0.5)); }

/* The weights of one output, normalised to a sum of one before they are rounded. `k` is scratch of a->stride doubles. */
static void weigh(axis *a, size_t i, double centre, double support, double f, img_filter filter, int in, double *k)
{
    double low = centre - support + 0.5, high = centre + support + 0.5, sum = 0, shrink = 1 / f;
    int first = low < 0 ? 0 : (int)low, end = high > in ? in : (int)high;
    for (int j = first; j < end; j++) {
        double distance = fabs((j - centre + 0.5) * shrink);
        k[j - first] = filter == IMG_BICUBIC ? cubic(distance) : triangle(distance);
        sum += k[j - first];
    }
    a->first[i] = first;
    a->taps[i] = end - first;
    for (int j = 0; j < end - first; j++) a->weight[i * a->stride + (size_t)j] = to_fixed(k[j] / sum);
}

/* Outputs start .. start+count-1 of an axis that is resized from `in` to `out` samples. */
static en_status axis_new(int in, int out, img_filter filter, int start, int count, axis *a, en_error *e)
{
    double scale = (double)in / out, f = scale > 1 ? scale : 1, support = (filter == IMG_BICUBIC ? 2 : 1) * f;
    size_t n = (size_t)count;
    *a = (axis){.stride = (size_t)ceil(support) * 2 + 1};
    if (a->stride > (size_t)in) a->stride = (size_t)in;
    a->first = malloc(n * sizeof *a->first);
    a->taps = malloc(n * sizeof *a->taps);
    a->weight = malloc(n * a->stride * sizeof *a->weight);
    double *k = malloc(a->stride * sizeof *k);
    if (!a->first || !a->taps || !a->weight || !k) {
        free(k);
        axis_free(a);
        return en_fail(e, EN_E_NOMEM, "out of memory for the weights of resizing %d to %d pixels", in, out);
    }
    for (int i = 0; i < count; i++) weigh(a, (size_t)i, (start + i + 0.5) * scale, support, f, filter, in, k);
    free(k);
    return EN_OK;
}

static uint8_t to_byte(int32_t sum)
{
    int32_t v = sum >> FRACTION_BITS;
    return v < 0 ? 0 : v > 255 ? 255 : (uint8_t)v;
}

/* One row of the horizontal pass. */
static void mix_row(const uint8_t *in, const axis *a, int count, uint8_t *out)
{
    for (int x = 0; x < count; x++, out += 3) {
        const uint8_t *p = in + 3 * (size_t)a->first[x];
        const int32_t *w = a->weight + (size_t)x * a->stride;
        int32_t r = HALF, g = HALF, b = HALF;
        for (int j = 0; j < a->taps[x]; j++, p += 3) {
            r += w[j] * p[0];
            g += w[j] * p[1];
            b += w[j] * p[2];
        }
        out[0] = to_byte(r);
        out[1] = to_byte(g);
        out[2] = to_byte(b);
    }
}

/* Rows top .. top+out->height-1 of `in`; of each, the columns of the axis, or a copy from column `left` on where there is none. */
static void pass_across(const img *in, int top, const axis *a, int left, img *out)
{
    size_t in_row = 3 * (size_t)in->width, out_row = 3 * (size_t)out->width;
    for (int y = 0; y < out->height; y++) {
        const uint8_t *from = in->rgb + (size_t)(top + y) * in_row;
        uint8_t *to = out->rgb + (size_t)y * out_row;
        if (a->weight)
            mix_row(from, a, out->width, to);
        else
            memcpy(to, from + 3 * (size_t)left, out_row);
    }
}

/* One block of a row. The constant number of lanes is what lets compilers keep the sums in vector registers. */
enum { LANES = 16 };

static void mix_block(const uint8_t *in, size_t row, const int32_t *weight, int taps, uint8_t *out)
{
    int32_t sum[LANES];
    for (int i = 0; i < LANES; i++) sum[i] = HALF;
    for (int j = 0; j < taps; j++, in += row)
        for (int i = 0; i < LANES; i++) sum[i] += weight[j] * in[i];
    for (int i = 0; i < LANES; i++) out[i] = to_byte(sum[i]);
}

/* Output row y is a mix of whole rows; `top` is the row of the source that in->rgb starts with. */
static void pass_down(const img *in, int top, const axis *a, img *out)
{
    size_t row = 3 * (size_t)in->width;
    for (int y = 0; y < out->height; y++) {
        const uint8_t *from = in->rgb + (size_t)(a->first[y] - top) * row;
        const int32_t *w = a->weight + (size_t)y * a->stride;
        uint8_t *to = out->rgb + (size_t)y * row;
        size_t i = 0;
        for (; i + LANES <= row; i += LANES) mix_block(from + i, row, w, a->taps[y], to + i);
        for (; i < row; i++) {
            int32_t sum = HALF;
            for (int j = 0; j < a->taps[y]; j++) sum += w[j] * from[(size_t)j * row + i];
            to[i] = to_byte(sum);
        }
    }
}

static en_status check(const img *in, int width, int height, img_window w, en_error *e)
{
    if (!in->rgb || in->width < 1 || in->height < 1) return en_fail(e, EN_E_ARG, "resize: the picture is empty");
    if (width < 1 || height < 1) return en_fail(e, EN_E_ARG, "resize: cannot make a picture of %d x %d pixels", width, height);
    if (w.width < 1 || w.height < 1 || w.left < 0 || w.top < 0 || w.left > width - w.width || w.top > height - w.height)
        return en_fail(e, EN_E_ARG, "resize: the window %d x %d at (%d, %d) is not inside %d x %d", w.width, w.height, w.left,
                       w.top, width, height);
    if (w.width > IMG_MAX_SIDE || w.height > IMG_MAX_SIDE)
        return en_fail(e, EN_E_LIMIT, "resize: %d x %d pixels are too many, a side may have %d", w.width, w.height, IMG_MAX_SIDE);
    return EN_OK;
}

/* Both passes; `middle` holds the rows that the second one reads. */
static en_status passes(const img *in, const axis *across, const axis *down, img_window w, img *out, en_error *e)
{
    img middle = {0};
    if (!down->weight) {
        EN_TRY(img_new((size_t)w.width, (size_t)w.height, 0, out, e));
        pass_across(in, w.top, across, w.left, out);
        return EN_OK;
    }
    int top = down->first[0], end = down->first[w.height - 1] + down->taps[w.height - 1];
    EN_TRY(img_new((size_t)w.width, (size_t)(end - top), MAX_MIDDLE_PIXELS, &middle, e));
    en_status status = img_new((size_t)w.width, (size_t)w.height, 0, out, e);
    if (status == EN_OK) {
        pass_across(in, top, across, w.left, &middle);
        pass_down(&middle, top, down, out);
    }
    img_free(&middle);
    return status;
}

en_status img_resize_window(const img *in, int width, int height, img_filter filter, img_window w, img *out, en_error *e)
{
    axis across = {0}, down = {0};
    *out = (img){0};
    EN_TRY(check(in, width, height, w, e));
    en_status status = EN_OK;
    if (width != in->width) status = axis_new(in->width, width, filter, w.left, w.width, &across, e);
    if (status == EN_OK && height != in->height) status = axis_new(in->height, height, filter, w.top, w.height, &down, e);
    if (status == EN_OK) status = passes(in, &across, &down, w, out, e);
    axis_free(&across);
    axis_free(&down);
    if (status != EN_OK) return en_wrap(e, status, "resizing %d x %d pixels to %d x %d", in->width, in->height, width, height);
    return EN_OK;
}

en_status img_resize(const img *in, int width, int height, img_filter filter, img *out, en_error *e)
{
    return img_resize_window(in, width, height, filter, (img_window){0, 0, width, height}, out, e);
}
