/* SPDX-License-Identifier: MIT */
/* Inside weights/: what the writers of both formats share. */
#ifndef WEIGHTS_WRITE_H
#define WEIGHTS_WRITE_H

#include "weights/formats.h"

/* The bytes of a tensor in the file. */
size_t wt_output_bytes(const wt_output *t);

/* Refuses impossible shapes, names that occur twice or that no reader takes, and roundings that do not exist. */
en_status wt_check_outputs(const wt_output *tensors, size_t count, en_error *e);

/* Reads, rounds and puts a tensor's data; *crc (may be NULL) becomes its CRC-32. A finite number that has no finite neighbour in the
 * dtype wanted is refused. */
en_status wt_put_output(wt_writer *w, const wt_output *t, uint32_t *crc, en_error *e);

#endif
