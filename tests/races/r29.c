/* SPDX-License-Identifier: MIT */
/*
 * r29.c: fork beside free(). fork() runs the prepare handlers and then takes malloc's locks; free() changes mappings with one
 * of those locks held, and the hook on the way must not wait for anything that a prepare handler holds. Forks while one
 * thread trims the heap and another uses the cache; the child uses malloc and the cache and ends. Nothing may hang, which a
 * watchdog decides, in the child too.
 */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "races.h"

#define CHILD_S 10u

static struct race_cache cache;
static void *page;
static atomic_bool stop;

/* Frees enough for the heap's top to go back to the kernel with the arena's lock held, on the main arena and on its own. */
static void *trimmer(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		void *p[64];

		for (int i = 0; i < 64; i++) {
			p[i] = malloc(8192);
			if (p[i])
				memset(p[i], 1, 8192);
		}
		for (int i = 0; i < 64; i++)
			free(p[i]);
		malloc_trim(0);
	}
	return NULL;
}

static void get_and_put(bool child)
{
	uint64_t identity;
	void *reg;
	int rc = cache.get(&cache, page, &reg, &identity);

	if (!rc)
		cache.put(&cache, reg);
	else if (rc != -EBUSY)
		race_die("get in the %s: %s", child ? "child" : "parent", strerror(-rc));
}

static void *user(void *arg)
{
	(void)arg;
	while (!atomic_load_explicit(&stop, memory_order_relaxed)) {
		get_and_put(false);
		race_spin(2000);
	}
	return NULL;
}

static _Noreturn void child(void)
{
	signal(SIGALRM, SIG_DFL);
	alarm(CHILD_S);
	free(malloc(1 << 20));
	free(malloc(100));
	get_and_put(true);
	get_and_put(true);
	_exit(0);
}

/* Children that did not end well. */
static uint64_t forks(uint64_t tries)
{
	uint64_t lost = 0;

	for (uint64_t i = 0; i < tries; i++) {
		int status = 0;
		pid_t pid = fork();

		if (pid < 0)
			race_die("fork: %s", strerror(errno));
		if (!pid)
			child();
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			;
		lost += status != 0;
		race_progress();
	}
	return lost;
}

void race_r29(const struct race_params *p, struct race_result *r)
{
	pthread_t t[2];

	r->tries = p->tries;
	r->loss = "hangs";
	r->model = "prepare_holds_lock";
	race_catch_faults();
	r->control = race_model_prepare_holds_lock();
	if (p->explicit_calls || !race_open_library(&cache, p, 0)) {
		r->skip = RACE_NEEDS_HOOKS;
		return;
	}
	page = race_map_page();
	atomic_store(&stop, false);
	if (pthread_create(&t[0], NULL, trimmer, NULL) || pthread_create(&t[1], NULL, user, NULL))
		race_die("no thread");
	r->lost = forks(p->tries);
	atomic_store(&stop, true);
	pthread_join(t[0], NULL);
	pthread_join(t[1], NULL);
	cache.close(&cache);
}
