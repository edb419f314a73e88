/* SPDX-License-Identifier: MIT */
/* Every network of nets.def: its names, its layers, and that it has as many parameters as the published one. */
#include "nets/nets.h"

#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Learned numbers and entries of the state dictionary, as torchvision and timm state them; the modules of the paper's two layers and
 * their channels, height and width at 224 x 224. */
#define BOTTLENECK                                                                                                                 \
    "layer4.2", {2048, 7, 7}, "layer4.2.conv3", { 2048, 7, 7 }
#define SWIN(channels)                                                                                                             \
    "norm", {channels, 7, 7}, "layers.3.blocks.1.norm1", { channels, 7, 7 }
static const struct {
    const char *net;
    size_t parameters, entries;
    const char *pre_pool;
    int pre_pool_shape[3];
    const char *conv;
    int conv_shape[3];
} published[] = {
    {"resnet18", 11689512, 122, "layer4.1", {512, 7, 7}, "layer4.1.conv2", {512, 7, 7}},
    {"resnet50", 25557032, 320, BOTTLENECK},
    {"resnet101", 44549160, 626, BOTTLENECK},
    {"resnet152", 60192808, 932, BOTTLENECK},
    {"resnext50_32x4d", 25028904, 320, BOTTLENECK},
    {"mobilenet_v2", 3504872, 314, "features.18", {1280, 7, 7}, "features.18.0", {1280, 7, 7}},
    {"vgg16", 138357544, 32, "features.30", {512, 7, 7}, "features.28", {512, 14, 14}},
    {"efficientnet_b0", 5288548, 360, "features.8", {1280, 7, 7}, "features.8.0", {1280, 7, 7}},
    {"swin_tiny", 28288354, 173, SWIN(768)},
    {"swin_small", 49606258, 329, SWIN(768)},
    {"swin_base", 87768224, 329, SWIN(1024)},
    {"swin_large", 196532476, 329, SWIN(1536)},
    {"deit_base", 86567656, 152, "norm", {768, 1, 197}, "blocks.11.norm1", {768, 1, 197}},
};

static net_model build(const net_arch *arch, int side)
{
    net_model m;
    en_error e;
    CHECK_OK(net_model_build(arch, 1000, 1, side, side, NULL, &m, &e), e);
    return m;
}

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

static void check_layer(const net_model *m, const char *alias, const char *name, const int chw[3])
{
    en_error e;
    en_ref x = net_model_layer(m, alias, &e);
    CHECK_MSG(x != EN_NONE, "%s", e.text);
    CHECK_MSG(net_model_layer(m, name, NULL) == x, "%s: %s is not %s", m->arch->name, alias, name);
    const en_shape *s = en_shape_of(m->graph, x);
    CHECK_MSG(!memcmp(s->dim + 1, chw, 3 * sizeof *chw), "%s, %s: %d x %d x %d", m->arch->name, name, s->dim[1], s->dim[2],
              s->dim[3]);
}

/* PyTorch counts for each batch norm how many batches it saw, in an entry that nobody needs. */
static void count(const net_model *m, size_t *parameters, size_t *entries)
{
    *parameters = *entries = 0;
    for (en_ref x = 0; x < en_nodes(m->graph); x++) {
        const char *key = en_key_of(m->graph, x);
        if (!key) continue;
        *entries += ends_with(key, "running_mean") ? 2 : 1;
        if (!ends_with(key, "running_mean") && !ends_with(key, "running_var")) *parameters += en_count(en_shape_of(m->graph, x));
    }
}

TEST(every_network_has_the_parameters_and_layers_that_were_published)
{
    const net_arch *arch;
    size_t rows = sizeof published / sizeof *published;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        size_t row = 0, parameters, entries;
        while (row < rows && strcmp(published[row].net, arch->name) != 0) row++;
        CHECK_MSG(row < rows, "%s is not in the table", arch->name);
        net_model m = build(arch, 224);
        count(&m, &parameters, &entries);
        CHECK_MSG(parameters == published[row].parameters, "%s: %zu parameters", arch->name, parameters);
        CHECK_MSG(entries == published[row].entries, "%s: %zu entries", arch->name, entries);
        check_layer(&m, "pre_pool", published[row].pre_pool, published[row].pre_pool_shape);
        check_layer(&m, "Conv", published[row].conv, published[row].conv_shape);
        net_model_free(&m);
    }
    CHECK(!net_arch_at((int)rows) && net_arch_at((int)rows - 1));
}

TEST(layers_have_the_names_that_pytorch_gives_them)
{
    static const char *const layers[][10] = {
        {"vgg16", "input", "features.0", "features.29", "classifier.6", "logits"},
        {"mobilenet_v2", "input", "features.0.0", "features.17", "features.17.conv.2", "classifier.1", "logits"},
        {"resnet18", "input", "conv1", "maxpool", "layer1.0.bn1", "layer4", "layer4.0.downsample.0", "layer4.1", "fc", "logits"},
        {"resnet50", "input", "bn1", "relu", "layer1.0.downsample.1", "layer3.5", "layer4", "layer4.1", "fc", "logits"},
        {"resnet152", "input", "layer2.7", "layer3.35.conv3", "layer4", "layer4.2.bn3", "fc", "logits"},
        {"resnext50_32x4d", "input", "layer1", "layer2.3.conv2", "layer4", "layer4.2", "fc", "logits"},
        {"efficientnet_b0", "input", "features.0", "features.1.0.block.2", "features.6.3.block.2.fc1", "features.7", "features.8",
         "logits"},
        {"swin_tiny", "input", "patch_embed", "layers.1.downsample", "layers.2.blocks.5", "layers.3", "layers.3.blocks.1", "norm",
         "head.fc", "logits"},
        {"swin_large", "input", "layers.2.blocks.17.attn", "layers.3.blocks.1", "layers.3.blocks.1.mlp", "norm", "logits"},
        {"deit_base", "input", "patch_embed", "blocks.0", "blocks.11", "blocks.11.attn.qkv", "blocks.11.mlp.fc2", "norm", "head",
         "logits"}};
    en_error e;
    for (size_t i = 0; i < sizeof layers / sizeof *layers; i++) {
        net_model m = build(net_arch_find(layers[i][0]), 224);
        for (int k = 1; k < 10 && layers[i][k]; k++) CHECK_MSG(net_model_layer(&m, layers[i][k], &e) != EN_NONE, "%s", e.text);
        net_model_free(&m);
    }
}

TEST(layers_of_tokens_know_their_grid_and_maps_have_none)
{
    net_model m = build(net_arch_find("deit_base"), 224);
    const net_layer *tokens = net_model_tokens(&m, net_model_layer(&m, "blocks.11", NULL));
    CHECK(tokens && tokens->rows == 14 && tokens->columns == 14);
    CHECK(net_model_tokens(&m, net_model_layer(&m, "pre_pool", NULL)) &&
          net_model_tokens(&m, net_model_layer(&m, "blocks.0.norm1", NULL)));
    CHECK(!net_model_tokens(&m, net_model_layer(&m, "patch_embed", NULL)) && !net_model_tokens(&m, m.logits));
    net_model_free(&m);
    m = build(net_arch_find("swin_tiny"), 224);
    CHECK(!net_model_tokens(&m, net_model_layer(&m, "norm", NULL)));
    net_model_free(&m);
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

/* Transformers want sides that windows tile, or the very grid that positions were learnt for. */
TEST(convolutional_networks_take_inputs_from_the_smallest_to_the_largest)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        static const int sides[] = {NET_MIN_SIDE, 97, 224, NET_MAX_SIDE};
        for (int k = 0; k < 4 && strncmp(arch->name, "swin", 4) != 0 && strcmp(arch->name, "deit_base") != 0; k++) {
            net_model m = build(arch, sides[k]);
            net_model_free(&m);
        }
    }
}

static void check_side(const char *net, int height, int width, const char *says)
{
    net_model m;
    en_error e;
    en_status status = net_model_build(net_arch_find(net), 1000, 1, height, width, NULL, &m, &e);
    CHECK_MSG((status != EN_OK) == (says != NULL), "%s, %d x %d", net, width, height);
    if (says) CHECK_FAILS(status, e, EN_E_ARG, says);
    net_model_free(&m);
}

TEST(transformers_say_which_inputs_they_take)
{
    static const int sides[] = {32, 96, 223, 225, 227, 256, 384, 4096};
    check_side("swin_base", 224, 672, NULL);
    check_side("swin_base", 448, 448, NULL);
    check_side("swin_tiny", 256, 224, "swin_tiny: input of 224 x 256 (width x height), want multiples of 224");
    check_side("swin_large", 224, 384, "windows of 7 x 7 must tile the map of every stage");
    check_side("deit_base", 112, 448,
               "deit_base: input of 448 x 112 (width x height), want 224 x 224"); /* as many patches, but not these */
    for (int i = 0; i < 8; i++) {
        check_side("swin_small", sides[i], sides[i], "want multiples of 224");
        check_side("deit_base", sides[i], 224, "learnt for 14 x 14 patches");
        check_side("deit_base", 224, sides[i], "want 224 x 224");
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

TEST(networks_are_found_by_the_long_names_of_torchvision_and_timm)
{
    static const char *const names[][2] = {{"resnext50", "resnext50_32x4d"},
                                           {"swin_tiny_patch4_window7_224", "swin_tiny"},
                                           {"swin_small_patch4_window7_224", "swin_small"},
                                           {"swin_base_patch4_window7_224", "swin_base"},
                                           {"swin_large_patch4_window7_224", "swin_large"},
                                           {"deit_base_patch16_224", "deit_base"},
                                           {"DeiT-Base", "deit_base"},
                                           {"EfficientNet-B0", "efficientnet_b0"},
                                           {"ResNeXt50-32x4d", "resnext50_32x4d"}};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const net_arch *arch = net_arch_find(names[i][0]);
        CHECK_MSG(arch && !strcmp(arch->name, names[i][1]), "%s", names[i][0]);
    }
    CHECK(!net_arch_find("swin") && !net_arch_find("resnet") && !net_arch_find("resnet34") && !net_arch_find("vit_base"));
}

TEST(weights_were_trained_with_these_recipes)
{
    static const struct {
        const char *net;
        int shorter;
        img_filter filter;
    } want[] = {{"resnet152", 256, IMG_BILINEAR},
                {"resnext50", 256, IMG_BILINEAR},
                {"efficientnet_b0", 256, IMG_BICUBIC},
                {"swin_large", 248, IMG_BICUBIC},
                {"deit_base", 248, IMG_BICUBIC}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
        net_recipe recipe = net_arch_find(want[i].net)->recipe();
        CHECK_MSG(recipe.shorter == want[i].shorter && recipe.filter == want[i].filter && recipe.mean[0] == 0.485f, "%s",
                  want[i].net);
    }
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
