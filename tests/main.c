/* SPDX-License-Identifier: MIT */
/* The test runner: two tables (tests, filters), one child process per test, as many at a time as there are processors. */
#include "tests/test.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { SKIPPED = 77, SECONDS = 600, MAX_JOBS = 16 };

static t_test *tests;
static uint64_t random_state;

void t_register(t_test *test)
{
    test->next = tests;
    tests = test;
}

void t_fail(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "  %s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    _exit(1);
}

void t_skip(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    _exit(SKIPPED);
}

void t_check_fails(en_status got, const en_error *e, en_status want, const char *part, const char *call, const char *file, int line)
{
    if (got != want) t_fail(file, line, "%s: got \"%s\", want \"%s\"", call, en_status_text(got), en_status_text(want));
    if (!strstr(e->text, part)) t_fail(file, line, "%s: message \"%s\" lacks \"%s\"", call, e->text, part);
}

uint64_t t_random(void) /* splitmix64 */
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

double t_uniform(double low, double high) { return low + (high - low) * (double)(t_random() >> 11) * 0x1p-53; }

const char *t_shared(const char *path)
{
    static char buffers[4][1024];
    static int next;
    char *buffer = buffers[next++ & 3];
    snprintf(buffer, sizeof buffers[0], "../shared/%s", path);
    if (access(buffer, R_OK)) t_skip("needs %s", buffer);
    return buffer;
}

uint8_t *t_read_file(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    CHECK_MSG(f != NULL, "cannot open %s", path);
    CHECK(!fseek(f, 0, SEEK_END));
    long n = ftell(f);
    CHECK(n >= 0);
    rewind(f);
    uint8_t *bytes = malloc((size_t)n + 1);
    CHECK(bytes != NULL);
    CHECK(fread(bytes, 1, (size_t)n, f) == (size_t)n);
    fclose(f);
    *size = (size_t)n;
    return bytes;
}

typedef struct job {
    const t_test *test;
    pid_t pid;
    FILE *output;
    struct timespec start;
} job;

static int start(job *j, const t_test *test, uint64_t seed)
{
    *j = (job){.test = test, .output = tmpfile()};
    if (!j->output) return 0;
    clock_gettime(CLOCK_MONOTONIC, &j->start);
    fflush(NULL);
    j->pid = fork();
    if (j->pid) return j->pid > 0;
    dup2(fileno(j->output), 1);
    dup2(fileno(j->output), 2);
    setvbuf(stderr, NULL, _IONBF, 0);
    alarm(SECONDS);
    random_state = seed;
    test->run();
    exit(0); /* not _exit: the leak checker runs here */
}

static void print_output(FILE *f)
{
    char line[4096];
    rewind(f);
    while (fgets(line, sizeof line, f)) fputs(line, stdout);
}

/* Reports an ended child; returns its slot in `count`: 0 passed, 1 failed, 2 skipped. */
static int finish(job *j, int status, int verbose)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = (double)(now.tv_sec - j->start.tv_sec) + 1e-9 * (double)(now.tv_nsec - j->start.tv_nsec);
    int result = WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : WIFEXITED(status) && WEXITSTATUS(status) == SKIPPED ? 2 : 1;
    if (result == 0 && verbose) printf("ok    %s (%.2f s)\n", j->test->name, seconds);
    if (result == 0 && verbose) print_output(j->output);
    if (result == 2) printf("skip  %s: ", j->test->name), print_output(j->output), putchar('\n');
    if (result == 1) {
        printf("FAIL  %s (%s", j->test->name, j->test->file);
        if (WIFSIGNALED(status)) printf(", signal %d: %s", WTERMSIG(status), strsignal(WTERMSIG(status)));
        printf(")\n");
        print_output(j->output);
    }
    fclose(j->output);
    fflush(stdout);
    return result;
}

static int wanted(const t_test *test, int filters, char **filter)
{
    for (int i = 0; i < filters; i++)
        if (strstr(test->name, filter[i]) || strstr(test->file, filter[i])) return 1;
    return filters == 0;
}

int main(int argc, char **argv)
{
    const char *seed_text = getenv("T_SEED"), *verbose = getenv("V");
    uint64_t seed = seed_text ? strtoull(seed_text, NULL, 0) : 1;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    int slots = processors < 1 ? 1 : processors > MAX_JOBS ? MAX_JOBS : (int)processors;
    job jobs[MAX_JOBS] = {0};
    int running = 0, count[3] = {0};
    const t_test *next = tests;
    for (;;) {
        while (next && !wanted(next, argc - 1, argv + 1)) next = next->next;
        if (next && running < slots) {
            for (int i = 0; i < slots; i++)
                if (!jobs[i].test) {
                    if (!start(&jobs[i], next, seed)) return fprintf(stderr, "cannot start a test\n"), 1;
                    break;
                }
            running++;
            next = next->next;
        } else if (running) {
            int status;
            pid_t pid = wait(&status);
            for (int i = 0; i < slots; i++)
                if (jobs[i].test && jobs[i].pid == pid) {
                    count[finish(&jobs[i], status, verbose && *verbose)]++;
                    jobs[i].test = NULL;
                    running--;
                }
        } else {
            break;
        }
    }
    if (count[0] + count[1] + count[2] == 0) return printf("no test matches\n0 passed, 1 failed\n"), 1;
    if (count[1]) printf("seed %llu (replay with T_SEED)\n", (unsigned long long)seed);
    printf("%d passed, %d failed, %d skipped\n", count[0], count[1], count[2]);
    return count[1] != 0;
}
