/* SPDX-License-Identifier: MIT */
/*
 * core_gate.c: C13. The witness (src/monitors/witness.c) between a change that nobody announces and a driver that has the page
 * mapped. The kernel's part is a word: the event is there; it has been read, so whoever made the call goes on.
 *
 *	cpu0: munmap()             reader                          driver
 *	word = 2
 *	posted = 1, sleeps
 *	                           the gate shuts
 *	                           posted = 0: it has been read
 *	returned = 1                                               after that: what it has mapped may be used only if nothing is
 *	                           the gate opens: page 0          queued; and what it looks up is 2
 *
 * A discard posts first and changes afterwards, and nothing says when; so its page is tainted until the guard has seen cpu0
 * outside of the call.
 */
#include "core/core.h"
#include "core/queue.h"
#include "lab/scenarios/cores.h"
#include "monitors/witness.h"

enum { UNMAP = 1, REMOVE, REMAP, DIES };

static struct witness witness;
static struct core_watch_hook watch;
static struct uhmm_a32 posted, calling, returned, dead, buried;
static struct uhmm_a32 told; /* core_watch_hook.gone was called */
static uint32_t what;
static bool with_deadline; /* core_read_begin(), as the registration cache */

static void do_watch(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	(void)start;
	(void)end;
}

static bool vouches(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	return witness_vouches(&witness, start, end);
}

static void is_gone(struct core_watch_hook *h, uintptr_t start, uintptr_t end)
{
	(void)h;
	(void)end;
	if (start == LAB_ADDR(0))
		lab_store_release(&told, 1);
}

/* ---- the driver ---- */

/* What it has mapped; and what it looks up when it has nothing, or something is queued. */
static bool hit(struct core_driver *d, uint32_t late)
{
	uint32_t value;

	if (lab_load_acquire((struct uhmm_a32 *)core_mm_queued(core_race->mm)))
		return false;
	lab_lock(&d->lock);
	value = d->mapping;
	lab_unlock(&d->lock);
	if (late && value == 1)
		lab_fail("driver %u uses an old page after the call", d->page);
	return value != 0;
}

static uint64_t begin(struct core_driver *d)
{
	uint64_t seq;

	if (!with_deadline)
		return uhmm_read_begin(&d->notifier);
	return core_read_begin(&d->notifier, SYNC_FOREVER, &seq) == 0 ? seq : UHMM_SEQ_DEAD;
}

static bool map(struct core_driver *d, uint32_t late)
{
	uint64_t seq = begin(d);
	uint32_t value = lab_load_relaxed(&core_race->word[d->page]);
	bool mapped = seq == UHMM_SEQ_DEAD;

	if (mapped && late && value == 1)
		lab_fail("an old page is looked up after the call");
	if (mapped)
		return true; /* for one use */
	lab_lock(&d->lock);
	late = lab_load_acquire(&returned);
	if (!uhmm_read_retry(&d->notifier, seq)) {
		mapped = true;
		d->mapping = value;
		if (late && value == 1)
			lab_fail("an old page is mapped after the call");
	}
	lab_unlock(&d->lock);
	return mapped;
}

static void uses(void *arg)
{
	struct core_driver *d = arg;

	for (uint32_t i = 0; i < 2; i++) {
		uint32_t late = lab_load_acquire(&returned), tries = 0;

		if (hit(d, late))
			continue;
		while (!map(d, late))
			if (++tries == CORE_TRIES)
				lab_fail("the driver gave up, after more tries than there are changes");
	}
}

/* ---- cpu0, and the kernel ---- */

static void post(void)
{
	lab_store_release(&posted, 1);
	lab_await(&posted, 0);
}

static void change(void)
{
	lab_store_relaxed(&core_race->word[0], 2);
	if (what == REMAP)
		lab_store_relaxed(&core_race->word[1], 2);
}

static void calls(void *arg)
{
	(void)arg;
	lab_store_release(&calling, 1);
	if (what == REMOVE)
		post();
	change();
	if (what != REMOVE)
		post();
	lab_store_release(&returned, 1);
	lab_store_release(&calling, 0);
}

static struct witness_event event(void)
{
	struct witness_event e = {.kind = WITNESS_UNMAP, .start = LAB_ADDR(0), .end = LAB_ADDR(1), .forgotten = what != UNMAP};

	if (what == REMOVE)
		e.kind = WITNESS_REMOVE;
	if (what == REMAP)
		e = (struct witness_event){.kind = WITNESS_REMAP, .start = LAB_ADDR(1), .end = LAB_ADDR(2), .to = LAB_ADDR(0),
					   .forgotten = true};
	return e;
}

static bool dies(void)
{
	if (what != DIES || lab_pick(2) == 0)
		return false;
	lab_store_release(&dead, 1);
	return true;
}

static void reads(void *arg)
{
	struct witness_event e = event();

	(void)arg;
	lab_await(&posted, 1);
	if (dies())
		return;
	witness_shut(&witness, &witness.reader);
	if (dies())
		return;
	lab_store_release(&posted, 0);
	if (dies())
		return;
	if (witness_open(&witness, &witness.reader, &e, 1))
		core_service_wake();
}

static void guards(void *arg)
{
	struct witness_taken taken;
	uint32_t seen;

	(void)arg;
	for (;;) {
		seen = a32_load_acquire(&witness.work);
		if (!witness_take(&witness, &taken)) {
			sync_await32(&witness.work, sync_differs32, &seen, SYNC_FOREVER);
			continue;
		}
		lab_await(&calling, 0);
		witness_untaint(&witness, &witness.guard, &taken);
	}
}

/* Stale first, then let go. */
static void buries(void *arg)
{
	(void)arg;
	lab_await(&dead, 1);
	witness_die(&witness);
	lab_store_release(&buried, 1);
	lab_store_release(&posted, 0);
}

/* ---- the race ---- */

static void setup(const struct lab_setup *s)
{
	core_race_begin();
	what = s->devices;
	with_deadline = what == REMOVE && s->invalidators > 1;
	posted = calling = returned = dead = buried = told = (struct uhmm_a32){0};
	watch = (struct core_watch_hook){.watch = do_watch, .vouches = vouches, .gone = is_gone};
	core_watch_hook_add(core_race->mm, &watch);
	witness_init(&witness);
	core_race_must(witness_attach(&witness, core_race->mm), "no witness");
	core_race_insert(0, 0, 1, 0);
	if (what != UNMAP || s->invalidators == 1)
		core_race_map(0);
	if (what == REMAP) {
		core_race_insert(1, 1, 1, 1);
		core_race_map(1);
	}
	lab_spawn("driver", uses, &core_race->driver[what == REMAP && s->invalidators > 1]);
	lab_spawn("cpu0", calls, NULL);
	lab_spawn_daemon("reader", reads, NULL);
	if (what == REMOVE || what == DIES)
		lab_spawn_daemon("guard", what == REMOVE ? guards : buries, NULL);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	if (!core_mm_queued(core_race->mm)->private_value) {
		core_race_check(0);
		core_race_check(1);
	}
	if (buried.private_value && witness_vouches(&witness, 0, 1))
		lab_fail("a dead witness vouches");
	if (what != DIES && core_mm_queued(core_race->mm)->private_value)
		lab_fail("a gate is left shut, or something is queued");
	if (what == UNMAP && !told.private_value)
		lab_fail("nobody is told what is not mapped any more");
	if (witness.taints.private_value)
		lab_fail("a taint is left");
}

const struct lab_scenario lab_scenario_core_gate = {
	.id = "C13",
	.title = "the witness between a change and a driver that it is told late",
	.expected = "",
	.losers = "",
	.setup = setup,
	.check = check,
	.devices_max = 4,      /* unmapped; discarded; moved, from and to; unmapped, and the reader dies */
	/* 2: unmapped: nothing is mapped before; discarded: by core_read_begin(); moved: the driver of where it came from */
	.invalidators_max = 2,
	.core_only = true,
};
