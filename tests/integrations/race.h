/* SPDX-License-Identifier: MIT */
/*
 * race.h: one page, a thread that discards it and a thread that registers it, and a registration that knows by itself whether
 * it is stale.
 *
 * To register is to write a number into the page that was never written before. A page that the kernel has replaced since holds
 * another, or none. So a registration handed out is stale if the page that the process has now does not hold its number, and
 * the look-up began after the last discard had returned, and none has begun since.
 */
#ifndef TESTS_INTEGRATIONS_RACE_H
#define TESTS_INTEGRATIONS_RACE_H

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, SKIP = 77 };

struct race_page {
	_Atomic uint64_t stamp; /* of the last registration that wrote here */
};

static struct {
	struct race_page *page;
	_Atomic uint64_t stamps;
	unsigned register_ns;
	void (*meanwhile)(void); /* by the registering thread, once the page is registered; taken away by its call */
	_Atomic uint64_t registrations;
} race;

static inline void race_setup(void)
{
	race.page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (race.page == MAP_FAILED)
		abort();
}

static inline uint64_t race_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline void race_spin(uint64_t ns)
{
	for (uint64_t end = race_ns() + ns; ns && race_ns() < end;)
		;
}

/* What a cache's own registration callback does. */
static inline uint64_t race_register(void)
{
	uint64_t stamp = ++race.stamps;
	void (*meanwhile)(void) = race.meanwhile;

	atomic_store(&race.page->stamp, stamp);
	race.registrations++;
	race.meanwhile = NULL;
	if (meanwhile)
		meanwhile();
	race_spin(race.register_ns);
	return stamp;
}

static inline bool race_is_stale(uint64_t registered)
{
	return atomic_load(&race.page->stamp) != registered;
}

static inline void race_discard(void)
{
	if (madvise(race.page, PAGE, MADV_DONTNEED))
		abort();
}

/* ---- rounds: the discarder and the registrant start together, and when both are done the page is looked up once more ---- */

static struct {
	_Atomic uint64_t round, done;
	_Atomic bool stop;
	uint64_t delay_ns;
} rounds;

static inline void *race_discarder(void *unused)
{
	(void)unused;
	for (uint64_t r = 1;; r++) {
		for (unsigned looks = 1; atomic_load(&rounds.round) < r; looks++) {
			if (atomic_load(&rounds.stop))
				return NULL;
			if (looks % 4096 == 0) /* fewer processors than threads */
				sched_yield();
		}
		race_spin(rounds.delay_ns);
		race_discard();
		atomic_store(&rounds.done, r);
	}
}

/* get() looks the page up in the cache, lets go of it and returns what was registered. */
static inline uint64_t race_rounds(uint64_t tries, uint64_t (*get)(void), uint64_t *sum)
{
	uint64_t stale = 0;
	pthread_t thread;

	atomic_store(&rounds.round, 0);
	atomic_store(&rounds.done, 0);
	atomic_store(&rounds.stop, false);
	if (pthread_create(&thread, NULL, race_discarder, NULL))
		abort();
	for (uint64_t r = 1; r <= tries; r++) {
		rounds.delay_ns = r * 7919 % 1500;
		*sum += get();
		atomic_store(&rounds.round, r);
		for (unsigned looks = 1; atomic_load(&rounds.done) < r; looks++) {
			*sum += get();
			if (looks % 256 == 0)
				sched_yield();
		}
		stale += race_is_stale(get());
	}
	atomic_store(&rounds.stop, true);
	pthread_join(thread, NULL);
	return stale;
}

/* Runs this program again with `mode` as its argument; what it writes is the parent's to read. Its exit status, or 128. */
static inline int race_run(const char *self, const char *mode, char *out, size_t size)
{
	int pipes[2], status;
	size_t len = 0;
	ssize_t got;
	pid_t child;

	if (pipe(pipes) || (child = fork()) < 0)
		abort();
	if (!child) {
		dup2(pipes[1], STDOUT_FILENO);
		close(pipes[0]);
		close(pipes[1]);
		execl(self, self, mode, (char *)NULL);
		_exit(127);
	}
	close(pipes[1]);
	while (len < size - 1 && (got = read(pipes[0], out + len, size - 1 - len)) > 0)
		len += (size_t)got;
	out[len] = '\0';
	close(pipes[0]);
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

#endif
