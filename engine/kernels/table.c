/* SPDX-License-Identifier: MIT */
/* The table of this instruction set's kernels. */
#include "engine/kernels/kernels.h"
#include "engine/kernels/vec.h"

#define TEXT_(x) #x
#define TEXT(x) TEXT_(x)

extern const kn_table KN(table);
const kn_table KN(table) = {
    .name = TEXT(ISA),
#define KERNEL(kernel, arguments) .kernel = KN(kernel),
#include "engine/kernels/kernels.def"
#undef KERNEL
};
