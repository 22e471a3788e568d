/* SPDX-License-Identifier: MIT */
/*
 * G4: removal returns only when no callback on that notifier is running or will run; it may be called while invalidations
 * run, is not stretched by unrelated ones, wakes readers, and from inside a callback answers -EDEADLK (a deferred form exists).
 */
#include "proto.h"

#include <errno.h>
#include <string.h>

static void remove_in_worker(void *d)
{
	driver_remove(d);
}

static void remove_plain(void *d)
{
	CHECK_EQ(uhmm_notifier_remove(&((struct driver *)d)->n), 0);
}

/* The callback stands in its middle: removal waits for it, and after it the memory may be overwritten. */
static void waits_for_running_callback(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct worker w;
	struct driver d;

	driver_init(&d);
	d.on_invalidate = stop_at_gate;
	driver_insert(&d, mm, 0, 4);
	invalidator_start(&i, mm, 0, 1);
	gate_await(&d.gate);
	worker_start(&w, remove_in_worker, &d);
	CHECK(worker_asleep(&w));
	CHECK_EQ(d.invalidates, 0);
	gate_open(&d.gate);
	worker_join(&w);
	CHECK_EQ(d.invalidates, 1);
	memset(&d.n, 0xff, sizeof(d.n)); /* nobody may look at it any more */
	invalidator_await_open(&i);
	invalidator_end(&i);
	CHECK_EQ(d.ends, 0);
	uhmm_mm_close(mm);
}

/* The same in finish and in end. */
static void waits_for_finish_and_end(void)
{
	for (int in_end = 0; in_end < 2; in_end++) {
		struct uhmm_mm *mm = proto_open();
		struct invalidator i = {0};
		struct worker w;
		struct driver d;

		driver_init(&d);
		*(in_end ? &d.on_end : &d.on_finish) = stop_at_gate;
		driver_insert(&d, mm, 0, 4);
		invalidator_start(&i, mm, 0, 1);
		if (in_end) {
			invalidator_await_open(&i);
			gate_open(&i.opened);
		}
		gate_await(&d.gate);
		worker_start(&w, remove_plain, &d);
		CHECK(worker_asleep(&w));
		gate_open(&d.gate);
		worker_join(&w);
		CHECK_EQ(d.finishes, 1);
		CHECK_EQ(d.ends, in_end);
		memset(&d.n, 0xff, sizeof(d.n));
		if (!in_end) {
			invalidator_await_open(&i);
			gate_open(&i.opened);
		}
		worker_join(&i.w);
		uhmm_mm_close(mm);
	}
}

/* An open invalidation whose callback is over is not waited for, and its end is not told any more. */
static void open_invalidation_is_not_waited_for(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;

	driver_open(&d, mm, 0, 4);
	invalidator_open(&i, mm, 0, 1);
	driver_remove(&d);
	memset(&d.n, 0xff, sizeof(d.n));
	invalidator_end(&i);
	CHECK_EQ(d.invalidates, 1);
	CHECK_EQ(d.ends, 0);
	uhmm_mm_close(mm);
}

/* Another notifier's callback is not waited for either, and the removed one's own turn never comes. */
static void another_callback_is_not_waited_for(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d[2];
	struct driver *running = NULL, *waiting;

	for (int k = 0; k < 2; k++) {
		driver_init(&d[k]);
		d[k].on_invalidate = stop_at_gate;
		driver_insert(&d[k], mm, (unsigned)k, 1);
	}
	invalidator_start(&i, mm, 0, 2);
	for (int k = 0; !running; k = !k) /* in the callback of whichever is first */
		if (sem_trywait(&d[k].gate.reached) == 0)
			running = &d[k];
	waiting = running == &d[0] ? &d[1] : &d[0];
	driver_remove(waiting);
	memset(&waiting->n, 0xff, sizeof(waiting->n));
	gate_open(&running->gate);
	invalidator_await_open(&i);
	invalidator_end(&i);
	CHECK_EQ(running->invalidates, 1);
	CHECK_EQ(running->ends, 1);
	CHECK_EQ(waiting->invalidates, 0);
	CHECK_EQ(waiting->ends, 0);
	driver_remove(running);
	uhmm_mm_close(mm);
}

/* Readers that sleep are woken and told, although the invalidation is still open. */
static void wakes_readers(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct reader r[3];
	struct driver d;
	uint64_t old;

	driver_open(&d, mm, 0, 4);
	old = uhmm_read_begin(&d.n);
	invalidator_open(&i, mm, 0, 1);
	for (int k = 0; k < 3; k++)
		reader_start(&r[k], &d);
	for (int k = 0; k < 3; k++)
		CHECK(worker_asleep(&r[k].w));
	driver_remove(&d);
	for (int k = 0; k < 3; k++) {
		worker_join(&r[k].w);
		CHECK_EQ(r[k].seq, UHMM_SEQ_DEAD);
	}
	CHECK_EQ(uhmm_read_begin(&d.n), UHMM_SEQ_DEAD);
	CHECK(driver_retry(&d, UHMM_SEQ_DEAD));
	CHECK(driver_retry(&d, old));
	invalidator_end(&i);
	uhmm_mm_close(mm);
}

static void try_removal(struct driver *d)
{
	struct uhmm_notifier other = {0};

	CHECK_EQ(uhmm_notifier_remove(&d->n), -EDEADLK);
	CHECK_EQ(uhmm_notifier_resize(&d->n, PAGE_AT(0), PAGE), -EDEADLK);
	CHECK_EQ(uhmm_notifier_insert(d->data, &other, PAGE_AT(0), PAGE, &driver_ops), -EDEADLK);
}

static void deadlk_in_every_callback(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct driver d;

	driver_init(&d);
	d.data = mm;
	d.on_invalidate = d.on_finish = d.on_end = try_removal;
	driver_insert(&d, mm, 0, 4);
	start_pages(mm, &inv, 0, 1);
	uhmm_invalidate_end(&inv);
	CHECK_EQ(d.invalidates, 1);
	CHECK_EQ(d.finishes, 1);
	CHECK_EQ(d.ends, 1); /* nothing changed by the refusals */
	driver_program(&d);
	proto_close(mm, &d);
}

static _Atomic int dones;
static _Atomic bool inside;

static void done(struct uhmm_notifier *n)
{
	CHECK(!inside);
	memset(n, 0xff, sizeof(*n));
	dones++;
}

static void defer_removal(struct driver *d)
{
	inside = true;
	CHECK_EQ(uhmm_notifier_remove_deferred(&d->n, done), 0);
	CHECK_EQ(dones, 0); /* this callback is running */
	inside = false;
}

/* From within each callback: done comes once, after it, and nothing after that. */
static void deferred_from_callbacks(void)
{
	for (int where = 0; where < 3; where++) {
		struct uhmm_mm *mm = proto_open();
		struct uhmm_invalidation inv;
		struct driver d;

		driver_init(&d);
		*(where == 0 ? &d.on_invalidate : where == 1 ? &d.on_finish : &d.on_end) = defer_removal;
		driver_insert(&d, mm, 0, 4);
		dones = 0;
		start_pages(mm, &inv, 0, 1);
		uhmm_invalidate_end(&inv);
		CHECK_EQ(dones, 1);
		CHECK_EQ(d.finishes, where > 0);
		CHECK_EQ(d.ends, where > 1);
		uhmm_mm_close(mm);
	}
}

/* From outside: at once if no callback runs, else by the thread that leaves the last one; either way without waiting. */
static void deferred_from_outside(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct driver d;

	driver_open(&d, mm, 0, 4);
	dones = 0;
	CHECK_EQ(uhmm_notifier_remove_deferred(&d.n, done), 0);
	CHECK_EQ(dones, 1);

	driver_init(&d);
	d.on_invalidate = stop_at_gate;
	driver_insert(&d, mm, 0, 4);
	invalidator_start(&i, mm, 0, 1);
	gate_await(&d.gate);
	CHECK_EQ(uhmm_notifier_remove_deferred(&d.n, done), 0);
	CHECK_EQ(dones, 1);
	gate_open(&d.gate);
	invalidator_await_open(&i);
	CHECK_EQ(dones, 2);
	invalidator_end(&i);
	CHECK_EQ(d.ends, 0);
	uhmm_mm_close(mm);
}

static void mistakes(void)
{
	struct uhmm_mm *mm = proto_open();
	struct driver d;

	driver_init(&d);
	CHECK_EQ(uhmm_notifier_remove(NULL), -EINVAL);
	CHECK_EQ(uhmm_notifier_remove(&d.n), -EINVAL);
	CHECK_EQ(uhmm_notifier_remove_deferred(NULL, done), -EINVAL);
	CHECK_EQ(uhmm_notifier_remove_deferred(&d.n, done), -EINVAL);
	driver_insert(&d, mm, 0, 4);
	CHECK_EQ(uhmm_notifier_remove_deferred(&d.n, NULL), -EINVAL);
	CHECK_EQ(uhmm_notifier_insert(mm, &d.n, PAGE_AT(0), PAGE, &driver_ops), -EINVAL);
	driver_program(&d); /* and it works on */
	driver_remove(&d);
	CHECK_EQ(uhmm_notifier_remove(&d.n), -EINVAL);
	driver_insert(&d, mm, 7, 1); /* it may come back */
	driver_program(&d);
	proto_close(mm, &d);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"waits_for_running_callback", waits_for_running_callback},
		{"waits_for_finish_and_end", waits_for_finish_and_end},
		{"open_invalidation_is_not_waited_for", open_invalidation_is_not_waited_for},
		{"another_callback_is_not_waited_for", another_callback_is_not_waited_for},
		{"wakes_readers", wakes_readers},
		{"deadlk_in_every_callback", deadlk_in_every_callback},
		{"deferred_from_callbacks", deferred_from_callbacks},
		{"deferred_from_outside", deferred_from_outside},
		{"mistakes", mistakes},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
