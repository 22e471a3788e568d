/* SPDX-License-Identifier: MIT */
/*
 * races.h: the races of registration caches as native programs: real threads, real mapping calls, the shipped library.
 *
 * Every program runs its race twice: against the library, where nothing may go stale, and against a small cache with exactly
 * the mistake that the race is about (models.c), which must be seen to lose. A run in which the losing side does not lose
 * proves nothing about the other, and fails.
 *
 * The oracle. What a registration pins is a physical page, so staleness is decided by the identity of pages and by nothing
 * else: the first 8 bytes of each page are its identity, drawn from a counter and written by compare-and-swap from zero by
 * whoever touches the page first, reg() included. A page that the kernel hands out anew is zero, so an identity belongs to
 * one page for the whole of its life and never comes back. reg() returns it as the handle. When a changer has replaced a page
 * and its call has returned, it retires the old identity at the number k of that change, then publishes k. A get that begins
 * after k was read and returns an identity retired at k or earlier is stale. No timing decides anything.
 */
#ifndef TESTS_RACES_RACES_H
#define TESTS_RACES_RACES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uhmm/uhmm.h>

#define RACE_PAGE ((size_t)4096)
/* A control that happens not to lose (few tries, or one processor kept busy by others) is tried again so often. */
#define RACE_CONTROL_ROUNDS 20
/* Between the event and the call, where both are ours; a short system call's length. */
#define RACE_CHANGE_TURNS_MAX 256

/*
 * Under ThreadSanitizer changes are bracketed explicitly: glibc unmaps and discards in threads that the sanitizer has already
 * given up, and code that it has instrumented, as the hooks are then, does not survive there.
 */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define RACE_TSAN 1
#endif
#endif
#if defined(__SANITIZE_THREAD__)
#define RACE_TSAN 1
#endif
#ifndef RACE_TSAN
#define RACE_TSAN 0
#endif
#define RACE_NEEDS_HOOKS (RACE_TSAN ? "hooks cannot be used under ThreadSanitizer" : "no hooks here, or not asked for")

struct race_params {
	uint64_t tries;
	bool explicit_calls; /* bracket raw system calls with uhmm_invalidate_start/end instead of relying on hooks */
	uint64_t seed;
	uint32_t monitors; /* UHMM_MONITOR_* to open the library with; 0: what the race is about */
};

/* It loses early or not at all. */
static inline uint64_t race_control_tries(const struct race_params *p)
{
	return p->tries < 20000 ? p->tries : 20000;
}

struct race_result {
	uint64_t tries;
	uint64_t lost;    /* of the library: must be 0 */
	uint64_t control; /* of the model with the mistake: must not be 0 */
	const char *loss; /* what is counted: "stale", "hangs", ... */
	const char *model;
	const char *skip; /* why not run */
	char note[160];
};

/* Each fills in a result. Something that is wrong beyond the race itself (an unexpected error code) ends the process with 1. */
void race_r25(const struct race_params *p, struct race_result *r);
void race_r26(const struct race_params *p, struct race_result *r);
void race_r27(const struct race_params *p, struct race_result *r);
void race_r29(const struct race_params *p, struct race_result *r);
void race_r30(const struct race_params *p, struct race_result *r);
void race_r31(const struct race_params *p, struct race_result *r);
void race_r32(const struct race_params *p, struct race_result *r);
void race_r33(const struct race_params *p, struct race_result *r);
void race_r34(const struct race_params *p, struct race_result *r);

_Noreturn void race_die(const char *what, ...) __attribute__((format(printf, 1, 2)));
/* Ends the process with a line if `race_progress` does not move for so long; the only use of time, as a watchdog. */
void race_watchdog(unsigned seconds);
void race_watchdog_off(void);
void race_progress(void);

uint64_t race_random(uint64_t *state);
void race_spin(uint64_t turns); /* a delay: some nanoseconds a turn */
/*
 * Where the other thread should come in between: up to so many turns, nothing if 0. One in sixteen gives the processor away,
 * as a registration that sleeps does: on one processor, or one that others keep busy, nobody would come in between otherwise.
 */
void race_delay(uint64_t turns_max, uint64_t *seed);
void race_pause(unsigned *spins); /* one turn of a wait that may be long */

void *race_map_page(void); /* anonymous, untouched, in the middle of two guard pages */

/* Identity of the page at addr, given to it now if it has none; 0 if nothing is mapped there (or not for writing). */
uint64_t race_identity(void *addr);
void race_catch_faults(void); /* before the first race_identity() */

/* Retired identities. */
struct race_ledger {
	_Atomic uint32_t *retired_at; /* by identity; 0: alive */
	uint64_t base, size;          /* identities [base, base + size) */
	_Alignas(64) _Atomic uint64_t published; /* number of the last change that is complete */
};
void race_ledger_init(struct race_ledger *l, uint64_t changes);
void race_ledger_free(struct race_ledger *l);
void race_retire(struct race_ledger *l, uint64_t identity, uint64_t k);
bool race_is_stale(struct race_ledger *l, uint64_t identity, uint64_t k);

/* How a page is replaced. */
enum race_change {
	RACE_DISCARD,     /* madvise(MADV_DONTNEED) */
	RACE_REPLACE,     /* mmap(MAP_FIXED) over it */
	RACE_UNMAP_MAP,   /* munmap, then mmap at the same address */
	RACE_MOVE_ONTO,   /* mremap of another page onto it */
	RACE_RAW_UNMAP,   /* an inline munmap nobody sees, then mmap at the same address through libc */
	RACE_CHANGES
};

/* A cache under test, the library's or a model's, together with the mapping calls that it watches. */
struct race_cache {
	int (*get)(struct race_cache *c, void *addr, void **reg, uint64_t *handle);
	void (*put)(struct race_cache *c, void *reg);
	void (*change)(struct race_cache *c, void *page, enum race_change kind);
	void (*close)(struct race_cache *c);
	/* what reg() does: snapshots the identity, then takes up to so many turns more */
	uint64_t reg_turns_max;
	/* the library's */
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
	bool explicit_calls;
	/* a model's */
	void *model;
};

/* The library; false if hooks are needed and not to be had. */
bool race_open_library(struct race_cache *c, const struct race_params *p, uint64_t reg_turns_max);
/* The change itself, by libc's calls, by raw calls in the model's brackets, or by raw calls in explicit ones. */
void race_change_libc(void *page, enum race_change kind);
void race_change_raw(void *page, enum race_change kind);

/*
 * The engine of R31, R32, R33: one thread changes the page, another gets it all the time, across the changes too. The changer
 * waits for one checked get between two changes; the getter never waits. Returns how many gets were stale.
 */
uint64_t race_changer_and_getter(struct race_cache *c, uint64_t tries, const enum race_change *kinds, unsigned n_kinds,
				 uint64_t seed);

/* models.c: caches with one mistake each. */
enum race_mistake {
	RACE_ANNOUNCE_BEFORE,       /* the event comes before the call only */
	RACE_INSERT_AFTER_REGISTER, /* registers first, publishes without looking whether something happened meanwhile */
	RACE_TRUST_UNMAP_ONLY,      /* believes that what was not seen to be unmapped is there; mmap is no event */
	RACE_OPEN_NO_WAIT           /* begins to watch without waiting for calls that are under way */
};
void race_open_model(struct race_cache *c, enum race_mistake mistake, uint64_t reg_turns_max);
/* uffd_model.c: caches whose only witness is userfaultfd; false: there is none of the kind. */
enum race_uffd_mistake {
	RACE_DROP_BEFORE_ZAP,   /* REMOVE is taken for the change */
	RACE_EVENT_AFTER_REUSE  /* no gate is shut before the event is read */
};
bool race_open_uffd_model(struct race_cache *c, enum race_uffd_mistake mistake, uint64_t reg_turns_max);
void race_model_watch(struct race_cache *c); /* RACE_OPEN_NO_WAIT: from now on, and with an empty cache */
void race_model_unwatch(struct race_cache *c);
/* R30: plain reference counts, dead flag and count looked at separately. Returns deregistrations done twice or under a user. */
uint64_t race_model_refcount_naive(uint64_t tries);
/* R29: a fork handler that keeps the lock that the hook inside free() takes. Returns 1 if it hung. */
uint64_t race_model_prepare_holds_lock(void);
/* R27: retries for as long as something was invalidated. Returns the retries after which it was stopped, 0 if it ended. */
uint64_t race_model_retry_forever(uint64_t stop_after);

#endif
