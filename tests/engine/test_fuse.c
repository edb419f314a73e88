/* SPDX-License-Identifier: MIT */
/* What is arranged around the caches changes no bit: pictures, inputs that are made on the way, gates. */
#include "engine/cpu.h"
#include "tests/engine/cases.h"
#include "tests/engine/made_up.h"
#include "tests/test.h"

#include <stdlib.h>
#include <string.h>

enum { IMAGES = 2 };

/* How a graph is finished, and how many of its convolutions must have taken over `steps`. */
typedef struct setting {
    en_options options;
    int fused;
} setting;

static en_graph *graph_of(en_params *p)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(p, &g, &e), e);
    return g;
}

/* The output for a made-up input, row-major, for the caller to free; frees the graph. */
static float *output_of(en_graph *g, en_ref x, en_ref y, const setting *s, const char *steps, size_t *count)
{
    en_error e = {0};
    en_output(g, y);
    CHECK_OK(en_graph_finish(g, &s->options, &e), e);
    t_poison(g);
    char *text = en_graph_text(g);
    CHECK(text != NULL && lines_with(text, "conv2d", steps) == s->fused);
    free(text);
    size_t numbers = en_count(en_shape_of(g, x));
    float *in = malloc(numbers * sizeof *in), *out = malloc((*count = en_count(en_shape_of(g, y))) * sizeof *out);
    CHECK(in != NULL && out != NULL);
    for (size_t i = 0; i < numbers; i++) in[i] = (float)(i % 37) / 18 - 1;
    en_store(en_shape_of(g, x), in, en_value(g, x));
    en_forward(g, -1, NULL);
    en_load(en_shape_of(g, y), en_value(g, y), out);
    free(in);
    en_graph_free(g);
    return out;
}

/* A network of case k; its output, for the caller to free. */
typedef float *run_case(int k, const setting *s, size_t *count);

static void check_cases(run_case *run, int cases)
{
    en_pool *pool;
    en_error e = {0};
    CHECK_OK(en_pool_new(3, &pool, &e), e);
    int usable;
    const kn_table *table;
    for (int i = 0; (table = en_isa(i, &usable)); i++)
        for (int k = 0; k < cases && usable; k++) {
            size_t count;
            float *fused = run(k, &(setting){{.isa = table->name, .pool = k % 2 ? pool : NULL}, 1}, &count);
            float *apart = run(k, &(setting){{.isa = table->name, .no_fuse = 1}, 0}, &count);
            CHECK_MSG(!memcmp(fused, apart, count * sizeof *fused), "%s, case %d", table->name, k);
            free(fused);
            free(apart);
        }
    en_pool_free(pool);
}

/* ---- pictures ---- */

/* A picture through one convolution and, `twice`, through something that wants blocks, too. */
static float *convolved(int channels, int window, en_conv o, int no_fuse, int twice, size_t *count)
{
    en_params *p = made_up_params();
    en_graph *g = graph_of(p);
    en_ref x = en_input(g, en_nchw(IMAGES, channels, 13, 9));
    if (twice) en_output(g, en_relu(g, x));
    en_ref y = en_conv2d(g, x, made_up(g, "picture", "weight", 4, 20, channels, window, window), EN_NONE, o);
    float *out = output_of(g, x, y, &(setting){{.no_fuse = no_fuse}, 0}, " +", count);
    en_params_free(p);
    return out;
}

TEST(a_picture_gives_the_same_bits_as_the_same_in_blocks)
{
    static const struct {
        int channels, window;
        en_conv o;
    } cases[] = {{3, 3, {.stride = 2, .pad = 1}}, {3, 7, {.stride = 2, .pad = 3}}, {3, 4, {.stride = 4}}, {4, 1, {0}}, {1, 5, {.pad = 4}}, {2, 2, {.stride = 1}}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        size_t count;
        float *picture = convolved(cases[i].channels, cases[i].window, cases[i].o, 0, 0, &count);
        float *blocks = convolved(cases[i].channels, cases[i].window, cases[i].o, 1, 0, &count);
        float *both = convolved(cases[i].channels, cases[i].window, cases[i].o, 0, 1, &count);
        CHECK_MSG(!memcmp(picture, blocks, count * sizeof *picture) && !memcmp(picture, both, count * sizeof *picture), "case %zu", i);
        free(picture);
        free(blocks);
        free(both);
    }
}

TEST(a_picture_is_what_nothing_but_convolutions_read)
{
    for (int k = 0; k < 4; k++) { /* a picture; too many channels; something else reads it, too; left apart */
        en_params *p = made_up_params();
        en_graph *g = graph_of(p);
        en_error e = {0};
        int channels = k == 1 ? EN_COLOURS + 1 : 3;
        en_ref x = en_input(g, en_nchw(IMAGES, channels, 13, 9));
        if (k == 2) en_output(g, en_relu(g, x));
        en_output(g, en_conv2d(g, x, made_up(g, "picture", "weight", 4, 20, channels, 3, 3), EN_NONE, (en_conv){0}));
        CHECK_OK(en_graph_finish(g, &(en_options){.no_fuse = k == 3}, &e), e);
        CHECK(en_shape_of(g, x)->layout == (k ? EN_BLOCKED : EN_PICTURE));
        en_graph_free(g);
        en_params_free(p);
    }
}

/* ---- depthwise convolutions that make their input themselves ---- */

/* x of 20 channels to 40 by a 1 x 1 window, and those by a depthwise one. */
static float *expanded(int side, int stride, int window, en_conv o, const setting *s, size_t *count)
{
    en_params *p = made_up_params();
    en_graph *g = graph_of(p);
    en_ref x = en_input(g, en_nchw(IMAGES, 20, side, side - 3)), h = en_silu(g, conv_bn(g, "expand", x, 20, 40, 1, (en_conv){.stride = stride}));
    o.groups = 40;
    float *out = output_of(g, x, en_relu6(g, conv_bn(g, "depthwise", h, 40, 40, window, o)), s, " +expand +batch_norm +act", count);
    en_params_free(p);
    return out;
}

static float *expanded_case(int k, const setting *s, size_t *count)
{
    static const struct {
        int side, window;
        en_conv o;
    } cases[] = {{80, 3, {.pad = 1}}, {80, 3, {.stride = 2, .pad = 1}}, {75, 5, {.stride = 2, .pad = 2}}, {75, 5, {0}}, {90, 3, {.stride = 3, .pad = 2}}};
    return expanded(cases[k].side, 1, cases[k].window, cases[k].o, s, count);
}

TEST(a_depthwise_convolution_that_makes_its_input_itself_changes_no_bit)
{
    size_t count;
    check_cases(expanded_case, 5);
    free(expanded(30, 1, 3, (en_conv){.pad = 1}, &(setting){0}, &count)); /* small enough to be stored */
    free(expanded(160, 2, 3, (en_conv){.pad = 1}, &(setting){0}, &count)); /* no run of pixels */
}

/* ---- max pools ---- */

/* A convolution of 3 x 3 and a max pool, and an activation before it or, in case 2, behind it. */
static float *pooled(int k, int side, int window, const setting *s, size_t *count)
{
    static const int channels[] = {32, 40, 64};
    int c = channels[k];
    en_params *p = made_up_params();
    en_graph *g = graph_of(p);
    en_ref x = en_input(g, en_nchw(IMAGES, c, side, side + 4)), h = conv_bn(g, "pooled", x, c, c, 3, (en_conv){.pad = 1});
    en_ref y = en_max_pool(g, k == 0 ? en_relu(g, h) : k == 1 ? en_silu(g, h) : h, window, 2, 0);
    float *out = output_of(g, x, k == 2 ? en_silu(g, y) : y, s, k == 2 ? " +batch_norm +max_pool" : " +batch_norm +act +max_pool", count);
    en_params_free(p);
    return out;
}

static float *pooled_case(int k, const setting *s, size_t *count)
{
    static const int sides[] = {16, 20, 8};
    return pooled(k, sides[k], 2, s, count);
}

TEST(maxima_that_winograds_convolution_stores_change_no_bit)
{
    size_t count;
    check_cases(pooled_case, 3);
    free(pooled(0, 14, 2, &(setting){0}, &count)); /* not all tiles are 4 x 4 */
    free(pooled(0, 16, 3, &(setting){0}, &count)); /* windows that overlap */
    free(pooled(0, 16, 2, &(setting){.options.exact = 1}, &count));
}

/* ---- gates ---- */

/* Squeeze-and-excitation and the convolution behind it. */
static float *gated(int c, int side, int window, const setting *s, size_t *count)
{
    en_params *p = made_up_params();
    en_graph *g = graph_of(p);
    en_ref x = en_input(g, en_nchw(IMAGES, c, side, side)), h = en_silu(g, x), mean = en_global_avg_pool(g, h);
    en_ref gate = en_sigmoid(g, en_conv2d(g, mean, made_up(g, "squeeze", "weight", 4, c, c, 1, 1), made_up(g, "squeeze", "bias", 1, c, 0, 0, 0), (en_conv){0}));
    if (c == 33) en_output(g, gate); /* then all images' gates are kept */
    en_ref y = conv_bn(g, "project", en_scale_channels(g, h, gate), c, c, window, (en_conv){0});
    float *out = output_of(g, x, window == 1 ? en_add(g, y, h) : y, s, window == 1 ? " +gate +batch_norm +add" : " +gate", count);
    en_params_free(p);
    return out;
}

static float *gated_case(int k, const setting *s, size_t *count)
{
    static const int channels[] = {20, 33, 100, 200}, sides[] = {9, 30, 40, 9}; /* the last one has so many weights that images go together */
    return gated(channels[k], sides[k], 1, s, count);
}

TEST(a_gate_on_the_way_into_a_convolution_changes_no_bit)
{
    size_t count;
    check_cases(gated_case, 4);
    free(gated(20, 9, 3, &(setting){0}, &count)); /* windows read more than once */
}
