/* SPDX-License-Identifier: MIT */
/* What other libraries call the same tensors. */
#ifndef NETS_LAYOUTS_H
#define NETS_LAYOUTS_H

enum { NET_MAX_KEY = 256 };

typedef struct net_layout {
    const char *sign; /* a tensor that only this layout has */
    void (*rename)(const char *name, char out[NET_MAX_KEY]); /* `out` holds the name as it is; names below NET_MAX_KEY / 2 letters */
    const char *flat; /* convolutions over the whole of a map, below this name, are our linear layers: [O,C,h,w] is [O,C*h*w]; or NULL */
} net_layout;

/* Number i, NULL past the end. The first whose sign is there is meant. */
const net_layout *net_layout_at(int i);

#endif
