/* SPDX-License-Identifier: MIT */
/* The transformer block (arXiv:2010.11929, fig. 1), with windows or without. */
#include "nets/transformer.h"

en_ref net_layer_norm(net_builder *b, const char *name, en_ref x, float eps)
{
    int mark = net_enter(b, "%s", name), c = net_channels(b, x);
    x = net_name(b, "", en_layer_norm(b->g, x, net_param(b, "weight", 1, &c), net_param(b, "bias", 1, &c), eps));
    net_leave(b, mark);
    return x;
}

en_ref net_token_linear(net_builder *b, const char *name, en_ref x, int out, int bias)
{
    int mark = net_enter(b, "%s", name);
    en_ref w = net_param(b, "weight", 2, (int[]){out, net_channels(b, x)});
    x = net_name(b, "", en_conv2d(b->g, x, w, bias ? net_param(b, "bias", 1, &out) : EN_NONE, (en_conv){0}));
    net_leave(b, mark);
    return x;
}

static en_ref attention(net_builder *b, en_ref x, en_windows o)
{
    int mark = net_enter(b, "attn"), c = net_channels(b, x), side = 2 * o.window - 1;
    en_ref bias = o.window ? net_param(b, "relative_position_bias_table", 2, (int[]){side * side, o.heads}) : EN_NONE;
    x = en_attention(b->g, net_token_linear(b, "qkv", x, 3 * c, 1), bias, o);
    x = net_name(b, "", net_token_linear(b, "proj", x, c, 1));
    net_leave(b, mark);
    return x;
}

en_ref net_transformer_block(net_builder *b, en_ref x, en_windows windows, float eps)
{
    int c = net_channels(b, x);
    x = en_add(b->g, x, attention(b, net_layer_norm(b, "norm1", x, eps), windows));
    en_ref y = net_layer_norm(b, "norm2", x, eps);
    int mlp = net_enter(b, "mlp");
    y = net_name(b, "act", en_gelu(b->g, net_token_linear(b, "fc1", y, 4 * c, 1)));
    y = net_name(b, "", net_token_linear(b, "fc2", y, c, 1));
    net_leave(b, mlp);
    return net_name(b, "", en_add(b->g, x, y));
}
