/* SPDX-License-Identifier: MIT */
/* Packing of weights into panels. */
#include "engine/ops/panels.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

panel_form panels_for(int outputs, int channels, int groups, int taps)
{
    panel_form f = {outputs, channels, groups, taps, en_blocks(outputs), channels};
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

size_t panels_floats(const panel_form *f) { return (size_t)f->panels * (size_t)f->taps * (size_t)f->depth * EN_LANES; }

int panel_lo(const panel_form *f, int panel)
{
    if (f->groups == 1) return 0;
    int lo = panel * EN_LANES / (f->outputs / f->groups) * (f->channels / f->groups) / EN_LANES * EN_LANES;
    int most = en_blocks(f->channels) * EN_LANES - f->depth;
    return lo < most ? lo : most;
}

/* One panel from its rows of weights, [up to 16][C/groups][taps]. */
static void pack(const panel_form *f, int panel, const float *rows, float *out)
{
    int per_group = f->channels / f->groups, lo = panel_lo(f, panel), first = panel * EN_LANES;
    int lanes = f->outputs - first < EN_LANES ? f->outputs - first : EN_LANES;
    size_t length = (size_t)per_group * (size_t)f->taps;
    if (lanes < EN_LANES || f->groups > 1) memset(out, 0, (size_t)f->taps * (size_t)f->depth * EN_LANES * sizeof *out);
    for (int c = 0; c < per_group; c++)
        for (int t = 0; t < f->taps; t++)
            for (int lane = 0; lane < lanes; lane++) {
                int group = (first + lane) / (f->outputs / f->groups);
                size_t k = (size_t)t * (size_t)f->depth + (size_t)(group * per_group + c - lo);
                out[k * EN_LANES + (size_t)lane] = rows[(size_t)lane * length + (size_t)c * (size_t)f->taps + (size_t)t];
            }
}

void panels_pack(const panel_form *f, const float *weights, float *out)
{
    size_t rows = EN_LANES * (size_t)(f->channels / f->groups) * (size_t)f->taps, panel = panels_floats(f) / (size_t)f->panels;
    for (int p = 0; p < f->panels; p++) pack(f, p, weights + (size_t)p * rows, out + (size_t)p * panel);
}

typedef struct prepare_job {
    const panel_form *form;
    en_params *params;
    en_pool *pool;
    const char *key;
    const en_shape *shape;
    float *out;
    en_error *errors; /* one per panel */
} prepare_job;

static void prepare_panel(void *arg, int panel, int worker)
{
    (void)worker;
    const prepare_job *j = arg;
    const panel_form *f = j->form;
    size_t length = (size_t)(f->channels / f->groups) * (size_t)f->taps;
    size_t first = (size_t)panel * EN_LANES * length, all = (size_t)f->outputs * length;
    size_t count = all - first < EN_LANES * length ? all - first : EN_LANES * length;
    en_error *e = &j->errors[panel];
    float *rows = malloc(count * sizeof *rows);
    if (!rows) {
        en_fail(e, EN_E_NOMEM, "%s: no memory to pack %zu weights", j->key, count);
        return;
    }
    if (en_params_read(j->params, j->key, j->shape, first, count, rows, e) == EN_OK)
        pack(f, panel, rows, j->out + (size_t)panel * (panels_floats(f) / (size_t)f->panels));
    free(rows);
}

static en_status make_panels(void *arg, float *data, en_error *e)
{
    prepare_job *j = arg;
    j->out = data;
    j->errors = calloc((size_t)j->form->panels, sizeof *j->errors);
    if (!j->errors) return en_fail(e, EN_E_NOMEM, "%s: out of memory", j->key);
    en_parallel(j->pool, j->form->panels, prepare_panel, j);
    en_status status = EN_OK;
    for (int p = 0; p < j->form->panels && status == EN_OK; p++)
        if (j->errors[p].status != EN_OK) status = en_fail(e, j->errors[p].status, "%s", j->errors[p].text);
    free(j->errors);
    return status;
}

en_status panels_prepare(en_graph *g, en_node *n, const panel_form *f, en_error *e)
{
    const en_node *w = en_node_at(g, n->in[1]);
    char name[512];
    snprintf(name, sizeof name, "%s/panels", w->key);
    prepare_job job = {.form = f, .params = en_params_of(g), .pool = en_pool_of(g), .key = w->key, .shape = &w->shape};
    return en_params_blob(en_params_of(g), name, panels_floats(f), make_panels, &job, &n->prepared, e);
}

const float *panels_of(const en_call *c, const panel_form *f, const float *weights)
{
    if (c->node->prepared) return c->node->prepared;
    panels_pack(f, weights, c->scratch);
    return c->scratch;
}
