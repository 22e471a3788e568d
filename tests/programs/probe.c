/* SPDX-License-Identifier: MIT */
#include "probe.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <uhmm/uhmm.h>

#define PAGE 4096u
#define TRIES 100000

static struct uhmm_mm *mm;
static struct uhmm_regcache *cache;
static struct uhmm_notifier notifier;
static uintptr_t watched;
static uint64_t held;
static atomic_uint_fast64_t registrations;
static atomic_int told;

static int on_invalidate(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	return 0;
}

static void on_end(struct uhmm_notifier *n, const struct uhmm_event *event, bool changed)
{
	(void)n;
	(void)event;
	if (changed)
		atomic_fetch_add(&told, 1);
}

static const struct uhmm_notifier_ops notifier_ops = {.invalidate = on_invalidate, .end = on_end};

static int on_reg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	reg->handle = atomic_fetch_add(&registrations, 1) + 1;
	return 0;
}

static void on_dereg(void *ctx, struct uhmm_reg *reg)
{
	(void)ctx;
	(void)reg;
}

static uint64_t ask(void)
{
	struct uhmm_reg *reg;
	uint64_t handle;

	if (uhmm_regcache_get(cache, (void *)watched, PAGE, PROT_READ | PROT_WRITE, &reg) != 0)
		return 0;
	handle = reg->handle;
	uhmm_regcache_put(cache, reg);
	return handle;
}

int probe_open(const char *monitor)
{
	static const struct uhmm_regcache_ops ops = {.reg = on_reg, .dereg = on_dereg};
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_AUTO};
	int err;

	if (strcmp(monitor, "explicit") == 0)
		options.monitors = UHMM_MONITOR_EXPLICIT;
	else if (strcmp(monitor, "hooks") == 0)
		options.monitors = UHMM_MONITOR_HOOKS;
	else if (strcmp(monitor, "uffd") == 0)
		options.monitors = UHMM_MONITOR_UFFD;
	err = uhmm_mm_open(&mm, &options);
	if (err)
		return err;
	err = uhmm_regcache_create(mm, &ops, NULL, NULL, &cache);
	if (err)
		uhmm_mm_close(mm);
	return err;
}

/* Until a registration is kept: what is made while something else is in progress is not. */
int probe_watch(unsigned long address)
{
	uint64_t before = 0;
	int err;

	watched = address & ~(uintptr_t)(PAGE - 1);
	told = 0;
	memset(&notifier, 0, sizeof(notifier));
	err = uhmm_notifier_insert(mm, &notifier, (void *)watched, PAGE, &notifier_ops);
	if (err)
		return err;
	for (int i = 0; i < TRIES; i++) {
		held = ask();
		if (held && held == before)
			return 0;
		before = held;
		sched_yield();
	}
	return -EBUSY;
}

int probe_seen(void)
{
	bool same = false;

	for (int i = 0; i < 4 && !same; i++)
		same = ask() == held;
	uhmm_read_begin(&notifier);
	return told && !same ? 1 : !told && same ? 0 : -1;
}

void probe_close(void)
{
	uhmm_notifier_remove(&notifier);
	uhmm_regcache_destroy(cache);
	uhmm_mm_close(mm);
}

static const char *verdict(int error, int seen)
{
	switch (error) {
	case 0: return seen < 0 ? "half" : seen ? "yes" : "no";
	case -EOPNOTSUPP: return "EOPNOTSUPP";
	case -EPERM: return "EPERM";
	case -EBUSY: return "uncached"; /* probe_watch() */
	case -ENOMEM: return "ENOMEM";
	default: return "refused";
	}
}

void probe_report(const char *what, const char *monitor, int error, int seen)
{
	printf("%s %s: %s\n", what, monitor, verdict(error, seen));
	fflush(stdout);
}

void probe_run(const char *what, const char *monitor, void *(*map)(void), void (*change)(void *page))
{
	int err = probe_open(monitor), seen = 0;

	if (!err) {
		void *page = map();

		err = probe_watch((unsigned long)page);
		change(page);
		seen = probe_seen();
		probe_close();
	}
	probe_report(what, monitor, err, seen);
}
