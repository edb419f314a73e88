/* SPDX-License-Identifier: MIT */
/* A checkpoint file with the seeded values of a network, to be opened as it is or spoilt first. */
#ifndef TESTS_NETS_CHECKPOINT_H
#define TESTS_NETS_CHECKPOINT_H

#include "weights/store.h"

enum { T_MAX_TENSORS = 400 };

typedef struct t_checkpoint {
    wt_array array[T_MAX_TENSORS]; /* names and data are owned */
    size_t count;
} t_checkpoint;

/* Every parameter of the network, in the order of its page. */
void t_checkpoint_make(const char *net, t_checkpoint *out);
void t_checkpoint_free(t_checkpoint *c);

/* Names a new file in the folder for temporary ones; the caller removes it. */
void t_temporary(char path[128]);

/* Writes the whole network to a new file. */
void t_checkpoint_save(const char *net, char path[128]);

#endif
