/* SPDX-License-Identifier: MIT */
/* port_thread.h, lab backend: a fiber's area lies at the beginning of the arena. Documented in ../thread.h. */
#ifndef PORT_LAB_THREAD_H
#define PORT_LAB_THREAD_H

#include "lab/arena.h"
#include "lab/engine.h"

_Static_assert(LAB_AREA_SIZE == THREAD_AREA_SIZE, "the lab keeps room for it");

static inline void *thread_area(void)
{
	return (void *)(LAB_ARENA_BASE + (uintptr_t)lab_self() * LAB_AREA_SIZE);
}

#endif
