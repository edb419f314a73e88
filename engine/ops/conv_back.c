/* SPDX-License-Identifier: MIT */
/* The adjoints of a convolution: of its input, from the panels that the forward product uses, and of weights and bias. */
#include "engine/ops/conv.h"

/* ---- gx += B'(w) gy ---- */

typedef struct backward_job {
    const conv_geometry *m;
    const en_call *call;
    const float *gy, *packed;
    float *gx;
    int pieces; /* groups of KN_T_DEPTH channels */
} backward_job;

/* The window positions q for which tap s falls inside the picture: from .. to-1. */
static void inside(int tap, int stride, int pad, int size, int out, int *from, int *to)
{
    *from = tap >= pad ? 0 : (pad - tap + stride - 1) / stride;
    *to = size + pad - tap <= 0 ? 0 : (size + pad - tap - 1) / stride + 1;
    if (*to > out) *to = out;
}

/* Channels c0 .. c0+depth-1 of one image receive what panels `first`.. give them through tap (r, s). */
static void backward_tap(const backward_job *j, int image, int r, int s, int c0, int depth, int first, int panels)
{
    const conv_geometry *m = j->m;
    int p0, p1, q0, q1, lo = panel_lo(&m->form, first);
    inside(r, m->stride_h, m->pad_h, m->h, m->p, &p0, &p1);
    inside(s, m->stride_w, m->pad_w, m->w, m->q, &q0, &q1);
    size_t panel = panels_floats(&m->form) / (size_t)m->form.panels;
    kn_gemm_t g = {.gy_row = EN_LANES, .gy_panel = (ptrdiff_t)m->p * m->q * EN_LANES,
                   .b = j->packed + (size_t)first * panel + ((size_t)(r * m->s + s) * (size_t)m->form.depth + (size_t)(c0 - lo)) * EN_LANES,
                   .b_panel = panel, .panels = panels, .depth = depth, .rows = q1 - q0,
                   .gx_row = (ptrdiff_t)m->stride_w * EN_LANES, .gx_block = (ptrdiff_t)m->h * m->w * EN_LANES};
    for (int p = p0; p < p1 && q0 < q1; p++) {
        int y = p * m->stride_h + r - m->pad_h, x = q0 * m->stride_w + s - m->pad_w;
        g.gy = j->gy + (size_t)image * m->y_image + (size_t)first * (size_t)g.gy_panel + ((size_t)p * (size_t)m->q + (size_t)q0) * EN_LANES;
        g.gx = j->gx + (size_t)image * m->x_image + (size_t)(c0 / EN_LANES) * (size_t)g.gx_block + ((size_t)y * (size_t)m->w + (size_t)x) * EN_LANES;
        j->call->kernels->gemm_t(&g);
    }
}

static void backward_channels(void *arg, int job, int worker)
{
    (void)worker;
    const backward_job *j = arg;
    const panel_form *f = &j->m->form;
    int image = job / j->pieces, c0 = job % j->pieces * KN_T_DEPTH;
    int c1 = c0 + KN_T_DEPTH < j->m->c ? c0 + KN_T_DEPTH : j->m->c;
    for (int r = 0; r < j->m->r; r++)
        for (int s = 0; s < j->m->s; s++) {
            if (f->groups == 1) backward_tap(j, image, r, s, c0, c1 - c0, 0, f->panels);
            for (int p = 0; f->groups > 1 && p < f->panels; p++) {
                int lo = panel_lo(f, p), from = lo > c0 ? lo : c0, to = lo + f->depth < c1 ? lo + f->depth : c1;
                if (from < to) backward_tap(j, image, r, s, from, to - from, p, 1);
            }
        }
}

static void backward_depthwise(void *arg, int job, int worker)
{
    (void)worker;
    const backward_job *j = arg;
    const conv_geometry *m = j->m;
    int block = job % m->blocks, image = job / m->blocks, p0, p1, q0, q1;
    const float *gy = j->gy + (size_t)image * m->y_image + (size_t)block * (size_t)(m->p * m->q) * EN_LANES;
    float *gx = j->gx + (size_t)image * m->x_image + (size_t)block * (size_t)(m->h * m->w) * EN_LANES;
    for (int r = 0; r < m->r; r++)
        for (int s = 0; s < m->s; s++) {
            const float *w = j->packed + ((size_t)block * (size_t)(m->r * m->s) + (size_t)(r * m->s + s)) * EN_LANES;
            inside(r, m->stride_h, m->pad_h, m->h, m->p, &p0, &p1);
            inside(s, m->stride_w, m->pad_w, m->w, m->q, &q0, &q1);
            for (int p = p0; p < p1; p++)
                for (int q = q0; q < q1; q++) {
                    ptrdiff_t at = (ptrdiff_t)(p * m->stride_h + r - m->pad_h) * m->w + q * m->stride_w + s - m->pad_w;
                    for (int i = 0; i < EN_LANES; i++) gx[at * EN_LANES + i] += w[i] * gy[((ptrdiff_t)p * m->q + q) * EN_LANES + i];
                }
        }
}

static void backward_rows(void *arg, int piece, int worker)
{
    (void)worker;
    const backward_job *j = arg;
    const panel_form *f = &j->m->form;
    int c0 = piece * KN_T_DEPTH, depth = j->m->c - c0 < KN_T_DEPTH ? j->m->c - c0 : KN_T_DEPTH;
    j->call->kernels->gemm_t(&(kn_gemm_t){.gy = j->gy, .gy_row = (ptrdiff_t)f->panels * EN_LANES, .gy_panel = EN_LANES, .b = j->packed + c0 * EN_LANES,
                                          .b_panel = (size_t)f->depth * EN_LANES, .panels = f->panels, .depth = depth, .rows = j->call->images,
                                          .gx = j->gx + c0, .gx_row = (ptrdiff_t)j->m->blocks * EN_LANES, .gx_block = EN_LANES});
}

void conv2d_back_sums(const en_call *c, const float *gy, float *gx)
{
    conv_geometry m = conv_geometry_of(c->node, c->in[0], c->in[1]);
    backward_job j = {&m, c, gy, conv_weights(c, &m, NULL), gx, (m.c + KN_T_DEPTH - 1) / KN_T_DEPTH};
    en_parallel(c->pool, j.pieces, backward_rows, &j);
}

/* A window of one pixel at stride 1, and pixels enough: the panels are turned over, 64 channels at a time, and the forward product does the rest. */
enum { TURN_LEAST = 16, TURN_ROWS = 256 };

static int turns_over(const conv_geometry *m)
{
    return m->form.groups == 1 && conv_is_flat(m) && m->p * m->q >= TURN_LEAST;
}

size_t conv_back_floats(const conv_geometry *m) { return turns_over(m) ? KN_T_DEPTH * ((size_t)m->form.panels * EN_LANES + TURN_ROWS) : 0; }

/* Channels c0 .. c0+depth-1 of all panels, [o][16] for each sixteen of them, `line` floats from one to the next. They are pieces of 4 KB, too far apart
 * for the processor to see which one is next. */
static void turn_panels(const backward_job *j, int c0, int depth, float *turned, size_t line)
{
    enum { SQUARE = EN_LANES * EN_LANES, AHEAD = 2 };
    const panel_form *f = &j->m->form;
    for (int p = 0; p < f->panels; p++)
        for (int c = 0; c < depth; c += EN_LANES) {
            int channels = depth - c < EN_LANES ? depth - c : EN_LANES;
            const float *from = j->packed + ((size_t)p * (size_t)f->depth + (size_t)(c0 + c)) * EN_LANES;
            for (int i = 0; i < channels && p + AHEAD < f->panels; i++) __builtin_prefetch(from + (AHEAD * (size_t)f->depth + (size_t)i) * EN_LANES);
            j->call->kernels->transpose(channels, EN_LANES, from, EN_LANES, turned + (size_t)(c / EN_LANES) * line + (size_t)p * SQUARE, EN_LANES);
        }
}

static void backward_turned(void *arg, int piece, int worker)
{
    const backward_job *j = arg;
    const conv_geometry *m = j->m;
    static const ptrdiff_t tap = 0;
    int c0 = piece * KN_T_DEPTH, depth = m->c - c0 < KN_T_DEPTH ? m->c - c0 : KN_T_DEPTH, blocks = en_blocks(depth), pixels = m->p * m->q;
    size_t line = (size_t)m->form.panels * EN_LANES * EN_LANES;
    float *turned = j->call->worker_scratch + (size_t)worker * j->call->node->worker_scratch, *product = turned + KN_T_DEPTH / EN_LANES * line;
    turn_panels(j, c0, depth, turned, line);
    kn_gemm g = {.a_row = EN_LANES, .a_block = (ptrdiff_t)pixels * EN_LANES, .tap = &tap, .taps = 1, .depth = m->o, .b = turned, .b_panel = line,
                 .c = product, .c_row = EN_LANES, .c_panel = TURN_ROWS * EN_LANES, .runs = 1, .panels = blocks};
    for (int image = 0; image < j->call->images; image++)
        for (int first = 0; first < pixels; first += TURN_ROWS) {
            g.a = j->gy + (size_t)image * m->y_image + (size_t)first * EN_LANES;
            g.rows = pixels - first < TURN_ROWS ? pixels - first : TURN_ROWS;
            j->call->kernels->gemm(&g);
            for (int b = 0; b < blocks; b++) {
                float *gx = j->gx + (size_t)image * m->x_image + ((size_t)(c0 / EN_LANES + b) * (size_t)pixels + (size_t)first) * EN_LANES;
                for (int i = 0; i < g.rows * EN_LANES; i++) gx[i] += product[b * TURN_ROWS * EN_LANES + i];
            }
        }
}

void conv_back(const en_call *c, const float *gy, const float *weights, float *gx)
{
    conv_geometry m = conv_geometry_of(c->node, c->in[0], c->in[1]);
    backward_job j = {&m, c, gy, conv_weights(c, &m, weights), gx, (m.c + KN_T_DEPTH - 1) / KN_T_DEPTH};
    if (m.depthwise)
        en_parallel(c->pool, c->images * m.blocks, backward_depthwise, &j);
    else if (turns_over(&m))
        en_parallel(c->pool, j.pieces, backward_turned, &j);
    else
        en_parallel(c->pool, c->images * j.pieces, backward_channels, &j);
}

/* ---- gw += B'(x) gy, gb += sum of gy: plain loops in double, for training and tests ---- */

static double weight_sum(const en_call *c, const conv_geometry *m, const float *x, const float *gy, int o, int channel, int r, int s)
{
    double sum = 0;
    for (int n = 0; n < c->images; n++) {
        const float *xb = x + (size_t)n * m->x_image + (size_t)(channel / EN_LANES) * (size_t)(m->h * m->w) * EN_LANES + channel % EN_LANES;
        const float *gb = gy + (size_t)n * m->y_image + (size_t)(o / EN_LANES) * (size_t)(m->p * m->q) * EN_LANES + o % EN_LANES;
        for (int p = 0; p < m->p; p++)
            for (int q = 0; q < m->q; q++) {
                int y = p * m->stride_h + r - m->pad_h, z = q * m->stride_w + s - m->pad_w;
                if (y >= 0 && y < m->h && z >= 0 && z < m->w)
                    sum += (double)gb[((ptrdiff_t)p * m->q + q) * EN_LANES] * (double)xb[((ptrdiff_t)y * m->w + z) * EN_LANES];
            }
    }
    return sum;
}

void conv_weight_gradient(const en_call *c, const float *x, const float *gy, float *gw)
{
    conv_geometry m = conv_geometry_of(c->node, c->in[0], c->in[1]);
    int per_group = m.c / c->node->attr.groups, out_group = m.o / c->node->attr.groups;
    for (int o = 0; o < m.o; o++)
        for (int k = 0; k < per_group; k++)
            for (int r = 0; r < m.r; r++)
                for (int s = 0; s < m.s; s++, gw++) *gw += (float)weight_sum(c, &m, x, gy, o, o / out_group * per_group + k, r, s);
}

void conv_bias_gradient(const en_call *c, const float *gy, float *gb)
{
    conv_geometry m = conv_geometry_of(c->node, c->in[0], c->in[1]);
    for (int o = 0; o < m.o; o++) {
        double sum = 0;
        for (int n = 0; n < c->images; n++)
            for (int p = 0; p < m.p * m.q; p++)
                sum += (double)gy[(size_t)n * m.y_image + ((size_t)(o / EN_LANES) * (size_t)(m.p * m.q) + (size_t)p) * EN_LANES + (size_t)(o % EN_LANES)];
        gb[o] += (float)sum;
    }
}
