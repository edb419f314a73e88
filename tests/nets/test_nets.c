/* SPDX-License-Identifier: MIT */
/* Every network of nets.def: its names, its layers, and that it has as many parameters as the published one. */
#include "nets/nets.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Learned numbers, as torchvision and timm state them; channels, height and width of the paper's two layers at 224 x 224. */
static const struct {
    const char *net;
    size_t parameters;
    int pre_pool[3], conv[3];
} published[] = {
    {"vgg16", 138357544, {512, 7, 7}, {512, 14, 14}},
    {"mobilenet_v2", 3504872, {1280, 7, 7}, {1280, 7, 7}},
};

static net_model build(const net_arch *arch, int side)
{
    net_model m;
    en_error e;
    CHECK_OK(net_model_build(arch, 1000, 1, side, side, NULL, &m, &e), e);
    CHECK_MSG(!en_graph_failed(m.graph), "%s", arch->name);
    return m;
}

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

static void check_layer(const net_model *m, const char *name, const int chw[3])
{
    en_error e;
    en_ref x = net_model_layer(m, name, &e);
    CHECK_MSG(x != EN_NONE, "%s", e.text);
    const en_shape *s = en_shape_of(m->graph, x);
    CHECK_MSG(!memcmp(s->dim + 1, chw, 3 * sizeof *chw), "%s, %s: %d x %d x %d", m->arch->name, name, s->dim[1], s->dim[2],
              s->dim[3]);
}

TEST(every_network_has_the_parameters_and_layers_that_were_published)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        size_t row = 0, rows = sizeof published / sizeof *published, count = 0;
        while (row < rows && strcmp(published[row].net, arch->name) != 0) row++;
        CHECK_MSG(row < rows, "%s is not in the table", arch->name);
        net_model m = build(arch, 224);
        for (en_ref x = 0; x < en_nodes(m.graph); x++) {
            const char *key = en_key_of(m.graph, x);
            if (key && !ends_with(key, "running_mean") && !ends_with(key, "running_var"))
                count += en_count(en_shape_of(m.graph, x));
        }
        CHECK_MSG(count == published[row].parameters, "%s: %zu parameters", arch->name, count);
        check_layer(&m, "pre_pool", published[row].pre_pool);
        check_layer(&m, "Conv", published[row].conv);
        net_model_free(&m);
    }
}

TEST(layers_are_listed_in_order_of_evaluation_without_doubles)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        net_model m = build(arch, 224);
        CHECK(!strcmp(m.layers[0].name, "input") && m.layers[0].ref == m.input);
        CHECK(!strcmp(m.layers[m.count - 1].name, "logits") && m.layers[m.count - 1].ref == m.logits);
        for (int k = 1; k < m.count; k++) {
            CHECK_MSG(m.layers[k].ref >= m.layers[k - 1].ref, "%s: %s", arch->name, m.layers[k].name);
            for (int j = 0; j < k; j++)
                CHECK_MSG(strcmp(m.layers[j].name, m.layers[k].name) != 0, "%s: two are called %s", arch->name, m.layers[k].name);
            CHECK(net_model_layer(&m, m.layers[k].name, NULL) == m.layers[k].ref);
        }
        const en_shape *y = en_shape_of(m.graph, m.logits);
        CHECK(y->dim[0] == 1 && y->dim[1] == 1000 && y->dim[2] == 1 && y->dim[3] == 1);
        net_model_free(&m);
    }
}

TEST(keys_of_parameters_are_unique)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        net_model m = build(arch, 224);
        for (en_ref x = 0; x < en_nodes(m.graph); x++)
            for (en_ref y = 0; y < x && en_key_of(m.graph, x); y++)
                CHECK_MSG(!en_key_of(m.graph, y) || strcmp(en_key_of(m.graph, x), en_key_of(m.graph, y)) != 0, "%s: %s", arch->name,
                          en_key_of(m.graph, x));
        net_model_free(&m);
    }
}

TEST(every_network_takes_inputs_from_the_smallest_to_the_largest)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        static const int sides[] = {NET_MIN_SIDE, 97, 224, NET_MAX_SIDE};
        for (int k = 0; k < 4; k++) {
            net_model m = build(arch, sides[k]);
            net_model_free(&m);
        }
    }
}

TEST(sizes_batches_and_classes_that_cannot_be_are_refused)
{
    static const struct {
        int classes, n, height, width;
        const char *says;
    } bad[] = {{1000, 1, 31, 224, "224 x 31"}, {1000, 1, 224, 31, "31 x 224"},    {1000, 1, 4097, 224, "4096"},
               {1000, 1, -1, 224, "want 32"},  {1000, 0, 224, 224, "batch of 0"}, {0, 1, 224, 224, "0 classes"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        net_model m = {.count = 7};
        en_error e;
        CHECK_FAILS(net_model_build(net_arch_at(0), bad[i].classes, bad[i].n, bad[i].height, bad[i].width, NULL, &m, &e), e,
                    EN_E_ARG, bad[i].says);
        CHECK(!m.graph && !m.layers && !m.count);
        net_model_free(&m);
    }
}

/* 2^31 and more numbers in a tensor are an error that sticks until the graph is finished. */
TEST(a_batch_too_large_for_any_memory_is_refused)
{
    net_model m;
    en_error e;
    en_status status = net_model_build(net_arch_find("vgg16"), 1000, INT32_MAX, 4096, 4096, NULL, &m, &e);
    if (status == EN_OK) status = en_graph_finish(m.graph, &(en_options){0}, &e);
    CHECK_MSG(status == EN_E_ARG || status == EN_E_NOMEM || status == EN_E_LIMIT, "%s", en_status_text(status));
    net_model_free(&m);
}

TEST(networks_are_found_in_any_spelling)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        char name[64], alias[64];
        CHECK(net_arch_find(arch->name) == arch);
        size_t n = strlen(arch->name);
        for (size_t k = 0; k <= n; k++)
            name[k] = arch->name[k] == '_'                           ? '-'
                      : arch->name[k] >= 'a' && arch->name[k] <= 'z' ? (char)(arch->name[k] - 32)
                                                                     : arch->name[k];
        CHECK_MSG(net_arch_find(name) == arch, "%s", name);
        if (sscanf(arch->aliases, "%63s", alias) == 1) CHECK_MSG(net_arch_find(alias) == arch, "%s", alias);
        CHECK(arch->recipe().crop_width == 224 && arch->official && *arch->official);
    }
    CHECK(!net_arch_find("") && !net_arch_find("vgg") && !net_arch_find("vgg166"));
    CHECK(net_same_name("A-b_C", "abc") && net_same_name("grad+", "gradp") && !net_same_name("ab", "abc") &&
          !net_same_name("abc", "ab"));
}

TEST(a_layer_that_is_not_there_is_told_with_one_that_is)
{
    en_error e;
    net_model m = build(net_arch_find("mobilenet_v2"), 224);
    CHECK(net_model_layer(&m, "features.99", &e) == EN_NONE && e.status == EN_E_ARG);
    CHECK(strstr(e.text, "features.99") && strstr(e.text, "features.18") && strstr(e.text, "mobilenet_v2"));
    CHECK(net_model_layer(&m, "", NULL) == EN_NONE && net_model_layer(&m, "features", NULL) == EN_NONE);
    net_model_free(&m);
}
