/* SPDX-License-Identifier: MIT */
/* Threads claim jobs from one atomic counter. Between batches of jobs workers spin for a while, because a network is some
 * fifty batches a few hundred microseconds apart and waking a sleeping thread costs 20 to 40; then they sleep.
 * With OMP=1 OpenMP's own team takes the place of these threads. */
#include "engine/pool.h"

#include "engine/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#ifdef _OPENMP
#include <omp.h>

struct en_pool {
    int threads;
};

en_status en_pool_new(int threads, en_pool **out, en_error *e)
{
    *out = malloc(sizeof **out);
    if (!*out) return en_fail(e, EN_E_NOMEM, "thread pool: out of memory");
    (*out)->threads = threads > 0 ? threads : en_processors();
    if ((*out)->threads > EN_MAX_THREADS) (*out)->threads = EN_MAX_THREADS;
    return EN_OK;
}

void en_pool_free(en_pool *pool) { free(pool); }

void en_parallel(en_pool *pool, int jobs, en_job *run, void *arg)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(en_pool_threads(pool))
    for (int i = 0; i < jobs; i++) run(arg, i, omp_get_thread_num());
}

#else

enum { SPINS = 20000 };

struct en_pool {
    int threads;
    int spins;                 /* none where threads outnumber processors: a spinning thread would keep a working one off */
    int started;               /* workers that exist besides the caller                             */
    pthread_t thread[EN_MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_uint batch;         /* number of the current batch; a change tells workers to look       */
    atomic_int next;           /* first job that nobody has claimed                                 */
    atomic_int busy;           /* workers that have not finished the current batch                  */
    atomic_bool stop;
    int jobs;                  /* these three are written before `batch` changes, read after        */
    en_job *run;
    void *arg;
};

typedef struct seat {
    en_pool *pool;
    int worker;
} seat;

static void relax(void)
{
#if defined __x86_64__
    __builtin_ia32_pause();
#elif defined __aarch64__
    __asm__ volatile("yield");
#endif
}

static void work(en_pool *p, int worker)
{
    int job;
    while ((job = atomic_fetch_add_explicit(&p->next, 1, memory_order_relaxed)) < p->jobs) p->run(p->arg, job, worker);
}

/* Returns once the batch number differs from `seen`. */
static unsigned wait_for_batch(en_pool *p, unsigned seen)
{
    for (int i = 0; i < p->spins; i++) {
        unsigned now = atomic_load_explicit(&p->batch, memory_order_acquire);
        if (now != seen) return now;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    unsigned now;
    while ((now = atomic_load_explicit(&p->batch, memory_order_acquire)) == seen) pthread_cond_wait(&p->wake, &p->lock);
    pthread_mutex_unlock(&p->lock);
    return now;
}

static void *worker_main(void *arg)
{
    seat s = *(seat *)arg;
    free(arg);
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_batch(s.pool, seen);
        if (atomic_load_explicit(&s.pool->stop, memory_order_relaxed)) return NULL;
        work(s.pool, s.worker);
        atomic_fetch_sub_explicit(&s.pool->busy, 1, memory_order_release);
    }
}

static void announce(en_pool *p)
{
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add_explicit(&p->batch, 1, memory_order_release);
    pthread_cond_broadcast(&p->wake);
    pthread_mutex_unlock(&p->lock);
}

static int start_worker(en_pool *p)
{
    seat *s = malloc(sizeof *s);
    if (!s) return 0;
    *s = (seat){p, p->started + 1};
    if (pthread_create(&p->thread[p->started], NULL, worker_main, s)) return free(s), 0;
    p->started++;
    return 1;
}

en_status en_pool_new(int threads, en_pool **out, en_error *e)
{
    en_pool *p = *out = calloc(1, sizeof *p);
    if (!p) return en_fail(e, EN_E_NOMEM, "thread pool: out of memory");
    p->threads = threads > 0 ? threads : en_processors();
    if (p->threads > EN_MAX_THREADS) p->threads = EN_MAX_THREADS;
    p->spins = p->threads <= en_processors() ? SPINS : 0;
    pthread_mutex_init(&p->lock, NULL);
    pthread_cond_init(&p->wake, NULL);
    while (p->started < p->threads - 1)
        if (!start_worker(p)) {
            int number = p->started + 1;
            en_pool_free(p);
            *out = NULL;
            return en_fail(e, EN_E_NOMEM, "thread pool: the system gave no thread number %d", number);
        }
    return EN_OK;
}

void en_pool_free(en_pool *p)
{
    if (!p) return;
    atomic_store(&p->stop, 1);
    announce(p);
    for (int i = 0; i < p->started; i++) pthread_join(p->thread[i], NULL);
    pthread_cond_destroy(&p->wake);
    pthread_mutex_destroy(&p->lock);
    free(p);
}

void en_parallel(en_pool *p, int jobs, en_job *run, void *arg)
{
    if (!p || p->started == 0 || jobs < 2) {
        for (int i = 0; i < jobs; i++) run(arg, i, 0);
        return;
    }
    p->jobs = jobs;
    p->run = run;
    p->arg = arg;
    atomic_store_explicit(&p->busy, p->started, memory_order_relaxed);
    atomic_store_explicit(&p->next, 0, memory_order_relaxed);
    announce(p);
    work(p, 0);
    for (int i = 0; atomic_load_explicit(&p->busy, memory_order_acquire); i++) {
        if (i < p->spins) relax();
        else sched_yield();
    }
}

#endif

int en_pool_threads(const en_pool *pool) { return pool ? pool->threads : 1; }
