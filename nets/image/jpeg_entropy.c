/* SPDX-License-Identifier: MIT */
/* JPEG scans: Huffman decoding of blocks, sequential (ITU-T T.81 annex F) and progressive (annex G), with restart intervals.
 *
 * A scan is a walk over blocks; one of five functions decodes a block. The bit reader never fails: behind the end of the data
 * it supplies zeros and counts them, and it keeps what else went wrong, for the walk to ask after each block. */
#include "nets/image/jpeg.h"

#include <string.h>

/* clang-format off */
const uint8_t img_jpeg_zigzag[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};
/* clang-format on */

int img_jpeg_huffman(jpeg_huffman *table, const uint8_t count[16], const uint8_t *symbol, int symbols)
{
    *table = (jpeg_huffman){.defined = 1};
    memcpy(table->symbol, symbol, (size_t)symbols);
    int32_t code = 0, index = 0;
    for (int length = 1; length <= 16; length++, code <<= 1) {
        table->offset[length] = index - code;
        for (int i = 0; i < count[length - 1]; i++, code++, index++) {
            if (code >= 1 << length) return 0;
            if (length > JPEG_FAST_BITS) continue;
            int spare = JPEG_FAST_BITS - length;
            for (int rest = 0; rest < 1 << spare; rest++)
                table->fast[code << spare | rest] = (uint16_t)(length << 8 | symbol[index]);
        }
        table->limit[length] = code << (16 - length);
    }
    table->limit[17] = INT32_MAX;
    return 1;
}

typedef struct bits {
    uint64_t window; /* the next bits, from the top down */
    int count;       /* of bits in the window            */
    int invented;    /* zeros supplied behind the data   */
    const uint8_t *at, *end;
    const char *problem; /* NULL: none so far            */
} bits;

/* Appends one byte: FF 00 stands for FF (B.1.1.5), FFs may repeat before any marker, and a marker ends the data. */
static void append_byte(bits *b)
{
    uint64_t byte = 0;
    const uint8_t *next = b->at;
    while (next < b->end && *next == 0xFF) next++;
    if (next == b->at && next < b->end) {
        byte = *b->at++;
    } else if (next < b->end && *next == 0) {
        byte = 0xFF;
        b->at = next + 1;
    } else {
        b->invented += 8;
    }
    b->window |= byte << (56 - b->count);
    b->count += 8;
}

/* Makes sure of 16 bits in the window. Most of the time four bytes without an FF come in one step. */
static inline void refill(bits *b)
{
    if (b->count >= 16) return;
    if (b->end - b->at >= 4) {
        uint32_t four = (uint32_t)b->at[0] << 24 | (uint32_t)b->at[1] << 16 | (uint32_t)b->at[2] << 8 | b->at[3];
        int has_ff = ((~four - 0x01010101u) & four & 0x80808080u) != 0;
        if (!has_ff) {
            b->window |= (uint64_t)four << (32 - b->count);
            b->count += 32;
            b->at += 4;
            return;
        }
    }
    while (b->count < 32) append_byte(b);
}

static inline int take(bits *b, int n) /* 0 <= n <= 16 */
{
    refill(b);
    int value = (int)(b->window >> 1 >> (63 - n));
    b->window <<= n;
    b->count -= n;
    return value;
}

/* The next symbol (F.2.2.3); 0, which ends most things, if there is none. */
static inline int take_symbol(bits *b, const jpeg_huffman *table)
{
    refill(b);
    int entry = table->fast[b->window >> (64 - JPEG_FAST_BITS)];
    int length = entry >> 8, symbol = entry & 255;
    if (!entry) {
        int32_t prefix = (int32_t)(b->window >> 48);
        length = JPEG_FAST_BITS + 1;
        while (prefix >= table->limit[length]) length++;
        if (length > 16) return b->problem = "a code that is in no Huffman table", 0;
        symbol = table->symbol[table->offset[length] + (prefix >> (16 - length))];
    }
    b->window <<= length;
    b->count -= length;
    return symbol;
}

/* A number of n bits whose upper half is positive (F.2.2.1, EXTEND). */
static inline int take_signed(bits *b, int n)
{
    int value = take(b, n);
    return n && value < 1 << (n - 1) ? value - (1 << n) + 1 : value;
}

typedef struct walk {
    bits bits;
    int eob_run; /* further blocks whose band has ended (G.1.2.2) */
    int first, last, low;
} walk;

/* Each decoder works on a copy of the reader, which stays in registers (a fifth of the whole time with clang). */
typedef void block_decoder(walk *w, jpeg_component *c, int16_t *block);

static const char outside_band[] = "a coefficient outside of its band";

static inline int16_t take_dc(bits *b, jpeg_component *c)
{
    c->predictor = (int16_t)(c->predictor + take_signed(b, take_symbol(b, c->dc)));
    return c->predictor;
}

static void sequential_block(walk *w, jpeg_component *c, int16_t *block)
{
    bits b = w->bits;
    block[0] = take_dc(&b, c);
    for (int k = 1; k < 64; k++) {
        int symbol = take_symbol(&b, c->ac), run = symbol >> 4, size = symbol & 15;
        if (!size && run < 15) break;
        k += run;
        if (!size) continue;
        if (k > 63) {
            b.problem = outside_band;
            break;
        }
        block[img_jpeg_zigzag[k]] = (int16_t)take_signed(&b, size);
    }
    w->bits = b;
}

static void dc_first(walk *w, jpeg_component *c, int16_t *block) { block[0] = (int16_t)(take_dc(&w->bits, c) * (1 << w->low)); }

static void dc_refine(walk *w, jpeg_component *c, int16_t *block)
{
    (void)c;
    block[0] = (int16_t)(block[0] | take(&w->bits, 1) << w->low);
}

static void ac_first(walk *w, jpeg_component *c, int16_t *block)
{
    if (w->eob_run) {
        w->eob_run--;
        return;
    }
    bits b = w->bits;
    for (int k = w->first; k <= w->last; k++) {
        int symbol = take_symbol(&b, c->ac), run = symbol >> 4, size = symbol & 15;
        if (!size && run < 15) {
            w->eob_run = (1 << run) - 1 + take(&b, run);
            break;
        }
        k += run;
        if (!size) continue;
        if (k > w->last) {
            b.problem = outside_band;
            break;
        }
        block[img_jpeg_zigzag[k]] = (int16_t)(take_signed(&b, size) * (1 << w->low));
    }
    w->bits = b;
}

/* From k on: reads one more bit for each coefficient that is not zero, passes over `zeros` that are, and returns where the
 * next zero after them is, or last + 1. */
static inline int refine_from(bits *b, int16_t *block, int k, int last, int zeros, int low)
{
    for (; k <= last; k++) {
        int16_t *coefficient = block + img_jpeg_zigzag[k];
        if (!*coefficient) {
            if (!zeros--) break;
        } else if (take(b, 1) && !(*coefficient & 1 << low)) {
            *coefficient = (int16_t)(*coefficient + (*coefficient > 0 ? 1 << low : -(1 << low)));
        }
    }
    return k;
}

static void ac_refine(walk *w, jpeg_component *c, int16_t *block)
{
    bits b = w->bits;
    int k = w->first;
    for (; k <= w->last && !w->eob_run; k++) {
        int symbol = take_symbol(&b, c->ac), run = symbol >> 4, size = symbol & 15, value = 0;
        if (!size && run < 15) {
            w->eob_run = (1 << run) + take(&b, run);
            break;
        }
        if (size) value = take(&b, 1) ? 1 << w->low : -(1 << w->low);
        k = refine_from(&b, block, k, w->last, run, w->low);
        if (size > 1 || (size && k > w->last)) {
            b.problem = size > 1 ? "a new coefficient of more than one bit in a refinement scan" : outside_band;
            break;
        }
        if (size) block[img_jpeg_zigzag[k]] = (int16_t)value;
    }
    if (w->eob_run) {
        refine_from(&b, block, k, w->last, 64, w->low);
        w->eob_run--;
    }
    w->bits = b;
}

static block_decoder *choose_decoder(const jpeg *j, const jpeg_scan *scan)
{
    if (!j->progressive) return sequential_block;
    if (scan->first == 0) return scan->high ? dc_refine : dc_first;
    return scan->high ? ac_refine : ac_first;
}

/* Begins a scan or a restart interval at j->at (F.2.1.3.1). */
static void begin_interval(const jpeg *j, const jpeg_scan *scan, walk *w)
{
    w->bits = (bits){.at = j->at, .end = j->end};
    w->eob_run = 0;
    for (int i = 0; i < scan->parts; i++) scan->part[i]->predictor = 0;
}

static en_status restart(jpeg *j, const jpeg_scan *scan, walk *w, unsigned interval, en_error *e)
{
    j->at = w->bits.at;
    int marker = img_jpeg_next_marker(j), want = 0xD0 + (int)(interval & 7);
    if (marker < 0) return en_fail(e, EN_E_FORMAT, "scan %d: the file is truncated, want restart marker FF%02X", j->scans, want);
    if (marker != want)
        return en_fail(e, EN_E_FORMAT, "scan %d: marker FF%02X where restart marker FF%02X should be", j->scans, marker, want);
    begin_interval(j, scan, w);
    return EN_OK;
}

static en_status decode_block(jpeg *j, walk *w, block_decoder *decode, jpeg_component *c, int row, int column, en_error *e)
{
    size_t stride = (size_t)c->stored_wide * 8;
    int16_t once[64] = {0};
    decode(w, c, j->progressive ? c->coefficients + ((size_t)row * (size_t)c->stored_wide + (size_t)column) * 64 : once);
    if (w->bits.count < w->bits.invented) w->bits.problem = "its data ends here: the file is truncated or damaged";
    if (w->bits.problem)
        return en_fail(e, EN_E_FORMAT, "scan %d, component %d, block %d, %d: %s", j->scans, (int)(c - j->component), column, row,
                       w->bits.problem);
    if (!j->progressive) img_jpeg_idct(once, c->quant, c->plane + (size_t)row * 8 * stride + (size_t)column * 8, stride);
    return EN_OK;
}

/* One component: the blocks of the picture, one by one. Several: MCUs of h x v blocks of each component in turn (A.2). */
en_status img_jpeg_scan(jpeg *j, const jpeg_scan *scan, en_error *e)
{
    const jpeg_component *only = scan->parts == 1 ? scan->part[0] : NULL;
    int wide = only ? only->blocks_wide : scan->part[0]->stored_wide / scan->part[0]->h;
    int high = only ? only->blocks_high : scan->part[0]->stored_high / scan->part[0]->v;
    block_decoder *decode = choose_decoder(j, scan);
    walk w = {.first = scan->first, .last = scan->last, .low = scan->low};
    unsigned mcu = 0, interval = 0;
    begin_interval(j, scan, &w);
    for (int y = 0; y < high; y++)
        for (int x = 0; x < wide; x++, mcu++) {
            if (j->restart_interval && mcu == (unsigned)j->restart_interval) {
                EN_TRY(restart(j, scan, &w, interval++, e));
                mcu = 0;
            }
            for (int i = 0; i < scan->parts; i++) {
                jpeg_component *c = scan->part[i];
                int across = only ? 1 : c->h, down = only ? 1 : c->v;
                for (int n = 0; n < across * down; n++)
                    EN_TRY(decode_block(j, &w, decode, c, y * down + n / across, x * across + n % across, e));
            }
        }
    j->at = w.bits.at;
    return EN_OK;
}
