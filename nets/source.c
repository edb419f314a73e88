/* SPDX-License-Identifier: MIT */
/* Where a network's parameters come from: a checkpoint or seeded stand-ins. */
#include "nets/remap.h"
#include "weights/seeded.h"

#include <stdio.h>
#include <string.h>

/* "[64, 3, 3, 3]" */
static char *dims_text(int rank, const int64_t *dim, char out[128])
{
    int n = snprintf(out, 128, "[");
    for (int i = 0; i < rank && n < 120; i++) n += snprintf(out + n, 128 - (size_t)n, i ? ", %lld" : "%lld", (long long)dim[i]);
    if (n < 127) snprintf(out + n, 128 - (size_t)n, "]");
    return out;
}

/* The tensor that is the parameter. */
static en_status find_parameter(const net_view *view, const char *key, const en_shape *shape, const wt_tensor **out, en_error *e)
{
    const net_view_entry *entry = net_view_find(view, key);
    const char *path = wt_path(view->store);
    char want[64], found[128];
    if (!entry) return en_fail(e, EN_E_FORMAT, "%s: no tensor '%s', want %s float32", path, key, en_shape_text(shape, want));
    const wt_tensor *t = &entry->tensor;
    int same = t->rank == shape->rank;
    for (int i = 0; same && i < t->rank; i++) same = t->dim[i] == shape->dim[i];
    if (!same) return en_fail(e, EN_E_FORMAT, "%s: tensor '%s' is %s, want %s", path, key, dims_text(t->rank, t->dim, found), en_shape_text(shape, want));
    if (t->dtype > WT_BF16)
        return en_fail(e, EN_E_FORMAT, "%s: tensor '%s' holds %s, want floating point", path, key, wt_dtype_name(t->dtype));
    *out = t;
    return EN_OK;
}

static en_status read_view(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e)
{
    const net_view *view = self;
    const wt_tensor *t;
    EN_TRY(find_parameter(view, key, shape, &t, e));
    return wt_read(view->store, t, first, count, out, e);
}

static const float *peek_view(void *self, const char *key, const en_shape *shape, size_t first, size_t count)
{
    const net_view *view = self;
    const wt_tensor *t;
    return find_parameter(view, key, shape, &t, NULL) == EN_OK ? wt_peek(view->store, t, first, count) : NULL;
}

en_source net_source_view(const net_view *view)
{
    union {
        const void *in;
        void *out;
    } unconst = {view}; /* a source may be writable in general; this one is not written */
    return (en_source){unconst.out, read_view, peek_view};
}

static en_status read_seeded(void *self, const char *key, const en_shape *shape, size_t first, size_t count, float *out, en_error *e)
{
    const net_seeded *s = self;
    const wt_tensor *t = s->statistics ? wt_find(s->statistics, key) : NULL;
    if (t) return wt_read(s->statistics, t, first, count, out, e);
    int64_t dim[EN_MAX_RANK];
    for (int i = 0; i < shape->rank; i++) dim[i] = shape->dim[i];
    return wt_seeded_read(s->net, s->seed, key, shape->rank, dim, first, count, out, e);
}

en_source net_source_seeded(net_seeded *seeded) { return (en_source){seeded, read_seeded, NULL}; }

static int wanted(const en_graph *g, const char *name)
{
    for (en_ref x = 0; x < en_nodes(g); x++)
        if (en_key_of(g, x) && !strcmp(en_key_of(g, x), name)) return 1;
    return 0;
}

static en_status check_extra(const net_view *view, const en_graph *graph, en_error *e)
{
    const char *first = NULL;
    int extra = 0;
    for (size_t i = 0; i < view->count; i++)
        if (!wanted(graph, view->entry[i].tensor.name) && !extra++) first = view->entry[i].from->name;
    if (!extra) return EN_OK;
    return en_fail(e, EN_E_FORMAT, "%s: tensor '%s' belongs to no layer of this network (of %d such)", wt_path(view->store), first, extra);
}

en_status net_check(const net_view *view, const en_graph *graph, en_error *e)
{
    size_t wants = 0;
    const wt_tensor *t;
    for (en_ref x = 0; x < en_nodes(graph); x++) {
        if (!en_key_of(graph, x)) continue;
        EN_TRY(find_parameter(view, en_key_of(graph, x), en_shape_of(graph, x), &t, e));
        wants++;
    }
    return wants == view->count ? EN_OK : check_extra(view, graph, e);
}
