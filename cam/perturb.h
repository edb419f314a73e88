/* SPDX-License-Identifier: MIT */
/* Channel weights found by trying: what happens to the utility when a channel is silenced, or when the picture is seen through it. */
#ifndef CAM_PERTURB_H
#define CAM_PERTURB_H

#include "cam/internal.h"

/* AblationCAM (doi:10.1109/WACV45572.2020.9093360): channel k's activation becomes 0, the tail gives utility u_k, and w_k = (u - u_k) / u, or
 * u - u_k where u is 0. Runs the tail alone, in batches. For image `image` of the context's last forward pass. */
en_status cam_ablation_weights(cam_ctx *ctx, const cam_job *job, int image, double *weights, en_error *e);

/* ScoreCAM (arXiv:1910.01279): each channel, enlarged to the input's size with its corners kept, and scaled to 0 .. 1, multiplies the normalised
 * input; w is the softmax over channels of the utilities. One forward pass per channel. */
en_status cam_score_weights(cam_ctx *ctx, const cam_job *job, cam_input input, int image, double *weights, en_error *e);

#endif
