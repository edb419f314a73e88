/* SPDX-License-Identifier: MIT */
/* The largest eigenvalue of a symmetric matrix that is known by its products with vectors, by Lanczos' method with full
 * orthogonalisation: a basis of up to STEPS vectors in which the matrix is tridiagonal, whose eigenvalues Jacobi's rotations find; started
 * again from the best vector until the residual is rounding. */
#include "cam/eigen.h"

#include "engine/math.h"
#include "weights/seeded.h"

#include <math.h>
#include <stdlib.h>

enum { STEPS = 40, RESTARTS = 200, SWEEPS = 60, MAX_KERNEL = 2500 /* positions: 50 MB */ };

/* y = K x for vectors of n numbers. */
typedef struct symmetric {
    size_t n;
    void (*multiply)(const struct symmetric *m, const double *x, double *y);
    const double *data;   /* X', [channels][n], or K itself, [n][n] */
    size_t channels;
} symmetric;

static double dot(const double *x, const double *y, size_t n)
{
    double sum = 0;
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

static void add_scaled(double *y, double a, const double *x, size_t n)
{
    for (size_t i = 0; i < n; i++) y[i] += a * x[i];
}

/* K = X X' */
static void multiply_gram(const symmetric *m, const double *x, double *y)
{
    for (size_t s = 0; s < m->n; s++) y[s] = 0;
    for (size_t k = 0; k < m->channels; k++) add_scaled(y, dot(m->data + k * m->n, x, m->n), m->data + k * m->n, m->n);
}

static void multiply_dense(const symmetric *m, const double *x, double *y)
{
    for (size_t s = 0; s < m->n; s++) y[s] = dot(m->data + s * m->n, x, m->n);
}

/* Eigenvalues of a, [n][STEPS], on its diagonal and eigenvectors in the columns of v, by cyclic rotations. */
static void jacobi(int n, double a[STEPS][STEPS], double v[STEPS][STEPS])
{
    for (int i = 0; i < n; i++)
        for (int j = 0; j < n; j++) v[i][j] = i == j;
    for (int sweep = 0; sweep < SWEEPS; sweep++)
        for (int p = 0; p < n; p++)
            for (int q = p + 1; q < n; q++) {
                if (a[p][q] == 0) continue;
                double theta = (a[q][q] - a[p][p]) / (2 * a[p][q]);
                double t = (theta < 0 ? -1 : 1) / (fabs(theta) + sqrt(theta * theta + 1)), c = 1 / sqrt(t * t + 1), s = t * c;
                for (int k = 0; k < n; k++) {
                    double x = a[k][p], y = a[k][q];
                    a[k][p] = c * x - s * y, a[k][q] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = a[p][k], y = a[q][k];
                    a[p][k] = c * x - s * y, a[q][k] = s * x + c * y;
                }
                for (int k = 0; k < n; k++) {
                    double x = v[k][p], y = v[k][q];
                    v[k][p] = c * x - s * y, v[k][q] = s * x + c * y;
                }
            }
}

/* One round from the unit vector x, which becomes the best vector found; returns how far it is from being an eigenvector. */
static double round_of(const symmetric *m, double *basis, double *x, double *value)
{
    static const double rounding = 1e-13;
    double t[STEPS][STEPS] = {{0}}, v[STEPS][STEPS], scale = 0, left = 0;
    int steps = 0;
    for (size_t i = 0; i < m->n; i++) basis[i] = x[i];
    while (steps < STEPS) {
        double *b = basis + (size_t)steps * m->n, *next = b + m->n;
        m->multiply(m, b, next);
        for (int pass = 0; pass < 2; pass++) /* twice is enough */
            for (int i = 0; i <= steps; i++) {
                double along = dot(basis + (size_t)i * m->n, next, m->n);
                if (pass == 0 && i >= steps - 1) t[i][steps] = t[steps][i] = along;
                add_scaled(next, -along, basis + (size_t)i * m->n, m->n);
            }
        steps++;
        left = sqrt(dot(next, next, m->n));
        scale = fmax(scale, left + fabs(t[steps - 1][steps - 1]));
        if (left <= rounding * scale) {
            left = 0;
            break;
        }
        for (size_t i = 0; i < m->n; i++) next[i] /= left;
    }
    jacobi(steps, t, v);
    int best = 0;
    for (int i = 1; i < steps; i++)
        if (t[i][i] > t[best][best]) best = i;
    *value = t[best][best];
    for (size_t i = 0; i < m->n; i++) x[i] = 0;
    for (int i = 0; i < steps; i++) add_scaled(x, v[i][best], basis + (size_t)i * m->n, m->n);
    double length = sqrt(dot(x, x, m->n));
    for (size_t i = 0; i < m->n; i++) x[i] /= length;
    return scale > 0 ? fabs(left * v[steps - 1][best]) / scale : 0;
}

/* The largest eigenvalue and its unit vector, which starts from numbers that favour no direction. */
static en_status largest(const symmetric *m, double *vector, double *value, en_error *e)
{
    double *basis = malloc((STEPS + 1) * m->n * sizeof *basis);
    if (!basis) return en_fail(e, EN_E_NOMEM, "principal component: out of memory");
    uint64_t stream = wt_seeded_stream("eigen", 0);
    for (size_t i = 0; i < m->n; i++) vector[i] = wt_uniform(stream, i);
    double length = sqrt(dot(vector, vector, m->n));
    for (size_t i = 0; i < m->n; i++) vector[i] /= length;
    for (int i = 0; i < RESTARTS; i++)
        if (round_of(m, basis, vector, value) < 1e-14) break;
    free(basis);
    return EN_OK;
}

/* X': p with the mean of each channel taken away; NaN counts as 0. */
static double *centred(const double *p, size_t channels, size_t n)
{
    double *x = malloc(channels * n * sizeof *x);
    for (size_t k = 0; x && k < channels; k++) {
        double mean = 0;
        for (size_t s = 0; s < n; s++) mean += x[k * n + s] = isnan(p[k * n + s]) ? 0 : p[k * n + s];
        for (size_t s = 0; s < n; s++) x[k * n + s] -= mean / (double)n;
    }
    return x;
}

static void turn_largest_up(double *map, size_t n)
{
    size_t most = 0;
    for (size_t s = 1; s < n; s++)
        if (fabs(map[s]) > fabs(map[most])) most = s;
    for (size_t s = 0, down = map[most] < 0; s < n && down; s++) map[s] = -map[s];
}

en_status cam_project(const double *p, size_t channels, size_t n, double *map, en_error *e)
{
    double *x = centred(p, channels, n), value = 0, agreement = 0;
    if (!x) return en_fail(e, EN_E_NOMEM, "principal component: out of memory");
    en_status status = largest(&(symmetric){.n = n, .multiply = multiply_gram, .data = x, .channels = channels}, map, &value, e);
    for (size_t s = 0; status == EN_OK && s < n; s++) {
        map[s] *= sqrt(value > 0 ? value : 0);
        double sum = 0;
        for (size_t k = 0; k < channels; k++) sum += x[k * n + s];
        agreement += map[s] * sum;
    }
    if (agreement < 0)
        for (size_t s = 0; s < n; s++) map[s] = -map[s];
    if (status == EN_OK && agreement == 0) turn_largest_up(map, n);
    free(x);
    return status;
}

/* K = tanh(x y / channels + 1), then the means of rows and columns taken away and the grand mean added. */
static void centred_kernel(const double *x, size_t channels, size_t n, double *k, double *mean)
{
    double grand = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) {
            double sum = 0;
            for (size_t c = 0; c < channels; c++) sum += x[c * n + i] * x[c * n + j];
            k[i * n + j] = 1 - 2 / (en_exp(2 * (sum / (double)channels + 1)) + 1); /* tanh */
        }
    for (size_t i = 0; i < n; i++) {
        mean[i] = 0;
        for (size_t j = 0; j < n; j++) mean[i] += k[i * n + j] / (double)n;
        grand += mean[i] / (double)n;
    }
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < n; j++) k[i * n + j] += grand - mean[i] - mean[j];
}

en_status cam_project_kernel(const double *p, size_t channels, size_t n, double *map, en_error *e)
{
    if (n > MAX_KERNEL) return en_fail(e, EN_E_LIMIT, "kpcacam: a layer of %zu positions, want at most %d", n, MAX_KERNEL);
    double *x = centred(p, channels, n), *k = malloc((n + 1) * n * sizeof *k), value = 0;
    en_status status = x && k ? EN_OK : en_fail(e, EN_E_NOMEM, "kpcacam: out of memory");
    if (status == EN_OK) {
        centred_kernel(x, channels, n, k, k + n * n);
        status = largest(&(symmetric){.n = n, .multiply = multiply_dense, .data = k}, map, &value, e);
    }
    if (status == EN_OK && value < 0) status = en_fail(e, EN_E_ARG, "kpcacam: the kernel's largest eigenvalue is %g, want a positive one", value);
    for (size_t s = 0; status == EN_OK && s < n; s++) map[s] *= sqrt(value);
    if (status == EN_OK) turn_largest_up(map, n);
    free(x);
    free(k);
    return status;
}
