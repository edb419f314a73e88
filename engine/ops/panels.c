/* SPDX-License-Identifier: MIT */
/* Packing of weights into panels. */
#include "engine/ops/panels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

panel_form panels_for(int outputs, int channels, int groups, int taps)
{
    panel_form f = {outputs, channels, groups, taps, en_blocks(outputs), channels, 1};
    if (groups == 1) return f;
    f.depth = 0;
    for (int p = 0; p < f.panels; p++) {
        int per_group = outputs / groups, last = p * EN_LANES + EN_LANES - 1;
        int hi = ((last < outputs ? last : outputs - 1) / per_group + 1) * (channels / groups);
        int lo = p * EN_LANES / per_group * (channels / groups) / EN_LANES * EN_LANES;
        int depth = en_blocks(hi - lo) * EN_LANES;
        if (depth > f.depth) f.depth = depth;
    }
    return f;
}

panel_form panels_for_linear(int outputs, int inputs)
{
    panel_form f = panels_for(outputs, inputs, 1, 1);
    f.side_by_side = KN_SIDE_BY_SIDE;
    return f;
}

size_t panels_floats(const panel_form *f) { return (size_t)f->panels * (size_t)f->taps * (size_t)f->depth * EN_LANES; }

int panel_lo(const panel_form *f, int panel)
{
    if (f->groups == 1) return 0;
    int lo = panel * EN_LANES / (f->outputs / f->groups) * (f->channels / f->groups) / EN_LANES * EN_LANES;
    int most = en_blocks(f->channels) * EN_LANES - f->depth;
    return lo < most ? lo : most;
}

/* `count` rows of weights [C/groups][taps] become as many columns of a panel, from `out` on, `step` floats between one input and the next. 16 elements
 * of each row at a time, so that a row's cache lines are read once, though rows lie a power of two apart. */
static inline __attribute__((always_inline)) void turn(const panel_form *f, size_t count, const float *rows, float *out, size_t step)
{
    float tile[EN_LANES][EN_LANES] = {{0}}, turned[EN_LANES][EN_LANES];
    size_t taps = (size_t)f->taps, depth = (size_t)f->depth, length = (size_t)(f->channels / f->groups) * taps;
    for (size_t first = 0; first < length; first += EN_LANES) {
        size_t n = length - first < EN_LANES ? length - first : EN_LANES, c = first / taps, t = first % taps;
        if (count == EN_LANES && n == EN_LANES) {
            en_transpose(rows + first, length, turned[0], EN_LANES);
        } else {
            for (size_t lane = 0; lane < count; lane++) memcpy(tile[lane], rows + lane * length + first, n * sizeof **tile);
            en_transpose(tile[0], EN_LANES, turned[0], EN_LANES);
        }
        for (size_t i = 0; i < n; i++) {
            memcpy(out + (t * depth + c) * step, turned[i], count * sizeof **turned);
            if (++t == taps) t = 0, c++;
        }
    }
}

/* One panel from its rows of weights, [up to 16][C/groups][taps], to its place among all of them. */
static void pack(const panel_form *f, int panel, const float *rows, float *panels)
{
    int per_group = f->channels / f->groups, of_group = f->outputs / f->groups, lo = panel_lo(f, panel), first = panel * EN_LANES;
    int lanes = f->outputs - first < EN_LANES ? f->outputs - first : EN_LANES;
    int left = panel / f->side_by_side * f->side_by_side, width = f->panels - left < f->side_by_side ? f->panels - left : f->side_by_side;
    size_t length = (size_t)per_group * (size_t)f->taps, inputs = (size_t)f->taps * (size_t)f->depth, step = (size_t)width * EN_LANES;
    float *out = panels + (size_t)left * inputs * EN_LANES + (size_t)(panel - left) * EN_LANES;
    for (size_t i = 0; i < inputs && (lanes < EN_LANES || f->groups > 1); i++) memset(out + i * step, 0, EN_LANES * sizeof *out);
    for (int lane = 0, count; lane < lanes; lane += count) { /* the outputs of one group */
        int group = (first + lane) / of_group, rest = (group + 1) * of_group - (first + lane);
        count = rest < lanes - lane ? rest : lanes - lane;
        const float *from = rows + (size_t)lane * length;
        float *to = out + (size_t)(group * per_group - lo) * step + lane;
        if (count == EN_LANES) turn(f, EN_LANES, from, to, step); /* copies of fixed size: no calls */
        else turn(f, (size_t)count, from, to, step);
    }
}

void panels_pack(const panel_form *f, const float *weights, float *out)
{
    size_t rows = EN_LANES * (size_t)(f->channels / f->groups) * (size_t)f->taps;
    for (int p = 0; p < f->panels; p++) pack(f, p, weights + (size_t)p * rows, out);
}

typedef struct panels_blob {
    panel_form form;
    en_params *params;
    const char *key;
    const en_shape *shape;
    size_t positions; /* that are added up */
} panels_blob;

/* rows [count][positions] becomes [count]. */
static void add_up(const float *rows, size_t count, size_t positions, float *sums)
{
    for (size_t i = 0; i < count; i++, rows += positions) {
        double sum = 0;
        for (size_t s = 0; s < positions; s++) sum += (double)rows[s];
        sums[i] = (float)sum;
    }
}

static en_status make_panel(const void *arg, int panel, float *data, en_error *e)
{
    const panels_blob *b = arg;
    const panel_form *f = &b->form;
    size_t length = (size_t)(f->channels / f->groups) * (size_t)f->taps, lanes = (size_t)f->outputs - (size_t)panel * EN_LANES;
    size_t count = (lanes < EN_LANES ? lanes : EN_LANES) * length, first = (size_t)panel * EN_LANES * length * b->positions, all = count * b->positions;
    const float *there = en_params_peek(b->params, b->key, b->shape, first, all);
    if (there && b->positions == 1) return pack(f, panel, there, data), EN_OK;
    float *rows = malloc((there ? count : all) * sizeof *rows);
    if (!rows) return en_fail(e, EN_E_NOMEM, "%s: no memory to pack %zu weights", b->key, count);
    en_status status = there ? EN_OK : en_params_read(b->params, b->key, b->shape, first, all, rows, e);
    if (status == EN_OK && b->positions > 1) add_up(there ? there : rows, count, b->positions, rows);
    if (status == EN_OK) pack(f, panel, rows, data);
    free(rows);
    return status;
}

static en_status prepare(en_graph *g, const en_node *n, const panel_form *f, int positions, const char *what, const float **out, en_error *e)
{
    const en_node *w = en_node_at(g, n->in[1]);
    char name[512];
    snprintf(name, sizeof name, "%s/%s", w->key, what);
    const panels_blob b = {*f, en_params_of(g), w->key, &w->shape, (size_t)positions};
    return en_params_blob(en_params_of(g), &(en_blob){name, panels_floats(f), f->panels, make_panel, &b, sizeof b}, out, e);
}

en_status panels_prepare(en_graph *g, en_node *n, const panel_form *f, en_error *e) { return prepare(g, n, f, 1, "panels", &n->prepared, e); }

en_status panels_prepare_sums(en_graph *g, const en_node *n, const panel_form *f, int positions, const float **out, en_error *e)
{
    char what[48];
    snprintf(what, sizeof what, "sums of %d", positions);
    return prepare(g, n, f, positions, what, out, e);
}

const float *panels_of(const en_call *c, const panel_form *f, const float *weights)
{
    if (c->node->prepared) return c->node->prepared;
    panels_pack(f, weights, c->scratch);
    return c->scratch;
}
