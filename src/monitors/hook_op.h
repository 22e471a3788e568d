/* SPDX-License-Identifier: MIT */
/*
 * hook_op.h: one mapping call on its way through the hooks.
 *
 * Announces, calls, ends: in the calling thread, start before the call and end after it, for every listening address space.
 * Allocates nothing, leaves errno as the call left it, and may be entered again by a signal handler at any point.
 *
 * A system call empties the processor's return predictor on many machines, so every frame that is live across it costs a
 * mispredicted return of some 7 ns afterwards: as much as all the rest of the hook. Hence the first listener is served in the
 * frame of the patched function's replacement itself, the system call is made there, and only further listeners recurse.
 */
#ifndef MONITORS_HOOK_OP_H
#define MONITORS_HOOK_OP_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include <uhmm/notifier.h>

#include <port_call.h>

#include "monitors/hook_table.h"
#include "monitors/patch.h"
#include "monitors/uffd.h"

#define HOOK_RANGES 2u /* mremap changes two */

struct hook_range {
	uintptr_t start, end;
	enum uhmm_event_kind kind;
	bool changed; /* set by outcome() */
};

struct hook_op {
	long number;       /* the system call */
	long arg[6];
	/*
	 * Called instead if not NULL, because libc's function does more than the call, or somebody else's is to be called.
	 * Only then `wide` counts: it returns long, not int.
	 */
	patch_fn original;
	bool wide;

	/* What to announce before the call: every page that it may touch. Set by the call's own prepare function. */
	uint32_t ranges;
	struct hook_range range[HOOK_RANGES];
	void (*outcome)(struct hook_op *op); /* required: sets `changed` of each range after the call, and what was given */
	long extra;        /* from prepare to outcome */

	long result;       /* -1 with errno for an error */
	/* Memory that the call gave out: whatever was there before is gone, whoever took it away (R31). Empty: none. */
	uintptr_t given_start, given_end;
};

/* For more listeners than the first, from `place` on. */
void hook_bracket_rest(struct hook_op *op, uint32_t place, int *error);
/* Memory that was given out. */
void hook_announce_given(struct uhmm_mm *mm, uintptr_t start, uintptr_t end);

static inline bool hook_failed(const struct hook_op *op)
{
	return op->result == -1;
}

/* Adds a range, unless it is empty or no address range at all (then the call fails and changes nothing). */
static inline void hook_add(struct hook_op *op, uintptr_t start, uintptr_t end, enum uhmm_event_kind kind)
{
	if (start < end)
		op->range[op->ranges++] = (struct hook_range){.start = start, .end = end, .kind = kind};
}

/* In the caller's frame, see above, and as libc's stubs give it: -1 and errno. */
static inline __attribute__((always_inline)) long hook_bare_call(const struct hook_op *op, int *error)
{
	const long *a = op->arg;
	long result = port_call_6(op->number, a[0], a[1], a[2], a[3], a[4], a[5]);

	if ((unsigned long)result <= -4096ul)
		return result;
	*error = (int)-result;
	return -1;
}

static inline __attribute__((always_inline)) void hook_call_now(struct hook_op *op, int *error)
{
	const long *a = op->arg;

	if (__builtin_expect(op->original != NULL, 0))
		op->result = op->wide ? op->original(a[0], a[1], a[2], a[3], a[4], a[5], 0)
				      : (int)op->original(a[0], a[1], a[2], a[3], a[4], a[5], 0);
	else
		op->result = hook_bare_call(op, error);
	op->outcome(op);
}

/* Its events are kept from being sent meanwhile (uffd.h). */
void hook_call_lifted(struct hook_op *op, int *error);

/* Inside the brackets of all who listen. */
static inline __attribute__((always_inline)) void hook_call_inside(struct hook_op *op, int *error)
{
	if (__builtin_expect(a32_load_relaxed(&uffd_lifting) != 0, 0))
		hook_call_lifted(op, error);
	else
		hook_call_now(op, error);
}

struct hook_open {
	struct uhmm_invalidation inv[HOOK_RANGES];
	bool started[HOOK_RANGES];
};

static inline __attribute__((always_inline)) void hook_start(struct hook_op *op, struct uhmm_mm *mm, struct hook_open *open)
{
	for (uint32_t i = 0; i < op->ranges; i++) {
		const struct hook_range *r = &op->range[i];
		struct uhmm_event event = {.start = r->start, .end = r->end, .kind = r->kind};

		open->started[i] = uhmm_invalidate_start(mm, &open->inv[i], &event) == 0;
	}
}

static inline __attribute__((always_inline)) void hook_end(struct hook_op *op, struct uhmm_mm *mm, struct hook_open *open)
{
	for (uint32_t i = op->ranges; i-- > 0;) {
		if (!open->started[i])
			continue;
		if (op->range[i].changed)
			uhmm_invalidate_end(&open->inv[i]);
		else
			uhmm_invalidate_abort(&open->inv[i]);
	}
	if (op->given_start < op->given_end)
		hook_announce_given(mm, op->given_start, op->given_end);
}

/* One level of announcement around what is inside. Callbacks are the driver's code: errno is kept from them. */
#define HOOK_BRACKET(op, mm, error, inside)                                                                                 \
	do {                                                                                                                \
		struct hook_open hook_open;                                                                                 \
		int hook_errno = *(error);                                                                                  \
                                                                                                                            \
		hook_start(op, mm, &hook_open);                                                                             \
		*(error) = hook_errno;                                                                                      \
		inside;                                                                                                     \
		hook_errno = *(error);                                                                                      \
		hook_end(op, mm, &hook_open);                                                                               \
		*(error) = hook_errno;                                                                                      \
	} while (0)

/* A copy, because an object whose address is never given away stays in registers: that of the usual case. */
static inline __attribute__((always_inline)) long hook_run_many(const struct hook_op *usual, struct uhmm_mm *mm, uint32_t place,
								int *error)
{
	struct hook_op op = *usual;

	HOOK_BRACKET(&op, mm, error, hook_bracket_rest(&op, place, error));
	return op.result;
}

static inline __attribute__((always_inline)) long hook_run(struct hook_op *op)
{
	uint64_t saved = 0;
	struct hook_record *r = hook_enter(&saved);
	uint32_t place = 0;
	struct uhmm_mm *mm = hook_next(&place);
	int *error = &errno;

	op->given_start = op->given_end = 0;
	if (!mm)
		hook_call_now(op, error);
	else if (__builtin_expect(hook_is_last(place), 1))
		HOOK_BRACKET(op, mm, error, hook_call_inside(op, error));
	else
		op->result = hook_run_many(op, mm, place, error);
	hook_leave(r, saved);
	return op->result;
}

#endif
