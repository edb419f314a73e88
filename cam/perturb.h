/* SPDX-License-Identifier: MIT */
/* Channel weights found by trying: what happens to the utility when a channel is silenced, or when the picture is seen through it. */
#ifndef CAM_PERTURB_H
#define CAM_PERTURB_H

#include "cam/internal.h"

/* Weights of the channels of the job's layer k, for one image; the caller frees *weights.
 *
 *     AblationCAM (doi:10.1109/WACV45572.2020.9093360): channel i's activation becomes 0, the tail gives utility u_i, and w_i = (u - u_i) / u, or
 *     u - u_i where u is 0. The grad-cam library's value is min A - 1e7 unless min A is 0. Runs the tail alone, in batches.
 *
 *     ScoreCAM (arXiv:1910.01279): each channel, enlarged to the input's size with its corners kept, and scaled to 0 .. 1, multiplies the
 *     normalised input; w is the softmax over channels of the utilities. One forward pass per channel.
 *
 * All classes and utilities of one layer share the runs, until cam_forget_trials, which comes before the next image. */
en_status cam_tried_weights(cam_ctx *ctx, const cam_job *job, int k, cam_input input, int image, double **weights, en_error *e);
void cam_forget_trials(cam_ctx *ctx);

#endif
