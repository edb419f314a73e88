/* SPDX-License-Identifier: MIT */
/* Checkpoints that fit a network, and those that do not: one message names file, key, what was found and what was wanted. */
#include "nets/remap.h"

#include "tests/nets/checkpoint.h"
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const conv = "features.0.0.weight";

/* Reads every parameter of mobilenet_v2 from the file, and looks for tensors that nothing wants. */
static en_status read_all(const char *path, en_error *e)
{
    wt_store *store;
    net_view view;
    en_params *params;
    net_model m;
    CHECK_OK(wt_open(path, &store, e), *e);
    CHECK_OK(net_view_open(store, NULL, &view, e), *e);
    CHECK_OK(en_params_new(net_source_view(&view), &params, e), *e);
    CHECK_OK(net_model_build(net_arch_find("mobilenet_v2"), 1000, 1, 224, 224, params, &m, e), *e);
    en_status status = net_check(&view, m.graph, e);
    if (status == EN_OK) CHECK_OK(en_graph_prepare(m.graph, NULL, e), *e);
    net_model_free(&m);
    en_params_free(params);
    net_view_close(&view);
    wt_close(store);
    return status;
}

static wt_array *find(t_checkpoint *c, const char *name)
{
    for (size_t i = 0; i < c->count; i++)
        if (!strcmp(c->array[i].name, name)) return &c->array[i];
    t_fail(__FILE__, __LINE__, "no %s", name);
}

/* Writes the spoilt checkpoint; reading it must fail with a message that has all of the texts. */
static void refused(const t_checkpoint *c, const char *const *texts)
{
    char path[128];
    en_error e;
    t_temporary(path);
    CHECK_OK(wt_save_safetensors(path, c->array, c->count, NULL, &e), e);
    CHECK_FAILS(read_all(path, &e), e, EN_E_FORMAT, path);
    for (int i = 0; texts[i]; i++) CHECK_MSG(strstr(e.text, texts[i]), "\"%s\" lacks \"%s\"", e.text, texts[i]);
    unlink(path);
}

TEST(a_checkpoint_that_fits_is_read)
{
    char path[128];
    en_error e;
    t_checkpoint_save("mobilenet_v2", path);
    CHECK_OK(read_all(path, &e), e);
    unlink(path);
}

TEST(a_missing_tensor_is_named)
{
    t_checkpoint c;
    t_checkpoint_make("mobilenet_v2", &c);
    wt_array *a = find(&c, "classifier.1.bias"), gone = *a;
    *a = c.array[--c.count];
    refused(&c, (const char *const[]){"no tensor 'classifier.1.bias'", "[1000]", NULL});
    c.array[c.count++] = gone;
    t_checkpoint_free(&c);
}

TEST(tensors_that_nothing_wants_are_named_and_counted)
{
    static const float one = 1;
    t_checkpoint c;
    t_checkpoint_make("mobilenet_v2", &c);
    c.array[c.count++] = (wt_array){"features.19.weight", WT_F32, 1, {1}, &one};
    c.array[c.count++] = (wt_array){"features.19.bias", WT_F32, 1, {1}, &one};
    refused(&c, (const char *const[]){"'features.19.bias'", "2", NULL});
    c.count -= 2;
    t_checkpoint_free(&c);
}

TEST(counters_of_batches_are_let_pass)
{
    static const float one = 1;
    char path[128];
    t_checkpoint c;
    en_error e;
    t_temporary(path);
    t_checkpoint_make("mobilenet_v2", &c);
    c.array[c.count++] = (wt_array){"features.0.1.num_batches_tracked", WT_F32, 1, {1}, &one};
    CHECK_OK(wt_save_safetensors(path, c.array, c.count--, NULL, &e), e);
    CHECK_OK(read_all(path, &e), e);
    t_checkpoint_free(&c);
    unlink(path);
}

TEST(another_shape_is_told_with_the_one_that_was_wanted)
{
    t_checkpoint c;
    t_checkpoint_make("mobilenet_v2", &c);
    wt_array *a = find(&c, conv);
    CHECK(a->rank == 4);
    a->dim[0] = 16;
    refused(&c, (const char *const[]){conv, "is [16, 3, 3, 3]", "want [32, 3, 3, 3]", NULL});
    a->dim[0] = 32;
    a->rank = 3;
    refused(&c, (const char *const[]){conv, "is [32, 3, 3]", "want [32, 3, 3, 3]", NULL});
    a->rank = 4;
    a = find(&c, "classifier.1.weight");
    int64_t rows = a->dim[0];
    a->dim[0] = a->dim[1], a->dim[1] = rows;
    refused(&c, (const char *const[]){"classifier.1.weight", "is [1280, 1000]", "want [1000, 1280]", NULL});
    t_checkpoint_free(&c);
}

/* The file is written with float32 and its header then says int32, which has the same size. */
TEST(whole_numbers_are_refused)
{
    char path[128];
    size_t size;
    en_error e;
    t_checkpoint_save("mobilenet_v2", path);
    uint8_t *bytes = t_read_file(path, &size);
    char *header = (char *)bytes + 8, *at;
    bytes[size] = 0;
    CHECK((at = strstr(header, conv)) != NULL && (at = strstr(at, "F32")) != NULL);
    *at = 'I';
    FILE *f = fopen(path, "wb");
    CHECK(f && fwrite(bytes, 1, size, f) == size && !fclose(f));
    CHECK_FAILS(read_all(path, &e), e, EN_E_FORMAT, conv);
    CHECK_MSG(strstr(e.text, "int32") && strstr(e.text, "want floating point"), "\"%s\"", e.text);
    free(bytes);
    unlink(path);
}

/* Some of the values, from the two sources and from a file in double precision. */
TEST(a_file_and_the_seed_that_it_was_made_from_give_the_same_numbers)
{
    t_checkpoint c;
    char path[128];
    wt_store *store;
    net_view view;
    en_error e;
    net_seeded self = {.net = "mobilenet_v2", .seed = 1};
    t_checkpoint_make("mobilenet_v2", &c);
    wt_array *a = find(&c, conv);
    enum { N = 32 * 3 * 3 * 3, FIRST = 100, COUNT = 50 };
    double *wide = malloc(N * sizeof *wide);
    for (int i = 0; i < N; i++) wide[i] = (double)((const float *)a->data)[i];
    wt_array doubled = *a;
    doubled.dtype = WT_F64;
    doubled.data = wide;
    t_temporary(path);
    CHECK_OK(wt_save_safetensors(path, &doubled, 1, NULL, &e), e);
    CHECK_OK(wt_open(path, &store, &e), e);
    CHECK_OK(net_view_open(store, NULL, &view, &e), e);
    en_source from[] = {net_source_seeded(&self), net_source_view(&view)};
    en_shape shape = en_plain(4, (int[]){32, 3, 3, 3});
    for (int i = 0; i < 2; i++) {
        float got[COUNT];
        CHECK_OK(from[i].read(from[i].self, conv, &shape, FIRST, COUNT, got, &e), e);
        CHECK(!memcmp(got, (const float *)a->data + FIRST, sizeof got));
    }
    net_view_close(&view);
    wt_close(store);
    unlink(path);
    free(wide);
    t_checkpoint_free(&c);
}
