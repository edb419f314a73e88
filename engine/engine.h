/* SPDX-License-Identifier: MIT */
/* Everything that users of the engine need, in reading order. */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include "engine/status.h"
#include "engine/tensor.h"
#include "engine/pool.h"
#include "engine/params.h"
#include "engine/graph.h"
#include "engine/ops.h"

#endif
