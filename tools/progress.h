/* SPDX-License-Identifier: MIT */
/* How far a run over several pictures is, on stderr: a line that overwrites itself on a terminal, elsewhere one in 30 seconds. */
#ifndef TOOLS_PROGRESS_H
#define TOOLS_PROGRESS_H

#include <time.h>

typedef struct progress {
    int total;    /* 0: silent */
    int terminal; /* stderr is one that can erase a line */
    time_t next;
} progress;

progress progress_start(int total, int quiet);

/* Number `at` of the total, from 1 on, begins. */
void progress_show(progress *p, int at, const char *name);

/* Erases the line, before anything else is written to the terminal. */
void progress_clear(const progress *p);

#endif
