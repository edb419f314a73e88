/* SPDX-License-Identifier: MIT */
/* ResNet v1.5 and ResNeXt (arXiv:1512.03385, 1611.05431), with the stride on the 3 x 3 convolution as torchvision has it: a stem, four
 * stages of residual blocks, the mean over positions, one linear layer.
 * Numbers: blocks of the four stages, width of the first stage, groups (0: basic blocks of two 3 x 3 convolutions). */
#include "nets/build.h"

en_ref net_build_resnet(net_builder *b, en_ref x);

enum { WIDTH = 4, GROUPS = 5 };

/* The shortcut: x itself, or projected where the shape changes. */
static en_ref shortcut(net_builder *b, en_ref x, int out, int stride)
{
    if (stride == 1 && net_channels(b, x) == out) return x;
    return net_batch_norm(b, "downsample.1", net_conv(b, "downsample.0", x, out, 1, (en_conv){.stride = stride}, 0));
}

static en_ref basic(net_builder *b, en_ref x, int width, int stride)
{
    en_graph *g = b->g;
    en_ref y = en_relu(g, net_batch_norm(b, "bn1", net_conv(b, "conv1", x, width, 3, (en_conv){.stride = stride, .pad = 1}, 0)));
    y = net_batch_norm(b, "bn2", net_conv(b, "conv2", y, width, 3, (en_conv){.pad = 1}, 0));
    return en_relu(g, en_add(g, y, shortcut(b, x, width, stride)));
}

static en_ref bottleneck(net_builder *b, en_ref x, int width, int out, int stride, int groups)
{
    en_graph *g = b->g;
    en_ref y = en_relu(g, net_batch_norm(b, "bn1", net_conv(b, "conv1", x, width, 1, (en_conv){0}, 0)));
    y = en_relu(g, net_batch_norm(b, "bn2", net_conv(b, "conv2", y, width, 3, (en_conv){.stride = stride, .pad = 1, .groups = groups}, 0)));
    y = net_batch_norm(b, "bn3", net_conv(b, "conv3", y, out, 1, (en_conv){0}, 0));
    return en_relu(g, en_add(g, y, shortcut(b, x, out, stride)));
}

en_ref net_build_resnet(net_builder *b, en_ref x)
{
    const int *number = b->arch->number, groups = number[GROUPS];
    x = net_batch_norm(b, "bn1", net_conv(b, "conv1", x, 64, 7, (en_conv){.stride = 2, .pad = 3}, 0));
    x = net_name(b, "relu", en_relu(b->g, x));
    x = net_name(b, "maxpool", en_max_pool(b->g, x, 3, 2, 1));
    for (int stage = 0; stage < 4; stage++) {
        int mark = net_enter(b, "layer%d", stage + 1), width = number[WIDTH] << stage;
        for (int i = 0; i < number[stage]; i++) {
            int block = net_enter(b, "%d", i), stride = i == 0 && stage > 0 ? 2 : 1;
            x = groups ? bottleneck(b, x, width, 256 << stage, stride, groups) : basic(b, x, width, stride);
            x = net_name(b, "", x);
            net_leave(b, block);
        }
        x = net_name(b, "", x);
        net_leave(b, mark);
    }
    return net_linear(b, "fc", en_global_avg_pool(b->g, x), b->classes);
}
