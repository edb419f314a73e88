/* SPDX-License-Identifier: MIT */
/* cam_bench: how fast the engine is on this machine, beside what the machine can do. */
#include "bench/bench.h"

#include "cam/shapleycam.h"
#include "tools/options.h"

#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define AT(member) offsetof(bench_options, member)
static const opt_row rows[] = {
    {OPT_TEXT,  'n', "net",         "LIST",   "networks (default: all)", AT(net)},
    {OPT_TEXT,  'w', "weights",     "FILE",   "their weights (default: seeded)", AT(weights)},
    {OPT_COUNT, 't', "threads",     "N",      "threads for networks (1)", AT(threads)},
    {OPT_TEXT,  0,   "isa",         "NAME",   "instruction set for kernels, layers (default: the best one)", AT(isa)},
    {OPT_COUNT, 0,   "min-time",    "N",      "tenths of a second for each line (5)", AT(tenths)},
    {OPT_COUNT, 0,   "side",        "N",      "layers, count: pictures of N x N (224)", AT(side)},
    {OPT_COUNT, 0,   "runs",        "N",      "steady: how many (10000)", AT(runs)},
    {OPT_TEXT,  0,   "svg",         "FILE",   "layers: the roofline as a picture", AT(svg)},
    {OPT_FLAG,  0,   "interactive", NULL,     "wait for `run`, `cam`, `conv` or `quit` on stdin; print milliseconds for each", AT(interactive)},
    {OPT_FLAG,  'h', "help",        NULL,     "print this and stop", AT(help)},
};

static const struct {
    const char *name;
    int (*run)(const bench_options *o);
    int usual; /* done when no command is given */
} commands[] = {
    {"kernels", bench_gauges, 1},
    {"layers", bench_layers, 1},
    {"net", bench_nets, 1},
    {"throughput", bench_throughput, 0},
    {"start", bench_start, 0},
    {"steady", bench_steady, 0},
    {"count", bench_count, 0},
};
/* clang-format on */
enum { ROWS = sizeof rows / sizeof *rows, COMMANDS = sizeof commands / sizeof *commands };

/* The first name of a list; returns the rest of it, NULL at its end. */
static const char *first_of(const char *list, char name[64])
{
    size_t n = strcspn(list, ",");
    snprintf(name, 64, "%.*s", (int)n, list);
    return list[n] ? list + n + 1 : NULL;
}

int bench_wants(const bench_options *o, const char *net)
{
    char name[64];
    for (const char *rest = o->net; rest;) {
        rest = first_of(rest, name);
        if (net_same_name(name, net)) return 1;
    }
    return !o->net;
}

/* Whether all networks of the list exist; says which one does not. */
static int nets_exist(const char *list)
{
    char name[64];
    while (list) {
        list = first_of(list, name);
        if (!net_arch_find(name)) return fprintf(stderr, "cam_bench: no network is called '%s'\n", name), 0;
    }
    return 1;
}

static int usage(int status)
{
    printf("usage: cam_bench [");
    for (int i = 0; i < COMMANDS; i++) printf("%s%s", i ? "|" : "", commands[i].name);
    printf("] [options]\n");
    opt_print(rows, ROWS);
    return status;
}

int main(int argc, char **argv)
{
    bench_options o = {.threads = 1, .tenths = 5, .side = 224, .runs = 10000};
    en_error e;
    int operands;
    if (opt_parse(rows, ROWS, argc, argv, &o, &operands, &e) || operands > 1) {
        fprintf(stderr, "cam_bench: %s\n", operands > 1 ? "want one operand" : e.text);
        return usage(2);
    }
    if (o.help) return usage(0);
    if (!nets_exist(o.net)) return 2;
    if (operands) o.what = argv[1];
    if (o.interactive) return bench_interactive(&o);
    double load[3] = {0};
    getloadavg(load, 3);
    printf("cam_bench %s (%s, %s), load %.2f\n", cam_version(), cam_build(), cam_instruction_set(), load[0]);
    int failed = 0, found = 0;
    for (int i = 0; i < COMMANDS; i++) {
        if (o.what ? strcmp(o.what, commands[i].name) != 0 : !commands[i].usual) continue;
        found = 1;
        failed |= commands[i].run(&o);
    }
    if (!found) return fprintf(stderr, "cam_bench: '%s': no such command\n", o.what), 2;
    return failed;
}
