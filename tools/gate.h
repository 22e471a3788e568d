/* SPDX-License-Identifier: MIT */
/*
 * gate.h: rounds. Members work; one other thread closes the gate, has the arena to itself when all members are parked at it,
 * and opens it again.
 */
#ifndef TOOLS_GATE_H
#define TOOLS_GATE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct gate {
	pthread_mutex_t lock;
	pthread_cond_t moved; /* any of the below changed */
	atomic_bool closed;   /* written under the lock; read without it as a hint */
	unsigned members, parked;
};

void gate_init(struct gate *g);
void gate_destroy(struct gate *g);
void gate_join(struct gate *g);
void gate_leave(struct gate *g);
void gate_park(struct gate *g); /* returns when the gate is open */
/* Returns when every member is parked; false, and open, if all have left: there are no more rounds. */
bool gate_close(struct gate *g);
void gate_open(struct gate *g);
/* Returns when every member has left and the gate is open: from then on it stays so. */
void gate_await_empty(struct gate *g);

/* A member, between two pieces of work. */
static inline void gate_pass(struct gate *g)
{
	if (atomic_load_explicit(&g->closed, memory_order_relaxed))
		gate_park(g);
}

#endif
