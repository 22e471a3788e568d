/* SPDX-License-Identifier: MIT */
/*
 * main.c: fuzz [SECONDS [SEED]]
 *
 * SECONDS comes from UHMM_FUZZ_SECONDS where no argument gives it, else it is 10; SEED from the clock, and is printed: the same
 * seed gives every thread the same choices (not the same interleaving).
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define WORKERS 4u
#define SHORT_STEPS 200u
#define STUCK_S 60u
#define CHILD_S 30u

struct fuzz_counts fuzz_counts;
static atomic_bool stop;
static pthread_t workers[WORKERS];

struct worker {
	uint64_t seed;
	bool forks;
};

static void step(struct fuzz_held *h, uint64_t *seed)
{
	uint64_t what = fuzz_pick(seed, 100);

	if (what < 60)
		fuzz_pages_step(h, seed);
	else if (what < 95)
		fuzz_core_step(seed);
	else
		fuzz_other_step(seed);
	race_progress();
}

/* A thread that lives for a few steps only. */
static void *short_lived(void *arg)
{
	uint64_t seed = (uintptr_t)arg;
	struct fuzz_held h = { .n = 0 };

	for (unsigned i = 0; i < SHORT_STEPS; i++)
		step(&h, &seed);
	fuzz_pages_let_go(&h);
	fuzz_counts.threads++;
	return NULL;
}

static void spawn(uint64_t *seed)
{
	pthread_t t;

	if (pthread_create(&t, NULL, short_lived, (void *)(uintptr_t)race_random(seed)))
		race_die("no thread");
	pthread_join(t, NULL);
}

static void fork_once(struct fuzz_held *h)
{
	int status = 0;
	pid_t pid = fork();

	if (pid < 0)
		race_die("fork: %s", strerror(errno));
	if (!pid) {
		signal(SIGALRM, SIG_DFL);
		alarm(CHILD_S);
		fuzz_pages_in_child(h);
		_exit(0);
	}
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (status)
		race_die("a forked child ended with status %#x", (unsigned)status);
	fuzz_counts.forks++;
}

static void *worker(void *arg)
{
	struct worker *w = arg;
	struct fuzz_held h = { .n = 0 };

	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		step(&h, &w->seed);
		if (fuzz_pick(&w->seed, 20000) == 0)
			spawn(&w->seed);
		/* ThreadSanitizer does not follow a child that starts threads, which the cache does there. */
		if (!RACE_TSAN && w->forks && fuzz_pick(&w->seed, 20000) == 0)
			fork_once(&h);
	}
	fuzz_pages_let_go(&h);
	return NULL;
}

static uint64_t number(const char *s, const char *what)
{
	char *end;
	unsigned long long v = strtoull(s, &end, 10);

	if (*end || end == s) {
		fprintf(stderr, "fuzz: not a number of %s: '%s'\n", what, s);
		exit(2);
	}
	return v;
}

static void print_counts(uint64_t seconds)
{
	struct fuzz_counts *c = &fuzz_counts;

	printf("fuzz: %llu s: %llu gets (%llu refused), %llu changes, %llu reads, %llu invalidations (%llu refused), "
	       "%llu forks, %llu opens, %llu short threads, %llu signals; nothing stale\n",
	       (unsigned long long)seconds, (unsigned long long)c->gets, (unsigned long long)c->hits_refused,
	       (unsigned long long)c->changes, (unsigned long long)c->reads, (unsigned long long)c->invalidations,
	       (unsigned long long)c->refused, (unsigned long long)c->forks, (unsigned long long)c->opens,
	       (unsigned long long)c->threads, (unsigned long long)c->signals);
}

int main(int argc, char **argv)
{
	const char *env = getenv("UHMM_FUZZ_SECONDS");
	uint64_t seconds = number(argc > 1 ? argv[1] : env && *env ? env : "10", "seconds");
	uint64_t seed = argc > 2 ? number(argv[2], "seeds") : (uint64_t)time(NULL);
	struct worker w[WORKERS];
	struct timespec nap = { .tv_sec = (time_t)seconds };

	printf("fuzz: %llu seconds, seed %llu\n", (unsigned long long)seconds, (unsigned long long)seed);
	fflush(stdout);
	fuzz_other_open();
	fuzz_pages_open(seconds + 1);
	fuzz_core_open();
	race_watchdog(STUCK_S);
	for (unsigned i = 0; i < WORKERS; i++) {
		w[i] = (struct worker){ .seed = seed * 1000 + i, .forks = i == 0 };
		if (pthread_create(&workers[i], NULL, worker, &w[i]))
			race_die("no thread");
	}
	while (nanosleep(&nap, &nap) && errno == EINTR)
		;
	atomic_store(&stop, true);
	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i], NULL);
	race_watchdog_off();
	fuzz_core_close();
	fuzz_pages_close();
	print_counts(seconds);
	return 0;
}
