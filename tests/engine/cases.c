/* SPDX-License-Identifier: MIT */
/* The table of examples: channels around the block of 16, odd maps, every stride, padding, window and grouping that kernels treat
 * differently, depths beyond the chains in which sums are cut; heads and windows that fill no vector. */
#include "tests/engine/cases.h"

#include "engine/build.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* clang-format off */
#define BLOCKED(n, c, h, w) {EN_BLOCKED, 4, {n, c, h, w}}
#define PLAIN1(a) {EN_PLAIN, 1, {a}}
#define PLAIN2(a, b) {EN_PLAIN, 2, {a, b}}
#define PLAIN3(a, b, c) {EN_PLAIN, 3, {a, b, c}}
#define PLAIN4(a, b, c, d) {EN_PLAIN, 4, {a, b, c, d}}

/* n, c, h, w; outputs, window r x s; stride, padding, groups; inputs: 3 with a bias, 2 without */
#define CONV(n, c, h, w, o, r, s, stride_h, stride_w, pad_h, pad_w, g, count)                                       \
    {.op = "conv2d", .inputs = count, .in = {BLOCKED(n, c, h, w), PLAIN4(o, (c) / (g), r, s), PLAIN1(o)},           \
     .attr = {.stride = {stride_h, stride_w}, .pad = {pad_h, pad_w}, .groups = g}, .terms = (c) / (g) * (r) * (s)}
/* weights of a linear layer at each position */
#define POSITIONS(n, c, h, w, o, count)                                                                             \
    {.op = "conv2d", .inputs = count, .in = {BLOCKED(n, c, h, w), PLAIN2(o, c), PLAIN1(o)},                         \
     .attr = {.stride = {1, 1}, .groups = 1}, .terms = c}
#define LINEAR(n, k, o, count) {.op = "linear", .inputs = count, .in = {BLOCKED(n, k, 1, 1), PLAIN2(o, k), PLAIN1(o)}, .terms = k}
#define NORM(n, c, h, w)                                                                                             \
    {.op = "batch_norm", .inputs = 5, .in = {BLOCKED(n, c, h, w), PLAIN1(c), PLAIN1(c), PLAIN1(c), PLAIN1(c)},         \
     .draw = {[4] = T_POSITIVE}, .attr = {.eps = 1e-3f}, .terms = 2}
#define MAP(name, how, n, c, h, w) {.op = name, .inputs = 1, .in = {BLOCKED(n, c, h, w)}, .draw = {how}, .terms = 1}
#define ADD(shape) {.op = "add", .inputs = 2, .in = {shape, shape}, .terms = 1}
#define MAXIMUM(n, c, h, w, r, s, stride_h, stride_w, pad_h, pad_w)                                                  \
    {.op = "max_pool", .inputs = 1, .in = {BLOCKED(n, c, h, w)}, .draw = {T_DISTINCT},                               \
     .attr = {.kernel = {r, s}, .stride = {stride_h, stride_w}, .pad = {pad_h, pad_w}}, .terms = 1}
#define MEAN(n, c, h, w, oh, ow) {.op = "adaptive_avg_pool", .inputs = 1, .in = {BLOCKED(n, c, h, w)}, .attr = {.out = {oh, ow}}, .terms = (h) * (w)}
#define CHANNELS(name, n, c, h, w) {.op = name, .inputs = 1, .in = {BLOCKED(n, c, h, w)}, .terms = c}
#define SCALE(n, c, h, w) {.op = "scale_channels", .inputs = 2, .in = {BLOCKED(n, c, h, w), BLOCKED(n, c, 1, 1)}, .terms = (h) * (w)}
#define LAYER(n, c, h, w, small)                                                                                     \
    {.op = "layer_norm", .inputs = 3, .in = {BLOCKED(n, c, h, w), PLAIN1(c), PLAIN1(c)}, .attr = {.eps = small}, .terms = c}
/* heads of d channels in windows */
#define WINDOWS(n, d, h, w, number, side, move, count)                                                               \
    {.op = "attention", .inputs = count, .in = {BLOCKED(n, 3 * (d) * (number), h, w), \
      PLAIN2((2 * (side) - 1) * (2 * (side) - 1), number)}, \
     .attr = {.heads = number, .window = side, .shift = move}, .terms = (d) + (side) * (side)}
#define GLOBAL(n, d, h, w, number)                                                                                    \
    {.op = "attention", .inputs = 1, .in = {BLOCKED(n, 3 * (d) * (number), h, w)}, .attr = {.heads = number}, \
      .terms = (d) + (h) * (w)}
#define TOKENS(n, c, h, w)                                                                                            \
    {.op = "add_tokens", .inputs = 3, .in = {BLOCKED(n, c, h, w), PLAIN3(1, 1, c), PLAIN3(1, 1 + (h) * (w), c)}, .terms = 2}
#define TAKE(n, c, h, w, which) {.op = "take_token", .inputs = 1, .in = {BLOCKED(n, c, h, w)}, .attr = {.token = which}, .terms = 1}

const t_case t_cases[] = {
    /* 1 x 1 windows: pixels in one run, with and without stride */
    CONV(1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 3),
    CONV(3, 3, 1, 1, 17, 1, 1, 1, 1, 0, 0, 1, 3),
    CONV(1, 16, 5, 7, 16, 1, 1, 1, 1, 0, 0, 1, 2),
    CONV(3, 33, 5, 3, 70, 1, 1, 1, 1, 0, 0, 1, 3),
    CONV(2, 70, 5, 4, 19, 1, 1, 1, 1, 0, 0, 1, 2),
    CONV(1, 3, 17, 16, 18, 1, 1, 1, 1, 0, 0, 1, 2),
    CONV(1, 15, 7, 7, 33, 1, 1, 2, 2, 0, 0, 1, 3),
    CONV(1, 17, 7, 10, 15, 1, 1, 3, 2, 0, 0, 1, 2),
    CONV(1, 3, 4, 4, 5, 1, 1, 1, 1, 1, 1, 1, 3),
    CONV(1, 515, 2, 3, 18, 1, 1, 1, 1, 0, 0, 1, 3),
    CONV(1, 1030, 1, 2, 3, 1, 1, 1, 1, 0, 0, 1, 2),
    CONV(1, 64, 50, 40, 2, 1, 1, 1, 1, 0, 0, 1, 3), /* more pixels than one job takes */
    CONV(1, 64, 40, 50, 2, 1, 1, 2, 2, 0, 0, 1, 3), /* several bands of rows, read in place */
    /* larger windows */
    CONV(1, 3, 9, 7, 16, 3, 3, 1, 1, 1, 1, 1, 3),
    CONV(3, 3, 9, 7, 17, 3, 3, 2, 2, 1, 1, 1, 3),
    CONV(1, 16, 8, 8, 15, 3, 3, 1, 1, 0, 0, 1, 2),
    CONV(1, 17, 5, 6, 81, 3, 3, 1, 2, 1, 0, 1, 3),
    CONV(1, 5, 11, 8, 6, 3, 3, 3, 1, 0, 2, 1, 3),
    CONV(1, 15, 4, 4, 16, 2, 2, 2, 2, 0, 0, 1, 3),
    CONV(1, 4, 5, 5, 33, 2, 2, 1, 1, 1, 1, 1, 2),
    CONV(1, 3, 12, 9, 16, 5, 5, 2, 1, 2, 2, 1, 3),
    CONV(1, 3, 11, 2, 4, 7, 1, 2, 1, 3, 0, 1, 3),
    CONV(1, 2, 2, 9, 3, 1, 7, 1, 3, 0, 3, 1, 3),
    CONV(1, 3, 2, 2, 3, 5, 5, 1, 1, 4, 4, 1, 3), /* windows that lie in the padding */
    CONV(1, 67, 3, 3, 9, 3, 3, 1, 1, 1, 1, 1, 3), /* depth 603: sums parked between taps */
    CONV(1, 40, 70, 30, 2, 3, 3, 1, 1, 1, 1, 1, 3), /* several bands of rows */
    /* 3 x 3 as Winograd has it: 32 channels and 7 pixels at least; tiles of three pixels, two chains, tiles of several images in a job */
    CONV(1, 32, 7, 7, 33, 3, 3, 1, 1, 1, 1, 1, 3),
    CONV(3, 33, 10, 13, 49, 3, 3, 1, 1, 1, 0, 1, 2), /* of nine tiles two are four pixels both ways */
    CONV(1, 144, 8, 7, 32, 3, 3, 1, 1, 1, 2, 1, 3),
    CONV(1, 32, 30, 31, 32, 3, 3, 1, 1, 1, 1, 1, 3), /* more tiles than one job takes */
    /* groups */
    CONV(1, 4, 5, 5, 6, 3, 3, 1, 1, 1, 1, 2, 3),
    CONV(3, 32, 3, 5, 32, 3, 3, 1, 1, 1, 1, 4, 3),
    CONV(1, 32, 5, 9, 32, 3, 3, 2, 1, 1, 1, 8, 3),
    CONV(1, 48, 4, 3, 36, 3, 3, 2, 2, 1, 1, 4, 2),
    CONV(1, 68, 3, 3, 34, 1, 1, 1, 1, 0, 0, 2, 3),
    CONV(1, 8, 5, 4, 80, 1, 1, 1, 1, 0, 0, 4, 3),
    CONV(1, 160, 2, 2, 20, 2, 1, 1, 1, 0, 0, 4, 3),
    CONV(1, 64, 3, 5, 64, 3, 3, 1, 1, 1, 1, 2, 2), /* panels that read different channels, out of a band */
    CONV(1, 32, 4, 3, 32, 1, 1, 1, 1, 0, 0, 2, 3), /* and in place */
    /* depthwise, and its neighbour with two outputs per channel */
    CONV(1, 2, 4, 5, 2, 3, 3, 1, 1, 1, 1, 2, 3),
    CONV(3, 17, 9, 11, 17, 3, 3, 1, 1, 1, 1, 17, 3),
    CONV(1, 33, 9, 8, 33, 3, 3, 2, 2, 1, 1, 33, 2),
    CONV(1, 16, 7, 9, 16, 5, 5, 1, 1, 2, 2, 16, 3),
    CONV(1, 15, 10, 6, 15, 5, 5, 2, 3, 2, 1, 15, 3),
    CONV(1, 16, 1, 1, 16, 3, 3, 1, 1, 1, 1, 16, 3),
    CONV(1, 16, 3, 9, 16, 1, 1, 1, 1, 0, 0, 16, 2),
    CONV(1, 10, 6, 6, 20, 3, 3, 1, 1, 1, 1, 10, 3),
    /* weights of rank 2 */
    POSITIONS(1, 1, 1, 1, 1, 3), POSITIONS(3, 17, 3, 5, 18, 3), POSITIONS(1, 33, 1, 5, 70, 2),

    LINEAR(1, 1, 1, 3), LINEAR(3, 3, 17, 3), LINEAR(1, 15, 33, 2), LINEAR(3, 16, 16, 3), LINEAR(1, 17, 1, 3), LINEAR(3, 65, 70, 3),
    LINEAR(1, 512, 15, 3), LINEAR(3, 530, 18, 3), LINEAR(1, 1100, 3, 2), LINEAR(15, 33, 20, 3),

    NORM(1, 1, 1, 1), NORM(3, 3, 5, 4), NORM(1, 15, 2, 2), NORM(1, 16, 3, 3), NORM(3, 17, 1, 1), NORM(1, 33, 2, 5),

    MAP("relu", T_KINKS, 1, 1, 1, 1), MAP("relu", T_KINKS, 3, 17, 3, 5), MAP("relu", T_KINKS, 1, 33, 7, 7),
    MAP("relu", T_KINKS, 2, 16, 24, 30),
    MAP("relu6", T_KINKS, 1, 1, 1, 1), MAP("relu6", T_KINKS, 3, 15, 5, 3), MAP("relu6", T_KINKS, 1, 33, 7, 7),

    MAP("sigmoid", T_KINKS, 1, 1, 1, 1), MAP("sigmoid", T_KINKS, 3, 17, 3, 5), MAP("sigmoid", T_PLAIN, 1, 33, 7, 7),
    MAP("sigmoid", T_KINKS, 2, 16, 24, 30),
    MAP("silu", T_KINKS, 1, 1, 1, 1), MAP("silu", T_KINKS, 3, 17, 3, 5), MAP("silu", T_PLAIN, 1, 33, 7, 7),
    MAP("gelu", T_KINKS, 1, 1, 1, 1), MAP("gelu", T_KINKS, 3, 15, 5, 3), MAP("gelu", T_PLAIN, 1, 33, 7, 7),

    SCALE(1, 1, 1, 1), SCALE(3, 17, 1, 1), SCALE(3, 15, 3, 5), SCALE(1, 33, 7, 7), SCALE(1, 16, 2, 3),

    LAYER(1, 1, 1, 1, 0.1f), LAYER(3, 5, 3, 1, 0.1f), LAYER(1, 16, 2, 2, 0.1f), LAYER(3, 33, 2, 3, 1e-5f),
    LAYER(1, 50, 1, 3, 1e-6f),

    /* one to three windows per side, moved and not; maps that are not square; rows of 1, 4, 9, 49 scores; d around the block of 16 */
    WINDOWS(1, 1, 1, 1, 1, 1, 0, 2), WINDOWS(3, 4, 2, 3, 3, 1, 0, 2), WINDOWS(1, 4, 2, 2, 3, 2, 0, 2),
    WINDOWS(3, 4, 4, 2, 3, 2, 1, 2),
    WINDOWS(1, 5, 4, 6, 2, 2, 1, 2), WINDOWS(1, 16, 2, 4, 1, 2, 1, 1), WINDOWS(1, 17, 3, 3, 1, 3, 1, 2),
    WINDOWS(1, 4, 6, 9, 3, 3, 1, 2),
    WINDOWS(3, 3, 9, 3, 2, 3, 2, 2), WINDOWS(1, 33, 3, 6, 1, 3, 0, 1), WINDOWS(1, 4, 7, 7, 3, 7, 0, 2),
    WINDOWS(1, 3, 14, 14, 2, 7, 3, 2),
    GLOBAL(1, 1, 1, 1, 1), GLOBAL(3, 4, 1, 5, 3), GLOBAL(1, 4, 1, 17, 3), GLOBAL(1, 18, 5, 1, 2), GLOBAL(3, 16, 17, 1, 2),

    CHANNELS("patch_merge", 1, 1, 2, 2), CHANNELS("patch_merge", 3, 5, 4, 6), CHANNELS("patch_merge", 1, 16, 2, 4),
    CHANNELS("patch_merge", 1, 17, 6, 2),

    TOKENS(1, 1, 1, 1), TOKENS(3, 17, 2, 3), TOKENS(1, 16, 1, 4), TOKENS(1, 33, 3, 1),
    TAKE(1, 1, 1, 1, 0), TAKE(3, 17, 1, 5, 0), TAKE(3, 16, 1, 5, 2), TAKE(1, 33, 2, 3, 5),

    ADD(BLOCKED(1, 1, 1, 1)), ADD(BLOCKED(3, 17, 3, 5)), ADD(BLOCKED(1, 16, 7, 7)),

    MAXIMUM(1, 1, 1, 1, 1, 1, 1, 1, 0, 0), MAXIMUM(1, 3, 7, 6, 2, 2, 2, 2, 0, 0), MAXIMUM(3, 17, 9, 9, 3, 3, 2, 2, 1, 1),
    MAXIMUM(1, 16, 5, 5, 3, 3, 1, 1, 1, 1), MAXIMUM(1, 15, 6, 9, 5, 2, 3, 1, 2, 1), MAXIMUM(1, 33, 2, 2, 2, 2, 1, 1, 1, 1),

    MEAN(1, 1, 1, 1, 1, 1), MEAN(3, 17, 7, 7, 1, 1), MEAN(1, 16, 5, 5, 7, 7), MEAN(1, 3, 13, 9, 7, 7), MEAN(1, 33, 14, 14, 7, 7),
    MEAN(3, 15, 3, 10, 5, 4), MEAN(1, 2, 13, 9, 13, 9),

    CHANNELS("flatten", 1, 1, 1, 1), CHANNELS("flatten", 3, 17, 3, 2), CHANNELS("flatten", 1, 16, 4, 4),
    CHANNELS("flatten", 1, 5, 7, 1),
    CHANNELS("softmax", 1, 1, 1, 1), CHANNELS("softmax", 3, 5, 1, 1), CHANNELS("softmax", 1, 1000, 1, 1),
    CHANNELS("softmax", 3, 17, 3, 2),
    CHANNELS("softmax", 1, 33, 2, 2),
    CHANNELS("log_softmax", 1, 1, 1, 1), CHANNELS("log_softmax", 3, 5, 1, 1), CHANNELS("log_softmax", 1, 1000, 1, 1),
    CHANNELS("log_softmax", 3, 17, 3, 2), CHANNELS("log_softmax", 1, 33, 2, 2),
    {.op = NULL}};
/* clang-format on */

const en_op *t_op(const t_case *c)
{
    for (int i = 0; en_ops[i]; i++)
        if (!strcmp(en_ops[i]->name, c->op)) return en_ops[i];
    return NULL;
}

void t_draw_floats(t_draw draw, size_t count, float *out)
{
    for (size_t i = 0; i < count; i++) {
        double x = draw == T_KINKS ? t_uniform(-9, 9) : draw == T_POSITIVE ? t_uniform(0.5, 2) : t_uniform(-1, 1);
        while (draw == T_KINKS && (fabs(x) < 0.02 || fabs(x - 6) < 0.02)) x = t_uniform(-9, 9);
        out[i] = draw == T_DISTINCT ? 0.02f * ((float)i - (float)count / 2) : (float)x;
    }
    for (size_t i = count; draw == T_DISTINCT && i > 1; i--) {
        size_t j = t_random() % i;
        float swapped = out[i - 1];
        out[i - 1] = out[j];
        out[j] = swapped;
    }
}

void t_poison_adjoints(en_graph *g)
{
    for (int i = 0; i < g->nodes; i++) {
        const en_node *n = &g->node[i];
        for (size_t k = 0; n->adjoint != EN_NO_MEMORY && k < n->floats * 2 * (size_t)g->seeds; k++) g->memory[n->adjoint + k] = NAN;
    }
    for (int i = 0; i < g->cuts && g->seeds; i++)
        for (size_t k = 0; k < en_sums_floats(g, &g->cut[i]) * 2 * (size_t)g->seeds; k++) g->memory[g->cut[i].sums + k] = NAN;
}

void t_poison(en_graph *g)
{
    for (int i = 0; i < g->nodes; i++) {
        const en_node *n = &g->node[i];
        size_t floats = n->in_turn ? en_image_floats(&n->shape) : n->floats * (n->tail || n->cut ? 2 : 1);
        for (size_t k = 0; !n->key && n->value != EN_NO_MEMORY && k < floats; k++)
            g->memory[n->value + k] = NAN;
    }
    t_poison_adjoints(g);
    for (size_t k = g->scratch; k < g->floats; k++) g->memory[k] = NAN;
}

const char *t_case_text(const t_case *c)
{
    static char text[512];
    char shape[64];
    int n = snprintf(text, sizeof text, "%s", c->op);
    for (int k = 0; k < c->inputs; k++) n += snprintf(text + n, sizeof text - (size_t)n, " %s", en_shape_text(&c->in[k], shape));
    const en_attr *a = &c->attr;
    snprintf(text + n, sizeof text - (size_t)n,
             ", kernel %d %d, stride %d %d, pad %d %d, groups %d, out %d %d, heads %d, window %d, shift %d, token %d", a->kernel[0],
             a->kernel[1], a->stride[0], a->stride[1], a->pad[0], a->pad[1], a->groups, a->out[0], a->out[1], a->heads, a->window,
             a->shift, a->token);
    return text;
}
