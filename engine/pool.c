/* SPDX-License-Identifier: MIT */
/* Threads claim jobs by atomic counters. Between batches of jobs workers spin for a while, because a network is some
 * fifty batches a few hundred microseconds apart and waking a sleeping thread costs 20 to 40; then they sleep.
 * With OMP=1 OpenMP's own team takes the place of these threads. */
#include "engine/pool.h"

#include "engine/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

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

/* Jobs to claim, in one word: the number of the batch, where the jobs end, which is next. Whoever adds 1 has claimed the job of that number, if it
 * is below the end, or learns that none is left; so a thread that comes late does no harm, and nobody waits for it. Every thread has a word of its
 * own with a share of the jobs, and when that is done helps the others: neighbouring jobs, in one layer after the other, fall to the thread that has
 * the data in its cache, and a thread that is held up costs its share, not a stop. */
enum { FIELD = 21, MOST_JOBS = 1 << 20 }; /* of a batch: claims that fail, one of each thread, must not overflow */
#define NEXT(word) ((word) & ((1u << FIELD) - 1))
#define END(word) ((word) >> FIELD & ((1u << FIELD) - 1))
#define BATCH(word) ((word) >> 2 * FIELD)

typedef struct share {
    _Alignas(64) _Atomic uint64_t word; /* in a cache line of its own */
} share;

struct en_pool {
    share share[EN_MAX_THREADS];
    int threads;               /* the caller, number 0, among them                                  */
    int spins;                 /* none where threads outnumber processors: a spinning thread would keep a working one off */
    int started;               /* workers that exist besides the caller                             */
    pthread_t thread[EN_MAX_THREADS];
    pthread_mutex_t lock;
    pthread_cond_t wake;
    atomic_int sleepers;       /* workers that sleep, or are about to                               */
    atomic_bool stop;
    _Alignas(64) atomic_int done; /* jobs of the batch that are finished                            */
    int first;                 /* these three are written before the words, and not until all jobs of the batch before are done */
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

/* Claims and runs jobs of one share while there are any; returns the number of the batch that has no more. */
static uint64_t work_on(en_pool *p, share *s, int worker)
{
    for (;;) {
        uint64_t word = atomic_load_explicit(&s->word, memory_order_relaxed);
        if (NEXT(word) < END(word)) word = atomic_fetch_add_explicit(&s->word, 1, memory_order_acquire);
        if (NEXT(word) >= END(word)) return BATCH(word);
        p->run(p->arg, p->first + (int)NEXT(word), worker);
        atomic_fetch_add_explicit(&p->done, 1, memory_order_release);
    }
}

static uint64_t work(en_pool *p, int worker)
{
    uint64_t batch = work_on(p, &p->share[worker], worker);
    for (int i = 1; i < p->threads; i++) work_on(p, &p->share[(worker + i) % p->threads], worker);
    return batch;
}

/* Returns when there is another batch than `seen` for this worker. The caller announces it and then looks for sleepers; a worker says that it
 * sleeps and then looks for a batch: with fences between, one of them sees the other. */
static void wait_for_batch(en_pool *p, int worker, uint64_t seen)
{
    _Atomic uint64_t *word = &p->share[worker].word;
    for (int i = 0; i < p->spins; i++) {
        if (BATCH(atomic_load_explicit(word, memory_order_relaxed)) != seen) return;
        relax();
    }
    pthread_mutex_lock(&p->lock);
    atomic_fetch_add(&p->sleepers, 1);
    while (BATCH(atomic_load(word)) == seen) pthread_cond_wait(&p->wake, &p->lock);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->lock);
}

static void *worker_main(void *arg)
{
    seat s = *(seat *)arg;
    free(arg);
    for (uint64_t seen = 0; !atomic_load(&s.pool->stop); seen = work(s.pool, s.worker)) wait_for_batch(s.pool, s.worker, seen);
    return NULL;
}

/* Jobs first .. first+jobs-1. */
static void announce(en_pool *p, int first, int jobs, en_job *run, void *arg)
{
    uint64_t batch = BATCH(atomic_load_explicit(&p->share[0].word, memory_order_relaxed)) + 1;
    p->first = first;
    p->run = run;
    p->arg = arg;
    atomic_store_explicit(&p->done, 0, memory_order_relaxed);
    for (int64_t i = p->threads; i-- > 0;) {
        uint64_t from = (uint64_t)(jobs * i / p->threads), to = (uint64_t)(jobs * (i + 1) / p->threads);
        atomic_store(&p->share[i].word, batch << 2 * FIELD | to << FIELD | from);
    }
    if (!atomic_load(&p->sleepers)) return;
    pthread_mutex_lock(&p->lock);
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
    en_pool *p = *out = aligned_alloc(_Alignof(en_pool), sizeof *p);
    if (!p) return en_fail(e, EN_E_NOMEM, "thread pool: out of memory");
    memset(p, 0, sizeof *p);
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
    announce(p, 0, 0, NULL, NULL);
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
    for (int first = 0, count; first < jobs; first += count) {
        count = jobs - first < MOST_JOBS ? jobs - first : MOST_JOBS;
        announce(p, first, count, run, arg);
        work(p, 0);
        for (int i = 0; atomic_load_explicit(&p->done, memory_order_acquire) < count; i++) {
            if (i < p->spins) relax();
            else sched_yield();
        }
    }
}

#endif

int en_pool_threads(const en_pool *pool) { return pool ? pool->threads : 1; }
