/* SPDX-License-Identifier: MIT */
/* fork.c: the page table copied for a child that lives on and writes nothing. */
#include "lab/simmm/sim.h"

/*
 * copy_present_pte(): the page is shared from now on and so write-protected, unless somebody has pinned it: then the child gets
 * a copy, and the parent keeps the very page that the device has (R20, R22).
 */
static void share_page(uint32_t table, uint32_t page)
{
	struct sim_page *p = &sim->page[page];
	struct sim_frame *f = sim_frame_w(p->pte.frame);
	uint16_t copy;

	if (p->pte.frame != SIM_ZERO && f->anon && f->pins && f->exclusive) {
		copy = sim_frame_copy(p->pte.frame);
		sim_pte_set(table, page, copy, SIM_READ | SIM_DIRTY);
		sim_note("page %u: pinned, the child gets a copy", page);
		return;
	}
	if (p->pte.flags & SIM_TAKEN)
		p->pte.flags = SIM_READ | SIM_DIRTY; /* given back, as the child cannot have it too */
	if (sim_wrong != LAB_SIM_FORK_LEAVES_WRITE)
		sim_write_protect(page);
	f->exclusive = false;
	sim_pte_set(table, page, p->pte.frame, p->pte.flags & (SIM_READ | SIM_DIRTY));
}

static void copy_entry(uint32_t table, uint32_t page)
{
	struct sim_page *p = &sim->page[page];

	SIM_STEP(page, "write-protect and copy the entry");
	if (p->pte.state == SIM_PRESENT || p->pte.state == SIM_DEVICE) {
		share_page(table, page);
	} else if (p->pte.state != SIM_NONE) {
		struct sim_pte *child = sim_pte(table, page);

		p->pte.flags &= (uint8_t) ~(SIM_SWAP_EXCLUSIVE | SIM_WRITE);
		*child = p->pte;
		if (p->pte.frame)
			sim_frame_w(p->pte.frame)->exclusive = false;
		if (p->pte.frame && p->pte.state == SIM_SWAP)
			sim_get(p->pte.frame);
	}
}

static bool copied_for_child(const struct sim_page *p)
{
	return p->mapped && p->kind != LAB_FILE_SHARED;
}

/*
 * Only mappings that are copied on write: the child finds a shared file's pages by itself. The sequence is odd meanwhile, for
 * lockless pins, which come too late or are seen as pins.
 */
int lab_cpu_fork(void)
{
	uint32_t table;

	sim_alias(); /* the sequence is read by pins of every page */
	sim_enter("fork()");
	sim_lock_mm();
	if (sim->now.children == SIM_TABLES - 1) {
		sim_unlock_mm();
		return sim_leave(-EAGAIN);
	}
	table = ++sim_now_w()->children;
	for (uint32_t i = 0; i < LAB_PAGES; i++) {
		uint32_t from = i;
		struct sim_bracket b;

		while (i < LAB_PAGES && copied_for_child(&sim->page[i]))
			i++;
		if (i == from)
			continue;
		sim_start(&b, from, i - from, UHMM_EVENT_PROTECT, 0);
		sim->now.forks++;
		for (uint32_t page = from; page < i; page++)
			copy_entry(table, page);
		sim->now.forks++;
		sim_end(&b);
	}
	sim_unlock_mm();
	return sim_leave(0);
}
