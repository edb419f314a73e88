/* SPDX-License-Identifier: MIT */
/* Preprocessing. Torchvision's rules, where they are not obvious:
 *     Resize(s)      a w x h picture, w <= h, becomes s x trunc(s h / w)
 *     CenterCrop(c)  starts at round((size - c) / 2), halves to even; a picture that is smaller is padded with black first
 *     Normalize      v = pixel / 255, then (v - mean) / std, all of it in float */
#include "nets/preprocess.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

net_recipe net_recipe_paper(void)
{
    return (net_recipe){.sizing = NET_SHORTER,
                        .shorter = 256,
                        .filter = IMG_BILINEAR,
                        .crop_width = 224,
                        .crop_height = 224,
                        .mean = {0.485f, 0.456f, 0.406f},
                        .std = {0.229f, 0.224f, 0.225f}};
}

net_recipe net_recipe_stored(const wt_preprocess *stored)
{
    net_recipe r = {.shorter = stored->shorter, .crop_width = stored->width, .crop_height = stored->height};
    r.sizing = !strcmp(stored->sizing, "shorter") ? NET_SHORTER : !strcmp(stored->sizing, "whole") ? NET_WHOLE : NET_AS_IS;
    r.filter = !strcmp(stored->filter, "bicubic") ? IMG_BICUBIC : IMG_BILINEAR;
    memcpy(r.mean, stored->mean, sizeof r.mean);
    memcpy(r.std, stored->std, sizeof r.std);
    return r;
}

/* Reads a decimal number of at most five digits, more than any side has; *text moves behind it. -1 if there is none. */
static int read_side(const char **text)
{
    int value = 0, digits = 0;
    for (; **text >= '0' && **text <= '9' && digits < 5; digits++, ++*text) value = 10 * value + (**text - '0');
    return digits ? value : -1;
}

static int read_char(const char **text, char c)
{
    int there = **text == c;
    *text += there;
    return there;
}

/* [SHORTER/]WIDTHxHEIGHT:FILTER, of `size` letters. 0 if it is not that. */
static int read_sizing(const char *text, size_t size, net_recipe *r)
{
    const char *at = text;
    r->sizing = NET_WHOLE;
    r->crop_width = read_side(&at);
    if (read_char(&at, '/')) {
        r->sizing = NET_SHORTER;
        r->shorter = r->crop_width;
        r->crop_width = read_side(&at);
        if (r->shorter < 1 || r->shorter > NET_MAX_INPUT_SIDE) return 0;
    }
    if (!read_char(&at, 'x') && !read_char(&at, 'X')) return 0;
    r->crop_height = read_side(&at);
    if (!read_char(&at, ':') || r->crop_width < 0 || r->crop_height < 0) return 0;
    size -= (size_t)(at - text);
    r->filter = size == 7 && !strncmp(at, "bicubic", size) ? IMG_BICUBIC : IMG_BILINEAR;
    if (r->sizing == NET_WHOLE && size == 4 && !strncmp(at, "none", size)) return r->sizing = NET_AS_IS, 1;
    return r->filter == IMG_BICUBIC || (size == 8 && !strncmp(at, "bilinear", size));
}

/* One number for all channels, or three. 0 if it is not that. */
static int read_channels(const char **text, float value[3])
{
    for (int i = 0; i < 3; i++) {
        char *end;
        if (i && !read_char(text, ',')) return i == 1 ? (value[1] = value[2] = value[0], 1) : 0;
        if (**text == ' ') return 0;
        value[i] = strtof(*text, &end);
        if (end == *text || !isfinite(value[i])) return 0;
        *text = end;
    }
    return 1;
}

static int read_scale(const char *text, net_recipe *r)
{
    if (!read_channels(&text, r->mean) || !read_char(&text, '/') || !read_channels(&text, r->std) || *text) return 0;
    return r->std[0] > 0 && r->std[1] > 0 && r->std[2] > 0;
}

en_status net_recipe_parse(const char *text, const net_recipe *native, net_recipe *out, en_error *e)
{
    size_t size = strcspn(text, "@");
    int paper = size == 5 && !strncmp(text, "paper", size), known = paper || (size == 6 && !strncmp(text, "native", size));
    *out = paper ? net_recipe_paper() : *native;
    if (!known && !read_sizing(text, size, out))
        return en_fail(e, EN_E_ARG,
                       "preprocessing \"%.80s\" is unknown: wanted native, paper, or [SHORTER/]WIDTHxHEIGHT:bilinear|bicubic|none, "
                       "as in 224x224:bicubic",
                       text);
    if (!known && (out->crop_width < 1 || out->crop_height < 1 || out->crop_width > NET_MAX_INPUT_SIDE || out->crop_height > NET_MAX_INPUT_SIDE))
        return en_fail(e, EN_E_ARG, "preprocessing \"%.80s\": both sides must be between 1 and %d", text, NET_MAX_INPUT_SIDE);
    if (text[size] && !read_scale(text + size + 1, out))
        return en_fail(e, EN_E_ARG, "preprocessing \"%.80s\": wanted @MEAN/STD, a number or three with commas each, STD above 0", text);
    return EN_OK;
}

/* The size of the whole resized picture. */
static void resized_size(const img *photo, const net_recipe *r, int *width, int *height)
{
    int64_t w = photo->width, h = photo->height, s = r->shorter;
    *width = r->sizing == NET_SHORTER ? (int)(w <= h ? s : s * w / h) : r->crop_width;
    *height = r->sizing == NET_SHORTER ? (int)(w <= h ? s * h / w : s) : r->crop_height;
}

/* Where a centre crop starts; negative when it has to be padded. */
static int crop_start(int size, int crop)
{
    int room = size - crop, half = room / 2;
    if (room < 0) return -(-room / 2);
    return half + (room & half & 1); /* 1.5 -> 2, 2.5 -> 2 */
}

static int max(int a, int b) { return a > b ? a : b; }
static int min(int a, int b) { return a < b ? a : b; }

/* Copies `part` into the black picture *out so that its corner lands on (left, top). */
static en_status pad(const img *part, int left, int top, int width, int height, img *out, en_error *e)
{
    EN_TRY(img_new((size_t)width, (size_t)height, 0, out, e));
    memset(out->rgb, 0, 3 * (size_t)width * (size_t)height);
    for (int y = 0; y < part->height; y++)
        memcpy(out->rgb + 3 * ((size_t)(top + y) * (size_t)width + (size_t)left), part->rgb + 3 * (size_t)y * (size_t)part->width,
               3 * (size_t)part->width);
    return EN_OK;
}

/* Resizes, and crops with the corner at (left, top) of the resized picture. */
static en_status resize_and_crop(const img *photo, const net_recipe *r, int width, int height, int left, int top, img *out,
                                 en_error *e)
{
    img_window inside = {max(left, 0), max(top, 0), min(r->crop_width, width), min(r->crop_height, height)};
    if (inside.width == r->crop_width && inside.height == r->crop_height)
        return img_resize_window(photo, width, height, r->filter, inside, out, e);
    img part = {0};
    EN_TRY(img_resize_window(photo, width, height, r->filter, inside, &part, e));
    en_status status = pad(&part, max(-left, 0), max(-top, 0), r->crop_width, r->crop_height, out, e);
    img_free(&part);
    return status;
}

/* chw[c, y, x] = (rgb[y, x, c] / 255 - mean[c]) / std[c] */
static void normalise(const img *seen, const net_recipe *r, float *chw)
{
    size_t n = (size_t)seen->width * (size_t)seen->height;
    for (size_t c = 0; c < 3; c++) {
        float value[256];
        for (int v = 0; v < 256; v++) value[v] = ((float)v / 255.0f - r->mean[c]) / r->std[c];
        for (size_t i = 0; i < n; i++) chw[c * n + i] = value[seen->rgb[3 * i + c]];
    }
}

static en_status check(const img *photo, const net_recipe *r, en_error *e)
{
    if (!photo->rgb || photo->width < 1 || photo->height < 1) return en_fail(e, EN_E_ARG, "preprocessing: the picture is empty");
    if (r->crop_width < 1 || r->crop_height < 1 || r->crop_width > NET_MAX_INPUT_SIDE || r->crop_height > NET_MAX_INPUT_SIDE)
        return en_fail(e, EN_E_ARG, "preprocessing: cannot make an input of %d x %d, a side has 1 to %d", r->crop_width,
                       r->crop_height, NET_MAX_INPUT_SIDE);
    if (r->sizing == NET_SHORTER && (r->shorter < 1 || r->shorter > NET_MAX_INPUT_SIDE))
        return en_fail(e, EN_E_ARG, "preprocessing: cannot resize the shorter side to %d, wanted 1 to %d", r->shorter,
                       NET_MAX_INPUT_SIDE);
    if (r->sizing == NET_AS_IS && (photo->width != r->crop_width || photo->height != r->crop_height))
        return en_fail(e, EN_E_ARG, "preprocessing \"none\": the picture has %d x %d pixels, wanted %d x %d", photo->width,
                       photo->height, r->crop_width, r->crop_height);
    return EN_OK;
}

en_status net_prepare(const img *photo, const net_recipe *r, net_input *out, en_error *e)
{
    int width, height;
    *out = (net_input){0};
    EN_TRY(check(photo, r, e));
    resized_size(photo, r, &width, &height);
    int left = crop_start(width, r->crop_width), top = crop_start(height, r->crop_height);
    EN_TRY(resize_and_crop(photo, r, width, height, left, top, &out->seen, e));
    out->width = r->crop_width;
    out->height = r->crop_height;
    double across = (double)photo->width / width, down = (double)photo->height / height;
    out->box[0] = left * across;
    out->box[1] = top * down;
    out->box[2] = (left + out->width) * across;
    out->box[3] = (top + out->height) * down;
    out->chw = malloc(3 * (size_t)out->width * (size_t)out->height * sizeof *out->chw);
    if (!out->chw) {
        net_input_free(out);
        return en_fail(e, EN_E_NOMEM, "out of memory for a network input of %d x %d", r->crop_width, r->crop_height);
    }
    normalise(&out->seen, r, out->chw);
    return EN_OK;
}

void net_input_free(net_input *input)
{
    img_free(&input->seen);
    free(input->chw);
    *input = (net_input){0};
}
