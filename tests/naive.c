/* SPDX-License-Identifier: MIT */
/* The naive versions, one block per op of ops.def. */
#include "tests/naive.h"

#include <math.h>
#include <string.h>

naive_fn *naive_find(const char *op)
{
    static const struct {
        const char *name;
        naive_fn *run;
    } table[] = {
#define OP(name, arguments, shapes, formula) {#name, naive_##name},
#include "engine/ops.def"
#undef OP
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (!strcmp(table[i].name, op)) return table[i].run;
    return NULL;
}

/* Place of [n, c, h, w]. */
static size_t at(const en_shape *s, int n, int c, int h, int w)
{
    return (((size_t)n * (size_t)s->dim[1] + (size_t)c) * (size_t)s->dim[2] + (size_t)h) * (size_t)s->dim[3] + (size_t)w;
}

static int window_count(int size, int pad, int window, int stride) { return (size + 2 * pad - window) / stride + 1; }

/* Weights of a convolution; [O, C] is a window of 1 x 1. */
static en_shape weights_of(const naive_call *c)
{
    en_shape w = c->in[1];
    for (; w.rank < 4; w.rank++) w.dim[w.rank] = 1;
    return w;
}

static double conv_pixel(const naive_call *c, int n, int o, int p, int q)
{
    const en_shape *x = &c->in[0], all = weights_of(c), *w = &all;
    int first = o / (w->dim[0] / c->attr->groups) * w->dim[1]; /* channel of this output's group */
    double sum = c->inputs > 2 ? c->x[2][o] : 0;
    for (int k = 0; k < w->dim[1]; k++)
        for (int r = 0; r < w->dim[2]; r++)
            for (int s = 0; s < w->dim[3]; s++) {
                int i = p * c->attr->stride[0] + r - c->attr->pad[0], j = q * c->attr->stride[1] + s - c->attr->pad[1];
                if (i >= 0 && i < x->dim[2] && j >= 0 && j < x->dim[3])
                    sum += c->x[1][at(w, o, k, r, s)] * c->x[0][at(x, n, first + k, i, j)];
            }
    return sum;
}

void naive_conv2d(naive_call *c)
{
    const en_shape *x = &c->in[0], all = weights_of(c), *w = &all;
    const en_attr *a = c->attr;
    c->out = en_nchw(x->dim[0], w->dim[0], window_count(x->dim[2], a->pad[0], w->dim[2], a->stride[0]),
                     window_count(x->dim[3], a->pad[1], w->dim[3], a->stride[1]));
    for (int n = 0; c->y && n < c->out.dim[0]; n++)
        for (int o = 0; o < c->out.dim[1]; o++)
            for (int p = 0; p < c->out.dim[2]; p++)
                for (int q = 0; q < c->out.dim[3]; q++) c->y[at(&c->out, n, o, p, q)] = conv_pixel(c, n, o, p, q);
}

void naive_linear(naive_call *c)
{
    int rows = c->in[0].dim[0], inputs = c->in[1].dim[1], outputs = c->in[1].dim[0];
    c->out = en_nchw(rows, outputs, 1, 1);
    for (int n = 0; c->y && n < rows; n++)
        for (int o = 0; o < outputs; o++) {
            double sum = c->inputs > 2 ? c->x[2][o] : 0;
            for (int k = 0; k < inputs; k++) sum += c->x[0][n * inputs + k] * c->x[1][o * inputs + k];
            c->y[n * outputs + o] = sum;
        }
}

void naive_batch_norm(naive_call *c)
{
    const double *gamma = c->x[1], *beta = c->x[2], *mean = c->x[3], *var = c->x[4];
    c->out = c->in[0];
    size_t channels = (size_t)c->out.dim[1], pixels = (size_t)c->out.dim[2] * (size_t)c->out.dim[3];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) {
        size_t k = i / pixels % channels;
        c->y[i] = gamma[k] * (c->x[0][i] - mean[k]) / sqrt(var[k] + (double)c->attr->eps) + beta[k];
    }
}

void naive_relu(naive_call *c)
{
    c->out = c->in[0];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = c->x[0][i] > 0 ? c->x[0][i] : 0;
}

void naive_relu6(naive_call *c)
{
    c->out = c->in[0];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = fmin(fmax(c->x[0][i], 0), 6);
}

static double sigmoid(double x) { return 1 / (1 + exp(-x)); }

void naive_sigmoid(naive_call *c)
{
    c->out = c->in[0];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = sigmoid(c->x[0][i]);
}

void naive_silu(naive_call *c)
{
    c->out = c->in[0];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = c->x[0][i] * sigmoid(c->x[0][i]);
}

void naive_gelu(naive_call *c)
{
    c->out = c->in[0];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = c->x[0][i] * (1 + erf(c->x[0][i] / sqrt(2))) / 2;
}

void naive_scale_channels(naive_call *c)
{
    c->out = c->in[0];
    size_t pixels = (size_t)c->out.dim[2] * (size_t)c->out.dim[3];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = c->x[0][i] * c->x[1][i / pixels];
}

/* gamma (x - mean) / sqrt(var + eps) + beta over the channels of one position. */
static void norm_position(const naive_call *c, int n, int h, int w)
{
    const en_shape *s = &c->out;
    int channels = s->dim[1];
    double mean = 0, var = 0;
    for (int k = 0; k < channels; k++) mean += c->x[0][at(s, n, k, h, w)] / channels;
    for (int k = 0; k < channels; k++) var += pow(c->x[0][at(s, n, k, h, w)] - mean, 2) / channels;
    for (int k = 0; k < channels; k++) {
        size_t i = at(s, n, k, h, w);
        c->y[i] = c->x[1][k] * (c->x[0][i] - mean) / sqrt(var + (double)c->attr->eps) + c->x[2][k];
    }
}

void naive_layer_norm(naive_call *c)
{
    c->out = c->in[0];
    for (int n = 0; c->y && n < c->out.dim[0]; n++)
        for (int h = 0; h < c->out.dim[2]; h++)
            for (int w = 0; w < c->out.dim[3]; w++) norm_position(c, n, h, w);
}

/* One row or column of the map, seen after the map has moved by the shift. */
typedef struct place {
    int window, inside; /* which window it lies in, and where in it */
    int wrapped;        /* whether it came in from the other end    */
} place;

static place place_of(const en_attr *a, int size, int i)
{
    if (!a->window) return (place){0, i, 0};
    int moved = (i - a->shift + size) % size;
    return (place){moved / a->window, moved % a->window, i < a->shift};
}

/* The score of the query at (h, w) and the key at (i, j), -infinity where they are in different windows. */
static double score(const naive_call *c, int n, int head, int h, int w, int i, int j)
{
    const en_attr *a = c->attr;
    const en_shape *s = &c->in[0];
    int channels = s->dim[1] / 3, d = channels / a->heads;
    place y = place_of(a, s->dim[2], h), x = place_of(a, s->dim[3], w), v = place_of(a, s->dim[2], i),
          u = place_of(a, s->dim[3], j);
    if (y.window != v.window || x.window != u.window) return -INFINITY;
    double sum = 0;
    for (int k = head * d; k < (head + 1) * d; k++) sum += c->x[0][at(s, n, k, h, w)] * c->x[0][at(s, n, channels + k, i, j)];
    sum /= sqrt(d);
    int side = 2 * a->window - 1, row = (y.inside - v.inside + a->window - 1) * side + x.inside - u.inside + a->window - 1;
    if (c->inputs > 1) sum += c->x[1][row * a->heads + head];
    return y.wrapped == v.wrapped && x.wrapped == u.wrapped ? sum : sum - 100;
}

/* All channels of one head for the query at (h, w): the mean of v over the keys, weighted with exp(score). */
static void attend(const naive_call *c, int n, int head, int h, int w)
{
    const en_shape *s = &c->in[0];
    int channels = s->dim[1] / 3, d = channels / c->attr->heads;
    double most = -INFINITY, total = 0;
    for (int p = 0; p < s->dim[2] * s->dim[3]; p++) most = fmax(most, score(c, n, head, h, w, p / s->dim[3], p % s->dim[3]));
    for (int k = head * d; k < (head + 1) * d; k++) c->y[at(&c->out, n, k, h, w)] = 0;
    for (int i = 0; i < s->dim[2]; i++)
        for (int j = 0; j < s->dim[3]; j++) {
            double weight = exp(score(c, n, head, h, w, i, j) - most);
            total += weight;
            for (int k = head * d; k < (head + 1) * d; k++)
                c->y[at(&c->out, n, k, h, w)] += weight * c->x[0][at(s, n, 2 * channels + k, i, j)];
        }
    for (int k = head * d; k < (head + 1) * d; k++) c->y[at(&c->out, n, k, h, w)] /= total;
}

void naive_attention(naive_call *c)
{
    const int *s = c->in[0].dim;
    c->out = en_nchw(s[0], s[1] / 3, s[2], s[3]);
    for (int n = 0; c->y && n < s[0]; n++)
        for (int head = 0; head < c->attr->heads; head++)
            for (int p = 0; p < s[2] * s[3]; p++) attend(c, n, head, p / s[3], p % s[3]);
}

void naive_patch_merge(naive_call *c)
{
    static const int down[4] = {0, 1, 0, 1}, right[4] = {0, 0, 1, 1};
    const int *s = c->in[0].dim;
    c->out = en_nchw(s[0], 4 * s[1], s[2] / 2, s[3] / 2);
    for (int n = 0; c->y && n < s[0]; n++)
        for (int q = 0; q < 4; q++)
            for (int k = 0; k < s[1]; k++)
                for (int h = 0; h < s[2] / 2; h++)
                    for (int w = 0; w < s[3] / 2; w++)
                        c->y[at(&c->out, n, q * s[1] + k, h, w)] = c->x[0][at(&c->in[0], n, k, 2 * h + down[q], 2 * w + right[q])];
}

void naive_add_tokens(naive_call *c)
{
    const int *s = c->in[0].dim;
    int positions = s[2] * s[3];
    c->out = en_nchw(s[0], s[1], 1, 1 + positions);
    for (int n = 0; c->y && n < s[0]; n++)
        for (int k = 0; k < s[1]; k++)
            for (int p = 0; p <= positions; p++)
                c->y[at(&c->out, n, k, 0, p)] =
                    (p ? c->x[0][(n * s[1] + k) * positions + p - 1] : c->x[1][k]) + c->x[2][p * s[1] + k];
}

void naive_take_token(naive_call *c)
{
    const int *s = c->in[0].dim;
    c->out = en_nchw(s[0], s[1], 1, 1);
    for (int i = 0; c->y && i < s[0] * s[1]; i++) c->y[i] = c->x[0][i * s[2] * s[3] + c->attr->token];
}

void naive_add(naive_call *c)
{
    c->out = c->in[0];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = c->x[0][i] + c->x[1][i];
}

static double largest(const naive_call *c, int n, int k, int p, int q)
{
    const en_attr *a = c->attr;
    double most = -INFINITY;
    for (int r = 0; r < a->kernel[0]; r++)
        for (int s = 0; s < a->kernel[1]; s++) {
            int i = p * a->stride[0] + r - a->pad[0], j = q * a->stride[1] + s - a->pad[1];
            if (i >= 0 && i < c->in[0].dim[2] && j >= 0 && j < c->in[0].dim[3])
                most = fmax(most, c->x[0][at(&c->in[0], n, k, i, j)]);
        }
    return most;
}

void naive_max_pool(naive_call *c)
{
    const en_attr *a = c->attr;
    const int *d = c->in[0].dim;
    c->out = en_nchw(d[0], d[1], window_count(d[2], a->pad[0], a->kernel[0], a->stride[0]),
                     window_count(d[3], a->pad[1], a->kernel[1], a->stride[1]));
    for (int n = 0; c->y && n < d[0]; n++)
        for (int k = 0; k < d[1]; k++)
            for (int p = 0; p < c->out.dim[2]; p++)
                for (int q = 0; q < c->out.dim[3]; q++) c->y[at(&c->out, n, k, p, q)] = largest(c, n, k, p, q);
}

static double mean_of_cell(const naive_call *c, int n, int k, int p, int q)
{
    const en_shape *in = &c->in[0], *out = &c->out;
    double sum = 0;
    int count = 0;
    for (int i = 0; i < in->dim[2]; i++)
        for (int j = 0; j < in->dim[3]; j++) {
            /* Row i belongs to window p when the intervals [i, i+1) and [p H/h, (p+1) H/h) overlap; columns alike. */
            if ((i + 1) * out->dim[2] <= p * in->dim[2] || i * out->dim[2] >= (p + 1) * in->dim[2]) continue;
            if ((j + 1) * out->dim[3] <= q * in->dim[3] || j * out->dim[3] >= (q + 1) * in->dim[3]) continue;
            sum += c->x[0][at(in, n, k, i, j)];
            count++;
        }
    return sum / count;
}

void naive_adaptive_avg_pool(naive_call *c)
{
    const int *d = c->in[0].dim, *o = c->attr->out;
    c->out = en_nchw(d[0], d[1], o[0], o[1]);
    for (int n = 0; c->y && n < d[0]; n++)
        for (int k = 0; k < d[1]; k++)
            for (int p = 0; p < o[0]; p++)
                for (int q = 0; q < o[1]; q++) c->y[at(&c->out, n, k, p, q)] = mean_of_cell(c, n, k, p, q);
}

void naive_flatten(naive_call *c)
{
    const int *d = c->in[0].dim;
    c->out = en_nchw(d[0], d[1] * d[2] * d[3], 1, 1);
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) c->y[i] = c->x[0][i];
}

/* exp(x_c) / sum exp(x) over channels, or its logarithm. */
static void normalise(naive_call *c, int logarithm)
{
    c->out = c->in[0];
    size_t channels = (size_t)c->out.dim[1], pixels = (size_t)c->out.dim[2] * (size_t)c->out.dim[3];
    for (size_t i = 0; c->y && i < en_count(&c->out); i++) {
        size_t first = i / (channels * pixels) * channels * pixels + i % pixels; /* channel 0 of this position */
        if (i >= first + pixels) continue;
        double most = -INFINITY, sum = 0;
        for (size_t k = 0; k < channels; k++) most = fmax(most, c->x[0][first + k * pixels]);
        for (size_t k = 0; k < channels; k++) sum += exp(c->x[0][first + k * pixels] - most);
        for (size_t k = 0; k < channels; k++) {
            double y = c->x[0][first + k * pixels] - most - log(sum);
            c->y[first + k * pixels] = logarithm ? y : exp(y);
        }
    }
}

void naive_softmax(naive_call *c) { normalise(c, 0); }
void naive_log_softmax(naive_call *c) { normalise(c, 1); }
