/* SPDX-License-Identifier: MIT */
/* G5: resize is atomic: no window in which an invalidation is missed. Every seq from before it retries. */
#include "proto.h"

#include <errno.h>

static void resize(struct driver *d, unsigned page, unsigned pages)
{
	CHECK_EQ(uhmm_notifier_resize(&d->n, PAGE_AT(page), pages * PAGE), 0);
}

/* Grown, shrunk, moved, or not changed at all: what was begun before retries, what is begun after does not. */
static void old_seq_retries(void)
{
	static const unsigned to[][2] = {{0, 8}, {2, 1}, {1, 2}, {100, 4}, {100, 4}, {0, 4}};
	struct uhmm_mm *mm = proto_open();
	struct driver d;

	driver_open(&d, mm, 0, 4);
	for (size_t k = 0; k < sizeof(to) / sizeof(to[0]); k++) {
		uint64_t seq = uhmm_read_begin(&d.n);

		CHECK(!driver_retry(&d, seq));
		resize(&d, to[k][0], to[k][1]);
		CHECK(driver_retry(&d, seq));
		driver_program(&d);
	}
	CHECK_EQ(d.invalidates, 0);
	proto_close(mm, &d);
}

/*
 * Into an open invalidation, slow (another notifier is in it) or fast (it overlapped nothing): readers wait, the end is told.
 */
static void grow_into_open(void)
{
	for (int slow = 0; slow < 2; slow++) {
		struct uhmm_mm *mm = proto_open();
		struct invalidator i = {0};
		struct driver d, o;
		struct reader r;

		driver_init(&d);
		driver_init(&o);
		driver_insert(&d, mm, 0, 4);
		if (slow)
			driver_insert(&o, mm, 6, 1);
		invalidator_open(&i, mm, 6, 4);
		driver_program(&d); /* not covered: goes through */
		resize(&d, 0, 8);
		reader_sleeps(&r, &d);
		invalidator_end(&i);
		worker_join(&r.w);
		CHECK(!driver_retry(&d, r.seq));
		CHECK_EQ(d.invalidates, 0);
		CHECK_EQ(d.ends, 1);
		driver_remove(&d);
		if (slow)
			driver_remove(&o);
		uhmm_mm_close(mm);
	}
}

/* Out of an open invalidation: a sleeping reader goes on, the end is not told, and the next one is not miscounted. */
static void shrink_out_of_open(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct reader r;
	struct driver d;

	driver_open(&d, mm, 0, 8);
	invalidator_open(&i, mm, 6, 4);
	reader_sleeps(&r, &d);
	resize(&d, 0, 6);
	worker_join(&r.w);
	CHECK(!driver_retry(&d, r.seq));
	driver_program(&d);
	invalidator_end(&i);
	CHECK_EQ(d.invalidates, 1);
	CHECK_EQ(d.ends, 0);
	CHECK(driver_is_programmed(&d));
	proto_close(mm, &d);
}

/* Out, and in again, and from one open invalidation into another: the count follows the range. */
static void back_and_forth(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i[2] = {{.page = 0}};
	struct reader r;
	struct driver d;

	driver_open(&d, mm, 0, 2);
	invalidator_start(&i[0], mm, 0, 2);
	invalidator_start(&i[1], mm, 10, 2);
	invalidator_await_open(&i[0]);
	invalidator_await_open(&i[1]);
	for (int k = 0; k < 4; k++) {
		resize(&d, 4, 2); /* in none */
		driver_program(&d);
		resize(&d, 10, 2); /* in the second */
		resize(&d, 1, 10); /* in both */
		reader_sleeps(&r, &d);
		resize(&d, 1, 1); /* in the first */
		CHECK(worker_asleep(&r.w));
		resize(&d, 12, 1); /* in none */
		worker_join(&r.w);
		CHECK(!driver_retry(&d, r.seq));
	}
	resize(&d, 0, 12);
	reader_start(&r, &d);
	invalidator_end(&i[0]);
	CHECK(worker_asleep(&r.w));
	invalidator_end(&i[1]);
	worker_join(&r.w);
	CHECK(!driver_retry(&d, r.seq));
	CHECK_EQ(d.ends, 2);
	proto_close(mm, &d);
}

/*
 * During the pass of callbacks. The notifier that is resized overlaps the invalidation before and after, and its callback
 * has not run yet; wherever its start moves to, it must still run.
 *
 *   invalidator                    driver
 *   start: callback of one ...
 *                                  resize of another, to a place that the walk has passed
 *   ... goes on with the walk
 *   has called the other too
 */
static void during_the_pass(unsigned page, unsigned pages)
{
	enum { N = 8 };
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d[N];
	int at = -1;

	for (int k = 0; k < N; k++) {
		driver_init(&d[k]);
		d[k].on_invalidate = stop_at_gate;
		driver_insert(&d[k], mm, 20 + (unsigned)k, 1);
		driver_program(&d[k]);
	}
	invalidator_start(&i, mm, 0, 64);
	for (int calls = 0; calls < N; calls++) {
		for (at = 0; sem_trywait(&d[at].gate.reached) != 0; at = (at + 1) % N)
			sched_yield();
		/* One that has not had its turn, resized while this one has. */
		for (int k = N - 1; calls == N / 2 && k >= 0; k--) {
			if (k != at && d[k].invalidates == 0) {
				resize(&d[k], page, pages);
				break;
			}
		}
		gate_open(&d[at].gate);
		worker_asleep(&i.w); /* in the next, or open */
	}
	for (int k = 0; k < N; k++)
		gate_open(&d[k].gate); /* being called again is allowed */
	invalidator_await_open(&i);
	for (int k = 0; k < N; k++) {
		CHECK(d[k].invalidates >= 1);
		CHECK(!driver_is_programmed(&d[k]));
	}
	invalidator_end(&i);
	for (int k = 0; k < N; k++)
		driver_remove(&d[k]);
	uhmm_mm_close(mm);
}

static void during_the_pass_everywhere(void)
{
	during_the_pass(0, 1);   /* before everything that was visited */
	during_the_pass(0, 64);  /* over everything */
	during_the_pass(63, 1);  /* after everything */
	during_the_pass(22, 2);  /* among what was visited */
	during_the_pass(60, 64); /* only its beginning is inside */
}

/* Of the one whose callback is running: it does not wait, and nothing is lost of the new range. */
static void own_callback_running(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;
	struct reader r;

	driver_init(&d);
	d.on_invalidate = stop_at_gate;
	driver_insert(&d, mm, 0, 4);
	driver_program(&d);
	invalidator_start(&i, mm, 2, 10);
	gate_await(&d.gate);
	gate_open(&d.gate); /* for a second call, if there is one */
	resize(&d, 0, 8);
	gate_open(&d.gate);
	invalidator_await_open(&i);
	CHECK(d.invalidates >= 1);
	CHECK(!driver_is_programmed(&d));
	reader_sleeps(&r, &d);
	invalidator_end(&i);
	worker_join(&r.w);
	CHECK(!driver_retry(&d, r.seq));
	proto_close(mm, &d);
}

/* Refused, nothing changes: the seq stays good and the old range stays watched. */
static void refused(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct driver d;
	uint64_t seq;

	driver_init(&d);
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), PAGE), -EINVAL);
	driver_insert(&d, mm, 0, 4);
	seq = uhmm_read_begin(&d.n);
	CHECK_EQ(uhmm_notifier_resize(NULL, PAGE_AT(0), PAGE), -EINVAL);
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), 0), -EINVAL);
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), SIZE_MAX), -EINVAL);
	CHECK(!driver_retry(&d, seq));
	start_pages(mm, &inv, 3, 1);
	uhmm_invalidate_end(&inv);
	CHECK_EQ(d.invalidates, 1);
	driver_remove(&d);
	CHECK_EQ(uhmm_notifier_resize(&d.n, PAGE_AT(0), PAGE), -EINVAL);
	uhmm_mm_close(mm);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"old_seq_retries", old_seq_retries},
		{"grow_into_open", grow_into_open},
		{"shrink_out_of_open", shrink_out_of_open},
		{"back_and_forth", back_and_forth},
		{"during_the_pass_everywhere", during_the_pass_everywhere},
		{"own_callback_running", own_callback_running},
		{"refused", refused},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
