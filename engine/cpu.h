/* SPDX-License-Identifier: MIT */
/* Which instruction sets this program carries and which of them this processor runs. */
#ifndef ENGINE_CPU_H
#define ENGINE_CPU_H

#include "engine/kernels/kernels.h"

/* The kernels for instruction set number i, best first, or NULL past the last one. `usable` (may be NULL) tells if this processor
 * runs them. */
const kn_table *en_isa(int i, int *usable);

/* The best usable kernels; EN_ISA=name in the environment asks for a lesser set. */
const kn_table *en_kernels(void);

/* Processors that this process may use (affinity mask, then what is online); at least 1. */
int en_processors(void);

#endif
