/* SPDX-License-Identifier: MIT */
/* programs_memory.h: two threads each, compiled as code under test is; and what the lab must say of them. */
#ifndef TESTS_LAB_PROGRAMS_MEMORY_H
#define TESTS_LAB_PROGRAMS_MEMORY_H

#include "port/sync.h"

struct shared {
	uint64_t plain, other[3];
	struct uhmm_a32 flag, turn;
	struct uhmm_aptr lent;
	struct sync_lock lock[2];
	uint32_t result;
};

struct program {
	const char *what;
	void (*thread[2])(struct shared *s);
	int expected; /* 0, or the invariant that is violated in some schedule */
};

extern const struct program memory_programs[]; /* ends with a nameless one */

#endif
