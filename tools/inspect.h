/* SPDX-License-Identifier: MIT */
/* What a checkpoint holds, as cam_convert tells it, on stdout. */
#ifndef TOOLS_INSPECT_H
#define TOOLS_INSPECT_H

#include "tools/convert.h"

/* Every tensor: dtype, shape, SHA-256 of its values (row-major, whatever the file's strides); and what a .camw says of itself. */
en_status inspect_show(const wt_store *store, const net_remap *remap, int json, en_error *e);

/* The names alone, in the file's order. */
en_status inspect_keys(const wt_store *store, int json, en_error *e);

/* What went where: each key that was used, unused, missing, unless `quiet`; and the file that was written, NULL if none was. */
en_status inspect_plan(const convert_plan *plan, const wt_metadata *metadata, const char *path, int json, int quiet, en_error *e);

#endif
