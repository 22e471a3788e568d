/* SPDX-License-Identifier: MIT */
#include "port/clock.h"

#include "lab/memory.h"
#include "port_clock.h"

/* "At least that long": a thread that slept may find that deadlines of its own have passed. */
#define SLEPT_LONG_NS UINT64_C(10000000)

/* Not zero, which some callers take for "never". Read and set by steps of their own: who reads it depends on who sets it. */
static uint64_t now_ns = UINT64_C(1000000000);

static void publish(bool write, const struct lab_site *site)
{
	struct lab_op op = {.kind = LAB_OP_STEP, .write = write, .object = &now_ns, .site = site};

	lab_point(&op);
}

uint64_t clock_now_ns(void)
{
	publish(false, LAB_SITE("clock_now_ns()"));
	return now_ns;
}

void port_clock_reach(uint64_t ns)
{
	publish(true, LAB_SITE("the deadline passes"));
	if (now_ns < ns)
		now_ns = ns;
}

void clock_sleep_ns(uint64_t ns)
{
	publish(true, LAB_SITE("clock_sleep_ns()"));
	now_ns += lab_choose(LAB_CHOICE_TIMEOUT, 2) ? SLEPT_LONG_NS : ns;
	lab_mem_relax(LAB_SITE("clock_sleep_ns()"));
}
