/* SPDX-License-Identifier: MIT */
/* Multi-head attention inside windows. For each image, window and head, with T positions and d channels per head:
 *
 *     S = q k' / sqrt(d) + B + M      P = softmax of each row of S      o = P v
 *
 * B is the relative position bias, M the mask of shifted windows (Swin, arXiv:2103.14030); one window without either is plain attention.
 * The rules, with r(A) the sum of each row of P * A (element by element):
 *
 *     dS = (dq k' + q dk') / sqrt(d) + dB        dP = P * (dS - r(dS))           do = dP v + P dv
 *     gP = go v'      gS = P * (gP - r(gP))      gv = P' go    gq = gS k / sqrt(d)    gk = gS' q / sqrt(d)    gB = gS
 *
 * and the tangents of the second line, product by product. Shifting and cutting into windows is a list of positions: no copy is made. */
#include "engine/memory.h"
#include "engine/op.h"
#include "engine/ops.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { QKV, BIAS };
enum { Q, K, V };
enum { MAX_SIDE = 1 << 15 }; /* of a window's matrices, so that an int counts their numbers; and of heads */

/* Sizes of one call. Matrices of a window are row-major with rows padded to whole vectors: [T][dp] and [T][tp]. */
typedef struct sizes {
    int c, h, w, heads, d, dp, t, tp, windows;
} sizes;

static int padded(int n) { return en_blocks(n) * EN_LANES; }

static sizes sizes_of(const en_node *n, const en_shape *qkv)
{
    const en_attr *a = &n->attr;
    sizes s = {.c = qkv->dim[1] / 3, .h = qkv->dim[2], .w = qkv->dim[3], .heads = a->heads};
    s.d = s.c / s.heads;
    s.dp = padded(s.d);
    s.t = a->window ? a->window * a->window : s.h * s.w;
    s.tp = padded(s.t);
    s.windows = a->window ? s.h / a->window * (s.w / a->window) : 1;
    return s;
}

/* The matrices of one window and head, in a worker's scratch. x: q, k, v and their transposes; d..: their tangents. */
typedef struct frame {
    float *x[3], *dx[3], *xt[3], *dxt[3]; /* [T][dp] and [dp][tp] */
    float *p, *dp, *g, *dg;               /* [T][tp]: P, dP, gP then gS, and its tangent */
    float *o, *go, *dgo;                  /* [T][dp] */
} frame;

static size_t frame_floats(const sizes *s)
{
    size_t td = (size_t)s->t * (size_t)s->dp, dt = (size_t)s->dp * (size_t)s->tp, tt = (size_t)s->t * (size_t)s->tp;
    return 9 * td + 6 * dt + 4 * tt;
}

static frame frame_at(const sizes *s, float *m)
{
    size_t td = (size_t)s->t * (size_t)s->dp, dt = (size_t)s->dp * (size_t)s->tp, tt = (size_t)s->t * (size_t)s->tp;
    frame f;
    for (int i = 0; i < 3; i++) {
        f.x[i] = m, m += td;
        f.dx[i] = m, m += td;
        f.xt[i] = m, m += dt;
        f.dxt[i] = m, m += dt;
    }
    f.p = m, f.dp = m + tt, f.g = m + 2 * tt, f.dg = m + 3 * tt, m += 4 * tt;
    f.o = m, f.go = m + td, f.dgo = m + 2 * td;
    return f;
}

typedef struct attention_job {
    const en_call *call;
    sizes s;
    float scale;        /* 1 / sqrt(d) */
    const float *table; /* see expand(); NULL: neither bias nor mask */
    void (*run)(const struct attention_job *j, const frame *f, int image, int window, int head);
} attention_job;

/* Where the positions of a window lie in the map, after undoing the shift: rows y, y+1, .. and columns x, x+1, .., both wrapping. */
typedef struct region {
    int y, x, rows, columns, h, w;
} region;

static region region_of(const attention_job *j, int window)
{
    const en_attr *a = &j->call->node->attr;
    region r = {0, 0, j->s.h, j->s.w, j->s.h, j->s.w};
    if (!a->window) return r;
    int across = j->s.w / a->window;
    return (region){window / across * a->window + a->shift, window % across * a->window + a->shift, a->window, a->window, j->s.h, j->s.w};
}

static int wrap(int at, int size) { return at < size ? at : at - size; }

static size_t place(const region *g, int row, int column) { return (size_t)(wrap(g->y + row, g->h) * g->w + wrap(g->x + column, g->w)) * EN_LANES; }

/* How many of the channels from c on, of at most `most`, lie side by side. */
static int together(int c, int most) { return most < EN_LANES - c % EN_LANES ? most : EN_LANES - c % EN_LANES; }

/* Copies channels c0 .. c0+d-1 of a window's positions into [T][dp]; padding is zero. */
static void gather(const attention_job *j, const float *from, int channels, int image, int window, int c0, float *rows)
{
    const sizes *s = &j->s;
    size_t block = (size_t)s->h * (size_t)s->w * EN_LANES;
    region g = region_of(j, window);
    from += (size_t)image * (size_t)en_blocks(channels) * block;
    for (int r = 0; r < g.rows; r++)
        for (int q = 0; q < g.columns; q++, rows += s->dp) {
            const float *x = from + place(&g, r, q);
            for (int k = 0, n; k < s->d; k += n) {
                n = together(c0 + k, s->d - k);
                const float *piece = x + (size_t)((c0 + k) / EN_LANES) * block + (size_t)((c0 + k) % EN_LANES);
                if (n == EN_LANES) memcpy(rows + k, piece, EN_LANES * sizeof *rows);
                else memcpy(rows + k, piece, (size_t)n * sizeof *rows);
            }
            for (int k = s->d; k < s->dp; k++) rows[k] = 0;
        }
}

static void scatter(const attention_job *j, const float *rows, float *to, int channels, int image, int window, int c0, int add)
{
    const sizes *s = &j->s;
    size_t block = (size_t)s->h * (size_t)s->w * EN_LANES;
    region g = region_of(j, window);
    to += (size_t)image * (size_t)en_blocks(channels) * block;
    for (int r = 0; r < g.rows; r++)
        for (int q = 0; q < g.columns; q++, rows += s->dp) {
            float *y = to + place(&g, r, q);
            for (int k = 0, n; k < s->d; k += n) {
                n = together(c0 + k, s->d - k);
                float *piece = y + (size_t)((c0 + k) / EN_LANES) * block + (size_t)((c0 + k) % EN_LANES);
                if (!add && n == EN_LANES) memcpy(piece, rows + k, EN_LANES * sizeof *rows);
                else for (int i = 0; i < n; i++) piece[i] = (add ? piece[i] : 0) + rows[k + i];
            }
        }
}

/* [T][dp] to [dp][tp], padding zero. */
static void transpose(const attention_job *j, const float *rows, float *columns)
{
    j->call->kernels->transpose(j->s.t, j->s.dp, rows, j->s.dp, columns, j->s.tp);
}

/* q, k and v of a window and head as rows, and as columns. */
static void gather_qkv(const attention_job *j, const float *qkv, int image, int window, int head, float *const rows[3], float *const columns[3])
{
    for (int i = 0; i < 3; i++) {
        gather(j, qkv, 3 * j->s.c, image, window, i * j->s.c + head * j->s.d, rows[i]);
        transpose(j, rows[i], columns[i]);
    }
}

/* c = scale a b or scale a' b, or this added: a is [T][inner] read with its strides, b is [inner][columns]. */
static void multiply(const attention_job *j, const float *a, int a_row, int a_step, int inner, const float *b, int columns, float scale, float *c, int add)
{
    j->call->kernels->matmul(&(kn_matmul){a, a_row, a_step, b, columns, c, columns, j->s.t, inner, columns, scale, add ? c : NULL, columns});
}

/* Row of the bias table for query i and key k of a window. */
static int bias_row(int window, int i, int k)
{
    int y = i / window - k / window + window - 1, x = i % window - k % window + window - 1;
    return y * (2 * window - 1) + x;
}

/* B + M as matrices [class][head][T][tp]. Shifted windows are of four classes: at the lower edge or not, at the right edge or not. In those at
 * an edge some positions are neighbours only by wrapping. */
static int classes_of(const en_node *n) { return n->attr.shift ? 4 : 1; }
static int class_of(const en_node *n, const sizes *s, int window)
{
    int across = n->attr.window ? s->w / n->attr.window : 1;
    return n->attr.shift ? 2 * (window / across == s->h / n->attr.window - 1) + (window % across == across - 1) : 0;
}

static int parted(int edge, int i, int k, int border) { return edge && (i < border) != (k < border); }

static int needs_table(const en_node *n) { return n->inputs > 1 || n->attr.shift; }
static size_t table_floats(const en_node *n, const sizes *s) { return (size_t)classes_of(n) * (size_t)s->heads * (size_t)s->t * (size_t)s->tp; }

static void expand(const en_node *n, const sizes *s, const float *bias, float *table)
{
    int window = n->attr.window, border = window - n->attr.shift;
    for (int class = 0; class < classes_of(n); class ++)
        for (int head = 0; head < s->heads; head++)
            for (int i = 0; i < s->t; i++)
                for (int k = 0; k < s->tp; k++, table++) {
                    *table = 0;
                    if (k >= s->t) continue;
                    if (bias) *table = bias[bias_row(window, i, k) * s->heads + head];
                    if (parted(class / 2, i / window, k / window, border) || parted(class % 2, i % window, k % window, border)) *table -= 100;
                }
}

/* P of a window and head. */
static void softmax_of_products(const attention_job *j, const float *q, const float *keys, int window, int head, float *p)
{
    const sizes *s = &j->s;
    const float *plus = j->table ? j->table + ((size_t)class_of(j->call->node, s, window) * (size_t)s->heads + (size_t)head) * (size_t)s->t * (size_t)s->tp : NULL;
    j->call->kernels->matmul(&(kn_matmul){q, s->dp, 1, keys, s->tp, p, s->tp, s->t, s->d, s->tp, j->scale, plus, s->tp});
    j->call->kernels->softmax_rows(s->t, s->t, s->tp, p);
}

/* q, k, v and P. */
static void probabilities(const attention_job *j, const frame *f, int image, int window, int head)
{
    gather_qkv(j, j->call->x[QKV], image, window, head, f->x, f->xt);
    softmax_of_products(j, f->x[Q], f->xt[K], window, head, f->p);
}

/* a = P * (a - r(a)) */
static void through_softmax(const sizes *s, const float *p, float *a)
{
    for (int i = 0; i < s->t; i++) {
        float sum = 0;
        for (int k = 0; k < s->t; k++) sum += p[i * s->tp + k] * a[i * s->tp + k];
        for (int k = 0; k < s->tp; k++) a[i * s->tp + k] = p[i * s->tp + k] * (a[i * s->tp + k] - sum);
    }
}

/* dP, from tangents of q, k, v (zero where they are not differentiated) and of the bias. */
static void moved_probabilities(const attention_job *j, const frame *f, int image, int window, int head)
{
    const en_call *c = j->call;
    const sizes *s = &j->s;
    memset(f->dp, 0, (size_t)s->t * (size_t)s->tp * sizeof *f->dp);
    for (int i = 0; i < 3 && !c->dx[QKV]; i++) {
        memset(f->dx[i], 0, (size_t)s->t * (size_t)s->dp * sizeof(float));
        memset(f->dxt[i], 0, (size_t)s->dp * (size_t)s->tp * sizeof(float));
    }
    if (c->dx[QKV]) {
        gather_qkv(j, c->dx[QKV], image, window, head, f->dx, f->dxt);
        multiply(j, f->dx[Q], s->dp, 1, s->dp, f->xt[K], s->tp, j->scale, f->dp, 0);
        multiply(j, f->x[Q], s->dp, 1, s->dp, f->dxt[K], s->tp, j->scale, f->dp, 1);
    }
    for (int i = 0; c->dx[BIAS] && i < s->t; i++)
        for (int k = 0; k < s->t; k++) f->dp[i * s->tp + k] += c->dx[BIAS][bias_row(c->node->attr.window, i, k) * s->heads + head];
    through_softmax(s, f->p, f->dp);
}

static void fwd(const attention_job *j, const frame *f, int image, int window, int head)
{
    const sizes *s = &j->s;
    for (int i = 0; i < 3; i++) gather(j, j->call->x[QKV], 3 * s->c, image, window, i * s->c + head * s->d, f->x[i]);
    transpose(j, f->x[K], f->xt[K]);
    softmax_of_products(j, f->x[Q], f->xt[K], window, head, f->p);
    multiply(j, f->p, s->tp, 1, s->t, f->x[V], s->dp, 1, f->o, 0);
    scatter(j, f->o, j->call->y, s->c, image, window, head * s->d, 0);
}

static void jvp(const attention_job *j, const frame *f, int image, int window, int head)
{
    probabilities(j, f, image, window, head);
    moved_probabilities(j, f, image, window, head);
    multiply(j, f->dp, j->s.tp, 1, j->s.t, f->x[V], j->s.dp, 1, f->o, 0);
    multiply(j, f->p, j->s.tp, 1, j->s.t, f->dx[V], j->s.dp, 1, f->o, 1);
    scatter(j, f->o, j->call->dy, j->s.c, image, window, head * j->s.d, 0);
}

static void add_rows(const attention_job *j, float *to, int which, float *rows, float scale, int image, int window, int head)
{
    for (int i = 0; i < j->s.t * j->s.dp; i++) rows[i] *= scale;
    scatter(j, rows, to, 3 * j->s.c, image, window, which * j->s.c + head * j->s.d, 1);
}

static void add_bias_gradient(const attention_job *j, const float *g, float *to, int head)
{
    for (int i = 0; i < j->s.t; i++)
        for (int k = 0; k < j->s.t; k++) to[bias_row(j->call->node->attr.window, i, k) * j->s.heads + head] += g[i * j->s.tp + k];
}

static void vjp(const attention_job *j, const frame *f, int image, int window, int head)
{
    const en_call *c = j->call;
    const sizes *s = &j->s;
    probabilities(j, f, image, window, head);
    gather(j, c->gy, s->c, image, window, head * s->d, f->go);
    multiply(j, f->go, s->dp, 1, s->dp, f->xt[V], s->tp, 1, f->g, 0);
    through_softmax(s, f->p, f->g);
    if (c->gx[BIAS]) add_bias_gradient(j, f->g, c->gx[BIAS], head);
    if (!c->gx[QKV]) return;
    multiply(j, f->p, 1, s->tp, s->t, f->go, s->dp, 1, f->o, 0);
    add_rows(j, c->gx[QKV], V, f->o, 1, image, window, head);
    multiply(j, f->g, s->tp, 1, s->t, f->x[K], s->dp, 1, f->o, 0);
    add_rows(j, c->gx[QKV], Q, f->o, j->scale, image, window, head);
    multiply(j, f->g, 1, s->tp, s->t, f->x[Q], s->dp, 1, f->o, 0);
    add_rows(j, c->gx[QKV], K, f->o, j->scale, image, window, head);
}

/* gS and its tangent:  dgP = dgo v' + go dv'   dgS = dP * (gP - r) + P * (dgP - dr),  r = sum P gP,  dr = sum (dP gP + P dgP) */
static void moved_scores(const attention_job *j, const frame *f)
{
    const sizes *s = &j->s;
    multiply(j, f->go, s->dp, 1, s->dp, f->xt[V], s->tp, 1, f->g, 0);
    multiply(j, f->dgo, s->dp, 1, s->dp, f->xt[V], s->tp, 1, f->dg, 0);
    multiply(j, f->go, s->dp, 1, s->dp, f->dxt[V], s->tp, 1, f->dg, 1);
    for (int i = 0; i < s->t; i++) {
        const float *p = f->p + i * s->tp, *dp = f->dp + i * s->tp;
        float *g = f->g + i * s->tp, *dg = f->dg + i * s->tp, r = 0, dr = 0;
        for (int k = 0; k < s->t; k++) {
            r += p[k] * g[k];
            dr += dp[k] * g[k] + p[k] * dg[k];
        }
        for (int k = 0; k < s->tp; k++) {
            dg[k] = dp[k] * (g[k] - r) + p[k] * (dg[k] - dr);
            g[k] = p[k] * (g[k] - r);
        }
    }
}

static void dvjp(const attention_job *j, const frame *f, int image, int window, int head)
{
    const en_call *c = j->call;
    const sizes *s = &j->s;
    probabilities(j, f, image, window, head);
    moved_probabilities(j, f, image, window, head);
    gather(j, c->gy, s->c, image, window, head * s->d, f->go);
    gather(j, c->dgy, s->c, image, window, head * s->d, f->dgo);
    moved_scores(j, f);
    if (c->dgx[BIAS]) add_bias_gradient(j, f->dg, c->dgx[BIAS], head);
    if (!c->dgx[QKV]) return;
    multiply(j, f->dp, 1, s->tp, s->t, f->go, s->dp, 1, f->o, 0);
    multiply(j, f->p, 1, s->tp, s->t, f->dgo, s->dp, 1, f->o, 1);
    add_rows(j, c->dgx[QKV], V, f->o, 1, image, window, head);
    multiply(j, f->dg, s->tp, 1, s->t, f->x[K], s->dp, 1, f->o, 0);
    multiply(j, f->g, s->tp, 1, s->t, f->dx[K], s->dp, 1, f->o, 1);
    add_rows(j, c->dgx[QKV], Q, f->o, j->scale, image, window, head);
    multiply(j, f->dg, 1, s->tp, s->t, f->x[Q], s->dp, 1, f->o, 0);
    multiply(j, f->g, 1, s->tp, s->t, f->dx[Q], s->dp, 1, f->o, 1);
    add_rows(j, c->dgx[QKV], K, f->o, j->scale, image, window, head);
}

static void one_window(void *arg, int job, int worker)
{
    const attention_job *j = arg;
    frame f = frame_at(&j->s, j->call->worker_scratch + (size_t)worker * j->call->node->worker_scratch);
    j->run(j, &f, job / j->s.heads / j->s.windows, job / j->s.heads % j->s.windows, job % j->s.heads);
}

/* Windows and heads do not touch each other's numbers, except in the gradient of the bias: `serial` then. */
static void over_windows(const en_call *c, void (*run)(const attention_job *, const frame *, int, int, int), int serial)
{
    const en_node *n = c->node;
    attention_job j = {.call = c, .s = sizes_of(n, c->in[QKV]), .table = n->prepared, .run = run};
    j.scale = 1 / sqrtf((float)j.s.d);
    if (needs_table(n) && !n->prepared) {
        expand(n, &j.s, n->inputs > 1 ? c->x[BIAS] : NULL, c->scratch);
        j.table = c->scratch;
    }
    en_parallel(serial ? NULL : c->pool, c->images * j.s.windows * j.s.heads, one_window, &j);
}

static void attention_fwd(const en_call *c)
{
    over_windows(c, fwd, 0);
    en_clear_output(c, c->y);
}

static void attention_jvp(const en_call *c)
{
    over_windows(c, jvp, 0);
    en_clear_output(c, c->dy);
}

static void attention_vjp(const en_call *c) { over_windows(c, vjp, c->gx[BIAS] != NULL); }
static void attention_dvjp(const en_call *c) { over_windows(c, dvjp, c->dgx[BIAS] != NULL); }

static en_status attention_shape(en_node *n, const en_shape *const in[], en_error *e)
{
    const en_attr *a = &n->attr;
    const en_shape *x = in[QKV];
    char text[64], table[64];
    if (x->layout != EN_BLOCKED || a->heads < 1 || x->dim[1] % 3 || x->dim[1] / 3 % a->heads)
        return en_fail(e, EN_E_ARG, "%d heads do not share the channels of input %s", a->heads, en_shape_text(x, text));
    if (a->window < 0 || (a->window && (x->dim[2] % a->window || x->dim[3] % a->window)) || a->shift < 0 || (a->shift && a->shift >= a->window))
        return en_fail(e, EN_E_ARG, "windows of %d moved by %d do not tile input %s", a->window, a->shift, en_shape_text(x, text));
    size_t positions = a->window ? (size_t)a->window * (size_t)a->window : (size_t)x->dim[2] * (size_t)x->dim[3];
    if (positions > MAX_SIDE || x->dim[1] / 3 / a->heads > MAX_SIDE || a->heads > MAX_SIDE)
        return en_fail(e, EN_E_LIMIT, "input %s: at most %d heads, positions and channels of a head attend to each other", en_shape_text(x, text), MAX_SIDE);
    int side = 2 * a->window - 1;
    if (n->inputs > 1 && (!a->window || in[BIAS]->rank != 2 || in[BIAS]->dim[0] != side * side || in[BIAS]->dim[1] != a->heads))
        return en_fail(e, EN_E_ARG, "bias %s does not fit windows of %d and %d heads", en_shape_text(in[BIAS], table), a->window, a->heads);
    n->shape = en_nchw(x->dim[0], x->dim[1] / 3, x->dim[2], x->dim[3]);
    sizes s = sizes_of(n, x);
    n->scratch = needs_table(n) ? table_floats(n, &s) : 0;
    n->worker_scratch = frame_floats(&s);
    return EN_OK;
}

typedef struct table_blob {
    en_graph *g;
    const en_node *n;
} table_blob;

static en_status make_table(const void *arg, int piece, float *data, en_error *e)
{
    (void)piece;
    const table_blob *b = arg;
    const en_node *bias = en_node_at(b->g, b->n->in[BIAS]);
    sizes s = sizes_of(b->n, &en_node_at(b->g, b->n->in[QKV])->shape);
    float *values = en_alloc_floats(en_floats(&bias->shape));
    if (!values) return en_fail(e, EN_E_NOMEM, "%s: out of memory", bias->key);
    en_status status = en_params_read(en_params_of(b->g), bias->key, &bias->shape, 0, en_count(&bias->shape), values, e);
    if (status == EN_OK) expand(b->n, &s, values, data);
    free(values);
    return status;
}

static en_status attention_prepare(en_graph *g, en_node *n, en_error *e)
{
    char name[512];
    snprintf(name, sizeof name, "%s/windows of %d moved by %d", en_node_at(g, n->in[BIAS])->key, n->attr.window, n->attr.shift);
    table_blob b = {g, n};
    return en_params_blob(en_params_of(g), &(en_blob){name, n->scratch, 1, make_table, &b, sizeof b}, &n->prepared, e);
}

extern const en_op en_op_attention;
const en_op en_op_attention = {"attention", attention_shape, attention_prepare, attention_fwd, attention_jvp, attention_vjp, attention_dvjp,
                                EN_CURVED, 0, 1u << BIAS, KN_NONE};

en_ref en_attention(en_graph *g, en_ref qkv, en_ref bias, en_windows o)
{
    return en_apply(g, &en_op_attention, (en_ref[]){qkv, bias}, bias == EN_NONE ? 1 : 2, &(en_attr){.heads = o.heads, .window = o.window, .shift = o.shift});
}
