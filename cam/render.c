/* SPDX-License-Identifier: MIT */
/* Layout first, then drawing, from top to bottom:
 *     stamp / title / subtitle / photograph | heat map | colour bar / captions
 * Under the colours the photograph is grey, so that every hue in the crop comes from the map. The map is enlarged bilinearly with
 * half-pixel centres, as OpenCV does: f = (x + 0.5) m/n - 0.5. */
#include "cam/render.h"

#include "cam/font.h"

#include <math.h>
#include <string.h>

enum {
    MARGIN = 20,
    GAP = 16,
    MIN_PANEL = 448, /* the longer side of the photograph is shown at least and at most this large */
    MAX_PANEL = 768,
    MIN_CONTENT = 480,
    MIN_BAR = 96,
    BAR_WIDTH = 16,
    LINE_SPACING = 4 /* dots of the font between lines */
};

static const cam_rgb PAPER = {255, 255, 255}, INK = {24, 24, 27}, PALE_INK = {95, 95, 106}, ALARM = {190, 24, 24};

static int max(int a, int b) { return a > b ? a : b; }
static int min(int a, int b) { return a < b ? a : b; }

static int line_height(int scale) { return (FONT_HEIGHT + LINE_SPACING) * scale; }

static void fill(img *to, img_window w, cam_rgb c)
{
    int right = min(w.left + w.width, to->width), bottom = min(w.top + w.height, to->height);
    for (int y = max(w.top, 0); y < bottom; y++)
        for (int x = max(w.left, 0); x < right; x++) memcpy(to->rgb + 3 * ((size_t)y * (size_t)to->width + (size_t)x), &c, 3);
}

/* A frame of the given thickness just inside the window. */
static void frame(img *to, img_window w, int thickness, cam_rgb c)
{
    fill(to, (img_window){w.left, w.top, w.width, thickness}, c);
    fill(to, (img_window){w.left, w.top + w.height - thickness, w.width, thickness}, c);
    fill(to, (img_window){w.left, w.top, thickness, w.height}, c);
    fill(to, (img_window){w.left + w.width - thickness, w.top, thickness, w.height}, c);
}

/* The texts above the panels, broken into lines for a given width. */
typedef struct header {
    cam_text stamp, title, subtitle;
    int title_scale, scale;
} header;

static header header_new(const cam_picture *p, int width, int scale)
{
    int small = FONT_WIDTH * scale, large = FONT_WIDTH * (scale + 1);
    return (header){cam_text_wrap(p->stamp, width / large, 2), cam_text_wrap(p->title, width / large, 2),
                    cam_text_wrap(p->subtitle, width / small, 4), scale + 1, scale};
}

static int stamp_height(const header *h) { return h->stamp.lines ? h->stamp.lines * line_height(h->title_scale) + GAP : 0; }

static int header_height(const header *h)
{
    int texts = h->title.lines * line_height(h->title_scale) + h->subtitle.lines * line_height(h->scale);
    return stamp_height(h) + MARGIN + (texts ? texts + GAP / 2 : 0);
}

/* Lines from y downwards, at the left of the window or centred in it. Returns the y below them. */
static int draw_lines(img *to, const cam_text *t, img_window w, int y, int scale, int centred, cam_rgb c)
{
    for (int i = 0; i < t->lines; i++, y += line_height(scale)) {
        int spare = w.width - (int)strlen(t->line[i]) * FONT_WIDTH * scale;
        cam_text_draw(to, w.left + (centred ? spare / 2 : 0), y, scale, c, t->line[i]);
    }
    return y;
}

static void draw_header(img *to, const header *h)
{
    img_window content = {MARGIN, 0, to->width - 2 * MARGIN, 0}, band = {0, 0, to->width, stamp_height(h)};
    fill(to, band, ALARM);
    draw_lines(to, &h->stamp, content, (GAP + LINE_SPACING * h->title_scale) / 2, h->title_scale, 1, PAPER);
    int y = draw_lines(to, &h->title, content, band.height + MARGIN, h->title_scale, 0, INK);
    draw_lines(to, &h->subtitle, content, y, h->scale, 0, PALE_INK);
}

/* The photograph's size in the picture. */
static void panel_size(const img *photo, int *width, int *height)
{
    int longer = max(photo->width, photo->height), target = max(MIN_PANEL, min(MAX_PANEL, longer));
    *width = max(1, (int)((double)photo->width * target / longer + 0.5));
    *height = max(1, (int)((double)photo->height * target / longer + 0.5));
}

/* One axis of the crop in pixels of the panel: what of it lies on the photograph, at least one pixel; none if it misses it. */
static void crop_axis(double low, double high, int photo, int panel, int *start, int *size)
{
    if (!(low < high && low < photo && high > 0)) {
        *start = *size = 0;
        return;
    }
    double scale = (double)panel / photo;
    *start = (int)fmin(fmax(floor(low * scale + 0.5), 0), panel - 1);
    *size = max(1, (int)fmin(floor(high * scale + 0.5), panel) - *start);
}

en_status cam_render_layout(const cam_picture *p, cam_layout *l, en_error *e)
{
    *l = (cam_layout){0};
    if (!p->photo || !p->photo->rgb || p->photo->width < 1 || p->photo->height < 1)
        return en_fail(e, EN_E_ARG, "render: there is no photograph");
    int w, h;
    panel_size(p->photo, &w, &h);
    crop_axis(p->crop[0], p->crop[2], p->photo->width, w, &l->crop.left, &l->crop.width);
    crop_axis(p->crop[1], p->crop[3], p->photo->height, h, &l->crop.top, &l->crop.height);
    if (!l->crop.width || !l->crop.height)
        return en_fail(e, EN_E_ARG, "render: the crop (%g, %g) to (%g, %g) shows nothing of a photograph of %d x %d", p->crop[0],
                       p->crop[1], p->crop[2], p->crop[3], p->photo->width, p->photo->height);
    int stacked = 2 * w > 3 * h;
    l->text_scale = (stacked ? w : 2 * w) > 700 ? 2 : 1;
    int bar_space = GAP + BAR_WIDTH + 4 * FONT_WIDTH * l->text_scale, used = (stacked ? w : 2 * w + GAP) + bar_space;
    int content = max(used, MIN_CONTENT), left = MARGIN + (content - used) / 2, caption = line_height(l->text_scale) + GAP / 2;
    header head = header_new(p, content, l->text_scale);
    l->header = header_height(&head);
    l->photo = (img_window){left, l->header, w, h};
    l->heat = stacked ? (img_window){left, l->header + h + caption + GAP / 2, w, h} : (img_window){left + w + GAP, l->header, w, h};
    l->bar = (img_window){l->heat.left + w + GAP, l->heat.top, BAR_WIDTH, max(h, MIN_BAR)};
    l->width = content + 2 * MARGIN;
    l->height = l->bar.top + max(h + caption, l->bar.height) + MARGIN;
    return EN_OK;
}

/* Copies the whole of a picture to (left, top) of a larger one. */
static void put(img *to, const img *from, int left, int top)
{
    for (int y = 0; y < from->height; y++)
        memcpy(to->rgb + 3 * ((size_t)(top + y) * (size_t)to->width + (size_t)left),
               from->rgb + 3 * (size_t)y * (size_t)from->width, 3 * (size_t)from->width);
}

/* Where a pixel reads one axis of the map: a blend of entry i and the next. */
typedef struct blend {
    int i, next;
    double t;
} blend;

static blend blend_at(double f, int size)
{
    if (!(f > 0)) return (blend){0, 0, 0};
    if (f >= size - 1) return (blend){size - 1, size - 1, 0};
    return (blend){(int)f, (int)f + 1, f - (int)f};
}

static double map_at(const cam_picture *p, blend y, blend x)
{
    const float *upper = p->map + (size_t)y.i * (size_t)p->map_w, *lower = p->map + (size_t)y.next * (size_t)p->map_w;
    double top = upper[x.i] * (1 - x.t) + upper[x.next] * x.t, bottom = lower[x.i] * (1 - x.t) + lower[x.next] * x.t;
    return top * (1 - y.t) + bottom * y.t;
}

/* The map's coordinate under the centre of a panel's pixel. */
static double map_coordinate(int pixel, int panel, int photo, double low, double high, int size)
{
    double at = (pixel + 0.5) * photo / panel;
    return (at - low) / (high - low) * size - 0.5;
}

/* ITU-R BT.601 luma. */
static double grey(const uint8_t *p) { return 0.299 * p[0] + 0.587 * p[1] + 0.114 * p[2]; }

static uint8_t mix(double under, double over, double opacity) { return (uint8_t)(under * (1 - opacity) + over * opacity + 0.5); }

static void draw_heat(img *to, const cam_picture *p, const cam_layout *l)
{
    double opacity = p->opacity > 0 ? fmin(p->opacity, 1) : 0.6;
    for (int y = l->crop.top; y < l->crop.top + l->crop.height; y++) {
        blend row = blend_at(map_coordinate(y, l->heat.height, p->photo->height, p->crop[1], p->crop[3], p->map_h), p->map_h);
        for (int x = l->crop.left; x < l->crop.left + l->crop.width; x++) {
            blend column = blend_at(map_coordinate(x, l->heat.width, p->photo->width, p->crop[0], p->crop[2], p->map_w), p->map_w);
            double value = fmin(fmax(map_at(p, row, column), 0), 1);
            cam_rgb c = cam_colour(p->colormap, (int)(value * 255 + 0.5));
            uint8_t *dot = to->rgb + 3 * ((size_t)(l->heat.top + y) * (size_t)to->width + (size_t)(l->heat.left + x));
            double under = 48 + 0.75 * grey(dot); /* neither black nor white, which would swallow the hue */
            dot[0] = mix(under, c.r, opacity);
            dot[1] = mix(under, c.g, opacity);
            dot[2] = mix(under, c.b, opacity);
        }
    }
}

static void draw_bar(img *to, const cam_picture *p, const cam_layout *l)
{
    const img_window *b = &l->bar;
    for (int y = 0; y < b->height; y++)
        fill(to, (img_window){b->left, b->top + y, b->width, 1},
             cam_colour(p->colormap, 255 - (y * 255 + b->height / 2) / (b->height - 1)));
    for (int i = 0; i <= 2; i++) {
        static const char *const label[] = {"1.0", "0.5", "0.0"};
        int s = l->text_scale, room = b->height - FONT_HEIGHT * s + 2 * s; /* the digits have a dot of air on both sides */
        cam_text_draw(to, b->left + b->width + FONT_WIDTH * s, b->top - s + i * room / 2, s, PALE_INK, label[i]);
    }
}

/* The crop greyed out, and the reason in a box over the middle of the panel. */
static void draw_status(img *to, const cam_picture *p, const cam_layout *l)
{
    for (int y = 0; y < l->crop.height; y++)
        for (int x = 0; x < l->crop.width; x++) {
            size_t row = (size_t)(l->heat.top + l->crop.top + y), column = (size_t)(l->heat.left + l->crop.left + x);
            uint8_t *dot = to->rgb + 3 * (row * (size_t)to->width + column);
            dot[0] = dot[1] = dot[2] = mix(grey(dot), 255, 0.5);
        }
    int s = l->text_scale, room = min(to->width - 2 * MARGIN, max(l->heat.width, MIN_CONTENT / 2)) - 4 * GAP, longest = 0;
    cam_text text = cam_text_wrap(p->status, room / (FONT_WIDTH * s), 6);
    for (int i = 0; i < text.lines; i++) longest = max(longest, (int)strlen(text.line[i]));
    int width = longest * FONT_WIDTH * s + 2 * GAP, height = text.lines * line_height(s) - LINE_SPACING * s + 2 * GAP;
    int left = l->heat.left + (l->heat.width - width) / 2, top = l->heat.top + (l->bar.height - height) / 2;
    img_window box = {max(MARGIN, min(left, to->width - MARGIN - width)), max(l->header, min(top, to->height - height)), width,
                      height};
    fill(to, box, PAPER);
    frame(to, box, s, INK);
    draw_lines(to, &text, box, box.top + GAP, s, 1, INK);
}

/* Marks the crop with a double line, seen on any ground; not where it is all there is, or too small to stay visible inside. */
static void draw_outline(img *to, img_window panel, img_window crop)
{
    if ((crop.width == panel.width && crop.height == panel.height) || min(crop.width, crop.height) < 16) return;
    img_window outer = {panel.left + crop.left, panel.top + crop.top, crop.width, crop.height};
    img_window inner = {outer.left + 2, outer.top + 2, outer.width - 4, outer.height - 4};
    frame(to, outer, 2, PAPER);
    frame(to, inner, 1, INK);
}

static void draw_caption(img *to, const char *text, img_window panel, int scale)
{
    cam_text line = cam_text_wrap(text, panel.width / (FONT_WIDTH * scale), 1);
    draw_lines(to, &line, panel, panel.top + panel.height + GAP / 2, scale, 0, PALE_INK);
}

static en_status check(const cam_picture *p, en_error *e)
{
    if (p->status) return EN_OK;
    if (!p->map || p->map_h < 1 || p->map_w < 1) return en_fail(e, EN_E_ARG, "render: there is neither a map nor a status");
    for (size_t i = 0; i < (size_t)p->map_h * (size_t)p->map_w; i++)
        if (!isfinite(p->map[i]))
            return en_fail(e, EN_E_NONFINITE, "render: the map is %g at row %zu, column %zu; give a status instead",
                           (double)p->map[i], i / (size_t)p->map_w, i % (size_t)p->map_w);
    return EN_OK;
}

static void draw(img *to, const cam_picture *p, const cam_layout *l, const img *small)
{
    header head = header_new(p, l->width - 2 * MARGIN, l->text_scale);
    int whole = l->crop.width == l->photo.width && l->crop.height == l->photo.height;
    fill(to, (img_window){0, 0, to->width, to->height}, PAPER);
    draw_header(to, &head);
    put(to, small, l->photo.left, l->photo.top);
    put(to, small, l->heat.left, l->heat.top);
    draw_outline(to, l->photo, l->crop);
    draw_caption(to, whole ? "picture" : "picture (frame: network input)", l->photo, l->text_scale);
    if (p->status) {
        draw_status(to, p, l);
        return;
    }
    draw_heat(to, p, l);
    draw_outline(to, l->heat, l->crop);
    draw_bar(to, p, l);
    draw_caption(to, "heat map", l->heat, l->text_scale);
}

en_status cam_render_overlay(const cam_picture *p, img *out, en_error *e)
{
    cam_layout l;
    img small = {0};
    *out = (img){0};
    EN_TRY(check(p, e));
    EN_TRY(cam_render_layout(p, &l, e));
    EN_TRY(img_resize(p->photo, l.photo.width, l.photo.height, IMG_BICUBIC, &small, e));
    en_status status = img_new((size_t)l.width, (size_t)l.height, 0, out, e);
    if (status == EN_OK) draw(out, p, &l, &small);
    img_free(&small);
    return status;
}

/* One channel of the look-alike before it is brightened, 0..1. */
static float half_and_half(const img *picture, const float *map, size_t pixel, int channel)
{
    float value = map[pixel] > 0 ? fminf(map[pixel], 1) : 0; /* a NaN is drawn as nothing */
    cam_rgb c = cam_colour(CAM_JET, (int)(255 * value));
    float heat = (float)(channel == 0 ? c.r : channel == 1 ? c.g : c.b) / 255;
    return 0.5f * heat + 0.5f * ((float)picture->rgb[3 * pixel + (size_t)channel] / 255);
}

en_status cam_render_lookalike(const img *picture, const float *map, img *out, en_error *e)
{
    float strongest = 0;
    EN_TRY(img_new((size_t)picture->width, (size_t)picture->height, 0, out, e));
    size_t n = (size_t)picture->width * (size_t)picture->height;
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) strongest = fmaxf(strongest, half_and_half(picture, map, i, k));
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < 3; k++) out->rgb[3 * i + (size_t)k] = (uint8_t)(255 * (half_and_half(picture, map, i, k) / strongest));
    return EN_OK;
}
