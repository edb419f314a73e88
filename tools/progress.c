/* SPDX-License-Identifier: MIT */
/* Progress. */
#include "tools/progress.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INTERVAL = 30 /* seconds */ };

static time_t seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec;
}

progress progress_start(int total, int quiet)
{
    const char *term = getenv("TERM");
    return (progress){.total = quiet || total < 2 ? 0 : total,
                      .terminal = isatty(2) && term && strcmp(term, "dumb"),
                      .next = seconds() + INTERVAL};
}

void progress_show(progress *p, int at, const char *name)
{
    const char *slash = strrchr(name, '/');
    if (!p->total || (!p->terminal && seconds() < p->next)) return;
    p->next = seconds() + INTERVAL;
    fprintf(stderr, p->terminal ? "\r\033[K[%d/%d] %.60s" : "cam_run: [%d/%d] %.60s\n", at, p->total, slash ? slash + 1 : name);
}

void progress_clear(const progress *p)
{
    if (p->total && p->terminal) fputs("\r\033[K", stderr);
}
