/* SPDX-License-Identifier: MIT */
/* A folder of results: pictures, maps, a report, and a manifest with the hash of each file. The manifest is written last, so that
 * half a bundle can be told from a whole one. */
#ifndef TOOLS_BUNDLE_H
#define TOOLS_BUNDLE_H

#include "cam/shapleycam.h"

#include <stddef.h>
#include <stdio.h>

typedef struct bundle_file {
    char *name;
    size_t size;
    char sha256[65];
} bundle_file;

typedef struct bundle {
    const char *folder; /* NULL: not opened                 */
    int made;           /* the folder was not there before  */
    FILE *report;       /* report.jsonl, NULL before its first line */
    bundle_file *files;
    size_t count, room;
} bundle;

/* What the manifest says besides the files. */
typedef struct bundle_facts {
    const cam_net *net;
    char *const *command; /* ended by NULL */
    int images, failed, interrupted;
} bundle_facts;

/* Makes the folder. One that is there already and not empty is refused, unless `force`; its manifest then goes first. */
cam_status bundle_open(const char *folder, int force, bundle *out, cam_error *e);

cam_status bundle_write(bundle *b, const char *name, const void *bytes, size_t size, cam_error *e);
cam_status bundle_write_npy(bundle *b, const char *name, int height, int width, const float *data, cam_error *e);

/* Adds a line to report.jsonl. */
cam_status bundle_report(bundle *b, const char *line, cam_error *e);

/* Writes manifest.json. If nothing was written there is nothing to describe, and a folder that bundle_open made goes again. */
cam_status bundle_close(bundle *b, const bundle_facts *facts, cam_error *e);

/* Without bundle_close, what was written stays, but no manifest. {0} is fine. */
void bundle_free(bundle *b);

#endif
