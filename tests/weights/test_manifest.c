/* SPDX-License-Identifier: MIT */
/* weights/manifest says of every network of nets.def what nets.def says, in the same order. */
#include "nets/nets.h"
#include "tests/test.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct row {
    char net[64], file[128], folder[128], sum[16], mib[16], more[2];
} row;

/* The start of the SHA-256 that torch puts into names: NAME-12345678.pth. */
static const char *sum_in_name(const char *file)
{
    static char sum[9];
    const char *dash = strrchr(file, '-');
    if (!dash || strlen(dash) != strlen("-12345678.pth")) return "-";
    snprintf(sum, sizeof sum, "%.8s", dash + 1);
    for (int i = 0; i < 8; i++)
        if (!isxdigit((unsigned char)sum[i])) return "-";
    return sum;
}

TEST(the_manifest_and_the_list_of_networks_agree)
{
    size_t size;
    char *text = (char *)t_read_file("weights/manifest", &size), *rest = NULL;
    int i = 0;
    text[size] = 0;
    for (char *line = strtok_r(text, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest)) {
        row r;
        if (*line == '#') continue;
        const net_arch *arch = net_arch_at(i++);
        CHECK_MSG(arch, "the manifest has a line too many: %s", line);
        CHECK_MSG(sscanf(line, "%63s %127s %127s %15s %15s %1s", r.net, r.file, r.folder, r.sum, r.mib, r.more) == 5, "%s", line);
        CHECK_MSG(!strcmp(r.net, arch->name) && !strcmp(r.file, arch->official), "%s: want %s, %s", line, arch->name, arch->official);
        CHECK_MSG(!strncmp(r.folder, "https://", 8) && r.folder[strlen(r.folder) - 1] == '/', "%s", r.folder);
        CHECK_MSG(!strcmp(r.sum, sum_in_name(r.file)), "%s: checksum %s, its name says %s", r.file, r.sum, sum_in_name(r.file));
        CHECK_MSG(atof(r.mib) > 10 && atof(r.mib) < 1000, "%s", r.mib);
    }
    CHECK(net_arch_at(i) == NULL);
    free(text);
}
