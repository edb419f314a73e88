/* SPDX-License-Identifier: MIT */
/* Parameters that are made up from their names. */
#include "tests/engine/made_up.h"

#include "tests/test.h"

#include <stdio.h>
#include <string.h>

/* Numbers that depend on key and place alone: weights in -0.3 .. 0.3, variances in 0.5 .. 1.5; "three" is all 3, "five" all 5. */
static en_status read_made_up(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out,
                              en_error *e)
{
    (void)self;
    (void)e;
    uint64_t h = 14695981039346656037u; /* FNV-1a */
    for (const char *p = key; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    for (size_t i = first; i < first + count && i < en_count(shape); i++) {
        uint64_t z = (h + i) * 0x9E3779B97F4A7C15u;
        double u = (double)((z ^ (z >> 29)) * 0xBF58476D1CE4E5B9u >> 11) * 0x1p-53;
        *out++ = !strcmp(key, "three") ? 3 : !strcmp(key, "five") ? 5 : (float)(strstr(key, "var") ? 0.5 + u : 0.6 * u - 0.3);
    }
    return EN_OK;
}

en_params *made_up_params(void)
{
    en_params *p;
    en_error e = {0};
    CHECK_OK(en_params_new((en_source){.read = read_made_up}, &p, &e), e);
    return p;
}

en_ref made_up(en_graph *g, const char *layer, const char *name, int rank, int a, int b, int c, int d)
{
    char key[64];
    snprintf(key, sizeof key, "%s.%s", layer, name);
    return en_param(g, key, rank, (int[]){a, b, c, d});
}

en_ref conv_bn(en_graph *g, const char *layer, en_ref x, int in, int out, int window, en_conv o)
{
    x = en_conv2d(g, x, made_up(g, layer, "weight", 4, out, in / (o.groups ? o.groups : 1), window, window), EN_NONE, o);
    return en_batch_norm(g, x, made_up(g, layer, "gamma", 1, out, 0, 0, 0), made_up(g, layer, "beta", 1, out, 0, 0, 0),
                         made_up(g, layer, "mean", 1, out, 0, 0, 0), made_up(g, layer, "var", 1, out, 0, 0, 0), 1e-5f);
}

int lines_with(const char *text, const char *op, const char *steps)
{
    int count = 0;
    for (const char *line = text, *end; *line; line = end + 1) {
        end = strchr(line, '\n');
        const char *a = strstr(line, op), *b = strstr(line, steps);
        count += a && b && a < end && b < end;
    }
    return count;
}
