/* SPDX-License-Identifier: MIT */
/* locks.c: locks, waits and wakes. */
#include "lab/history.h"

#include <stddef.h>

static void acquire_from(const struct lab_access *a, const uint32_t *word)
{
	uint32_t at = lab_mark(lab_index_of_word(word))->location[lab_half_of(word)];

	if (at && lab_locations[at].released && !lab_mistaken(LAB_MISTAKE_LOCK))
		lab_join(&a->me->now, &lab_locations[at].time);
}

/*
 * Readers do not come after each other: what one releases is kept with the count of them, added to what others have, and is for
 * whoever takes the lock alone. What that one releases is for all.
 */
static void acquire_lock(const struct lab_access *a, const struct lab_mutex *l, bool alone)
{
	lab_drain_all(a->fiber);
	acquire_from(a, &l->holder);
	if (alone)
		acquire_from(a, &l->readers);
}

static void release_lock(const struct lab_access *a, const struct lab_mutex *l, bool alone)
{
	const uint32_t *word = alone ? &l->holder : &l->readers;
	struct lab_mark *mark = lab_mark(lab_index_of_word(word));
	uint32_t at = mark->location[lab_half_of(word)];

	lab_drain_all(a->fiber);
	if (!at)
		at = lab_location_new(mark, word, 4);
	if (lab_locations[at].released)
		lab_join(&lab_locations[at].time, &a->me->now);
	else
		lab_copy(&lab_locations[at].time, &a->me->now);
	lab_locations[at].released = true;
	lab_tick(a->me, a->fiber);
}

static void take(const struct lab_access *a, struct lab_mutex *l)
{
	acquire_lock(a, l, true);
	lab_arena_dirty_word(a->index);
	l->holder = a->fiber + 1;
}

void lab_mem_lock(struct lab_mutex *l, const struct lab_site *site)
{
	struct lab_access a;

	if (lab_begin(&a, LAB_OP_LOCK, true, l, sizeof(*l), site)) {
		take(&a, l);
		return;
	}
	if (l->holder || l->readers)
		lab_stop("set-up takes a lock that is held");
	lab_arena_dirty_word(a.index);
	l->holder = 1;
}

bool lab_mem_trylock(struct lab_mutex *l, const struct lab_site *site)
{
	struct lab_access a;
	bool in_fiber = lab_begin(&a, LAB_OP_TRYLOCK, true, l, sizeof(*l), site), got = l->holder == 0 && l->readers == 0;

	lab_tell_values(got, got);
	if (got && in_fiber) {
		take(&a, l);
	} else if (got) {
		lab_arena_dirty_word(a.index);
		l->holder = 1;
	}
	return got;
}

void lab_mem_unlock(struct lab_mutex *l, const struct lab_site *site)
{
	struct lab_access a;

	if (lab_begin(&a, LAB_OP_UNLOCK, true, l, sizeof(*l), site)) {
		if (l->holder != a.fiber + 1)
			lab_lost(8, "a lock is dropped that %s does not hold: %s, %s:%u", lab_run.fiber[a.fiber].name,
				 site->text, site->file, site->line);
		release_lock(&a, l, true);
	}
	lab_arena_dirty_word(a.index);
	l->holder = 0;
}

void lab_mem_lock_shared(struct lab_mutex *l, const struct lab_site *site)
{
	struct lab_access a;

	if (lab_begin(&a, LAB_OP_LOCK, false, l, sizeof(*l), site))
		acquire_lock(&a, l, false);
	lab_arena_dirty((char *)l + offsetof(struct lab_mutex, readers), sizeof(l->readers));
	l->readers++;
}

void lab_mem_unlock_shared(struct lab_mutex *l, const struct lab_site *site)
{
	struct lab_access a;

	if (lab_begin(&a, LAB_OP_UNLOCK, false, l, sizeof(*l), site))
		release_lock(&a, l, false);
	lab_arena_dirty((char *)l + offsetof(struct lab_mutex, readers), sizeof(l->readers));
	l->readers--;
}

/* ---- waiting ---- */

bool lab_mem_wait(const struct uhmm_a32 *word, uint32_t expected, bool has_deadline, const struct lab_site *site)
{
	struct lab_access a;

	if (!lab_begin(&a, LAB_OP_FUTEX_WAIT, false, word, sizeof(*word), site))
		lab_stop("set-up waits for what no other fiber can do");
	lab_note_access(&a, false);
	lab_drain_all(a.fiber);
	lab_tell_values(lab_in_memory(word, sizeof(*word)), expected);
	if (lab_in_memory(word, sizeof(*word)) != expected)
		return true;
	return lab_sleep(word, has_deadline, site);
}

void lab_mem_wake(const struct uhmm_a32 *word, const struct lab_site *site)
{
	struct lab_op op = {.kind = LAB_OP_FUTEX_WAKE, .write = true, .object = word, .site = site};

	lab_point(&op);
	lab_drain_all(lab_run.now);
	lab_wake(word);
}

void lab_mem_await_change(const struct uhmm_a32 *word, uint32_t value, const struct lab_site *site)
{
	struct lab_access a;

	if (!lab_begin(&a, LAB_OP_FUTEX_WAIT, false, word, sizeof(*word), site))
		lab_stop("set-up waits for what no other fiber can do");
	lab_drain_all(a.fiber);
	lab_tell_values(lab_in_memory(word, sizeof(*word)), value);
	if (lab_in_memory(word, sizeof(*word)) != value)
		lab_sleep(lab_any_store_to(word), false, site);
}

void lab_mem_relax(const struct lab_site *site)
{
	struct lab_op op = {.kind = LAB_OP_YIELD, .site = site};

	lab_point(&op);
}
