/* SPDX-License-Identifier: MIT */
/* JPEG coefficients to RGB, equal to libjpeg-turbo to the last bit: inverse DCT (Loeffler, Ligtenberg, Moschytz, "Practical fast
 * 1-D DCT algorithms with 11 multiplications", ICASSP 1989) in 13-bit fixed point, triangle filters for chroma sampled at half
 * the rate, and colour (ITU-T T.871 section 7) in 16-bit fixed point. */
#include "nets/image/jpeg.h"

#include <stdlib.h>
#include <string.h>

/* ---- inverse DCT ---- */

enum { SCALE_BITS = 13, PASS_BITS = 2 }; /* of the constants; kept between the two passes */

static inline int clamp(int x, int low, int high) { return x < low ? low : x > high ? high : x; }

/* x * 2^13, rounded: an integer constant expression wherever x is one. */
#define FIX(x) ((int32_t)((x) * (1 << SCALE_BITS) + 0.5))

/* Eight samples from eight coefficients, `step` apart. The 16-bit sums wrap and the results saturate as in the vector code of
 * libjpeg-turbo, which only matters for damaged files; with 16-bit inputs no 32-bit sum can exceed 7.9 * 2^28. */
static inline void idct_1d(int16_t *x, size_t step, int shift)
{
    int32_t x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step];
    int32_t x4 = x[4 * step], x5 = x[5 * step], x6 = x[6 * step], x7 = x[7 * step];

    int32_t turn = (x2 + x6) * FIX(0.541196100); /* even part: 0 and 4, then 2 and 6 turned by 6 pi / 16 */
    int32_t e2 = turn - x6 * FIX(1.847759065), e3 = turn + x2 * FIX(0.765366865);
    int32_t e0 = (int16_t)(x0 + x4) * (1 << SCALE_BITS), e1 = (int16_t)(x0 - x4) * (1 << SCALE_BITS);
    int32_t even[4] = {e0 + e3, e1 + e2, e1 - e2, e0 - e3};

    int32_t s73 = (int16_t)(x7 + x3), s51 = (int16_t)(x5 + x1), s71 = x7 + x1, s53 = x5 + x3;
    int32_t both = (s73 + s51) * FIX(1.175875602);
    int32_t a = both - s73 * FIX(1.961570560), b = both - s51 * FIX(0.390180644);
    int32_t c = s71 * FIX(0.899976223), d = s53 * FIX(2.562915447);
    int32_t odd[4] = {x1 * FIX(1.501321110) - c + b, x3 * FIX(3.072711026) - d + a, x5 * FIX(2.053119869) - d + b,
                      x7 * FIX(0.298631336) - c + a};

    int32_t half = 1 << (shift - 1);
    for (size_t i = 0; i < 4; i++) {
        x[i * step] = (int16_t)clamp((even[i] + odd[i] + half) >> shift, INT16_MIN, INT16_MAX);
        x[(7 - i) * step] = (int16_t)clamp((even[i] - odd[i] + half) >> shift, INT16_MIN, INT16_MAX);
    }
}

static void store_row(int16_t *row, uint8_t *out)
{
    idct_1d(row, 1, SCALE_BITS + PASS_BITS + 3);
    for (int i = 0; i < 8; i++) out[i] = (uint8_t)(clamp(row[i], -128, 127) + 128);
}

static int only_first_row(const int16_t block[64])
{
    uint64_t four[16], any = 0;
    memcpy(four, block, sizeof four);
    for (int i = 2; i < 16; i++) any |= four[i];
    return !any;
}

void img_jpeg_idct(const int16_t coefficients[64], const uint16_t quant[64], uint8_t *out, size_t stride)
{
    int16_t block[64];
    int flat = only_first_row(coefficients);
    for (int i = 0; i < (flat ? 8 : 64); i++) block[i] = (int16_t)(coefficients[i] * quant[i]);
    if (flat) { /* then all columns are constant and all rows equal */
        for (int i = 0; i < 8; i++) block[i] = (int16_t)(block[i] * (1 << PASS_BITS));
        store_row(block, out);
        for (size_t y = 1; y < 8; y++) memcpy(out + y * stride, out, 8);
        return;
    }
    for (size_t x = 0; x < 8; x++) idct_1d(block + x, 8, SCALE_BITS - PASS_BITS);
    for (size_t y = 0; y < 8; y++) store_row(block + y * 8, out + y * stride);
}

static en_status transform_component(jpeg_component *c, en_error *e)
{
    size_t stride = (size_t)c->stored_wide * 8;
    c->plane = malloc(stride * (size_t)c->stored_high * 8);
    if (!c->plane) return en_fail(e, EN_E_NOMEM, "no memory for a component of %d x %d samples", c->width, c->height);
    for (size_t y = 0; y < (size_t)c->blocks_high; y++)
        for (size_t x = 0; x < (size_t)c->blocks_wide; x++)
            img_jpeg_idct(c->coefficients + (y * (size_t)c->stored_wide + x) * 64, c->quant, c->plane + y * 8 * stride + x * 8,
                          stride);
    free(c->coefficients);
    c->coefficients = NULL;
    return EN_OK;
}

/* ---- upsampling: one row of pixels from the rows of samples around it ---- */

static const uint8_t *plane_row(const jpeg_component *c, int y)
{
    return c->plane + (size_t)clamp(y, 0, c->height - 1) * (size_t)c->stored_wide * 8;
}

/* The row of samples next to the pixel row y on its other side, where two pixel rows share one row of samples. */
static const uint8_t *far_row(const jpeg_component *c, int y) { return plane_row(c, y / 2 + (y & 1 ? 1 : -1)); }

static void repeat_samples(const jpeg_component *c, int y, uint8_t *out)
{
    const uint8_t *in = plane_row(c, y / c->expand_y);
    for (int x = 0; x < c->width; x++)
        for (int i = 0; i < c->expand_x; i++) *out++ = in[x];
}

/* Pixel centres lie a quarter of a sample off the sample centres: 3/4 of the near sample, 1/4 of the far one. The rounding
 * term alternates, so that it does not add up to a shift. */
static void triangle_down(const jpeg_component *c, int y, uint8_t *out)
{
    const uint8_t *near = plane_row(c, y / 2), *far = far_row(c, y);
    int round = y & 1 ? 2 : 1;
    for (int x = 0; x < c->width; x++) out[x] = (uint8_t)((3 * near[x] + far[x] + round) >> 2);
}

static void triangle_across(const jpeg_component *c, int y, uint8_t *out)
{
    const uint8_t *in = plane_row(c, y);
    int last = c->width - 1;
    out[0] = in[0];
    for (int x = 0; x < last; x++) {
        out[2 * x + 1] = (uint8_t)((3 * in[x] + in[x + 1] + 2) >> 2);
        out[2 * x + 2] = (uint8_t)((3 * in[x + 1] + in[x] + 1) >> 2);
    }
    out[2 * last + 1] = in[last];
}

static void triangle_both(const jpeg_component *c, int y, uint8_t *out)
{
    const uint8_t *near = plane_row(c, y / 2), *far = far_row(c, y);
    int last = c->width - 1, left = 3 * near[0] + far[0];
    out[0] = (uint8_t)((4 * left + 8) >> 4);
    for (int x = 0; x < last; x++) {
        int right = 3 * near[x + 1] + far[x + 1];
        out[2 * x + 1] = (uint8_t)((3 * left + right + 7) >> 4);
        out[2 * x + 2] = (uint8_t)((3 * right + left + 8) >> 4);
        left = right;
    }
    out[2 * last + 1] = (uint8_t)((4 * left + 7) >> 4);
}

typedef void upsampler(const jpeg_component *c, int y, uint8_t *out);

/* The choice of libjpeg-turbo, down to the plain repetition of very narrow pictures. */
static upsampler *choose_upsampler(const jpeg_component *c)
{
    if (c->expand_x == 1 && c->expand_y == 2) return triangle_down;
    if (c->expand_x == 2 && c->expand_y == 1 && c->width > 2) return triangle_across;
    if (c->expand_x == 2 && c->expand_y == 2 && c->width > 2) return triangle_both;
    return repeat_samples;
}

/* Row y of the picture; `scratch` has room for it where it must be made. */
static const uint8_t *pixel_row(const jpeg_component *c, int y, uint8_t *scratch)
{
    if (c->expand_x == 1 && c->expand_y == 1) return plane_row(c, y);
    choose_upsampler(c)(c, y, scratch);
    return scratch;
}

/* ---- colour ---- */

typedef enum colour { GREY, YCC, RGB, CMYK, YCCK } colour;

/* Files do not say it plainly: libjpeg's rules from the JFIF and Adobe markers and the names of the components. */
static colour guess_colour(const jpeg *j)
{
    const jpeg_component *c = j->component;
    if (j->components == 1) return GREY;
    if (j->components == 4) return j->adobe > 0 ? YCCK : CMYK;
    if (j->jfif) return YCC;
    if (j->adobe >= 0) return j->adobe == 0 ? RGB : YCC;
    return c[0].id == 'R' && c[1].id == 'G' && c[2].id == 'B' ? RGB : YCC;
}

static void ycc_to_rgb(int y, int cb, int cr, uint8_t rgb[3])
{
    enum { HALF = 1 << 15, R_CR = 91881, G_CB = 22554, G_CR = 46802, B_CB = 116130 }; /* 1.402 0.34414 0.71414 1.772, times 2^16 */
    cb -= 128;
    cr -= 128;
    rgb[0] = (uint8_t)clamp(y + ((R_CR * cr + HALF) >> 16), 0, 255);
    rgb[1] = (uint8_t)clamp(y + ((HALF - G_CB * cb - G_CR * cr) >> 16), 0, 255);
    rgb[2] = (uint8_t)clamp(y + ((B_CB * cb + HALF) >> 16), 0, 255);
}

/* Four-component files hold 255 - ink, as Adobe began it: what they call c is the light that the ink lets through. */
static uint8_t through_ink(int c, int k) { return (uint8_t)((c * k + 127) / 255); }

static void convert_row(colour space, const uint8_t *const in[JPEG_COMPONENTS], int width, uint8_t *rgb)
{
    for (int x = 0; x < width; x++, rgb += 3) {
        switch (space) {
        case GREY: rgb[0] = rgb[1] = rgb[2] = in[0][x]; break;
        case YCC: ycc_to_rgb(in[0][x], in[1][x], in[2][x], rgb); break;
        case RGB:
            for (int i = 0; i < 3; i++) rgb[i] = in[i][x];
            break;
        case CMYK:
            for (int i = 0; i < 3; i++) rgb[i] = through_ink(in[i][x], in[3][x]);
            break;
        case YCCK: /* the transform was of the inks */
            ycc_to_rgb(in[0][x], in[1][x], in[2][x], rgb);
            for (int i = 0; i < 3; i++) rgb[i] = through_ink(255 - rgb[i], in[3][x]);
            break;
        }
    }
}

en_status img_jpeg_render(jpeg *j, img *out, en_error *e)
{
    colour space = guess_colour(j);
    size_t row_size = 0;
    for (int i = 0; i < j->components; i++) {
        jpeg_component *c = &j->component[i];
        if (c->coefficients) EN_TRY(transform_component(c, e));
        size_t needed = (size_t)c->width * (size_t)c->expand_x;
        if (needed > row_size) row_size = needed;
    }
    EN_TRY(img_new((size_t)j->width, (size_t)j->height, j->max_pixels, out, e));
    uint8_t *rows = malloc(row_size * (size_t)j->components);
    if (!rows) return en_fail(e, EN_E_NOMEM, "no memory for rows of %d pixels", j->width);
    for (int y = 0; y < j->height; y++) {
        const uint8_t *in[JPEG_COMPONENTS] = {0};
        for (int i = 0; i < j->components; i++) in[i] = pixel_row(&j->component[i], y, rows + (size_t)i * row_size);
        convert_row(space, in, j->width, out->rgb + (size_t)y * (size_t)j->width * 3);
    }
    free(rows);
    return EN_OK;
}
