/* SPDX-License-Identifier: MIT */
/* The same bits: whatever the number of threads, the position in a batch, the instruction set, the compiler, the layers that are
 * explained, and whether the prefix is fused. Whole networks; tests/engine does it op by op. */
#include "tests/cam/golden.h"

#include "engine/cpu.h"
#include "nets/nets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { REQUESTS = 3, CLASSES = 1000 };

/* What is computed of an image, as a hash each, so that a difference says where it begins. */
typedef struct print {
    uint64_t logits, gradient, product, map;
} print;

static cam_request request(int i)
{
    static const struct {
        const char *method, *utility, *layer;
        int cls;
    } rows[REQUESTS] = {{"shapleycam-x", "rest", "conv", CAM_TOP1},
                        {"shapleycam", "softmax", "pre_pool", 281},
                        {"gradcam++", "logsoftmax", "conv", 7}};
    cam_request r = t_request(rows[i].method, rows[i].utility, rows[i].layer, rows[i].cls);
    r.flags = i == 1 ? CAM_WITH_HVP : 0;
    return r;
}

static void explain(cam_ctx *ctx, cam_input in)
{
    cam_request want[REQUESTS];
    cam_result *got = malloc((size_t)in.n * REQUESTS * sizeof *got);
    for (int i = 0; i < REQUESTS; i++) want[i] = request(i);
    t_explain(ctx, in, want, REQUESTS, got);
    free(got);
}

/* Of an image of the last explanation. */
static print print_of(const cam_ctx *ctx, int image, cam_input in)
{
    print p = {T_HASH, T_HASH, T_HASH, T_HASH};
    p.logits = t_hash(p.logits, cam_logits(ctx, image), CLASSES * sizeof(float));
    for (int i = 0; i < REQUESTS; i++) {
        int32_t chw[3];
        cam_activation(ctx, image, i, chw);
        size_t cells = (size_t)chw[1] * (size_t)chw[2], bytes = (size_t)chw[0] * cells * sizeof(float);
        p.gradient = t_hash(p.gradient, cam_gradient(ctx, image, i), bytes);
        if (i < 2) p.product = t_hash(p.product, cam_hvp_activation(ctx, image, i), bytes);
        p.map = t_hash(p.map, cam_raw_map(ctx, image, i), cells * sizeof(double));
        p.map = t_hash(p.map, cam_map(ctx, image, i), (size_t)in.height * (size_t)in.width * sizeof(float));
    }
    return p;
}

static void check_same(print got, print want, const char *when)
{
    CHECK_MSG(got.logits == want.logits, "logits differ %s", when);
    CHECK_MSG(got.gradient == want.gradient, "gradients differ %s", when);
    CHECK_MSG(got.product == want.product, "Hessian-vector products differ %s", when);
    CHECK_MSG(got.map == want.map, "maps differ %s", when);
}

static print explain_alone(const cam_net *net, cam_input in, int threads)
{
    cam_ctx *ctx = t_ctx(net, threads);
    explain(ctx, in);
    print p = print_of(ctx, 0, in);
    cam_ctx_free(ctx);
    return p;
}

/* Image 1 first, second and third among others. */
static void check_batches(const cam_net *net, cam_input one, print want)
{
    size_t floats = 3 * (size_t)one.height * (size_t)one.width;
    cam_ctx *ctx = t_ctx(net, 2);
    for (int position = 0; position < 3; position++) {
        cam_input three = t_images(5, 3, one.height, one.width);
        memcpy((float *)(uintptr_t)three.nchw + (size_t)position * floats, one.nchw, floats * sizeof(float));
        explain(ctx, three);
        for (int i = 0; i < 3; i++) {
            print p = print_of(ctx, i, three);
            if (i == position)
                check_same(p, want, "in a batch");
            else
                CHECK(p.logits != want.logits);
        }
        free((float *)(uintptr_t)three.nchw);
    }
    cam_ctx_free(ctx);
}

/* Logits from a run that explains nothing, and with every layer of `layers` cut. */
static void check_layers(const cam_net *net, cam_input in, const char *const *layers, print want)
{
    cam_ctx *ctx = t_ctx(net, 2);
    float logits[CLASSES];
    cam_error e;
    CHECK_OK(cam_forward(ctx, in, logits, &e), e);
    CHECK_MSG(t_hash(T_HASH, logits, sizeof logits) == want.logits, "logits of cam_forward differ");
    for (int i = 0; layers[i]; i++) {
        cam_request r = t_request("shapleycam", "rest", layers[i], CAM_TOP1);
        cam_result got;
        t_explain(ctx, in, &r, 1, &got);
        CHECK_MSG(t_hash(T_HASH, cam_logits(ctx, 0), sizeof logits) == want.logits, "logits differ where layer %s is explained",
                  layers[i]);
    }
    cam_ctx_free(ctx);
}

static void check_network(const char *name, int side, const char *const *layers)
{
    static const int threads[] = {2, 3, 8};
    char when[32];
    cam_net *net = t_net(name, NULL);
    cam_input in = t_images(1, 1, side, side);
    print want = explain_alone(net, in, 1);
    for (int i = 0; i < 3; i++)
        check_same(explain_alone(net, in, threads[i]), want, (snprintf(when, sizeof when, "with %d threads", threads[i]), when));
    check_batches(net, in, want);
    check_layers(net, in, layers, want);
    free((float *)(uintptr_t)in.nchw);
    cam_net_close(net);
}

TEST(mobilenet_v2_has_the_same_bits_from_any_threads_batch_and_layer)
{
    check_network("mobilenet_v2", 224, (const char *[]){"pre_pool", "features.17", "features.14.conv.1.0", "features.0", NULL});
}

TEST(vgg16_has_the_same_bits_from_any_threads_batch_and_layer)
{
    check_network("vgg16", 112, (const char *[]){"pre_pool", "features.24", "classifier.1", NULL});
}

TEST(resnext50_has_the_same_bits_from_any_threads_batch_and_layer)
{
    check_network("resnext50", 96, (const char *[]){"pre_pool", "layer4.1", "layer3.2.conv2", "layer1", NULL});
}

TEST(efficientnet_b0_has_the_same_bits_from_any_threads_batch_and_layer)
{
    check_network("efficientnet_b0", 96, (const char *[]){"pre_pool", "features.7", "features.5.1.block.2", "features.0", NULL});
}

TEST(swin_tiny_has_the_same_bits_from_any_threads_batch_and_layer)
{
    check_network("swin_tiny", 224, (const char *[]){"pre_pool", "layers.3", "layers.2.blocks.5.attn", NULL});
}

/* The base set of x86-64 has no fused multiply-add and so has bits of its own. */
static int is_fused(const kn_table *isa)
{
#if defined __x86_64__
    return strcmp(isa->name, "base") != 0;
#else
    (void)isa;
    return 1;
#endif
}

static void check_isas(const char *name, int side)
{
    print want = {0};
    int compared = 0, usable;
    const kn_table *isa;
    cam_input in = t_images(1, 1, side, side);
    for (int i = 0; (isa = en_isa(i, &usable)); i++) {
        if (!usable || !is_fused(isa)) continue;
        setenv("EN_ISA", isa->name, 1);
        cam_net *net = t_net(name, NULL);
        print p = explain_alone(net, in, 2);
        if (compared++) check_same(p, want, isa->name);
        want = p;
        cam_net_close(net);
    }
    free((float *)(uintptr_t)in.nchw);
    if (compared < 2) t_skip("needs two instruction sets with fused multiply-add");
}

TEST(mobilenet_v2_has_the_same_bits_from_every_instruction_set) { check_isas("mobilenet_v2", 224); }
TEST(vgg16_has_the_same_bits_from_every_instruction_set) { check_isas("vgg16", 112); }
TEST(resnext50_has_the_same_bits_from_every_instruction_set) { check_isas("resnext50", 96); }
TEST(efficientnet_b0_has_the_same_bits_from_every_instruction_set) { check_isas("efficientnet_b0", 96); }
TEST(swin_tiny_has_the_same_bits_from_every_instruction_set) { check_isas("swin_tiny", 224); }

/* gcc and clang, and every processor with fused multiply-add, give these. They change only with the order of a sum. */
static void check_pinned(const char *name, int side, print want)
{
    if (!is_fused(en_kernels())) t_skip("needs fused multiply-add");
    cam_net *net = t_net(name, NULL);
    cam_input in = t_images(1, 1, side, side);
    print p = explain_alone(net, in, 2);
    CHECK_MSG(!memcmp(&p, &want, sizeof p), "%s: {0x%016llx, 0x%016llx, 0x%016llx, 0x%016llx}", name, (unsigned long long)p.logits,
              (unsigned long long)p.gradient, (unsigned long long)p.product, (unsigned long long)p.map);
    free((float *)(uintptr_t)in.nchw);
    cam_net_close(net);
}

TEST(mobilenet_v2_has_the_bits_it_always_had)
{
    check_pinned("mobilenet_v2", 224, (print){0xe12415ef75fca058, 0xf0cc28c06b3c0f35, 0x4bbd6acefde2f28c, 0xeb34cb95f7543d28});
}

TEST(vgg16_has_the_bits_it_always_had)
{
    check_pinned("vgg16", 112, (print){0x9bae7d3e3f820421, 0xdbb35c535c86ec88, 0xaa5413a97c41e2aa, 0xc43e34ca1f352404});
}

TEST(resnet18_has_the_bits_it_always_had)
{
    check_pinned("resnet18", 112, (print){0xcec585ad538bfdd1, 0x278d0319026e3c79, 0x1c6077caa506fb85, 0x88d62887c565ecba});
}

TEST(resnext50_has_the_bits_it_always_had)
{
    check_pinned("resnext50", 96, (print){0x66db528c3728d2f7, 0xc8c7f5cff7e0ffbc, 0xa66855a0ce5f26a8, 0x5436d6c73d42f839});
}

TEST(efficientnet_b0_has_the_bits_it_always_had)
{
    check_pinned("efficientnet_b0", 96, (print){0x49b8c8491827a6ff, 0x944f17e17b59bd6b, 0x58f2031b2aae14d4, 0x83a8903677a3083d});
}

TEST(swin_tiny_has_the_bits_it_always_had)
{
    check_pinned("swin_tiny", 224, (print){0x0e84722c8862880e, 0x868b552c887a2d7c, 0x5a8ebd5bbeb930d3, 0x78ae4f23e6c5c774});
}

/* ---- fusing ---- */

/* Logits, gradient and product at a layer of a network that is fused or not. */
static print run_graph(const net_arch *arch, en_params *params, const float *x, int side, int no_fuse)
{
    net_model m;
    en_error e;
    print p = {T_HASH, T_HASH, T_HASH, T_HASH};
    CHECK_OK(net_model_build(arch, CLASSES, 1, side, side, params, &m, &e), e);
    en_ref layer = net_model_layer(&m, "pre_pool", &e);
    int cut = en_cut(m.graph, &layer, 1);
    CHECK_OK(en_graph_finish(m.graph, &(en_options){.seeds = 1, .no_fuse = no_fuse}, &e), e);
    char *text = en_graph_text(m.graph);
    CHECK((strstr(text, "+act") == NULL) == no_fuse);
    free(text);
    en_store(en_shape_of(m.graph, m.input), x, en_value(m.graph, m.input));
    en_forward(m.graph, cut, NULL);
    en_seed(m.graph, cut, 1, 2);
    for (int order = 1; order <= 2; order++)
        memcpy(en_adjoint(m.graph, m.logits, 0, order), en_value(m.graph, m.logits), CLASSES * sizeof(float));
    en_reverse(m.graph);
    size_t bytes = en_floats(en_shape_of(m.graph, layer)) * sizeof(float);
    p.logits = t_hash(p.logits, en_value(m.graph, m.logits), CLASSES * sizeof(float));
    p.map = t_hash(p.map, en_value(m.graph, layer), bytes);
    p.gradient = t_hash(p.gradient, en_adjoint(m.graph, layer, 0, 1), bytes);
    p.product = t_hash(p.product, en_adjoint(m.graph, layer, 0, 2), bytes);
    net_model_free(&m);
    return p;
}

static void check_fusing(const char *name, int side)
{
    const net_arch *arch = net_arch_find(name);
    net_seeded seeded = {.net = arch->name, .seed = 1};
    en_params *params;
    en_error e;
    CHECK_OK(en_params_new(net_source_seeded(&seeded), &params, &e), e);
    cam_input in = t_images(1, 1, side, side);
    check_same(run_graph(arch, params, in.nchw, side, 1), run_graph(arch, params, in.nchw, side, 0), "where nothing is fused");
    free((float *)(uintptr_t)in.nchw);
    en_params_free(params);
}

TEST(mobilenet_v2_has_the_same_bits_fused_or_not) { check_fusing("mobilenet_v2", 224); }
TEST(vgg16_has_the_same_bits_fused_or_not) { check_fusing("vgg16", 112); }
TEST(resnext50_has_the_same_bits_fused_or_not) { check_fusing("resnext50", 96); }
TEST(efficientnet_b0_has_the_same_bits_fused_or_not) { check_fusing("efficientnet_b0", 96); }
TEST(swin_tiny_has_the_same_bits_fused_or_not) { check_fusing("swin_tiny", 224); }
