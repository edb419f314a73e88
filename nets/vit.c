/* SPDX-License-Identifier: MIT */
/* Vision transformer (arXiv:2010.11929) as DeiT-B (arXiv:2012.12877) and timm have it: patches of 16 x 16, a class token in front, twelve
 * blocks of plain attention; only the class token reaches the head. Numbers: channels, blocks, heads. */
#include "nets/transformer.h"

en_ref net_build_vit(net_builder *b, en_ref x);

enum { PATCH = 16, GRID = 14 /* patches a side that positions were learnt for */, CHANNELS = 0, BLOCKS = 1, HEADS = 2 };

static const float eps = 1e-6f;

en_ref net_build_vit(net_builder *b, en_ref x)
{
    const int *number = b->arch->number, c = number[CHANNELS], *image = en_shape_of(b->g, x)->dim, side = GRID * PATCH;
    if (image[2] != side || image[3] != side)
        return en_graph_error(b->g, EN_E_ARG, "%s: input of %d x %d (width x height), want %d x %d: its positions were learnt for %d x %d patches",
                              b->arch->name, image[3], image[2], side, side, GRID, GRID), EN_NONE;
    en_ref w = net_param(b, "patch_embed.proj.weight", 4, (int[]){c, 3, PATCH, PATCH});
    x = net_name(b, "patch_embed", en_conv2d(b->g, x, w, net_param(b, "patch_embed.proj.bias", 1, &c), (en_conv){.stride = PATCH}));
    en_ref token = net_param(b, "cls_token", 3, (int[]){1, 1, c}), position = net_param(b, "pos_embed", 3, (int[]){1, 1 + GRID * GRID, c});
    net_tokens(b, GRID, GRID); /* from here on, token 0 is the class token and the others are this grid */
    x = en_add_tokens(b->g, x, token, position);
    for (int i = 0; i < number[BLOCKS]; i++) {
        int block = net_enter(b, "blocks.%d", i);
        x = net_transformer_block(b, x, (en_windows){.heads = number[HEADS]}, eps);
        net_leave(b, block);
    }
    x = net_layer_norm(b, "norm", x, eps);
    net_tokens(b, 0, 0);
    return net_linear(b, "head", en_take_token(b->g, x, 0), b->classes);
}
