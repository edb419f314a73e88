/* SPDX-License-Identifier: MIT */
/* Swin transformer (arXiv:2103.14030) as timm has it: attention in windows of 7 x 7, moved by 3 in every other block, and patch merging at
 * the start of stages 1 to 3. Where one window is as large as the map, it is not moved (stage 3 at 224 x 224).
 * Numbers: channels of the first stage, blocks of the four stages, heads of the first stage. */
#include "nets/transformer.h"

en_ref net_build_swin(net_builder *b, en_ref x);

enum { PATCH = 4, WINDOW = 7, SHIFT = 3, SIDE = PATCH * 8 * WINDOW /* one window in stage 3 */, CHANNELS = 0, BLOCKS = 1, HEADS = 5 };

static const float eps = 1e-5f;

/* The four tokens of each 2 x 2 square become one with twice the channels. */
static en_ref downsample(net_builder *b, en_ref x)
{
    int mark = net_enter(b, "downsample"), c = net_channels(b, x);
    x = net_layer_norm(b, "norm", en_patch_merge(b->g, x), eps);
    x = net_name(b, "", net_token_linear(b, "reduction", x, 2 * c, 0));
    net_leave(b, mark);
    return x;
}

en_ref net_build_swin(net_builder *b, en_ref x)
{
    const int *number = b->arch->number, *image = en_shape_of(b->g, x)->dim, height = image[2], width = image[3];
    if (height % SIDE || width % SIDE)
        return en_graph_error(b->g, EN_E_ARG, "%s: input of %d x %d (width x height), want multiples of %d: windows of %d x %d must tile the map of every stage",
                              b->arch->name, width, height, SIDE, WINDOW, WINDOW), EN_NONE;
    int mark = net_enter(b, "patch_embed");
    en_ref w = net_param(b, "proj.weight", 4, (int[]){number[CHANNELS], 3, PATCH, PATCH});
    x = net_name(b, "proj", en_conv2d(b->g, x, w, net_param(b, "proj.bias", 1, &number[CHANNELS]), (en_conv){.stride = PATCH}));
    x = net_name(b, "", net_layer_norm(b, "norm", x, eps));
    net_leave(b, mark);
    for (int stage = 0; stage < 4; stage++) {
        int shorter = (height < width ? height : width) / PATCH >> stage, shift = shorter > WINDOW ? SHIFT : 0;
        mark = net_enter(b, "layers.%d", stage);
        if (stage) x = downsample(b, x);
        for (int i = 0; i < number[BLOCKS + stage]; i++) {
            int block = net_enter(b, "blocks.%d", i);
            x = net_transformer_block(b, x, (en_windows){number[HEADS] << stage, WINDOW, i % 2 ? shift : 0}, eps);
            net_leave(b, block);
        }
        x = net_name(b, "", x);
        net_leave(b, mark);
    }
    x = net_layer_norm(b, "norm", x, eps);
    return net_linear(b, "head.fc", en_global_avg_pool(b->g, x), b->classes);
}
