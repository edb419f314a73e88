/* SPDX-License-Identifier: MIT */
/* Graphs as a whole: cuts and tails, fusing, the memory plan, failed allocations. Most of it on one small network with a stem, an
 * inverted residual block, pooling and a classifier, whose parameters are made up from their names. */
#include "engine/cpu.h"
#include "engine/engine.h"
#include "tests/engine/cases.h"
#include "tests/engine/made_up.h"
#include "tests/test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { IMAGES = 2, CLASSES = 10 };
enum { CUT_INPUT = 1, CUT_STEM = 2, CUT_INSIDE = 4, CUT_POOLED = 8, CUT_LOGITS = 16, ALL_CUTS = 31 };

typedef struct net {
    en_graph *g;
    en_ref x, at[5], y; /* the input; places of the cuts above; log-probabilities */
    int cut[5];         /* their numbers, EN_NONE where not asked for             */
} net;

static void build(net *n, unsigned cuts)
{
    en_graph *g = n->g;
    n->x = en_input(g, en_nchw(IMAGES, 3, 11, 11));
    en_ref stem = en_relu(g, conv_bn(g, "stem", n->x, 3, 20, 3, (en_conv){.pad = 1}));
    en_ref h = en_relu6(g, conv_bn(g, "expand", stem, 20, 40, 1, (en_conv){0}));
    en_ref inside = en_relu6(g, conv_bn(g, "depthwise", h, 40, 40, 3, (en_conv){.pad = 1, .groups = 40}));
    h = en_add(g, conv_bn(g, "project", inside, 40, 20, 1, (en_conv){0}), stem);
    en_ref pooled = en_max_pool(g, en_name(g, en_relu(g, h), "block"), 3, 2, 1);
    h = en_flatten(g, en_global_avg_pool(g, pooled));
    en_ref logits = en_linear(g, h, made_up(g, "fc", "weight", 2, CLASSES, 20, 0, 0), made_up(g, "fc", "bias", 1, CLASSES, 0, 0, 0));
    n->y = en_log_softmax(g, logits);
    memcpy(n->at, (en_ref[]){n->x, stem, inside, pooled, logits}, sizeof n->at);
    for (int k = 0; k < 5; k++) n->cut[k] = cuts >> k & 1 ? en_cut(g, &n->at[k], 1) : EN_NONE;
    en_output(g, n->y);
}

static net net_new(en_params *params, unsigned cuts, en_options o)
{
    net n;
    en_error e = {0};
    CHECK_OK(en_graph_new(params, &n.g, &e), e);
    build(&n, cuts);
    CHECK_OK(en_graph_finish(n.g, &o, &e), e);
    t_poison(n.g);
    return n;
}

/* Puts row-major numbers into a tensor. */
static void put(const net *n, en_ref x, const float *numbers, float *stored) { en_store(en_shape_of(n->g, x), numbers, stored); }

/* Row-major copy of a tensor, for the caller to free. */
static float *get(const net *n, en_ref x, const float *stored)
{
    float *out = malloc(en_count(en_shape_of(n->g, x)) * sizeof *out);
    CHECK(out != NULL && stored != NULL);
    en_load(en_shape_of(n->g, x), stored, out);
    return out;
}

static float *random_like(const net *n, en_ref x)
{
    size_t count = en_count(en_shape_of(n->g, x));
    float *out = malloc(count * sizeof *out);
    CHECK(out != NULL);
    t_draw_floats(T_PLAIN, count, out);
    return out;
}

/* Frees both. */
static void check_same(const net *n, en_ref x, float *a, float *b, const char *what)
{
    CHECK_MSG(!memcmp(a, b, en_count(en_shape_of(n->g, x)) * sizeof *a), "%s differs", what);
    free(a);
    free(b);
}

static double dot(const net *n, en_ref x, const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < en_count(en_shape_of(n->g, x)); i++) sum += (double)a[i] * (double)b[i];
    return sum;
}

TEST(nodes_are_found_by_name)
{
    en_params *p = made_up_params();
    net n = net_new(p, 0, (en_options){0});
    en_ref block = en_find(n.g, "block");
    CHECK(block > 0 && block < en_nodes(n.g) && !strcmp(en_name_of(n.g, block), "block"));
    CHECK(en_find(n.g, "nothing") == EN_NONE && en_name_of(n.g, n.x) == NULL);
    CHECK(en_key_of(n.g, n.x) == NULL && !strcmp(en_key_of(n.g, n.x + 1), "stem.weight"));
    en_graph_free(n.g);
    en_params_free(p);
}

/* ---- the small network ---- */

/* Value, tangent, gradient and its tangent at a cut, all row-major, of a random input, direction and seeds that are the same for
 * every net. */
typedef struct sweep {
    float *y, *dy, *gx, *dgx;
} sweep;

static sweep sweep_of(const net *n, int k, const float *x, const float *v, const float *gy, const float *dgy)
{
    put(n, n->x, x, en_value(n->g, n->x));
    float *direction = calloc(en_floats(en_shape_of(n->g, n->at[k])), sizeof *direction);
    CHECK(direction != NULL);
    put(n, n->at[k], v, direction);
    en_forward(n->g, n->cut[k], direction);
    free(direction);
    en_seed(n->g, n->cut[k], 1, 2);
    put(n, n->y, gy, en_adjoint(n->g, n->y, 0, 1));
    put(n, n->y, dgy, en_adjoint(n->g, n->y, 0, 2));
    en_reverse(n->g);
    return (sweep){get(n, n->y, en_value(n->g, n->y)), get(n, n->y, en_tangent(n->g, n->y)),
                   get(n, n->at[k], en_adjoint(n->g, n->at[k], 0, 1)), get(n, n->at[k], en_adjoint(n->g, n->at[k], 0, 2))};
}

static void sweep_free(sweep *s)
{
    free(s->y);
    free(s->dy);
    free(s->gx);
    free(s->dgx);
}

static void check_same_sweep(const net *n, int k, sweep a, sweep b)
{
    check_same(n, n->y, a.y, b.y, "y");
    check_same(n, n->y, a.dy, b.dy, "dy");
    check_same(n, n->at[k], a.gx, b.gx, "gx");
    check_same(n, n->at[k], a.dgx, b.dgx, "dgx");
}

/* Inputs of sweep_of for cut k. */
typedef struct draws {
    float *x, *v, *u, *gy, *dgy;
} draws;

static draws draws_for(const net *n, int k)
{
    return (draws){random_like(n, n->x), random_like(n, n->at[k]), random_like(n, n->at[k]), random_like(n, n->y),
                   random_like(n, n->y)};
}

static void draws_free(draws *d)
{
    free(d->x);
    free(d->v);
    free(d->u);
    free(d->gy);
    free(d->dgy);
}

TEST(fusing_happens_in_the_prefix_only_and_is_shown)
{
    static const struct {
        unsigned cut;
        int act, add, tail; /* lines with " +batch_norm +act", " +batch_norm +add +act", (tail) */
    } want[] = {{0, 3, 1, 0}, {CUT_POOLED, 3, 1, 4}, {CUT_INSIDE, 3, 0, 9}, {CUT_STEM, 1, 0, 15}, {CUT_INPUT, 0, 0, 18}};
    en_params *p = made_up_params();
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        for (int no_fuse = 0; no_fuse < 2; no_fuse++) {
            net n = net_new(p, want[i].cut, (en_options){.seeds = 1, .no_fuse = no_fuse});
            char *text = en_graph_text(n.g);
            CHECK(text != NULL);
            CHECK_MSG(lines_with(text, "conv2d", " +batch_norm +act") == (no_fuse ? 0 : want[i].act), "cut %u:\n%s", want[i].cut,
                      text);
            CHECK_MSG(lines_with(text, "conv2d", " +batch_norm +add +act") == (no_fuse ? 0 : want[i].add), "cut %u:\n%s",
                      want[i].cut, text);
            CHECK_MSG(lines_with(text, "", "(tail)") == want[i].tail, "cut %u:\n%s", want[i].cut, text);
            free(text);
            en_graph_free(n.g);
        }
    en_params_free(p);
}

TEST(fusing_changes_no_bit)
{
    en_params *p = made_up_params();
    int usable;
    const kn_table *table;
    for (int i = 0; (table = en_isa(i, &usable)); i++)
        for (int k = 0; k < 5 && usable; k++) {
            net fused = net_new(p, 1u << k, (en_options){.seeds = 1, .isa = table->name}),
                apart = net_new(p, 1u << k, (en_options){.seeds = 1, .isa = table->name, .no_fuse = 1});
            draws d = draws_for(&fused, k);
            for (size_t j = 0; j < en_count(en_shape_of(fused.g, fused.x)); j++) d.x[j] *= 3000; /* so that some numbers pass 6 */
            check_same_sweep(&fused, k, sweep_of(&fused, k, d.x, d.v, d.gy, d.dgy), sweep_of(&apart, k, d.x, d.v, d.gy, d.dgy));
            draws_free(&d);
            en_graph_free(fused.g);
            en_graph_free(apart.g);
        }
    en_params_free(p);
}

typedef en_ref make_act(en_graph *g, en_ref x);

/* What can take over an activation: a convolution (3 x 3, depthwise, of rank 2; with batch norm and shortcut), a linear layer. */
enum { CONV, DEPTHWISE, POSITIONS, SHORTCUT, LINEAR, HOSTS };

static en_ref host_of(en_graph *g, int host, en_ref x)
{
    static const char *const layer[HOSTS] = {"conv", "depthwise", "positions", "shortcut", "linear"};
    en_ref bias = made_up(g, layer[host], "bias", 1, 20, 0, 0, 0);
    if (host == CONV) return en_conv2d(g, x, made_up(g, layer[host], "weight", 4, 20, 20, 3, 3), bias, (en_conv){.pad = 1});
    if (host == DEPTHWISE) return conv_bn(g, layer[host], x, 20, 20, 3, (en_conv){.groups = 20});
    if (host == POSITIONS) return en_conv2d(g, x, made_up(g, layer[host], "weight", 2, 20, 20, 0, 0), bias, (en_conv){0});
    if (host == SHORTCUT) return en_add(g, conv_bn(g, layer[host], x, 20, 20, 1, (en_conv){0}), x);
    return en_linear(g, en_global_avg_pool(g, x), made_up(g, layer[host], "weight", 2, 20, 20, 0, 0), bias);
}

/* The output as it is stored, padding included, for the caller to free. */
static float *stored_activation(en_params *p, make_act *act, int host, const char *isa, int no_fuse, size_t *bytes)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(p, &g, &e), e);
    en_ref x = en_input(g, en_nchw(IMAGES, 20, 7, 5)), y = act(g, host_of(g, host, x));
    en_output(g, y);
    CHECK_OK(en_graph_finish(g, &(en_options){.isa = isa, .no_fuse = no_fuse}, &e), e);
    t_poison(g);
    float numbers[IMAGES * 20 * 7 * 5];
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) numbers[i] = (float)(i % 37) - 18;
    en_store(en_shape_of(g, x), numbers, en_value(g, x));
    char *text = en_graph_text(g);
    CHECK(text != NULL && lines_with(text, "", "+act") == !no_fuse);
    free(text);
    en_forward(g, -1, NULL);
    *bytes = en_floats(en_shape_of(g, y)) * sizeof(float);
    float *out = malloc(*bytes);
    CHECK(out != NULL);
    memcpy(out, en_value(g, y), *bytes);
    en_graph_free(g);
    return out;
}

TEST(fusing_any_activation_into_any_op_changes_no_bit_and_keeps_the_padding_zero)
{
    static make_act *const acts[] = {en_relu, en_relu6, en_sigmoid, en_silu, en_gelu};
    en_params *p = made_up_params();
    int usable;
    const kn_table *table;
    for (int i = 0; (table = en_isa(i, &usable)); i++)
        for (int a = 0; a < 5 && usable; a++)
            for (int host = 0; host < HOSTS; host++) {
                size_t bytes;
                float *fused = stored_activation(p, acts[a], host, table->name, 0, &bytes);
                float *apart = stored_activation(p, acts[a], host, table->name, 1, &bytes);
                CHECK_MSG(!memcmp(fused, apart, bytes), "%s, activation %d, host %d", table->name, a, host);
                CHECK(apart[bytes / sizeof(float) - 1] == 0); /* channel 31 of 20 */
                free(fused);
                free(apart);
            }
    en_params_free(p);
}

/* Also that memory is shared rightly: where every node is in a tail, nothing is. */
TEST(other_cuts_in_the_graph_change_no_bit)
{
    en_params *p = made_up_params();
    for (int k = 0; k < 5; k++) {
        net alone = net_new(p, 1u << k, (en_options){.seeds = 1}), many = net_new(p, ALL_CUTS, (en_options){.seeds = 1});
        draws d = draws_for(&alone, k);
        for (int again = 0; again < 2; again++)
            check_same_sweep(&alone, k, sweep_of(&alone, k, d.x, d.v, d.gy, d.dgy), sweep_of(&many, k, d.x, d.v, d.gy, d.dgy));
        draws_free(&d);
        en_graph_free(alone.g);
        en_graph_free(many.g);
    }
    en_params_free(p);
}

TEST(values_without_a_cut_are_the_same_bits)
{
    en_params *p = made_up_params();
    net plain = net_new(p, 0, (en_options){0}), cut = net_new(p, ALL_CUTS, (en_options){.seeds = 2});
    draws d = draws_for(&plain, 0);
    put(&plain, plain.x, d.x, en_value(plain.g, plain.x));
    put(&cut, cut.x, d.x, en_value(cut.g, cut.x));
    en_forward(plain.g, -1, NULL);
    en_forward(cut.g, -1, NULL);
    check_same(&plain, plain.y, get(&plain, plain.y, en_value(plain.g, plain.y)), get(&cut, cut.y, en_value(cut.g, cut.y)), "y");
    draws_free(&d);
    en_graph_free(plain.g);
    en_graph_free(cut.g);
    en_params_free(p);
}

TEST(memory_that_is_used_again_is_not_given_out)
{
    en_params *p = made_up_params();
    net n = net_new(p, CUT_POOLED, (en_options){.seeds = 1});
    CHECK(en_value(n.g, n.x) && en_value(n.g, n.at[3]) && en_value(n.g, n.at[4]) && en_value(n.g, n.y));
    CHECK(en_tangent(n.g, n.at[3]) && en_adjoint(n.g, n.at[3], 0, 1) && en_tangent(n.g, n.y) && en_adjoint(n.g, n.y, 0, 1));
    CHECK(!en_tangent(n.g, n.x) && !en_adjoint(n.g, n.x, 0, 1));
    CHECK(!en_value(n.g, n.at[1]) && !en_tangent(n.g, n.at[1]));
    en_graph_free(n.g);
    en_params_free(p);
}

/* The chain rule through the whole network: each cut's gradient is the adjoint of its tangent, its Hessian symmetric. Sums of a
 * few thousand numbers below 1 with errors of some 100 epsilons each. */
TEST(gradients_are_adjoint_and_hessians_symmetric_at_every_cut)
{
    en_params *p = made_up_params();
    net n = net_new(p, ALL_CUTS, (en_options){.seeds = 1});
    for (int k = 0; k < 5; k++) {
        draws d = draws_for(&n, k);
        float *zero = calloc(en_count(en_shape_of(n.g, n.y)), sizeof *zero);
        CHECK(zero != NULL);
        sweep v = sweep_of(&n, k, d.x, d.v, d.gy, zero), u = sweep_of(&n, k, d.x, d.u, d.gy, zero); /* a linear utility: dgy = 0 */
        double a = dot(&n, n.y, v.dy, d.gy), b = dot(&n, n.at[k], v.gx, d.v), tolerance = 1e-4 * (1 + fabs(a));
        CHECK_MSG(fabs(a - b) <= tolerance, "cut %d: <gy, J v> = %.9g, <J' gy, v> = %.9g", k, a, b);
        a = dot(&n, n.at[k], v.dgx, d.u), b = dot(&n, n.at[k], u.dgx, d.v);
        CHECK_MSG(fabs(a - b) <= 1e-4 * (1 + fabs(a)) && a != 0, "cut %d: <u, H v> = %.9g, <v, H u> = %.9g", k, a, b);
        sweep_free(&v);
        sweep_free(&u);
        free(zero);
        draws_free(&d);
    }
    en_graph_free(n.g);
    en_params_free(p);
}

static void check_own_direction(en_params *p, int k)
{
    net n = net_new(p, 1u << k, (en_options){.seeds = 1});
    draws d = draws_for(&n, k);
    put(&n, n.x, d.x, en_value(n.g, n.x));
    en_forward(n.g, 0, NULL);
    float *at = get(&n, n.at[k], en_value(n.g, n.at[k]));
    check_same(&n, n.at[k], get(&n, n.at[k], en_tangent(n.g, n.at[k])), get(&n, n.at[k], en_value(n.g, n.at[k])), "tangent");
    float *dy = get(&n, n.y, en_tangent(n.g, n.y));
    sweep s = sweep_of(&n, k, d.x, at, d.gy, d.dgy);
    check_same(&n, n.y, dy, s.dy, "dy");
    s.dy = NULL;
    sweep_free(&s);
    free(at);
    draws_free(&d);
    en_graph_free(n.g);
}

TEST(without_a_direction_the_tangent_starts_from_the_value)
{
    en_params *p = made_up_params();
    for (int k = 0; k < 5; k++) check_own_direction(p, k);
    en_params_free(p);
}

/* Values and tangents of a linear map with a constant, at once behind the cut, for a batch; [2][floats], for the caller to free. */
static float *first_map(int linear, int own, size_t *floats)
{
    en_graph *g;
    en_error e = {0};
    en_params *p = made_up_params();
    CHECK_OK(en_graph_new(p, &g, &e), e);
    int side = linear ? 1 : 6;
    en_ref x = en_input(g, en_nchw(IMAGES, 20, side, side)), bias = made_up(g, "first", "bias", 1, 37, 0, 0, 0);
    en_ref y = linear ? en_linear(g, x, made_up(g, "first", "weight", 2, 37, 20, 0, 0), bias)
                      : en_conv2d(g, x, made_up(g, "first", "weight", 4, 37, 20, 3, 3), bias, (en_conv){.pad = 1});
    CHECK(en_cut(g, &x, 1) == 0);
    en_output(g, y);
    CHECK_OK(en_graph_finish(g, &(en_options){.seeds = 1}, &e), e);
    t_poison(g);
    size_t count = en_floats(en_shape_of(g, x));
    float *numbers = malloc(count * sizeof *numbers), *out = malloc(2 * (*floats = en_floats(en_shape_of(g, y))) * sizeof *out);
    CHECK(numbers && out);
    for (size_t i = 0; i < count; i++) numbers[i] = i / 16 / (size_t)(side * side) % 2 && i % 16 > 3 ? 0 : (float)(i % 37) - 18; /* padding is zero */
    memcpy(en_value(g, x), numbers, count * sizeof *numbers);
    en_forward(g, 0, own ? NULL : numbers);
    memcpy(out, en_value(g, y), *floats * sizeof *out);
    memcpy(out + *floats, en_tangent(g, y), *floats * sizeof *out);
    free(numbers);
    en_graph_free(g);
    en_params_free(p);
    return out;
}

TEST(the_first_linear_map_gives_value_and_tangent_by_one_product_and_the_same_bits)
{
    for (int linear = 0; linear < 2; linear++) {
        size_t floats;
        float *own = first_map(linear, 1, &floats), *given = first_map(linear, 0, &floats);
        CHECK_MSG(!memcmp(own, given, 2 * floats * sizeof *own), "linear %d", linear);
        CHECK(memcmp(own, own + floats, floats * sizeof *own)); /* the constant is in the value alone */
        free(own);
        free(given);
    }
}

TEST(a_tail_run_from_a_new_value_equals_a_full_run)
{
    en_params *p = made_up_params();
    for (int k = 0; k < 5; k++) {
        if (k == 2) continue; /* there the shortcut goes around the cut */
        net n = net_new(p, 1u << k, (en_options){.seeds = 1});
        draws first = draws_for(&n, k), second = draws_for(&n, k);
        sweep whole = sweep_of(&n, k, second.x, second.v, second.gy, second.dgy);
        float *at = get(&n, n.at[k], en_value(n.g, n.at[k]));
        sweep other = sweep_of(&n, k, first.x, first.v, first.gy, first.dgy);
        CHECK(memcmp(other.y, whole.y, IMAGES * CLASSES * sizeof(float)));
        put(&n, n.at[k], at, en_value(n.g, n.at[k]));
        put(&n, n.at[k], second.v, en_tangent(n.g, n.at[k]));
        en_forward_tail(n.g, 0, 1);
        check_same(&n, n.y, get(&n, n.y, en_value(n.g, n.y)), whole.y, "y");
        check_same(&n, n.y, get(&n, n.y, en_tangent(n.g, n.y)), whole.dy, "dy");
        whole.y = whole.dy = NULL;
        sweep_free(&whole);
        sweep_free(&other);
        free(at);
        draws_free(&first);
        draws_free(&second);
        en_graph_free(n.g);
    }
    en_params_free(p);
}

TEST(a_graph_for_the_tail_alone_is_smaller_and_gives_the_same_bits)
{
    en_params *p = made_up_params();
    for (int k = 1; k < 5; k++) {
        net whole = net_new(p, 1u << k, (en_options){.seeds = 1}),
            tail = net_new(p, 1u << k, (en_options){.seeds = 1, .tail_only = 1});
        draws d = draws_for(&whole, k);
        sweep s = sweep_of(&whole, k, d.x, d.v, d.gy, d.dgy);
        en_copy_outside(tail.g, 0, whole.g, 0);
        if (k == 2) /* both images read the first one's shortcut; let the whole graph do the same */
            for (int i = 0; i < 2; i++) en_copy_outside(whole.g, 0, whole.g, 0);
        for (int i = 0; i < 2; i++) {
            net *n = i ? &tail : &whole;
            put(n, n->at[k], d.u, en_value(n->g, n->at[k]));
            put(n, n->at[k], d.v, en_tangent(n->g, n->at[k]));
            en_forward_tail(n->g, 0, 1);
        }
        CHECK(en_graph_bytes(tail.g) <= en_graph_bytes(whole.g) && (k < 4 || en_graph_bytes(tail.g) < en_graph_bytes(whole.g)));
        check_same(&tail, tail.y, get(&tail, tail.y, en_value(tail.g, tail.y)), get(&whole, whole.y, en_value(whole.g, whole.y)),
                   "y");
        check_same(&tail, tail.y, get(&tail, tail.y, en_tangent(tail.g, tail.y)),
                   get(&whole, whole.y, en_tangent(whole.g, whole.y)), "dy");
        sweep_free(&s);
        draws_free(&d);
        en_graph_free(whole.g);
        en_graph_free(tail.g);
    }
    en_params_free(p);
}

TEST(a_prepared_graph_leaves_nothing_to_read)
{
    en_params *p = made_up_params();
    net n;
    en_error e = {0};
    CHECK_OK(en_graph_new(p, &n.g, &e), e);
    build(&n, 0);
    CHECK_OK(en_graph_prepare(n.g, NULL, &e), e);
    en_graph_free(n.g);
    size_t bytes = en_params_bytes(p);
    n = net_new(p, CUT_INSIDE, (en_options){.seeds = 1});
    CHECK(bytes > 0 && en_params_bytes(p) == bytes);
    en_graph_free(n.g);
    en_params_free(p);
}

TEST(only_what_global_averages_alone_read_counts_as_pooled)
{
    en_params *p = made_up_params();
    net n = net_new(p, 0, (en_options){.no_fuse = 1});
    for (int k = 0; k < 5; k++) CHECK(en_only_pooled(n.g, n.at[k]) == (k == 3));
    CHECK(!en_only_pooled(n.g, n.y));
    en_graph_free(n.g);
    en_params_free(p);
}

/* ---- small graphs with answers by hand ---- */

enum { MOST = 8 };

/* One number, blocked. */
static en_shape scalar(void) { return en_nchw(1, 1, 1, 1); }

static en_ref times(en_graph *g, en_ref x, const char *key)
{
    return en_conv2d(g, x, en_param(g, key, 4, (int[]){1, 1, 1, 1}), EN_NONE, (en_conv){0});
}

static void finish(en_graph *g)
{
    en_error e = {0};
    CHECK_OK(en_graph_finish(g, &(en_options){.seeds = 2}, &e), e);
    t_poison(g);
}

static en_graph *graph_new(en_params *p)
{
    en_graph *g;
    en_error e = {0};
    CHECK_OK(en_graph_new(p, &g, &e), e);
    return g;
}

static void set(en_graph *g, float *to, en_ref x, float value) { en_store(en_shape_of(g, x), &value, to); }

/* y = 5 a + x with a = 3 x: dy/da is 5, dy/dx is 16. */
TEST(a_cut_inside_a_residual_block_leaves_the_shortcut_constant)
{
    en_params *p = made_up_params();
    en_graph *g = graph_new(p);
    en_ref x = en_input(g, scalar()), a = times(g, x, "three"), y = en_add(g, times(g, a, "five"), x);
    int at_x = en_cut(g, &x, 1), at_a = en_cut(g, &a, 1), at_both = en_cut(g, (en_ref[]){x, a}, 2);
    en_output(g, y);
    finish(g);
    struct {
        int cut;
        float dy, gx, ga;
    } want[] = {{at_x, 16 * 7, 16 * 2, 0}, {at_a, 5 * 7, 0, 5 * 2}, {at_both, 5 * 6 + 7, 2, 10}};
    for (int i = 0; i < 3; i++) {
        float direction[16] = {7};
        set(g, en_value(g, x), x, 2);
        en_forward(g, want[i].cut, direction); /* the second member of the last cut moves along its value, 6 */
        CHECK(en_value(g, y)[0] == 32 && en_tangent(g, y)[0] == want[i].dy);
        en_seed(g, want[i].cut, 1, 1);
        CHECK(en_adjoint(g, y, 0, 1)[0] == 0);
        en_adjoint(g, y, 0, 1)[0] = 2;
        en_reverse(g);
        if (want[i].cut != at_a) CHECK(en_adjoint(g, x, 0, 1)[0] == want[i].gx);
        if (want[i].cut != at_x) CHECK(en_adjoint(g, a, 0, 1)[0] == want[i].ga);
    }
    en_graph_free(g);
    en_params_free(p);
}

/* y = w x and u = y^2 / 2, so that the Hessian of u at (w, x) is [[x^2, 2wx], [2wx, w^2]]. */
TEST(the_hessian_of_a_product_squared_is_the_known_matrix)
{
    en_graph *g = graph_new(NULL);
    en_ref x = en_input(g, scalar()), w = en_input(g, en_plain(2, (int[]){1, 1})), y = en_linear(g, x, w, EN_NONE);
    int cut = en_cut(g, (en_ref[]){w, x}, 2);
    en_output(g, y);
    finish(g);
    CHECK(en_tail_curvature(g, cut) == EN_CURVED);
    set(g, en_value(g, x), x, 3);
    set(g, en_value(g, w), w, 2);
    en_forward(g, -1, NULL);
    static const float rows[3][4] = {{1, 0, 9, 12}, {0, 1, 12, 4}, {1, -2, 9 - 24, 12 - 8}}; /* v, H v */
    for (int i = 0; i < 3; i++) {
        set(g, en_tangent(g, w), w, rows[i][0]);
        set(g, en_tangent(g, x), x, rows[i][1]);
        en_forward_tangents(g, cut);
        en_seed(g, cut, 1, 2);
        en_adjoint(g, y, 0, 1)[0] = en_value(g, y)[0];
        en_adjoint(g, y, 0, 2)[0] = en_tangent(g, y)[0];
        en_reverse(g);
        CHECK(en_adjoint(g, w, 0, 1)[0] == 18 && en_adjoint(g, x, 0, 1)[0] == 12);
        CHECK(en_adjoint(g, w, 0, 2)[0] == rows[i][2] && en_adjoint(g, x, 0, 2)[0] == rows[i][3]);
    }
    en_graph_free(g);
}

/* u = log softmax_c has gradient e_c - s and Hessian s s' - diag(s). */
TEST(the_hessian_of_a_log_probability_is_the_known_matrix)
{
    en_graph *g = graph_new(NULL);
    en_ref x = en_input(g, en_nchw(1, MOST, 1, 1)), y = en_log_softmax(g, x);
    int cut = en_cut(g, &x, 1);
    en_output(g, y);
    finish(g);
    float logits[MOST], v[16] = {0};
    double s[MOST], sum = 0, mean = 0;
    t_draw_floats(T_PLAIN, MOST, logits);
    t_draw_floats(T_PLAIN, MOST, v);
    for (int k = 0; k < MOST; k++) sum += s[k] = exp((double)logits[k]);
    for (int k = 0; k < MOST; k++) mean += (s[k] /= sum) * (double)v[k];
    en_store(en_shape_of(g, x), logits, en_value(g, x));
    en_forward(g, cut, v);
    en_seed(g, cut, 1, 2);
    en_adjoint(g, y, 0, 1)[3] = 1;
    en_reverse(g);
    for (int k = 0; k < MOST; k++) { /* both computed in double and rounded once */
        CHECK(fabs((double)en_adjoint(g, x, 0, 1)[k] - ((k == 3) - s[k])) <= (double)FLT_EPSILON);
        CHECK(fabs((double)en_adjoint(g, x, 0, 2)[k] - s[k] * (mean - (double)v[k])) <= (double)FLT_EPSILON);
    }
    en_graph_free(g);
}

/* y = 3 x and z = 5 y, both outputs: gradients add up. */
TEST(an_output_that_others_read_keeps_its_own_seed)
{
    en_params *p = made_up_params();
    en_graph *g = graph_new(p);
    en_ref x = en_input(g, scalar()), y = times(g, x, "three"), z = times(g, y, "five");
    int cut = en_cut(g, &x, 1);
    en_output(g, y);
    en_output(g, z);
    finish(g);
    set(g, en_value(g, x), x, 1);
    en_forward(g, cut, NULL);
    for (int again = 0; again < 2; again++) {
        en_seed(g, cut, 1, 1);
        en_adjoint(g, y, 0, 1)[0] = 1;
        en_adjoint(g, z, 0, 1)[0] = 2;
        en_reverse(g);
        CHECK(en_value(g, y)[0] == 3 && en_value(g, z)[0] == 15 && en_adjoint(g, x, 0, 1)[0] == 3 * 1 + 15 * 2);
    }
    en_graph_free(g);
    en_params_free(p);
}

/* A node that reads the cut and that nobody reads. */
TEST(a_branch_that_leads_nowhere_changes_no_gradient)
{
    en_params *p = made_up_params();
    en_graph *g = graph_new(p);
    en_ref x = en_input(g, scalar()), y = times(g, x, "three");
    en_softmax(g, times(g, x, "five"));
    int cut = en_cut(g, &x, 1);
    en_output(g, y);
    finish(g);
    set(g, en_value(g, x), x, 1);
    en_forward(g, cut, NULL);
    en_seed(g, cut, 1, 2);
    en_adjoint(g, y, 0, 1)[0] = 1;
    en_reverse(g);
    CHECK_MSG(en_adjoint(g, x, 0, 1)[0] == 3 && en_adjoint(g, x, 0, 2)[0] == 0, "gradient %g", (double)en_adjoint(g, x, 0, 1)[0]);
    en_graph_free(g);
    en_params_free(p);
}

/* Two members, of which the output depends on one. */
TEST(a_member_of_a_cut_that_does_not_matter_has_gradient_zero)
{
    en_params *p = made_up_params();
    en_graph *g = graph_new(p);
    en_ref x = en_input(g, scalar()), idle = en_input(g, scalar()), y = times(g, x, "three");
    int cut = en_cut(g, (en_ref[]){x, idle}, 2);
    en_output(g, y);
    finish(g);
    set(g, en_value(g, x), x, 1);
    set(g, en_value(g, idle), idle, 1);
    en_forward(g, cut, NULL);
    en_seed(g, cut, 1, 2);
    en_adjoint(g, y, 0, 1)[0] = 1;
    en_reverse(g);
    CHECK(en_adjoint(g, x, 0, 1)[0] == 3);
    CHECK_MSG(en_adjoint(g, idle, 0, 1)[0] == 0 && en_adjoint(g, idle, 0, 2)[0] == 0, "gradient %g",
              (double)en_adjoint(g, idle, 0, 1)[0]);
    en_graph_free(g);
    en_params_free(p);
}

/* y = x + x. */
TEST(a_node_that_is_read_twice_gets_both_gradients)
{
    en_graph *g = graph_new(NULL);
    en_ref x = en_input(g, scalar()), y = en_add(g, x, x);
    int cut = en_cut(g, &x, 1);
    en_output(g, y);
    finish(g);
    set(g, en_value(g, x), x, 4);
    en_forward(g, cut, NULL);
    en_seed(g, cut, 1, 2);
    en_adjoint(g, y, 0, 1)[0] = 1;
    en_adjoint(g, y, 0, 2)[0] = 5;
    en_reverse(g);
    CHECK(en_value(g, y)[0] == 8 && en_tangent(g, y)[0] == 8 && en_adjoint(g, x, 0, 1)[0] == 2 && en_adjoint(g, x, 0, 2)[0] == 10);
    en_graph_free(g);
}

/* ---- curvature ---- */

TEST(a_tail_is_as_curved_as_its_most_curved_op)
{
    en_params *p = made_up_params();
    net n = net_new(p, ALL_CUTS, (en_options){0});
    for (int k = 0; k < 5; k++) CHECK(en_tail_curvature(n.g, n.cut[k]) == EN_CURVED);
    en_graph_free(n.g);
    en_graph *g = graph_new(p);
    en_ref x = en_input(g, en_nchw(1, 1, 4, 4)), r = en_relu(g, x), m = en_max_pool(g, r, 2, 2, 0), c = times(g, m, "three"),
           y = en_flatten(g, en_global_avg_pool(g, c));
    int at_x = en_cut(g, &x, 1), at_r = en_cut(g, &r, 1), at_m = en_cut(g, &m, 1), at_y = en_cut(g, &y, 1);
    en_output(g, y);
    finish(g);
    CHECK(en_tail_curvature(g, at_x) == EN_PIECEWISE_AFFINE && en_tail_curvature(g, at_r) == EN_PIECEWISE_AFFINE);
    CHECK(en_tail_curvature(g, at_m) == EN_AFFINE && en_tail_curvature(g, at_y) == EN_AFFINE);
    en_graph_free(g);
    en_params_free(p);
}

/* ---- memory ---- */

TEST(a_chain_without_a_tail_needs_the_memory_of_two_nodes)
{
    enum { LENGTH = 20 };
    size_t bytes[2];
    for (int tail = 0; tail < 2; tail++) {
        en_graph *g = graph_new(NULL);
        en_ref x = en_input(g, en_nchw(1, 16, 32, 32)), y = x;
        for (int i = 0; i < LENGTH; i++) y = en_relu6(g, y);
        if (tail) en_cut(g, &x, 1);
        en_output(g, y);
        en_error e = {0};
        CHECK_OK(en_graph_finish(g, &(en_options){.seeds = 1}, &e), e);
        bytes[tail] = en_graph_bytes(g);
        en_graph_free(g);
    }
    size_t one = 16 * 32 * 32 * sizeof(float);
    CHECK_MSG(bytes[0] <= 4 * one, "%zu bytes, one node has %zu", bytes[0], one); /* the input and the output live on */
    CHECK(bytes[1] >= (LENGTH + 1) * one);
}

/* A batch's first layers have more numbers than weights, or few weights: they use the memory of one image in turn. The first layer's window is
 * window x window. Returns the memory in images, and of images first .. first+images-1 the last one's output. */
static size_t batch_of(en_params *p, int first, int images, int window, float *last)
{
    enum { C = 32, SIDE = 12, LENGTH = 6, IMAGE = C * SIDE * SIDE };
    en_graph *g = graph_new(p);
    en_ref x = en_input(g, en_nchw(images, C, SIDE, SIDE)), y = x;
    for (int i = 0; i < LENGTH; i++)
        y = en_relu6(g, i ? en_conv2d(g, y, made_up(g, "behind", "weight", 2, C, C, 0, 0), EN_NONE, (en_conv){0})
                          : en_conv2d(g, y, made_up(g, "first", "weight", 4, C, C, window, window), EN_NONE, (en_conv){.pad = window / 2}));
    en_output(g, y);
    en_error e = {0};
    CHECK_OK(en_graph_finish(g, &(en_options){0}, &e), e);
    t_poison(g);
    float numbers[IMAGE];
    for (int n = 0; n < images; n++) {
        for (int i = 0; i < IMAGE; i++) numbers[i] = (float)((i + 7 * (first + n)) % 37) - 18;
        memcpy(en_value(g, x) + n * IMAGE, numbers, sizeof numbers);
    }
    en_forward(g, -1, NULL);
    memcpy(last, en_value(g, y) + (images - 1) * IMAGE, IMAGE * sizeof *last);
    size_t bytes = en_graph_bytes(g);
    en_graph_free(g);
    return bytes / (IMAGE * sizeof(float));
}

TEST(a_batch_begins_image_by_image_in_the_memory_of_one)
{
    static float batch[32 * 12 * 12], alone[32 * 12 * 12];
    for (int i = 0; i < 3; i++) {
        static const int windows[] = {1, 5, 7};
        int window = windows[i];
        en_params *p = made_up_params();
        size_t images = batch_of(p, 0, 8, window, batch);
        batch_of(p, 7, 1, window, alone);
        CHECK(!memcmp(batch, alone, sizeof batch));
        CHECK_MSG(window == 7 ? images >= 24 : images >= 17 && images < 24, "%zu images", images); /* inputs, outputs, and one in between or all */
        en_params_free(p);
    }
}

/* Builds and finishes the small network with the n-th allocation failing. */
static en_status build_failing(en_params *p, en_pool *pool, long n, int all_later, en_error *e)
{
    net small;
    t_fail_allocation(n, all_later);
    en_status status = en_graph_new(p, &small.g, e);
    if (status == EN_OK) {
        build(&small, CUT_STEM | CUT_POOLED);
        status = en_graph_finish(small.g, &(en_options){.pool = pool, .seeds = 2}, e);
        char *text = en_graph_text(small.g);
        free(text);
        en_graph_free(small.g);
    }
    t_fail_allocation(0, 0);
    return status;
}

TEST(every_failed_allocation_is_reported_and_nothing_is_lost)
{
    en_pool *pool;
    en_error e = {0};
    CHECK_OK(en_pool_new(2, &pool, &e), e);
    for (int all_later = 0; all_later < 2; all_later++) {
        en_status status = EN_E_NOMEM;
        long n = 1;
        for (; status != EN_OK; n++) {
            CHECK(n < 1000);
            en_params *p = made_up_params();
            status = build_failing(p, pool, n, all_later, &e);
            if (status != EN_OK) CHECK_FAILS(status, e, EN_E_NOMEM, "memory");
            CHECK_OK(build_failing(p, pool, 0, 0, &e), e); /* the same parameters serve the next graph */
            en_params_free(p);
        }
        CHECK(n > 20);
    }
    en_pool_free(pool);
}
