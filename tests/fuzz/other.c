/* SPDX-License-Identifier: MIT */
/* other.c: address spaces that come and go, signals whose handler changes mappings, the heap trimmed. */
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "fuzz.h"

static int nothing(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	return 0;
}

static void open_and_close(uint64_t *seed)
{
	static const struct uhmm_notifier_ops ops = { .invalidate = nothing };
	struct uhmm_mm_options o = { .size = sizeof(o), .monitors = UHMM_MONITOR_AUTO };
	struct uhmm_notifier n;
	struct uhmm_mm *mm;
	int rc;

	if (RACE_TSAN || fuzz_pick(seed, 2))
		o.monitors = UHMM_MONITOR_EXPLICIT;
	rc = uhmm_mm_open(&mm, &o);

	if (rc)
		race_die("mm_open: %s", strerror(-rc));
	memset(&n, 0, sizeof(n));
	rc = uhmm_notifier_insert(mm, &n, &o, sizeof(o), &ops);
	if (!rc)
		rc = uhmm_notifier_remove(&n);
	if (rc)
		race_die("a notifier of a new address space: %s", strerror(-rc));
	uhmm_mm_close(mm);
	fuzz_counts.opens++;
}

static void heap(uint64_t *seed)
{
	void *p[8];

	for (int i = 0; i < 8; i++) {
		size_t len = (size_t)1 << fuzz_pick(seed, 19);

		p[i] = malloc(len);
		if (p[i])
			memset(p[i], 1, len);
	}
	for (int i = 0; i < 8; i++)
		free(p[i]);
	if (fuzz_pick(seed, 4) == 0)
		malloc_trim(0);
}

/* Two pages: a single one might be put into a hole that another thread keeps open for a moment. */
static void on_signal(int sig)
{
	int saved = errno;
	void *p = mmap(NULL, 2 * RACE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)sig;
	if (p != MAP_FAILED)
		munmap(p, 2 * RACE_PAGE);
	fuzz_counts.signals++;
	errno = saved;
}

void fuzz_signal_self(void)
{
	pthread_kill(pthread_self(), SIGUSR1);
}

void fuzz_other_open(void)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = SA_RESTART };

	sigaction(SIGUSR1, &sa, NULL);
}

void fuzz_other_step(uint64_t *seed)
{
	switch (fuzz_pick(seed, 100)) {
	case 0:
		open_and_close(seed);
		break;
	case 1:
	case 2:
	case 3:
		fuzz_signal_self();
		break;
	default:
		heap(seed);
	}
}
