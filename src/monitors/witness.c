/* SPDX-License-Identifier: MIT */
#include "monitors/witness.h"

#include <errno.h>
#include <string.h>

#include "core/queue.h"
#include "port/mm.h"

/* ---- who is told ---- */

void witness_init(struct witness *w)
{
	for (uint32_t i = 0; i < WITNESS_MMS; i++)
		aptr_store_relaxed(&w->mm[i], NULL);
	witness_fork_child(w);
}

void witness_fork_child(struct witness *w)
{
	memset(&w->reader, 0, sizeof(w->reader));
	memset(&w->guard, 0, sizeof(w->guard));
	a32_store_relaxed(&w->waiters, 0);
	a32_store_relaxed(&w->taints, 0);
	a32_store_relaxed(&w->dead, 0);
	for (uint32_t i = 0; i < WITNESS_TAINTS; i++)
		a32_store_relaxed(&w->taint[i].set, 0);
}

int witness_attach(struct witness *w, struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < WITNESS_MMS; i++)
		if (aptr_cas_full(&w->mm[i], NULL, mm))
			return 0;
	return -ENOMEM;
}

static void walk_begin(struct witness_walker *walker)
{
	/* Full; pairs with the exchange in witness_detach(): it sees this round, or this round does not see the entry. */
	a32_fetch_add_full(&walker->rounds, 1);
}

static void walk_end(struct witness *w, struct witness_walker *walker)
{
	a32_fetch_add_full(&walker->rounds, 1);
	/* Pairs with the addition in await_walker(). */
	if (a32_load_acquire(&w->waiters)) {
		a32_fetch_add_full(&w->turns, 1);
		sync_wake32(&w->turns);
	}
}

/* A reader that has died does not end its round; the guard ends that for it within one of its own, and always ends those. */
static bool ends_no_more(const struct witness *w, const struct witness_walker *walker)
{
	return walker == &w->reader && a32_load_acquire(&w->dead);
}

static void await_walker(struct witness *w, struct witness_walker *walker)
{
	uint32_t round, turn;

	a32_fetch_add_full(&w->waiters, 1);
	round = a32_load_acquire(&walker->rounds);
	for (;;) {
		turn = a32_load_acquire(&w->turns);
		if (!(round & 1) || a32_load_acquire(&walker->rounds) != round || ends_no_more(w, walker))
			break;
		sync_await32(&w->turns, sync_differs32, &turn, SYNC_FOREVER);
	}
	a32_fetch_sub_full(&w->waiters, 1);
}

void witness_detach(struct witness *w, struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < WITNESS_MMS; i++)
		if (aptr_load_relaxed(&w->mm[i]) == mm)
			aptr_xchg_full(&w->mm[i], NULL);
	await_walker(w, &w->reader);
	await_walker(w, &w->guard);
}

/* ---- taints ---- */

static bool taint_overlaps(const struct witness_taint *t, uintptr_t start, uintptr_t end)
{
	return a32_load_acquire(&t->set) && a64_load_relaxed(&t->start) < end && start < a64_load_relaxed(&t->end);
}

bool witness_is_dead(const struct witness *w)
{
	return a32_load_acquire(&w->dead) != 0;
}

bool witness_vouches(const struct witness *w, uintptr_t start, uintptr_t end)
{
	if (__builtin_expect(witness_is_dead(w), 0))
		return false;
	if (__builtin_expect(a32_load_acquire(&w->taints) == 0, 1))
		return true;
	for (uint32_t i = 0; i < WITNESS_TAINTS; i++)
		if (taint_overlaps(&w->taint[i], start, end))
			return false;
	return true;
}

bool witness_await_untaint(const struct witness *w, uintptr_t start, uintptr_t end, uint64_t deadline_ns)
{
	uint32_t seen = a32_load_acquire(&w->cleared); /* before the taints are looked at, so that no end is slept through */

	if (witness_is_dead(w) || witness_vouches(w, start, end))
		return false;
	sync_await32(&w->cleared, sync_differs32, &seen, deadline_ns);
	return true;
}

/*
 * Only the reader sets, only the guard takes away. The last entry takes what finds no other: it becomes everything, and
 * stays so until it has been empty. `set` counts how often it was added to, so that the guard takes away no more than it
 * has waited for.
 */
static void add_taint(struct witness *w, uintptr_t start, uintptr_t end)
{
	struct witness_taint *t = &w->taint[0];

	for (uint32_t i = 0; i < WITNESS_TAINTS - 1 && a32_load_acquire(&t->set); i++)
		t++;
	if (t == &w->taint[WITNESS_TAINTS - 1]) {
		start = 0;
		end = MM_ADDR_END;
	}
	a64_store_relaxed(&t->start, start);
	a64_store_relaxed(&t->end, end);
	a32_fetch_add_full(&w->taints, 1);
	a32_fetch_add_full(&t->set, 1);
}

static void wake_doubters(struct witness *w)
{
	a32_fetch_add_full(&w->cleared, 1);
	sync_wake32(&w->cleared);
}

static void wake_guard(struct witness *w)
{
	a32_fetch_add_full(&w->work, 1);
	sync_wake32(&w->work);
}

bool witness_take(const struct witness *w, struct witness_taken *taken)
{
	bool any = false;

	for (uint32_t i = 0; i < WITNESS_TAINTS; i++) {
		taken->set[i] = a32_load_acquire(&w->taint[i].set);
		any |= taken->set[i] != 0;
	}
	return any;
}

/* ---- the gate ---- */

void witness_shut(struct witness *w, struct witness_walker *walker)
{
	walker->opened = 0;
	walker->shut = 0;
	walk_begin(walker);
	for (uint32_t i = 0; i < WITNESS_MMS; i++) {
		struct uhmm_mm *mm = aptr_load_acquire(&w->mm[i]);

		if (!mm)
			continue;
		walker->mm[walker->shut] = mm;
		walker->gate[walker->shut] = core_gate_shut(mm);
		walker->shut++;
	}
}

static bool open_all(struct witness_walker *walker, const struct core_gate_range *ranges, uint32_t n)
{
	bool any = false;

	for (; walker->opened < walker->shut; walker->opened++)
		any |= core_gate_open(walker->mm[walker->opened], walker->gate[walker->opened], ranges, n);
	return any;
}

/* The ranges that an event changes: one, or two. */
static uint32_t add_ranges(struct core_gate_range *r, const struct witness_event *e)
{
	bool tell = !e->forgotten;

	if (e->start == e->end) /* mremap() of length 0 makes a second view and leaves the first: nothing changes */
		return 0;
	*r = (struct core_gate_range){.start = e->start, .end = e->end, .kind = UHMM_EVENT_UNMAP, .tell = tell};
	switch (e->kind) {
	case WITNESS_REMAP:
		r->kind = UHMM_EVENT_REMAP;
		r[1] = (struct core_gate_range){.start = e->to, .end = e->to + (e->end - e->start),
						.kind = UHMM_EVENT_UNMAP, .tell = tell};
		return 2;
	case WITNESS_REMOVE:
		r->kind = UHMM_EVENT_CLEAR;
		r->tell = false; /* the mapping stays, and stays watched */
		return 1;
	case WITNESS_FORK:
		*r = (struct core_gate_range){.start = 0, .end = MM_ADDR_END, .kind = UHMM_EVENT_RELEASE};
		return 1;
	default:
		return 1;
	}
}

bool witness_open(struct witness *w, struct witness_walker *walker, const struct witness_event *events, uint32_t n)
{
	struct core_gate_range ranges[2 * WITNESS_EVENTS];
	bool tainted = false, any;
	uint32_t count = 0;

	assert(n <= WITNESS_EVENTS);
	for (uint32_t i = 0; i < n; i++) {
		/* Before the gate opens: who waits at it asks witness_vouches() after it. */
		if (events[i].kind == WITNESS_REMOVE) {
			add_taint(w, events[i].start, events[i].end);
			tainted = true;
		}
		count += add_ranges(&ranges[count], &events[i]);
	}
	any = open_all(walker, ranges, count);
	walk_end(w, walker);
	if (tainted)
		wake_guard(w);
	return any;
}

void witness_untaint(struct witness *w, struct witness_walker *walker, const struct witness_taken *taken)
{
	for (uint32_t i = 0; i < WITNESS_TAINTS; i++) {
		struct witness_taint *t = &w->taint[i];
		struct core_gate_range again = {.kind = UHMM_EVENT_CLEAR};

		if (!taken->set[i])
			continue;
		again.start = a64_load_relaxed(&t->start);
		again.end = a64_load_relaxed(&t->end);
		witness_shut(w, walker);
		/* While everything is active: nobody gets from the taint to what was looked up under it. */
		if (a32_cas_full(&t->set, taken->set[i], 0))
			a32_fetch_sub_full(&w->taints, taken->set[i]);
		if (open_all(walker, &again, 1))
			core_service_wake();
		walk_end(w, walker);
		wake_doubters(w);
	}
}

void witness_die(struct witness *w)
{
	const struct core_gate_range all = {.start = 0, .end = MM_ADDR_END, .kind = UHMM_EVENT_UNMAP};

	witness_shut(w, &w->guard);
	/* Within the guard's own round: a witness_detach() that does not wait for the reader any more waits for this one. */
	a32_xchg_full(&w->dead, 1);
	/* Pairs with the additions of the reader's own rounds: what it left is what it wrote. */
	a32_load_acquire(&w->reader.rounds);
	open_all(&w->reader, &all, 1);
	open_all(&w->guard, &all, 1);
	core_service_wake();
	walk_end(w, &w->guard);
	wake_doubters(w);
}
