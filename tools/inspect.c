/* SPDX-License-Identifier: MIT */
/* Checkpoints in words, and in JSON. */
#include "tools/inspect.h"
#include "weights/checksum.h"
#include "weights/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "[64, 3, 7, 7]" */
static const char *shape_text(int rank, const int64_t *dim, char out[160])
{
    int n = snprintf(out, 160, "[");
    for (int i = 0; i < rank; i++) n += snprintf(out + n, 160 - (size_t)n, i ? ", %lld" : "%lld", (long long)dim[i]);
    snprintf(out + n, 160 - (size_t)n, "]");
    return out;
}

/* A name from a file: nothing that could move a terminal's cursor. */
static void print_name(const char *name, int width)
{
    int n = 0;
    for (const unsigned char *s = (const unsigned char *)name; *s; s++, n++) putchar(*s < 0x20 || *s == 0x7F ? '?' : *s);
    printf("%*s", n < width ? width - n : 0, "");
}

static void put_pair(wt_json_writer *w, const char *key, const char *text)
{
    wt_json_put_key(w, key);
    wt_json_put_string(w, text);
}

static void put_shape(wt_json_writer *w, int rank, const int64_t *dim)
{
    wt_json_put_key(w, "shape");
    wt_json_open(w, '[');
    for (int i = 0; i < rank; i++) wt_json_put_integer(w, dim[i]);
    wt_json_close(w, ']');
}

static en_status print_json(wt_json_writer *w, en_error *e)
{
    char *text = NULL;
    size_t size;
    EN_TRY(wt_json_take(w, &text, &size, e));
    puts(text);
    free(text);
    return EN_OK;
}

static en_status hash_tensor(const wt_store *store, const wt_tensor *t, char text[65], en_error *e)
{
    enum { PIECE = 1 << 16 };
    static uint64_t piece[PIECE]; /* the widest elements have 8 bytes */
    size_t elements = wt_elements(t);
    wt_sha256 sum;
    uint8_t digest[32];
    wt_sha256_start(&sum);
    for (size_t first = 0; first < elements; first += PIECE) {
        size_t n = elements - first < PIECE ? elements - first : PIECE;
        EN_TRY(wt_read_raw(store, t, first, n, piece, e));
        wt_sha256_add(&sum, piece, n * wt_dtype_size(t->dtype));
    }
    wt_sha256_end(&sum, digest);
    wt_sha256_text(digest, text);
    return EN_OK;
}

/* The network that these tensors make, or why none: told, not failed. */
static void recognise(const wt_store *store, const net_remap *remap, const char **net, int *classes, en_error *why)
{
    net_view view;
    const net_arch *arch = NULL;
    *net = NULL;
    if (net_view_open(store, remap, &view, why) != EN_OK) return;
    if (net_recognise(&view, &arch, classes, why) == EN_OK) *net = arch->name;
    net_view_close(&view);
}

static void print_metadata(const wt_metadata *m)
{
    const wt_preprocess *p = m->preprocess;
    printf("made for    %s, %d classes\n", *m->net ? m->net : "no network", m->class_count);
    if (p && !strcmp(p->sizing, "shorter")) printf("prepared    shorter side %d %s, crop %dx%d", p->shorter, p->filter, p->width, p->height);
    if (p && strcmp(p->sizing, "shorter")) printf("prepared    %s %s %dx%d", p->sizing, p->filter, p->width, p->height);
    if (p)
        printf(", mean %g %g %g, std %g %g %g\n", (double)p->mean[0], (double)p->mean[1], (double)p->mean[2], (double)p->std[0],
               (double)p->std[1], (double)p->std[2]);
    for (int i = 0; i < m->origin_count; i++) {
        printf("made from   ");
        print_name(m->origins[i].name, 0);
        printf(", %llu bytes, sha256 %s\n", (unsigned long long)m->origins[i].bytes, m->origins[i].sha256);
    }
}

static void put_metadata(wt_json_writer *w, const wt_metadata *m)
{
    put_pair(w, "made_for", m->net);
    wt_json_put_key(w, "class_names");
    wt_json_put_integer(w, m->class_count);
    wt_json_put_key(w, "made_from");
    wt_json_open(w, '[');
    for (int i = 0; i < m->origin_count; i++) {
        wt_json_open(w, '{');
        put_pair(w, "name", m->origins[i].name);
        put_pair(w, "sha256", m->origins[i].sha256);
        wt_json_close(w, '}');
    }
    wt_json_close(w, ']');
}

static en_status show_text(const wt_store *store, const net_remap *remap, en_error *e)
{
    const char *path, *net;
    uint64_t bytes;
    char sha[65], shape[160];
    int classes;
    en_error why;
    for (size_t i = 0; (path = wt_file_at(store, i, &bytes, sha)); i++) printf("file        %s, %llu bytes, sha256 %s\n", path, (unsigned long long)bytes, sha);
    printf("format      %s, %zu tensors\n", wt_format(store), wt_count(store));
    recognise(store, remap, &net, &classes, &why);
    if (net)
        printf("network     %s, %d classes\n", net, classes);
    else
        printf("network     not recognised: %s\n", why.text);
    if (wt_metadata_of(store)) print_metadata(wt_metadata_of(store));
    for (size_t i = 0; i < wt_count(store); i++) {
        const wt_tensor *t = wt_at(store, i);
        EN_TRY(hash_tensor(store, t, sha, e));
        print_name(t->name, 44);
        printf("  %-8s  %-20s  %.16s\n", wt_dtype_name(t->dtype), shape_text(t->rank, t->dim, shape), sha);
    }
    return EN_OK;
}

static void put_files(wt_json_writer *w, const wt_store *store)
{
    const char *path;
    uint64_t bytes;
    char sha[65];
    wt_json_put_key(w, "files");
    wt_json_open(w, '[');
    for (size_t i = 0; (path = wt_file_at(store, i, &bytes, sha)); i++) {
        wt_json_open(w, '{');
        put_pair(w, "path", path);
        wt_json_put_key(w, "bytes");
        wt_json_put_integer(w, (int64_t)bytes);
        put_pair(w, "sha256", sha);
        wt_json_close(w, '}');
    }
    wt_json_close(w, ']');
}

static en_status put_tensors(wt_json_writer *w, const wt_store *store, en_error *e)
{
    char sha[65];
    wt_json_put_key(w, "tensors");
    wt_json_open(w, '[');
    for (size_t i = 0; i < wt_count(store); i++) {
        const wt_tensor *t = wt_at(store, i);
        EN_TRY(hash_tensor(store, t, sha, e));
        wt_json_open(w, '{');
        put_pair(w, "name", t->name);
        put_pair(w, "dtype", wt_dtype_name(t->dtype));
        put_shape(w, t->rank, t->dim);
        put_pair(w, "sha256", sha);
        wt_json_close(w, '}');
    }
    wt_json_close(w, ']');
    return EN_OK;
}

static en_status show_json(const wt_store *store, const net_remap *remap, en_error *e)
{
    wt_json_writer w = {0};
    const char *net;
    int classes;
    en_error why;
    wt_json_open(&w, '{');
    put_files(&w, store);
    put_pair(&w, "format", wt_format(store));
    recognise(store, remap, &net, &classes, &why);
    put_pair(&w, "network", net);
    if (net) wt_json_put_key(&w, "classes");
    if (net) wt_json_put_integer(&w, classes);
    if (wt_metadata_of(store)) put_metadata(&w, wt_metadata_of(store));
    en_status status = put_tensors(&w, store, e);
    wt_json_close(&w, '}');
    if (status == EN_OK) return print_json(&w, e);
    free(w.text);
    return status;
}

en_status inspect_show(const wt_store *store, const net_remap *remap, int json, en_error *e)
{
    return json ? show_json(store, remap, e) : show_text(store, remap, e);
}

en_status inspect_keys(const wt_store *store, int json, en_error *e)
{
    wt_json_writer w = {0};
    for (size_t i = 0; i < wt_count(store) && !json; i++) {
        print_name(wt_at(store, i)->name, 0);
        putchar('\n');
    }
    if (!json) return EN_OK;
    wt_json_open(&w, '[');
    for (size_t i = 0; i < wt_count(store); i++) wt_json_put_string(&w, wt_at(store, i)->name);
    wt_json_close(&w, ']');
    return print_json(&w, e);
}

/* ---- a conversion ---- */

static void print_keys(const convert_plan *p)
{
    char shape[160];
    for (size_t i = 0; i < p->count; i++) {
        const convert_item *item = &p->item[i];
        if (!item->from) continue;
        printf("used     ");
        print_name(item->key, 44);
        printf("  %-8s  %s", wt_dtype_name(p->output[i].dtype), shape_text(p->output[i].rank, p->output[i].dim, shape));
        if (strcmp(item->from->name, item->key)) printf("  from "), print_name(item->from->name, 0);
        printf("%s\n", item->scale || item->values ? "  folded" : "");
    }
    for (size_t i = 0; i < p->unused_count; i++) {
        printf("unused   ");
        print_name(p->unused[i]->name, 44);
        printf("  %-8s  %s\n", wt_dtype_name(p->unused[i]->dtype), shape_text(p->unused[i]->rank, p->unused[i]->dim, shape));
    }
    for (size_t i = 0; i < p->missing_count; i++) printf("missing  %s\n", p->missing[i]);
}

static en_status print_plan_json(const convert_plan *p, const wt_metadata *m, const char *path, en_error *e)
{
    wt_json_writer w = {0};
    wt_json_open(&w, '{');
    put_pair(&w, "output", path);
    put_pair(&w, "network", *m->net ? m->net : NULL);
    wt_json_put_key(&w, "classes");
    wt_json_put_integer(&w, p->classes);
    wt_json_put_key(&w, "used");
    wt_json_open(&w, '[');
    for (size_t i = 0; i < p->count; i++) {
        if (!p->item[i].from) continue;
        wt_json_open(&w, '{');
        put_pair(&w, "name", p->item[i].key);
        put_pair(&w, "from", p->item[i].from->name);
        put_pair(&w, "dtype", wt_dtype_name(p->output[i].dtype));
        put_shape(&w, p->output[i].rank, p->output[i].dim);
        wt_json_close(&w, '}');
    }
    wt_json_close(&w, ']');
    wt_json_put_key(&w, "unused");
    wt_json_open(&w, '[');
    for (size_t i = 0; i < p->unused_count; i++) wt_json_put_string(&w, p->unused[i]->name);
    wt_json_close(&w, ']');
    wt_json_put_key(&w, "missing");
    wt_json_open(&w, '[');
    for (size_t i = 0; i < p->missing_count; i++) wt_json_put_string(&w, p->missing[i]);
    wt_json_close(&w, ']');
    wt_json_close(&w, '}');
    return print_json(&w, e);
}

en_status inspect_plan(const convert_plan *p, const wt_metadata *metadata, const char *path, int json, int quiet, en_error *e)
{
    if (json) return print_plan_json(p, metadata, path, e);
    if (!quiet) print_keys(p);
    if (path && p->arch) printf("wrote    %s: %s, %d classes; ", path, p->arch->name, p->classes);
    if (path && !p->arch) printf("wrote    %s: ", path);
    if (path) printf("%zu tensors used, %zu unused, %zu missing\n", p->count - p->missing_count, p->unused_count, p->missing_count);
    return EN_OK;
}
