/* SPDX-License-Identifier: MIT */
/* How far a map agrees with the truth: two lists of numbers compared by value, by line and by rank. */
#ifndef CAM_AGREEMENT_H
#define CAM_AGREEMENT_H

#include "cam/shapleycam.h"
#include "engine/status.h"

/* With m the map and t the truth: distance |m - t| / |t|; Pearson's r; Spearman's rho, which is r of the ranks (equal numbers share the mean of
 * theirs); Kendall's tau-b, (pairs in the same order - pairs in opposite order) / sqrt(pairs that differ in m * pairs that differ in t),
 * counted by sorting (Knight 1966). NaN where a list of equal numbers, or |t| = 0, leaves one undefined. */
en_status cam_agree(const double *map, const double *truth, int n, cam_agreement *out, en_error *e);

#endif
