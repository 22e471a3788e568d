/* SPDX-License-Identifier: MIT */
/* on_simmm.c: a sequence on the simulated machine: in a set-up, so with nobody else about. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "collapse.h"
#include "conformance.h"
#include "lab/run.h"
#include "lab/simmm/simmm.h"
#include "on_simmm.h"

enum lab_sim_fault simmm_wrong;
static const struct op *ops;
static size_t op_count;
static struct seen *seen;

static int map(const struct op *op)
{
	static const enum lab_kind kind[] = {LAB_ANON, LAB_FILE_SHARED, LAB_FILE_PRIVATE};

	return lab_cpu_mmap(op->page, op->count, kind[op->kind], op->arg);
}

/* What nobody should notice: whether there was a page to do it to does not matter. */
static int quietly(int err)
{
	(void)err;
	return RESULT_ANY;
}

static int perform(const struct op *op, uint32_t *value)
{
	switch (op->kind) {
	case OP_UNMAP:
		return lab_cpu_munmap(op->page, op->count);
	case OP_DONTNEED:
		return lab_cpu_dontneed(op->page, op->count);
	case OP_FREE:
		return lab_cpu_madv_free(op->page, op->count);
	case OP_TRUNCATE:
		return lab_cpu_truncate(op->page, op->count);
	case OP_PROTECT:
		return lab_cpu_mprotect(op->page, op->count, op->arg);
	case OP_REMAP:
		return lab_cpu_mremap(op->page, op->count, op->arg);
	case OP_FORK:
		return lab_cpu_fork();
	case OP_WRITE:
		return lab_cpu_write(op->page, op->arg);
	case OP_READ:
		return lab_cpu_read(op->page, value);
	case OP_CHILD:
		return lab_sim_child_value(op->page, value);
	case OP_WRITEBACK:
		return quietly(lab_cpu_writeback(op->page));
	case OP_MIGRATE:
		return quietly(lab_cpu_migrate(op->page));
	case OP_REPLACE:
		return quietly(lab_cpu_replace(op->page));
	case OP_RECLAIM:
		return quietly(lab_cpu_reclaim(op->page, false));
	case OP_POPULATE:
		return lab_cpu_populate(op->page);
	case OP_DROP:
		return quietly(lab_cpu_drop(op->page));
	default:
		return map(op);
	}
}

static void look(struct sight *sight)
{
	for (uint32_t page = 0; page < PAGES; page++) {
		sight[page].frame = lab_sim_frame(page, NULL);
		sight[page].present = sight[page].frame != 0;
		sight[page].zero = lab_sim_is_zero((lab_frame)sight[page].frame);
	}
}

static void run(const struct lab_setup *s)
{
	(void)s;
	lab_sim_break(simmm_wrong);
	for (size_t i = 0; i < op_count; i++) {
		seen[i].value = 0;
		seen[i].error = perform(&ops[i], &seen[i].value);
		look(seen[i].page);
	}
}

static bool set_up(void (*setup)(const struct lab_setup *s))
{
	static struct lab_scenario scenario = {
		.id = "conformance",
		.title = "a sequence of operations",
		.expected = "",
		.losers = "",
		.core_only = true,
	};
	const struct lab_config config = {.scenario = &scenario, .devices = 1};

	scenario.setup = setup;
	if (lab_run_setup(&config))
		return true;
	fprintf(stderr, "the simulated machine: %s\n", lab_run.verdict.text);
	return false;
}

bool run_on_simmm(const struct op *sequence, size_t count, struct seen *out)
{
	ops = sequence;
	op_count = count;
	seen = out;
	return set_up(run);
}

/* ---- huge pages ---- */

static bool somebody_refers;
static enum collapsed collapsed;

static void collapse(const struct lab_setup *s)
{
	lab_frame frame;
	uint32_t value;
	int err;

	lab_cpu_mmap(LAB_HUGE, LAB_HUGE, LAB_ANON, LAB_READ | LAB_WRITE);
	for (uint32_t i = 0; i < LAB_HUGE; i++)
		lab_cpu_write(LAB_HUGE + i, i + 1);
	if (somebody_refers)
		lab_grab(s->device[0], LAB_HUGE + 2, LAB_READ, &frame);
	err = lab_cpu_collapse(LAB_HUGE);
	collapsed = err ? COLLAPSE_REFUSED : COLLAPSE_DONE;
	for (uint32_t i = 0; i < LAB_HUGE; i++) {
		if (lab_cpu_read(LAB_HUGE + i, &value) || value != i + 1)
			collapsed = COLLAPSE_CORRUPTS;
	}
}

enum collapsed collapse_simulated(bool referenced)
{
	somebody_refers = referenced;
	return set_up(collapse) ? collapsed : COLLAPSE_CANNOT;
}
