/* SPDX-License-Identifier: MIT */
/*
 * hook_table.h: which address spaces listen, and who is inside a hook.
 *
 * A hook reads the table without a lock and uses what it found there until it returns. Whoever takes an entry out has to know
 * when the last hook that may have seen it has left, and a hook may write no shared line (G8):
 *
 *   hook                                         hooks_detach()
 *   record = epoch (acquire), inside             entry = NULL; epoch++ (full)
 *   fence_light()        <-- pairs with -->      sync_heavy_barrier()
 *   read the table                               scan the records: somebody inside since an older epoch?
 *   ... start, the call, end ...                     wait
 *   record = outside                             free the address space
 *   fence_light(); is anybody waiting? wake
 *
 * One of the two sees the other: a hook whose record the scan missed reads the table without the entry.
 */
#ifndef MONITORS_HOOK_TABLE_H
#define MONITORS_HOOK_TABLE_H

#include "core/thread.h"
#include "port/sync.h"

#define HOOKS_MMS 64u

struct uhmm_mm;

/* In a mapping of its own that a forked child, however it was made, finds zeroed: nobody listens there until
 * hooks_fork_child() says so, hence a child of a bare fork() can never wait for a lock whose holder it does not have. */
struct hook_table {
	struct uhmm_a64 epoch;
	struct uhmm_a32 used; /* entries from here on were never used */
	struct uhmm_a32 waiters; /* hooks_detach() calls to be told when a hook is left; here, in a line that hooks read */
	struct uhmm_aptr mm[HOOKS_MMS];
};

/* One thread's record. Word: epoch of the outermost hook it is in << 8 | depth. */
struct hook_record {
	_Alignas(64) struct uhmm_a64 word;
	int *error;          /* the thread's errno: asking libc for it costs a call */
	struct hook_table *table; /* the one there is, here for want of another line */
	struct uhmm_a32 tid; /* 0: free */
};

#define HOOK_DEPTH_MASK UINT64_C(0xff)

extern struct uhmm_aptr hook_table;   /* NULL until the first attach; then always the same */

/* A record for this thread, or NULL: it counts in a shared word instead. */
struct hook_record *hook_record_first(struct core_thread *t);
void hook_enter_shared(void);
void hook_leave_shared(void);
void hook_wake(void);

static inline struct hook_record *hook_enter(uint64_t *saved)
{
	struct core_thread *t = core_thread();
	struct hook_record *r = t->hooks[0];

	if (__builtin_expect(!r, 0)) {
		r = hook_record_first(t);
		if (!r) {
			hook_enter_shared();
			return NULL;
		}
	}
	*saved = a64_load_relaxed(&r->word);
	/*
	 * Nested (a signal handler, a destructor in dlclose): the outermost epoch stands. Acquire; pairs with the full addition
	 * to the epoch in hooks_attach() and hooks_detach(), after their change of the table: who has the new epoch must not
	 * read the old table, which a plain load would allow on machines that perform loads out of order.
	 */
	a64_store_relaxed(&r->word, *saved ? *saved + 1 : a64_load_acquire(&r->table->epoch) << 8 | 1);
	fence_light();
	return r;
}

static inline void hook_leave(struct hook_record *r, uint64_t saved)
{
	if (__builtin_expect(!r, 0)) {
		hook_leave_shared();
		return;
	}
	/* Release: what the hook read of an address space comes before. */
	a64_store_release(&r->word, saved);
	fence_light();
	if (__builtin_expect(a32_load_relaxed(&r->table->waiters) != 0, 0))
		hook_wake();
}

/* The next listener at or after *place; *place is moved behind it. NULL: no more. */
static inline struct uhmm_mm *hook_next(uint32_t *place)
{
	struct hook_table *table = aptr_load_acquire(&hook_table);
	uint32_t used = a32_load_acquire(&table->used);

	while (*place < used) {
		struct uhmm_mm *mm = aptr_load_acquire(&table->mm[(*place)++]);

		if (mm)
			return mm;
	}
	return NULL;
}

/* Nothing was ever entered from place on. */
static inline bool hook_is_last(uint32_t place)
{
	struct hook_table *table = aptr_load_relaxed(&hook_table);

	return place >= a32_load_acquire(&table->used);
}

/* The epoch now; 0 where nobody listens nor may (see above). Only once the table exists. */
static inline uint64_t hook_epoch(void)
{
	struct hook_table *table = aptr_load_acquire(&hook_table);

	return a64_load_relaxed(&table->epoch);
}

/* True once no thread, but for the caller's own record if it is given, is inside a hook that it entered before the epoch. */
bool hook_all_past(uint64_t epoch, const struct hook_record *but);

/* A dlclose() under way is in no hook while the original runs, but on a list; see hook_dlclose.c. */
void hook_closings_forget(const struct uhmm_mm *mm);
bool hook_closings_past(uint64_t epoch);
void hook_closings_fork_child(void);

#endif
