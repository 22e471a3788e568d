/* SPDX-License-Identifier: MIT */
#include "chaos.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <uhmm/uhmm.h>

#include "run.h"

/* The longest pause before a mapping call, and, of a pause that a registration ended, the rest. The same for every protocol. */
#define DWELL_NS_MAX 100000u
#define STRIKE_NS_MAX 12000u

/* xorshift64*: repeatable, and different for each thread. */
static uint64_t draw(struct chaos *c, uint64_t below)
{
	c->random ^= c->random >> 12;
	c->random ^= c->random << 25;
	c->random ^= c->random >> 27;
	return ((c->random * UINT64_C(0x2545f4914f6cdd1d)) >> 32) % below;
}

static void spin(uint64_t until_ns)
{
	while (now_ns() < until_ns)
		;
}

/*
 * Between the announcement, if the protocol has one here, and the change. Best is a change in the middle of a registration of
 * the same chunk, so a pause waits for one to begin, for a while, and then strikes at some moment of it.
 */
static void dwell(struct chaos *c, unsigned chunk)
{
	uint64_t until;

	if (draw(c, 4) == 0)
		return;
	until = now_ns() + draw(c, DWELL_NS_MAX);
	while (now_ns() < until) {
		if (atomic_load_explicit(&c->run->registering, memory_order_relaxed) == chunk) {
			spin(now_ns() + draw(c, STRIKE_NS_MAX));
			return;
		}
	}
}

/* One mapping call on [at, at+len), with what the protocol says about it around it. */
struct change {
	enum { CHANGE_DISCARD, CHANGE_REPLACE, CHANGE_UNMAP, CHANGE_MAP, CHANGE_MOVE_ONTO } how;
	char *at;
	size_t len;
	char *from; /* CHANGE_MOVE_ONTO */
};

static bool change_call(const struct change *h)
{
	const int prot = PROT_READ | PROT_WRITE, flags = MAP_PRIVATE | MAP_ANONYMOUS;

	switch (h->how) {
	case CHANGE_DISCARD:
		return madvise(h->at, h->len, MADV_DONTNEED) == 0;
	case CHANGE_REPLACE:
		return mmap(h->at, h->len, prot, flags | MAP_FIXED, -1, 0) == h->at;
	case CHANGE_UNMAP:
		return munmap(h->at, h->len) == 0;
	case CHANGE_MAP:
		return mmap(h->at, h->len, prot, flags | MAP_FIXED_NOREPLACE, -1, 0) == h->at;
	case CHANGE_MOVE_ONTO:
		return mremap(h->from, h->len, h->len, MREMAP_MAYMOVE | MREMAP_FIXED, h->at) == h->at;
	}
	return false;
}

static bool change(struct chaos *c, const struct change *h)
{
	const struct uhmm_event event = {
		.start = (uintptr_t)h->at,
		.end = (uintptr_t)h->at + h->len,
		.kind = h->how == CHANGE_DISCARD ? UHMM_EVENT_CLEAR : UHMM_EVENT_UNMAP,
	};
	enum announce announce = c->run->announce;
	bool announced = announce == ANNOUNCE_BRACKET || announce == ANNOUNCE_BEFORE;
	struct uhmm_invalidation inv;
	uint64_t begin;
	bool ok;
	int err;

	if (announced) {
		err = uhmm_invalidate_start(c->run->mm, &inv, &event);
		if (err) {
			fail(&c->run->failure, "cannot announce a change: %s", strerror(-err));
			return false;
		}
		if (announce == ANNOUNCE_BEFORE)
			uhmm_invalidate_end(&inv);
	}
	dwell(c, atomic_load_explicit(&c->attention, memory_order_relaxed));
	begin = now_ns();
	ok = change_call(h);
	err = errno;
	histogram_add(&c->mapping_calls, now_ns() - begin);
	if (announce == ANNOUNCE_BRACKET)
		uhmm_invalidate_end(&inv);
	if (!ok)
		fail(&c->run->failure, "a mapping call of chaos failed: %s", strerror(err));
	count(&c->run->counters.changes, 1);
	return ok;
}

static void stamp_run(struct chaos *c, char *at, unsigned chunk, unsigned q, unsigned pages)
{
	struct chunk *k = &c->run->arena.chunk[chunk];

	for (unsigned i = 0; i < pages; i++)
		stamp_write(at + (size_t)i * PAGE_BYTES, arena_page_number(chunk, q + i), k->generation[q + i]);
}

/* The pages come from elsewhere, with their stamps on them. */
static bool move_onto(struct chaos *c, char *at, size_t len, unsigned chunk, unsigned q, unsigned pages)
{
	struct change h = {.how = CHANGE_MOVE_ONTO, .at = at, .len = len};

	/* What was there has been moved away the last time: in a secluded arena the hole is still ours. */
	h.from = mmap(c->spare, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | (c->spare ? MAP_FIXED : 0), -1, 0);
	if (h.from == MAP_FAILED) {
		fail(&c->run->failure, "a mapping call of chaos failed: %s", strerror(errno));
		return false;
	}
	stamp_run(c, h.from, chunk, q, pages);
	return change(c, &h);
}

/* Pages [q, q+pages) of the chunk are FREE. Afterwards they are others, stamped with the next generation, and GIVEN. */
static bool change_and_hand_over(struct chaos *c, unsigned chunk, unsigned q, unsigned pages)
{
	struct arena *a = &c->run->arena;
	char *at = arena_page(a, chunk, q);
	size_t len = (size_t)pages * PAGE_BYTES;
	bool ok = true;

	for (unsigned i = 0; i < pages; i++)
		a->chunk[chunk].generation[q + i]++;
	atomic_store_explicit(&c->attention, chunk, memory_order_relaxed);
	switch (draw(c, a->secluded ? 4 : 3)) {
	case 0:
		ok = change(c, &(struct change){.how = CHANGE_DISCARD, .at = at, .len = len});
		break;
	case 1:
		ok = change(c, &(struct change){.how = CHANGE_REPLACE, .at = at, .len = len});
		break;
	case 2:
		ok = move_onto(c, at, len, chunk, q, pages);
		break;
	case 3:
		ok = change(c, &(struct change){.how = CHANGE_UNMAP, .at = at, .len = len}) &&
		     change(c, &(struct change){.how = CHANGE_MAP, .at = at, .len = len});
		break;
	}
	if (!ok)
		return false;
	stamp_run(c, at, chunk, q, pages);
	/* Pairs with the acquire in the device thread, which then reads the generations and has the stamps written. */
	atomic_fetch_or_explicit(&a->chunk[chunk].given, ((1u << pages) - 1) << q, memory_order_release);
	count(&c->run->counters.handovers, pages);
	return true;
}

/* A run of free pages of the chunk, anywhere and of any length. False: none is free. */
static bool choose_run(struct chaos *c, unsigned chunk, unsigned *q, unsigned *pages)
{
	/* Pairs with the release with which the device thread gives pages back: its requests on them have completed. */
	unsigned given = atomic_load_explicit(&c->run->arena.chunk[chunk].given, memory_order_acquire);
	unsigned free = ~given & CHUNK_FREE_MASK;
	unsigned at, longest = 0;

	if (!free)
		return false;
	at = (unsigned)draw(c, CHUNK_PAGES);
	while (!(free & 1u << at))
		at = (at + 1) % CHUNK_PAGES;
	while (at + longest < CHUNK_PAGES && (free & 1u << (at + longest)))
		longest++;
	*q = at;
	*pages = 1 + (unsigned)draw(c, longest);
	return true;
}

static void rest(void)
{
	const struct timespec pause = {.tv_nsec = 20000};

	nanosleep(&pause, NULL);
}

static void *chaos_main(void *arg)
{
	struct chaos *c = arg;
	struct run *run = c->run;
	unsigned idle = 0;

	for (unsigned turn = 0; !stopping(run) && !atomic_load_explicit(&run->chaos_stop, memory_order_relaxed); turn++) {
		unsigned chunk = c->first_chunk + turn % CHAOS_CHUNKS_EACH;
		unsigned q, pages;

		gate_pass(&run->gate);
		if (choose_run(c, chunk, &q, &pages)) {
			idle = 0;
			if (!change_and_hand_over(c, chunk, q, pages)) {
				atomic_store(&run->stop, true);
				break;
			}
		} else if (++idle >= CHAOS_CHUNKS_EACH) {
			rest();
		}
	}
	gate_leave(&run->gate);
	return NULL;
}

int chaos_start(struct chaos *c, struct run *run, unsigned index)
{
	memset(c, 0, sizeof(*c));
	c->run = run;
	c->first_chunk = index * CHAOS_CHUNKS_EACH;
	c->spare = run->arena.secluded ? arena_chunk(&run->arena, run->arena.chunks + index) : NULL;
	c->random = UINT64_C(0x9e3779b97f4a7c15) * (index + 1);
	atomic_init(&c->attention, c->first_chunk);
	gate_join(&run->gate);
	if (pthread_create(&c->thread, NULL, chaos_main, c) == 0)
		return 0;
	gate_leave(&run->gate);
	return -EAGAIN;
}

void chaos_join(struct chaos *c)
{
	pthread_join(c->thread, NULL);
	histogram_merge(&c->run->mapping_calls, &c->mapping_calls);
}
