/* SPDX-License-Identifier: MIT */
/* Bundles. Hashes are of what is on the disk, read back. */
#include "tools/bundle.h"

#include "engine/status.h"
#include "weights/checksum.h"
#include "weights/file.h"
#include "weights/json.h"
#include "weights/npy.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char manifest[] = "manifest.json", report[] = "report.jsonl";

enum { MAX_PATH = 4096 };

/* The library's error, as its inside knows it. */
static en_error *inner(cam_error *e) { return (en_error *)e; }

static en_status path_of(const bundle *b, const char *name, char path[MAX_PATH], en_error *e)
{
    if (snprintf(path, MAX_PATH, "%s/%s", b->folder, name) < MAX_PATH) return EN_OK;
    return en_fail(e, EN_E_ARG, "%.80s...: the path is too long", b->folder);
}

/* ---- opening ---- */

/* 1 empty, 0 not, -1 if it cannot be read (see errno). */
static int is_empty(const char *folder)
{
    DIR *d = opendir(folder);
    int entries = 0;
    if (!d) return -1;
    while (readdir(d)) entries++;
    closedir(d);
    return entries <= 2; /* . and .. */
}

cam_status bundle_open(const char *folder, int force, bundle *out, cam_error *error)
{
    en_error *e = inner(error);
    char path[MAX_PATH];
    struct stat st;
    *out = (bundle){.folder = folder};
    EN_TRY(path_of(out, manifest, path, e));
    out->made = !mkdir(folder, 0777);
    if (out->made) return CAM_OK;
    if (errno != EEXIST) return en_fail(e, EN_E_IO, "%s: cannot make the folder: %s", folder, strerror(errno));
    if (stat(folder, &st) || !S_ISDIR(st.st_mode)) return en_fail(e, EN_E_ARG, "%s: is there and is no folder", folder);
    int empty = is_empty(folder);
    if (empty < 0 || access(folder, W_OK | X_OK))
        return en_fail(e, EN_E_IO, "%s: cannot use the folder: %s", folder, strerror(errno));
    if (!empty && !force) return en_fail(e, EN_E_ARG, "%s: is not empty; want a new folder, or --force", folder);
    if (unlink(path) && errno != ENOENT) return en_fail(e, EN_E_IO, "%s: cannot remove: %s", path, strerror(errno));
    return CAM_OK;
}

/* ---- files ---- */

/* Enters a file that was written into the list. */
static en_status note(bundle *b, const char *name, const char *path, en_error *e)
{
    wt_file file;
    uint8_t digest[32];
    if (b->count == b->room) {
        size_t room = b->room ? 2 * b->room : 16;
        bundle_file *grown = realloc(b->files, room * sizeof *grown);
        if (!grown) return en_fail(e, EN_E_NOMEM, "%s: out of memory", b->folder);
        b->files = grown;
        b->room = room;
    }
    EN_TRY(wt_file_map(path, &file, e));
    bundle_file *f = &b->files[b->count];
    *f = (bundle_file){.name = strdup(name), .size = file.size};
    wt_sha256 s;
    wt_sha256_start(&s);
    wt_sha256_add(&s, file.bytes, file.size);
    wt_sha256_end(&s, digest);
    wt_sha256_text(digest, f->sha256);
    wt_file_unmap(&file);
    if (!f->name) return en_fail(e, EN_E_NOMEM, "%s: out of memory", b->folder);
    b->count++;
    return EN_OK;
}

cam_status bundle_write(bundle *b, const char *name, const void *bytes, size_t size, cam_error *e)
{
    char path[MAX_PATH];
    EN_TRY(path_of(b, name, path, inner(e)));
    EN_TRY(wt_file_write(path, &(wt_part){bytes, size}, 1, inner(e)));
    return note(b, name, path, inner(e));
}

cam_status bundle_write_npy(bundle *b, const char *name, int height, int width, const float *data, cam_error *e)
{
    char path[MAX_PATH];
    EN_TRY(path_of(b, name, path, inner(e)));
    EN_TRY(wt_npy_write(path, 2, (int64_t[]){height, width}, data, inner(e)));
    return note(b, name, path, inner(e));
}

cam_status bundle_report(bundle *b, const char *line, cam_error *e)
{
    char path[MAX_PATH];
    EN_TRY(path_of(b, report, path, inner(e)));
    if (!b->report) b->report = fopen(path, "w");
    if (!b->report || fprintf(b->report, "%s\n", line) < 0 || fflush(b->report))
        return en_fail(inner(e), EN_E_IO, "%s: cannot write: %s", path, strerror(errno));
    return CAM_OK;
}

/* ---- the manifest ---- */

static void put_text(wt_json_writer *w, const char *key, const char *text)
{
    wt_json_put_key(w, key);
    wt_json_put_string(w, text);
}

static void put_number(wt_json_writer *w, const char *key, int64_t number)
{
    wt_json_put_key(w, key);
    wt_json_put_integer(w, number);
}

static void put_files(wt_json_writer *w, const bundle *b)
{
    wt_json_put_key(w, "files");
    wt_json_open(w, '[');
    for (size_t i = 0; i < b->count; i++) {
        wt_json_open(w, '{');
        put_text(w, "name", b->files[i].name);
        put_number(w, "size", (int64_t)b->files[i].size);
        put_text(w, "sha256", b->files[i].sha256);
        wt_json_close(w, '}');
    }
    wt_json_close(w, ']');
}

static en_status write_manifest(const bundle *b, const bundle_facts *facts, en_error *e)
{
    wt_json_writer w = {0};
    char *text, path[MAX_PATH];
    size_t size;
    wt_json_open(&w, '{');
    put_text(&w, "program", "cam_run");
    put_text(&w, "version", cam_version());
    put_text(&w, "build", cam_build());
    put_text(&w, "net", cam_net_name(facts->net));
    put_text(&w, "weights", cam_net_weights(facts->net));
    if (cam_net_seeded(facts->net)) put_text(&w, "warning", "SEEDED WEIGHTS: made up, not a finding");
    wt_json_put_key(&w, "command");
    wt_json_open(&w, '[');
    for (char *const *word = facts->command; *word; word++) wt_json_put_string(&w, *word);
    wt_json_close(&w, ']');
    put_number(&w, "images", facts->images);
    put_number(&w, "failed", facts->failed);
    wt_json_put_key(&w, "interrupted");
    wt_json_put_bool(&w, facts->interrupted);
    put_files(&w, b);
    wt_json_close(&w, '}');
    EN_TRY(path_of(b, manifest, path, e));
    EN_TRY(wt_json_take(&w, &text, &size, e));
    en_status status = wt_file_write(path, &(wt_part){text, size}, 1, e);
    free(text);
    return status;
}

cam_status bundle_close(bundle *b, const bundle_facts *facts, cam_error *error)
{
    en_error *e = inner(error);
    char path[MAX_PATH];
    if (b->report) {
        EN_TRY(path_of(b, report, path, e));
        EN_TRY(note(b, report, path, e));
    }
    if (b->count) return write_manifest(b, facts, e);
    if (b->made) rmdir(b->folder);
    return CAM_OK;
}

void bundle_free(bundle *b)
{
    if (b->report) fclose(b->report);
    for (size_t i = 0; i < b->count; i++) free(b->files[i].name);
    free(b->files);
    *b = (bundle){0};
}
