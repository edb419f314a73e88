/* SPDX-License-Identifier: MIT */
/* Renaming: a list of entries goes through the steps of remap.h, one loop over its names each. */
#include "nets/remap.h"

#include "nets/layouts.h"
#include "weights/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MAP = 1 << 24 };

static int starts_with(const char *text, const char *start) { return !strncmp(text, start, strlen(start)); }

static int ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), k = strlen(end);
    return n >= k && !strcmp(text + n - k, end);
}

/* ---- a list of entries under way ---- */

enum state { OPEN, FINAL /* the user's map has named it */, OUT /* and has it left out */ };

typedef struct names {
    net_view view;
    unsigned char *state; /* [count] */
} names;

/* Gives entry i the name `head` followed by `tail`. */
static en_status rename_entry(names *n, size_t i, const char *head, const char *tail, en_error *e)
{
    size_t size = strlen(head) + strlen(tail) + 1;
    char *name = malloc(size);
    if (!name) return en_fail(e, EN_E_NOMEM, "no memory for a tensor's name");
    snprintf(name, size, "%s%s", head, tail);
    free((void *)(uintptr_t)n->view.entry[i].tensor.name);
    n->view.entry[i].tensor.name = name;
    return EN_OK;
}

/* Constants that we compute ourselves, and counters that only training needs. */
static int unwanted(const char *name)
{
    return ends_with(name, "num_batches_tracked") || ends_with(name, "relative_position_index") || ends_with(name, "attn_mask");
}

static en_status list_tensors(names *n, const wt_store *store, en_error *e)
{
    size_t all = wt_count(store);
    n->view.store = store;
    n->view.entry = calloc(all + 1, sizeof *n->view.entry);
    n->state = calloc(all + 1, 1);
    if (!n->view.entry || !n->state) return en_fail(e, EN_E_NOMEM, "no memory for the names of %zu tensors", all);
    for (size_t i = 0; i < all; i++) {
        const wt_tensor *t = wt_at(store, i);
        if (unwanted(t->name)) continue;
        size_t last = n->view.count++;
        n->view.entry[last] = (net_view_entry){*t, t};
        n->view.entry[last].tensor.name = NULL;
        EN_TRY(rename_entry(n, last, t->name, "", e));
    }
    return EN_OK;
}

/* ---- what the user says ---- */

/* One line of the map. Cut in place: `old` and `new` are its two words. */
static en_status apply_line(names *n, const char *old, const char *new, int *applied, en_error *e)
{
    int below = ends_with(old, ".");
    for (size_t i = 0; i < n->view.count; i++) {
        const char *name = n->view.entry[i].from->name;
        if (n->state[i] != OPEN || (below ? !starts_with(name, old) : strcmp(name, old) != 0)) continue;
        *applied = 1;
        n->state[i] = strcmp(new, "-") ? FINAL : OUT;
        if (n->state[i] == FINAL) EN_TRY(rename_entry(n, i, new, name + strlen(old), e));
    }
    return EN_OK;
}

static en_status apply_text(names *n, const char *path, char *text, en_error *e)
{
    char *line_end = text;
    for (int number = 1; line_end; number++) {
        char *line = line_end, *word;
        if ((line_end = strchr(line, '\n'))) *line_end++ = 0;
        const char *old = strtok_r(line, " \t\r", &word), *new = strtok_r(NULL, " \t\r", &word), *more = strtok_r(NULL, " \t\r", &word);
        int applied = 0;
        if (!old || *old == '#') continue;
        if (!new || more) return en_fail(e, EN_E_ARG, "%s: line %d: want two words, OLD NEW", path, number);
        if (strcmp(new, "-") != 0 && ends_with(old, ".") != ends_with(new, "."))
            return en_fail(e, EN_E_ARG, "%s: line %d: want a dot at the end of both names or of neither", path, number);
        EN_TRY(apply_line(n, old, new, &applied, e));
        if (!applied) return en_fail(e, EN_E_ARG, "%s: line %d: %s has no tensor '%.80s' left", path, number, wt_path(n->view.store), old);
    }
    return EN_OK;
}

/* Forgets the entries that are left out. */
static void forget(names *n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n->view.count; i++) {
        if (n->state[i] == OUT) {
            free((void *)(uintptr_t)n->view.entry[i].tensor.name);
            continue;
        }
        n->state[kept] = n->state[i];
        n->view.entry[kept++] = n->view.entry[i];
    }
    n->view.count = kept;
}

static en_status apply_map(names *n, const char *path, en_error *e)
{
    uint8_t *bytes;
    size_t size;
    EN_TRY(wt_file_read(path, MAX_MAP, &bytes, &size, e));
    char *text = strndup((const char *)bytes, size);
    en_status status = text ? apply_text(n, path, text, e) : en_fail(e, EN_E_NOMEM, "%s: out of memory", path);
    free(text);
    free(bytes);
    forget(n);
    return status;
}

/* Takes a prefix off the names that have it. */
static en_status strip(names *n, const char *prefix, size_t *stripped, en_error *e)
{
    *stripped = 0;
    for (size_t i = 0; i < n->view.count; i++) {
        const char *name = n->view.entry[i].tensor.name;
        if (n->state[i] == FINAL || !starts_with(name, prefix)) continue;
        EN_TRY(rename_entry(n, i, name + strlen(prefix), "", e));
        ++*stripped;
    }
    return EN_OK;
}

static en_status strip_wanted(names *n, const char *prefix, en_error *e)
{
    size_t stripped;
    EN_TRY(strip(n, prefix, &stripped, e));
    return stripped ? EN_OK : en_fail(e, EN_E_ARG, "%s: no tensor's name begins with '%.80s'", wt_path(n->view.store), prefix);
}

/* ---- what frameworks do ---- */

static int all_have(const names *n, const char *prefix)
{
    size_t have = 0;
    for (size_t i = 0; i < n->view.count; i++) {
        if (n->state[i] == FINAL) continue;
        if (!starts_with(n->view.entry[i].tensor.name, prefix)) return 0;
        have++;
    }
    return have > 0;
}

/* DataParallel, Lightning, torch.compile and many a training script wrap a network in a module. */
static en_status unwrap(names *n, en_error *e)
{
    static const char *const wrappers[] = {"module.", "model.", "backbone.", "_orig_mod."};
    enum { WRAPPERS = sizeof wrappers / sizeof *wrappers };
    for (int i = 0; i < WRAPPERS; i++) {
        size_t stripped;
        if (!all_have(n, wrappers[i])) continue;
        EN_TRY(strip(n, wrappers[i], &stripped, e));
        i = -1; /* they nest in any order */
    }
    return EN_OK;
}

static int has(const names *n, const char *name)
{
    for (size_t i = 0; i < n->view.count; i++)
        if (!strcmp(n->view.entry[i].tensor.name, name)) return 1;
    return 0;
}

/* A row-major [O, C, h, w] as [O, C*h*w]. */
static void flatten(wt_tensor *t)
{
    if (t->rank != 4 || t->stride[3] != 1 || t->stride[2] != t->dim[3] || t->stride[1] != t->dim[2] * t->dim[3]) return;
    t->dim[1] *= t->dim[2] * t->dim[3];
    t->stride[1] = 1;
    t->rank = 2;
}

static en_status apply_layout(names *n, en_error *e)
{
    const net_layout *layout;
    for (int i = 0; (layout = net_layout_at(i)) && !has(n, layout->sign);) i++;
    for (size_t i = 0; layout && i < n->view.count; i++) {
        wt_tensor *t = &n->view.entry[i].tensor;
        char out[NET_MAX_KEY];
        if (n->state[i] == FINAL || strlen(t->name) >= NET_MAX_KEY / 2) continue;
        snprintf(out, sizeof out, "%s", t->name);
        layout->rename(t->name, out);
        EN_TRY(rename_entry(n, i, out, "", e));
        if (layout->flat && starts_with(out, layout->flat)) flatten(t);
    }
    return EN_OK;
}

/* ---- the view ---- */

static int compare(const void *a, const void *b)
{
    return strcmp(((const net_view_entry *)a)->tensor.name, ((const net_view_entry *)b)->tensor.name);
}

static en_status sort(net_view *v, en_error *e)
{
    qsort(v->entry, v->count, sizeof *v->entry, compare);
    for (size_t i = 1; i < v->count; i++)
        if (!compare(&v->entry[i - 1], &v->entry[i]))
            return en_fail(e, EN_E_FORMAT, "%s: tensors '%.60s' and '%.60s' would both be '%.60s'", wt_path(v->store), v->entry[i - 1].from->name,
                           v->entry[i].from->name, v->entry[i].tensor.name);
    return EN_OK;
}

en_status net_view_open(const wt_store *store, const net_remap *remap, net_view *out, en_error *e)
{
    names n = {0};
    *out = (net_view){0};
    en_status status = list_tensors(&n, store, e);
    if (status == EN_OK && remap && remap->map) status = apply_map(&n, remap->map, e);
    if (status == EN_OK && remap && remap->strip) status = strip_wanted(&n, remap->strip, e);
    if (status == EN_OK) status = unwrap(&n, e);
    if (status == EN_OK) status = apply_layout(&n, e);
    if (status == EN_OK) status = sort(&n.view, e);
    free(n.state);
    if (status == EN_OK)
        *out = n.view;
    else
        net_view_close(&n.view);
    return status;
}

void net_view_close(net_view *v)
{
    for (size_t i = 0; i < v->count; i++) free((void *)(uintptr_t)v->entry[i].tensor.name);
    free(v->entry);
    *v = (net_view){0};
}

const net_view_entry *net_view_find(const net_view *v, const char *name)
{
    const net_view_entry key = {.tensor.name = name};
    return v->count ? bsearch(&key, v->entry, v->count, sizeof *v->entry, compare) : NULL;
}
