/* SPDX-License-Identifier: MIT */
/*
 * G11: what the change left alone survives, so failed calls and growth in place drop nothing; ops->end never revives by itself.
 *
 * The driver here is a registration cache in miniature: invalidate suspends the entry, end(changed = true) drops it, and a
 * look-up revives a suspended one as it would program a device: read_begin, driver lock, read_retry.
 */
#include "proto.h"

#include <errno.h>

#include "core/core.h"

enum state { NONE, VALID, SUSPENDED };

struct entry {
	struct driver d; /* its notifier, lock and counts */
	enum state state;
	unsigned registrations;
};

static struct entry *entry_of(struct uhmm_notifier *n)
{
	return (struct entry *)((char *)n - offsetof(struct entry, d.n));
}

static int suspend(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct entry *e = entry_of(n);

	(void)event;
	driver_lock(&e->d);
	if (e->state == VALID)
		e->state = SUSPENDED;
	driver_unlock(&e->d);
	e->d.invalidates++;
	return 0;
}

static void drop_if_changed(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct entry *e = entry_of(n);

	(void)event;
	if (e->d.on_end)
		e->d.on_end(&e->d);
	driver_lock(&e->d);
	if (changed)
		e->state = NONE;
	driver_unlock(&e->d);
	e->d.ends++;
	e->d.ends_changed += changed;
}

static const struct uhmm_notifier_ops entry_ops = {.invalidate = suspend, .end = drop_if_changed};

static void entry_init(struct entry *e, struct uhmm_mm *mm, unsigned page, unsigned pages)
{
	*e = (struct entry){.state = NONE};
	driver_init(&e->d);
	CHECK_EQ(uhmm_notifier_insert(mm, &e->d.n, PAGE_AT(page), pages * PAGE, &entry_ops), 0);
}

static void get(struct entry *e)
{
	for (bool again = true; again;) {
		uint64_t seq = uhmm_read_begin(&e->d.n);

		CHECK(seq != UHMM_SEQ_DEAD);
		driver_lock(&e->d);
		again = uhmm_read_retry(&e->d.n, seq);
		if (!again) {
			e->registrations += e->state == NONE;
			e->state = VALID;
		}
		driver_unlock(&e->d);
	}
}

static enum state state_of(struct entry *e)
{
	enum state s;

	driver_lock(&e->d);
	s = e->state;
	driver_unlock(&e->d);
	return s;
}

static void get_in_worker(void *e)
{
	get(e);
}

/* A call that fails is announced, and aborted: the entry is as before, without another registration. */
static void failed_call_drops_nothing(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct entry e;

	entry_init(&e, mm, 0, 4);
	get(&e);
	for (int k = 1; k <= 10; k++) {
		start_pages(mm, &inv, 0, 4);
		CHECK_EQ(state_of(&e), SUSPENDED);
		uhmm_invalidate_abort(&inv);
		CHECK_EQ(e.d.ends, k);
		CHECK_EQ(e.d.ends_changed, 0);
		CHECK_EQ(state_of(&e), SUSPENDED); /* end revives nothing */
		get(&e);
		CHECK_EQ(state_of(&e), VALID);
	}
	CHECK_EQ(e.registrations, 1);
	/* The control: a call that changed something does cost the entry. */
	start_pages(mm, &inv, 3, 1);
	uhmm_invalidate_end(&inv);
	CHECK_EQ(state_of(&e), NONE);
	get(&e);
	CHECK_EQ(e.registrations, 2);
	CHECK_EQ(uhmm_notifier_remove(&e.d.n), 0);
	uhmm_mm_close(mm);
}

/*
 *	A                    B                    look-up
 *	start: suspend
 *	                     start
 *	                     change
 *	abort: leaves it
 *	                                          must not revive: waits
 *	                     end: drops it
 *	                                          registers again
 */
static void aborted_inside_another(void)
{
	for (int b_changes = 0; b_changes < 2; b_changes++) {
		struct uhmm_mm *mm = proto_open();
		struct invalidator a = {0}, b = {.abort = !b_changes};
		struct worker w;
		struct entry e;

		entry_init(&e, mm, 0, 4);
		get(&e);
		a.abort = true;
		invalidator_open(&a, mm, 0, 2);
		invalidator_open(&b, mm, 1, 2);
		invalidator_end(&a);
		CHECK_EQ(state_of(&e), SUSPENDED);
		worker_start(&w, get_in_worker, &e);
		CHECK(worker_asleep(&w));
		CHECK_EQ(state_of(&e), SUSPENDED);
		invalidator_end(&b);
		worker_join(&w);
		CHECK_EQ(state_of(&e), VALID);
		CHECK_EQ(e.registrations, 1 + b_changes);
		CHECK_EQ(e.d.ends, 2);
		CHECK_EQ(e.d.ends_changed, b_changes);
		CHECK_EQ(uhmm_notifier_remove(&e.d.n), 0);
		uhmm_mm_close(mm);
	}
}

static struct uhmm_mm *range_mm;

static void stop_and_see(struct driver *d)
{
	CHECK(core_range_is_active(range_mm, BASE, BASE + 1));
	gate_pass(&d->gate);
}

/* While ops->end runs the range still counts as invalidating: a look-up cannot revive what is just being dropped. */
static void active_until_end_has_run(void)
{
	struct uhmm_mm *mm = proto_open();
	struct invalidator i = {0};
	struct worker w;
	struct entry e;

	range_mm = mm;
	entry_init(&e, mm, 0, 4);
	get(&e);
	e.d.on_end = stop_and_see;
	invalidator_open(&i, mm, 0, 1);
	gate_open(&i.opened);
	gate_await(&e.d.gate);
	worker_start(&w, get_in_worker, &e);
	CHECK(worker_asleep(&w));
	CHECK_EQ(state_of(&e), SUSPENDED);
	gate_open(&e.d.gate);
	worker_join(&w);
	worker_join(&i.w);
	CHECK_EQ(state_of(&e), VALID);
	CHECK_EQ(e.registrations, 2);
	CHECK(!core_range_is_active(mm, BASE, BASE + 1));
	CHECK_EQ(uhmm_notifier_remove(&e.d.n), 0);
	uhmm_mm_close(mm);
}

/* Whom an aborted invalidation did not overlap is told nothing at all, and keeps everything. */
static void others_are_left_alone(void)
{
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct entry e[3];
	uint64_t seq;

	for (unsigned k = 0; k < 3; k++) {
		entry_init(&e[k], mm, 4 * k, 4);
		get(&e[k]);
	}
	seq = uhmm_read_begin(&e[2].d.n);
	start_pages(mm, &inv, 3, 2); /* the first and the second */
	uhmm_invalidate_abort(&inv);
	CHECK_EQ(state_of(&e[0]), SUSPENDED);
	CHECK_EQ(state_of(&e[1]), SUSPENDED);
	CHECK_EQ(state_of(&e[2]), VALID);
	CHECK_EQ(e[2].d.ends, 0);
	CHECK(!driver_retry(&e[2].d, seq));
	for (unsigned k = 0; k < 3; k++) {
		get(&e[k]);
		CHECK_EQ(e[k].registrations, 1);
		CHECK_EQ(uhmm_notifier_remove(&e[k].d.n), 0);
	}
	uhmm_mm_close(mm);
}

/* A refused non-blocking start changed nothing either. */
static int refuse(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	return event->flags & UHMM_EVENT_NONBLOCK ? -EAGAIN : 0;
}

static void refused_start_drops_nothing(void)
{
	static const struct uhmm_notifier_ops ops = {.invalidate = refuse};
	struct uhmm_event event = pages_event(0, 8);
	struct uhmm_mm *mm = proto_open();
	struct uhmm_notifier n = {0};
	struct uhmm_invalidation inv;
	struct entry e;

	entry_init(&e, mm, 0, 4);
	CHECK_EQ(uhmm_notifier_insert(mm, &n, PAGE_AT(5), PAGE, &ops), 0);
	get(&e);
	event.flags = UHMM_EVENT_NONBLOCK;
	CHECK_EQ(uhmm_invalidate_start(mm, &inv, &event), -EAGAIN);
	get(&e);
	CHECK_EQ(e.registrations, 1);
	CHECK_EQ(e.d.ends, e.d.invalidates);
	CHECK_EQ(uhmm_notifier_remove(&n), 0);
	CHECK_EQ(uhmm_notifier_remove(&e.d.n), 0);
	uhmm_mm_close(mm);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"failed_call_drops_nothing", failed_call_drops_nothing},
		{"aborted_inside_another", aborted_inside_another},
		{"active_until_end_has_run", active_until_end_has_run},
		{"others_are_left_alone", others_are_left_alone},
		{"refused_start_drops_nothing", refused_start_drops_nothing},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
