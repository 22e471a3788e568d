/* SPDX-License-Identifier: MIT */
/* collapse.c: LAB_HUGE pages put together into a huge one, as khugepaged does. */
#include <string.h>

#include "lab/simmm/sim.h"

/* Every page anonymous, mapped, writable and the process's own: others are not worth it, as khugepaged sees it. */
static bool suitable(uint32_t page)
{
	for (uint32_t i = page; i < page + LAB_HUGE; i++) {
		const struct sim_page *p = &sim->page[i];

		if (!p->mapped || p->kind != LAB_ANON || p->pte.state != SIM_PRESENT || p->pte.frame == SIM_ZERO ||
		    !sim->frame[p->pte.frame].exclusive || sim->frame[p->pte.frame].huge)
			return false;
	}
	return true;
}

static bool referenced(const struct sim_pte *old)
{
	for (uint32_t i = 0; i < LAB_HUGE; i++) {
		if (sim->frame[old[i].frame].refs != 1 || sim->frame[old[i].frame].pins)
			return true;
	}
	return false;
}

static void touch_all(uint32_t page)
{
	for (uint32_t i = 0; i < LAB_HUGE; i++)
		sim_touch(page + i);
}

/* The four entries are one page-table page: they go, and come back, at once. Their references stay with us meanwhile. */
static void detach(uint32_t page, struct sim_pte *old)
{
	for (uint32_t i = 0; i < LAB_HUGE; i++) {
		old[i] = sim->page[page + i].pte;
		sim_pte_clear(0, page + i);
		/* Nobody can fault in between: the lock is held for writing. Until it is mapped again the copy is here. */
		sim->page[page + i].pte = (struct sim_pte){.frame = old[i].frame, .state = SIM_MIGRATING};
	}
}

static void attach(uint32_t page, const struct sim_pte *old, bool huge)
{
	for (uint32_t i = 0; i < LAB_HUGE; i++) {
		uint16_t frame = old[i].frame, new = frame;

		if (huge) {
			new = sim_frame_copy(frame);
			sim_frame_w(new)->exclusive = true;
			sim_frame_w(new)->huge = true;
		}
		sim->page[page + i].pte.state = SIM_NONE;
		sim_pte_set(0, page + i, new, old[i].flags);
		sim_put(frame);
	}
}

/*
 * collapse_huge_page(): start, the page-table page is detached and the TLB flushed, end; then the references are counted. Since
 * `end` has passed a device may try to come back, and waits for the lock; a reference from before defeats the whole.
 */
int lab_cpu_collapse(uint32_t page)
{
	struct sim_pte old[LAB_HUGE];
	struct sim_bracket b;
	bool busy;

	if (page % LAB_HUGE || !sim_range_ok(page, LAB_HUGE))
		return -EINVAL;
	sim_alias();
	sim_enter("collapse(%u)", page);
	sim_lock_mm();
	SIM_STEP(page, "look at the pages");
	if (!suitable(page)) {
		sim_unlock_mm();
		return sim_leave(-EINVAL);
	}
	sim_start(&b, page, LAB_HUGE, UHMM_EVENT_MIGRATE, 0);
	SIM_STEP(page, "detach the page table");
	if (!suitable(page)) {
		sim_end(&b);
		sim_unlock_mm();
		return sim_leave(-EAGAIN);
	}
	touch_all(page);
	detach(page, old);
	sim_end(&b);
	SIM_STEP(page, "count the references; copy and map");
	touch_all(page);
	busy = referenced(old);
	attach(page, old, !busy);
	sim_unlock_mm();
	return sim_leave(busy ? -EBUSY : 0);
}
