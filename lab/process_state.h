/* SPDX-License-Identifier: MIT */
/* process_state.h: what process.c and process_kernel.c share. Memory of the arena, written by uninstrumented code alone. */
#ifndef LAB_PROCESS_STATE_H
#define LAB_PROCESS_STATE_H

#include "lab/engine.h"
#include "lab/process.h"

#define PROCESS_TICKS 10u
#define PROCESS_OPENINGS 4u

enum process_doing {
	PROCESS_ELSEWHERE,   /* in user mode, in none of libc's mapping functions */
	PROCESS_IN_FUNCTION, /* in user mode, past the entry of one that was not patched */
	PROCESS_IN_CALL,
	PROCESS_EXITED
};

struct process_thread {
	void (*fn)(void *arg);
	void *arg;
	uint32_t id; /* 0: it has not begun */
	enum process_doing doing;
	long call;
	uint64_t ticks;
};

struct process_opening {
	void (*fn)(void *arg);
	void *arg;
};

struct process {
	struct process_options options;
	struct uhmm_a32 returned;
	struct uhmm_a32 ready; /* the prologue is over */
	struct process_opening opening[PROCESS_OPENINGS];
	uint32_t openings;
	struct lab_lock arena; /* malloc's */
	process_fn entry[PROCESS_ENTRIES];
	struct uhmm_a32 patched; /* carries what was written before a patch to who runs it; where the race had begun */
	bool begun, patched_late;
	struct process_thread thread[LAB_FIBERS];
	uint32_t threads;
};

extern struct process *process;

uint32_t process_thread_id(void); /* of the running fiber, as /proc numbers it */
struct process_thread *process_self(void); /* NULL: the set-up, or a thread of the library */
void process_thread_is(struct process_thread *t, enum process_doing doing, long call);
void process_become_child(void);

#endif
