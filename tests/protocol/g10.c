/* SPDX-License-Identifier: MIT */
/*
 * G10: retry loops are bounded by retries and by time; an invalidator never waits for a reader between read_begin and
 * read_retry: it may be inside free(), and the reader may be about to allocate.
 */
#include "proto.h"

#include <errno.h>
#include <time.h>

#include "core/core.h"

/* A reader that stops between the two, for as long as the test likes. */
struct parked {
	struct worker w;
	struct driver *d;
	struct gate gate;
	bool retried;
};

static void park(void *arg)
{
	struct parked *p = arg;
	uint64_t seq = uhmm_read_begin(&p->d->n);

	gate_pass(&p->gate);
	p->retried = driver_retry(p->d, seq);
}

static void parked_start(struct parked *p, struct driver *d)
{
	p->d = d;
	gate_init(&p->gate);
	worker_start(&p->w, park, p);
	gate_await(&p->gate);
}

/* Readers of the range are parked; invalidations of every kind, a resize and a removal go through under the watchdog. */
static void writers_do_not_wait_for_readers(void)
{
	struct uhmm_event nonblock = pages_event(0, 1);
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct parked p[4];
	struct driver d;

	nonblock.flags = UHMM_EVENT_NONBLOCK;
	driver_open(&d, mm, 0, 4);
	for (int k = 0; k < 4; k++)
		parked_start(&p[k], &d);
	for (int k = 0; k < 100; k++) {
		start_pages(mm, &inv, 0, 4);
		uhmm_invalidate_end(&inv);
		start_pages(mm, &inv, 3, 1);
		uhmm_invalidate_abort(&inv);
		CHECK_EQ(uhmm_invalidate_start(mm, &inv, &nonblock), 0);
		uhmm_invalidate_end(&inv);
	}
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), 2 * PAGE), 0);
	CHECK_EQ(d.invalidates, 300);
	for (int k = 0; k < 4; k++) {
		gate_open(&p[k].gate);
		worker_join(&p[k].w);
		CHECK(p[k].retried);
	}
	proto_close(mm, &d);
}

/* A removal with a parked reader of the notifier: nothing to wait for either. */
static void removal_does_not_wait_for_readers(void)
{
	struct uhmm_mm *mm = proto_open();
	struct parked p;
	struct driver d;

	driver_open(&d, mm, 0, 4);
	parked_start(&p, &d);
	driver_remove(&d);
	gate_open(&p.gate);
	worker_join(&p.w);
	CHECK(p.retried);
	uhmm_mm_close(mm);
}

/* Readers asleep in read_begin do not hold up further invalidations of the same range. */
static void writers_do_not_wait_for_sleeping_readers(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct uhmm_invalidation inv;
	struct reader r;
	struct driver d;

	driver_open(&d, mm, 0, 4);
	invalidator_open(&i, mm, 0, 1);
	reader_sleeps(&r, &d);
	for (int k = 0; k < 100; k++) {
		start_pages(mm, &inv, 0, 4);
		uhmm_invalidate_end(&inv);
	}
	invalidator_end(&i);
	worker_join(&r.w);
	CHECK(!driver_retry(&d, r.seq));
	proto_close(mm, &d);
}

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/*
 * The bound by time: with the invalidation open for good, a bounded look-up comes back and says so, and nothing is left behind.
 */
static void wait_is_bounded(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;
	uint64_t seq = 77;

	driver_open(&d, mm, 0, 4);
	CHECK_EQ(core_read_begin(&d.n, now_ns(), &seq), 0); /* quiet: a deadline that has passed does not matter */
	CHECK(!driver_retry(&d, seq));
	invalidator_open(&i, mm, 0, 1);
	seq = 77;
	CHECK_EQ(core_read_begin(&d.n, now_ns() + 1000000, &seq), -ETIMEDOUT);
	CHECK_EQ(core_read_begin(&d.n, 0, &seq), -ETIMEDOUT);
	CHECK_EQ(seq, 77);
	invalidator_end(&i);
	CHECK_EQ(core_read_begin(&d.n, SYNC_FOREVER, &seq), 0);
	CHECK(!driver_retry(&d, seq));
	driver_remove(&d);
	CHECK_EQ(core_read_begin(&d.n, 0, &seq), -EOWNERDEAD);
	uhmm_mm_close(mm);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"writers_do_not_wait_for_readers", writers_do_not_wait_for_readers},
		{"removal_does_not_wait_for_readers", removal_does_not_wait_for_readers},
		{"writers_do_not_wait_for_sleeping_readers", writers_do_not_wait_for_sleeping_readers},
		{"wait_is_bounded", wait_is_bounded},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
