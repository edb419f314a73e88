/* SPDX-License-Identifier: MIT */
/* cam_bench: how fast the engine is on this machine, beside what the machine can do. */
#include "bench/bench.h"

#include "cam/shapleycam.h"
#include "tools/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* clang-format off */
#define AT(member) offsetof(bench_options, member)
static const opt_row rows[] = {
    {OPT_TEXT,  'n', "net",         "LIST",   "networks to time (default: all)", AT(net)},
    {OPT_TEXT,  'w', "weights",     "FILE",   "their weights (default: seeded)", AT(weights)},
    {OPT_COUNT, 't', "threads",     "N",      "threads for networks (1)", AT(threads)},
    {OPT_TEXT,  0,   "isa",         "NAME",   "instruction set for kernels (default: all that this processor runs)", AT(isa)},
    {OPT_COUNT, 0,   "min-time",    "N",      "tenths of a second for each line (5)", AT(seconds)},
    {OPT_FLAG,  0,   "interactive", NULL,     "wait for `run`, `cam`, `conv` or `quit` on stdin; print milliseconds for each", AT(interactive)},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows };

static double clock_seconds(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

double bench_now(void) { return clock_seconds(CLOCK_MONOTONIC); }
double bench_thread_now(void) { return clock_seconds(CLOCK_THREAD_CPUTIME_ID); }

double bench_shortest(void (*run)(void *arg), void *arg, double seconds)
{
    double best = 1e30, start = bench_now();
    for (int i = 0; i < 5 || bench_now() - start < seconds; i++) {
        double before = bench_thread_now();
        run(arg);
        double took = bench_thread_now() - before;
        if (took < best) best = took;
    }
    return best;
}

int main(int argc, char **argv)
{
    bench_options o = {.what = "all", .threads = 1, .seconds = 5};
    en_error e;
    int operands;
    if (opt_parse(rows, ROWS, argc, argv, &o, &operands, &e) || operands > 1) {
        fprintf(stderr, "cam_bench: %s\nusage: cam_bench [kernels|net|all] [options]\n", operands > 1 ? "want one operand" : e.text);
        opt_print(rows, ROWS);
        return 2;
    }
    if (operands) o.what = argv[1];
    if (o.interactive) return bench_interactive(&o);
    double load[3] = {0};
    getloadavg(load, 3);
    printf("cam_bench %s (%s, %s), load %.2f\n", cam_version(), cam_build(), cam_instruction_set(), load[0]);
    int failed = 0, all = !strcmp(o.what, "all");
    if (!all && strcmp(o.what, "kernels") && strcmp(o.what, "net")) return fprintf(stderr, "cam_bench: '%s': want kernels, net or all\n", o.what), 2;
    if (all || !strcmp(o.what, "kernels")) failed |= bench_kernels(&o);
    if (all || !strcmp(o.what, "net")) failed |= bench_nets(&o);
    return failed;
}
