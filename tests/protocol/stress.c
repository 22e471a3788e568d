/* SPDX-License-Identifier: MIT */
/*
 * All guarantees at once, under load: threads insert, resize, remove, invalidate (overlapping, nested, aborted,
 * non-blocking) and look up at random, and an oracle says what is stale. Every page has a version that only an invalidator
 * raises, between start and end; a driver's page-table entry is the version that its reader saw. What must hold:
 *
 *   when read_retry says no, under the driver lock, the version that was looked up is still the page's;
 *   between start and end no covered driver has a valid entry for a page of the range;
 *   whatever a driver finds valid under its lock is current.
 *
 * Each thread owns some drivers: only it inserts, resizes and removes them; everybody reads all of them.
 * Arguments: operations a thread (default 4,000), seed.
 */
#include "proto.h"

#include <errno.h>
#include <string.h>

#define PAGES 24u
#define THREADS 5u
#define OWNED 4u
#define DRIVERS (THREADS * OWNED)

static struct uhmm_mm *mm;
static _Atomic uint64_t version[PAGES];

static struct mirror {
	struct uhmm_notifier n;
	pthread_mutex_t lock;
	pthread_rwlock_t alive; /* readers share it; the owner has it alone while the notifier is out */
	bool inserted;
	unsigned first, pages; /* under lock: what may be programmed */
	uint64_t entry[PAGES]; /* under lock: 0 none, else the version + 1 */
} mirrors[DRIVERS];

static _Atomic uint64_t programmed, retried, torn_down, changes;

struct rng {
	uint64_t s;
};

static unsigned roll(struct rng *r, unsigned below)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return (unsigned)((r->s >> 20) % below);
}

static void lock(struct mirror *m)
{
	pthread_mutex_lock(&m->lock);
	uhmm_lock_acquired(&m->lock, "mirror");
}

static void unlock(struct mirror *m)
{
	uhmm_lock_released(&m->lock);
	pthread_mutex_unlock(&m->lock);
}

static int tear_down(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct mirror *m = (struct mirror *)n;
	uint64_t dropped = 0;

	if (event->flags & UHMM_EVENT_NONBLOCK) {
		if (pthread_mutex_trylock(&m->lock) != 0)
			return -EAGAIN;
		uhmm_lock_acquired(&m->lock, "mirror");
	} else {
		lock(m);
	}
	for (unsigned p = 0; p < PAGES; p++) {
		uintptr_t at = (uintptr_t)PAGE_AT(p);

		if (at < event->end && event->start < at + PAGE) {
			dropped += m->entry[p] != 0;
			m->entry[p] = 0;
		}
	}
	unlock(m);
	torn_down += dropped;
	return 0;
}

static const struct uhmm_notifier_ops mirror_ops = {.invalidate = tear_down};

/* Nobody has an entry for the pages: in the window between start and end. */
static void check_window(unsigned first, unsigned pages)
{
	for (unsigned k = 0; k < DRIVERS; k++) {
		struct mirror *m = &mirrors[k];

		pthread_mutex_lock(&m->lock); /* not announced: the oracle is no driver */
		for (unsigned p = first; p < first + pages; p++)
			CHECK(m->entry[p] == 0);
		pthread_mutex_unlock(&m->lock);
	}
}

static void pick(struct rng *r, unsigned *first, unsigned *pages)
{
	*first = roll(r, PAGES);
	*pages = 1 + roll(r, PAGES - *first < 6 ? PAGES - *first : 6);
}

static void change(struct rng *r, unsigned depth)
{
	struct uhmm_invalidation inv;
	struct uhmm_event event;
	unsigned first, pages;

	pick(r, &first, &pages);
	event = pages_event(first, pages);
	event.flags = roll(r, 4) == 0 ? UHMM_EVENT_NONBLOCK : 0;
	if (uhmm_invalidate_start(mm, &inv, &event) != 0) {
		CHECK(event.flags != 0);
		return;
	}
	check_window(first, pages);
	if (roll(r, 3) == 0) {
		uhmm_invalidate_abort(&inv);
		return;
	}
	for (unsigned p = first; p < first + pages; p++)
		version[p]++;
	if (depth < 2 && roll(r, 4) == 0)
		change(r, depth + 1);
	if (roll(r, 4) == 0)
		sched_yield();
	check_window(first, pages);
	changes++;
	uhmm_invalidate_end(&inv);
}

static void look_up(struct rng *r, struct mirror *m)
{
	uint64_t seq, seen[PAGES];

	if (pthread_rwlock_tryrdlock(&m->alive) != 0)
		return;
	seq = m->inserted ? uhmm_read_begin(&m->n) : UHMM_SEQ_DEAD;
	if (seq != UHMM_SEQ_DEAD) {
		for (unsigned p = 0; p < PAGES; p++)
			seen[p] = version[p];
		if (roll(r, 8) == 0)
			sched_yield();
		lock(m);
		if (uhmm_read_retry(&m->n, seq)) {
			retried++;
		} else {
			for (unsigned p = m->first; p < m->first + m->pages; p++) {
				CHECK(version[p] == seen[p]);
				m->entry[p] = seen[p] + 1;
			}
			programmed++;
		}
		unlock(m);
	}
	pthread_rwlock_unlock(&m->alive);
}

/* A device access. */
static void access_pages(struct mirror *m)
{
	lock(m);
	for (unsigned p = 0; p < PAGES; p++)
		CHECK(m->entry[p] == 0 || m->entry[p] == version[p] + 1);
	unlock(m);
}

/* What may be programmed from now on; drops the rest. A shrink calls it before the resize, a grow after. */
static void allow(struct mirror *m, unsigned first, unsigned pages)
{
	lock(m);
	m->first = first;
	m->pages = pages;
	for (unsigned p = 0; p < PAGES; p++)
		if (p < first || p >= first + pages)
			m->entry[p] = 0;
	unlock(m);
}

static void resize(struct rng *r, struct mirror *m)
{
	unsigned first, pages, both_first, both_end;

	pick(r, &first, &pages);
	both_first = first > m->first ? first : m->first;
	both_end = first + pages < m->first + m->pages ? first + pages : m->first + m->pages;
	allow(m, both_first, both_end > both_first ? both_end - both_first : 0);
	CHECK_EQ(uhmm_notifier_resize(&m->n, PAGE_AT(first), pages * PAGE), 0);
	allow(m, first, pages);
}

static void insert_or_remove(struct rng *r, struct mirror *m)
{
	unsigned first, pages;

	if (m->inserted) {
		allow(m, 0, 0);
		CHECK_EQ(uhmm_notifier_remove(&m->n), 0);
		pthread_rwlock_wrlock(&m->alive);
		m->inserted = false;
		memset(&m->n, 0, sizeof(m->n));
		pthread_rwlock_unlock(&m->alive);
		return;
	}
	pick(r, &first, &pages);
	pthread_rwlock_wrlock(&m->alive);
	CHECK_EQ(uhmm_notifier_insert(mm, &m->n, PAGE_AT(first), pages * PAGE, &mirror_ops), 0);
	m->inserted = true;
	pthread_rwlock_unlock(&m->alive);
	allow(m, first, pages);
}

static unsigned long operations = 4000;
static unsigned long seed = 1;

static void run(void *arg)
{
	unsigned me = (unsigned)(uintptr_t)arg;
	struct rng r = {.s = seed * 0x9e3779b97f4a7c15u + me * 0x2545f4914f6cdd1du + 1};

	for (unsigned long k = 0; k < operations; k++) {
		struct mirror *own = &mirrors[me * OWNED + roll(&r, OWNED)], *any = &mirrors[roll(&r, DRIVERS)];

		switch (roll(&r, 10)) {
		case 0:
			insert_or_remove(&r, own);
			break;
		case 1:
			if (own->inserted)
				resize(&r, own);
			break;
		case 2:
		case 3:
			change(&r, 0);
			break;
		case 4:
			access_pages(any);
			break;
		default:
			look_up(&r, any);
		}
	}
}

static void stress(void)
{
	struct worker w[THREADS];

	mm = proto_open();
	for (unsigned k = 0; k < DRIVERS; k++) {
		pthread_mutex_init(&mirrors[k].lock, NULL);
		pthread_rwlock_init(&mirrors[k].alive, NULL);
	}
	for (uintptr_t k = 0; k < THREADS; k++)
		worker_start(&w[k], run, (void *)k);
	for (unsigned k = 0; k < THREADS; k++)
		worker_join(&w[k]);
	for (unsigned k = 0; k < DRIVERS; k++) {
		access_pages(&mirrors[k]);
		if (mirrors[k].inserted)
			CHECK_EQ(uhmm_notifier_remove(&mirrors[k].n), 0);
	}
	uhmm_mm_close(mm);
	/* The control: everything happened often, so that the checks above mean something. */
	printf("programmed %lu, retried %lu, torn down %lu, changes %lu\n", (unsigned long)programmed, (unsigned long)retried,
	       (unsigned long)torn_down, (unsigned long)changes);
	CHECK(programmed > 100 && torn_down > 100 && changes > 100);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {{"stress", stress}};

	if (argc > 1)
		operations = strtoul(argv[1], NULL, 0);
	if (argc > 2)
		seed = strtoul(argv[2], NULL, 0);
	return proto_main(1, argv, cases, 1);
}
