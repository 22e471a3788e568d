/* SPDX-License-Identifier: MIT */
/*
 * r22.c: R22. The device needs a page for writing when a fork has begun: its lockless look-up runs beside the
 * write-protecting of that very page. Either it is seen by the fork, or it sees the fork and takes the slow way; else the
 * parent's next write moves away.
 */
#include "lab/scenarios/common.h"

#define CPU_VALUE 50u

struct fork_watch {
	struct lab_listener listener; /* first */
	struct uhmm_a32 begun;
};

static struct fork_watch *watch;

static int fork_begins(struct lab_listener *l, const struct uhmm_event *event)
{
	struct fork_watch *w = (struct fork_watch *)l;

	if (event->kind == UHMM_EVENT_PROTECT)
		lab_store_release(&w->begun, 1);
	return 0;
}

static void use_in_fork(void *user)
{
	lab_await(&watch->begun, 1);
	scenario_use(user);
}

static int fork_and_write(uint32_t index)
{
	int err = lab_cpu_fork();

	(void)index;
	return err ? err : lab_cpu_write(0, CPU_VALUE);
}

static void setup(const struct lab_setup *s)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	watch = lab_alloc_zeroed(sizeof(*watch));
	watch->listener.start = fork_begins;
	lab_listen(&watch->listener);
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, LAB_WRITE, 1, use_in_fork);
	scenario_cpus(s, fork_and_write);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	scenario_check_cpus(false);
	scenario_check_users(false, 0);
}

const struct lab_scenario lab_scenario_r22 = {
	.id = "R22",
	.title = "a lockless look-up beside fork's write-protecting",
	.expected = "pin",
	.losers = "pin_no_unshare",
	.setup = setup,
	.check = check,
	.devices_max = SCENARIO_SIDES,
};
