/* SPDX-License-Identifier: MIT */
/* Checkpoints under other names. Only names and shapes matter here, so the stores have no data: every stride is 0. */
#include "nets/remap.h"

#include "tests/nets/checkpoint.h"
#include "tests/test.h"
#include "weights/formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void namer(const char *key, char out[256]);

static void plain(const char *key, char out[256]) { snprintf(out, 256, "%s", key); }

static void add(wt_store *s, const char *name, int rank, const int *dim)
{
    static const float zero;
    en_error e;
    wt_tensor t = {.dtype = WT_F32, .rank = rank};
    for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
    s->bytes = (const uint8_t *)&zero;
    CHECK_OK(wt_store_add(s, &t, name, strlen(name), s->bytes, 0, sizeof zero, &e), e);
}

/* A store with the tensors of a network, named by `name`. */
static wt_store *store_of(const char *net, int classes, namer *name)
{
    wt_store *s = calloc(1, sizeof *s);
    net_model m;
    en_error e;
    char out[256];
    s->path = strdup("made up");
    s->size = (size_t)1 << 40;
    CHECK_OK(net_model_build(net_arch_find(net), classes, 1, 224, 224, NULL, &m, &e), e);
    for (en_ref x = 0; x < en_nodes(m.graph); x++) {
        if (!en_key_of(m.graph, x)) continue;
        name(en_key_of(m.graph, x), out);
        add(s, out, en_shape_of(m.graph, x)->rank, en_shape_of(m.graph, x)->dim);
    }
    net_model_free(&m);
    return s;
}

static void expect_net(wt_store *s, const net_remap *remap, const char *net, int classes)
{
    net_view view;
    const net_arch *arch;
    en_error e;
    int found;
    CHECK_OK(net_view_open(s, remap, &view, &e), e);
    CHECK_OK(net_recognise(&view, &arch, &found, &e), e);
    CHECK_MSG(!strcmp(arch->name, net) && found == classes, "%s with %d classes, want %s with %d", arch->name, found, net, classes);
    CHECK_OK(net_view_classes(&view, arch, &found, &e), e);
    CHECK(found == classes);
    net_view_close(&view);
    wt_close(s);
}

static void expect_failure(wt_store *s, const net_remap *remap, en_status status, const char *text)
{
    net_view view;
    const net_arch *arch = NULL;
    en_error e;
    int classes;
    en_status got = net_view_open(s, remap, &view, &e);
    if (got == EN_OK) got = net_recognise(&view, &arch, &classes, &e);
    CHECK_FAILS(got, e, status, text);
    net_view_close(&view);
    wt_close(s);
}

/* Writes text to a new file. */
static net_remap map_of(const char *text, char path[128])
{
    t_temporary(path);
    FILE *f = fopen(path, "w");
    CHECK(f && fputs(text, f) >= 0 && !fclose(f));
    return (net_remap){.map = path};
}

TEST(every_network_is_recognised_with_any_number_of_classes)
{
    const net_arch *arch;
    for (int i = 0; (arch = net_arch_at(i)); i++) {
        expect_net(store_of(arch->name, 1000, plain), NULL, arch->name, 1000);
        expect_net(store_of(arch->name, 1 + i, plain), NULL, arch->name, 1 + i);
    }
}

static void wrapped(const char *key, char out[256]) { snprintf(out, 256, "module.model._orig_mod.backbone.%s", key); }

TEST(wrappers_that_all_names_have_are_taken_off) { expect_net(store_of("resnet18", 10, wrapped), NULL, "resnet18", 10); }

static void mostly_wrapped(const char *key, char out[256]) { snprintf(out, 256, "%s%s", strcmp(key, "fc.bias") ? "model." : "", key); }

TEST(wrappers_that_one_name_lacks_stay)
{
    expect_failure(store_of("resnet18", 10, mostly_wrapped), NULL, EN_E_FORMAT, "nearest is resnet18, of which 1 of 102 fit");
    expect_net(store_of("resnet18", 10, mostly_wrapped), &(net_remap){.strip = "model."}, "resnet18", 10);
}

TEST(a_prefix_that_no_name_has_is_refused)
{
    expect_failure(store_of("resnet18", 10, plain), &(net_remap){.strip = "student."}, EN_E_ARG, "begins with 'student.'");
}

TEST(constants_and_counters_are_left_out)
{
    wt_store *s = store_of("swin_tiny", 1000, plain);
    add(s, "layers.0.blocks.0.attn.relative_position_index", 2, (int[]){49, 49});
    add(s, "layers.0.blocks.1.attn_mask", 3, (int[]){64, 49, 49});
    add(s, "any.num_batches_tracked", 0, NULL);
    expect_net(s, NULL, "swin_tiny", 1000);
}

static void old_swin(const char *key, char out[256])
{
    int stage, end = 0;
    plain(key, out);
    if (sscanf(key, "layers.%d.downsample.%n", &stage, &end) == 1 && end) snprintf(out, 256, "layers.%d.downsample.%s", stage - 1, key + end);
    if (!strncmp(key, "head.fc.", 8)) snprintf(out, 256, "head.%s", key + 8);
}

TEST(old_layouts_of_swin_are_understood)
{
    const char *nets[] = {"swin_tiny", "swin_small", "swin_base", "swin_large"};
    for (int i = 0; i < 4; i++) expect_net(store_of(nets[i], 1000, old_swin), NULL, nets[i], 1000);
}

TEST(layouts_of_other_libraries_are_understood)
{
    static const struct {
        const char *sign, *theirs, *ours;
    } cases[] = {
        {"features.1.0.attn.qkv.weight", "features.0.2.bias", "patch_embed.norm.bias"},
        {"features.1.0.attn.qkv.weight", "features.5.11.mlp.3.weight", "layers.2.blocks.11.mlp.fc2.weight"},
        {"features.1.0.attn.qkv.weight", "features.6.reduction.weight", "layers.3.downsample.reduction.weight"},
        {"features.1.0.attn.qkv.weight", "features.7.1.norm1.bias", "layers.3.blocks.1.norm1.bias"},
        {"features.1.0.attn.qkv.weight", "head.bias", "head.fc.bias"},
        {"encoder.layers.encoder_layer_0.ln_1.weight", "class_token", "cls_token"},
        {"encoder.layers.encoder_layer_0.ln_1.weight", "encoder.layers.encoder_layer_11.self_attention.in_proj_weight", "blocks.11.attn.qkv.weight"},
        {"encoder.layers.encoder_layer_0.ln_1.weight", "encoder.layers.encoder_layer_3.mlp.linear_2.bias", "blocks.3.mlp.fc2.bias"},
        {"encoder.layers.encoder_layer_0.ln_1.weight", "encoder.layers.encoder_layer_3.mlp.3.bias", "blocks.3.mlp.fc2.bias"},
        {"blocks.0.0.se.conv_reduce.weight", "blocks.0.0.conv_pw.weight", "features.1.0.block.2.0.weight"},
        {"blocks.0.0.se.conv_reduce.weight", "blocks.4.2.se.conv_expand.bias", "features.5.2.block.2.fc2.bias"},
        {"blocks.0.0.se.conv_reduce.weight", "conv_head.weight", "features.8.0.weight"},
        {"blocks.0.0.conv_dw.weight", "blocks.0.0.bn2.running_var", "features.1.conv.2.running_var"},
        {"blocks.0.0.conv_dw.weight", "blocks.5.2.bn3.bias", "features.16.conv.3.bias"},
        {"blocks.0.0.conv_dw.weight", "bn2.weight", "features.18.1.weight"},
        {"pre_logits.fc1.weight", "pre_logits.fc2.bias", "classifier.3.bias"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        wt_store *s = calloc(1, sizeof *s);
        net_view view;
        en_error e;
        s->path = strdup("made up");
        s->size = (size_t)1 << 40;
        add(s, cases[i].sign, 1, (int[]){3});
        add(s, cases[i].theirs, 1, (int[]){3});
        CHECK_OK(net_view_open(s, NULL, &view, &e), e);
        CHECK_MSG(net_view_find(&view, cases[i].ours), "%s is %s or %s", cases[i].theirs, view.entry[0].tensor.name, view.entry[1].tensor.name);
        net_view_close(&view);
        wt_close(s);
    }
}

TEST(a_convolution_over_a_whole_map_is_a_linear_layer)
{
    wt_store *s = calloc(1, sizeof *s);
    net_view view;
    en_error e;
    s->path = strdup("made up");
    s->size = (size_t)1 << 40;
    add(s, "pre_logits.fc1.weight", 4, (int[]){6, 5, 2, 3});
    add(s, "pre_logits.fc2.weight", 4, (int[]){6, 5, 2, 3}); /* not row-major: stays as it is, and will not fit */
    for (int i = 0, step = 1; i < 4; step *= (int)s->tensor[0].dim[3 - i++]) s->tensor[0].stride[3 - i] = step;
    CHECK_OK(net_view_open(s, NULL, &view, &e), e);
    const wt_tensor *t = &net_view_find(&view, "classifier.0.weight")->tensor;
    CHECK(t->rank == 2 && t->dim[0] == 6 && t->dim[1] == 30 && t->stride[0] == 30 && t->stride[1] == 1);
    CHECK(net_view_find(&view, "classifier.3.weight")->tensor.rank == 4);
    net_view_close(&view);
    wt_close(s);
}

static void renamed(const char *key, char out[256])
{
    snprintf(out, 256, !strncmp(key, "fc.", 3) ? "my.head%s" : !strncmp(key, "layer4.", 7) ? "my.top%s" : "my.%s",
             !strncmp(key, "fc.", 3) ? key + 2 : !strncmp(key, "layer4.", 7) ? key + 6 : key);
}

TEST(a_users_map_renames_tensors_and_what_is_below_a_name)
{
    char path[128];
    net_remap map = map_of("# a comment\n\nmy.head.weight fc.weight\r\n  my.head.bias\tfc.bias\nmy.top. layer4.\nmy.extra -\n", path);
    wt_store *s = store_of("resnet18", 7, renamed);
    add(s, "my.extra", 1, (int[]){5});
    map.strip = "my.";
    expect_net(s, &map, "resnet18", 7);
    unlink(path);
}

TEST(maps_that_cannot_be_right_are_refused_by_line)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"conv1.weight\n", "line 1: want two words"},
        {"conv1.weight a b", "line 1: want two words"},
        {"\nfc.bias head.\n", "line 2: want a dot at the end of both"},
        {"fc.bias a\nfc.bias b\n", "line 2: made up has no tensor 'fc.bias' left"},
        {"fc.bias fc.weight\n", "tensors 'fc."},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char path[128];
        net_remap map = map_of(cases[i].text, path);
        expect_failure(store_of("resnet18", 10, plain), &map, i < 4 ? EN_E_ARG : EN_E_FORMAT, cases[i].want);
        unlink(path);
    }
    expect_failure(store_of("resnet18", 10, plain), &(net_remap){.map = "/no/such/file"}, EN_E_IO, "/no/such/file");
}

TEST(names_that_collide_are_both_told)
{
    wt_store *s = store_of("resnet18", 10, mostly_wrapped);
    add(s, "conv1.weight", 1, (int[]){3});
    expect_failure(s, &(net_remap){.strip = "model."}, EN_E_FORMAT, "would both be 'conv1.weight'");
}

TEST(what_comes_nearest_is_told_where_nothing_fits)
{
    wt_store *s = store_of("resnet50", 1000, plain);
    add(s, "aux.weight", 1, (int[]){3});
    expect_failure(s, NULL, EN_E_FORMAT, "nearest is resnet50, for which 1 of");
    s = store_of("resnet101", 1000, plain);
    s->tensor[0].dim[0] = 63;
    expect_failure(s, NULL, EN_E_FORMAT, "nearest is resnet101, of which 521 of 522 fit: 'conv1.weight'");
    s = calloc(1, sizeof *s);
    s->path = strdup("made up");
    expect_failure(s, NULL, EN_E_FORMAT, "none of its 0 tensors has");
}
