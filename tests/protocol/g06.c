/* SPDX-License-Identifier: MIT */
/* G6: non-blocking invalidation never sleeps; on -EAGAIN everybody who was told start is told end(changed = false) (R13). */
#include "proto.h"

#include <errno.h>
#include <string.h>

#include "core/mm.h"

#define N 6

static struct uhmm_event nonblock(unsigned page, unsigned pages)
{
	struct uhmm_event e = pages_event(page, pages);

	e.flags = UHMM_EVENT_NONBLOCK;
	return e;
}

static unsigned turn;
static unsigned refuse_at;

/* Whoever's turn it is, in whatever order the notifiers are visited. */
static void refuse_at_turn(struct driver *d)
{
	CHECK_EQ(d->flags, UHMM_EVENT_NONBLOCK);
	d->answer = ++turn == refuse_at ? -EAGAIN : 0;
}

static void ready(struct driver *d, struct uhmm_mm *mm)
{
	for (unsigned k = 0; k < N; k++) {
		driver_open(&d[k], mm, k, 1);
	}
}

/* The refuser at each position: those before it get end(false), it and those after it get nothing. */
static void each_position(void)
{
	for (refuse_at = 1; refuse_at <= N; refuse_at++) {
		const struct uhmm_event event = nonblock(0, N);
		struct uhmm_mm *mm = proto_open();
		struct uhmm_invalidation inv;
		struct driver d[N];
		int told = 0;

		ready(d, mm);
		for (unsigned k = 0; k < N; k++)
			d[k].on_invalidate = refuse_at_turn;
		turn = 0;
		CHECK_EQ(uhmm_invalidate_start(mm, &inv, &event), -EAGAIN);
		CHECK_EQ(turn, refuse_at);
		for (unsigned k = 0; k < N; k++) {
			bool was_told = d[k].invalidates == 1 && d[k].answer == 0;

			CHECK_EQ(d[k].ends, was_told);
			CHECK_EQ(d[k].ends_changed, 0);
			CHECK_EQ(d[k].finishes, 0);
			told += was_told;
			driver_program(&d[k]); /* nothing is active any more */
			d[k].on_invalidate = NULL;
			d[k].answer = 0;
		}
		CHECK_EQ(told, refuse_at - 1);

		/* A later blocking pass succeeds. */
		start_pages(mm, &inv, 0, N);
		for (unsigned k = 0; k < N; k++) {
			CHECK(!driver_is_programmed(&d[k]));
			CHECK_EQ(d[k].flags, 0);
		}
		uhmm_invalidate_end(&inv);
		for (unsigned k = 0; k < N; k++)
			driver_remove(&d[k]);
		uhmm_mm_close(mm);
	}
}

/* Nobody refuses: it is an invalidation as any other. */
static void nobody_refuses(void)
{
	const struct uhmm_event event = nonblock(0, N);
	struct uhmm_mm *mm = proto_open();
	struct uhmm_invalidation inv;
	struct driver d[N];
	struct reader r;

	ready(d, mm);
	CHECK_EQ(uhmm_invalidate_start(mm, &inv, &event), 0);
	reader_sleeps(&r, &d[2]);
	uhmm_invalidate_end(&inv);
	worker_join(&r.w);
	for (unsigned k = 0; k < N; k++) {
		CHECK_EQ(d[k].invalidates, 1);
		CHECK_EQ(d[k].finishes, 1);
		CHECK_EQ(d[k].ends_changed, 1);
		driver_remove(&d[k]);
	}
	uhmm_mm_close(mm);
}

/* A reader asleep on a notifier that was counted in vain is woken. */
static void refusal_wakes_readers(void)
{
	const struct uhmm_event event = nonblock(0, 2);
	struct uhmm_mm *mm = proto_open();
	struct invalidator other = {0};
	struct uhmm_invalidation inv;
	struct driver d[N];
	struct reader r[2];

	ready(d, mm);
	invalidator_open(&other, mm, 0, 2);
	for (unsigned k = 0; k < 2; k++) {
		reader_sleeps(&r[k], &d[k]);
		d[k].answer = -EAGAIN;
	}
	CHECK_EQ(uhmm_invalidate_start(mm, &inv, &event), -EAGAIN);
	CHECK(worker_asleep(&r[0].w) && worker_asleep(&r[1].w)); /* the other is still open */
	invalidator_end(&other);
	for (unsigned k = 0; k < 2; k++) {
		worker_join(&r[k].w);
		CHECK(!driver_retry(&d[k], r[k].seq));
	}
	for (unsigned k = 0; k < N; k++)
		driver_remove(&d[k]);
	uhmm_mm_close(mm);
}

/* A non-blocking start in a thread of its own. */
struct starter {
	struct worker w;
	struct uhmm_mm *mm;
	struct uhmm_invalidation inv;
	struct uhmm_event event;
	int result;
};

static void start_nonblock(void *arg)
{
	struct starter *s = arg;

	s->result = uhmm_invalidate_start(s->mm, &s->inv, &s->event);
	if (s->result == 0)
		uhmm_invalidate_end(&s->inv);
}

static void stop_at_last_turn_but_one(struct driver *d)
{
	if (++turn == N - 1)
		gate_pass(&d->gate);
}

/*
 * Resized during a pass that is refused later. Whoever had returned 0 is told end(false) even if
 *   - it has moved behind the refuser in key order since (told), or
 *   - the refuser has moved before it, and refuses in the extra round that the move asks for.
 */
static void moved_during_refused_pass(bool told, unsigned page)
{
	struct starter s = {.mm = proto_open(), .event = nonblock(0, 64)};
	struct driver d[N], *stopped = NULL, *moved = NULL, *refuser = NULL;

	ready(d, s.mm);
	turn = 0;
	for (unsigned k = 0; k < N; k++) {
		CHECK_EQ(uhmm_notifier_resize(&d[k].n, PAGE_AT(20 + k), PAGE), 0);
		d[k].on_invalidate = stop_at_last_turn_but_one;
	}
	worker_start(&s.w, start_nonblock, &s);
	for (unsigned k = 0; !stopped; k = (k + 1) % N)
		if (sem_trywait(&d[k].gate.reached) == 0)
			stopped = &d[k];
	for (unsigned k = 0; k < N; k++)
		if (&d[k] != stopped && (d[k].invalidates == 1) == told)
			moved = &d[k];
	refuser = told ? stopped : moved;
	refuser->answer = -EAGAIN;
	CHECK_EQ(uhmm_notifier_resize(&moved->n, PAGE_AT(page), PAGE), 0);
	gate_open(&stopped->gate);
	worker_join(&s.w);
	CHECK_EQ(s.result, -EAGAIN);
	CHECK_EQ(refuser->ends, 0);
	for (unsigned k = 0; k < N; k++) {
		bool was_told = d[k].invalidates > 0 && &d[k] != refuser;

		CHECK(d[k].ends > 0 ||
		      !was_told); /* one whose turn had not come may be told too: there is no record of pairs */
		CHECK_EQ(d[k].ends_changed, 0);
		driver_program(&d[k]);
		driver_remove(&d[k]);
	}
	uhmm_mm_close(s.mm);
}

static void told_then_moved_behind(void)
{
	moved_during_refused_pass(true, 60);
	moved_during_refused_pass(true, 0);
}

static void refuser_moved_before(void)
{
	moved_during_refused_pass(false, 0);
	moved_during_refused_pass(false, 60);
}

static void hold_core_lock(void *arg)
{
	struct gate *g = ((void **)arg)[1];
	struct uhmm_mm *mm = ((void **)arg)[0];

	core_lock(mm);
	gate_pass(g);
	core_unlock(mm);
}

/* Somebody holds the core's own lock: a non-blocking start gives up or turns round, but is never seen asleep. */
static void core_lock_is_not_slept_on(void)
{
	struct starter s = {.mm = proto_open(), .event = nonblock(0, 1)};
	struct driver d[N];
	struct gate g;
	struct worker w;
	void *arg[2] = {s.mm, &g};

	ready(d, s.mm);
	gate_init(&g);
	worker_start(&w, hold_core_lock, arg);
	gate_await(&g);
	worker_start(&s.w, start_nonblock, &s);
	while (s.w.tid == 0)
		sched_yield();
	for (unsigned looks = 0; looks < 200 && !s.w.done; looks++) {
		CHECK(!worker_sleeps_now(&s.w));
		sched_yield();
	}
	gate_open(&g);
	worker_join(&w);
	worker_join(&s.w);
	CHECK(s.result == 0 || s.result == -EAGAIN);
	CHECK_EQ(d[0].invalidates, s.result == 0);
	CHECK_EQ(d[0].ends, s.result == 0);
	for (unsigned k = 0; k < N; k++) {
		driver_program(&d[k]);
		driver_remove(&d[k]);
	}
	uhmm_mm_close(s.mm);
}

int main(int argc, char **argv)
{
	static const struct proto_case cases[] = {
		{"each_position", each_position},
		{"nobody_refuses", nobody_refuses},
		{"refusal_wakes_readers", refusal_wakes_readers},
		{"told_then_moved_behind", told_then_moved_behind},
		{"refuser_moved_before", refuser_moved_before},
		{"core_lock_is_not_slept_on", core_lock_is_not_slept_on},
	};

	return proto_main(argc, argv, cases, sizeof(cases) / sizeof(cases[0]));
}
