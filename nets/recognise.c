/* SPDX-License-Identifier: MIT */
/* Which network a checkpoint is of. Every page is written down for an odd number of classes; what has that many rows is its classifier. */
#include "nets/remap.h"

#include <stdio.h>

enum { ANY = 7919 /* classes: no layer has as many channels */, MAX_CLASSES = 1000000 };

static en_status write_down(const net_arch *arch, net_model *out, en_error *e)
{
    net_recipe recipe = arch->recipe();
    return net_model_build(arch, ANY, 1, recipe.crop_height, recipe.crop_width, NULL, out, e);
}

/* Whether a tensor has the shape that the page wants; the number of classes is free. */
static int fits(const wt_tensor *t, const en_shape *want)
{
    if (t->rank != want->rank) return 0;
    for (int i = 0; i < t->rank; i++)
        if (want->dim[i] == ANY ? t->dim[i] < 1 || t->dim[i] > MAX_CLASSES : t->dim[i] != want->dim[i]) return 0;
    return 1;
}

/* How many of the page's parameters the checkpoint has, and the first one that it lacks or that is otherwise, NULL if there is none. */
typedef struct fit {
    size_t wanted, fitting;
    char misfit[96], classifier[96];
    int classes; /* 0: no such tensor */
} fit;

static void copy_key(const char *key, char out[96]) { snprintf(out, 96, "%.95s", key); }

static fit compare(const net_view *view, const net_model *m)
{
    fit f = {0};
    for (en_ref x = 0; x < en_nodes(m->graph); x++) {
        const char *key = en_key_of(m->graph, x);
        if (!key) continue;
        const en_shape *want = en_shape_of(m->graph, x);
        const net_view_entry *entry = net_view_find(view, key);
        int is_classifier = want->rank == 2 && want->dim[0] == ANY;
        if (is_classifier) copy_key(key, f.classifier);
        f.wanted++;
        if (entry && fits(&entry->tensor, want)) {
            f.fitting++;
            if (is_classifier) f.classes = (int)entry->tensor.dim[0];
        } else if (!*f.misfit) {
            copy_key(key, f.misfit);
        }
    }
    return f;
}

en_status net_view_classes(const net_view *view, const net_arch *arch, int *classes, en_error *e)
{
    net_model m;
    EN_TRY(write_down(arch, &m, e));
    fit f = compare(view, &m);
    net_model_free(&m);
    *classes = f.classes;
    if (f.classes) return EN_OK;
    return en_fail(e, EN_E_FORMAT, "%s: %s '%s', the classifier of %s, want [classes, ..] float32", wt_path(view->store),
                   net_view_find(view, f.classifier) ? "another shape of tensor" : "no tensor", f.classifier, arch->name);
}

/* What both have in common, of all that either has. */
static double likeness(const net_view *view, const fit *f)
{
    return (double)f->fitting / (double)(f->wanted + view->count - f->fitting);
}

static en_status nobodys(const net_view *view, const char *nearest, const fit *f, en_error *e)
{
    const char *path = wt_path(view->store);
    if (!f->fitting) return en_fail(e, EN_E_FORMAT, "%s: none of its %zu tensors%s%.80s has a name and shape of a network here", path, view->count,
                                    view->count ? ", such as " : "", view->count ? view->entry[0].tensor.name : "");
    if (f->fitting < f->wanted)
        return en_fail(e, EN_E_FORMAT, "%s: no network's tensors; nearest is %s, of which %zu of %zu fit: '%s' is missing or has another shape (the file has "
                       "'%.80s')", path, nearest, f->fitting, f->wanted, f->misfit, view->entry[0].tensor.name);
    return en_fail(e, EN_E_FORMAT, "%s: no network's tensors; nearest is %s, for which %zu of %zu are too many", path, nearest, view->count - f->fitting,
                   view->count);
}

en_status net_recognise(const net_view *view, const net_arch **arch, int *classes, en_error *e)
{
    const net_arch *nearest = NULL, *a;
    fit best = {0};
    for (int i = 0; (a = net_arch_at(i)); i++) {
        net_model m;
        EN_TRY(write_down(a, &m, e));
        fit f = compare(view, &m);
        net_model_free(&m);
        if (nearest && likeness(view, &f) <= likeness(view, &best)) continue;
        nearest = a;
        best = f;
    }
    if (best.fitting < best.wanted || best.fitting < view->count) return nobodys(view, nearest->name, &best, e);
    *arch = nearest;
    *classes = best.classes;
    return EN_OK;
}
