/* SPDX-License-Identifier: MIT */
/* The 1000 classes of ImageNet-1k, compiled in: index in the logits, WordNet id, name. */
#ifndef NETS_LABELS_H
#define NETS_LABELS_H

#include "engine/status.h"

enum { NET_CLASSES = 1000 };

typedef struct net_class {
    char wnid[12]; /* "n02099712"          */
    char name[48]; /* "Labrador retriever" */
} net_class;

/* 0 <= index < NET_CLASSES; both texts are empty otherwise. */
net_class net_class_at(int index);

/* Finds a class by decimal index, WordNet id or name. Only letters and digits count, in either case: "granny-smith" is
 * "Granny Smith". A whole name wins; otherwise part of a name will do if no other class has it. Only where two classes differ
 * in case alone must that be right: "Cardigan" is a dog, "cardigan" a garment. The message of a failure names the candidates. */
en_status net_class_find(const char *text, int *index, en_error *e);

#endif
