/* SPDX-License-Identifier: MIT */
/* Closed forms of the utilities. */
#include "cam/utility.h"

#include "engine/math.h"
#include "nets/nets.h"

static const char *const names[CAM_UTILITIES] = {"logit", "softmax", "logsoftmax", "rest"};

const char *cam_utility_name(cam_utility u) { return names[u]; }

cam_utility cam_utility_find(const char *name)
{
    cam_utility u = CAM_LOGIT;
    while (u < CAM_UTILITIES && !net_same_name(names[u], name)) u++;
    return u;
}

/* L = log sum exp(o) */
static double log_sum_exp(const float *o, int classes)
{
    double most = (double)o[0], sum = 0;
    for (int i = 1; i < classes; i++)
        if ((double)o[i] > most) most = (double)o[i];
    for (int i = 0; i < classes; i++) sum += en_exp((double)o[i] - most);
    return most + en_log(sum);
}

void cam_softmax(const float *o, int classes, double *out)
{
    double l = log_sum_exp(o, classes);
    for (int i = 0; i < classes; i++) out[i] = en_exp((double)o[i] - l);
}

/* (e - s) at class i: 1 - s_c is the sum of the others, because for a sure network the difference has no digits left. */
static double contrast(const float *o, int classes, int c, double l, int i)
{
    if (i != c) return -en_exp((double)o[i] - l);
    double others = 0;
    for (int j = 0; j < classes; j++)
        if (j != c) others += en_exp((double)o[j] - l);
    return others;
}

double cam_utility_at(cam_utility u, const float *o, int classes, int c, const float *v, float *gradient, float *hvp)
{
    double l = log_sum_exp(o, classes), target = (double)o[c], sc = en_exp(target - l), mean = 0;
    double value = u == CAM_LOGIT ? target : u == CAM_SOFTMAX ? sc : u == CAM_LOGSOFTMAX ? target - l : target + (target - l);
    if (!gradient && !hvp) return value;
    double vc = v ? (double)v[c] : 0; /* v counts from v_c on: v - m stays, and v_c - m keeps its digits when s_c is almost 1 */
    for (int i = 0; v && i < classes; i++) mean += en_exp((double)o[i] - l) * ((double)v[i] - vc);
    for (int i = 0; i < classes; i++) {
        double e = i == c, es = contrast(o, classes, c, l, i);
        double bend = v ? en_exp((double)o[i] - l) * ((double)v[i] - vc - mean) : 0;
        if (gradient) gradient[i] = (float)(u == CAM_LOGIT ? e : u == CAM_SOFTMAX ? sc * es : u == CAM_LOGSOFTMAX ? es : e + es);
        if (hvp) hvp[i] = (float)(u == CAM_LOGIT ? 0 : u == CAM_SOFTMAX ? -sc * mean * es - sc * bend : -bend);
    }
    return value;
}
