/* SPDX-License-Identifier: MIT */
/*
 * run.h: what the threads of one `uhmm exec` share.
 *
 *   device thread (B)    streams the input through the arena        device.c stream_quiet.c stream_chaos.c
 *   chaos threads (A)    change the arena's free pages, legally     chaos.c
 *   fork thread          forks between rounds                       forker.c
 *   main thread          waits, draws the progress bar, reports     exec_run.c
 */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "arena.h"
#include "gate.h"
#include "histogram.h"
#include "input.h"
#include "kernels.h"
#include "protocol.h"

struct exec_options {
	const struct kernel *kernel;
	const struct protocol *protocol;
	char **paths;
	unsigned path_count;
	const char *output;    /* NULL: none */
	unsigned chaos;        /* threads; 0: the arena is left alone */
	double seconds;        /* keep streaming for so long; 0: the input once */
	uint64_t reg_delay_ns; /* added to every registration, after the pages are taken */
	bool hooks;            /* where the protocol wants them */
	bool json;
};

/* Why the work failed: the first reason wins, and is the only line that is printed. */
struct failure {
	atomic_uint set; /* 0, 1 being written, 2 there */
	char text[512];
};

void fail(struct failure *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool failed(const struct failure *f);

struct counters {
	atomic_uint_fast64_t bytes;        /* of input, delivered by the device */
	atomic_uint_fast64_t passes;       /* over the input, completed */
	atomic_uint_fast64_t wrong_passes; /* with an answer that is not the CPU's */
	atomic_uint_fast64_t stale_reads;  /* the device read a page of an older generation */
	atomic_uint_fast64_t lost_writes;  /* the device wrote somewhere else than to the page */
	atomic_uint_fast64_t changes;      /* mapping calls made by chaos */
	atomic_uint_fast64_t handovers;    /* pages given to the device */
	atomic_uint_fast64_t holes;        /* whole-chunk writes that met a hole */
	atomic_uint_fast64_t forks;
};

struct run {
	const struct exec_options *options;
	struct uhmm_mm *mm;
	enum announce announce;
	struct input input;
	struct arena arena;
	struct gate gate;
	struct counters counters;
	struct failure failure;
	atomic_bool stop;               /* everybody ends: interrupted, failed, or done */
	atomic_bool chaos_stop;         /* chaos and forks end; the device finishes its pass alone */
	atomic_uint registering;        /* the chunk that the device thread is queueing whole, or UINT_MAX; a hint for chaos */
	uint64_t begin_ns, end_ns;      /* the device's work, set by the device thread; read when it has been joined */
	char expected[ANSWER_SIZE];     /* the CPU's answer */
	char answer[ANSWER_SIZE];       /* the device's, of the last completed pass; empty: none */
	struct histogram requests;      /* the device thread's */
	struct histogram mapping_calls; /* merged from the chaos threads when they end */
	struct uhmm_stats stats;        /* of the address space, when the device had ended */
	int output_fd;                  /* -1: none */
	uint64_t plain_ns;              /* a pass of the CPU over the same input */
	bool interrupted;
	pthread_mutex_t lock; /* of device_done */
	pthread_cond_t done;
	bool device_done;
};

/* The device thread, last of all. */
void run_device_done(struct run *run);
/* Does the work; what came of it is in the run, which the caller has zeroed but for its options and input. */
void run_execute(struct run *run);

uint64_t now_ns(void);

static inline void count(atomic_uint_fast64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static inline uint64_t counted(const atomic_uint_fast64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static inline bool stopping(const struct run *run)
{
	return atomic_load_explicit(&run->stop, memory_order_relaxed);
}

#endif
