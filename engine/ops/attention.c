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
#include "engine/op.h"
#include "engine/ops.h"

#include <math.h>
#include <string.h>

enum { QKV, BIAS };
enum { Q, K, V };
enum { MAX_SIDE = 1 << 15 }; /* of a window's matrices, so that an int counts their numbers */

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
    void (*run)(const struct attention_job *j, const frame *f, int image, int window, int head);
} attention_job;

/* The place in the map of position i of a window, after undoing the shift. */
static int place(const attention_job *j, int window, int i)
{
    const en_attr *a = &j->call->node->attr;
    if (!a->window) return i;
    int across = j->s.w / a->window;
    int y = window / across * a->window + i / a->window, x = window % across * a->window + i % a->window;
    return (y + a->shift) % j->s.h * j->s.w + (x + a->shift) % j->s.w;
}

/* Copies channels c0 .. c0+d-1 of a window's positions into [T][dp] and, if wanted, [dp][tp]; padding is zero. */
static void gather(const attention_job *j, const float *from, int channels, int image, int window, int c0, float *rows, float *columns)
{
    const sizes *s = &j->s;
    size_t hw = (size_t)s->h * (size_t)s->w;
    from += (size_t)image * (size_t)en_blocks(channels) * hw * EN_LANES;
    memset(rows, 0, (size_t)s->t * (size_t)s->dp * sizeof *rows);
    if (columns) memset(columns, 0, (size_t)s->dp * (size_t)s->tp * sizeof *columns);
    for (int i = 0; i < s->t; i++) {
        size_t at = (size_t)place(j, window, i) * EN_LANES;
        for (int k = 0; k < s->d; k++) {
            float v = from[(size_t)((c0 + k) / EN_LANES) * hw * EN_LANES + at + (size_t)((c0 + k) % EN_LANES)];
            rows[i * s->dp + k] = v;
            if (columns) columns[k * s->tp + i] = v;
        }
    }
}

static void scatter(const attention_job *j, const float *rows, float *to, int channels, int image, int window, int c0, int add)
{
    const sizes *s = &j->s;
    size_t hw = (size_t)s->h * (size_t)s->w;
    to += (size_t)image * (size_t)en_blocks(channels) * hw * EN_LANES;
    for (int i = 0; i < s->t; i++) {
        size_t at = (size_t)place(j, window, i) * EN_LANES;
        for (int k = 0; k < s->d; k++) {
            float *y = &to[(size_t)((c0 + k) / EN_LANES) * hw * EN_LANES + at + (size_t)((c0 + k) % EN_LANES)];
            *y = (add ? *y : 0) + rows[i * s->dp + k];
        }
    }
}

static void gather_qkv(const attention_job *j, const float *qkv, int image, int window, int head, float *const rows[3], float *const columns[3])
{
    for (int i = 0; i < 3; i++) gather(j, qkv, 3 * j->s.c, image, window, i * j->s.c + head * j->s.d, rows[i], columns[i]);
}

/* c (+)= a b or a' b: a is [T][inner] read with its strides, b is [inner][columns]. */
static void multiply(const attention_job *j, const float *a, int a_row, int a_step, int inner, const float *b, int columns, float *c, int add)
{
    j->call->kernels->matmul(&(kn_matmul){a, a_row, a_step, b, columns, c, columns, j->s.t, inner, columns, add});
}

/* Which part of the picture a row or column of the shifted map came from: parts 1 and 2 were neighbours only by wrapping. */
static int part(int at, int size, int window, int shift) { return at < size - window ? 0 : at < size - shift ? 1 : 2; }

/* Row of the bias table for query i and key k of a window. */
static int bias_row(int window, int i, int k)
{
    int y = i / window - k / window + window - 1, x = i % window - k % window + window - 1;
    return y * (2 * window - 1) + x;
}

/* S = S / sqrt(d) + B + M. */
static void add_bias(const attention_job *j, float *scores, const float *bias, int masked, int window, int head)
{
    const en_attr *a = &j->call->node->attr;
    const sizes *s = &j->s;
    const float scale = 1 / sqrtf((float)s->d);
    int across = a->window ? s->w / a->window : 1;
    for (int i = 0; i < s->t; i++)
        for (int k = 0; k < s->t; k++) {
            float *v = &scores[i * s->tp + k];
            *v *= scale;
            if (bias) *v += bias[bias_row(a->window, i, k) * s->heads + head];
            if (!masked || !a->shift) continue;
            int y = window / across * a->window, x = window % across * a->window;
            int same = part(y + i / a->window, s->h, a->window, a->shift) == part(y + k / a->window, s->h, a->window, a->shift) &&
                       part(x + i % a->window, s->w, a->window, a->shift) == part(x + k % a->window, s->w, a->window, a->shift);
            if (!same) *v -= 100;
        }
}

/* q, k, v and P of a window. */
static void probabilities(const attention_job *j, const frame *f, int image, int window, int head)
{
    const en_call *c = j->call;
    gather_qkv(j, c->x[QKV], image, window, head, f->x, f->xt);
    multiply(j, f->x[Q], j->s.dp, 1, j->s.dp, f->xt[K], j->s.tp, f->p, 0);
    add_bias(j, f->p, c->node->inputs > 1 ? c->x[BIAS] : NULL, 1, window, head);
    c->kernels->softmax_rows(j->s.t, j->s.t, j->s.tp, f->p);
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
        multiply(j, f->dx[Q], s->dp, 1, s->dp, f->xt[K], s->tp, f->dp, 0);
        multiply(j, f->x[Q], s->dp, 1, s->dp, f->dxt[K], s->tp, f->dp, 1);
    }
    add_bias(j, f->dp, c->dx[BIAS], 0, window, head);
    through_softmax(s, f->p, f->dp);
}

static void fwd(const attention_job *j, const frame *f, int image, int window, int head)
{
    probabilities(j, f, image, window, head);
    multiply(j, f->p, j->s.tp, 1, j->s.t, f->x[V], j->s.dp, f->o, 0);
    scatter(j, f->o, j->call->y, j->s.c, image, window, head * j->s.d, 0);
}

static void jvp(const attention_job *j, const frame *f, int image, int window, int head)
{
    probabilities(j, f, image, window, head);
    moved_probabilities(j, f, image, window, head);
    multiply(j, f->dp, j->s.tp, 1, j->s.t, f->x[V], j->s.dp, f->o, 0);
    multiply(j, f->p, j->s.tp, 1, j->s.t, f->dx[V], j->s.dp, f->o, 1);
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
    const float scale = 1 / sqrtf((float)s->d);
    probabilities(j, f, image, window, head);
    gather(j, c->gy, s->c, image, window, head * s->d, f->go, NULL);
    multiply(j, f->go, s->dp, 1, s->dp, f->xt[V], s->tp, f->g, 0);
    through_softmax(s, f->p, f->g);
    if (c->gx[BIAS]) add_bias_gradient(j, f->g, c->gx[BIAS], head);
    if (!c->gx[QKV]) return;
    multiply(j, f->p, 1, s->tp, s->t, f->go, s->dp, f->o, 0);
    add_rows(j, c->gx[QKV], V, f->o, 1, image, window, head);
    multiply(j, f->g, s->tp, 1, s->t, f->x[K], s->dp, f->o, 0);
    add_rows(j, c->gx[QKV], Q, f->o, scale, image, window, head);
    multiply(j, f->g, 1, s->tp, s->t, f->x[Q], s->dp, f->o, 0);
    add_rows(j, c->gx[QKV], K, f->o, scale, image, window, head);
}

/* gS and its tangent:  dgP = dgo v' + go dv'   dgS = dP * (gP - r) + P * (dgP - dr),  r = sum P gP,  dr = sum (dP gP + P dgP) */
static void moved_scores(const attention_job *j, const frame *f)
{
    const sizes *s = &j->s;
    multiply(j, f->go, s->dp, 1, s->dp, f->xt[V], s->tp, f->g, 0);
    multiply(j, f->dgo, s->dp, 1, s->dp, f->xt[V], s->tp, f->dg, 0);
    multiply(j, f->go, s->dp, 1, s->dp, f->dxt[V], s->tp, f->dg, 1);
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
    const float scale = 1 / sqrtf((float)s->d);
    probabilities(j, f, image, window, head);
    moved_probabilities(j, f, image, window, head);
    gather(j, c->gy, s->c, image, window, head * s->d, f->go, NULL);
    gather(j, c->dgy, s->c, image, window, head * s->d, f->dgo, NULL);
    moved_scores(j, f);
    if (c->dgx[BIAS]) add_bias_gradient(j, f->dg, c->dgx[BIAS], head);
    if (!c->dgx[QKV]) return;
    multiply(j, f->dp, 1, s->tp, s->t, f->go, s->dp, f->o, 0);
    multiply(j, f->p, 1, s->tp, s->t, f->dgo, s->dp, f->o, 1);
    add_rows(j, c->dgx[QKV], V, f->o, 1, image, window, head);
    multiply(j, f->dg, s->tp, 1, s->t, f->x[K], s->dp, f->o, 0);
    multiply(j, f->g, s->tp, 1, s->t, f->dx[K], s->dp, f->o, 1);
    add_rows(j, c->dgx[QKV], Q, f->o, scale, image, window, head);
    multiply(j, f->dg, 1, s->tp, s->t, f->x[Q], s->dp, f->o, 0);
    multiply(j, f->g, 1, s->tp, s->t, f->dx[Q], s->dp, f->o, 1);
    add_rows(j, c->dgx[QKV], K, f->o, scale, image, window, head);
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
    attention_job j = {c, sizes_of(c->node, c->in[QKV]), run};
    en_parallel(serial ? NULL : c->pool, c->images * j.s.windows * j.s.heads, one_window, &j);
}

static void attention_fwd(const en_call *c)
{
    over_windows(c, fwd, 0);
    en_clear_padding(&c->node->shape, c->y);
}

static void attention_jvp(const en_call *c)
{
    over_windows(c, jvp, 0);
    en_clear_padding(&c->node->shape, c->dy);
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
    if (positions > MAX_SIDE || x->dim[1] / 3 / a->heads > MAX_SIDE)
        return en_fail(e, EN_E_LIMIT, "input %s: at most %d positions and channels of a head attend to each other", en_shape_text(x, text), MAX_SIDE);
    int side = 2 * a->window - 1;
    if (n->inputs > 1 && (!a->window || in[BIAS]->rank != 2 || in[BIAS]->dim[0] != side * side || in[BIAS]->dim[1] != a->heads))
        return en_fail(e, EN_E_ARG, "bias %s does not fit windows of %d and %d heads", en_shape_text(in[BIAS], table), a->window, a->heads);
    n->shape = en_nchw(x->dim[0], x->dim[1] / 3, x->dim[2], x->dim[3]);
    sizes s = sizes_of(n, x);
    n->worker_scratch = frame_floats(&s);
    return EN_OK;
}

extern const en_op en_op_attention;
const en_op en_op_attention = {"attention", attention_shape, NULL, attention_fwd, attention_jvp, attention_vjp, attention_dvjp, EN_CURVED, 0, 0, KN_NONE};

en_ref en_attention(en_graph *g, en_ref qkv, en_ref bias, en_windows o)
{
    return en_apply(g, &en_op_attention, (en_ref[]){qkv, bias}, bias == EN_NONE ? 1 : 2, &(en_attr){.heads = o.heads, .window = o.window, .shift = o.shift});
}
