/* SPDX-License-Identifier: MIT */
/* exec_run.c: sets the threads up, waits for the device, takes everything down, and asks the CPU for a second opinion. */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "chaos.h"
#include "forker.h"
#include "progress.h"
#include "run.h"
#include "stream.h"

enum { QUIET_CHUNKS = 16, TICK_NS = 100000000 };

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What the signal handler may touch. */
static atomic_bool *interrupt_stop;
static atomic_bool interrupt_seen;

/* Once: the second one ends the process at once (SA_RESETHAND). */
static void on_interrupt(int number)
{
	(void)number;
	atomic_store_explicit(&interrupt_seen, true, memory_order_relaxed);
	atomic_store_explicit(interrupt_stop, true, memory_order_relaxed);
}

static void catch_interrupts(struct run *run)
{
	struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};

	sigemptyset(&action.sa_mask);
	interrupt_stop = &run->stop;
	sigaction(SIGINT, &action, NULL);
	sigaction(SIGTERM, &action, NULL);
}

void run_device_done(struct run *run)
{
	pthread_mutex_lock(&run->lock);
	run->device_done = true;
	pthread_cond_signal(&run->done);
	pthread_mutex_unlock(&run->lock);
}

static void await_device(struct run *run)
{
	struct progress progress;
	struct timespec tick;

	progress_begin(&progress, run);
	pthread_mutex_lock(&run->lock);
	while (!run->device_done) {
		clock_gettime(CLOCK_REALTIME, &tick);
		tick.tv_nsec += TICK_NS;
		tick.tv_sec += tick.tv_nsec / 1000000000;
		tick.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&run->done, &run->lock, &tick);
		progress_draw(&progress);
	}
	pthread_mutex_unlock(&run->lock);
	progress_end(&progress);
}

/* Starts what there is to start; whatever could be started is joined again. */
static void run_threads(struct run *run, struct chaos *chaos)
{
	struct stream stream = {.run = run, .chaos = chaos};
	unsigned wanted = run->options->chaos, started = 0;
	pthread_t device, forker;
	bool forks = false;
	int err = 0;

	if (wanted)
		gate_join(&run->gate); /* for the device thread */
	while (started < wanted && !err) {
		err = chaos_start(&chaos[started], run, started);
		started += err == 0;
	}
	if (wanted && !err) {
		err = forker_start(&forker, run);
		forks = err == 0;
	}
	if (!err)
		err = -pthread_create(&device, NULL, stream_main, &stream);
	if (err) {
		fail(&run->failure, "cannot start a thread: %s", strerror(-err));
		atomic_store(&run->chaos_stop, true);
		if (wanted)
			gate_leave(&run->gate);
	} else {
		await_device(run);
		pthread_join(device, NULL);
	}
	if (forks)
		pthread_join(forker, NULL);
	for (unsigned i = 0; i < started; i++)
		chaos_join(&chaos[i]);
}

static void run_in_arena(struct run *run)
{
	unsigned threads = run->options->chaos;
	struct chaos *chaos = threads ? calloc(threads, sizeof(*chaos)) : NULL;
	int err = threads && !chaos ? -ENOMEM
				    : arena_create(&run->arena, threads ? threads * CHAOS_CHUNKS_EACH : QUIET_CHUNKS, threads);

	if (err) {
		fail(&run->failure, "no memory for the arena");
	} else {
		gate_init(&run->gate);
		run_threads(run, chaos);
		gate_destroy(&run->gate);
		arena_destroy(&run->arena);
	}
	free(chaos);
}

/* The CPU again: the time of a pass when all is as warm as it was for the device, and whether the files stayed the same. */
static void second_opinion(struct run *run)
{
	char answer[ANSWER_SIZE];

	if (!input_on_cpu(&run->input, run->options->kernel, &run->stop, answer, &run->plain_ns, &run->failure))
		return;
	if (strcmp(answer, run->expected) != 0)
		fail(&run->failure, "the input changed while it was being read");
}

void run_execute(struct run *run)
{
	uint64_t first_ns;
	int err;

	atomic_init(&run->registering, UINT_MAX);
	pthread_mutex_init(&run->lock, NULL);
	pthread_cond_init(&run->done, NULL);
	catch_interrupts(run);
	if (input_on_cpu(&run->input, run->options->kernel, &run->stop, run->expected, &first_ns, &run->failure)) {
		err = protocol_open_mm(run->options->protocol, run->options->hooks, &run->mm, &run->announce);
		if (err) {
			fail(&run->failure, "cannot watch this process's memory: %s", strerror(-err));
		} else {
			run_in_arena(run);
			uhmm_mm_close(run->mm);
			if (!failed(&run->failure))
				second_opinion(run);
		}
	}
	run->interrupted = atomic_load_explicit(&interrupt_seen, memory_order_relaxed);
	pthread_cond_destroy(&run->done);
	pthread_mutex_destroy(&run->lock);
}
