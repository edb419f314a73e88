/* SPDX-License-Identifier: MIT */
/* Threads: a pool that runs numbered jobs. Work is cut into jobs by the shape of the data, never by the number of threads, and no
 * job depends on who runs it; so results have the same bits for any number of threads. */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

#include "engine/status.h"

enum { EN_MAX_THREADS = 256 };

typedef struct en_pool en_pool;

/* A job: `job` counts from 0, `worker` (0 .. threads-1) names the thread's own scratch memory. */
typedef void en_job(void *arg, int job, int worker);

/* Starts a pool of `threads` workers, the calling thread being one of them; 0 asks for one per usable processor. One thread may use
 * a pool at a time. en_pool_free(NULL) is fine. */
en_status en_pool_new(int threads, en_pool **out, en_error *e);
void en_pool_free(en_pool *pool);
int en_pool_threads(const en_pool *pool); /* 1 for NULL */

/* Runs jobs 0 .. jobs-1, each exactly once, and returns when all are done. A NULL pool runs them one after another. */
void en_parallel(en_pool *pool, int jobs, en_job *run, void *arg);

#endif
