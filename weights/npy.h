/* SPDX-License-Identifier: MIT */
/* NumPy's .npy files (numpy.org/doc/stable/reference/generated/numpy.lib.format.html), versions 1 to 3: one array of float32 or
 * float64, little-endian, in C order. */
#ifndef WEIGHTS_NPY_H
#define WEIGHTS_NPY_H

#include "weights/store.h"

/* Describes the array in the bytes of such a file: dtype, rank, dim and stride, any dtype of ours and either order of the axes.
 * *data is where the elements begin; they are all there, and nothing behind them. */
en_status wt_npy_header(const uint8_t *bytes, size_t size, wt_tensor *out, size_t *data, en_error *e);

typedef struct wt_npy {
    int rank;
    int64_t dim[WT_MAX_RANK];
    float *data; /* row-major, from malloc, owned by this struct; float64 rounded to nearest */
} wt_npy;

/* On failure *out is {0}. Other element types and Fortran order are refused. */
en_status wt_npy_read(const char *path, wt_npy *out, en_error *e);

/* Frees the data and resets the struct; {0} is fine. */
void wt_npy_free(wt_npy *array);

/* Writes a float32 array, atomically. */
en_status wt_npy_write(const char *path, int rank, const int64_t *dim, const float *data, en_error *e);

#endif
