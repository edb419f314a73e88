/* SPDX-License-Identifier: MIT */
/* What a network's page is written with. Names are joined by dots to the scope in force: inside scope "layer1.0",
 * net_conv(b, "conv1", ..) reads "layer1.0.conv1.weight" and names its output "layer1.0.conv1". */
#ifndef NETS_BUILD_H
#define NETS_BUILD_H

#include "nets/nets.h"

struct net_builder {
    en_graph *g;
    const net_arch *arch;
    int classes;
    char scope[96];
    int rows, columns; /* what net_tokens said last */
    net_layer *layers;
    int count, room;
};

/* Enters a scope; returns what to give to net_leave. */
int net_enter(net_builder *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void net_leave(net_builder *b, int mark);

/* Names x as a layer that an explainer may ask for; an empty name stands for the scope itself. Returns x. */
en_ref net_name(net_builder *b, const char *name, en_ref x);

/* Layers that are named from here on are tokens: a class token, then rows x columns positions. 0, 0: maps again. */
void net_tokens(net_builder *b, int rows, int columns);

/* The parameter scope.name, e.g. net_param(b, "conv1.weight", 4, dims). */
en_ref net_param(net_builder *b, const char *name, int rank, const int dim[]);

/* Layers with their parameters. Convolutions have square windows; `bias` says if they have one. */
en_ref net_conv(net_builder *b, const char *name, en_ref x, int out, int window, en_conv options, int bias);
en_ref net_batch_norm(net_builder *b, const char *name, en_ref x); /* eps 1e-5, as in all networks here */
en_ref net_linear(net_builder *b, const char *name, en_ref x, int out);

/* Channels of x. */
int net_channels(const net_builder *b, en_ref x);

#endif
