/* SPDX-License-Identifier: MIT */
/* Missing weights. */
#include "tools/advice.h"

#include "cam/shapleycam.h"
#include "nets/nets.h"
#include "weights/embed.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

WT_EMBED(advice_manifest, "weights/manifest");

/* Cuts the next line off a text; NULL at its end. */
static char *next_line(char **text)
{
    char *line = *text, *end = line ? strchr(line, '\n') : NULL;
    if (end) *end = 0;
    *text = end ? end + 1 : NULL;
    return line;
}

int weights_are_there(const char *net)
{
    char *wanted = cam_weights_wanted(net), *rest = wanted, *path;
    struct stat info;
    int found = 0;
    while (!found && (path = next_line(&rest))) found = !stat(path, &info) && S_ISREG(info.st_mode);
    free(wanted);
    return found;
}

/* Whether weights/get lies in the folder of this path, which then ends there. */
static int find_script(char *path)
{
    char *slash = strrchr(path, '/'), script[4096];
    *slash = 0;
    snprintf(script, sizeof script, "%s/get", path);
    if (!access(script, X_OK)) return 1;
    *slash = '/';
    return 0;
}

/* The user's own place for a file if there is one among those looked for, else the first. */
static void choose_place(const char *net, const char *file, char place[4096])
{
    char *wanted = cam_weights_wanted(net), *rest = wanted, *path;
    snprintf(place, 4096, "%s", file);
    while ((path = next_line(&rest))) {
        size_t n = strlen(path), m = strlen(file);
        if (n > m && !strcmp(path + n - m, file) && path[n - m - 1] == '/' && (!strchr(place, '/') || strstr(path, "/shapleycam/")))
            snprintf(place, 4096, "%s", path);
    }
    free(wanted);
}

/* The line of the manifest: NET FILE FOLDER .. */
static int find_in_manifest(const char *net, char file[128], char folder[256])
{
    const char *at = (const char *)advice_manifest, *end = (const char *)advice_manifest_end;
    while (at < end) {
        size_t n = strlen(net);
        const char *stop = memchr(at, '\n', (size_t)(end - at));
        if ((size_t)(end - at) > n && !strncmp(at, net, n) && at[n] == ' ') return sscanf(at + n, "%127s %255s", file, folder) == 2;
        at = stop ? stop + 1 : end;
    }
    return 0;
}

void advise_download(const char *net)
{
    const net_arch *arch = net_arch_find(net);
    char *wanted = cam_weights_wanted(net), *rest = wanted, *path = NULL, file[128], folder[256], place[4096];
    while ((path = next_line(&rest)) && !find_script(path)) continue;
    if (arch && path) {
        fprintf(stderr, "  '%s/get' %s\n", path, arch->name);
    } else if (arch && find_in_manifest(arch->name, file, folder)) {
        choose_place(net, file, place);
        fprintf(stderr, "  curl --create-dirs -Lo '%s' %s%s\n", place, folder, file);
    }
    free(wanted);
}

void advise_missing(const char *net)
{
    char *wanted = cam_weights_wanted(net), *rest = wanted, *path, *folder = NULL;
    fprintf(stderr, "cam_run: no weights for %s. Looked for", net);
    while ((path = next_line(&rest))) {
        char *slash = strrchr(path, '/');
        *slash = 0;
        if (!folder || strcmp(folder, path)) fprintf(stderr, "\n  %s/\n     ", path);
        fprintf(stderr, " %s", slash + 1);
        folder = path;
    }
    free(wanted);
    fprintf(stderr, "\nPut one of these files into one of these folders, or give --weights FILE. To get the official one:\n");
    advise_download(net);
}
