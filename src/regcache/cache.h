/* SPDX-License-Identifier: MIT */
/*
 * cache.h: the registration cache from the inside.
 *
 * Parts: region.c the region objects; index.c finds them by address; seat.c says who uses them; get.c look-ups and misses;
 * notify.c what the address space tells; reap.c deregistration and eviction; regcache.c create, destroy, fork, counters.
 *
 * Life of a region, all changes under the cache lock:
 *
 *                          read_retry false               invalidate                    end(changed)
 *	FREE -> REGISTERING ------------------> VALID <----------------------> SUSPENDED ---------------> DROPPED -> FREE
 *	           |                              |      look-up: read_begin,       |                        ^
 *	           | reg() failed: FREE           |      lock, read_retry           v                        |
 *	           | never quiet: DROPPED         +--------------------------> EVICTING ---------------------+
 *	                                            LRU, back if found in use           nobody uses it
 *
 * Three decisions carry the rest:
 *
 * 1. A hit touches the table slot, a ticket in the thread's own seat, and the head of the cache, which it only reads. The
 *    region itself is not read, so that 100,000 random hits miss one line each. Hence the index holds whatever a hit must
 *    know (access, whether valid, the LRU stamp), and the notifier's state is mirrored into the valid bit of the slot.
 * 2. Nothing a reader may look at is ever unmapped under it: region objects and seats are type-stable, tables are kept while a
 *    seat names them. So there is no read-side critical section, only
 *
 *	get                                     whoever deregisters
 *	slot says valid, region r               slot no longer valid            (invalidate, evict: under the lock)
 *	ticket = r
 *	fence_light()                           sync_heavy_barrier()
 *	slot still the same? else give it back  scan the tickets for r          (reap.c)
 *
 *    Either the get sees the slot change or the scan sees the ticket.
 * 3. One notifier per region, so that an unrelated munmap never gets as far as the cache.
 *
 * Locks: cache->lock is the driver lock of every region's notifier: a callback takes it, so nothing allocates, sleeps, or calls
 * the program under it, and of the core only what waits for nobody: uhmm_read_retry(), core_thread_invalidates(),
 * core_stat_add(). It is taken before the address-space lock. reg(), dereg(), read_begin, notifier insert and remove, and the
 * mapping of memory all happen without it.
 */
#ifndef REGCACHE_CACHE_H
#define REGCACHE_CACHE_H

#include <stddef.h>

#include <uhmm/regcache.h>

#include "core/core.h"
#include "core/lockcheck.h"
#include "port/mm.h"
#include "port/sync.h"
#include "port/thread.h"

/* A get gives up waiting, and retrying, after this; see the errors of uhmm_regcache_get(). */
#define CACHE_WAIT_NS UINT64_C(1000000000)
#define CACHE_RETRIES 8u
/*
 * A cache with so many regions evicts up to CACHE_SPARE more than it must, and its clock goes in steps of as many misses: a
 * barrier, and a line taken away from all who hit, are then paid for once in that many.
 */
#define CACHE_LARGE 1024u
#define CACHE_SPARE 16u
/* The service thread begins at most one pass in this time: membarrier interrupts every running thread. */
#define CACHE_LINGER_NS UINT64_C(1000000)

enum region_state { REGION_FREE, REGION_REGISTERING, REGION_VALID, REGION_SUSPENDED, REGION_EVICTING, REGION_DROPPED };

/*
 * Two lines: one that the core writes, one that we do. With its slot and its entry of the core's tree a cached page costs less
 * than 192 bytes.
 */
struct region {
	_Alignas(64) struct uhmm_notifier notifier; /* first */
	struct uhmm_reg reg;           /* what users are given; addr, len and access fixed from REGISTERING on */
	uint32_t number;               /* region_at(cache, number) is this, from 1 */
	uint32_t next, prev;           /* numbers; of the LRU list, or of `busy` */
	uint32_t stamp;                /* cache->ticks when it was listed in `lru`; or the next in `dropped` */
	/*
	 * References that are in no ticket, less tickets that another thread gave back: see seat.c. Outlives the region. A
	 * signed number, written under the lock by held_add() alone; a put looks at it without.
	 */
	struct uhmm_a32 held;
	struct uhmm_a32 state;         /* enum region_state */
	uint32_t published;            /* how many times hits were allowed to find this object */
};

static_assert(sizeof(struct region) == 128, "the figure above");

/* ---- index.c ---- */

#define SLOT_VALID 1u      /* value: region number << 3 | access << 1 | valid */
#define SLOT_ACCESS_SHIFT 1
#define SLOT_NUMBER_SHIFT 3
#define INDEX_CLASSES 12u  /* blocks of 1, 16, 256, ... pages: up to 2^44 pages */
#define INDEX_SLOTS_PER_REGION 5u

struct slot {
	struct uhmm_a64 key;   /* block and class; never changes once it is set */
	struct uhmm_a32 value; /* 0: none */
	struct uhmm_a32 stamp; /* the cache's clock at the last hit; written by hits */
};

struct table {
	/* Read by every hit, hence apart from what every registration writes. */
	uint32_t size;           /* slots */
	struct uhmm_a32 classes; /* bit c: some region of class c was entered */
	struct slot *slots;
	struct table *next;      /* retired ones */
	size_t bytes;

	_Alignas(64) uint32_t used; /* slots with a key */
	uint32_t live;              /* slots with a value */
};

/* ---- seat.c ---- */

#define SEAT_SETS 16u
#define SEAT_WAYS 8u
#define SEAT_IN_REG 1u
#define SEAT_IN_DEREG (1u << 16)
#define TICKET_COUNT_BITS 16
#define TICKET_COUNT_MAX ((UINT64_C(1) << TICKET_COUNT_BITS) - 1)

/*
 * What one thread uses of one cache. Only the owner writes tickets: region address << 16 | how many gets, in one of the ways of
 * the set that the address selects. Mapped for the life of the process.
 */
struct seat {
	_Alignas(64) struct uhmm_aptr cache; /* NULL: of none, its cache was destroyed */
	struct uhmm_aptr table;      /* the only table that this thread may be reading */
	struct uhmm_a64 hits, misses; /* only the owner writes */
	struct uhmm_a32 owner;       /* thread id; 0: nobody's */
	struct uhmm_a32 calls;       /* calls of reg() and, times SEAT_IN_DEREG, of dereg() that the owner is inside, by gets */
	struct uhmm_aptr thread_next; /* the owner's other seats */
	struct uhmm_aptr cache_next, all_next;
	_Alignas(64) struct uhmm_a64 tickets[SEAT_SETS * SEAT_WAYS];
};

/* ---- region.c ---- */

#define ARENA_CHUNK_SHIFT 12
#define ARENA_CHUNK_REGIONS (1u << ARENA_CHUNK_SHIFT)
#define ARENA_CHUNKS 4096u

struct arena {
	struct arena *parent; /* in a forked child: the one it had before, of which only the addresses count */
	uint32_t chunks;      /* mapped */
	uint32_t fresh;       /* numbers from here on were never handed out */
	uint32_t free;        /* list through next */
	_Alignas(64) struct region *chunk[ARENA_CHUNKS]; /* read by every hit, hence apart */
};

struct region_list {
	uint32_t first, last;
	uint32_t count;
};

struct uhmm_regcache {
	/* Read by every hit, written when a table is replaced. */
	_Alignas(64) struct uhmm_aptr table;
	struct uhmm_aptr arena;
	struct arena *parents; /* in a forked child, before its first region */
	const struct uhmm_a32 *queued; /* not zero: the address space has changes that it has not told us yet (G12) */
	bool bounded; /* hits leave stamps */

	/* Read by every put, written by drops, and by puts of what another thread got. */
	_Alignas(64) struct uhmm_a32 pending; /* dropped, not yet deregistered: a put looks whether it was the last */
	struct uhmm_a32 debts;                /* regions with held < 0: a put first makes sure that its ticket still counts */

	/* Read by hits of a bounded cache; in a large one it follows `ticks` only now and then: see publish() in miss.c. */
	_Alignas(64) struct uhmm_a32 clock;

	_Alignas(64) struct sync_lock lock;
	struct uhmm_mm *mm;
	struct uhmm_regcache_ops ops;
	void *ctx;
	struct uhmm_notifier_ops notifier_ops; /* a callback finds the cache through it */
	uint64_t max_regions, max_bytes;
	uint32_t flags;
	uint32_t life;               /* one more in each forked child */
	struct uhmm_aptr seats;      /* through cache_next */
	struct uhmm_a32 seats_count, seats_recheck;

	/* Under the lock. */
	uint32_t ticks;              /* two for each miss that was kept */
	uint64_t regions, bytes;     /* registered or being registered, dropped ones included */
	uint64_t registering;
	struct region_list lru;      /* VALID and SUSPENDED, least recently used first; and some of `dropped` */
	uint32_t dropped;            /* DROPPED, tickets not yet looked at; through stamp */
	struct region_list busy;     /* DROPPED, found in use */
	struct table *retired;
	uint32_t waiters;            /* on progress */
	const void *reaper;          /* the thread that deregisters, one at a time */

	struct uhmm_a32 progress;    /* changes when a registration or a pass of the reaper is over */
	_Alignas(64) struct uhmm_a32 work; /* SERVICE_* */
	struct uhmm_a32 idle;        /* the service thread sleeps until somebody wakes it */
	struct uhmm_a32 serviced;    /* there is a service thread */
	struct thread_service service;
	struct core_stat_source stats;
	struct core_fork_hook fork;
	struct table empty;          /* before the first region: one slot, never used */
	struct slot empty_slot;
};

enum { SERVICE_REAP = 1u << 0, SERVICE_STOP = 1u << 1 };

static inline void cache_lock(struct uhmm_regcache *c)
{
	core_hold(); /* before: a signal handler that comes in between must queue its range (G12) */
	sync_lock_acquire(&c->lock);
	lockcheck_acquire(&c->lock, "uhmm_regcache");
}

static inline void cache_unlock(struct uhmm_regcache *c)
{
	lockcheck_release(&c->lock);
	sync_lock_release(&c->lock);
	core_unhold();
}

static inline enum region_state region_state(const struct region *r)
{
	return (enum region_state)a32_load_relaxed(&r->state);
}

static inline int32_t region_held(const struct region *r)
{
	return (int32_t)a32_load_relaxed(&r->held);
}

static inline uintptr_t region_start(const struct region *r)
{
	return (uintptr_t)r->reg.addr;
}

static inline uintptr_t region_end(const struct region *r)
{
	return (uintptr_t)r->reg.addr + r->reg.len;
}

static inline struct region *region_in(const struct arena *a, uint32_t number)
{
	return &a->chunk[number >> ARENA_CHUNK_SHIFT][number & (ARENA_CHUNK_REGIONS - 1)];
}

static inline struct region *region_at(const struct uhmm_regcache *c, uint32_t number)
{
	return region_in(aptr_load_acquire(&c->arena), number);
}

static inline struct table *cache_table(const struct uhmm_regcache *c)
{
	return aptr_load_acquire(&c->table);
}

/* region.c. Under the lock, but for arena_extend(). */
struct region *region_alloc(struct uhmm_regcache *c); /* NULL: arena_extend(), unless it has as many as it can */
int arena_extend(struct uhmm_regcache *c);            /* -ENOMEM; -ENOSPC when there are as many regions as there can be */
void region_free(struct uhmm_regcache *c, struct region *r);
void arenas_unmap(struct arena *a);
/* The region that reg is inside of and which has been handed out at some time, or NULL; of this life, and of a parent's. */
struct region *region_of(const struct arena *a, const struct uhmm_reg *reg);
void list_push(const struct uhmm_regcache *c, struct region_list *l, struct region *r);
/* Behind the one with that number; 0: first. */
void list_insert(const struct uhmm_regcache *c, struct region_list *l, uint32_t behind, struct region *r);
void list_remove(const struct uhmm_regcache *c, struct region_list *l, struct region *r);

/* index.c. Under the lock, but for index_grow(). */
#define INDEX_SLOTS_MIN 2048u

struct index_found {
	struct region *covering; /* covers the range with the access */
	struct region *narrower; /* covers the range */
};

static inline uint32_t index_class(uint64_t pages)
{
	uint32_t class = 0;

	while (pages > (UINT64_C(4) << (4 * class)))
		class++;
	return class;
}

/* A block of a class; odd, hence not the 0 of a slot that was never used. */
static inline uint64_t index_key(uintptr_t page, uint32_t class)
{
	return (uint64_t)(page >> (4 * class)) << 5 | class << 1 | 1;
}

/* Where the search for a key begins. */
static inline uint32_t index_home(uint64_t key, uint32_t size)
{
	return (uint32_t)(((key * UINT64_C(0x9e3779b97f4a7c15)) >> 32) * size >> 32);
}

struct index_found index_find(struct uhmm_regcache *c, uintptr_t start, uintptr_t end, uint32_t access);
bool index_has_room(const struct uhmm_regcache *c);
void index_enter(struct uhmm_regcache *c, struct region *r);    /* not valid */
void index_publish(struct uhmm_regcache *c, struct region *r, uint32_t stamp);
void index_suspend(struct uhmm_regcache *c, struct region *r);  /* entered, not valid any more */
void index_leave(struct uhmm_regcache *c, struct region *r);
uint32_t index_stamp(struct uhmm_regcache *c, const struct region *r); /* of the last hit */
int index_grow(struct uhmm_regcache *c, struct seat *seat);     /* -ENOMEM */
void index_unmap(struct uhmm_regcache *c);

/* seat.c */
static inline struct seat *seat_of_thread(const struct uhmm_regcache *c)
{
	struct seat *s = core_thread()->regcache;

	while (s && __builtin_expect(aptr_load_relaxed(&s->cache) != c, 0))
		s = aptr_load_relaxed(&s->thread_next);
	return s;
}

static inline struct uhmm_a64 *seat_set(struct seat *s, const struct region *r)
{
	uintptr_t a = (uintptr_t)r >> 7;

	return &s->tickets[((a ^ a >> 4) & (SEAT_SETS - 1)) * SEAT_WAYS];
}

/* False: no way is free. Only the owner of the seat calls it. */
static inline bool ticket_take(struct seat *s, const struct region *r)
{
	struct uhmm_a64 *set = seat_set(s, r);

	for (uint32_t way = 0; way < SEAT_WAYS; way++) {
		uint64_t word = a64_load_relaxed(&set[way]);

		if (!word) {
			a64_store_relaxed(&set[way], (uint64_t)(uintptr_t)r << TICKET_COUNT_BITS | 1);
			return true;
		}
		if (word >> TICKET_COUNT_BITS == (uintptr_t)r && (word & TICKET_COUNT_MAX) != TICKET_COUNT_MAX) {
			a64_store_relaxed(&set[way], word + 1);
			return true;
		}
	}
	return false;
}

static inline bool ticket_exists(struct seat *s, const struct region *r)
{
	struct uhmm_a64 *set = seat_set(s, r);

	for (uint32_t way = 0; way < SEAT_WAYS; way++)
		if (a64_load_relaxed(&set[way]) >> TICKET_COUNT_BITS == (uintptr_t)r)
			return true;
	return false;
}

/* False: the region is not in this seat. Release: what the user did with the registration comes before. */
static inline bool ticket_drop(struct seat *s, const struct region *r)
{
	struct uhmm_a64 *set = seat_set(s, r);

	for (uint32_t way = 0; way < SEAT_WAYS; way++) {
		uint64_t word = a64_load_relaxed(&set[way]);

		if (word >> TICKET_COUNT_BITS == (uintptr_t)r) {
			a64_store_release(&set[way], (word & TICKET_COUNT_MAX) == 1 ? 0 : word - 1);
			return true;
		}
	}
	return false;
}

/* The calling thread's seat at this cache; NULL: no memory. No lock held. */
struct seat *seat_bind(struct uhmm_regcache *c);
/* Under the lock. Takes a reference in the seat, or elsewhere if the seat is full. */
void seat_hold(struct uhmm_regcache *c, struct seat *s, struct region *r);
/* Under the lock. The owner of the seat gives up those tickets of r, and of its set, whose references others have put. */
void seat_settle(struct uhmm_regcache *c, struct seat *s, const struct region *r);
void held_add(struct uhmm_regcache *c, struct region *r, int32_t n);
/* References to r, under the lock; exact for a region that no hit can find any more, once sync_heavy_barrier() has run. */
int64_t seats_count_uses(const struct uhmm_regcache *c, const struct region *r);
/* Whether r is in use, exactly. Under the lock, which it drops if that cannot be seen at once. */
bool seats_use(struct uhmm_regcache *c, struct region *r);
bool seats_name_table(const struct uhmm_regcache *c, const struct table *t);
void seats_unbind_all(struct uhmm_regcache *c);
void seats_fork_child(void);

/* reap.c */
/* Under the lock: REGISTERING, VALID.. -> DROPPED; entered: it is in the index. Then, without the lock, kick. */
void reap_drop(struct uhmm_regcache *c, struct region *r, bool entered);
void reap_kick_dropped(struct uhmm_regcache *c);
void reap_kick(struct uhmm_regcache *c);                     /* a reference to a dropped region has gone */
struct reap_goal {
	uint64_t regions, bytes; /* no more than these registered */
};
int reap_until(struct uhmm_regcache *c, struct reap_goal goal, uint64_t deadline_ns); /* -ENOSPC: all in use; -EBUSY */
int reap_make_room(struct uhmm_regcache *c, uint64_t bytes, uint64_t deadline_ns);    /* for a region of so many bytes */
int reap_enter(struct uhmm_regcache *c, uint64_t deadline_ns); /* under the lock; -EDEADLK, -ETIMEDOUT */
void reap_pass(struct uhmm_regcache *c);                     /* under the lock, which it drops; the caller is the reaper */
void reap_leave(struct uhmm_regcache *c);
int reap_wait_progress(struct uhmm_regcache *c, uint64_t deadline_ns); /* under the lock, which it drops */
void reap_signal_progress(struct uhmm_regcache *c);
int reap_start_service(struct uhmm_regcache *c);
void reap_stop_service(struct uhmm_regcache *c);

/* miss.c: everything that a hit is not. Returns as uhmm_regcache_get() does. */
int miss_get(struct uhmm_regcache *c, uintptr_t addr, size_t len, uint32_t access, struct uhmm_reg **reg);

/* notify.c */
int notify_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event);
void notify_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed);

/* kernel.c: true before 6.2, where a read-only pin may take a page that the process leaves at its next write (R7). */
bool kernel_needs_populate(void);
/* For tests: as if the kernel were this one; 0.0: the real one. */
void kernel_force_version(unsigned int major, unsigned int minor);

#endif
