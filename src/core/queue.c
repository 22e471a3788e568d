/* SPDX-License-Identifier: MIT */
#include "core/queue.h"

#include <errno.h>

#include "core/mm.h"

/* ---- the queue ---- */

static void raise_floor(struct uhmm_mm *mm)
{
	uint64_t seq = core_new_seq(mm), old;

	do {
		old = a64_load_relaxed(&mm->floor);
	} while (old < seq && !a64_cas_full(&mm->floor, old, seq));
}

static struct core_queue_entry *take_entry(struct core_queue *q)
{
	for (uint32_t i = 0; i < QUEUE_ENTRIES; i++)
		if (a32_cas_full(&q->entry[i].state, QUEUE_FREE, QUEUE_FILLING))
			return &q->entry[i];
	return NULL;
}

/* The floor is for the caller to raise. */
static struct core_queue_entry *enter(struct uhmm_mm *mm, uintptr_t start, uintptr_t end, const void *thread, uint32_t what)
{
	struct core_queue_entry *entry = take_entry(&mm->queue);

	if (entry) {
		a64_store_relaxed(&entry->start, start);
		a64_store_relaxed(&entry->end, end);
		a32_store_relaxed(&entry->what, what);
		aptr_store_relaxed(&entry->thread, (void *)(uintptr_t)thread);
		a32_store_release(&entry->state, QUEUE_OPEN);
	} else {
		a32_fetch_add_full(&mm->queue.overflow_open, 1);
	}
	a32_fetch_add_full(&mm->queued, 1);
	return entry;
}

struct core_queue_entry *core_queue_push(struct uhmm_mm *mm, uintptr_t start, uintptr_t end)
{
	/* Queued before the floor: a reader that sees the new floor finds its range queued (or drained). The same order as
	 * `active` and `seq`, and for the same reason. */
	struct core_queue_entry *entry = enter(mm, start, end, core_thread(), UHMM_EVENT_UNMAP);

	raise_floor(mm);
	core_stat_add(mm, CORE_STAT_DEFERRED, 1);
	return entry;
}

static void wake_sleepers(struct uhmm_mm *mm)
{
	a32_fetch_add_full(&mm->drains, 1);
	/* Pairs with the addition in await_quiet(), src/core/read.c: it sees the new count, or is seen here. */
	if (a32_load_acquire(&mm->drain_sleepers))
		sync_wake32(&mm->drains);
}

static void drained(struct uhmm_mm *mm, uint32_t count)
{
	a32_fetch_sub_full(&mm->queued, count);
	wake_sleepers(mm);
}

void core_queue_ended(struct uhmm_mm *mm, struct core_queue_entry *entry, bool changed)
{
	if (!entry) {
		/* Which part of the overflow did not change is not known any more: all of it did. */
		a32_fetch_add_full(&mm->queue.overflow_ended, 1);
		a32_fetch_sub_full(&mm->queue.overflow_open, 1);
	} else if (changed) {
		a32_store_release(&entry->state, QUEUE_ENDED);
	} else {
		a32_store_release(&entry->state, QUEUE_FREE);
		drained(mm, 1);
		return;
	}
	core_service_wake();
}

static bool entry_counts(const struct core_queue_entry *e, const void *thread)
{
	uint32_t state = a32_load_acquire(&e->state);

	return state == QUEUE_OPEN ? !thread || aptr_load_relaxed(&e->thread) == thread : state == QUEUE_ENDED && !thread;
}

/* ---- the gate ---- */

struct core_queue_entry *core_gate_shut(struct uhmm_mm *mm)
{
	/* In nobody's name, so that no thread takes it for a change of its own. */
	struct core_queue_entry *gate = enter(mm, 0, MM_ADDR_END, NULL, UHMM_EVENT_UNMAP);

	raise_floor(mm);
	return gate;
}

static void narrow(struct core_queue_entry *e, const struct core_gate_range *r)
{
	/* Who looks at both words meanwhile finds more than either: they only come closer. */
	a64_store_relaxed(&e->start, r->start);
	a64_store_relaxed(&e->end, r->end);
	a32_store_relaxed(&e->what, (uint32_t)r->kind | (r->tell ? QUEUE_TELL : 0));
	a32_store_release(&e->state, QUEUE_ENDED);
}

static void end_range(struct uhmm_mm *mm, struct core_queue_entry *e, const struct core_gate_range *r)
{
	if (e) {
		narrow(e, r);
		return;
	}
	a32_fetch_add_full(&mm->queue.overflow_ended, 1);
	a32_fetch_sub_full(&mm->queue.overflow_open, 1);
}

/*
 * Nobody has to be called. The look comes after the change, and after the full barriers of the shut: a notifier inserted
 * meanwhile looks its pages up after its own barrier, hence after the change.
 */
static bool concerns_nobody(const struct uhmm_mm *mm, const struct core_gate_range *r)
{
	return !r->tell && !occupancy_any(&mm->occupied, r->start, r->end);
}

bool core_gate_open(struct uhmm_mm *mm, struct core_queue_entry *gate, const struct core_gate_range *ranges, uint32_t n)
{
	const struct core_gate_range *first = NULL;

	for (uint32_t i = 0; i < n; i++) {
		if (concerns_nobody(mm, &ranges[i]))
			continue;
		if (!first) {
			first = &ranges[i];
			continue;
		}
		end_range(mm, enter(mm, ranges[i].start, ranges[i].end, NULL, 0), &ranges[i]);
		/* Who looked at that entry before this, and at the gate once it is narrow, holds a seq from before it. */
		raise_floor(mm);
	}
	if (first) {
		end_range(mm, gate, first);
		wake_sleepers(mm); /* those of other ranges */
		return true;
	}
	if (gate)
		a32_store_release(&gate->state, QUEUE_FREE);
	else
		a32_fetch_sub_full(&mm->queue.overflow_open, 1);
	drained(mm, 1);
	return false;
}

bool core_queue_overlaps(struct uhmm_mm *mm, uintptr_t start, uintptr_t end, const void *thread)
{
	struct core_queue *q = &mm->queue;

	if (!thread && (a32_load_acquire(&q->overflow_open) || a32_load_acquire(&q->overflow_ended)))
		return true;
	for (uint32_t i = 0; i < QUEUE_ENTRIES; i++)
		if (entry_counts(&q->entry[i], thread) &&
		    core_overlaps(a64_load_relaxed(&q->entry[i].start), a64_load_relaxed(&q->entry[i].end), start, end))
			return true;
	return false;
}

void core_queue_reset(struct core_queue *q)
{
	for (uint32_t i = 0; i < QUEUE_ENTRIES; i++)
		a32_store_relaxed(&q->entry[i].state, QUEUE_FREE);
	a32_store_relaxed(&q->overflow_open, 0);
	a32_store_relaxed(&q->overflow_ended, 0);
}

/* ---- draining ---- */

/* The change lies between the two in time; what counts is that the tear-down comes after it and before readers go on. */
static void replay(struct uhmm_mm *mm, uintptr_t start, uintptr_t end, uint32_t what)
{
	struct uhmm_event event = {.start = start, .end = end, .kind = (enum uhmm_event_kind)(what & ~QUEUE_TELL)};
	struct uhmm_invalidation inv;

	for (struct core_watch_hook *h = mm->watch_hooks; h && (what & QUEUE_TELL); h = h->next)
		if (h->gone)
			h->gone(h, start, end);
	if (uhmm_invalidate_start(mm, &inv, &event) == 0)
		uhmm_invalidate_end(&inv);
}

/* True if something was drained. */
static bool drain(struct uhmm_mm *mm)
{
	struct core_queue *q = &mm->queue;
	uint32_t ended = a32_load_acquire(&q->overflow_ended);
	bool any = ended != 0;

	for (uint32_t i = 0; i < QUEUE_ENTRIES; i++) {
		struct core_queue_entry *e = &q->entry[i];

		if (a32_load_acquire(&e->state) != QUEUE_ENDED)
			continue;
		replay(mm, a64_load_relaxed(&e->start), a64_load_relaxed(&e->end), a32_load_relaxed(&e->what));
		a32_store_release(&e->state, QUEUE_FREE);
		drained(mm, 1);
		any = true;
	}
	if (ended) {
		replay(mm, 0, MM_ADDR_END, UHMM_EVENT_UNMAP | QUEUE_TELL);
		a32_fetch_sub_full(&q->overflow_ended, ended);
		drained(mm, ended);
	}
	return any;
}

/* ---- the service thread: one for the process ---- */

enum { SERVICE_NONE, SERVICE_STARTING, SERVICE_RUNNING };

static struct uhmm_a32 service_state;
static struct uhmm_a32 service_tid;
static struct uhmm_a32 service_calls; /* bumped by every wake */
static struct uhmm_a32 service_rounds; /* twice the rounds completed; odd: one is running */

void core_service_wake(void)
{
	a32_fetch_add_full(&service_calls, 1);
	sync_wake32(&service_calls);
}

static void service_main(void *arg)
{
	(void)arg;
	a32_store_release(&service_tid, thread_id());
	sync_wake32(&service_tid);
	for (;;) {
		uint32_t seen = a32_load_acquire(&service_calls);
		bool any = false;

		a32_fetch_add_full(&service_rounds, 1);
		if (core_lines_wanted())
			core_lines_add();
		for (uint32_t i = 0; i < CORE_MMS; i++) {
			struct uhmm_mm *mm = core_mm_at(i);

			any |= mm && a32_load_acquire(&mm->queued) && drain(mm);
		}
		a32_fetch_add_full(&service_rounds, 1);
		sync_wake32(&service_rounds);
		if (!any)
			sync_await32(&service_calls, sync_differs32, &seen, SYNC_FOREVER);
	}
}

static bool is_set(uint32_t word, const void *arg)
{
	(void)arg;
	return word != 0;
}

uint32_t core_service_thread(void)
{
	sync_await32(&service_tid, is_set, NULL, SYNC_FOREVER);
	return a32_load_relaxed(&service_tid);
}

static bool is_running(uint32_t state, const void *arg)
{
	(void)arg;
	return state != SERVICE_STARTING;
}

int core_service_start(void)
{
	struct thread_service thread;
	int err;

	while (__builtin_expect(a32_load_acquire(&service_state) != SERVICE_RUNNING, 0)) {
		if (!a32_cas_full(&service_state, SERVICE_NONE, SERVICE_STARTING)) {
			sync_await32(&service_state, is_running, NULL, SYNC_FOREVER);
			continue;
		}
		sync_heavy_barrier_setup();
		err = core_lines_exist() ? 0 : core_lines_add();
		if (!err)
			err = thread_service_start(&thread, service_main, NULL, "uhmm-core");
		a32_store_release(&service_state, err ? SERVICE_NONE : SERVICE_RUNNING);
		sync_wake32(&service_state);
		if (err)
			return -ENOMEM;
	}
	return 0;
}

/* The address space is about to go: wait until neither the service thread nor a fork in another thread can be looking at it. */
void core_service_quiesce(struct uhmm_mm *mm)
{
	uint32_t round;

	core_mm_delist(mm);
	round = a32_load_acquire(&service_rounds);
	if (round & 1)
		sync_await32(&service_rounds, sync_differs32, &round, SYNC_FOREVER);
	core_fork_forget(mm);
}

void core_service_fork_child(void)
{
	a32_store_relaxed(&service_state, SERVICE_NONE);
	a32_store_relaxed(&service_tid, 0);
	a32_store_relaxed(&service_rounds, 0);
}
