/* SPDX-License-Identifier: MIT */
/* Small networks whose parameters are made up from their names. */
#ifndef TESTS_ENGINE_MADE_UP_H
#define TESTS_ENGINE_MADE_UP_H

#include "engine/engine.h"

en_params *made_up_params(void);

/* The parameter LAYER.NAME; dimensions beyond `rank` do not count. */
en_ref made_up(en_graph *g, const char *layer, const char *name, int rank, int a, int b, int c, int d);

/* A convolution with a square window, without bias, and batch norm. */
en_ref conv_bn(en_graph *g, const char *layer, en_ref x, int in, int out, int window, en_conv o);

/* Lines of en_graph_text in which first `op` and then `steps` stand. */
int lines_with(const char *text, const char *op, const char *steps);

#endif
