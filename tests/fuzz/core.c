/* SPDX-License-Identifier: MIT */
/*
 * core.c: notifiers, readers, invalidations. A "device" mirrors the version number of a place. The version changes only between
 * start and end of an invalidation that covers the place, so that, under the driver lock, what is programmed is the version.
 */
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "fuzz.h"

#define PLACES 32u
#define DEVICES 8u
#define BASE ((uintptr_t)0x200000000000)
#define INVS_MAX 3u

static struct uhmm_mm *mm;
static _Atomic uint64_t versions[PLACES];

static struct device {
	struct uhmm_notifier n; /* first: callbacks get it */
	pthread_mutex_t life;   /* insert, resize, remove; never taken in a callback */
	pthread_mutex_t lock;   /* the driver lock: what follows */
	uint32_t first, count;
	bool programmed[PLACES];
	uint64_t mirror[PLACES];
	bool inserted; /* under life */
} devices[DEVICES];

static void *address(uint32_t place)
{
	return (void *)(BASE + place * RACE_PAGE);
}

static void lock(struct device *d)
{
	pthread_mutex_lock(&d->lock);
	uhmm_lock_acquired(&d->lock, "fuzz device");
}

static void unlock(struct device *d)
{
	uhmm_lock_released(&d->lock);
	pthread_mutex_unlock(&d->lock);
}

static void drop(struct device *d, uintptr_t start, uintptr_t end)
{
	for (uint32_t i = 0; i < PLACES; i++)
		if ((uintptr_t)address(i) < end && (uintptr_t)address(i) + RACE_PAGE > start)
			d->programmed[i] = false;
}

static int on_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct device *d = (struct device *)(void *)n;

	if (event->flags & UHMM_EVENT_NONBLOCK) {
		if (pthread_mutex_trylock(&d->lock))
			return -EAGAIN;
		uhmm_lock_acquired(&d->lock, "fuzz device");
	} else {
		lock(d);
	}
	drop(d, event->start, event->end);
	unlock(d);
	return 0;
}

static void on_finish(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
}

static void on_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct device *d = (struct device *)(void *)n;

	(void)event;
	(void)changed;
	if (!pthread_mutex_trylock(&d->lock))
		pthread_mutex_unlock(&d->lock);
}

static const struct uhmm_notifier_ops ops = { .invalidate = on_invalidate, .finish = on_finish, .end = on_end };

/* Under the driver lock. */
static void check(const struct device *d)
{
	for (uint32_t i = 0; i < PLACES; i++)
		if (d->programmed[i] && d->mirror[i] != atomic_load_explicit(&versions[i], memory_order_relaxed))
			race_die("STALE: place %u of a device", i);
}

/* The reader's side: life is held by the caller, so that the notifier stays inserted. */
static void program(struct device *d, uint64_t *seed)
{
	uint32_t at = d->first + (uint32_t)fuzz_pick(seed, d->count);

	for (int tries = 0; tries < 4; tries++) {
		uint64_t seq = uhmm_read_begin(&d->n), version;

		if (seq == UHMM_SEQ_DEAD)
			race_die("dead, but inserted and nobody here invalidates");
		version = atomic_load_explicit(&versions[at], memory_order_relaxed);
		race_spin(fuzz_pick(seed, 200));
		lock(d);
		if (!uhmm_read_retry(&d->n, seq)) {
			d->programmed[at] = true;
			d->mirror[at] = version;
			check(d);
			unlock(d);
			fuzz_counts.reads++;
			return;
		}
		unlock(d);
	}
}

static void choose_range(struct device *d, uint64_t *seed)
{
	d->count = 1 + (uint32_t)fuzz_pick(seed, 8);
	d->first = (uint32_t)fuzz_pick(seed, PLACES - d->count);
}

static void must(int rc, const char *what)
{
	if (rc)
		race_die("%s: %s", what, strerror(-rc));
}

static void resize(struct device *d, uint64_t *seed)
{
	lock(d);
	choose_range(d, seed);
	/* What a shrink gives up goes first, under the driver lock. */
	for (uint32_t i = 0; i < PLACES; i++)
		if (i < d->first || i >= d->first + d->count)
			d->programmed[i] = false;
	unlock(d);
	must(uhmm_notifier_resize(&d->n, address(d->first), d->count * RACE_PAGE), "resize");
}

static void device_step(struct device *d, uint64_t *seed)
{
	if (pthread_mutex_trylock(&d->life))
		return;
	if (!d->inserted) {
		choose_range(d, seed);
		must(uhmm_notifier_insert(mm, &d->n, address(d->first), d->count * RACE_PAGE, &ops), "insert");
		d->inserted = true;
	} else if (fuzz_pick(seed, 20) == 0) {
		lock(d);
		memset(d->programmed, 0, sizeof(d->programmed));
		unlock(d);
		must(uhmm_notifier_remove(&d->n), "remove");
		d->inserted = false;
	} else if (fuzz_pick(seed, 10) == 0) {
		resize(d, seed);
	} else {
		program(d, seed);
	}
	pthread_mutex_unlock(&d->life);
}

/* Up to three invalidations open at once in this thread, nested and overlapping, ended in any order. */
static void invalidate(uint64_t *seed)
{
	struct uhmm_invalidation inv[INVS_MAX];
	uint32_t first[INVS_MAX], count[INVS_MAX], n = 0, want = 1 + (uint32_t)fuzz_pick(seed, INVS_MAX);
	bool abort_it[INVS_MAX];

	for (uint32_t i = 0; i < want; i++) {
		struct uhmm_event e = { .kind = UHMM_EVENT_CLEAR, .flags = fuzz_pick(seed, 4) ? 0 : UHMM_EVENT_NONBLOCK };
		int rc;

		count[n] = 1 + (uint32_t)fuzz_pick(seed, 6);
		first[n] = (uint32_t)fuzz_pick(seed, PLACES - count[n]);
		e.start = (uintptr_t)address(first[n]);
		e.end = e.start + count[n] * RACE_PAGE;
		rc = uhmm_invalidate_start(mm, &inv[n], &e);
		if (rc == -EAGAIN && e.flags) {
			fuzz_counts.refused++;
			continue;
		}
		must(rc, "invalidate_start");
		abort_it[n] = fuzz_pick(seed, 5) == 0;
		for (uint32_t p = first[n]; p < first[n] + count[n] && !abort_it[n]; p++)
			atomic_fetch_add_explicit(&versions[p], 1, memory_order_relaxed);
		n++;
	}
	for (uint32_t left = n; left; left--) {
		uint32_t i = (uint32_t)fuzz_pick(seed, left);
		struct uhmm_invalidation *v = NULL;

		/* The i-th that is still open; `count` 0 marks the others. */
		for (uint32_t j = 0; j < n && !v; j++)
			if (count[j] && !i--) {
				v = &inv[j];
				count[j] = 0;
				if (abort_it[j])
					uhmm_invalidate_abort(v);
				else
					uhmm_invalidate_end(v);
			}
		fuzz_counts.invalidations++;
	}
}

void fuzz_core_step(uint64_t *seed)
{
	if (fuzz_pick(seed, 3) == 0)
		invalidate(seed);
	else
		device_step(&devices[fuzz_pick(seed, DEVICES)], seed);
}

void fuzz_core_open(void)
{
	struct uhmm_mm_options o = { .size = sizeof(o), .monitors = UHMM_MONITOR_EXPLICIT };

	must(uhmm_mm_open(&mm, &o), "mm_open");
	for (unsigned i = 0; i < DEVICES; i++) {
		pthread_mutex_init(&devices[i].life, NULL);
		pthread_mutex_init(&devices[i].lock, NULL);
	}
}

void fuzz_core_close(void)
{
	for (unsigned i = 0; i < DEVICES; i++)
		if (devices[i].inserted)
			must(uhmm_notifier_remove(&devices[i].n), "remove");
	uhmm_mm_close(mm);
}
