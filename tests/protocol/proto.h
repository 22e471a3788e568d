/* SPDX-License-Identifier: MIT */
/*
 * proto.h: what the tests of the guarantees share.
 *
 * No test decides anything by how long something took. "It waits" is shown by bringing the thread to sleep (asleep() looks
 * at its state) with the outcome still open; "it does not wait" by doing it in a thread that would hang for ever, under a
 * watchdog that ends a hanging program with status 1.
 */
#ifndef PROTO_H
#define PROTO_H

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <uhmm/mm.h>
#include <uhmm/notifier.h>

#define PAGE ((uintptr_t)4096)
/* The core never looks at the memory itself: any user address will do. */
#define BASE ((uintptr_t)0x200000000000)
#define PAGE_AT(i) ((void *)(BASE + (uintptr_t)(i)*PAGE))

#define CHECK(x)                                                                                                               \
	do {                                                                                                                   \
		if (!(x)) {                                                                                                    \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                                                \
			_Exit(1);                                                                                              \
		}                                                                                                              \
	} while (0)
#define CHECK_EQ(a, b)                                                                                                         \
	do {                                                                                                                   \
		long long check_a = (long long)(a), check_b = (long long)(b);                                                  \
		if (check_a != check_b) {                                                                                      \
			fprintf(stderr, "%s:%d: %s is %lld, %s is %lld\n", __FILE__, __LINE__, #a, check_a, #b, check_b);      \
			_Exit(1);                                                                                              \
		}                                                                                                              \
	} while (0)

/* A place where one thread stops until another lets it go on; both sides can be seen. */
struct gate {
	sem_t reached, go;
};
void gate_init(struct gate *g);
void gate_pass(struct gate *g);  /* the one that stops */
void gate_await(struct gate *g); /* until somebody has stopped */
void gate_open(struct gate *g);

/* A thread that does one thing, and whether it has. */
struct worker {
	pthread_t thread;
	_Atomic int tid;
	_Atomic bool done;
	void (*fn)(void *arg);
	void *arg;
};
void worker_start(struct worker *w, void (*fn)(void *arg), void *arg);
void worker_join(struct worker *w);
/* Returns true once the thread sleeps, false if it finished instead. */
bool worker_asleep(struct worker *w);
bool worker_sleeps_now(struct worker *w);

/*
 * A driver: a notifier, its lock, and one page-table entry that its callback tears down. Hooks run inside the callbacks,
 * without the driver lock, so that a test can stop or answer there.
 */
struct driver {
	struct uhmm_notifier n;
	pthread_mutex_t lock;
	bool silent_lock; /* not announced to the library */
	bool programmed;  /* under lock */
	_Atomic int invalidates, finishes, ends, ends_changed;
	_Atomic uint32_t flags;       /* of the last event */
	_Atomic uintptr_t start, end; /* of the last event */
	void (*on_invalidate)(struct driver *d);
	void (*on_finish)(struct driver *d);
	void (*on_end)(struct driver *d);
	int answer; /* of invalidate */
	struct gate gate;
	void *data;
};
void driver_init(struct driver *d);
void driver_lock(struct driver *d);
void driver_unlock(struct driver *d);
void driver_insert(struct driver *d, struct uhmm_mm *mm, unsigned page, unsigned pages);
void driver_open(struct driver *d, struct uhmm_mm *mm, unsigned page, unsigned pages); /* init and insert */
void driver_remove(struct driver *d);
/* One whole look-up, begun again until it succeeds. */
void driver_program(struct driver *d);
bool driver_is_programmed(struct driver *d);
bool driver_retry(struct driver *d, uint64_t seq); /* under its lock */
extern const struct uhmm_notifier_ops driver_ops;
/* A hook: stops at the driver's gate. */
void stop_at_gate(struct driver *d);

struct uhmm_mm *proto_open(void);
void proto_close(struct uhmm_mm *mm, struct driver *last); /* removes what is inserted last */
struct uhmm_event pages_event(unsigned page, unsigned pages);
void start_pages(struct uhmm_mm *mm, struct uhmm_invalidation *inv, unsigned page, unsigned pages);
/* A whole invalidation in a worker: start (through whatever callbacks stop at), then held open until the gate lets it end. */
struct invalidator {
	struct worker w;
	struct uhmm_mm *mm;
	unsigned page, pages;
	bool abort;
	struct gate opened;
};
void invalidator_start(struct invalidator *i, struct uhmm_mm *mm, unsigned page, unsigned pages);
void invalidator_await_open(struct invalidator *i);
void invalidator_open(struct invalidator *i, struct uhmm_mm *mm, unsigned page, unsigned pages); /* both */
void invalidator_end(struct invalidator *i); /* opens the gate and joins */

/* A look-up in a worker: read_begin, and what it answered. */
struct reader {
	struct worker w;
	struct driver *d;
	_Atomic uint64_t seq;
};
void reader_start(struct reader *r, struct driver *d);
void reader_sleeps(struct reader *r, struct driver *d); /* start, and see it asleep */

struct proto_case {
	const char *name;
	void (*fn)(void);
};
/* Runs the cases, or the one that argv[1] names, each under the watchdog. */
int proto_main(int argc, char **argv, const struct proto_case *cases, size_t n);

#endif
