/* SPDX-License-Identifier: MIT */
/* EfficientNet-B0 (arXiv:1905.11946, table 1): inverted residual blocks with squeeze-excite, SiLU throughout. */
#include "nets/build.h"

#include <stdio.h>

en_ref net_build_efficientnet(net_builder *b, en_ref x);

/* Convolution without bias, batch norm and, if asked, SiLU, numbered 0, 1, 2 in the scope `name`. */
static en_ref conv_bn(net_builder *b, const char *name, en_ref x, int out, int window, en_conv options, int silu)
{
    int mark = net_enter(b, "%s", name);
    options.pad = (window - 1) / 2;
    x = net_batch_norm(b, "1", net_conv(b, "0", x, out, window, options, 0));
    if (silu) x = net_name(b, "2", en_silu(b->g, x));
    x = net_name(b, "", x);
    net_leave(b, mark);
    return x;
}

/* Each channel is scaled by a number in 0..1 made from the means of all (arXiv:1709.01507). */
static en_ref squeeze_excite(net_builder *b, const char *name, en_ref x, int squeezed)
{
    int mark = net_enter(b, "%s", name), channels = net_channels(b, x);
    en_ref s = en_silu(b->g, net_conv(b, "fc1", en_global_avg_pool(b->g, x), squeezed, 1, (en_conv){0}, 1));
    s = en_sigmoid(b->g, net_conv(b, "fc2", s, channels, 1, (en_conv){0}, 1));
    x = net_name(b, "", en_scale_channels(b->g, x, s));
    net_leave(b, mark);
    return x;
}

/* [expand 1 x 1] - depthwise - squeeze-excite - project 1 x 1 without activation, and a shortcut where the shape stays. */
static en_ref mbconv(net_builder *b, en_ref x, int expand, int window, int out, int stride)
{
    int in = net_channels(b, x), hidden = in * expand, module = 0, block = net_enter(b, "block");
    char name[16];
    en_ref y = x;
    if (expand > 1) y = conv_bn(b, (snprintf(name, sizeof name, "%d", module++), name), y, hidden, 1, (en_conv){0}, 1);
    snprintf(name, sizeof name, "%d", module++);
    y = conv_bn(b, name, y, hidden, window, (en_conv){.stride = stride, .groups = hidden}, 1);
    snprintf(name, sizeof name, "%d", module++);
    y = squeeze_excite(b, name, y, in / 4 > 1 ? in / 4 : 1);
    snprintf(name, sizeof name, "%d", module++);
    y = conv_bn(b, name, y, out, 1, (en_conv){0}, 0);
    net_leave(b, block);
    return net_name(b, "", stride == 1 && in == out ? en_add(b->g, x, y) : y);
}

en_ref net_build_efficientnet(net_builder *b, en_ref x)
{
    static const struct {
        int expand, window, out, blocks, stride;
    } stages[7] = {{1, 3, 16, 1, 1}, {6, 3, 24, 2, 2}, {6, 5, 40, 2, 2}, {6, 3, 80, 3, 2}, {6, 5, 112, 3, 1}, {6, 5, 192, 4, 2}, {6, 3, 320, 1, 1}};
    int features = net_enter(b, "features");
    x = conv_bn(b, "0", x, 32, 3, (en_conv){.stride = 2}, 1);
    for (int i = 0; i < 7; i++) {
        int stage = net_enter(b, "%d", i + 1);
        for (int j = 0; j < stages[i].blocks; j++) {
            int block = net_enter(b, "%d", j);
            x = mbconv(b, x, stages[i].expand, stages[i].window, stages[i].out, j ? 1 : stages[i].stride);
            net_leave(b, block);
        }
        x = net_name(b, "", x);
        net_leave(b, stage);
    }
    x = conv_bn(b, "8", x, 1280, 1, (en_conv){0}, 1);
    net_leave(b, features);
    return net_linear(b, "classifier.1", en_global_avg_pool(b->g, x), b->classes);
}
