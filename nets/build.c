/* SPDX-License-Identifier: MIT */
/* Scopes, names and parameters while a network is being written. */
#include "nets/build.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int net_enter(net_builder *b, const char *format, ...)
{
    size_t used = strlen(b->scope), room = sizeof b->scope - used;
    int mark = (int)used, dot = used ? snprintf(b->scope + used, room, ".") : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(b->scope + used + dot, room - (size_t)dot, format, args);
    va_end(args);
    return mark;
}

void net_leave(net_builder *b, int mark) { b->scope[mark] = 0; }

static void full_name(const net_builder *b, const char *name, char out[sizeof b->scope * 2])
{
    snprintf(out, sizeof b->scope * 2, "%s%s%s", b->scope, *b->scope && *name ? "." : "", name);
}

en_ref net_name(net_builder *b, const char *name, en_ref x)
{
    if (x == EN_NONE) return x;
    if (b->count == b->room) {
        int room = b->room ? 2 * b->room : 64;
        net_layer *grown = realloc(b->layers, (size_t)room * sizeof *grown);
        if (!grown) return en_graph_error(b->g, EN_E_NOMEM, "%s: out of memory", b->arch->name), EN_NONE;
        b->layers = grown;
        b->room = room;
    }
    char full[sizeof b->scope * 2];
    full_name(b, name, full);
    net_layer *l = &b->layers[b->count++];
    l->ref = x;
    l->rows = b->rows;
    l->columns = b->columns;
    snprintf(l->name, sizeof l->name, "%.*s", (int)sizeof l->name - 1, full);
    return en_name(b->g, x, l->name);
}

void net_tokens(net_builder *b, int rows, int columns)
{
    b->rows = rows;
    b->columns = columns;
}

en_ref net_param(net_builder *b, const char *name, int rank, const int dim[])
{
    char full[sizeof b->scope * 2];
    full_name(b, name, full);
    return en_param(b->g, full, rank, dim);
}

int net_channels(const net_builder *b, en_ref x) { return x == EN_NONE ? 1 : en_shape_of(b->g, x)->dim[1]; }

static en_ref part(net_builder *b, const char *name, const char *leaf, int rank, const int dim[])
{
    int mark = net_enter(b, "%s", name);
    en_ref p = net_param(b, leaf, rank, dim);
    net_leave(b, mark);
    return p;
}

en_ref net_conv(net_builder *b, const char *name, en_ref x, int out, int window, en_conv options, int bias)
{
    int groups = options.groups ? options.groups : 1;
    en_ref w = part(b, name, "weight", 4, (int[]){out, net_channels(b, x) / groups, window, window});
    return net_name(b, name, en_conv2d(b->g, x, w, bias ? part(b, name, "bias", 1, &out) : EN_NONE, options));
}

en_ref net_batch_norm(net_builder *b, const char *name, en_ref x)
{
    int c = net_channels(b, x);
    return net_name(b, name, en_batch_norm(b->g, x, part(b, name, "weight", 1, &c), part(b, name, "bias", 1, &c), part(b, name, "running_mean", 1, &c),
                                           part(b, name, "running_var", 1, &c), 1e-5f));
}

en_ref net_linear(net_builder *b, const char *name, en_ref x, int out)
{
    en_ref w = part(b, name, "weight", 2, (int[]){out, net_channels(b, x)});
    return net_name(b, name, en_linear(b->g, x, w, part(b, name, "bias", 1, &out)));
}
