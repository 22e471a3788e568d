/* SPDX-License-Identifier: MIT */
/*
 * common.h: what the scenarios with models share. Devices are fibers gpu0, gpu1 that use pages; invalidators are fibers
 * cpu0, cpu1 that change them. Results stay in struct scenario_run, for the scenario's check and for the tests that ask
 * whether a scenario happens at all (a race in which no device ever gets at the page is held by anybody).
 *
 * A scenario says who does what, never when: the search finds the order.
 */
#ifndef LAB_SCENARIOS_COMMON_H
#define LAB_SCENARIOS_COMMON_H

#include <errno.h>

#include <uhmm/lab.h>

#include "lab/scenarios/scenarios.h"

#define SCENARIO_SIDES 2u
#define SCENARIO_USES 3u

/* What pages hold before anybody changes them. */
#define SCENARIO_OLD 1u
/* What device i writes. */
#define SCENARIO_DEVICE_VALUE(i) (100u + (i))

/* One device's fiber: the page is used `uses` times in a row. */
struct scenario_user {
	struct lab_device *device;
	const struct lab_model *model;
	uint32_t page, access, uses;
	uint32_t value[SCENARIO_USES]; /* read, or to write */
	int err[SCENARIO_USES];
};

/* One invalidator's fiber. */
struct scenario_cpu {
	int (*change)(uint32_t index);
	uint32_t index;
	int err;
};

struct scenario_run {
	uint32_t users, cpus;
	uint32_t second_tries; /* changes that had to be tried again; written by cpu0 */
	struct scenario_user user[SCENARIO_SIDES];
	struct scenario_cpu cpu[SCENARIO_SIDES];
};

/* Of the configuration that was set up last. */
extern struct scenario_run *scenario_run;

/* Set-up, first of all. */
void scenario_begin(void);
/* Set-up: attaches every device to pages [page, page + count). */
void scenario_attach(const struct lab_setup *s, uint32_t page, uint32_t count);
/* Set-up: a fiber for each device; fn NULL: the one that uses the page. LAB_WRITE: writes SCENARIO_DEVICE_VALUE(index). */
void scenario_devices(const struct lab_setup *s, uint32_t page, uint32_t access, uint32_t uses, void (*fn)(void *user));
/* What it does: for fibers that do more than that. */
void scenario_use(void *user);
/* Fails the execution if a call that must succeed has not. */
void scenario_must(int err, const char *what);
/* Set-up: a fiber for each invalidator. */
void scenario_cpus(const struct lab_setup *s, int (*change)(uint32_t index));

/* All of set-up, for the plainest change: one written page, used by each device so often, discarded by each invalidator. */
void scenario_discarded(const struct lab_setup *s, uint32_t access, uint32_t uses);

/*
 * Check: no device gave up (-EBUSY), since there are fewer changes than tries; all got at the page unless `may_fault`; what
 * they read is `value` (0: not looked at).
 */
void scenario_check_users(bool may_fault, uint32_t value);
/*
 * Check: every change was made. `may_miss`: with another invalidator beside it, a change of one page may find it gone (-EFAULT)
 * or changing (-EAGAIN).
 */
void scenario_check_cpus(bool may_miss);

#endif
