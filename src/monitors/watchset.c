/* SPDX-License-Identifier: MIT */
#include "monitors/watchset.h"

#include "core/thread.h"
#include "port/mm.h"

#define BYTES (WATCHSET_RANGES * sizeof(struct watchset_range))
#define TRIES 8u

int watchset_init(struct watchset *s)
{
	void *at;
	int err;

	sync_lock_init(&s->lock);
	if (!s->range) {
		err = mm_reserve(BYTES, &at);
		if (err)
			return err;
		s->range = at;
	}
	a32_store_relaxed(&s->count, 0);
	return 0;
}

void watchset_destroy(struct watchset *s)
{
	if (s->range)
		mm_unmap(s->range, BYTES);
	s->range = NULL;
}

void watchset_fork_child(struct watchset *s)
{
	sync_lock_init(&s->lock);
	a32_store_relaxed(&s->version, 0);
	a32_store_relaxed(&s->count, 0);
	watchset_doubt(s);
}

/* A signal handler on top of the holder must know that it may not wait for the lock (G12). */
static void lock_set(struct watchset *s)
{
	core_hold();
	sync_lock_acquire(&s->lock);
}

static void unlock_set(struct watchset *s)
{
	sync_lock_release(&s->lock);
	core_unhold();
}

/* ---- reading ---- */

static uintptr_t start_at(const struct watchset *s, uint32_t i)
{
	return a64_load_acquire(&s->range[i].start);
}

static uintptr_t end_at(const struct watchset *s, uint32_t i)
{
	return a64_load_acquire(&s->range[i].end);
}

/* The first range that ends behind addr; `count` if none does. */
static uint32_t find(const struct watchset *s, uintptr_t addr, uint32_t count)
{
	uint32_t low = 0, high = count;

	while (low < high) {
		uint32_t mid = low + (high - low) / 2;

		if (end_at(s, mid) > addr)
			high = mid;
		else
			low = mid + 1;
	}
	return low;
}

/* What the list said at one moment; false: it was being written. The acquires keep the version's second look behind. */
static bool snapshot(const struct watchset *s, uintptr_t start, uintptr_t end, bool whole, bool *answer)
{
	uint32_t version = a32_load_acquire(&s->version), count, i;

	if (version & 1)
		return false;
	count = a32_load_acquire(&s->count);
	i = find(s, start, count);
	*answer = i < count && (whole ? start_at(s, i) <= start && end <= end_at(s, i) : start_at(s, i) < end);
	return a32_load_acquire(&s->version) == version;
}

bool watchset_covers(struct watchset *s, uintptr_t start, uintptr_t end)
{
	bool covers = false;

	for (uint32_t i = 0; i < TRIES; i++)
		if (snapshot(s, start, end, true, &covers))
			return covers;
	lock_set(s);
	snapshot(s, start, end, true, &covers);
	unlock_set(s);
	return covers;
}

bool watchset_any(const struct watchset *s, uintptr_t start, uintptr_t end)
{
	bool any;

	return !snapshot(s, start, end, false, &any) || any;
}

uint64_t watchset_epoch(const struct watchset *s)
{
	return a64_load_acquire(&s->epoch);
}

void watchset_doubt(struct watchset *s)
{
	a64_fetch_add_full(&s->epoch, 1);
}

/* ---- writing, under the lock ---- */

static void write_begin(struct watchset *s)
{
	/* Full: no store of what follows comes before it. */
	a32_fetch_add_full(&s->version, 1);
}

static void write_end(struct watchset *s, uint32_t count)
{
	a32_store_relaxed(&s->count, count);
	a32_store_release(&s->version, a32_load_relaxed(&s->version) + 1);
}

static void put(struct watchset *s, uint32_t i, uintptr_t start, uintptr_t end)
{
	a64_store_relaxed(&s->range[i].start, start);
	a64_store_relaxed(&s->range[i].end, end);
}

/* Ranges [from, count) go to `to`; the new count. */
static uint32_t move_ranges(struct watchset *s, uint32_t from, uint32_t to, uint32_t count)
{
	if (to < from)
		for (uint32_t i = from; i < count; i++)
			put(s, i - from + to, start_at(s, i), end_at(s, i));
	else if (to > from)
		for (uint32_t i = count; i-- > from;)
			put(s, i - from + to, start_at(s, i), end_at(s, i));
	return count - from + to;
}

bool watchset_add(struct watchset *s, uintptr_t start, uintptr_t end, uint64_t epoch)
{
	uint32_t first, last, count;
	bool done;

	lock_set(s);
	count = a32_load_relaxed(&s->count);
	done = watchset_epoch(s) == epoch && count < WATCHSET_RANGES;
	if (done) {
		/* Those that it overlaps or touches become part of it. */
		first = start ? find(s, start - 1, count) : 0;
		for (last = first; last < count && start_at(s, last) <= end; last++) {
			start = start_at(s, last) < start ? start_at(s, last) : start;
			end = end_at(s, last) > end ? end_at(s, last) : end;
		}
		write_begin(s);
		count = move_ranges(s, last, first + 1, count);
		put(s, first, start, end);
		write_end(s, count);
	}
	unlock_set(s);
	return done;
}

static void take_out(struct watchset *s, uintptr_t start, uintptr_t end, bool touching)
{
	uint32_t count = a32_load_relaxed(&s->count), first = find(s, start, count), last = first;
	uintptr_t head_start = 0, tail_end = 0;
	bool head = false, tail = false;

	watchset_doubt(s);
	while (last < count && start_at(s, last) < end)
		last++;
	if (last == first)
		return;
	if (!touching) {
		head_start = start_at(s, first);
		head = head_start < start;
		tail_end = end_at(s, last - 1);
		tail = tail_end > end;
	}
	if (head && tail && count + 1 > WATCHSET_RANGES && last - first == 1)
		tail = false; /* no room for a piece more: less than is true */
	write_begin(s);
	count = move_ranges(s, last, first + (uint32_t)head + (uint32_t)tail, count);
	if (head)
		put(s, first, head_start, start);
	if (tail)
		put(s, first + (uint32_t)head, end, tail_end);
	write_end(s, count);
}

void watchset_forget(struct watchset *s, uintptr_t start, uintptr_t end)
{
	lock_set(s);
	take_out(s, start, end, false);
	unlock_set(s);
}

void watchset_forget_touching(struct watchset *s, uintptr_t start, uintptr_t end)
{
	lock_set(s);
	take_out(s, start, end, true);
	unlock_set(s);
}

bool watchset_try_forget_touching(struct watchset *s, uintptr_t start, uintptr_t end)
{
	bool mine;

	core_hold();
	mine = sync_lock_try(&s->lock);
	if (mine) {
		take_out(s, start, end, true);
		sync_lock_release(&s->lock);
	}
	core_unhold();
	return mine;
}

bool watchset_take(struct watchset *s, uintptr_t start, uintptr_t end, uintptr_t *piece_start, uintptr_t *piece_end)
{
	uint32_t i, count;
	bool any;

	lock_set(s);
	count = a32_load_relaxed(&s->count);
	i = find(s, start, count);
	any = i < count && start_at(s, i) < end;
	if (any) {
		*piece_start = start_at(s, i) > start ? start_at(s, i) : start;
		*piece_end = end_at(s, i) < end ? end_at(s, i) : end;
		take_out(s, *piece_start, *piece_end, false);
	}
	unlock_set(s);
	return any;
}
