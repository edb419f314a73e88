/* SPDX-License-Identifier: MIT */
/* Names of classes: those of ImageNet-1k, which are compiled in, or a network's own. */
#ifndef NETS_LABELS_H
#define NETS_LABELS_H

#include "weights/camw.h"

enum { NET_CLASSES = 1000 };

typedef struct net_class {
    char wnid[12]; /* "n02099712"          */
    char name[48]; /* "Labrador retriever" */
} net_class;

/* ImageNet's, 0 <= index < NET_CLASSES; both texts are empty otherwise. */
net_class net_class_at(int index);

typedef struct net_labels {
    wt_class *of; /* [count]: id, perhaps empty, and name; owned */
    int count;
    char *text;   /* where they stand, owned; NULL: elsewhere    */
} net_labels;

/* ImageNet's; a text file's, a line NAME or ID<tab>NAME for each logit; some that must outlive the result; or "class 0", "class 1" .. for
 * classes whose names nobody knows. On failure *out is {0}. */
en_status net_labels_imagenet(net_labels *out, en_error *e);
en_status net_labels_read(const char *path, int count, net_labels *out, en_error *e);
en_status net_labels_from(const wt_class *classes, int count, net_labels *out, en_error *e);
en_status net_labels_numbered(int count, net_labels *out, en_error *e);
void net_labels_free(net_labels *labels); /* {0} is fine */

/* Finds a class by decimal index, id (WordNet's) or name. Only letters and digits count, in either case: "granny-smith" is
 * "Granny Smith". A whole name wins; otherwise part of a name will do if no other class has it. Only where two classes differ
 * in case alone must that be right: "Cardigan" is a dog, "cardigan" a garment. The message of a failure names the candidates. */
en_status net_class_find(const net_labels *labels, const char *text, int *index, en_error *e);

#endif
