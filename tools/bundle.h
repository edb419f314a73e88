/* SPDX-License-Identifier: MIT */
/* What cam_run writes to disk: pictures, maps, a report, and a manifest that is written last, so that half a bundle can be told from
 * a whole one; and the dump of exact numbers. */
#ifndef TOOLS_BUNDLE_H
#define TOOLS_BUNDLE_H

#include "cam/shapleycam.h"
#include "engine/status.h"

#include <stddef.h>

typedef struct bundle_file {
    char *name;
    size_t size;
    char sha256[65];
} bundle_file;

typedef struct bundle {
    const char *folder;
    bundle_file *files;
    size_t count, room;
} bundle;

/* Makes the folder. One that is there already and not empty is refused, unless `force`. */
en_status bundle_open(const char *folder, int force, bundle *out, en_error *e);

/* Writes one file of the bundle. */
en_status bundle_write(bundle *b, const char *name, const void *bytes, size_t size, en_error *e);

/* Writes the maps of request i for image 0 as .npy: the final one, and the raw one as NAME.raw.npy. */
en_status bundle_write_map(bundle *b, const cam_ctx *ctx, const char *stem, const cam_request *request, int i, const cam_result *result, cam_input input,
                           en_error *e);

/* Writes manifest.json: the program, the command line, the weights, and name, size and SHA-256 of every file. */
en_status bundle_close(bundle *b, const cam_net *net, int argc, char **argv, en_error *e);
void bundle_free(bundle *b);

/* Everything exact of the last cam_explain, for comparison with other programs, as .safetensors: `count` requests of one layer for one
 * image, in any order; those of methods that ask for no class are stored without one. The same inputs give the same bytes. */
en_status dump_write(const char *path, const cam_ctx *ctx, const cam_net *net, const cam_request *requests, const cam_result *results, int count,
                     int height, int width, en_error *e);

#endif
