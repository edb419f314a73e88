/* SPDX-License-Identifier: MIT */
/* Utilities: the scalar u(o) of the logits that is explained, with closed forms of its derivatives at the logits. */
#ifndef CAM_UTILITY_H
#define CAM_UTILITY_H

#include <stddef.h>
#include <stdint.h>

/* With o the logits, c the class, e its unit vector, s = softmax(o), L = log sum exp(o), v a direction and m = sum s v:
 *
 *     name         u            gradient       Hessian times v
 *     logit        o_c          e              0
 *     softmax      s_c          s_c (e - s)    s_c (v_c - m) (e - s) - s_c s (v - m)
 *     logsoftmax   o_c - L      e - s          - s (v - m)
 *     rest         2 o_c - L    2 e - s        - s (v - m)                             (arXiv:2501.06261)
 *     contrast     o_c - o_d    e - e_d        0                   d: a rival, or else the strongest other class
 *     finer        o_c - a      see finer()                        a: mean of the three logits nearest to o_c, weighted by their softmax
 *                                                                                      (FinerCAM, arXiv:2501.11309, its epsilon 0) */
typedef enum cam_utility { CAM_LOGIT, CAM_SOFTMAX, CAM_LOGSOFTMAX, CAM_REST, CAM_CONTRAST, CAM_FINER, CAM_UTILITIES } cam_utility;

/* Whether the utility is a linear function of the logits. */
int cam_utility_is_linear(cam_utility u);

const char *cam_utility_name(cam_utility u);

/* The utility of that name, CAM_UTILITIES if there is none. */
cam_utility cam_utility_find(const char *name);

/* What is explained: a utility of a class. */
typedef struct cam_aim {
    cam_utility utility;
    int cls, rival; /* rival: of contrast; an index, or CAM_STRONGEST for the strongest class besides cls */
} cam_aim;
enum { CAM_STRONGEST = INT32_MIN };

/* The class that contrast compares with; cls itself if there is no other. */
int cam_rival_of(const float *logits, int classes, cam_aim aim);

/* Value, gradient and Hessian-vector product at the logits; gradient and hvp (with direction) may be NULL. Sums are in double, and
 * 1 - s_c is never formed. gradient and hvp have `classes` numbers. */
double cam_utility_at(cam_aim aim, const float *logits, int classes, const float *direction, float *gradient, float *hvp);

/* Softmax of the logits in double. */
void cam_softmax(const float *logits, int classes, double *out);

#endif
