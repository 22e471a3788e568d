/* SPDX-License-Identifier: MIT */
/*
 * Usage: guarantees [--control] MONITOR [NAME]...      MONITOR: explicit, hooks, uffd or hooks+uffd
 *
 * Runs every cell of guarantees/table.txt (or those of operations whose name contains a NAME) under that monitor: a page is
 * watched by a notifier, and a registration of it is cached (G1, G11, R1, R31). What has to come out, by verdict:
 *
 *             the page is   the notifier is told   the next get after the call has returned
 *   yes       not the same  start and end          another registration
 *   no        not the same  nothing that changed   the same one, which is stale: shown, not supposed
 *   needless  the same      start and end          another registration
 *   kept      the same      nothing that changed   the same one
 *   uncached  whatever      whatever               another one, as before the call: none is kept
 *
 * By hooks alone the start comes while the old page is there, the end when it is not.
 *
 * --control: the table is read the other way round, announced for not announced, and no cell may agree with it.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include "guarantees.h"

#include "cells.h"

struct uhmm_mm *current_mm;

static const struct monitor {
	const char *name;
	uint32_t bits;
} monitors[] = {
	{"explicit", UHMM_MONITOR_EXPLICIT},
	{"hooks", UHMM_MONITOR_HOOKS},
	{"uffd", UHMM_MONITOR_UFFD},
	{"hooks+uffd", UHMM_MONITOR_HOOKS | UHMM_MONITOR_UFFD},
};
#define MONITORS (sizeof(monitors) / sizeof(monitors[0]))
#define CELLS (sizeof(cells) / sizeof(cells[0]))

static size_t monitor;
static bool control;
static struct uhmm_regcache *plain_cache, *pinning_cache;
static bool frames; /* are visible */
static unsigned running_kernel;

/* ---- who watches ---- */

struct watch {
	struct uhmm_notifier n; /* first */
	atomic_int starts, drops, keeps;
	atomic_int byte_at_first, byte_at_end; /* what was readable then */
};

static int watch_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	struct watch *w = (struct watch *)n;

	(void)event;
	if (atomic_fetch_add(&w->starts, 1) == 0)
		w->byte_at_first = look(area.watched).byte;
	return 0;
}

static void watch_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	struct watch *w = (struct watch *)n;

	(void)event;
	atomic_fetch_add(changed ? &w->drops : &w->keeps, 1);
	w->byte_at_end = look(area.watched).byte;
}

static const struct uhmm_notifier_ops watch_ops = {.invalidate = watch_invalidate, .end = watch_end};

/* A device that hands out a number for each registration. */
static atomic_uint_fast64_t registrations;

static int fake_reg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	reg->handle = atomic_fetch_add(&registrations, 1) + 1;
	return 0;
}

static void fake_dereg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	(void)reg;
}

/* Whichever registration a get yields now; 0 if none. */
static uint64_t ask_cache(struct uhmm_regcache *cache)
{
	struct uhmm_reg *reg;
	uint64_t handle;

	if (uhmm_regcache_get(cache, area.watched, PAGE, PROT_READ | PROT_WRITE, &reg) != 0)
		return 0;
	handle = reg->handle;
	uhmm_regcache_put(cache, reg);
	return handle;
}

#define TRIES 100000
#define TRIES_UNCACHED 20 /* where nothing is to be kept */

/* The registration that is kept: what was made while something else was still in progress is not. 0: none is ever kept. */
static uint64_t cached(struct uhmm_regcache *cache, int tries)
{
	uint64_t before = ask_cache(cache), now;

	for (int i = 0; i < tries; i++) {
		now = ask_cache(cache);
		if (now && now == before)
			return now;
		before = now;
		if (i > TRIES_UNCACHED)
			usleep(100); /* somebody else has to finish first */
	}
	return 0;
}

/* ---- judging ---- */

struct outcome {
	uint64_t held; /* the registration that was kept, or 0 */
	struct seen before, after;
	bool same;          /* the get after the call yielded the registration from before */
	bool told;          /* the notifier was told of a change */
	int first, last;    /* bytes at its first start and at its last end */
};

static int passes, failures, skips;
static struct {
	const char *why;
	unsigned count;
} reasons[32];

static void skip(const char *why)
{
	skips++;
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++) {
		if (!reasons[i].why)
			reasons[i].why = why;
		if (strcmp(reasons[i].why, why) == 0) {
			reasons[i].count++;
			return;
		}
	}
}

static bool is_changed(const struct outcome *o, bool or_frame)
{
	return o->before.byte != o->after.byte || o->before.writable != o->after.writable ||
	       (or_frame && o->before.frame != o->after.frame);
}

/* What is wrong, or NULL. */
static const char *judge(const struct cell *cell, const struct outcome *o, char verdict)
{
	bool changes = verdict == 'y' || verdict == 'n', announced = verdict == 'y' || verdict == 'd';
	bool hidden = (cell->op->needs & OP_LATER) || !frames;

	if (verdict == 'u')
		return o->held ? "a registration is kept" : NULL;
	if (!o->held)
		return "no registration is ever kept";
	if (changes && !hidden && !is_changed(o, true))
		return "nothing has changed";
	if (!changes && is_changed(o, frames))
		return "something has changed";
	if (announced && o->same)
		return changes ? "STALE: the old registration was handed out" : "not dropped";
	if (announced && !o->told)
		return "the notifier was not told";
	if (!announced && !o->same)
		return changes ? "not stale after all" : "dropped for nothing";
	if (!announced && o->told && !(cell->op->needs & OP_PINS))
		return "the notifier was told";
	if (announced && monitors[monitor].bits == UHMM_MONITOR_HOOKS && !(cell->op->needs & OP_UNSEEN)) {
		if (o->first != o->before.byte)
			return "the start came after the change";
		if (!(cell->op->needs & OP_LATER) && o->last != o->after.byte)
			return "the end came before the change";
	}
	return NULL;
}

static char verdict_of(const struct cell *cell)
{
	static const char plain[] = "yndku", turned[] = "nykdk";
	char verdict = cell->verdict[monitor];

	return control ? turned[strchr(plain, verdict) - plain] : verdict;
}

static const char *verdict_name(char verdict)
{
	switch (verdict) {
	case 'y': return "yes";
	case 'n': return "no";
	case 'd': return "needless";
	case 'k': return "kept";
	default: return "uncached";
	}
}

/* ---- running ---- */

static struct outcome run_call(const struct cell *cell, struct uhmm_regcache *cache, struct watch *w)
{
	uint64_t held = cached(cache, cell->verdict[monitor] == 'u' ? TRIES_UNCACHED : TRIES), next;
	struct outcome o = {.held = held, .before = look(area.watched)};

	uhmm_read_begin(&w->n); /* what came before is over */
	w->starts = w->drops = w->keeps = 0;
	way = cell->way;
	run_in_way(cell->op->call);
	area_plug();
	next = ask_cache(cache);
	/* What is only held back for a moment comes again. */
	for (int i = 0; i < 3 && next != held; i++)
		next = ask_cache(cache);
	o.same = next == held;
	uhmm_read_begin(&w->n); /* what the call caused has been told */
	o.told = w->starts && w->drops;
	o.first = w->byte_at_first;
	o.last = w->byte_at_end;
	o.after = look(area.watched);
	return o;
}

/* Nothing is to be found in the caches when the place is used again. */
static void forget(uintptr_t page)
{
	struct uhmm_event event = {.start = page, .end = page + PAGE, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	if (uhmm_invalidate_start(current_mm, &inv, &event) == 0)
		uhmm_invalidate_end(&inv);
}

static bool have_swap(void)
{
	FILE *f = fopen("/proc/swaps", "re");
	char line[256];
	int lines = 0;

	while (f && fgets(line, sizeof(line), f))
		lines++;
	if (f)
		fclose(f);
	return lines > 1;
}

/* NULL: can be tried here. */
static const char *missing(const struct cell *cell)
{
#ifdef __SANITIZE_THREAD__
	if (cell->way == WAY_VFORK || strstr(cell->op->name, "vfork"))
		return "ThreadSanitizer makes forks of vforks";
#endif
	if ((cell->op->needs & OP_SWAP) && !have_swap())
		return "no swap space";
	if ((cell->op->needs & OP_NODES) && access("/sys/devices/system/node/node1", F_OK) != 0)
		return "one memory node";
	return NULL;
}

static void watch_and_run(const struct cell *cell, struct watch *w, struct outcome *o)
{
	uintptr_t watched = (uintptr_t)area.watched;

	if (uhmm_notifier_insert(current_mm, &w->n, area.watched, PAGE, &watch_ops) != 0)
		abort();
	*o = run_call(cell, cell->op->needs & OP_PINS ? pinning_cache : plain_cache, w);
	uhmm_notifier_remove(&w->n);
	forget(watched);
}

static void complain_of_agreement(const struct cell *cell)
{
	printf("FAIL %s [%s, %s]: agrees with %s, turned round\n", cell->op->name, mapping_names[cell->mapping],
	       way_names[cell->way], verdict_name(verdict_of(cell)));
	failures++;
}

static void complain(const struct cell *cell, const struct outcome *o, const struct watch *w, const char *wrong)
{
	printf("FAIL %s [%s, %s]: %s, not as %s says it (result %ld; byte %d -> %d, writable %d -> %d, %s frame; starts %d, "
	       "drops %d, keeps %d; byte at start %d, at end %d)\n",
	       cell->op->name, mapping_names[cell->mapping], way_names[cell->way], wrong,
	       verdict_name(verdict_of(cell)), way_result, o->before.byte, o->after.byte, o->before.writable,
	       o->after.writable, o->before.frame == o->after.frame ? "same" : "other", w->starts, w->drops, w->keeps, o->first,
	       o->last);
	failures++;
}

/* A second and third try are for pages that the kernel moved at that very moment. */
static void run_cell(const struct cell *cell, int tries)
{
	struct watch w = {.byte_at_first = -2};
	struct outcome o = {0};
	const char *why = missing(cell), *wrong = NULL;

	if (!why) {
		area_make(cell->mapping, cell->op->page);
		if (!area.unavailable)
			watch_and_run(cell, &w, &o);
		why = area.unavailable;
		/*
		 * The place is free for the next cell, also when a witness has not seen its mapping go: it must not believe
		 * that what comes there is watched.
		 */
		area_drop();
	}
	if (!why)
		wrong = judge(cell, &o, verdict_of(cell));
	if (wrong && way_result < 0 && (cell->op->needs & OP_REFUSED) && (monitors[monitor].bits & UHMM_MONITOR_UFFD))
		why = "the kernel refuses where uffd watches";
	else if (wrong && way_result < 0 && (cell->op->since > running_kernel || cell->op->needs & OP_FS))
		why = "this kernel or file system refuses";
	if (why)
		skip(why);
	else if (control && !wrong)
		complain_of_agreement(cell);
	else if (control || !wrong)
		passes++;
	else if (tries > 1)
		run_cell(cell, tries - 1);
	else
		complain(cell, &o, &w, wrong);
}

static bool is_asked_for(const struct cell *cell, int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strstr(cell->op->name, argv[i]))
			return true;
	return argc <= 1;
}

static void open_monitor(void)
{
	static const struct uhmm_regcache_ops ops = {.reg = fake_reg, .dereg = fake_dereg};
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = monitors[monitor].bits};
	struct uhmm_regcache_options pins = {.size = sizeof(pins), .flags = UHMM_REGCACHE_PINS};
	int err = uhmm_mm_open(&current_mm, &options);

	if (err == -EOPNOTSUPP || err == -EPERM) {
		printf("skipped: the monitor %s is not available here: %s\n", monitors[monitor].name, strerror(-err));
		exit(SKIP);
	}
	if (err || uhmm_regcache_create(current_mm, &ops, NULL, NULL, &plain_cache) != 0 ||
	    uhmm_regcache_create(current_mm, &ops, NULL, &pins, &pinning_cache) != 0) {
		printf("uhmm_mm_open or uhmm_regcache_create: %d\n", err);
		exit(1);
	}
}

static void close_monitor(void)
{
	if (uhmm_regcache_destroy(plain_cache) != 0 || uhmm_regcache_destroy(pinning_cache) != 0)
		abort();
	uhmm_mm_close(current_mm);
}

static void report(void)
{
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]) && reasons[i].why; i++)
		printf("unavailable here: %u cells: %s\n", reasons[i].count, reasons[i].why);
	printf("%s: %d cells %s the table, %d do not, %d unavailable here\n", monitors[monitor].name, passes,
	       control ? "contradict the reverse of" : "agree with", failures, skips);
}

int main(int argc, char **argv)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	control = argc > 1 && strcmp(argv[1], "--control") == 0;
	argc -= control;
	argv += control;
	while (monitor < MONITORS && (argc < 2 || strcmp(argv[1], monitors[monitor].name) != 0))
		monitor++;
	if (monitor == MONITORS) {
		fprintf(stderr, "usage: guarantees [--control] {explicit|hooks|uffd|hooks+uffd} [NAME]...\n");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2)
		running_kernel = major * 1000 + minor;
	ways_init();
	area_init();
	frames = frames_are_visible();
	open_monitor();
	for (size_t i = 0; i < CELLS; i++)
		if (is_asked_for(&cells[i], argc - 1, argv + 1))
			run_cell(&cells[i], 3);
	close_monitor();
	ways_end();
	report();
	return failures != 0;
}
