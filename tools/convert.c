/* SPDX-License-Identifier: MIT */
/* The plan of a conversion. */
#include "tools/convert.h"
#include "engine/op.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static en_status no_memory(en_error *e) { return en_fail(e, EN_E_NOMEM, "out of memory"); }

/* ---- reading what is to be written ---- */

static en_status read_item(const wt_output *out, size_t first, size_t count, void *data, en_error *e)
{
    const convert_item *item = out->self;
    float *x = data;
    if (*item->stop) return en_fail(e, EN_E_CANCELLED, "interrupted");
    if (item->values) return memcpy(x, item->values + first, count * sizeof *x), EN_OK;
    if (!item->tensor) return memset(x, 0, count * wt_dtype_size(out->from)), EN_OK;
    if (out->from == item->tensor->dtype && !item->scale) return wt_read_raw(item->store, item->tensor, first, count, data, e);
    EN_TRY(wt_read(item->store, item->tensor, first, count, x, e));
    size_t row = item->scale ? wt_elements(item->tensor) / (size_t)item->tensor->dim[0] : 1;
    for (size_t i = 0; i < count && item->scale; i++) x[i] *= item->scale[(first + i) / row];
    return EN_OK;
}

/* Large tensors get the dtype asked for; of what has one axis, biases and norms, nothing is gained and running variances are lost
 * in float16's range, so it stays float32. */
static wt_output output_of(const convert_item *item, int rank, const int64_t *dim, int dtype)
{
    wt_output out = {.name = item->key, .rank = rank, .read = read_item, .self = item};
    out.dtype = rank > 1 && dtype >= 0 ? (wt_dtype)dtype : WT_F32;
    if (item->tensor && (dtype < 0 || item->tensor->dtype > WT_BF16)) out.dtype = item->tensor->dtype;
    out.from = item->tensor && item->tensor->dtype == out.dtype ? out.dtype : WT_F32;
    for (int i = 0; i < rank; i++) out.dim[i] = dim[i];
    return out;
}

/* ---- which tensor is what ---- */

static int is_listed(const char *list, const char *name)
{
    size_t n = strlen(name);
    for (; list && *list; list += strcspn(list, ","), list += *list == ',')
        if (strcspn(list, ",") == n && !strncmp(list, name, n)) return 1;
    return 0;
}

static en_status check_shape(const wt_store *store, const convert_item *item, const en_shape *want, en_error *e)
{
    const wt_tensor *t = item->tensor;
    char wanted[64];
    int same = t->rank == want->rank;
    for (int i = 0; same && i < t->rank; i++) same = t->dim[i] == want->dim[i];
    if (!same) {
        char found[128] = "";
        for (int i = 0; i < t->rank; i++)
            snprintf(found + strlen(found), sizeof found - strlen(found), i ? ", %lld" : "%lld", (long long)t->dim[i]);
        return en_fail(e, EN_E_FORMAT, "%s: tensor '%s' is [%s], want %s", wt_path(store), item->from->name, found,
                       en_shape_text(want, wanted));
    }
    if (t->dtype <= WT_BF16) return EN_OK;
    return en_fail(e, EN_E_FORMAT, "%s: tensor '%s' holds %s, want floating point", wt_path(store), item->from->name, wt_dtype_name(t->dtype));
}

/* One parameter of the network. */
static en_status plan_parameter(convert_plan *p, const wt_store *store, const convert_options *o, en_ref x, en_error *e)
{
    const en_shape *shape = en_shape_of(p->model.graph, x);
    const net_view_entry *found = net_view_find(&p->view, en_key_of(p->model.graph, x));
    convert_item *item = &p->item[p->count];
    *item = (convert_item){.key = en_key_of(p->model.graph, x), .store = store, .stop = o->stop};
    if (found) {
        item->tensor = &found->tensor;
        item->from = found->from;
        EN_TRY(check_shape(store, item, shape, e));
    } else {
        p->missing[p->missing_count++] = item->key;
        p->forbidden += !is_listed(o->allow_missing, item->key);
    }
    int64_t dim[EN_MAX_RANK];
    for (int i = 0; i < shape->rank; i++) dim[i] = shape->dim[i];
    p->output[p->count++] = output_of(item, shape->rank, dim, o->dtype);
    return EN_OK;
}

static en_status allocate(convert_plan *p, size_t items, size_t tensors, en_error *e)
{
    p->item = calloc(items + 1, sizeof *p->item);
    p->output = calloc(items + 1, sizeof *p->output);
    p->missing = calloc(items + 1, sizeof *p->missing);
    p->made = calloc(items + 1, sizeof *p->made);
    p->unused = calloc(tensors + 1, sizeof *p->unused);
    return p->item && p->output && p->missing && p->made && p->unused ? EN_OK : no_memory(e);
}

/* What no item comes from. */
static en_status find_unused(convert_plan *p, const wt_store *store, en_error *e)
{
    char *used = calloc(1, wt_count(store) + 1);
    if (!used) return no_memory(e);
    for (size_t i = 0; i < p->count; i++)
        if (p->item[i].from) used[p->item[i].from - wt_at(store, 0)] = 1;
    for (size_t i = 0; i < wt_count(store); i++)
        if (!used[i]) p->unused[p->unused_count++] = wt_at(store, i);
    free(used);
    return EN_OK;
}

static en_status plan_network(convert_plan *p, const wt_store *store, const convert_options *o, en_error *e)
{
    EN_TRY(net_view_open(store, o->remap, &p->view, e));
    if (net_same_name(o->net, "auto")) {
        EN_TRY(net_recognise(&p->view, &p->arch, &p->classes, e));
    } else {
        p->arch = net_arch_find(o->net);
        if (!p->arch) return en_fail(e, EN_E_ARG, "no network is called '%s'", o->net);
        EN_TRY(net_view_classes(&p->view, p->arch, &p->classes, e));
    }
    net_recipe native = p->arch->recipe();
    EN_TRY(net_model_build(p->arch, p->classes, 1, native.crop_height, native.crop_width, NULL, &p->model, e));
    EN_TRY(allocate(p, (size_t)en_nodes(p->model.graph), wt_count(store), e));
    for (en_ref x = 0; x < en_nodes(p->model.graph); x++)
        if (en_key_of(p->model.graph, x)) EN_TRY(plan_parameter(p, store, o, x, e));
    return find_unused(p, store, e);
}

/* Without a network: every tensor. */
static en_status plan_all(convert_plan *p, const wt_store *store, const convert_options *o, en_error *e)
{
    EN_TRY(allocate(p, wt_count(store), 0, e));
    for (; p->count < wt_count(store); p->count++) {
        const wt_tensor *t = wt_at(store, p->count);
        p->item[p->count] = (convert_item){.key = t->name, .tensor = t, .from = t, .store = store, .stop = o->stop};
        p->output[p->count] = output_of(&p->item[p->count], t->rank, t->dim, o->dtype);
    }
    return EN_OK;
}

en_status convert_plan_make(const wt_store *store, const convert_options *o, convert_plan *out, en_error *e)
{
    *out = (convert_plan){0};
    return o->net ? plan_network(out, store, o, e) : plan_all(out, store, o, e);
}

void convert_plan_free(convert_plan *p)
{
    for (size_t i = 0; i < p->made_count; i++) free(p->made[i]);
    free(p->made);
    free(p->item);
    free(p->output);
    free(p->missing);
    free(p->unused);
    net_model_free(&p->model);
    net_view_close(&p->view);
    *p = (convert_plan){0};
}

/* ---- folding ---- */

static convert_item *item_of(convert_plan *p, en_ref x)
{
    const char *key = en_key_of(p->model.graph, x);
    for (size_t i = 0; i < p->count; i++)
        if (!strcmp(p->item[i].key, key)) return &p->item[i];
    return NULL; /* never: each parameter has one */
}

/* An array that lives as long as the plan. */
static float *make_array(convert_plan *p, size_t n)
{
    float *a = malloc(n * sizeof *a + 1);
    if (a) p->made[p->made_count++] = a;
    return a;
}

/* The values of a batch norm's parameter, to be replaced in place. */
static en_status take_values(convert_plan *p, convert_item *item, size_t n, float **out, en_error *e)
{
    if (!(*out = make_array(p, n))) return no_memory(e);
    memset(*out, 0, n * sizeof **out);
    item->values = *out;
    return item->tensor ? wt_read(item->store, item->tensor, 0, n, *out, e) : EN_OK;
}

static en_status fold(convert_plan *p, const en_node *norm, const en_node *conv, en_error *e)
{
    enum { X, GAMMA, BETA, MEAN, VAR, INPUTS };
    size_t n = (size_t)norm->shape.dim[1];
    float *in[INPUTS];
    for (int k = GAMMA; k <= VAR; k++) EN_TRY(take_values(p, item_of(p, norm->in[k]), n, &in[k], e));
    float *scale = make_array(p, n);
    if (!scale) return no_memory(e);
    for (size_t c = 0; c < n; c++) {
        double s = (double)in[GAMMA][c] / sqrt((double)in[VAR][c] + (double)norm->attr.eps);
        scale[c] = (float)s;
        in[BETA][c] = (float)((double)in[BETA][c] - (double)in[MEAN][c] * s);
        in[GAMMA][c] = 1;
        in[MEAN][c] = 0;
        in[VAR][c] = (float)(1 - (double)norm->attr.eps);
    }
    for (int k = 1; k < conv->inputs; k++) item_of(p, conv->in[k])->scale = scale; /* weight, and bias if it has one */
    return EN_OK;
}

en_status convert_fold(convert_plan *p, en_error *e)
{
    for (en_ref x = 0; x < en_nodes(p->model.graph); x++) {
        const en_node *norm = en_node_at(p->model.graph, x), *conv = NULL;
        if (norm->op && !strcmp(norm->op->name, "batch_norm")) conv = en_node_at(p->model.graph, norm->in[0]);
        if (conv && conv->op && !strcmp(conv->op->name, "conv2d")) EN_TRY(fold(p, norm, conv, e));
    }
    for (size_t i = 0; i < p->count; i++) {
        if (!p->item[i].scale && !p->item[i].values) continue;
        p->output[i].from = WT_F32;
        if (p->output[i].dtype == WT_F64 || p->output[i].rank == 1) p->output[i].dtype = WT_F32;
    }
    return EN_OK;
}
