/* SPDX-License-Identifier: MIT */
/* MobileNetV2 (arXiv:1801.04381, table 2): inverted residual blocks, narrow at both ends and wide in the depthwise middle. */
#include "nets/build.h"

#include <stdio.h>

en_ref net_build_mobilenet(net_builder *b, en_ref x);

/* Convolution, batch norm, ReLU6, numbered 0, 1, 2 in the scope `name`, which also names the whole. */
static en_ref conv_bn_relu6(net_builder *b, const char *name, en_ref x, int out, int window, en_conv options)
{
    int mark = net_enter(b, "%s", name);
    x = net_batch_norm(b, "1", net_conv(b, "0", x, out, window, options, 0));
    x = net_name(b, "2", en_relu6(b->g, x));
    x = net_name(b, "", x);
    net_leave(b, mark);
    return x;
}

/* [expand 1 x 1] - depthwise 3 x 3 - project 1 x 1 without activation, and a shortcut where the shape stays. */
static en_ref inverted_residual(net_builder *b, en_ref x, int expand, int out, int stride)
{
    int in = net_channels(b, x), hidden = in * expand, module = 0, conv = net_enter(b, "conv");
    char name[16], norm[16];
    en_ref y = x;
    if (expand > 1) y = conv_bn_relu6(b, (snprintf(name, sizeof name, "%d", module++), name), y, hidden, 1, (en_conv){0});
    snprintf(name, sizeof name, "%d", module++);
    y = conv_bn_relu6(b, name, y, hidden, 3, (en_conv){.stride = stride, .pad = 1, .groups = hidden});
    snprintf(name, sizeof name, "%d", module++);
    snprintf(norm, sizeof norm, "%d", module++);
    y = net_batch_norm(b, norm, net_conv(b, name, y, out, 1, (en_conv){0}, 0));
    net_leave(b, conv);
    return net_name(b, "", stride == 1 && in == out ? en_add(b->g, x, y) : y);
}

en_ref net_build_mobilenet(net_builder *b, en_ref x)
{
    static const struct {
        int expand, out, blocks, stride;
    } stages[7] = {{1, 16, 1, 1}, {6, 24, 2, 2}, {6, 32, 3, 2}, {6, 64, 4, 2}, {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};
    int module = 1, features = net_enter(b, "features");
    x = conv_bn_relu6(b, "0", x, 32, 3, (en_conv){.stride = 2, .pad = 1});
    for (int i = 0; i < 7; i++)
        for (int j = 0; j < stages[i].blocks; j++) {
            int block = net_enter(b, "%d", module++);
            x = inverted_residual(b, x, stages[i].expand, stages[i].out, j ? 1 : stages[i].stride);
            net_leave(b, block);
        }
    x = conv_bn_relu6(b, "18", x, 1280, 1, (en_conv){0});
    net_leave(b, features);
    return net_linear(b, "classifier.1", en_global_avg_pool(b->g, x), b->classes);
}
