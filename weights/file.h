/* SPDX-License-Identifier: MIT */
/* Whole files: mapped read-only, read into memory, or replaced in one step so that a reader never sees half a file. */
#ifndef WEIGHTS_FILE_H
#define WEIGHTS_FILE_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct wt_file {
    const uint8_t *bytes; /* the mapping, read-only */
    size_t size;
} wt_file;

/* Maps a regular file that is not empty. Whoever shortens the file while it is mapped ends the program (SIGBUS): replace files, as
 * wt_file_write does, and never edit them in place. */
en_status wt_file_map(const char *path, wt_file *out, en_error *e);
void wt_file_unmap(wt_file *file); /* {0} is fine */

/* Reads a file or a pipe to its end, at most max_size bytes. The caller frees *out. */
en_status wt_file_read(const char *path, size_t max_size, uint8_t **out, size_t *size, en_error *e);

/* Replaces `path` in one step: what is put goes to a temporary file in the same folder, which wt_writer_end syncs and renames.
 * Afterwards `path` holds either what it held before or all of the new bytes, also after a power failure. */
typedef struct wt_writer {
    int fd;
    char *path, *temp; /* owned */
} wt_writer;

en_status wt_writer_open(const char *path, wt_writer *out, en_error *e);
en_status wt_writer_put(wt_writer *w, const void *bytes, size_t size, en_error *e);
en_status wt_writer_rewind(wt_writer *w, en_error *e); /* what is put next replaces the file's beginning */

/* Must follow once wt_writer_open has succeeded. `status` is how writing went: unless EN_OK, the temporary file is removed and the
 * status returned. */
en_status wt_writer_end(wt_writer *w, en_status status, en_error *e);

typedef struct wt_part {
    const void *bytes;
    size_t size;
} wt_part;

/* All of that for parts in memory, one after another. */
en_status wt_file_write(const char *path, const wt_part *parts, size_t count, en_error *e);

#endif
