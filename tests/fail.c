/* SPDX-License-Identifier: MIT */
/* Allocation failures on demand. The test program is linked with -Wl,--wrap, so every call from our own objects to the functions
 * below comes here first; the product itself carries no hook. */
#include "tests/test.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

static _Atomic long count, fail_at;
static _Atomic int fail_all_later;

void t_fail_allocation(long n, int all_later)
{
    count = 0;
    fail_all_later = all_later;
    fail_at = n;
}

long t_allocations(void) { return count; }

static int fails(void)
{
    long n = ++count, at = fail_at;
    return at && (n == at || (fail_all_later && n > at));
}

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__real_aligned_alloc(size_t, size_t);
char *__real_strdup(const char *);
void *__real_mmap(void *, size_t, int, int, int, off_t);
int __real_pthread_create(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *p, size_t n);
void *__wrap_aligned_alloc(size_t align, size_t n);
char *__wrap_strdup(const char *s);
void *__wrap_mmap(void *at, size_t n, int protection, int flags, int file, off_t offset);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg);

void *__wrap_malloc(size_t n) { return fails() ? NULL : __real_malloc(n); }
void *__wrap_calloc(size_t n, size_t size) { return fails() ? NULL : __real_calloc(n, size); }
void *__wrap_realloc(void *p, size_t n) { return fails() ? NULL : __real_realloc(p, n); }
void *__wrap_aligned_alloc(size_t align, size_t n) { return fails() ? NULL : __real_aligned_alloc(align, n); }
char *__wrap_strdup(const char *s) { return fails() ? NULL : __real_strdup(s); }

void *__wrap_mmap(void *at, size_t n, int protection, int flags, int file, off_t offset)
{
    if (fails()) return errno = ENOMEM, MAP_FAILED;
    return __real_mmap(at, n, protection, flags, file, offset);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *), void *arg)
{
    return fails() ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}
