/* SPDX-License-Identifier: MIT */
/* Layouts. Each has been compared with its library by running both on the same weights (tests/nets/layouts.py). */
#include "nets/layouts.h"

#include <stdio.h>
#include <string.h>

typedef struct pair {
    const char *from, *to;
} pair;

/* Replaces the beginning of `name` by the first pair that has it, behind what `out` is to begin with. */
static void swap(const pair *pairs, const char *begin, const char *name, char out[NET_MAX_KEY])
{
    for (; pairs->from; pairs++) {
        size_t n = strlen(pairs->from);
        if (!strncmp(name, pairs->from, n)) return (void)snprintf(out, NET_MAX_KEY, "%s%s%s", begin, pairs->to, name + n);
    }
}

/* Microsoft's Swin, and timm's up to 0.6: patch merging at the end of stages 0 to 2, and another name for the classifier. */
static void old_swin(const char *name, char out[NET_MAX_KEY])
{
    int stage, end = 0;
    if (sscanf(name, "layers.%1d.downsample.%n", &stage, &end) == 1 && end)
        snprintf(out, NET_MAX_KEY, "layers.%d.downsample.%s", stage + 1, name + end);
    else if (strncmp(name, "head.fc.", 8) != 0)
        swap((const pair[]){{"head.", "head.fc."}, {0}}, "", name, out);
}

/* torchvision's swin_t, swin_s, swin_b: stages and patch mergings in one list. */
static void torchvision_swin(const char *name, char out[NET_MAX_KEY])
{
    static const pair outer[] = {{"features.0.0.", "patch_embed.proj."}, {"features.0.2.", "patch_embed.norm."}, {"head.", "head.fc."}, {0}};
    static const pair block[] = {{"mlp.0.", "mlp.fc1."}, {"mlp.3.", "mlp.fc2."}, {"", ""}, {0}};
    char begin[64];
    int item, number, end = 0;
    if (sscanf(name, "features.%1d.%2d.%n", &item, &number, &end) == 2 && end && item % 2) {
        snprintf(begin, sizeof begin, "layers.%d.blocks.%d.", item / 2, number);
        swap(block, begin, name + end, out);
    } else if (end = 0, sscanf(name, "features.%1d.%n", &item, &end) == 1 && end && item) {
        snprintf(out, NET_MAX_KEY, "layers.%d.downsample.%s", item / 2, name + end);
    } else {
        swap(outer, "", name, out);
    }
}

/* torchvision's vit_b_16. */
static void torchvision_vit(const char *name, char out[NET_MAX_KEY])
{
    static const pair outer[] = {{"class_token", "cls_token"}, {"encoder.pos_embedding", "pos_embed"}, {"conv_proj.", "patch_embed.proj."},
                                 {"encoder.ln.", "norm."}, {"heads.head.", "head."}, {0}};
    static const pair block[] = {{"ln_1.", "norm1."}, {"ln_2.", "norm2."}, {"self_attention.in_proj_", "attn.qkv."}, {"self_attention.out_proj.", "attn.proj."},
                                 {"mlp.linear_1.", "mlp.fc1."}, {"mlp.linear_2.", "mlp.fc2."}, {"mlp.0.", "mlp.fc1."}, {"mlp.3.", "mlp.fc2."}, {0}};
    char begin[64];
    int number, end = 0;
    if (sscanf(name, "encoder.layers.encoder_layer_%2d.%n", &number, &end) == 1 && end) {
        snprintf(begin, sizeof begin, "blocks.%d.", number);
        swap(block, begin, name + end, out);
    } else {
        swap(outer, "", name, out);
    }
}

/* timm's mobilenetv2_100: torchvision numbers the blocks of all stages on. */
static void timm_mobilenet(const char *name, char out[NET_MAX_KEY])
{
    static const int before[] = {1, 2, 4, 7, 11, 14, 17}; /* the number of each stage's first block */
    static const pair outer[] = {{"conv_stem.", "features.0.0."}, {"bn1.", "features.0.1."}, {"conv_head.", "features.18.0."}, {"bn2.", "features.18.1."},
                                 {"classifier.", "classifier.1."}, {0}};
    static const pair first[] = {{"conv_dw.", "conv.0.0."}, {"bn1.", "conv.0.1."}, {"conv_pw.", "conv.1."}, {"bn2.", "conv.2."}, {0}};
    static const pair others[] = {{"conv_pw.", "conv.0.0."}, {"bn1.", "conv.0.1."}, {"conv_dw.", "conv.1.0."}, {"bn2.", "conv.1.1."},
                                  {"conv_pwl.", "conv.2."}, {"bn3.", "conv.3."}, {0}};
    char begin[64];
    int stage, number, end = 0;
    if (sscanf(name, "blocks.%1d.%1d.%n", &stage, &number, &end) == 2 && end && stage < 7) {
        snprintf(begin, sizeof begin, "features.%d.", before[stage] + number);
        swap(stage ? others : first, begin, name + end, out);
    } else {
        swap(outer, "", name, out);
    }
}

/* timm's efficientnet_b0. */
static void timm_efficientnet(const char *name, char out[NET_MAX_KEY])
{
    static const pair outer[] = {{"conv_stem.", "features.0.0."}, {"bn1.", "features.0.1."}, {"conv_head.", "features.8.0."}, {"bn2.", "features.8.1."},
                                 {"classifier.", "classifier.1."}, {0}};
    static const pair first[] = {{"conv_dw.", "0.0."}, {"bn1.", "0.1."}, {"se.conv_reduce.", "1.fc1."}, {"se.conv_expand.", "1.fc2."},
                                 {"conv_pw.", "2.0."}, {"bn2.", "2.1."}, {0}};
    static const pair others[] = {{"conv_pw.", "0.0."}, {"bn1.", "0.1."}, {"conv_dw.", "1.0."}, {"bn2.", "1.1."}, {"se.conv_reduce.", "2.fc1."},
                                  {"se.conv_expand.", "2.fc2."}, {"conv_pwl.", "3.0."}, {"bn3.", "3.1."}, {0}};
    char begin[64];
    int stage, number, end = 0;
    if (sscanf(name, "blocks.%1d.%1d.%n", &stage, &number, &end) == 2 && end) {
        snprintf(begin, sizeof begin, "features.%d.%d.block.", stage + 1, number);
        swap(stage ? others : first, begin, name + end, out);
    } else {
        swap(outer, "", name, out);
    }
}

/* timm's vgg16. */
static void timm_vgg(const char *name, char out[NET_MAX_KEY])
{
    static const pair outer[] = {{"pre_logits.fc1.", "classifier.0."}, {"pre_logits.fc2.", "classifier.3."}, {"head.fc.", "classifier.6."}, {0}};
    swap(outer, "", name, out);
}

static const net_layout layouts[] = {
    {"layers.0.downsample.reduction.weight", old_swin, NULL},
    {"features.1.0.attn.qkv.weight", torchvision_swin, NULL},
    {"encoder.layers.encoder_layer_0.ln_1.weight", torchvision_vit, NULL},
    {"blocks.0.0.se.conv_reduce.weight", timm_efficientnet, NULL},
    {"blocks.0.0.conv_dw.weight", timm_mobilenet, NULL},
    {"pre_logits.fc1.weight", timm_vgg, "classifier."},
};

const net_layout *net_layout_at(int i) { return i < (int)(sizeof layouts / sizeof *layouts) ? &layouts[i] : NULL; }
