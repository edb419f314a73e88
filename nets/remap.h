/* SPDX-License-Identifier: MIT */
/* A checkpoint under our names. Official files of one network come in several layouts: the tensors are the same, their names are not. A view
 * lists the tensors of a file under the names that the pages of nets/ ask for, sorted; data stays where it is. What it does, in this order:
 *
 *     leaves out    constants and counters that pages do not want: relative_position_index, attn_mask, num_batches_tracked
 *     --map         what the user's file says about a tensor is final
 *     --strip       the user's prefix is taken off where a name has it
 *     wrappers      module. model. backbone. _orig_mod. are taken off while every name has them
 *     layouts       other libraries' names for these networks (nets/layouts.c)
 *
 * Two tensors that would get one name are an error that tells both. */
#ifndef NETS_REMAP_H
#define NETS_REMAP_H

#include "nets/nets.h"
#include "weights/store.h"

/* What a user may say about names; {0} says nothing. */
typedef struct net_remap {
    const char *map;   /* a file with a line OLD NEW for each tensor: OLD as the checkpoint has it. Names that end in a dot stand for
                          everything below them; NEW may be - : leave it out. Lines without words or with # in front do not count. */
    const char *strip; /* a prefix, "student." */
} net_remap;

typedef struct net_view_entry {
    wt_tensor tensor;       /* to read with wt_read: the file's, but under our name (owned by the view), and perhaps with merged dimensions */
    const wt_tensor *from;  /* as the file has it */
} net_view_entry;

struct net_view {
    const wt_store *store;  /* must outlive the view */
    net_view_entry *entry;  /* [count], sorted by tensor.name, owned */
    size_t count;
};

/* `remap` may be NULL. On failure *out is {0}. EN_E_ARG: a line of the map, or the prefix, fits no tensor. EN_E_FORMAT: two tensors would
 * have the same name. */
en_status net_view_open(const wt_store *store, const net_remap *remap, net_view *out, en_error *e);
void net_view_close(net_view *view); /* {0} is fine */

const net_view_entry *net_view_find(const net_view *view, const char *name); /* NULL if absent */

/* The number of classes of a checkpoint of this network: the rows of its classifier. */
en_status net_view_classes(const net_view *view, const net_arch *arch, int *classes, en_error *e);

/* Finds the network whose parameters are these tensors, no more and no fewer, with these shapes (whatever the number of classes is). The
 * message of a failure names the network that comes nearest and the first tensor that does not fit it. */
en_status net_recognise(const net_view *view, const net_arch **arch, int *classes, en_error *e);

#endif
