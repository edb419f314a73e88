/* SPDX-License-Identifier: MIT */
/* Inflate (RFC 1951). A stream is a row of blocks; a block is a row of symbols in a Huffman code; a symbol is a byte, the end of
 * the block, or "copy `length` bytes from `distance` back". Nearly every symbol is found by one look into a table indexed by the
 * next FAST bits; the few with longer, that is rarer, codes are found by comparing with the limits of each code length. */
#include "weights/inflate.h"

#include "weights/checksum.h"

#include <string.h>

enum {
    FAST = 10,     /* bits that index the table                   */
    MAX_BITS = 15, /* the longest code (3.2.7)                    */
    LITERALS = 288,
    DISTANCES = 32, /* 286 and 30 are in use, the rest is reserved */
    CODE_LENGTHS = 19
};

/* The next bits of the stream, the first one lowest. Behind the end zeros are read; `padding` counts their bytes. */
typedef struct bit_reader {
    const uint8_t *at, *end;
    uint64_t buffer;
    unsigned count, padding;
} bit_reader;

static uint64_t load_le64(const uint8_t *p)
{
    return (uint64_t)p[0] | (uint64_t)p[1] << 8 | (uint64_t)p[2] << 16 | (uint64_t)p[3] << 24 | (uint64_t)p[4] << 32 |
           (uint64_t)p[5] << 40 | (uint64_t)p[6] << 48 | (uint64_t)p[7] << 56;
}

/* True once bits have been used that the stream does not have. */
static inline int overrun(const bit_reader *b) { return b->padding * 8 > b->count; }

/* Makes at least 56 bits available: more than the longest pair of length and distance, 15 + 5 + 15 + 13 bits. */
static inline int refill(bit_reader *b)
{
    if (b->end - b->at >= 8) {
        b->buffer |= load_le64(b->at) << b->count;
        b->at += (63 - b->count) >> 3;
        b->count |= 56;
        return 1;
    }
    if (overrun(b)) return 0;
    for (; b->count < 56; b->count += 8) {
        if (b->at < b->end)
            b->buffer |= (uint64_t)*b->at++ << b->count;
        else
            b->padding++;
    }
    return 1;
}

static inline unsigned take(bit_reader *b, unsigned n)
{
    unsigned bits = (unsigned)(b->buffer & ((1u << n) - 1));
    b->buffer >>= n;
    b->count -= n;
    return bits;
}

typedef enum kind { LITERAL, COPY, END, INVALID } kind;

/* What a symbol means: a literal's byte, or the base to which `extra` further bits are added. */
typedef struct symbol {
    uint16_t value;
    uint8_t extra : 4, kind : 4;
    uint8_t bits; /* length of its code, 0: longer than FAST bits */
} symbol;

typedef struct huffman {
    symbol fast[1 << FAST];       /* by the next FAST bits as they stand in the stream */
    symbol sorted[LITERALS];      /* by length of code, then by symbol: the order of the codes' values */
    uint16_t limit[MAX_BITS + 1]; /* codes of `n` bits, followed by zeros up to 15 bits, lie below limit[n] */
    int16_t offset[MAX_BITS + 1]; /* sorted[offset[n] + code] is the symbol with that code of n bits */
} huffman;

static unsigned reverse(unsigned code, unsigned bits)
{
    unsigned r = 0;
    for (; bits; bits--, code >>= 1) r = r << 1 | (code & 1);
    return r;
}

static inline symbol decode(const huffman *h, bit_reader *b)
{
    symbol s = h->fast[b->buffer & ((1 << FAST) - 1)];
    if (!s.bits) {
        unsigned code = reverse((unsigned)b->buffer & ((1 << MAX_BITS) - 1), MAX_BITS);
        unsigned n = FAST + 1;
        while (n <= MAX_BITS && code >= h->limit[n]) n++;
        if (n > MAX_BITS) return (symbol){.kind = INVALID};
        s = h->sorted[h->offset[n] + (int)(code >> (MAX_BITS - n))];
    }
    b->buffer >>= s.bits;
    b->count -= s.bits;
    return s;
}

/* Section 3.2.5: lengths from 3 on, distances from 1 on, in groups whose size doubles every `same` groups. */
static symbol in_groups(unsigned i, unsigned first, unsigned same)
{
    unsigned extra = i < 2 * same ? 0 : i / same - 1;
    unsigned base = i < 2 * same ? i : (same + i % same) << extra;
    return (symbol){.value = (uint16_t)(first + base), .extra = extra & 15, .kind = COPY};
}

static symbol literal_meaning(unsigned i)
{
    if (i < 256) return (symbol){.value = (uint16_t)i, .kind = LITERAL};
    if (i == 256) return (symbol){.kind = END};
    if (i == 285) return (symbol){.value = 258, .kind = COPY};
    return i < 285 ? in_groups(i - 257, 3, 4) : (symbol){.kind = INVALID};
}

static symbol distance_meaning(unsigned i) { return i < 30 ? in_groups(i, 1, 2) : (symbol){.kind = INVALID}; }

static symbol length_meaning(unsigned i) { return (symbol){.value = (uint16_t)i, .kind = LITERAL}; }

/* Builds the canonical code with these lengths (3.2.2). It must use up the space of codes exactly, sum 2^-length = 1, unless it has at
 * most one code, of one bit (3.2.7): `single` says whether that is allowed. Returns 0 if the lengths are no such code. */
static int build(huffman *h, const uint8_t *length, unsigned n, symbol (*meaning)(unsigned), int single)
{
    unsigned count[MAX_BITS + 1] = {0}, next[MAX_BITS + 1], longest = 0, code = 0, first = 0;
    for (unsigned i = 0; i < n; i++) count[length[i]]++;
    count[0] = 0;
    for (unsigned bits = 1; bits <= MAX_BITS; bits++) {
        if (count[bits]) longest = bits;
        code <<= 1;
        next[bits] = first;
        h->offset[bits] = (int16_t)((int)first - (int)code);
        code += count[bits];
        first += count[bits];
        if (code > 1u << bits) return 0;
        h->limit[bits] = (uint16_t)(code << (MAX_BITS - bits));
    }
    if (code != 1u << MAX_BITS && !(single && longest <= 1)) return 0;
    if (code != 1u << MAX_BITS) memset(h->fast, 0, sizeof h->fast);
    for (unsigned i = 0; i < n; i++) {
        unsigned bits = length[i];
        if (!bits) continue;
        symbol s = meaning(i);
        s.bits = (uint8_t)bits;
        int at = (int)next[bits]++;
        h->sorted[at] = s;
        unsigned reversed = reverse((unsigned)(at - h->offset[bits]), bits);
        if (bits > FAST) s.bits = 0;
        for (unsigned k = reversed & ((1 << FAST) - 1); k < 1 << FAST; k += 1u << (bits < FAST ? bits : FAST)) h->fast[k] = s;
    }
    return 1;
}

typedef struct stream {
    bit_reader bits;
    uint8_t *out;
    size_t size, done;
    huffman literal, distance;
    int fixed; /* the two hold the fixed codes: a run of tiny blocks must not build them again and again */
    en_error *e;
} stream;

static en_status truncated(const stream *s)
{
    return en_fail(s->e, EN_E_FORMAT, "deflate: the data end after %zu bytes of output, want %zu", s->done, s->size);
}

static en_status too_much(const stream *s)
{
    return en_fail(s->e, EN_E_FORMAT, "deflate: more output than the expected %zu bytes", s->size);
}

static en_status malformed(const stream *s, const char *what)
{
    return en_fail(s->e, EN_E_FORMAT, "deflate: %s after %zu bytes of output", what, s->done);
}

/* Copies `length` bytes from `distance` back, where source and target may overlap: then the bytes repeat. Words are copied where
 * they do not overlap and there is room to write up to seven bytes too many. */
static inline void copy_back(uint8_t *to, size_t distance, size_t length, size_t room)
{
    const uint8_t *from = to - distance;
    if (distance >= 8 && room >= length + 7) {
        for (size_t i = 0; i < length; i += 8) memcpy(to + i, from + i, 8);
    } else if (distance == 1) {
        memset(to, *from, length);
    } else {
        for (size_t i = 0; i < length; i++) to[i] = from[i];
    }
}

/* The symbols of a block up to its end (3.2.3). The position is kept in locals: a byte stored through `out` could be part of *s. */
static en_status read_symbols(stream *s)
{
    bit_reader b = s->bits;
    uint8_t *out = s->out;
    size_t done = s->done, size = s->size;
    const char *wrong = NULL;
    while (refill(&b)) {
        symbol x = decode(&s->literal, &b);
        if (x.kind == LITERAL) {
            if (done == size) return too_much(s);
            out[done++] = (uint8_t)x.value;
            continue;
        }
        if (x.kind != COPY) {
            if (x.kind == INVALID) wrong = "an invalid code";
            break;
        }
        size_t length = x.value + take(&b, x.extra);
        symbol d = decode(&s->distance, &b);
        size_t distance = d.value + take(&b, d.extra);
        if (d.kind == INVALID)
            wrong = "an invalid distance code";
        else if (distance > done)
            wrong = "a copy from before the start";
        if (wrong) break;
        if (length > size - done) return too_much(s);
        copy_back(out + done, distance, length, size - done);
        done += length;
    }
    s->bits = b;
    s->done = done;
    if (overrun(&b)) return truncated(s);
    return wrong ? malformed(s, wrong) : EN_OK;
}

static en_status fixed_block(stream *s) /* 3.2.6 */
{
    if (!s->fixed) {
        uint8_t length[LITERALS];
        for (int i = 0; i < LITERALS; i++) length[i] = i < 144 ? 8 : i < 256 ? 9 : i < 280 ? 7 : 8;
        build(&s->literal, length, LITERALS, literal_meaning, 0);
        memset(length, 5, DISTANCES);
        build(&s->distance, length, DISTANCES, distance_meaning, 0);
        s->fixed = 1;
    }
    return read_symbols(s);
}

/* The lengths of both codes, one list, in a code of their own with runs: 16 repeats the last length 3 to 6 times, 17 and 18 stand
 * for 3 to 10 and 11 to 138 zeros (3.2.7). */
static en_status read_lengths(stream *s, const huffman *code, uint8_t *length, unsigned n)
{
    for (unsigned i = 0; i < n;) {
        if (!refill(&s->bits)) return truncated(s);
        unsigned x = decode(code, &s->bits).value, times = 1;
        uint8_t value = (uint8_t)x;
        if (x >= 16) {
            if (x == 16 && i == 0) return malformed(s, "a repeated code length without a first one");
            value = x == 16 ? length[i - 1] : 0;
            times = x == 16 ? 3 + take(&s->bits, 2) : x == 17 ? 3 + take(&s->bits, 3) : 11 + take(&s->bits, 7);
        }
        if (times > n - i) return malformed(s, "too many code lengths");
        memset(length + i, value, times);
        i += times;
    }
    return overrun(&s->bits) ? truncated(s) : EN_OK;
}

static en_status dynamic_block(stream *s) /* 3.2.7 */
{
    static const uint8_t order[CODE_LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    uint8_t length[LITERALS + DISTANCES] = {0};
    s->fixed = 0;
    if (!refill(&s->bits)) return truncated(s);
    unsigned literals = take(&s->bits, 5) + 257, distances = take(&s->bits, 5) + 1, lengths = take(&s->bits, 4) + 4;
    if (literals > 286 || distances > 30) return malformed(s, "too many symbols");
    for (unsigned i = 0; i < lengths; i++) {
        if (!refill(&s->bits)) return truncated(s);
        length[order[i]] = (uint8_t)take(&s->bits, 3);
    }
    if (overrun(&s->bits)) return truncated(s);
    if (!build(&s->literal, length, CODE_LENGTHS, length_meaning, 0)) return malformed(s, "an invalid code of code lengths");
    EN_TRY(read_lengths(s, &s->literal, length, literals + distances));
    if (!length[256]) return malformed(s, "a code without an end of block");
    if (!build(&s->literal, length, literals, literal_meaning, 1)) return malformed(s, "an invalid code of literals");
    if (!build(&s->distance, length + literals, distances, distance_meaning, 1))
        return malformed(s, "an invalid code of distances");
    return read_symbols(s);
}

static en_status stored_block(stream *s) /* 3.2.4 */
{
    bit_reader *b = &s->bits;
    take(b, b->count & 7);
    if (!refill(b)) return truncated(s);
    unsigned length = take(b, 16), check = take(b, 16);
    if (overrun(b)) return truncated(s);
    if (length != (check ^ 0xFFFF)) return malformed(s, "a stored block whose length does not match its complement");
    /* Whole bytes that wait in the buffer go back to the stream. */
    b->at -= b->count / 8 - b->padding;
    b->buffer = b->count = b->padding = 0;
    if (length > s->size - s->done) return too_much(s);
    if (length > (size_t)(b->end - b->at)) return truncated(s);
    if (length) memcpy(s->out + s->done, b->at, length);
    b->at += length;
    s->done += length;
    return EN_OK;
}

en_status wt_inflate(const uint8_t *in, size_t n, uint8_t *out, size_t size, size_t *used, en_error *e)
{
    stream s;
    s.bits = (bit_reader){.at = in, .end = in + n};
    s.out = out;
    s.size = size;
    s.done = 0;
    s.fixed = 0;
    s.e = e;
    for (unsigned last = 0; !last;) {
        if (!refill(&s.bits)) return truncated(&s);
        last = take(&s.bits, 1);
        unsigned type = take(&s.bits, 2);
        if (overrun(&s.bits)) return truncated(&s);
        if (type == 3) return malformed(&s, "a block of the reserved type");
        EN_TRY(type == 0 ? stored_block(&s) : type == 1 ? fixed_block(&s) : dynamic_block(&s));
    }
    if (s.done != size) return en_fail(e, EN_E_FORMAT, "deflate: the stream holds %zu bytes, want %zu", s.done, size);
    if (used) *used = (size_t)(s.bits.at - in) - (s.bits.count / 8 - s.bits.padding);
    return EN_OK;
}

en_status wt_inflate_zlib(const uint8_t *in, size_t n, uint8_t *out, size_t size, size_t *used, en_error *e)
{
    if (n < 2) return en_fail(e, EN_E_FORMAT, "zlib: %zu bytes are too few for a header", n);
    if ((in[0] & 15) != 8 || in[0] >> 4 > 7 || (in[0] << 8 | in[1]) % 31 != 0)
        return en_fail(e, EN_E_FORMAT, "zlib: the header bytes are %02x %02x, not those of a deflate stream", in[0], in[1]);
    if (in[1] & 0x20) return en_fail(e, EN_E_UNSUPPORTED, "zlib: the stream needs a preset dictionary");
    size_t length;
    EN_TRY(wt_inflate(in + 2, n - 2, out, size, &length, e));
    const uint8_t *sum = in + 2 + length;
    if (n - 2 - length < 4) return en_fail(e, EN_E_FORMAT, "zlib: the checksum at the end is missing");
    uint32_t want = (uint32_t)sum[0] << 24 | (uint32_t)sum[1] << 16 | (uint32_t)sum[2] << 8 | sum[3],
             got = wt_adler32(1, out, size);
    if (got != want) return en_fail(e, EN_E_FORMAT, "zlib: the Adler-32 checksum is %08x, want %08x", got, want);
    if (used) *used = 2 + length + 4;
    return EN_OK;
}
