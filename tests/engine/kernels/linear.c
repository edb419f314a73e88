/* SPDX-License-Identifier: MIT */
/* The kernels of linear layers against one sum after the other. */
#include "tests/engine/kernels/scalar.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const steps plain = {0};

/* Where the weight of input k and output o lies: panels in pairs, an odd one at the end alone. */
static size_t place(int depth, int panels, int k, int o)
{
    int pair = o / 32, width = pair * 2 + 1 == panels ? 16 : 32;
    return (size_t)(pair * 32 * depth + k * width + o % 32);
}

/* Chains of whole blocks of 16, as few and as equal as can be. An input that is zero has no weight. */
static float chained(const kn_table *k, const kn_linear *g, int row, int o)
{
    int blocks = (g->depth + 15) / 16, chains = 1;
    while (chains * (KN_CHAIN / 16) < blocks) chains++;
    int length = (blocks / chains + (blocks % chains != 0)) * 16;
    float total = g->add ? g->y[row * g->y_row + o] : 0;
    for (int from = 0; from < g->depth; from += length) {
        float chain = 0;
        for (int i = from; i < g->depth && i < from + length; i++) {
            float x = g->x[row * g->x_row + i];
            if (x != 0) chain = multiply_add(k, x, g->w[place(g->depth, g->panels, i, o)], chain);
        }
        total = from || g->add ? total + chain : chain;
    }
    return total;
}

/* Every third input is zero in all rows, and its weights are NaN; others are zero in some rows only. A residual in place stands for `add`. */
static void try_linear(const kn_table *k, int rows, int panels, int depth, const steps *s)
{
    int x_row = (depth + 15) / 16 * 16 + 16, y_row = panels * 16 + 16;
    buffer x = buffer_new((size_t)(rows * x_row)), w = buffer_random((size_t)(panels * depth * 16)), y = buffer_new((size_t)(rows * y_row));
    for (int i = 0; i < depth; i++)
        for (int r = 0; r < rows; r++) x.at[r * x_row + i] = i % 3 == 1 || (i + r) % 4 == 0 ? 0 : (float)t_uniform(-1, 1);
    for (int i = 1; i < depth; i += 3)
        for (int o = 0; o < panels * 16; o++) w.at[place(depth, panels, i, o)] = NAN;
    ending e = ending_of(s, (size_t)panels * 16, &y);
    buffer want = buffer_copy(&y);
    kn_linear g = {.x = x.at, .x_row = x_row, .w = w.at, .y = y.at, .y_row = y_row, .rows = rows, .depth = depth, .panels = panels,
                   .add = s->residual == IN_PLACE, .epilogue = e.e};
    if (g.add) g.epilogue.residual = NULL;
    for (int r = 0; r < rows; r++)
        for (int o = 0; o < panels * 16; o++) {
            ptrdiff_t at = r * y_row + o;
            want.at[at] = finish(k, &g.epilogue, chained(k, &g, r, o), (size_t)o, at, r < g.epilogue.biased);
        }
    k->linear(&g);
    char what[160];
    snprintf(what, sizeof what, "%s linear, %d rows, %d panels, depth %d, bias %d of %d, affine %d, residual %d, act %d", k->name, rows, panels, depth,
             s->bias, s->biased, s->affine, s->residual, s->act);
    check_same(what, y, want);
    free(x.memory);
    free(w.memory);
    ending_free(&e);
}

static void try_linear_epilogue(const kn_table *k, const steps *s)
{
    try_linear(k, 3, 3, 17, s);
    if (s->biased == 2) try_linear(k, 3, 19, 300, s); /* sums are parked on the way */
}

void sweep_linear(const kn_table *k)
{
    static const int deep[] = {143, 144, 145, 160, 161, 288, 289, 513, 1040};
    for (int rows = 1; rows <= 9; rows++)
        for (int panels = 1; panels <= 18; panels++) try_linear(k, rows, panels, 5 + rows + panels, &plain);
    for (int depth = 1; depth <= 33; depth++) try_linear(k, 1 + depth % 7, 1 + depth % 5, depth, &plain);
    for (size_t i = 0; i < sizeof deep / sizeof *deep; i++) try_linear(k, 1 + (int)i % 5, 3, deep[i], &plain);
    each_epilogue(k, 3, try_linear_epilogue);
}

/* Inputs first .. of a few more; gradients of the others are NaN and stay so. If only what is not zero in some of `live_rows` rows is wanted, every third
 * input is zero in all, and has weights that are NaN. */
static void try_linear_t(const kn_table *k, int rows, int panels, int first, int depth, int live_rows)
{
    int inputs = first + depth + 3, gy_row = panels * 16 + 16, gx_row = inputs + 5;
    buffer gy = buffer_random((size_t)(rows * gy_row)), w = buffer_random((size_t)(panels * inputs * 16)), gx = buffer_new((size_t)(rows * gx_row));
    kn_linear_t g = {.gy = gy.at, .gy_row = gy_row, .w = w.at, .inputs = inputs, .first = first, .depth = depth, .panels = panels, .rows = rows,
                     .gx = gx.at, .gx_row = gx_row};
    buffer live = buffer_random((size_t)(live_rows + 1) * (size_t)gx_row);
    for (int r = 0; r < live_rows; r++)
        for (int i = 0; i < inputs; i++)
            if (i % 3 == 1 || (i + r) % 4 == 0) live.at[r * gx_row + i] = 0;
    for (int i = 1; i < inputs && live_rows; i += 3)
        for (int o = 0; o < panels * 16; o++) w.at[place(inputs, panels, i, o)] = NAN;
    if (live_rows) g.live = live.at, g.live_rows = live_rows;
    for (int r = 0; r < rows; r++)
        for (int i = first; i < first + depth; i++) gx.at[r * gx_row + i] = (float)t_uniform(-1, 1);
    buffer want = buffer_copy(&gx);
    for (int r = 0; r < rows; r++)
        for (int i = first; i < first + depth; i++) {
            if (live_rows && i % 3 == 1) continue; /* stays as it is */
            if (live_rows && live.at[r % live_rows * gx_row + i] == 0) gx.at[r * gx_row + i] = want.at[r * gx_row + i] = NAN; /* whatever becomes of it */
            float sum[16] = {0};
            for (int o = 0; o < panels * 16; o++)
                sum[o % 16] = multiply_add(k, w.at[place(inputs, panels, i, o)], gy.at[r * gy_row + o], sum[o % 16]);
            want.at[r * gx_row + i] += sum16(sum);
        }
    k->linear_t(&g);
    char what[120];
    snprintf(what, sizeof what, "%s linear_t, %d rows, %d panels, inputs %d and %d more, %d rows live", k->name, rows, panels, first, depth, live_rows);
    check_same(what, gx, want);
    free(live.memory);
    free(gy.memory);
    free(w.memory);
}

void sweep_linear_t(const kn_table *k)
{
    for (int rows = 1; rows <= 9; rows++)
        for (int panels = 1; panels <= 18; panels++) try_linear_t(k, rows, panels, panels * 7 % 64, 1 + (rows * 9 + panels) % KN_T_DEPTH, panels % 4);
    for (int depth = 1; depth <= KN_T_DEPTH; depth++)
        for (int live_rows = 0; live_rows <= 2; live_rows++) try_linear_t(k, 1 + depth % 7, 1 + depth % 3, depth % 2 * 64, depth, live_rows);
}
