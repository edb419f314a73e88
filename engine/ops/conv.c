/* SPDX-License-Identifier: MIT */
/* Convolution, as every deep learning library has it: cross-correlation with zero padding,
 *
 *     y[n,o,p,q] = b[o] + sum over c, r, s of  w[o,c,r,s] x[n, c, p*stride + r - pad, q*stride + s - pad]
 *
 * A matrix product whose left side is read in place: no im2col. Where there is padding, a band of rows that fits the second-level cache is
 * copied with a border of zeros into the worker's scratch. It is bilinear in x and w, so the four rules are the same product with
 * other arguments. One channel per group (depthwise), and 4 or 8, have a kernel of their own; many a 3 x 3 window multiplies less (winograd.h). */
#include "engine/ops/conv.h"
#include "engine/ops.h"
#include "engine/ops/winograd.h"

#include "engine/memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    BAND_FLOATS = 96 << 10, /* of input that a job keeps in cache: 384 KiB        */
    JOBS = 16,              /* wanted at least, so that threads can share evenly  */
    LEAST_ROWS = 4,         /* of a band,                                         */
    LEAST_PIXELS = 49,      /* and pixels of a piece: smaller jobs do not pay     */
    BANDS = 4,              /* of a channel block, at most                        */
    CHUNK = 4,              /* panels that a job takes at least: the widest tile  */
    JOIN_FLOATS = 192 << 10, /* of a depthwise convolution's input that is not stored, at least; and of its bands, at most */
    JOIN_PANELS = 2,        /* channel blocks of it that are made together        */
    JOIN_JOBS = 8,          /* wanted at least                                    */
    MAX_TAPS = 1024,        /* largest window, in pixels                          */
    MAX_GROUP = 8,          /* channels of a group, */
    MAX_GROUP_TAPS = 25,    /* and its window, for which there is a kernel        */
    MAX_PAD = 1 << 16
};

/* Height and width of the window; weights of a linear layer, [O,C], are those of a 1 x 1 convolution. */
static int window(const en_shape *w, int axis) { return w->rank == 4 ? w->dim[2 + axis] : 1; }

conv_geometry conv_geometry_of(const en_node *n, const en_shape *x, const en_shape *w)
{
    const en_attr *a = &n->attr;
    int side = n->pooled ? 2 : 1; /* of the pixels of which one is stored */
    conv_geometry m = {.c = x->dim[1], .h = x->dim[2], .w = x->dim[3], .o = n->shape.dim[1], .p = n->shape.dim[2] * side, .q = n->shape.dim[3] * side,
                  .r = window(w, 0), .s = window(w, 1), .stride_h = a->stride[0], .stride_w = a->stride[1], .pad_h = a->pad[0], .pad_w = a->pad[1],
                  .blocks = en_blocks(x->dim[1]), .stored = x->layout == EN_PICTURE ? x->dim[1] : EN_LANES,
                  .x_image = en_image_floats(x), .y_image = en_image_floats(&n->shape)};
    m.depthwise = a->groups > 1 && a->groups == m.c && a->groups == m.o;
    int group = m.c / a->groups;
    if (m.depthwise || (m.c == m.o && (group == 4 || group == MAX_GROUP) && m.c % EN_LANES == 0 && m.r * m.s <= MAX_GROUP_TAPS)) m.group = group;
    if (a->groups == 1 && m.c <= EN_COLOURS) m.few = m.c;
    m.form = panels_for(m.o, m.c, a->groups, m.r * m.s);
    return m;
}

/* Depthwise weights are [C/16][taps][16]. */
static size_t packed_floats(const conv_geometry *m)
{
    return m->depthwise ? (size_t)m->blocks * (size_t)(m->r * m->s) * EN_LANES : panels_floats(&m->form);
}

/* Bands or pieces of an image that make JOBS jobs, if each is split by output channels as far as that goes. */
static int bands_wanted(const conv_geometry *m)
{
    int chunks = (m->form.panels + CHUNK - 1) / CHUNK;
    return (JOBS + chunks - 1) / chunks;
}

/* Floats of a row of padded input. */
static size_t row_floats(const conv_geometry *m) { return (size_t)(m->few ? m->few : m->blocks * EN_LANES) * (size_t)((m->q - 1) * m->stride_w + m->s); }

int conv_is_flat(const conv_geometry *m) { return m->r * m->s == 1 && m->pad_h + m->pad_w == 0 && m->stride_h * m->stride_w == 1; }

/* Rows of output that one job computes, and the padded input that they read. */
static int band_rows(const conv_geometry *m)
{
    size_t row = row_floats(m);
    int rows = ((int)(BAND_FLOATS / row) - m->r) / m->stride_h + 1, most = (m->p + bands_wanted(m) - 1) / bands_wanted(m);
    if (most < LEAST_ROWS && !conv_is_flat(m)) most = LEAST_ROWS;
    if (rows > most) rows = most;
    return rows < 1 ? 1 : rows > m->p ? m->p : rows;
}

static size_t band_floats(const conv_geometry *m)
{
    return row_floats(m) * (size_t)((band_rows(m) - 1) * m->stride_h + m->r);
}

/* Whether the product reads a copy: with padding around, or without padding in it. */
static int is_copied(const conv_geometry *m) { return m->pad_h || m->pad_w || (m->few && m->stored != m->few); }

/* Makes equal pieces of the pixels, which fit a band and are its rows from then on. */
static void flatten_pixels(conv_geometry *m)
{
    if (!conv_is_flat(m)) return;
    int pixels = m->h * m->w, pieces = (int)((size_t)pixels * (size_t)m->blocks * EN_LANES / BAND_FLOATS) + 1;
    if (pieces < bands_wanted(m)) pieces = bands_wanted(m);
    int length = (pixels + pieces - 1) / pieces;
    if (length < LEAST_PIXELS) length = pixels < LEAST_PIXELS ? pixels : LEAST_PIXELS;
    while (pixels % length) length++;
    m->h = m->p = pixels / length;
    m->w = m->q = length;
}

/* ---- y = B(x, w) + b ---- */

typedef struct forward_job {
    const conv_geometry *m;
    const en_call *call;
    const float *x, *packed, *bias;
    float *y;
    const float *residual, *gate;
    int bands, rows, chunks;
    int ready[EN_MAX_THREADS]; /* the band that a worker has a copy of, or -1 */
} forward_job;

static kn_epilogue epilogue_of(const forward_job *j, int image)
{
    const en_node *n = j->call->node;
    kn_epilogue e = {.bias = j->bias, .biased = image < j->call->biased ? INT32_MAX : 0, .scale = n->scale, .shift = n->shift, .act = n->act};
    if (!e.biased) e.bias = NULL;
    if (j->residual) e.residual = j->residual + (size_t)image * j->m->y_image;
    return e;
}

/* The same from output channel o on. */
static kn_epilogue from_channel(kn_epilogue e, int o)
{
    if (e.bias) e.bias += o;
    if (e.scale) e.scale += o, e.shift += o;
    return e;
}

/* Copies the rows of the padded input that output rows p0 .. p0+rows-1 read: [C/16][height][width][16], of which channel blocks b0 .. b1-1. */
static void copy_band(const conv_geometry *m, const float *x, int p0, int rows, int b0, int b1, float *band)
{
    int height = (rows - 1) * m->stride_h + m->r, width = (m->q - 1) * m->stride_w + m->s;
    int left = m->pad_w < width ? m->pad_w : width, inside = m->w < width - left ? m->w : width - left;
    band += (ptrdiff_t)b0 * height * width * EN_LANES;
    for (int b = b0; b < b1; b++)
        for (int i = 0; i < height; i++, band += (ptrdiff_t)width * EN_LANES) {
            int y = p0 * m->stride_h - m->pad_h + i;
            if (y < 0 || y >= m->h) {
                memset(band, 0, (size_t)width * EN_LANES * sizeof *band);
                continue;
            }
            memset(band, 0, (size_t)left * EN_LANES * sizeof *band);
            memcpy(band + left * EN_LANES, x + ((ptrdiff_t)b * m->h + y) * m->w * EN_LANES, (size_t)inside * EN_LANES * sizeof *band);
            memset(band + (left + inside) * EN_LANES, 0, (size_t)(width - left - inside) * EN_LANES * sizeof *band);
        }
}

/* The same of rows without a border, channels multiplied by the gate. */
static void copy_gated(const forward_job *j, int image, const float *x, int p0, int rows, float *band)
{
    const conv_geometry *m = j->m;
    size_t pixels = (size_t)rows * (size_t)m->w, map = (size_t)m->h * (size_t)m->w * EN_LANES;
    for (size_t b = 0; b < (size_t)m->blocks; b++)
        j->call->kernels->affine(pixels, j->gate + ((size_t)image * (size_t)m->blocks + b) * EN_LANES, NULL,
                                 x + b * map + (size_t)p0 * (size_t)m->w * EN_LANES, band + b * pixels * EN_LANES);
}

/* The same of a picture, [height][width][few]: the pixels under a row of the window are neighbours, so that the product has long rows. */
static void copy_picture(const conv_geometry *m, const float *x, int p0, int rows, float *band)
{
    int height = (rows - 1) * m->stride_h + m->r, width = (m->q - 1) * m->stride_w + m->s, few = m->few;
    memset(band, 0, (size_t)height * (size_t)width * (size_t)few * sizeof *band);
    for (int i = 0; i < height; i++, band += width * few) {
        int y = p0 * m->stride_h - m->pad_h + i;
        const float *row = x + (ptrdiff_t)y * m->w * m->stored;
        int inside = y < 0 || y >= m->h ? 0 : m->w < width - m->pad_w ? m->w : width - m->pad_w;
        if (m->stored == few && inside > 0) memcpy(band + m->pad_w * few, row, (size_t)inside * (size_t)few * sizeof *band);
        for (int z = 0; z < inside && m->stored != few; z++)
            for (int c = 0; c < few; c++) band[(z + m->pad_w) * few + c] = row[z * m->stored + c];
    }
}

static void forward_band(void *arg, int job, int worker)
{
    forward_job *j = arg;
    const conv_geometry *m = j->m;
    int chunk = job % j->chunks, band = job / j->chunks % j->bands, image = job / j->chunks / j->bands;
    int p0 = band * j->rows, rows = m->p - p0 < j->rows ? m->p - p0 : j->rows;
    int each = (m->form.panels + j->chunks - 1) / j->chunks, first = chunk * each;
    int last = first + each < m->form.panels ? first + each : m->form.panels;
    int width = m->w, height = m->h;
    const float *a = j->x + (size_t)image * m->x_image;
    if (is_copied(m) || j->gate) {
        float *copy = j->call->worker_scratch + (size_t)worker * j->call->node->worker_scratch;
        int dense = m->form.groups == 1, lo = panel_lo(&m->form, first), hi = panel_lo(&m->form, last - 1) + m->form.depth;
        int there = dense && j->ready[worker] == job / j->chunks;
        if (!there && j->gate) copy_gated(j, image, a, p0, rows, copy);
        else if (!there && m->few) copy_picture(m, a, p0, rows, copy);
        else if (!there) copy_band(m, a, p0, rows, lo / EN_LANES, dense ? m->blocks : en_blocks(hi), copy);
        j->ready[worker] = job / j->chunks;
        a = copy;
        width = (m->q - 1) * m->stride_w + m->s;
        height = (rows - 1) * m->stride_h + m->r;
    } else {
        a += (ptrdiff_t)p0 * m->stride_h * width * m->stored;
    }
    ptrdiff_t tap[MAX_TAPS], pixel = m->few ? m->few : EN_LANES;
    int taps = m->few ? m->r : m->form.taps, in_row = m->form.taps / taps; /* pixels under a row of the window are one tap, or one each */
    for (int t = 0; t < taps; t++) tap[t] = m->few ? (ptrdiff_t)t * width * pixel : ((ptrdiff_t)(t / m->s) * width + t % m->s) * EN_LANES;
    size_t panel = panels_floats(&m->form) / (size_t)m->form.panels, out = (size_t)m->p * (size_t)m->q * EN_LANES;
    kn_gemm g = {.a_run = (ptrdiff_t)m->stride_h * width * pixel, .a_row = (ptrdiff_t)m->stride_w * pixel,
                 .a_block = m->few ? EN_LANES : (ptrdiff_t)height * width * EN_LANES,
                 .tap = tap, .taps = taps, .depth = in_row * m->form.depth,
                 .b_panel = panel, .c_run = (ptrdiff_t)m->q * EN_LANES, .c_row = EN_LANES, .c_panel = (ptrdiff_t)out, .runs = rows, .rows = m->q};
    for (int o = first; o < last; o += g.panels) {
        size_t at = (size_t)o * out + (size_t)p0 * (size_t)m->q * EN_LANES;
        for (g.panels = 1; o + g.panels < last && panel_lo(&m->form, o + g.panels) == panel_lo(&m->form, o);) g.panels++; /* that read the same channels */
        g.a = a + panel_lo(&m->form, o) / EN_LANES * g.a_block;
        g.b = j->packed + (size_t)o * panel;
        g.c = j->y + (size_t)image * m->y_image + at;
        g.epilogue = from_channel(epilogue_of(j, image), o * EN_LANES);
        if (g.epilogue.residual) g.epilogue.residual += at;
        j->call->kernels->gemm(&g);
    }
}

/* Small groups: what the kernel wants of a panel, [group][taps][16], without the zeros where an output does not read a channel. */
static void group_weights(const conv_geometry *m, const float *panel, float *out)
{
    int taps = m->r * m->s;
    for (int c = 0; c < m->group; c++)
        for (int t = 0; t < taps; t++)
            for (int o = 0; o < EN_LANES; o++) out[(c * taps + t) * EN_LANES + o] = panel[(t * EN_LANES + o / m->group * m->group + c) * EN_LANES + o];
}

/* Rows p0 .. p-1 of one channel block. `weights` is room for those of small groups. */
static kn_depthwise block_of(const forward_job *j, int image, int block, int p0, int p, float *weights)
{
    const conv_geometry *m = j->m;
    int taps = m->r * m->s;
    size_t at = ((size_t)image * (size_t)m->blocks + (size_t)block) * (size_t)m->p * (size_t)m->q * EN_LANES;
    kn_depthwise d = {.x = j->x + ((size_t)image * (size_t)m->blocks + (size_t)block) * (size_t)m->h * (size_t)m->w * EN_LANES, .weights = weights,
                      .y = j->y + at, .group = m->group, .h = m->h, .w = m->w, .p0 = p0, .p = p, .q = m->q, .kh = m->r, .kw = m->s,
                      .stride_h = m->stride_h, .stride_w = m->stride_w, .pad_h = m->pad_h, .pad_w = m->pad_w,
                      .epilogue = from_channel(epilogue_of(j, image), block * EN_LANES)};
    if (j->residual) d.epilogue.residual = j->residual + at;
    if (m->group > 1) group_weights(m, j->packed + (size_t)block * (size_t)(taps * EN_LANES * EN_LANES), weights);
    else d.weights = j->packed + (size_t)block * (size_t)taps * EN_LANES;
    return d;
}

/* Some rows of one channel block, depthwise or in small groups. All blocks of the same rows follow each other: the layers around split pixels, too. */
static void forward_block(void *arg, int job, int worker)
{
    (void)worker;
    const forward_job *j = arg;
    const conv_geometry *m = j->m;
    int block = job % m->blocks, band = job / m->blocks % j->bands, image = job / m->blocks / j->bands;
    float weights[MAX_GROUP * MAX_GROUP_TAPS * EN_LANES];
    kn_depthwise d = block_of(j, image, block, m->p * band / j->bands, m->p * (band + 1) / j->bands, weights);
    j->call->kernels->depthwise(&d);
}

/* ---- a depthwise convolution that makes its input itself ---- */

/* Rows of the input that band number `band` reads: from .. to-1. */
static void rows_read(const conv_geometry *m, int band, int bands, int *from, int *to)
{
    *from = m->p * band / bands * m->stride_h - m->pad_h;
    *to = (m->p * (band + 1) / bands - 1) * m->stride_h - m->pad_h + m->r;
    if (*from < 0) *from = 0;
    if (*to > m->h) *to = m->h;
}

/* Bands of which JOIN_PANELS blocks stay in the second-level cache, and enough of them. */
static int join_bands(const conv_geometry *m)
{
    int rows = (JOIN_FLOATS / (JOIN_PANELS * m->w * EN_LANES) - m->r) / m->stride_h + 1, chunks = (m->blocks + JOIN_PANELS - 1) / JOIN_PANELS;
    int bands = rows < 1 ? m->p : (m->p + rows - 1) / rows, wanted = (JOIN_JOBS + chunks - 1) / chunks;
    if (bands < wanted) bands = wanted;
    return bands < m->p ? bands : m->p;
}

size_t conv2d_gate(const en_node *n, const en_shape *x, const en_shape *w)
{
    conv_geometry m = conv_geometry_of(n, x, w);
    if (!conv_is_flat(&m) || m.form.groups != 1 || m.few) return 0;
    flatten_pixels(&m);
    return band_floats(&m);
}

size_t conv2d_join(const en_node *expand, const en_shape *x, const en_shape *expand_w, const en_node *depthwise, const en_shape *w)
{
    conv_geometry e = conv_geometry_of(expand, x, expand_w), m = conv_geometry_of(depthwise, &expand->shape, w);
    int one = conv_is_flat(&e) && e.form.groups == 1 && !e.few && expand->inputs == 2;
    if (!one || !m.depthwise || m.x_image < JOIN_FLOATS) return 0;
    int bands = join_bands(&m), most = 0;
    for (int i = 0, from, to; i < bands; i++) {
        rows_read(&m, i, bands, &from, &to);
        if (to - from > most) most = to - from;
    }
    return most > 0 ? (size_t)most * (size_t)m.w * JOIN_PANELS * EN_LANES : 0;
}

/* JOIN_PANELS channel blocks of a band: first of the input, then of the output. */
static void forward_joined(void *arg, int job, int worker)
{
    const forward_job *j = arg;
    const conv_geometry *m = j->m;
    const en_call *c = j->call;
    static const ptrdiff_t tap = 0;
    int first = job % j->chunks * JOIN_PANELS, band = job / j->chunks % j->bands, image = job / j->chunks / j->bands, from, to;
    int panels = m->blocks - first < JOIN_PANELS ? m->blocks - first : JOIN_PANELS;
    rows_read(m, band, j->bands, &from, &to);
    size_t map = (size_t)m->h * (size_t)m->w * EN_LANES, depth = (size_t)c->in[0]->dim[1], part = (size_t)(to - from) * (size_t)m->w * EN_LANES;
    float *rows = c->worker_scratch + (size_t)worker * c->node->worker_scratch, weights[1];
    kn_epilogue e = {.scale = c->before->scale, .shift = c->before->shift, .act = c->before->act};
    c->kernels->gemm(&(kn_gemm){.a = c->x[0] + (size_t)image * en_image_floats(c->in[0]) + (size_t)from * (size_t)m->w * EN_LANES, .a_row = EN_LANES,
        .a_block = (ptrdiff_t)map, .tap = &tap, .taps = 1, .depth = (int)depth, .b = c->before->prepared + (size_t)first * depth * EN_LANES,
        .b_panel = depth * EN_LANES, .c = rows, .c_row = EN_LANES, .c_panel = (ptrdiff_t)part, .runs = 1, .rows = (to - from) * m->w, .panels = panels,
        .epilogue = from_channel(e, first * EN_LANES)});
    for (int i = 0; i < panels; i++) {
        int p0 = m->p * band / j->bands, above = p0 * m->stride_h - m->pad_h; /* the first row under the window, which may lie above the map */
        kn_depthwise d = block_of(j, image, first + i, 0, m->p * (band + 1) / j->bands - p0, weights);
        size_t skipped = (size_t)p0 * (size_t)m->q * EN_LANES;
        d.x = rows + (size_t)i * part;
        d.h = to - from;
        d.pad_h = from - above;
        d.y += skipped;
        if (d.epilogue.residual) d.epilogue.residual += skipped;
        c->kernels->depthwise(&d);
    }
}

static void pack_depthwise(const conv_geometry *m, const float *weights, float *out)
{
    int taps = m->r * m->s;
    memset(out, 0, packed_floats(m) * sizeof *out);
    for (int c = 0; c < m->c; c++)
        for (int t = 0; t < taps; t++) out[(c / EN_LANES * taps + t) * EN_LANES + c % EN_LANES] = weights[c * taps + t];
}

const float *conv_weights(const en_call *c, const conv_geometry *m, const float *weights)
{
    if (!m->depthwise) return panels_of(c, &m->form, weights);
    if (c->node->prepared) return c->node->prepared;
    pack_depthwise(m, weights, c->scratch);
    return c->scratch;
}

static int is_winograd(const conv_geometry *m)
{
    return m->r == 3 && m->s == 3 && m->stride_h == 1 && m->stride_w == 1 && m->form.groups == 1 && winograd_suits(m->c, m->o, m->p, m->q);
}

int conv2d_pools(const en_node *n, const en_shape *x, const en_shape *w)
{
    conv_geometry m = conv_geometry_of(n, x, w);
    return is_winograd(&m) && m.p % KN_TILE == 0 && m.q % KN_TILE == 0;
}

static void convolve_winograd(const forward_job *j)
{
    const conv_geometry *m = j->m;
    winograd g = {.call = j->call, .c = m->c, .h = m->h, .w = m->w, .o = m->o, .p = m->p, .q = m->q, .pad_h = m->pad_h, .pad_w = m->pad_w, .x = j->x,
                  .packed = j->packed, .y = j->y, .pooled = j->call->node->pooled, .epilogue = epilogue_of(j, 0)};
    g.epilogue.bias = j->bias;
    g.epilogue.biased = j->call->biased;
    winograd_convolve(&g);
}

/* y = B(x, w) + bias, plus the residual if there is one. */
static void convolve(const en_call *c, const float *x, const float *weights, const float *bias, const float *residual, float *y)
{
    conv_geometry m = conv_geometry_of(c->node, c->before ? &c->before->shape : c->in[0], c->in[1]);
    forward_job j = {.m = &m, .call = c, .x = x, .packed = conv_weights(c, &m, weights), .bias = bias, .y = y, .residual = residual, .gate = c->gate};
    if (c->before) {
        j.bands = join_bands(&m);
        j.chunks = (m.blocks + JOIN_PANELS - 1) / JOIN_PANELS;
        en_parallel(c->pool, c->images * j.bands * j.chunks, forward_joined, &j);
        return;
    }
    if (m.group) {
        j.bands = (m.p + LEAST_ROWS - 1) / LEAST_ROWS < BANDS ? (m.p + LEAST_ROWS - 1) / LEAST_ROWS : BANDS;
        en_parallel(c->pool, c->images * j.bands * m.blocks, forward_block, &j);
        return;
    }
    if (is_winograd(&m) && !c->exact) {
        convolve_winograd(&j);
        return;
    }
    flatten_pixels(&m);
    j.rows = band_rows(&m);
    j.bands = (m.p + j.rows - 1) / j.rows;
    j.chunks = (JOBS + c->images * j.bands - 1) / (c->images * j.bands);
    int most = (m.form.panels + CHUNK - 1) / CHUNK;
    if (j.chunks > most) j.chunks = most;
    int each = ((m.form.panels + j.chunks - 1) / j.chunks + CHUNK - 1) / CHUNK * CHUNK;
    j.chunks = (m.form.panels + each - 1) / each;
    for (int i = 0; i < EN_MAX_THREADS; i++) j.ready[i] = -1;
    en_parallel(c->pool, c->images * j.bands * j.chunks, forward_band, &j);
}

/* ---- the rules ---- */

static void conv2d_fwd(const en_call *c)
{
    const en_node *n = c->node;
    convolve(c, c->x[0], c->x[1], n->inputs > 2 ? c->x[2] : NULL, c->residual, c->y);
    if (n->act == KN_SIGMOID) en_clear_output(c, c->y); /* it makes something of nothing */
}

static void conv2d_jvp(const en_call *c)
{
    memset(c->dy, 0, (size_t)c->images * en_image_floats(&c->node->shape) * sizeof *c->dy);
    if (c->dx[0]) convolve(c, c->dx[0], c->x[1], NULL, NULL, c->dy);
    if (c->dx[1]) convolve(c, c->x[0], c->dx[1], NULL, c->dy, c->dy);
    if (c->dx[2]) {
        conv_geometry m = conv_geometry_of(c->node, c->in[0], c->in[1]);
        for (int n = 0; n < c->images; n++)
            for (int o = 0; o < m.o; o++)
                for (int p = 0; p < m.p * m.q; p++)
                    c->dy[(size_t)n * m.y_image + ((size_t)(o / EN_LANES) * (size_t)(m.p * m.q) + (size_t)p) * EN_LANES + (size_t)(o % EN_LANES)] += c->dx[2][o];
    }
}

static void conv2d_vjp(const en_call *c)
{
    if (c->gx[0]) conv_back(c, c->gy, c->x[1], c->gx[0]);
    if (c->gx[1]) conv_weight_gradient(c, c->x[0], c->gy, c->gx[1]);
    if (c->gx[2]) conv_bias_gradient(c, c->gy, c->gx[2]);
}

static void conv2d_dvjp(const en_call *c)
{
    if (c->dgx[0]) conv_back(c, c->dgy, c->x[1], c->dgx[0]);
    if (c->dgx[0] && c->dx[1]) conv_back(c, c->gy, c->dx[1], c->dgx[0]);
    if (c->dgx[1]) conv_weight_gradient(c, c->x[0], c->dgy, c->dgx[1]);
    if (c->dgx[1] && c->dx[0]) conv_weight_gradient(c, c->dx[0], c->gy, c->dgx[1]);
    if (c->dgx[2]) conv_bias_gradient(c, c->dgy, c->dgx[2]);
}

static en_status conv2d_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    const en_shape *x = in[0], *w = in[1];
    const en_attr *a = &n->attr;
    char tx[64], tw[64];
    if (x->layout != EN_BLOCKED || w->layout != EN_PLAIN || (w->rank != 4 && w->rank != 2)) return en_fail(e, EN_E_ARG, "wants an activation and weights of rank 4 or 2");
    if (a->groups < 1 || x->dim[1] % a->groups || w->dim[0] % a->groups || w->dim[1] != x->dim[1] / a->groups)
        return en_fail(e, EN_E_ARG, "weights %s in %d groups do not fit input %s", en_shape_text(w, tw), a->groups, en_shape_text(x, tx));
    if (n->inputs > 2 && (in[2]->rank != 1 || in[2]->dim[0] != w->dim[0]))
        return en_fail(e, EN_E_ARG, "bias %s does not fit weights %s", en_shape_text(in[2], tx), en_shape_text(w, tw));
    if (window(w, 0) > MAX_TAPS / window(w, 1)) return en_fail(e, EN_E_LIMIT, "window of weights %s: at most %d pixels", en_shape_text(w, tw), MAX_TAPS);
    int out[2];
    for (int i = 0; i < 2; i++) {
        int span = x->dim[2 + i] + 2 * a->pad[i] - window(w, i);
        if (a->stride[i] < 1 || a->pad[i] < 0 || a->pad[i] > MAX_PAD || span < 0)
            return en_fail(e, EN_E_ARG, "input %s is smaller than the window of weights %s", en_shape_text(x, tx), en_shape_text(w, tw));
        out[i] = span / a->stride[i] + 1;
    }
    n->shape = en_nchw(x->dim[0], w->dim[0], out[0], out[1]);
    conv_geometry m = conv_geometry_of(n, x, w);
    n->scratch = packed_floats(&m);
    n->worker_scratch = !m.group && is_copied(&m) ? band_floats(&m) : 0;
    if (conv_back_floats(&m) > n->worker_scratch) n->worker_scratch = conv_back_floats(&m);
    if (is_winograd(&m) && winograd_worker_floats(m.c) > n->worker_scratch) n->worker_scratch = winograd_worker_floats(m.c);
    return EN_OK;
}

typedef struct depthwise_blob {
    en_graph *g;
    const en_node *w;
    conv_geometry m;
} depthwise_blob;

static en_status make_depthwise(const void *arg, int piece, float *data, en_error *e)
{
    (void)piece;
    const depthwise_blob *b = arg;
    float *rows = en_alloc_floats(en_floats(&b->w->shape));
    if (!rows) return en_fail(e, EN_E_NOMEM, "%s: out of memory", b->w->key);
    en_status status = en_params_read(en_params_of(b->g), b->w->key, &b->w->shape, 0, en_count(&b->w->shape), rows, e);
    if (status == EN_OK) pack_depthwise(&b->m, rows, data);
    free(rows);
    return status;
}

static en_status conv2d_prepare(en_graph *g, en_node *n, en_error *e)
{
    const en_node *w = en_node_at(g, n->in[1]);
    conv_geometry m = conv_geometry_of(n, &en_node_at(g, n->in[0])->shape, &w->shape);
    if (!m.depthwise) return panels_prepare(g, n, &m.form, e);
    char name[512];
    snprintf(name, sizeof name, "%s/depthwise", w->key);
    const depthwise_blob b = {g, w, m};
    return en_params_blob(en_params_of(g), &(en_blob){name, packed_floats(&m), 1, make_depthwise, &b, sizeof b}, &n->prepared, e);
}

const en_op en_op_conv2d = {"conv2d", conv2d_shape, conv2d_prepare, conv2d_fwd, conv2d_jvp, conv2d_vjp, conv2d_dvjp, EN_AFFINE, 1, 1u << 1, KN_NONE};

en_ref en_conv2d(en_graph *g, en_ref x, en_ref w, en_ref b, en_conv o)
{
    en_attr a = {.groups = o.groups ? o.groups : 1, .stride = {o.stride ? o.stride : 1}, .pad = {o.pad}};
    a.stride[1] = o.stride_w ? o.stride_w : a.stride[0];
    a.pad[1] = o.pad_w ? o.pad_w : a.pad[0];
    return en_apply(g, &en_op_conv2d, (en_ref[]){x, w, b}, b == EN_NONE ? 2 : 3, &a);
}
