/* SPDX-License-Identifier: MIT */
/*
 * uffd_lift.c: a hooked call has announced its range already; its event would cost more than the call and say nothing. So
 * the range, and nothing else of the mapping, is taken off the kernel's list for the length of the call. Inside its own
 * bracket that is exact: whatever happens to the range meanwhile, by whomever, it counts as changed at the end; and nobody
 * can rely on what is looked up there before that.
 *
 * Not where the calling thread may hold the lock of the list, or a driver lock (a signal handler on top of it); not where an
 * address space listens that hears nothing from the hooks. Then the event is sent, and taken for what it says.
 */
#include "core/thread.h"
#include "monitors/uffd_inside.h"
#include "port/mm.h"

/* Pieces of mappings that may stay unwatched until somebody looks: each splits a mapping meanwhile. */
#define LEFT_MAX 1024u
/* A range that is watched in more pieces than this costs less by its event. */
#define PIECES_MAX 8u

static struct uhmm_a32 lifts; /* under way */

static bool none(uint32_t count, const void *arg)
{
	(void)arg;
	return count == 0;
}

/* Returns, when it forbids, once none is under way. */
void uffd_lift_allow(bool allow)
{
	a32_xchg_full(&uffd_lifting, allow);
	/* Pairs with the addition in uffd_lift(): it sees the word, or is seen here. */
	if (!allow)
		sync_await32(&lifts, none, NULL, SYNC_FOREVER);
}

void uffd_lift_fork_child(void)
{
	a32_store_relaxed(&uffd_lifting, 0);
	a32_store_relaxed(&lifts, 0);
}

static void lift_over(void)
{
	if (a32_fetch_sub_full(&lifts, 1) == 1 && !a32_load_acquire(&uffd_lifting))
		sync_wake32(&lifts);
}

bool uffd_lift(uintptr_t start, uintptr_t end)
{
	const struct core_thread *t = core_thread();
	uintptr_t from, to;
	uint32_t pieces = 0;

	if (a32_load_relaxed(&t->holds) || a32_load_relaxed(&t->core_held) || !watchset_any(&uffd.set, start, end))
		return false;
	a32_fetch_add_full(&lifts, 1);
	while (a32_load_acquire(&uffd_lifting) && pieces < PIECES_MAX && watchset_take(&uffd.set, start, end, &from, &to)) {
		if (uffd_unwatch(uffd_fd(), from, to) != 0)
			break; /* it would take a mapping more than there may be: the event is sent */
		pieces++;
		start = to;
		if (start >= end)
			break;
	}
	if (!pieces)
		lift_over();
	return pieces != 0;
}

void uffd_lifted(uintptr_t start, uintptr_t end, bool stays)
{
	/* Who began to watch it meanwhile does not know that it was taken off again: out, with a new epoch. */
	watchset_forget(&uffd.set, start, end);
	if (stays && a32_fetch_add_full(&uffd.left, 1) >= LEFT_MAX)
		uffd_watch_range(start, end, true, true);
	lift_over();
}
