/* SPDX-License-Identifier: MIT */
/* Dispatch: one table of kernels per instruction set, the best usable one is picked at run time. */
#include "engine/cpu.h"

#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ISA(name, usable) extern const kn_table kn_table_##name;
#include "engine/isa.def"
#undef ISA

const kn_table *en_isa(int i, int *usable)
{
#if defined __x86_64__
    __builtin_cpu_init();
#endif
    int n = 0;
#define ISA(name, test)                  \
    if (n++ == i) {                      \
        if (usable) *usable = !!(test);  \
        return &kn_table_##name;         \
    }
#include "engine/isa.def"
#undef ISA
    return NULL;
}

const kn_table *en_kernels(void)
{
    const char *forced = getenv("EN_ISA");
    const kn_table *best = NULL, *table;
    int usable;
    for (int i = 0; (table = en_isa(i, &usable)); i++) {
        if (!usable) continue;
        if (forced && !strcmp(forced, table->name)) return table;
        if (!best) best = table;
    }
    return best;
}

int en_processors(void)
{
    cpu_set_t set;
    if (!sched_getaffinity(0, sizeof set, &set) && CPU_COUNT(&set) > 0) return CPU_COUNT(&set);
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
