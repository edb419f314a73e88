/* SPDX-License-Identifier: MIT */
/* Closed forms of the utilities. */
#include "cam/utility.h"

#include "engine/math.h"
#include "nets/nets.h"

#include <math.h>

static const char *const names[CAM_UTILITIES] = {"logit", "softmax", "logsoftmax", "rest", "contrast", "finer"};

enum { RIVALS = 3, SOME = 64 };

const char *cam_utility_name(cam_utility u) { return names[u]; }

int cam_utility_is_linear(cam_utility u) { return u == CAM_LOGIT || u == CAM_CONTRAST; }

cam_utility cam_utility_find(const char *name)
{
    cam_utility u = CAM_LOGIT;
    while (u < CAM_UTILITIES && !net_same_name(names[u], name)) u++;
    return u;
}

/* exp(o - less) of up to SOME classes from `first` on; returns how many. */
static int some_exps(const float *o, int classes, int first, double less, double out[SOME])
{
    int count = classes - first < SOME ? classes - first : SOME;
    en_exps(o + first, count, less, out);
    return count;
}

/* Of the softmax s of the logits, seen from class c: L = log sum exp(o), 1 - s_c, and sum s (v - v_c). */
typedef struct view {
    double l, others, mean;
} view;

/* v may be NULL. 1 - s_c is a sum of its own, because for a sure network the difference has no digits left; and v counts from v_c on, so that
 * v_c - m keeps its digits when s_c is almost 1. */
static view view_from(const float *o, int classes, int c, const float *v)
{
    double most = (double)o[0], e[SOME], sum = 0, others = 0, mean = 0;
    for (int i = 1; i < classes; i++)
        if ((double)o[i] > most) most = (double)o[i];
    for (int first = 0, count; first < classes; first += count) {
        count = some_exps(o, classes, first, most, e);
        for (int i = first; i < first + count; i++) {
            sum += e[i - first];
            others += i == c ? 0 : e[i - first];
            if (v) mean += e[i - first] * ((double)v[i] - (double)v[c]);
        }
    }
    return (view){most + en_log(sum), others / sum, mean / sum};
}

void cam_softmax(const float *o, int classes, double *out) { en_exps(o, classes, view_from(o, classes, 0, NULL).l, out); }

int cam_rival_of(const float *o, int classes, cam_aim aim)
{
    int d = aim.rival;
    for (int i = 0; i < classes && aim.rival < 0; i++)
        if (i != aim.cls && (d < 0 || o[i] > o[d])) d = i;
    return d < 0 ? aim.cls : d;
}

/* o_c - o_d, or o_c alone if d is negative; against itself a class has a contrast of 0. */
static double linear(const float *o, int classes, int c, int d, float *gradient, float *hvp)
{
    for (int i = 0; i < classes; i++) {
        if (gradient) gradient[i] = (float)((i == c) - (i == d));
        if (hvp) hvp[i] = 0;
    }
    return (double)o[c] - (d < 0 ? 0 : (double)o[d]);
}

/* The classes whose logits are nearest to o_c, nearest first; returns how many there are. */
static int rivals_of(const float *o, int classes, int c, int rival[RIVALS])
{
    int count = 0;
    for (int i = 0; i < classes; i++) {
        if (i == c) continue;
        double distance = fabs((double)o[i] - (double)o[c]);
        int at = count < RIVALS ? count++ : RIVALS;
        while (at > 0 && distance < fabs((double)o[rival[at - 1]] - (double)o[c])) {
            if (at < RIVALS) rival[at] = rival[at - 1];
            at--;
        }
        if (at < RIVALS) rival[at] = i;
    }
    return count;
}

/* With q the softmax over the rivals alone, a = sum q o, m = sum q v, da = sum q v (1 + o - a):
 *     u = o_c - a    du/do_i = - q_i (1 + o_i - a)    (Hv)_i = - q_i ((v_i - m) (1 + o_i - a) + v_i - da)       for a rival i */
static double finer(const float *o, int classes, int c, const float *v, float *gradient, float *hvp)
{
    int rival[RIVALS], count = rivals_of(o, classes, c, rival);
    double q[RIVALS], total = 0, a = 0, m = 0, da = 0, alone = linear(o, classes, c, -1, gradient, hvp);
    if (count == 0) return alone;
    double most = (double)o[rival[0]];
    for (int i = 1; i < count; i++) most = fmax(most, (double)o[rival[i]]);
    for (int i = 0; i < count; i++) total += q[i] = en_exp((double)o[rival[i]] - most);
    for (int i = 0; i < count; i++) a += (q[i] /= total) * (double)o[rival[i]];
    for (int i = 0; i < count && v; i++) {
        m += q[i] * (double)v[rival[i]];
        da += q[i] * (double)v[rival[i]] * (1 + (double)o[rival[i]] - a);
    }
    for (int i = 0; i < count; i++) {
        double up = 1 + (double)o[rival[i]] - a;
        if (gradient) gradient[rival[i]] = (float)(-q[i] * up);
        if (hvp && v) hvp[rival[i]] = (float)(-q[i] * (((double)v[rival[i]] - m) * up + (double)v[rival[i]] - da));
    }
    return alone - a;
}

double cam_utility_at(cam_aim aim, const float *o, int classes, const float *v, float *gradient, float *hvp)
{
    cam_utility u = aim.utility;
    int c = aim.cls;
    if (cam_utility_is_linear(u)) return linear(o, classes, c, u == CAM_LOGIT ? -1 : cam_rival_of(o, classes, aim), gradient, hvp);
    if (u == CAM_FINER) return finer(o, classes, c, v, gradient, hvp);
    view t = view_from(o, classes, c, v);
    double target = (double)o[c], sc = en_exp(target - t.l), s[SOME];
    double value = u == CAM_SOFTMAX ? sc : u == CAM_LOGSOFTMAX ? target - t.l : target + (target - t.l);
    for (int first = 0, count; first < classes && (gradient || hvp); first += count) {
        count = some_exps(o, classes, first, t.l, s);
        for (int i = first; i < first + count; i++) {
            double si = s[i - first], es = i == c ? t.others : -si; /* e - s */
            double bend = v ? si * ((double)v[i] - (double)v[c] - t.mean) : 0;
            if (gradient) gradient[i] = (float)(u == CAM_SOFTMAX ? sc * es : u == CAM_LOGSOFTMAX ? es : (i == c) + es);
            if (hvp) hvp[i] = (float)(u == CAM_SOFTMAX ? -sc * t.mean * es - sc * bend : -bend);
        }
    }
    return value;
}
