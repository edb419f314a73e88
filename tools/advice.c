/* SPDX-License-Identifier: MIT */
/* Missing weights. */
#include "tools/advice.h"

#include "cam/shapleycam.h"
#include "nets/nets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

void advise_download(const char *net)
{
    const net_arch *arch = net_arch_find(net);
    if (!arch || (!arch->official && !arch->hub)) return;
    char file[128], url[256], place[4096] = "", *wanted = cam_weights_wanted(net), *rest = wanted, *path;
    if (arch->official) snprintf(file, sizeof file, "%s", arch->official);
    else snprintf(file, sizeof file, "%s.safetensors", arch->name);
    if (arch->official) snprintf(url, sizeof url, "https://download.pytorch.org/models/%s", arch->official);
    else snprintf(url, sizeof url, "https://huggingface.co/%s/resolve/main/model.safetensors", arch->hub);
    while ((path = next_line(&rest))) { /* the user's own folder if there is one, else the first */
        size_t n = strlen(path), m = strlen(file);
        if (n > m && !strcmp(path + n - m, file) && path[n - m - 1] == '/' && (!*place || strstr(path, "/shapleycam/")))
            snprintf(place, sizeof place, "%s", path);
    }
    free(wanted);
    fprintf(stderr, "  curl --create-dirs -Lo '%s' %s\n", *place ? place : file, url);
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
