/* SPDX-License-Identifier: MIT */
/* Parameters and their blobs. */
#include "engine/engine.h"
#include "tests/test.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

/* A source with every tensor, of the numbers 0, 1, 2, ..; those whose name begins with "missing" fail. */
static en_status read_numbers(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out,
                              en_error *e)
{
    atomic_int *reads = self;
    if (!strncmp(key, "missing", 7)) return en_fail(e, EN_E_FORMAT, "there is no tensor %s", key);
    if (first + count > en_count(shape)) return en_fail(e, EN_E_ARG, "%s: out of range", key);
    for (size_t i = 0; i < count; i++) out[i] = (float)(first + i);
    ++*reads;
    return EN_OK;
}

static en_params *params_of(atomic_int *reads)
{
    en_params *p;
    en_error e = {0};
    CHECK_OK(en_params_new((en_source){.self = reads, .read = read_numbers}, &p, &e), e);
    return p;
}

/* A batch of one plain parameter. */
static en_status plain(en_params *p, const char *key, const en_shape *shape, const float **out, en_error *e)
{
    en_params_begin(p);
    return en_params_end(p, NULL, en_params_plain(p, key, shape, out, e), e);
}

TEST(a_plain_parameter_is_read_once_and_padded_with_zeros)
{
    atomic_int reads = 0;
    en_params *p = params_of(&reads);
    en_shape s = en_plain(2, (int[]){3, 7});
    const float *a, *b;
    en_error e = {0};
    CHECK_OK(plain(p, "fc.weight", &s, &a, &e), e);
    CHECK_OK(plain(p, "fc.weight", &s, &b, &e), e);
    CHECK(a == b && reads == 1 && en_params_bytes(p) == 32 * sizeof(float));
    for (int i = 0; i < 32; i++) CHECK(a[i] == (i < 21 ? (float)i : 0));
    en_params_free(p);
    en_params_free(NULL);
}

TEST(a_run_of_elements_comes_straight_from_the_source)
{
    atomic_int reads = 0;
    en_params *p = params_of(&reads);
    en_shape s = en_plain(1, (int[]){100});
    float out[3];
    en_error e = {0};
    CHECK_OK(en_params_read(p, "bias", &s, 42, 3, out, &e), e);
    CHECK(out[0] == 42 && out[2] == 44 && en_params_bytes(p) == 0);
    en_params_free(p);
}

/* ---- batches ---- */

enum { FLOATS = 1000, PIECES = 10 };

typedef struct race {
    en_params *params;
    atomic_int made, wrong;
} race;

/* A tenth of the numbers 0, 1, .. */
static en_status make_tenth(const void *arg, int piece, float *data, en_error *e)
{
    (void)e;
    race *r = *(race *const *)arg;
    r->made++;
    for (int i = 0; i < FLOATS / PIECES; i++) data[piece * FLOATS / PIECES + i] = (float)(piece * FLOATS / PIECES + i);
    return EN_OK;
}

static en_status ask_for(race *r, const char *name, const float **out, en_error *e)
{
    return en_params_blob(r->params, &(en_blob){name, FLOATS, PIECES, make_tenth, &r, sizeof r}, out, e);
}

static void ask(void *arg, int job, int worker)
{
    (void)worker;
    race *r = arg;
    const float *data = NULL;
    char name[32];
    en_error e = {0};
    snprintf(name, sizeof name, "blob %d/form", job % 3);
    en_params_begin(r->params);
    en_status status = ask_for(r, name, &data, &e);
    if (en_params_end(r->params, NULL, status, &e) != EN_OK || data[0] != 0 || data[FLOATS - 1] != FLOATS - 1) r->wrong = 1;
}

TEST(a_blob_is_made_once_however_many_threads_ask)
{
    atomic_int reads = 0;
    race r = {.params = params_of(&reads)};
    en_pool *pool;
    en_error e = {0};
    CHECK_OK(en_pool_new(8, &pool, &e), e);
    en_parallel(pool, 300, ask, &r);
    CHECK(r.made == 3 * PIECES && !r.wrong);
    CHECK(en_params_bytes(r.params) == 3 * FLOATS * sizeof(float));
    en_pool_free(pool);
    en_params_free(r.params);
}

TEST(a_batch_makes_what_it_was_asked_for_once_in_pieces_on_every_thread)
{
    enum { ASKED = 40 };
    atomic_int reads = 0;
    race r = {.params = params_of(&reads)};
    const float *data[ASKED] = {NULL}, *again = NULL;
    char name[32];
    en_pool *pool;
    en_error e = {0};
    CHECK_OK(en_pool_new(4, &pool, &e), e);
    en_params_begin(r.params);
    for (int i = 0; i < ASKED; i++) {
        snprintf(name, sizeof name, "blob %d", i % 30); /* the last ten are there already */
        CHECK_OK(ask_for(&r, name, &data[i], &e), e);
    }
    CHECK(r.made == 0 && !data[0]);
    CHECK_OK(en_params_end(r.params, pool, EN_OK, &e), e);
    CHECK(r.made == 30 * PIECES);
    for (int i = 0; i < ASKED; i++) {
        CHECK(data[i] && (uintptr_t)data[i] % 64 == 0 && (i < 30 || data[i] == data[i - 30]));
        for (int k = 0; k < FLOATS; k++) CHECK(data[i][k] == (float)k);
    }
    en_params_begin(r.params);
    CHECK_OK(ask_for(&r, "blob 7", &again, &e), e);
    CHECK(again == data[7]); /* one that exists is given at once */
    CHECK_OK(en_params_end(r.params, pool, EN_OK, &e), e);
    CHECK(r.made == 30 * PIECES);
    en_pool_free(pool);
    en_params_free(r.params);
}

static en_status fail_from_third(const void *arg, int piece, float *data, en_error *e)
{
    (void)arg, (void)data;
    return piece < 3 ? EN_OK : en_fail(e, EN_E_FORMAT, "piece %d is bad", piece);
}

TEST(a_batch_that_fails_leaves_nothing_and_tells_the_first_failure)
{
    atomic_int reads = 0;
    race r = {.params = params_of(&reads)};
    const float *good = NULL, *bad = NULL;
    en_pool *pool;
    en_error e = {0};
    CHECK_OK(en_pool_new(4, &pool, &e), e);
    for (int i = 0; i < 20; i++) {
        en_params_begin(r.params);
        CHECK_OK(ask_for(&r, "good", &good, &e), e);
        CHECK_OK(en_params_blob(r.params, &(en_blob){"bad", 10, 50, fail_from_third, &i, sizeof i}, &bad, &e), e);
        CHECK_FAILS(en_params_end(r.params, pool, EN_OK, &e), e, EN_E_FORMAT, "piece 3 is bad");
        CHECK(en_params_bytes(r.params) == 0 && !good && !bad);
    }
    en_params_begin(r.params);
    CHECK_OK(ask_for(&r, "good", &good, &e), e);
    CHECK(en_params_end(r.params, pool, EN_E_ARG, &e) == EN_E_ARG); /* whoever asked found something wrong */
    CHECK(en_params_bytes(r.params) == 0 && !good);
    ask(&r, 0, 0);
    CHECK(!r.wrong && en_params_bytes(r.params) == FLOATS * sizeof(float));
    en_params_begin(r.params);
    en_status status = en_params_blob(r.params, &(en_blob){"blob 0/form", 5, 1, make_tenth, &r, sizeof r}, &bad, &e);
    CHECK_FAILS(en_params_end(r.params, NULL, status, &e), e, EN_E_ARG, "wanted with 5 numbers, is there with 1000");
    en_pool_free(pool);
    en_params_free(r.params);
}

TEST(a_source_that_fails_is_asked_again_and_its_message_comes_through)
{
    atomic_int reads = 0;
    en_params *p = params_of(&reads);
    en_shape s = en_plain(1, (int[]){5});
    const float *data;
    for (int i = 0; i < 2; i++) {
        en_error e = {0};
        CHECK_FAILS(plain(p, "missing.bias", &s, &data, &e), e, EN_E_FORMAT, "there is no tensor missing.bias");
    }
    CHECK(en_params_bytes(p) == 0);
    en_params_free(p);
}

/* A layer of each kind with its parameters; `wrong` gets a name that the source does not have. */
static en_status build_layers(en_params *p, en_pool *pool, int wrong, en_error *e)
{
    static const char *keys[] = {"conv.weight", "conv.bias", "depth.weight", "bn.gamma", "bn.beta",
                                 "bn.mean",     "bn.var",    "fc.weight",    "fc.bias"};
    en_graph *g;
    EN_TRY(en_graph_new(p, &g, e));
    en_ref w[9];
    int dims[9][4] = {{40, 3, 1, 1}, {40}, {40, 1, 3, 3}, {40}, {40}, {40}, {40}, {70, 40}, {70}},
        ranks[9] = {4, 1, 4, 1, 1, 1, 1, 2, 1};
    char name[32];
    for (int i = 0; i < 9; i++) {
        snprintf(name, sizeof name, "%s%s", i == wrong ? "missing." : "", keys[i]);
        w[i] = en_param(g, name, ranks[i], dims[i]);
    }
    en_ref x = en_conv2d(g, en_input(g, en_nchw(1, 3, 3, 3)), w[0], w[1], (en_conv){0});
    x = en_batch_norm(g, en_conv2d(g, x, w[2], EN_NONE, (en_conv){.groups = 40}), w[3], w[4], w[5], w[6], 1e-5f);
    en_output(g, en_linear(g, x, w[7], w[8]));
    en_status status = en_graph_finish(g, &(en_options){.pool = pool}, e);
    en_graph_free(g);
    return status;
}

TEST(a_parameter_that_is_missing_fails_the_graph_by_name)
{
    en_error e = {0};
    en_pool *pool;
    CHECK_OK(en_pool_new(3, &pool, &e), e);
    for (int wrong = 0; wrong < 9; wrong++) {
        atomic_int reads = 0;
        en_params *p = params_of(&reads);
        CHECK_FAILS(build_layers(p, pool, wrong, &e), e, EN_E_FORMAT, "there is no tensor missing.");
        CHECK_OK(build_layers(p, pool, -1, &e), e); /* the parameters are as good as before */
        en_params_free(p);
    }
    en_pool_free(pool);
}

TEST(a_second_graph_shares_the_blobs_of_the_first)
{
    atomic_int reads = 0;
    en_params *p = params_of(&reads);
    en_error e = {0};
    CHECK_OK(build_layers(p, NULL, -1, &e), e);
    int once = reads;
    size_t bytes = en_params_bytes(p);
    CHECK_OK(build_layers(p, NULL, -1, &e), e);
    CHECK(reads == once && en_params_bytes(p) == bytes);
    en_params_free(p);
}

TEST(parameters_survive_every_failed_allocation)
{
    en_status status = EN_E_NOMEM;
    for (long n = 1; status != EN_OK; n++) {
        atomic_int reads = 0;
        en_error e = {0};
        en_params *p = params_of(&reads);
        t_fail_allocation(n, 0);
        status = build_layers(p, NULL, -1, &e);
        t_fail_allocation(0, 0);
        if (status != EN_OK) CHECK_FAILS(status, e, EN_E_NOMEM, "memory");
        CHECK_OK(build_layers(p, NULL, -1, &e), e);
        en_params_free(p);
        CHECK(n < 500);
    }
    en_error e = {0};
    en_params *p = NULL;
    t_fail_allocation(1, 0);
    status = en_params_new((en_source){.read = read_numbers}, &p, &e);
    t_fail_allocation(0, 0);
    CHECK_FAILS(status, e, EN_E_NOMEM, "parameters");
    CHECK(p == NULL);
}
