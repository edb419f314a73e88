/* SPDX-License-Identifier: MIT */
/* Writing a graph down: what builders fill in, and what they say of mistakes. */
#include "engine/engine.h"
#include "tests/test.h"

/* ---- errors while building ---- */

/* Builds with `make`, and what finish says. */
static void check_error(void (*make)(en_graph *g), en_status status, const char *message)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(NULL, &g, &e), e);
    make(g);
    CHECK(en_graph_status(g, NULL) != EN_OK);
    CHECK(en_input(g, en_nchw(1, 1, 1, 1)) == EN_NONE && en_relu(g, 0) == EN_NONE && en_name(g, 0, "x") == EN_NONE);
    CHECK_FAILS(en_graph_finish(g, &(en_options){0}, &e), e, status, message);
    en_graph_free(g);
}

static void two_errors(en_graph *g)
{
    en_ref x = en_input(g, en_nchw(1, 3, 8, 8));
    en_ref y = en_add(g, x, en_input(g, en_nchw(1, 3, 8, 9)));
    CHECK(y == EN_NONE);
    en_output(g, en_linear(g, y, x, EN_NONE));
}

static void conv_channels(en_graph *g)
{
    en_conv2d(g, en_input(g, en_nchw(1, 3, 8, 8)), en_param(g, "w", 4, (int[]){16, 4, 3, 3}), EN_NONE, (en_conv){0});
}
static void conv_window(en_graph *g)
{
    en_conv2d(g, en_input(g, en_nchw(1, 3, 4, 8)), en_param(g, "w", 4, (int[]){16, 3, 7, 7}), EN_NONE, (en_conv){.pad = 1});
}
static void conv_huge(en_graph *g)
{
    en_conv2d(g, en_input(g, en_nchw(1, 3, 64, 64)), en_param(g, "w", 4, (int[]){16, 3, 33, 33}), EN_NONE, (en_conv){0});
}
static void conv_activation(en_graph *g)
{
    en_conv2d(g, en_input(g, en_nchw(1, 3, 4, 4)), en_input(g, en_nchw(3, 3, 1, 1)), EN_NONE, (en_conv){0});
}
static void conv_groups(en_graph *g)
{
    en_conv2d(g, en_input(g, en_nchw(1, 4, 4, 4)), en_param(g, "w", 4, (int[]){16, 1, 1, 1}), EN_NONE, (en_conv){.groups = 3});
}
static void conv_bias(en_graph *g)
{
    en_conv2d(g, en_input(g, en_nchw(1, 3, 8, 8)), en_param(g, "w", 4, (int[]){16, 3, 3, 3}), en_param(g, "b", 1, (int[]){15}),
              (en_conv){0});
}
static void linear_shape(en_graph *g)
{
    en_linear(g, en_input(g, en_nchw(1, 20, 1, 1)), en_param(g, "w", 2, (int[]){10, 21}), EN_NONE);
}
static void linear_map(en_graph *g)
{
    en_linear(g, en_input(g, en_nchw(1, 20, 2, 1)), en_param(g, "w", 2, (int[]){10, 20}), EN_NONE);
}
static void linear_bias(en_graph *g)
{
    en_linear(g, en_input(g, en_nchw(1, 20, 1, 1)), en_param(g, "w", 2, (int[]){10, 20}), en_param(g, "b", 1, (int[]){20}));
}
static void norm_shape(en_graph *g)
{
    en_ref p = en_param(g, "p", 1, (int[]){3});
    en_batch_norm(g, en_input(g, en_nchw(1, 3, 1, 1)), p, p, en_param(g, "q", 1, (int[]){4}), p, 0);
}
static void pool_window(en_graph *g) { en_max_pool(g, en_input(g, en_nchw(1, 3, 2, 9)), 3, 2, 0); }
static void pool_padding(en_graph *g) { en_max_pool(g, en_input(g, en_nchw(1, 3, 9, 9)), 3, 2, 2); }
static void average_of_nothing(en_graph *g) { en_adaptive_avg_pool(g, en_input(g, en_nchw(1, 3, 9, 9)), 0, 1); }
static void flat_parameter(en_graph *g) { en_flatten(g, en_param(g, "w", 2, (int[]){10, 20})); }
static void soft_parameter(en_graph *g) { en_softmax(g, en_param(g, "w", 2, (int[]){10, 20})); }
static en_ref map(en_graph *g, int c, int h, int w) { return en_input(g, en_nchw(1, c, h, w)); }
static void scale_map(en_graph *g) { en_scale_channels(g, map(g, 3, 4, 4), map(g, 3, 2, 1)); }
static void layer_shape(en_graph *g)
{
    en_layer_norm(g, map(g, 3, 1, 1), en_param(g, "g", 1, (int[]){3}), en_param(g, "b", 1, (int[]){4}), 1e-5f);
}
static void attention_heads(en_graph *g) { en_attention(g, map(g, 24, 2, 2), EN_NONE, (en_windows){.heads = 3}); }
static void attention_many_heads(en_graph *g) { en_attention(g, map(g, 24, 2, 2), EN_NONE, (en_windows){.heads = INT32_MAX}); }
static void attention_thirds(en_graph *g) { en_attention(g, map(g, 25, 2, 2), EN_NONE, (en_windows){.heads = 1}); }
static void attention_window(en_graph *g) { en_attention(g, map(g, 24, 6, 8), EN_NONE, (en_windows){.heads = 2, .window = 3}); }
static void attention_shift(en_graph *g)
{
    en_attention(g, map(g, 24, 6, 6), EN_NONE, (en_windows){.heads = 2, .window = 3, .shift = 3});
}
static void attention_shift_global(en_graph *g)
{
    en_attention(g, map(g, 24, 6, 6), EN_NONE, (en_windows){.heads = 2, .shift = 1});
}
static void attention_huge(en_graph *g) { en_attention(g, map(g, 3, 65536, 65536), EN_NONE, (en_windows){.heads = 1}); }
static void attention_bias(en_graph *g)
{
    en_attention(g, map(g, 24, 6, 6), en_param(g, "b", 2, (int[]){25, 4}), (en_windows){.heads = 2, .window = 3});
}
static void attention_bias_global(en_graph *g)
{
    en_attention(g, map(g, 24, 1, 1), en_param(g, "b", 2, (int[]){1, 2}), (en_windows){.heads = 2});
}
static void merge_odd(en_graph *g) { en_patch_merge(g, map(g, 3, 4, 5)); }
static void tokens_shape(en_graph *g)
{
    en_add_tokens(g, map(g, 3, 2, 2), en_param(g, "t", 3, (int[]){1, 1, 3}), en_param(g, "p", 3, (int[]){1, 4, 3}));
}
static void no_token(en_graph *g) { en_take_token(g, map(g, 3, 1, 5), 5); }
static void no_shape(en_graph *g) { en_input(g, en_nchw(1, 0, 3, 3)); }
static void no_input(en_graph *g) { en_relu(g, 5); }
static void no_output(en_graph *g) { en_output(g, EN_NONE); }
static void cut_nothing(en_graph *g) { en_cut(g, &(en_ref){3}, 1); }
static void cut_constant(en_graph *g) { en_cut(g, &(en_ref){en_param(g, "w", 1, (int[]){3})}, 1); }
static void many_cuts(en_graph *g)
{
    en_ref x = en_input(g, en_nchw(1, 1, 1, 1));
    for (int i = 0; i < EN_MAX_CUTS; i++) CHECK(en_cut(g, &x, 1) == i);
    CHECK(en_graph_status(g, NULL) == EN_OK && en_cut(g, &x, 1) == EN_NONE);
}
static void told(en_graph *g)
{
    en_graph_error(g, EN_E_FORMAT, "layer %d", 4);
    en_graph_error(g, EN_E_IO, "another");
}

TEST(the_first_error_sticks_and_names_op_and_shapes)
{
    static const struct {
        void (*make)(en_graph *g);
        en_status status;
        const char *message;
    } mistakes[] = {
        {two_errors, EN_E_ARG, "add: [1, 3, 8, 8] and [1, 3, 8, 9] differ"},
        {conv_channels, EN_E_ARG, "conv2d: weights [16, 4, 3, 3] in 1 groups do not fit input [1, 3, 8, 8]"},
        {conv_window, EN_E_ARG, "conv2d: input [1, 3, 4, 8] is smaller than the window of weights [16, 3, 7, 7]"},
        {conv_huge, EN_E_LIMIT, "conv2d: window of weights [16, 3, 33, 33]"},
        {conv_activation, EN_E_ARG, "conv2d: wants an activation and weights of rank 4 or 2"},
        {conv_groups, EN_E_ARG, "conv2d: weights [16, 1, 1, 1] in 3 groups"},
        {conv_bias, EN_E_ARG, "conv2d: bias [15] does not fit weights [16, 3, 3, 3]"},
        {linear_shape, EN_E_ARG, "linear: weights [10, 21] do not fit input [1, 20, 1, 1]"},
        {linear_map, EN_E_ARG, "linear: weights [10, 20] do not fit input [1, 20, 2, 1]"},
        {linear_bias, EN_E_ARG, "linear: bias [20] does not fit weights [10, 20]"},
        {norm_shape, EN_E_ARG, "batch_norm: parameter 3, [4], does not fit input [1, 3, 1, 1]"},
        {pool_window, EN_E_ARG, "max_pool: window 3, stride 2, padding 0 do not fit input [1, 3, 2, 9]"},
        {pool_padding, EN_E_ARG, "max_pool: window 3, stride 2, padding 2 do not fit input [1, 3, 9, 9]"},
        {average_of_nothing, EN_E_ARG, "adaptive_avg_pool: cannot make 0 x 1 of input [1, 3, 9, 9]"},
        {flat_parameter, EN_E_ARG, "flatten: wants an activation"},
        {soft_parameter, EN_E_ARG, "softmax: wants an activation"},
        {scale_map, EN_E_ARG, "scale_channels: scales [1, 3, 2, 1] do not fit input [1, 3, 4, 4]"},
        {layer_shape, EN_E_ARG, "layer_norm: parameter 2, [4], does not fit input [1, 3, 1, 1]"},
        {attention_heads, EN_E_ARG, "attention: 3 heads do not share the channels of input [1, 24, 2, 2]"},
        {attention_many_heads, EN_E_ARG, "attention: 2147483647 heads do not share the channels of input [1, 24, 2, 2]"},
        {attention_thirds, EN_E_ARG, "attention: 1 heads do not share the channels of input [1, 25, 2, 2]"},
        {attention_window, EN_E_ARG, "attention: windows of 3 moved by 0 do not tile input [1, 24, 6, 8]"},
        {attention_shift, EN_E_ARG, "attention: windows of 3 moved by 3 do not tile input [1, 24, 6, 6]"},
        {attention_shift_global, EN_E_ARG, "attention: windows of 0 moved by 1 do not tile input [1, 24, 6, 6]"},
        {attention_huge, EN_E_LIMIT, "attention: input [1, 3, 65536, 65536]"},
        {attention_bias, EN_E_ARG, "attention: bias [25, 4] does not fit windows of 3 and 2 heads"},
        {attention_bias_global, EN_E_ARG, "attention: bias [1, 2] does not fit windows of 0 and 2 heads"},
        {merge_odd, EN_E_ARG, "patch_merge: squares of 2 x 2 do not tile input [1, 3, 4, 5]"},
        {tokens_shape, EN_E_ARG, "add_tokens: token [1, 1, 3] and positions [1, 4, 3] do not fit input [1, 3, 2, 2]"},
        {no_token, EN_E_ARG, "take_token: input [1, 3, 1, 5] has no token 5"},
        {no_shape, EN_E_ARG, "no tensor can have the shape [1, 0, 3, 3]"},
        {no_input, EN_E_ARG, "relu: input 0 is no node"},
        {no_output, EN_E_ARG, "the output is no node"},
        {cut_nothing, EN_E_ARG, "a cut "},
        {cut_constant, EN_E_ARG, "a cut "},
        {many_cuts, EN_E_LIMIT, "more than 31 cuts"},
        {told, EN_E_FORMAT, "layer 4"},
    };
    for (size_t i = 0; i < sizeof mistakes / sizeof *mistakes; i++)
        check_error(mistakes[i].make, mistakes[i].status, mistakes[i].message);
}

TEST(a_graph_is_finished_once_and_only_for_a_known_instruction_set)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(NULL, &g, &e), e);
    en_output(g, en_relu(g, en_input(g, en_nchw(1, 1, 1, 1))));
    CHECK_FAILS(en_graph_finish(g, &(en_options){.isa = "abacus"}, &e), e, EN_E_UNSUPPORTED, "abacus");
    CHECK_OK(en_graph_finish(g, &(en_options){.isa = "base"}, &e), e);
    CHECK_FAILS(en_graph_finish(g, &(en_options){0}, &e), e, EN_E_ARG, "finished twice");
    en_graph_free(g);
    en_graph_free(NULL);
}

/* ---- builders ---- */

static void check_dims(en_graph *g, en_ref x, int n, int c, int h, int w)
{
    en_shape want = en_nchw(n, c, h, w);
    char a[64], b[64];
    CHECK_MSG(en_same_shape(en_shape_of(g, x), &want), "got %s, want %s", en_shape_text(en_shape_of(g, x), a),
              en_shape_text(&want, b));
}

TEST(builders_take_zero_options_as_the_usual_ones)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(NULL, &g, &e), e);
    en_ref x = en_input(g, en_nchw(2, 6, 12, 15)), w = en_param(g, "w", 4, (int[]){8, 6, 3, 5}),
           v = en_param(g, "v", 4, (int[]){6, 1, 3, 3});
    check_dims(g, en_conv2d(g, x, w, EN_NONE, (en_conv){0}), 2, 8, 10, 11);
    check_dims(g, en_conv2d(g, x, w, EN_NONE, (en_conv){.stride = 2, .pad = 1}), 2, 8, 6, 7);
    check_dims(g, en_conv2d(g, x, w, EN_NONE, (en_conv){.stride = 2, .stride_w = 3, .pad = 1, .pad_w = 2}), 2, 8, 6, 5);
    check_dims(g, en_conv2d(g, x, w, EN_NONE, (en_conv){.stride_w = 3, .pad_w = 2}), 2, 8, 10, 5);
    check_dims(g, en_conv2d(g, x, v, EN_NONE, (en_conv){.groups = 6}), 2, 6, 10, 13);
    check_dims(g, en_max_pool(g, x, 3, 2, 1), 2, 6, 6, 8);
    check_dims(g, en_global_avg_pool(g, x), 2, 6, 1, 1);
    check_dims(g, en_adaptive_avg_pool(g, x, 5, 7), 2, 6, 5, 7);
    check_dims(g, en_flatten(g, x), 2, 6 * 12 * 15, 1, 1);
    CHECK(en_graph_status(g, NULL) == EN_OK);
    en_graph_free(g);
}
