/* SPDX-License-Identifier: MIT */
/*
 * chaos.h: a thread (A) that changes free pages of its chunks by every means a program has, stamps them and hands them over.
 *
 * What it does is legal: a page that has been handed over, or a page 0, is never touched. Page 0 apart, requests in flight are
 * therefore never disturbed; what is attacked is the next request, and the registration that it finds.
 */
#ifndef TOOLS_CHAOS_H
#define TOOLS_CHAOS_H

#include <pthread.h>
#include <stdatomic.h>

#include "histogram.h"

struct run;

enum { CHAOS_THREADS_MAX = 64, CHAOS_CHUNKS_EACH = 4 };

struct chaos {
	struct run *run;
	pthread_t thread;
	unsigned first_chunk;  /* CHAOS_CHUNKS_EACH chunks from here are this thread's */
	atomic_uint attention; /* the chunk being changed: the device thread registers it again while that lasts */
	uint64_t random;
	char *spare; /* a chunk that is in no request; NULL: anywhere */
	struct histogram mapping_calls;
};

/* 0 or a negative errno. */
int chaos_start(struct chaos *c, struct run *run, unsigned index);
/* After run->chaos_stop; the histogram is the caller's to read then. */
void chaos_join(struct chaos *c);

#endif
