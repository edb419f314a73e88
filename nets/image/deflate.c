/* SPDX-License-Identifier: MIT */
/* Deflate (RFC 1951). Two ideas: a string that occurred before is replaced by "copy `length` bytes from `distance` back" (Ziv and
 * Lempel 1977), found through chains of positions whose next SHORTEST bytes hash alike; then literals, lengths and distances get
 * Huffman codes made for each block. Only blocks with such codes are written: they are the best ones for all but tiny inputs. */
#include "nets/image/deflate.h"

#include "weights/checksum.h"

#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 32768, /* the longest distance */
    MIN_LENGTH = 3,
    MAX_LENGTH = 258,
    HASH_BITS = 15,
    BLOCK = 16384,  /* tokens that share a code */
    LITERALS = 286, /* 256 bytes, the end of the block, 29 groups of lengths */
    DISTANCES = 30,
    CODE_LENGTHS = 19,
    MAX_BITS = 15,
    /* Where to stop looking for something longer. Figures of this kind only trade time for size. */
    CHAIN = 32,  /* positions that are compared                */
    GOOD = 32,   /* a match that the next byte's need not beat */
    SHORTEST = 6 /* in filtered rows, which are mostly small numbers, fewer literals cost less than a copy: 6% on a photo */
};

typedef struct token {
    uint16_t length; /* 0: a literal, `value` is the byte; else `value` is the distance */
    uint16_t value;
} token;

typedef struct deflater {
    const uint8_t *in;
    size_t n;
    uint8_t *out; /* from malloc */
    size_t done, room;
    uint64_t bits; /* the last bits written, not yet a whole byte */
    unsigned bit_count;
    token tokens[BLOCK];
    unsigned token_count;
    /* head[hash] is the latest position with that hash, before[p % WINDOW] the one before p; both modulo 2^32. Slots never written
     * hold 0 and stale ones some old position: harmless, since every candidate is compared byte by byte. */
    uint32_t head[1 << HASH_BITS], before[WINDOW];
} deflater;

typedef struct match {
    unsigned length, distance; /* length 0: none */
} match;

static unsigned hash_of(const uint8_t *p)
{
    uint32_t four;
    uint16_t two;
    memcpy(&four, p, sizeof four);
    memcpy(&two, p + sizeof four, sizeof two);
    return (unsigned)(((uint64_t)two << 32 | four) * 0x9E3779B97F4A7C15u >> (64 - HASH_BITS));
}

/* Enters position `at` into its chain; returns the position that was the latest there. */
static uint32_t enter(deflater *d, size_t at)
{
    uint32_t *head = &d->head[hash_of(d->in + at)], latest = *head;
    d->before[at % WINDOW] = latest;
    *head = (uint32_t)at;
    return latest;
}

/* The longest match for the bytes at `at`, which is entered. Distances grow along a chain; where they do not, it has ended. */
static match find(deflater *d, size_t at)
{
    match best = {0, 0};
    if (at >= d->n || d->n - at < SHORTEST) return best;
    const uint8_t *p = d->in + at;
    unsigned longest = d->n - at < MAX_LENGTH ? (unsigned)(d->n - at) : MAX_LENGTH;
    uint32_t candidate = enter(d, at), last = 0;
    for (int i = 0; i < CHAIN && best.length < longest; i++) {
        uint32_t distance = (uint32_t)at - candidate;
        if (distance <= last || distance > WINDOW || distance > at) break;
        const uint8_t *q = p - distance;
        if (q[best.length] == p[best.length]) {
            unsigned length = 0;
            while (length < longest && q[length] == p[length]) length++;
            if (length > best.length) best = (match){length, distance};
        }
        last = distance;
        candidate = d->before[candidate % WINDOW];
    }
    if (best.length < SHORTEST) best.length = 0; /* a hash that two strings share */
    return best;
}

static void put(deflater *d, unsigned value, unsigned bits)
{
    d->bits |= (uint64_t)value << d->bit_count;
    for (d->bit_count += bits; d->bit_count >= 8; d->bit_count -= 8, d->bits >>= 8) d->out[d->done++] = (uint8_t)d->bits;
}

typedef struct code {
    uint8_t length[LITERALS];
    uint16_t bits[LITERALS]; /* the first bit lowest, as it goes into the stream */
} code;

static int ascending(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

/* Depths of the leaves in a Huffman tree for m ascending weights: each new node joins the two lightest, which stand first in the
 * row of leaves or in the row of nodes. When the tree is deeper than `limit` the weights are flattened and it is tried again. */
static void tree_depths(uint32_t *weight, unsigned m, unsigned limit, unsigned *depth)
{
    unsigned parent[2 * LITERALS], root = 2 * m - 2;
    for (;;) {
        for (unsigned node = m, leaf = 0, inner = m; node <= root; node++) {
            weight[node] = 0;
            for (int child = 0; child < 2; child++) {
                unsigned pick = leaf < m && (inner == node || weight[leaf] <= weight[inner]) ? leaf++ : inner++;
                weight[node] += weight[pick];
                parent[pick] = node;
            }
        }
        depth[root] = 0;
        for (unsigned i = root; i-- > 0;) depth[i] = depth[parent[i]] + 1;
        if (depth[0] <= limit) return;
        for (unsigned i = 0; i < m; i++) weight[i] = (weight[i] + 1) / 2;
    }
}

/* The canonical code (3.2.2) for symbols with these frequencies. At least two symbols get one, so that it is complete. */
static void make_code(const unsigned *frequency, unsigned n, unsigned limit, code *c)
{
    uint32_t key[LITERALS], weight[2 * LITERALS];
    unsigned depth[2 * LITERALS], m = 0, missing = 0;
    for (unsigned i = 0; i < n; i++) missing += frequency[i] != 0;
    missing = missing < 2 ? 2 - missing : 0;
    for (unsigned i = 0; i < n; i++) {
        if (frequency[i])
            key[m++] = frequency[i] << 9 | i;
        else if (missing)
            key[m++] = 1u << 9 | i, missing--;
    }
    qsort(key, m, sizeof *key, ascending);
    for (unsigned i = 0; i < m; i++) weight[i] = key[i] >> 9;
    tree_depths(weight, m, limit, depth);

    memset(c, 0, sizeof *c);
    for (unsigned i = 0; i < m; i++) c->length[key[i] & 511] = (uint8_t)depth[i];
    unsigned next = 0;
    for (unsigned length = 1; length <= limit; length++, next <<= 1) {
        for (unsigned i = 0; i < n; i++) {
            if (c->length[i] != length) continue;
            for (unsigned bit = 0; bit < length; bit++) c->bits[i] |= (uint16_t)((next >> bit & 1) << (length - 1 - bit));
            next++;
        }
    }
}

static void put_code(deflater *d, const code *c, unsigned i) { put(d, c->bits[i], c->length[i]); }

/* Lengths and distances come in groups (3.2.5), `same` groups of each size, with `extra` bits to tell their members apart. */
static unsigned group_of(unsigned v, unsigned same, unsigned *extra)
{
    *extra = 0;
    while (v >> *extra >= 2 * same) ++*extra;
    return same * *extra + (v >> *extra);
}

static unsigned length_symbol(unsigned length, unsigned *extra)
{
    if (length < MAX_LENGTH) return 257 + group_of(length - MIN_LENGTH, 4, extra);
    *extra = 0;
    return 285;
}

static unsigned distance_symbol(unsigned distance, unsigned *extra) { return group_of(distance - 1, 2, extra); }

/* Puts both codes' lengths, one list, with runs (3.2.7): 16 repeats the last length 3 to 6 times, 17 and 18 stand for 3 to 10 and
 * 11 to 138 zeros. */
static void put_lengths(deflater *d, const uint8_t *length, unsigned n)
{
    static const uint8_t order[CODE_LENGTHS] = {16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15};
    static const uint8_t extra[CODE_LENGTHS] = {[16] = 2, [17] = 3, [18] = 7};
    uint8_t symbol[LITERALS + DISTANCES], rest[LITERALS + DISTANCES];
    unsigned frequency[CODE_LENGTHS] = {0}, m = 0, sent = CODE_LENGTHS;
    for (unsigned i = 0, run; i < n; i += run) {
        unsigned longest = length[i] ? 6 : 138, same = i && length[i] == length[i - 1];
        for (run = 1; run < longest && i + run < n && length[i + run] == length[i];) run++;
        unsigned s = length[i] ? 16 : run < 11 ? 17 : 18;
        if (run < 3 || (length[i] && !same)) run = 1, s = length[i];
        symbol[m] = (uint8_t)s;
        rest[m++] = (uint8_t)(run - (s == 18 ? 11 : s >= 16 ? 3 : 1));
        frequency[s]++;
    }
    code c;
    make_code(frequency, CODE_LENGTHS, 7, &c);
    while (sent > 4 && !c.length[order[sent - 1]]) sent--;
    put(d, sent - 4, 4);
    for (unsigned i = 0; i < sent; i++) put(d, c.length[order[i]], 3);
    for (unsigned i = 0; i < m; i++) {
        put_code(d, &c, symbol[i]);
        put(d, rest[i], extra[symbol[i]]);
    }
}

static void put_tokens(deflater *d, const code *literal, const code *distance)
{
    for (unsigned i = 0; i < d->token_count; i++) {
        token t = d->tokens[i];
        if (!t.length) {
            put_code(d, literal, t.value);
            continue;
        }
        unsigned extra, v = t.length - MIN_LENGTH;
        put_code(d, literal, length_symbol(t.length, &extra));
        put(d, v & ((1u << extra) - 1), extra);
        v = t.value - 1u;
        put_code(d, distance, distance_symbol(t.value, &extra));
        put(d, v & ((1u << extra) - 1), extra);
    }
    put_code(d, literal, 256);
}

/* Makes room for a block: a header and at most 15 + 5 + 15 + 13 bits for each token. */
static en_status reserve(deflater *d, en_error *e)
{
    size_t need = d->done + 1024 + 6 * (size_t)d->token_count;
    if (need <= d->room) return EN_OK;
    size_t room = need > 2 * d->room ? need : 2 * d->room;
    uint8_t *grown = realloc(d->out, room);
    if (!grown) return en_fail(e, EN_E_NOMEM, "deflate: no memory for %zu bytes of output", room);
    d->out = grown;
    d->room = room;
    return EN_OK;
}

/* Writes the waiting tokens as one block with its own codes (3.2.7). */
static en_status put_block(deflater *d, int last, en_error *e)
{
    unsigned literals[LITERALS] = {[256] = 1}, distances[DISTANCES] = {0}, extra;
    EN_TRY(reserve(d, e));
    for (unsigned i = 0; i < d->token_count; i++) {
        token t = d->tokens[i];
        literals[t.length ? length_symbol(t.length, &extra) : t.value]++;
        if (t.length) distances[distance_symbol(t.value, &extra)]++;
    }
    code literal, distance;
    make_code(literals, LITERALS, MAX_BITS, &literal);
    make_code(distances, DISTANCES, MAX_BITS, &distance);
    unsigned n_literals = LITERALS, n_distances = DISTANCES;
    while (!literal.length[n_literals - 1]) n_literals--; /* stops at 256, the end of the block */
    while (!distance.length[n_distances - 1]) n_distances--;
    uint8_t lengths[LITERALS + DISTANCES];
    memcpy(lengths, literal.length, n_literals);
    memcpy(lengths + n_literals, distance.length, n_distances);

    put(d, last ? 1 : 0, 1);
    put(d, 2, 2);
    put(d, n_literals - 257, 5);
    put(d, n_distances - 1, 5);
    put_lengths(d, lengths, n_literals + n_distances);
    put_tokens(d, &literal, &distance);
    d->token_count = 0;
    return EN_OK;
}

static en_status add(deflater *d, unsigned length, unsigned value, en_error *e)
{
    d->tokens[d->token_count++] = (token){(uint16_t)length, (uint16_t)value};
    return d->token_count == BLOCK ? put_block(d, 0, e) : EN_OK;
}

/* Cuts the input into tokens. A match is taken only if none that starts one byte later is longer. */
static en_status put_all(deflater *d, en_error *e)
{
    size_t at = 0;
    match here = find(d, 0);
    while (at < d->n) {
        match next = here.length < GOOD ? find(d, at + 1) : (match){0, 0};
        if (next.length > here.length || !here.length) {
            EN_TRY(add(d, 0, d->in[at++], e));
            here = next;
            continue;
        }
        EN_TRY(add(d, here.length, here.distance, e));
        size_t entered = at + (here.length < GOOD ? 2 : 1), end = at + here.length;
        for (; entered < end && d->n - entered >= SHORTEST; entered++) enter(d, entered);
        at = end;
        here = find(d, at);
    }
    return put_block(d, 1, e);
}

en_status img_deflate(const uint8_t *in, size_t n, uint8_t **out, size_t *size, en_error *e)
{
    *out = NULL;
    deflater *d = calloc(1, sizeof *d);
    if (!d) return en_fail(e, EN_E_NOMEM, "deflate: no memory");
    d->in = in;
    d->n = n;
    en_status status = reserve(d, e);
    if (status == EN_OK) {
        put(d, 0x78, 8); /* deflate, window of 32768 */
        put(d, 0x9C, 8); /* default level; makes the two bytes a multiple of 31 */
        status = put_all(d, e);
    }
    if (status == EN_OK) {
        put(d, 0, (8 - d->bit_count) % 8);
        uint32_t sum = wt_adler32(1, in, n);
        for (int i = 24; i >= 0; i -= 8) put(d, sum >> i & 255, 8);
        *out = d->out;
        *size = d->done;
    } else {
        free(d->out);
    }
    free(d);
    return status;
}
