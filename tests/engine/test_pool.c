/* SPDX-License-Identifier: MIT */
/* The thread pool; `make test SAN=thread T=test_pool` looks for races too. */
#include "engine/pool.h"
#include "tests/test.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { MOST = 1000 };

typedef struct tally {
    atomic_int runs[MOST], in_use[EN_MAX_THREADS], wrong;
    int jobs, threads;
    int plain[MOST]; /* written without a lock: each job is run by one thread, and the caller sees what it wrote */
} tally;

static void count_job(void *arg, int job, int worker)
{
    tally *t = arg;
    if (job < 0 || job >= t->jobs || worker < 0 || worker >= t->threads) {
        t->wrong = 1;
        return;
    }
    if (atomic_fetch_add(&t->in_use[worker], 1)) t->wrong = 1; /* two jobs at once with one worker's scratch */
    t->runs[job]++;
    t->plain[job]++;
    atomic_fetch_sub(&t->in_use[worker], 1);
}

static void check_jobs(en_pool *pool, int jobs)
{
    tally t = {.jobs = jobs, .threads = en_pool_threads(pool)};
    en_parallel(pool, jobs, count_job, &t);
    for (int i = 0; i < MOST; i++)
        CHECK_MSG(t.runs[i] == (i < jobs) && t.plain[i] == (i < jobs), "job %d of %d ran %d times", i, jobs, (int)t.runs[i]);
    CHECK(!t.wrong);
}

TEST(every_job_runs_exactly_once_on_any_number_of_threads)
{
    static const int threads[] = {1, 2, 3, 8, 17};
    en_error e = {0};
    for (size_t i = 0; i < sizeof threads / sizeof *threads; i++) {
        en_pool *pool;
        CHECK_OK(en_pool_new(threads[i], &pool, &e), e);
        CHECK(en_pool_threads(pool) == threads[i]);
        for (int jobs = 0; jobs <= 40; jobs++) check_jobs(pool, jobs);
        for (int round = 0; round < 20; round++) check_jobs(pool, MOST);
        en_pool_free(pool);
    }
}

TEST(without_a_pool_the_caller_runs_the_jobs)
{
    CHECK(en_pool_threads(NULL) == 1);
    check_jobs(NULL, 0);
    check_jobs(NULL, 33);
    en_pool_free(NULL);
}

TEST(a_pool_asks_for_at_least_one_thread_and_at_most_the_limit)
{
    en_error e = {0};
    en_pool *pool;
    CHECK_OK(en_pool_new(0, &pool, &e), e);
    CHECK(en_pool_threads(pool) >= 1);
    check_jobs(pool, 10);
    en_pool_free(pool);
    CHECK_OK(en_pool_new(100000, &pool, &e), e);
    CHECK(en_pool_threads(pool) == EN_MAX_THREADS);
    check_jobs(pool, 10);
    en_pool_free(pool);
}

/* Each job of an outer pool has a pool of its own, as when several graphs run at once. */
static void nest(void *arg, int job, int worker)
{
    (void)job;
    (void)worker;
    atomic_int *failed = arg;
    en_error e = {0};
    en_pool *inner;
    if (en_pool_new(3, &inner, &e) != EN_OK) {
        *failed = 1;
        return;
    }
    for (int jobs = 1; jobs < 20; jobs++) {
        tally t = {.jobs = jobs, .threads = 3};
        en_parallel(inner, jobs, count_job, &t);
        for (int i = 0; i < jobs; i++)
            if (t.plain[i] != 1) *failed = 1;
        if (t.wrong) *failed = 1;
    }
    en_pool_free(inner);
}

TEST(pools_in_several_threads_do_not_disturb_each_other)
{
    en_error e = {0};
    en_pool *outer;
    atomic_int failed = 0;
    CHECK_OK(en_pool_new(4, &outer, &e), e);
    en_parallel(outer, 12, nest, &failed);
    CHECK(!failed);
    en_pool_free(outer);
}

TEST(workers_that_have_fallen_asleep_wake_up)
{
    en_error e = {0};
    en_pool *pool;
    CHECK_OK(en_pool_new(3, &pool, &e), e);
    for (int round = 0; round < 5; round++) {
        struct timespec nap = {0, 20000000};
        nanosleep(&nap, NULL);
        check_jobs(pool, 50);
    }
    en_pool_free(pool);
}

TEST(a_pool_that_cannot_be_made_says_why_and_leaves_nothing)
{
    en_error e = {0};
    en_pool *pool = NULL;
    en_status status;
    for (long n = 1;; n++) {
        t_fail_allocation(n, 0);
        status = en_pool_new(4, &pool, &e);
        t_fail_allocation(0, 0);
        if (status == EN_OK) {
            CHECK(n > 4); /* the pool, and for each of three threads its seat and itself */
            break;
        }
        CHECK_FAILS(status, e, EN_E_NOMEM, "thread pool: ");
        CHECK(pool == NULL);
    }
    check_jobs(pool, 9);
    en_pool_free(pool);
}
