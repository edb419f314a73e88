/* SPDX-License-Identifier: MIT */
/* Agreement of a map with the truth. */
#include "cam/agreement.h"

#include <math.h>
#include <stdlib.h>

typedef struct pair {
    double x, y;
    int at;
} pair;

static double distance(const double *m, const double *t, int n)
{
    double off = 0, norm = 0;
    for (int i = 0; i < n; i++) off += (m[i] - t[i]) * (m[i] - t[i]), norm += t[i] * t[i];
    return norm > 0 ? sqrt(off / norm) : NAN;
}

static int varies(const double *x, int n)
{
    for (int i = 1; i < n; i++)
        if (x[i] != x[0]) return 1;
    return 0;
}

static double pearson(const double *x, const double *y, int n)
{
    if (!varies(x, n) || !varies(y, n)) return NAN;
    double mx = 0, my = 0, xx = 0, yy = 0, xy = 0;
    for (int i = 0; i < n; i++) mx += x[i] / n, my += y[i] / n;
    for (int i = 0; i < n; i++) {
        xx += (x[i] - mx) * (x[i] - mx);
        yy += (y[i] - my) * (y[i] - my);
        xy += (x[i] - mx) * (y[i] - my);
    }
    return xy / sqrt(xx) / sqrt(yy);
}

/* ---- ranks ---- */

static int by_x_then_y(const void *a, const void *b)
{
    const pair *p = a, *q = b;
    return p->x != q->x ? (p->x > q->x) - (p->x < q->x) : (p->y > q->y) - (p->y < q->y);
}

/* Ranks from 0; equal numbers share the mean of theirs. */
static void ranks(const double *x, int n, pair *room, double *rank)
{
    for (int i = 0; i < n; i++) room[i] = (pair){x[i], 0, i};
    qsort(room, (size_t)n, sizeof *room, by_x_then_y);
    for (int i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && room[end].x == room[i].x;) end++;
        for (int k = i; k < end; k++) rank[room[k].at] = (i + end - 1) / 2.0;
    }
}

/* Sorts p by y and returns how many pairs had to change places. */
static double sort_swaps(pair *p, int n, pair *room)
{
    double swaps = 0;
    for (int run = 1; run < n; run *= 2) {
        for (int from = 0; from < n; from += 2 * run) {
            int middle = from + run < n ? from + run : n, end = middle + run < n ? middle + run : n, a = from, b = middle;
            for (int k = from; k < end; k++)
                if (b == end || (a < middle && p[a].y <= p[b].y))
                    room[k] = p[a++];
                else
                    room[k] = p[b++], swaps += middle - a;
        }
        for (int k = 0; k < n; k++) p[k] = room[k];
    }
    return swaps;
}

/* Pairs among equal neighbours: of x, of y, or of both. */
static double tied(const pair *p, int n, int x, int y)
{
    double count = 0, same = 0;
    for (int i = 1; i < n; i++) {
        same = (!x || p[i].x == p[i - 1].x) && (!y || p[i].y == p[i - 1].y) ? same + 1 : 0;
        count += same;
    }
    return count;
}

static double kendall(const double *x, const double *y, int n, pair *p)
{
    double all = n * (n - 1.0) / 2;
    for (int i = 0; i < n; i++) p[i] = (pair){x[i], y[i], i};
    qsort(p, (size_t)n, sizeof *p, by_x_then_y);
    double same_x = tied(p, n, 1, 0), same_both = tied(p, n, 1, 1), opposite = sort_swaps(p, n, p + n), same_y = tied(p, n, 0, 1);
    double differ_x = all - same_x, differ_y = all - same_y, agree = all - same_x - same_y + same_both - opposite;
    return differ_x > 0 && differ_y > 0 ? (agree - opposite) / sqrt(differ_x) / sqrt(differ_y) : NAN;
}

en_status cam_agree(const double *map, const double *truth, int n, cam_agreement *out, en_error *e)
{
    size_t count = (size_t)n;
    pair *pairs = malloc(2 * count * sizeof *pairs);
    double *rank = malloc(2 * count * sizeof *rank);
    if (pairs && rank) {
        ranks(map, n, pairs, rank);
        ranks(truth, n, pairs, rank + n);
        *out = (cam_agreement){distance(map, truth, n), pearson(map, truth, n), pearson(rank, rank + n, n),
                               kendall(map, truth, n, pairs)};
    }
    en_status status = pairs && rank ? EN_OK : en_fail(e, EN_E_NOMEM, "agreement: no memory for %d numbers", n);
    free(pairs);
    free(rank);
    return status;
}
