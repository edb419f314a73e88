/* SPDX-License-Identifier: MIT */
/* VGG-16 without batch norm (arXiv:1409.1556, configuration D): five groups of 3 x 3 convolutions, each group followed by a 2 x 2 max
 * pool, then three linear layers. Module numbers are torchvision's, with convolution, ReLU and pool counted one by one. */
#include "nets/build.h"

#include <stdio.h>

en_ref net_build_vgg(net_builder *b, en_ref x);

en_ref net_build_vgg(net_builder *b, en_ref x)
{
    static const int groups[5][4] = {{64, 64}, {128, 128}, {256, 256, 256}, {512, 512, 512}, {512, 512, 512}};
    char name[16];
    int module = 0, features = net_enter(b, "features");
    for (int i = 0; i < 5; i++) {
        for (int j = 0; groups[i][j]; j++) {
            snprintf(name, sizeof name, "%d", module++);
            x = net_conv(b, name, x, groups[i][j], 3, (en_conv){.pad = 1}, 1);
            snprintf(name, sizeof name, "%d", module++);
            x = net_name(b, name, en_relu(b->g, x));
        }
        snprintf(name, sizeof name, "%d", module++);
        x = net_name(b, name, en_max_pool(b->g, x, 2, 2, 0));
    }
    net_leave(b, features);
    x = net_name(b, "avgpool", en_adaptive_avg_pool(b->g, x, 7, 7));
    x = en_flatten(b->g, x);
    x = net_name(b, "classifier.1", en_relu(b->g, net_linear(b, "classifier.0", x, 4096)));
    x = net_name(b, "classifier.4", en_relu(b->g, net_linear(b, "classifier.3", x, 4096)));
    return net_linear(b, "classifier.6", x, b->classes);
}
