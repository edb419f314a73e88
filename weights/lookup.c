/* SPDX-License-Identifier: MIT */
/* The order of look-up: folders from the environment, file names from the network, one list of candidates. */
#include "weights/lookup.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

void wt_paths_free(wt_paths *paths)
{
    for (size_t i = 0; i < paths->count; i++) free(paths->path[i]);
    free(paths->path);
    *paths = (wt_paths){0};
}

/* Appends a formatted path. */
__attribute__((format(printf, 3, 4))) static en_status add(wt_paths *paths, en_error *e, const char *format, ...)
{
    if (paths->count == paths->capacity) {
        size_t capacity = paths->capacity ? 2 * paths->capacity : 16;
        char **grown = realloc(paths->path, capacity * sizeof *grown);
        if (!grown) return en_fail(e, EN_E_NOMEM, "no memory for a list of %zu paths", capacity);
        paths->path = grown;
        paths->capacity = capacity;
    }
    va_list args;
    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *text = n < 0 ? NULL : malloc((size_t)n + 1);
    if (!text) return en_fail(e, EN_E_NOMEM, "no memory for a path");
    va_start(args, format);
    vsnprintf(text, (size_t)n + 1, format, args);
    va_end(args);
    paths->path[paths->count++] = text;
    return EN_OK;
}

/* The value of a variable; an empty one counts as unset. */
static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static en_status add_official(wt_paths *out, const char *folder, const char *below, const wt_names *names, en_error *e)
{
    for (const char *const *name = names->official; name && *name; name++) EN_TRY(add(out, e, "%s%s/%s", folder, below, *name));
    return EN_OK;
}

/* The names that weights have in a folder of ours. */
static en_status add_folder(wt_paths *out, const char *folder, const char *below, const wt_names *names, en_error *e)
{
    static const char *const ends[] = {"camw", "safetensors", "pth"};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) EN_TRY(add(out, e, "%s%s/%s.%s", folder, below, names->net, ends[i]));
    return add_official(out, folder, below, names, e);
}

/* Shortens a path by its last part; 0 if nothing is left. */
static int go_up(char *path)
{
    char *slash = strrchr(path, '/');
    if (!slash || slash == path) return 0;
    *slash = 0;
    return 1;
}

/* The link names the program's file itself, whichever symbolic link started it. */
static en_status add_program_folders(wt_paths *out, const wt_names *names, en_error *e)
{
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    if (n <= 0 || n >= (ssize_t)sizeof program - 1) return EN_OK;
    program[n] = 0;
    if (!go_up(program)) return EN_OK;
    EN_TRY(add_folder(out, program, "/weights", names, e));
    return go_up(program) && go_up(program) ? add_folder(out, program, "/weights", names, e) : EN_OK;
}

static int is_visible(const struct dirent *entry) { return entry->d_name[0] != '.'; }

/* FOLDER/hub/models--OWNER--NAME/snapshots/COMMIT/model.safetensors; without a snapshot, COMMIT is shown as an asterisk. */
static en_status add_snapshots(wt_paths *out, const char *folder, const char *below, const char *hub, en_error *e)
{
    const char *slash = strchr(hub, '/');
    if (!slash) return en_fail(e, EN_E_ARG, "hub name '%s', want OWNER/NAME", hub);
    EN_TRY(add(out, e, "%s%s/hub/models--%.*s--%s/snapshots", folder, below, (int)(slash - hub), hub, slash + 1));
    char *parent = out->path[--out->count];
    struct dirent **found = NULL;
    int count = scandir(parent, &found, is_visible, alphasort);
    en_status status = count > 0 ? EN_OK : add(out, e, "%s/*/model.safetensors", parent);
    for (int i = 0; i < count; i++) {
        if (status == EN_OK) status = add(out, e, "%s/%s/model.safetensors", parent, found[i]->d_name);
        free(found[i]);
    }
    free(found);
    free(parent);
    return status;
}

static en_status add_caches(wt_paths *out, const wt_names *names, const char *home, en_error *e)
{
    const char *torch = variable("TORCH_HOME"), *face = variable("HF_HOME"), *cache = variable("XDG_CACHE_HOME");
    const char *base = cache ? cache : home, *below = cache ? "" : "/.cache";
    char sub[64];
    snprintf(sub, sizeof sub, "%s/torch/hub/checkpoints", below);
    if (torch)
        EN_TRY(add_official(out, torch, "/hub/checkpoints", names, e));
    else if (base)
        EN_TRY(add_official(out, base, sub, names, e));
    if (!names->hub) return EN_OK;
    snprintf(sub, sizeof sub, "%s/huggingface", below);
    if (face) return add_snapshots(out, face, "", names->hub, e);
    return base ? add_snapshots(out, base, sub, names->hub, e) : EN_OK;
}

static en_status add_all(wt_paths *out, const wt_names *names, en_error *e)
{
    const char *ours = variable("CAM_WEIGHTS"), *data = variable("XDG_DATA_HOME"), *home = variable("HOME");
    if (ours) EN_TRY(add_folder(out, ours, "", names, e));
    EN_TRY(add_program_folders(out, names, e));
    if (data)
        EN_TRY(add_folder(out, data, "/shapleycam", names, e));
    else if (home)
        EN_TRY(add_folder(out, home, "/.local/share/shapleycam", names, e));
    return add_caches(out, names, home, e);
}

en_status wt_candidates(const wt_names *names, wt_paths *out, en_error *e)
{
    *out = (wt_paths){0};
    en_status status = add_all(out, names, e);
    if (status != EN_OK) wt_paths_free(out);
    return status;
}

en_status wt_lookup(const wt_names *names, char **path, en_error *e)
{
    wt_paths paths;
    struct stat info;
    *path = NULL;
    EN_TRY(wt_candidates(names, &paths, e));
    for (size_t i = 0; i < paths.count && !*path; i++) {
        if (stat(paths.path[i], &info) || !S_ISREG(info.st_mode)) continue;
        *path = paths.path[i];
        paths.path[i] = NULL;
    }
    size_t count = paths.count;
    wt_paths_free(&paths);
    return *path ? EN_OK : en_fail(e, EN_E_IO, "no weights for %s in any of %zu places", names->net, count);
}
