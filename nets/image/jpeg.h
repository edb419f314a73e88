/* SPDX-License-Identifier: MIT */
/* What the three files of the JPEG decoder share: jpeg.c reads segments, jpeg_entropy.c turns a scan into coefficients,
 * jpeg_pixels.c turns coefficients into pixels. Section numbers are those of ITU-T T.81 (1992). */
#ifndef NETS_IMAGE_JPEG_H
#define NETS_IMAGE_JPEG_H

#include "nets/image/image.h"

enum { JPEG_COMPONENTS = 4, JPEG_FAST_BITS = 9 };

/* A canonical Huffman code (Annex C). Codes of up to 9 bits are found by one look at `fast`, longer ones by their length. */
typedef struct jpeg_huffman {
    int defined;
    uint8_t symbol[256];                /* in the order of their codes */
    uint16_t fast[1 << JPEG_FAST_BITS]; /* by the next bits: length << 8 | symbol; 0: a longer code, or none */
    int32_t limit[18];                  /* [n]: the next 16 bits are below this if the code has n bits or fewer */
    int32_t offset[17];                 /* [n]: index in `symbol` minus code, for codes of n bits */
} jpeg_huffman;

typedef struct jpeg_component {
    int id, h, v, quant_index;    /* as the frame header says; h, v are the sampling factors */
    int expand_x, expand_y;       /* pixels for each sample, in both directions */
    int width, height;            /* samples that belong to the picture */
    int blocks_wide, blocks_high; /* blocks that contain them */
    int stored_wide, stored_high; /* the same, rounded up to whole MCUs */
    int begun;                    /* its first scan has come */
    uint16_t quant[64];           /* the table that was defined then (B.2.4.1) */
    int8_t shift[64];             /* bits of each coefficient still to come; -1: nothing has come */
    int16_t *coefficients;        /* [stored_high][stored_wide][64], progressive only */
    uint8_t *plane;               /* [stored_high * 8][stored_wide * 8] */
    int16_t predictor;            /* of the DC coefficient, modulo 2^16 */
    const jpeg_huffman *dc, *ac;  /* of the present scan */
} jpeg_component;

typedef struct jpeg_scan {
    jpeg_component *part[JPEG_COMPONENTS];
    int parts;
    int first, last, high, low; /* Ss, Se, Ah, Al of B.2.3 */
} jpeg_scan;

typedef struct jpeg {
    const uint8_t *at, *end; /* the part of the file that has not been read */
    size_t max_pixels;
    uint64_t visits, max_visits; /* blocks that progressive scans went through, and the cap */
    uint16_t quant[4][64];       /* in natural order */
    int quant_defined[4];
    jpeg_huffman dc[4], ac[4];
    int restart_interval;         /* in MCUs, 0: none */
    int scans;                    /* begun so far */
    int jfif, adobe, orientation; /* adobe: the transform of its marker, -1 without one */
    int progressive, width, height;
    int components; /* 0 until the frame header */
    int max_h, max_v;
    jpeg_component component[JPEG_COMPONENTS];
} jpeg;

/* From the order of a file to row-major order (figure 5). */
extern const uint8_t img_jpeg_zigzag[64];

/* Skips to the next marker and past it; returns its second byte, or -1 at the end of the file. */
int img_jpeg_next_marker(jpeg *j);

/* Builds a table from the number of codes of each length 1 to 16 and the symbols; 0 if that is not a prefix code. */
int img_jpeg_huffman(jpeg_huffman *table, const uint8_t count[16], const uint8_t *symbol, int symbols);

/* Decodes the entropy-coded data at j->at: into planes, or into coefficients where the frame is progressive. */
en_status img_jpeg_scan(jpeg *j, const jpeg_scan *scan, en_error *e);

/* Dequantises and transforms a block of coefficients into 8x8 samples. */
void img_jpeg_idct(const int16_t coefficients[64], const uint16_t quant[64], uint8_t *out, size_t stride);

/* Allocates *out and fills it from the planes or coefficients of all components. The caller frees it, on failure too. */
en_status img_jpeg_render(jpeg *j, img *out, en_error *e);

#endif
