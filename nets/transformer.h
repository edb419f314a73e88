/* SPDX-License-Identifier: MIT */
/* What vision transformers share. Tokens are the positions of a map: [N, C, H, W] is H*W tokens of C channels. */
#ifndef NETS_TRANSFORMER_H
#define NETS_TRANSFORMER_H

#include "nets/build.h"

/* Layer norm with its parameters, and a linear layer applied to every token. */
en_ref net_layer_norm(net_builder *b, const char *name, en_ref x, float eps);
en_ref net_token_linear(net_builder *b, const char *name, en_ref x, int out, int bias);

/* x + attention(norm1 x), then x + mlp(norm2 x); scopes norm1, attn, norm2, mlp as timm has them. */
en_ref net_transformer_block(net_builder *b, en_ref x, en_windows windows, float eps);

#endif
