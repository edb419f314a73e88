/* SPDX-License-Identifier: MIT */
/* Deep feature factorisation (arXiv:1806.10206): a layer's activation, less each channel's minimum, X [C, positions], as a product W H of
 * numbers that are not negative. A row of H is a map, the column of W beside it (plus the minima) the concept that is seen there.
 *
 * The solver is scikit-learn's NMF with its coordinate descent, started as it is from numpy's legacy generator with seed 0, so that both find
 * the same of many local minima: one concept t at a time, W_t <- max(W_t - (W HH'_t - X H'_t) / HH'_tt, 0), then H in the same way; until the
 * slopes add up to 1e-4 of what they did in the first round, 200 rounds at most. */
#include "cam/internal.h"

#include "engine/math.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CONCEPTS = 5 /* of the method dff */, ROUNDS = 200 };

static const double tolerance = 1e-4;

/* ---- numpy.random.RandomState(0).standard_normal ---- */

enum { WORDS = 624 };

/* Mersenne Twister (Matsumoto and Nishimura 1998) and the polar method (Marsaglia 1964), which makes two numbers at once. */
typedef struct normals {
    uint32_t word[WORDS];
    int next;
    double spare;
    int has_spare;
} normals;

static void start(normals *r, uint32_t seed)
{
    *r = (normals){.word = {seed}, .next = WORDS};
    for (uint32_t i = 1; i < WORDS; i++) r->word[i] = 1812433253u * (r->word[i - 1] ^ r->word[i - 1] >> 30) + i;
}

static uint32_t next_word(normals *r)
{
    if (r->next == WORDS) {
        for (int i = 0; i < WORDS; i++) {
            uint32_t y = (r->word[i] & 0x80000000u) | (r->word[(i + 1) % WORDS] & 0x7FFFFFFFu);
            r->word[i] = r->word[(i + 397) % WORDS] ^ y >> 1 ^ (y & 1 ? 0x9908B0DFu : 0);
        }
        r->next = 0;
    }
    uint32_t y = r->word[r->next++];
    y ^= y >> 11;
    y ^= y << 7 & 0x9D2C5680u;
    y ^= y << 15 & 0xEFC60000u;
    return y ^ y >> 18;
}

static double next_uniform(normals *r)
{
    uint32_t high = next_word(r) >> 5, low = next_word(r) >> 6;
    return (high * 67108864.0 + low) / 9007199254740992.0;
}

static double next_normal(normals *r)
{
    if (r->has_spare) return r->has_spare = 0, r->spare;
    double x, y, square;
    do {
        x = 2 * next_uniform(r) - 1;
        y = 2 * next_uniform(r) - 1;
        square = x * x + y * y;
    } while (square >= 1 || square == 0);
    double scale = sqrt(-2 * en_log(square) / square);
    r->spare = scale * x;
    r->has_spare = 1;
    return scale * y;
}

/* ---- the factorisation ---- */

/* X ~ W H. Both factors are kept as lists of concepts: w [r][rows], h [r][columns]. */
typedef struct factors {
    const double *x; /* [rows][columns] */
    size_t rows, columns;
    int r;
    double *w, *h;
    double gram[CAM_MAX_CONCEPTS][CAM_MAX_CONCEPTS];
    double *cross;   /* [r][rows or columns, the larger] */
} factors;

/* gram = H H', cross = X H' for the factor that is about to move, `count` long; x(i, j) lies at i step_i + j step_j. */
static void prepare(factors *f, const double *other, size_t count, size_t length, size_t step_i, size_t step_j)
{
    for (int t = 0; t < f->r; t++) {
        const double *row = other + (size_t)t * length;
        for (int u = 0; u < f->r; u++) {
            f->gram[t][u] = 0;
            for (size_t j = 0; j < length; j++) f->gram[t][u] += row[j] * other[(size_t)u * length + j];
        }
        for (size_t i = 0; i < count; i++) {
            double sum = 0;
            for (size_t j = 0; j < length; j++) sum += f->x[i * step_i + j * step_j] * row[j];
            f->cross[(size_t)t * count + i] = sum;
        }
    }
}

/* One pass over the concepts of a factor; returns how much the slopes violate optimality. */
static double descend(factors *f, double *moving, size_t count)
{
    double violation = 0;
    for (int t = 0; t < f->r; t++)
        for (size_t i = 0; i < count; i++) {
            double slope = -f->cross[(size_t)t * count + i], *at = &moving[(size_t)t * count + i];
            for (int u = 0; u < f->r; u++) slope += moving[(size_t)u * count + i] * f->gram[u][t];
            violation += fabs(*at == 0 && slope > 0 ? 0 : slope);
            if (f->gram[t][t] != 0) *at = fmax(*at - slope / f->gram[t][t], 0);
        }
    return violation;
}

static int solve(factors *f)
{
    double first = 0;
    int round = 0;
    while (round < ROUNDS) {
        prepare(f, f->h, f->rows, f->columns, f->columns, 1);
        double violation = descend(f, f->w, f->rows);
        prepare(f, f->w, f->columns, f->rows, 1, f->columns);
        violation += descend(f, f->h, f->columns);
        if (round++ == 0) first = violation;
        if (first == 0 || violation / first <= tolerance) break;
    }
    return round;
}

/* |a * normal|, a = sqrt(mean X / r): H row by row, then W, whose concepts are columns there. */
static void draw(factors *f)
{
    normals random;
    double mean = 0;
    for (size_t i = 0; i < f->rows * f->columns; i++) mean += f->x[i];
    double a = sqrt(mean / (double)(f->rows * f->columns) / f->r);
    start(&random, 0);
    for (size_t i = 0; i < (size_t)f->r * f->columns; i++) f->h[i] = fabs(a * next_normal(&random));
    for (size_t i = 0; i < f->rows; i++)
        for (size_t t = 0; t < (size_t)f->r; t++) f->w[t * f->rows + i] = fabs(a * next_normal(&random));
}

static void measure(const factors *f, double *error, double *norm)
{
    *error = *norm = 0;
    for (size_t i = 0; i < f->rows; i++)
        for (size_t j = 0; j < f->columns; j++) {
            double x = f->x[i * f->columns + j], off = x;
            for (size_t t = 0; t < (size_t)f->r; t++) off -= f->w[t * f->rows + i] * f->h[t * f->columns + j];
            *error += off * off;
            *norm += x * x;
        }
    *error = sqrt(*error);
    *norm = sqrt(*norm);
}

/* The activation [C, positions] less each channel's minimum, which goes to `offset`; NaN counts as 0. */
static void shift(const float *a, size_t channels, size_t positions, double *x, double *offset)
{
    for (size_t k = 0; k < channels; k++) {
        offset[k] = INFINITY;
        for (size_t i = 0; i < positions; i++) {
            double v = (double)a[k * positions + i];
            x[k * positions + i] = isnan(v) ? 0 : v;
            offset[k] = fmin(offset[k], x[k * positions + i]);
        }
        for (size_t i = 0; i < positions; i++) x[k * positions + i] -= offset[k];
    }
}

/* maps: [count][positions]; vectors: [count][C]. */
static en_status factorise(const float *a, size_t channels, size_t positions, cam_factors *out, double *maps, double *vectors, en_error *e)
{
    size_t r = (size_t)out->count, longer = channels > positions ? channels : positions;
    double *x = malloc((channels * positions + channels + r * longer) * sizeof *x);
    if (!x) return en_fail(e, EN_E_NOMEM, "dff: out of memory");
    factors f = {.x = x, .rows = channels, .columns = positions, .r = out->count, .w = vectors, .h = maps};
    double *offset = x + channels * positions;
    f.cross = offset + channels;
    shift(a, channels, positions, x, offset);
    draw(&f);
    out->iterations = solve(&f);
    measure(&f, &out->error, &out->norm);
    for (size_t t = 0; t < r; t++)
        for (size_t k = 0; k < channels; k++) vectors[t * channels + k] += offset[k];
    free(x);
    return EN_OK;
}

/* ---- what the network makes of a concept ---- */

/* Logits of the tail for each vector alone, standing at every position: [count][classes]. */
static en_status see(cam_ctx *c, const cam_site_layer *l, int image, const double *vectors, int count, float *logits, en_error *e)
{
    EN_TRY(cam_fit_tail(c, l, count, e));
    en_graph *g = c->tail.graph;
    const en_shape *s = en_shape_of(g, l->ref);
    size_t floats = en_image_floats(s), block = en_block_floats(s);
    en_copy_outside(g, 0, c->model.graph, image);
    for (size_t t = 0; t < (size_t)count; t++) {
        float *a = en_value(g, l->ref) + t * floats;
        memcpy(a, en_value(c->model.graph, l->ref) + (size_t)image * floats, floats * sizeof *a);
        for (size_t k = 0; k < (size_t)l->c; k++)
            for (size_t i = (size_t)l->skip; i < block / EN_LANES; i++)
                a[k / EN_LANES * block + i * EN_LANES + k % EN_LANES] = (float)vectors[t * (size_t)l->c + k];
    }
    en_forward_tail(g, 0, 0);
    en_load(en_shape_of(g, c->tail.logits), en_value(g, c->tail.logits), logits);
    return EN_OK;
}

typedef struct room {
    double *maps, *vectors;
    float *logits;
} room;

static en_status make_room(const cam_ctx *c, const cam_site_layer *l, int count, room *r, en_error *e)
{
    size_t n = (size_t)count;
    *r = (room){malloc(n * (size_t)l->h * (size_t)l->w * sizeof *r->maps), malloc(n * (size_t)l->c * sizeof *r->vectors),
                malloc(n * (size_t)c->net->classes * sizeof *r->logits)};
    return r->maps && r->vectors && r->logits ? EN_OK : en_fail(e, EN_E_NOMEM, "dff: out of memory");
}

static void free_room(room *r)
{
    free(r->maps);
    free(r->vectors);
    free(r->logits);
}

static const float *activation(const cam_ctx *c, int layer, int image)
{
    return c->layers[layer].activation + cam_layer_floats(c, layer) / (size_t)c->n * (size_t)image;
}

en_status cam_factor_map(cam_ctx *c, const cam_job *j, int k, int image, double *raw, en_error *e)
{
    const cam_site_layer *l = &c->layers[j->layer[k]];
    size_t positions = (size_t)l->h * (size_t)l->w;
    cam_aim aim = cam_aim_of(c, image, j->aim);
    cam_factors f = {.count = CONCEPTS};
    room r;
    int best = 0;
    double most = -1;
    en_status status = make_room(c, l, CONCEPTS, &r, e);
    if (status == EN_OK) status = factorise(activation(c, j->layer[k], image), (size_t)l->c, positions, &f, r.maps, r.vectors, e);
    if (status == EN_OK) status = see(c, l, image, r.vectors, CONCEPTS, r.logits, e);
    for (int t = 0; t < CONCEPTS && status == EN_OK; t++) {
        aim.utility = CAM_SOFTMAX;
        double p = cam_utility_at(aim, r.logits + (size_t)t * (size_t)c->net->classes, c->net->classes, NULL, NULL, NULL);
        if (p > most) most = p, best = t;
    }
    if (status == EN_OK) memcpy(raw, r.maps + (size_t)best * positions, positions * sizeof *raw);
    free_room(&r);
    return status;
}

static void hand_out(const cam_ctx *c, const cam_site_layer *l, const room *r, cam_factors *out)
{
    size_t n = (size_t)out->count, positions = (size_t)l->h * (size_t)l->w;
    out->height = l->h;
    out->width = l->w;
    out->channels = l->c;
    if (out->maps) memcpy(out->maps, r->maps, n * positions * sizeof *out->maps);
    for (size_t i = 0; i < n * (size_t)l->c && out->vectors; i++) out->vectors[i] = (float)r->vectors[i];
    for (size_t t = 0; t < n && out->cls; t++) cam_top(r->logits + t * (size_t)c->net->classes, c->net->classes, 1, out->cls + t);
}

cam_status cam_factorise(cam_ctx *c, int32_t image, int32_t request, cam_factors *out, cam_error *error)
{
    en_error *e = cam_engine_error(error);
    const cam_job *j = cam_job_at(c, image, request);
    if (out->size < sizeof *out) return en_fail(e, EN_E_ARG, "dff: size is %u, want sizeof(cam_factors)", out->size);
    if (!j) return en_fail(e, EN_E_ARG, "dff: request %d of image %d, want one of the last cam_explain", request, image);
    if (out->count < 1 || out->count > CAM_MAX_CONCEPTS)
        return en_fail(e, EN_E_ARG, "dff: %d concepts, want 1 to %d", out->count, CAM_MAX_CONCEPTS);
    const cam_site_layer *l = &c->layers[j->layer[0]];
    room r;
    en_status status = make_room(c, l, out->count, &r, e);
    if (status == EN_OK)
        status = factorise(activation(c, j->layer[0], image), (size_t)l->c, (size_t)l->h * (size_t)l->w, out, r.maps, r.vectors, e);
    if (status == EN_OK && out->cls) status = see(c, l, image, r.vectors, out->count, r.logits, e);
    if (status == EN_OK) hand_out(c, l, &r, out);
    free_room(&r);
    return status;
}
