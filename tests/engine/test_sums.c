/* SPDX-License-Identifier: MIT */
/* Adjoints summed over positions are the sums of the adjoints, by whatever way they came; and what a relu stops is not computed. */
#include "engine/build.h"
#include "engine/engine.h"
#include "tests/engine/cases.h"
#include "tests/engine/made_up.h"
#include "tests/test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 2, CHANNELS = 20, HEIGHT = 3, WIDTH = 5, CLASSES = 10, SEEDS = 3 };

static en_ref one(en_graph *g, en_ref x, const char *name, int groups)
{
    return en_conv2d(g, x, made_up(g, name, "weight", 4, CHANNELS, CHANNELS / groups, 1, 1), EN_NONE, (en_conv){.groups = groups});
}

static en_ref head(en_graph *g, en_ref x, int inputs)
{
    char name[16];
    snprintf(name, sizeof name, "head%d", inputs);
    return en_linear(g, x, made_up(g, name, "weight", 2, CLASSES, inputs, 0, 0), made_up(g, name, "bias", 1, CLASSES, 0, 0, 0));
}

static en_ref pooled_head(en_graph *g, en_ref x) { return head(g, en_flatten(g, en_global_avg_pool(g, x)), CHANNELS); }

static en_ref behind_convolution(en_graph *g, en_ref x) { return pooled_head(g, en_silu(g, one(g, x, "one", 1))); }
static en_ref behind_tokens(en_graph *g, en_ref x)
{
    en_ref w = made_up(g, "tokens", "weight", 2, 2 * CHANNELS, CHANNELS, 0, 0), b = made_up(g, "tokens", "bias", 1, 2 * CHANNELS, 0, 0, 0);
    en_ref y = en_gelu(g, en_conv2d(g, x, w, b, (en_conv){0}));
    return head(g, en_flatten(g, en_global_avg_pool(g, y)), 2 * CHANNELS);
}
static en_ref behind_mean(en_graph *g, en_ref x) { return pooled_head(g, x); }
static en_ref behind_means(en_graph *g, en_ref x) { return behind_convolution(g, en_adaptive_avg_pool(g, x, 2, 3)); }
static en_ref behind_flatten(en_graph *g, en_ref x)
{
    x = en_adaptive_avg_pool(g, x, HEIGHT, WIDTH);
    return head(g, en_flatten(g, x), CHANNELS * HEIGHT * WIDTH);
}
static en_ref behind_silu(en_graph *g, en_ref x) { return pooled_head(g, en_silu(g, x)); }
static en_ref behind_groups(en_graph *g, en_ref x) { return pooled_head(g, en_silu(g, one(g, x, "two", 2))); }
static en_ref behind_window(en_graph *g, en_ref x)
{
    return pooled_head(g, en_silu(g, en_conv2d(g, x, made_up(g, "window", "weight", 4, CHANNELS, CHANNELS, 3, 3), EN_NONE, (en_conv){.pad = 1})));
}
static en_ref behind_sum(en_graph *g, en_ref x) { return pooled_head(g, en_silu(g, en_add(g, one(g, x, "one", 1), x))); }

static const struct tail {
    en_ref (*build)(en_graph *g, en_ref x);
    const char *op; /* of the map that gives the sum, or NULL */
    int means;      /* how many it is followed through        */
} tails[] = {{behind_convolution, "conv2d", 0}, {behind_tokens, "conv2d", 0}, {behind_mean, NULL, 1},   {behind_means, "conv2d", 1}, {behind_flatten, "linear", 1},
             {behind_silu, NULL, 0},            {behind_groups, NULL, 0},     {behind_window, NULL, 0}, {behind_sum, NULL, 0}};

typedef struct run {
    en_graph *g;
    en_ref x, y;
} run;

static run run_new(en_params *p, en_ref (*build)(en_graph *, en_ref), en_ref (*before)(en_graph *, en_ref))
{
    run r;
    en_error e = {0};
    CHECK_OK(en_graph_new(p, &r.g, &e), e);
    r.x = en_input(r.g, en_nchw(IMAGES, CHANNELS, HEIGHT, WIDTH));
    if (before) r.x = before(r.g, r.x);
    r.y = en_log_softmax(r.g, build(r.g, r.x));
    CHECK(en_cut(r.g, &r.x, 1) == 0);
    en_output(r.g, r.y);
    CHECK_OK(en_graph_finish(r.g, &(en_options){.seeds = SEEDS}, &e), e);
    t_poison(r.g);
    float x[IMAGES * CHANNELS * HEIGHT * WIDTH];
    for (size_t i = 0; i < sizeof x / sizeof *x; i++) x[i] = (float)(i * 7 % 37) / 8 - 2;
    en_store(en_shape_of(r.g, 0), x, en_value(r.g, 0));
    en_forward(r.g, 0, NULL);
    return r;
}

static void seed(const run *r)
{
    const en_shape *s = en_shape_of(r->g, r->y);
    float gy[IMAGES * CLASSES];
    en_seed(r->g, 0, SEEDS, 2);
    for (int i = 0; i < 2 * SEEDS; i++) {
        for (size_t k = 0; k < sizeof gy / sizeof *gy; k++) gy[k] = (float)(k * (size_t)(i + 3) % 11) / 4 - 1;
        en_store(s, gy, en_adjoint(r->g, r->y, i % SEEDS, 1 + i / SEEDS));
    }
}

static void check_sums(const run *r, float *sums)
{
    const en_shape *s = en_shape_of(r->g, r->x);
    for (int i = 0; i < 2 * SEEDS; i++) {
        const float *got = en_adjoint_sum(r->g, i % SEEDS, 1 + i / SEEDS), *gx = en_adjoint(r->g, r->x, i % SEEDS, 1 + i / SEEDS);
        for (int n = 0; n < IMAGES; n++)
            for (int k = 0; k < CHANNELS; k++) {
                size_t at = (size_t)n * en_image_floats(s) + (size_t)(k / EN_LANES) * en_block_floats(s) + (size_t)(k % EN_LANES);
                double want = 0, most = 0;
                for (size_t p = 0; p < HEIGHT * WIDTH; p++) {
                    want += (double)gx[at + p * EN_LANES];
                    most += fabs((double)gx[at + p * EN_LANES]);
                }
                float sum = got[(size_t)(n * en_blocks(CHANNELS) * EN_LANES + k)];
                CHECK_MSG(most > 0 && fabs((double)sum - want) <= 2e-6 * most, "seed %d, image %d, channel %d: %g, want %g", i, n, k, (double)sum, want);
                *sums++ = sum;
            }
    }
}

TEST(sums_of_adjoints_are_those_of_the_adjoints_at_each_position)
{
    en_params *p = made_up_params();
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        run r = run_new(p, tails[i].build, NULL);
        const en_cut_set *cut = &r.g->cut[0];
        float sums[2 * SEEDS * IMAGES * CHANNELS], *next = sums, whole[CHANNELS];
        CHECK((cut->by != EN_NONE) == (tails[i].op != NULL) && cut->from == r.x + tails[i].means);
        CHECK(!tails[i].op || !strcmp(en_op_name(r.g, cut->by), tails[i].op));
        seed(&r);
        en_reverse(r.g);
        check_sums(&r, sums);
        memcpy(whole, en_adjoint(r.g, r.x, 0, 1), sizeof whole);
        t_poison_adjoints(r.g);
        seed(&r);
        en_reverse_sums(r.g);
        for (int s = 0; s < 2 * SEEDS * IMAGES; s++, next += CHANNELS)
            CHECK(!memcmp(en_adjoint_sum(r.g, s / IMAGES % SEEDS, 1 + s / IMAGES / SEEDS) + s % IMAGES * en_blocks(CHANNELS) * EN_LANES, next, CHANNELS * sizeof *next));
        int left_out = memcmp(en_adjoint(r.g, r.x, 0, 1), whole, sizeof whole) != 0;
        CHECK(left_out == (tails[i].op != NULL || tails[i].means > 0)); /* nobody asked for the adjoint itself */
        en_graph_free(r.g);
    }
    en_params_free(p);
}

/* A parameter that one differentiates has no positions: then there is nothing to sum, and nothing is left out. */
TEST(a_cut_through_a_parameter_has_no_sums)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(NULL, &g, &e), e);
    en_ref x = en_input(g, en_nchw(1, 2, 1, 1)), gamma = en_input(g, en_plain(1, (int[]){2})), beta = en_input(g, en_plain(1, (int[]){2}));
    en_ref y = en_layer_norm(g, x, gamma, beta, 1e-5f);
    CHECK(en_cut(g, &gamma, 1) == 0);
    en_output(g, y);
    CHECK_OK(en_graph_finish(g, &(en_options){.seeds = 1}, &e), e);
    t_poison(g);
    en_store(en_shape_of(g, x), (float[]){1, 3}, en_value(g, x));
    en_store(en_shape_of(g, gamma), (float[]){1, 1}, en_value(g, gamma));
    en_store(en_shape_of(g, beta), (float[]){0, 0}, en_value(g, beta));
    en_forward(g, 0, NULL);
    en_seed(g, 0, 1, 1);
    en_store(en_shape_of(g, y), (float[]){2, 5}, en_adjoint(g, y, 0, 1));
    CHECK(g->cut[0].from == EN_NONE && en_sums_floats(g, &g->cut[0]) == 0);
    en_reverse_sums(g);
    float ggamma[2]; /* gy times the normalised x, which is -1 and 1 */
    en_load(en_shape_of(g, gamma), en_adjoint(g, gamma, 0, 1), ggamma);
    CHECK_MSG(fabs((double)ggamma[0] + 2) <= 1e-4 && fabs((double)ggamma[1] - 5) <= 1e-4, "%g %g", (double)ggamma[0], (double)ggamma[1]);
    en_graph_free(g);
}

/* ---- what a relu stops ---- */

static en_ref relu_and_maxima(en_graph *g, en_ref x)
{
    x = en_max_pool(g, en_relu(g, x), 2, 1, 0);
    return head(g, en_flatten(g, en_adaptive_avg_pool(g, x, HEIGHT - 1, WIDTH - 1)), CHANNELS * (HEIGHT - 1) * (WIDTH - 1));
}
static en_ref maxima(en_graph *g, en_ref x)
{
    x = en_max_pool(g, x, 2, 1, 0);
    return head(g, en_flatten(g, en_adaptive_avg_pool(g, x, HEIGHT - 1, WIDTH - 1)), CHANNELS * (HEIGHT - 1) * (WIDTH - 1));
}
static en_ref relu(en_graph *g, en_ref x) { return en_relu(g, x); }
static en_ref wider_means(en_graph *g, en_ref x)
{
    return head(g, en_flatten(g, en_adaptive_avg_pool(g, en_relu(g, x), 2, 2)), 4 * CHANNELS);
}

/* Whether a linear layer is told that it need not find what belongs to zeros of its input. */
static int linear_is_sparse(const run *r)
{
    for (en_ref i = 0; i < en_nodes(r->g); i++)
        if (en_op_name(r->g, i) && !strcmp(en_op_name(r->g, i), "linear")) return en_zero_is_dead(r->g, r->g->node[i].in[0], 0);
    return -1;
}

/* Before the relu the gradient is that behind it where its input is positive. */
TEST(gradients_that_a_relu_stops_are_left_out)
{
    en_params *p = made_up_params();
    run a = run_new(p, relu_and_maxima, NULL), b = run_new(p, maxima, relu), means = run_new(p, wider_means, NULL);
    CHECK(linear_is_sparse(&a) == 1 && linear_is_sparse(&b) == 0 && linear_is_sparse(&means) == 0);
    seed(&a), en_reverse(a.g);
    seed(&b), en_reverse(b.g);
    for (int i = 0; i < 2 * SEEDS; i++) {
        const float *before = en_adjoint(a.g, a.x, i % SEEDS, 1 + i / SEEDS), *behind = en_adjoint(b.g, b.x, i % SEEDS, 1 + i / SEEDS);
        const float *x = en_value(a.g, a.x);
        int stopped = 0;
        for (size_t k = 0; k < en_floats(en_shape_of(a.g, a.x)); k++) {
            CHECK_MSG(x[k] > 0 ? before[k] == behind[k] : before[k] == 0, "at %zu, x = %g: %g, behind the relu %g", k, (double)x[k], (double)before[k], (double)behind[k]);
            stopped += x[k] <= 0 && behind[k] != 0;
        }
        CHECK(stopped > 0);
    }
    en_graph_free(a.g);
    en_graph_free(b.g);
    en_graph_free(means.g);
    en_params_free(p);
}
