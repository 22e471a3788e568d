/* SPDX-License-Identifier: MIT */
/*
 * fork.c: an address space is about to be copied.
 *
 * prepare announces the whole of it and leaves the invalidation active, so that no driver looks a page up while the kernel
 * write-protects it for the child; the parent ends it. No lock is held when prepare returns (R29):
 *
 *   thread A: fork()                               thread B: malloc_trim()
 *   our prepare: holds a lock, say
 *                                                  takes malloc's arena lock
 *   malloc's prepare: waits for the arena lock     madvise(): our hook waits for that lock
 *
 * The child cannot lock either: the holder may be a thread that it does not have. It begins a new life of every address space:
 * empty, with the parent's notifiers counting as removed and the parent's memory left where it is.
 */
#include "core/mm.h"

#define FORKS_AT_ONCE 4u

struct fork_context {
	struct uhmm_a32 uses;       /* odd: some thread's */
	struct fork_context *outer; /* a fork handler that forks */
	bool started[CORE_MMS];
	struct uhmm_mm *mm[CORE_MMS];
	struct uhmm_invalidation inv[CORE_MMS];
};

static struct fork_context contexts[FORKS_AT_ONCE];
static struct uhmm_a32 contexts_taken;

static bool is_free(uint32_t taken, const void *arg)
{
	(void)arg;
	return taken < FORKS_AT_ONCE;
}

/* Waits only for other threads' forks, which wait for nothing of ours. */
static struct fork_context *take_context(void)
{
	for (;;) {
		for (uint32_t i = 0; i < FORKS_AT_ONCE; i++) {
			uint32_t uses = a32_load_relaxed(&contexts[i].uses);

			/* Full barrier before the list is read; pairs with the one between delisting and core_fork_forget(). */
			if (!(uses & 1) && a32_cas_full(&contexts[i].uses, uses, uses + 1)) {
				a32_fetch_add_full(&contexts_taken, 1);
				return &contexts[i];
			}
		}
		sync_await32(&contexts_taken, is_free, NULL, SYNC_FOREVER);
	}
}

static void put_context(struct fork_context *c)
{
	a32_fetch_add_full(&c->uses, 1);
	sync_wake32(&c->uses);
	a32_fetch_sub_full(&contexts_taken, 1);
	sync_wake32(&contexts_taken);
}

void core_fork_prepare(void)
{
	const struct uhmm_event event = {.start = 0, .end = MM_ADDR_END, .kind = UHMM_EVENT_RELEASE};
	struct fork_context *c = take_context();

	for (uint32_t i = 0; i < CORE_MMS; i++) {
		c->mm[i] = core_mm_at(i);
		c->started[i] = c->mm[i] && uhmm_invalidate_start(c->mm[i], &c->inv[i], &event) == 0;
	}
	c->outer = core_thread()->fork;
	core_thread()->fork = c;
}

void core_fork_parent(void)
{
	struct fork_context *c = core_thread()->fork;

	if (!c)
		return; /* the child of a fork that a handler of this one made */
	core_thread()->fork = c->outer;
	for (uint32_t i = 0; i < CORE_MMS; i++)
		if (c->started[i])
			uhmm_invalidate_end(&c->inv[i]);
	put_context(c);
}

static bool is_ours(const struct fork_context *wanted)
{
	for (const struct fork_context *c = core_thread()->fork; c; c = c->outer)
		if (c == wanted)
			return true;
	return false;
}

static void end_in(struct fork_context *c, const struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < CORE_MMS; i++) {
		if (c->started[i] && c->mm[i] == mm) {
			c->started[i] = false;
			uhmm_invalidate_end(&c->inv[i]);
		}
	}
}

void core_fork_forget(struct uhmm_mm *mm)
{
	for (uint32_t i = 0; i < FORKS_AT_ONCE; i++) {
		uint32_t uses = a32_load_acquire(&contexts[i].uses);

		if (is_ours(&contexts[i]))
			end_in(&contexts[i], mm);
		else if (uses & 1)
			sync_await32(&contexts[i].uses, sync_differs32, &uses, SYNC_FOREVER);
	}
}

static void begin_new_life(struct uhmm_mm *mm)
{
	sync_lock_init(&mm->lock);
	mm->active = NULL;
	itree_reset(&mm->tree);
	occupancy_reset(&mm->occupied);
	core_queue_reset(&mm->queue);
	a32_store_relaxed(&mm->queued, 0);
	a32_store_relaxed(&mm->drain_sleepers, 0);
	/* Every seq of the parent is stale, and what is inserted is not the child's. */
	a64_store_release(&mm->floor, core_new_seq(mm));
	a32_store_release(&mm->life, a32_load_relaxed(&mm->life) + 1);
	for (struct core_fork_hook *h = mm->fork_hooks; h; h = h->next)
		h->child(h);
}

void core_fork_child(void)
{
	lockcheck_fork_child();
	core_thread()->fork = NULL;
	for (uint32_t i = 0; i < FORKS_AT_ONCE; i++)
		a32_store_relaxed(&contexts[i].uses, 0);
	a32_store_relaxed(&contexts_taken, 0);
	core_service_fork_child();
	core_slots_fork_child();
	for (uint32_t i = 0; i < CORE_MMS; i++)
		if (core_mm_at(i))
			begin_new_life(core_mm_at(i));
}
