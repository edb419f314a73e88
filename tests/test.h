/* SPDX-License-Identifier: MIT */
/* The test runner. A test registers itself, its name is the sentence it proves, and it runs in a child process of its own, so
 * that a crash or an endless loop is one failed test. The first failed CHECK ends the test.
 *
 *     TEST(relu_keeps_nan_visible) { CHECK(isnan(relu(NAN))); }
 *
 * build/tests [FILTER...]: runs the tests whose file or name contains a filter; a filter that matches nothing fails. */
#ifndef TESTS_TEST_H
#define TESTS_TEST_H

#include "engine/status.h"

#include <stddef.h>
#include <stdint.h>

typedef struct t_test {
    const char *name, *file;
    void (*run)(void);
    struct t_test *next;
} t_test;

void t_register(t_test *test);

#define TEST(name)                                            \
    static void name(void);                                   \
    __attribute__((constructor)) static void name##_add(void) \
    {                                                         \
        static t_test test = {#name, __BASE_FILE__, name, NULL}; \
        t_register(&test);                                    \
    }                                                         \
    static void name(void)

/* Ends the running test as failed, or as skipped, with a reason. */
_Noreturn void t_fail(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
_Noreturn void t_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

#define CHECK(condition) ((condition) ? (void)0 : t_fail(__FILE__, __LINE__, "%s", #condition))
/* A condition with an explanation: CHECK_MSG(n == 3, "n is %d", n). */
#define CHECK_MSG(condition, ...) ((condition) ? (void)0 : t_fail(__FILE__, __LINE__, __VA_ARGS__))
/* The call must return EN_OK; `e` is the en_error that it filled. */
#define CHECK_OK(call, e)                                                                              \
    do {                                                                                               \
        en_status status_ = (call);                                                                    \
        CHECK_MSG(status_ == EN_OK, "%s: %s: %s", #call, en_status_text(status_), (e).text);           \
    } while (0)
/* The call must fail with this status, and its message must contain this text. */
#define CHECK_FAILS(call, e, want, part) t_check_fails((call), &(e), (want), (part), #call, __FILE__, __LINE__)
void t_check_fails(en_status got, const en_error *e, en_status want, const char *part, const char *call, const char *file, int line);

/* Deterministic random numbers: T_SEED=n in the environment changes the sequence, a failing run prints it. */
uint64_t t_random(void);
double t_uniform(double low, double high);

/* Path of a file of the checkout (tests run at its top), or of the folder beside it with material that is not ours to ship:
 * the test is skipped where that folder is missing. The result is valid until the fourth next call. */
const char *t_shared(const char *path);

/* Reads a whole file; the caller frees. Fails the test if it cannot. */
uint8_t *t_read_file(const char *path, size_t *size);

/* Makes the n-th allocation from now on fail (1 is the next; memory, mappings, threads), and all later ones too when `all_later`.
 * 0 switches it off. t_allocations() counts since the last call. */
void t_fail_allocation(long n, int all_later);
long t_allocations(void);

#endif
