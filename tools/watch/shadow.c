/* SPDX-License-Identifier: MIT */
/*
 * shadow.c: the buffers that a registration cache would hold. A buffer is registered, page-rounded, when it is first given to
 * a call, found again by its first page, registered anew when it has grown, and forgotten for want of room, the longest unused
 * first. For each one two caches are followed at once:
 *
 *   deaf       hears nothing. A use after a change of the pages used is stale; once for each change, since it is then taken to
 *              register again (a real one would be stale ever after).
 *   hooked     drops what is announced before the call, as caches with hooks do today:
 *
 *              changing thread                          thread with a buffer
 *              announce: the entry is dropped
 *                                                       use: registers the pages as they still are
 *              the call
 *              changed: an entry that is there now
 *              came in between, and is stale (R1, R32)
 *
 *              What such hooks do not announce leaves the entry in place, and stale as well.
 *
 * Sixteen shards, each under its own lock, held for some hundred instructions without a call. Nobody waits long: who cannot
 * have it goes without, and is counted as skipped.
 */
#include "inside.h"

#include <sys/syscall.h>

#define SHARDS 16u
#define PER_SHARD 64u
#define SPINS 200u
#define PAGE ((uintptr_t)4096)

struct region {
	uintptr_t start, end; /* end 0: free */
	uintptr_t from, to;   /* changed since it was registered; empty: nothing */
	uint64_t used;        /* when, in uses of the shard */
	uint32_t site;        /* who changed it first */
	uint8_t kind;
	uint8_t cause; /* why the hooked cache is stale; WATCH_HEARD: it is not */
	bool held;     /* by the hooked cache */
};

struct shard {
	_Alignas(64) _Atomic uint32_t lock;
	uint32_t count;
	uint64_t uses;
	_Atomic uintptr_t low, high; /* every region lies between; low 0: none was ever here */
	struct region region[PER_SHARD];
};

struct watch_shadow_set {
	struct shard shard[SHARDS];
};

size_t watch_shadow_size(void)
{
	return sizeof(struct watch_shadow_set);
}

/* ---- locks ---- */

static void skip(struct watch_state *s)
{
	atomic_fetch_add_explicit(&s->record->shadow.skipped, 1, memory_order_relaxed);
}

/* A signal handler may be on top of the holder. */
static bool lock(struct watch_state *s, struct watch_self *self, struct shard *sh)
{
	for (uint32_t i = 0; i < SPINS && self->depth == 1; i++) {
		if (!atomic_exchange_explicit(&sh->lock, 1, memory_order_acquire))
			return true;
		if (i % 20 == 19)
			watch_call(SYS_sched_yield, 0, 0, 0, 0, 0, 0);
		else
			__builtin_ia32_pause();
	}
	skip(s);
	return false;
}

static void unlock(struct shard *sh)
{
	atomic_store_explicit(&sh->lock, 0, memory_order_release);
}

/* ---- changes ---- */

static bool overlap(uintptr_t a_start, uintptr_t a_end, uintptr_t b_start, uintptr_t b_end)
{
	return a_start < b_end && b_start < a_end;
}

/* Without the lock: a region that comes in just now was not there when the change began. */
static bool may_hold(const struct shard *sh, struct watch_range range)
{
	uintptr_t low = atomic_load_explicit(&sh->low, memory_order_relaxed);

	return low && overlap(low, atomic_load_explicit(&sh->high, memory_order_relaxed), range.start, range.end);
}

void watch_shadow_announce(struct watch_state *s, struct watch_self *self, struct watch_range range)
{
	for (uint32_t i = 0; i < SHARDS; i++) {
		struct shard *sh = &s->shadow->shard[i];

		if (!may_hold(sh, range) || !lock(s, self, sh))
			continue;
		for (uint32_t j = 0; j < sh->count; j++)
			if (overlap(sh->region[j].start, sh->region[j].end, range.start, range.end))
				sh->region[j].held = false;
		unlock(sh);
	}
}

static void mark(struct region *r, struct watch_range range, enum watch_kind kind, enum watch_cause cause, uint32_t site)
{
	bool untouched = r->from >= r->to;

	/* What was seen to go is no longer there to be replaced unseen. */
	if (cause == WATCH_UNSEEN && !untouched)
		return;
	if (untouched) {
		r->kind = (uint8_t)kind;
		r->site = site;
		r->from = range.start;
		r->to = range.end;
	} else {
		r->from = r->from < range.start ? r->from : range.start;
		r->to = r->to > range.end ? r->to : range.end;
	}
	if (r->held && r->cause == WATCH_HEARD)
		r->cause = (uint8_t)(cause == WATCH_HEARD ? WATCH_WINDOW : cause);
}

void watch_shadow_changed(struct watch_state *s, struct watch_self *self, struct watch_range range, enum watch_kind kind,
			  enum watch_cause cause, uint32_t site)
{
	for (uint32_t i = 0; i < SHARDS; i++) {
		struct shard *sh = &s->shadow->shard[i];

		if (!may_hold(sh, range) || !lock(s, self, sh))
			continue;
		for (uint32_t j = 0; j < sh->count; j++)
			if (overlap(sh->region[j].start, sh->region[j].end, range.start, range.end))
				mark(&sh->region[j], range, kind, cause, site);
		unlock(sh);
	}
}

/* ---- uses ---- */

static struct region *find(struct shard *sh, uintptr_t start)
{
	for (uint32_t i = 0; i < sh->count; i++)
		if (sh->region[i].start == start)
			return &sh->region[i];
	return NULL;
}

static struct region *make_room(struct watch_state *s, struct shard *sh)
{
	struct region *oldest = &sh->region[0];

	if (sh->count < PER_SHARD)
		return &sh->region[sh->count++];
	for (uint32_t i = 1; i < PER_SHARD; i++)
		if (sh->region[i].used < oldest->used)
			oldest = &sh->region[i];
	atomic_fetch_add_explicit(&s->record->shadow.evicted, 1, memory_order_relaxed);
	return oldest;
}

static void enter(struct watch_state *s, struct shard *sh, struct region *r, uintptr_t start, uintptr_t end)
{
	uintptr_t low = atomic_load_explicit(&sh->low, memory_order_relaxed);

	*r = (struct region){.start = start, .end = end, .held = true, .cause = WATCH_HEARD};
	if (!low || start < low)
		atomic_store_explicit(&sh->low, start, memory_order_relaxed);
	if (end > atomic_load_explicit(&sh->high, memory_order_relaxed))
		atomic_store_explicit(&sh->high, end, memory_order_relaxed);
	atomic_fetch_add_explicit(&s->record->shadow.registered, 1, memory_order_relaxed);
}

/* Under the lock. True: *was is stale for [start, end), and has been registered again. */
static bool look_up(struct watch_state *s, struct shard *sh, uintptr_t start, uintptr_t end, struct region *was)
{
	struct region *r = find(sh, start);
	bool stale = false;

	if (!r) {
		r = make_room(s, sh);
		enter(s, sh, r, start, end);
	} else if (r->end < end) {
		enter(s, sh, r, start, end);
	} else if (overlap(r->from, r->to, start, end)) {
		*was = *r;
		stale = true;
		enter(s, sh, r, start, r->end);
	} else if (!r->held) {
		r->held = true; /* the hooked cache alone registers again: the call that was announced had failed */
		r->cause = WATCH_HEARD;
	}
	r->used = ++sh->uses;
	return stale;
}

void watch_shadow_use(struct watch_state *s, struct watch_self *self, uintptr_t addr, size_t len)
{
	uintptr_t start = addr & ~(PAGE - 1), end = (addr + len + PAGE - 1) & ~(PAGE - 1);
	struct shard *sh = &s->shadow->shard[(start / PAGE * UINT64_C(0x9e3779b97f4a7c15)) >> 60];
	struct region was;
	bool stale;

	if (!len || end <= start)
		return;
	atomic_fetch_add_explicit(&s->record->shadow.uses, 1, memory_order_relaxed);
	if (!lock(s, self, sh))
		return;
	stale = look_up(s, sh, start, end, &was);
	unlock(sh);
	if (stale)
		watch_note_stale(s, self, addr, len, was.kind, was.cause, was.site);
}
