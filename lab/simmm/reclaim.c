/* SPDX-License-Identifier: MIT */
/* reclaim.c: pages that go to make room: to swap, back to their file, or away if MADV_FREE has given them up. */
#include "lab/simmm/sim.h"

/* Clean since MADV_FREE and held by nobody else: dropped without a copy. */
static bool may_drop(const struct sim_pte *pte, const struct sim_frame *f)
{
	return f->lazy && !(pte->flags & SIM_DIRTY) && f->refs == 1u + f->maps;
}

static void drop(uint32_t page)
{
	struct sim_pte *pte = &sim->page[page].pte;
	const struct sim_frame *f = &sim->frame[pte->frame];
	struct sim_writes now = sim->memory[f->data.memory];

	if (now.cpu != f->lazy_has.cpu || now.dev != f->lazy_has.dev)
		lab_lost(3, "page %u is dropped after MADV_FREE, with a byte that was written since", page);
	sim_put(sim_pte_clear(0, page));
}

/* The entries name a swap slot now; the frame is in the swap cache until it has been written there. */
static void to_swap_entries(uint32_t page, uint16_t frame)
{
	for (uint32_t table = 0; table <= sim->now.children; table++) {
		struct sim_pte *pte = sim_pte(table, page);
		uint8_t flags = sim->frame[frame].exclusive ? SIM_SWAP_EXCLUSIVE : 0;

		if (pte->state != SIM_PRESENT || pte->frame != frame)
			continue;
		sim_pte_clear(table, page);
		/* The mapping's reference becomes the swap cache's. */
		*pte = (struct sim_pte){.frame = frame, .state = SIM_SWAP, .flags = flags};
	}
}

/* __remove_mapping(): only if the swap cache and we alone hold it; otherwise it stays there, and the next fault finds it. */
static bool swap_out(uint32_t page, uint16_t frame)
{
	uint32_t cached = 0;

	SIM_STEP(page, "write to swap, drop the page");
	for (uint32_t table = 0; table <= sim->now.children; table++)
		cached += sim_pte(table, page)->state == SIM_SWAP && sim_pte(table, page)->frame == frame;
	if (sim->frame[frame].refs != cached + 1 || sim->frame[frame].maps)
		return false;
	for (uint32_t table = 0; table <= sim->now.children; table++) {
		struct sim_pte *pte = sim_pte(table, page);

		if (pte->state != SIM_SWAP || pte->frame != frame)
			continue;
		pte->swap = sim->frame[frame].data;
		pte->frame = 0;
		sim_put(frame);
	}
	sim_note("page %u: in swap", page);
	return true;
}

/* A page of the page cache: clean, unmapped and unreferenced it goes. */
static bool drop_cached(uint32_t page, uint16_t frame)
{
	uint32_t file = sim->page[page].file;
	const struct sim_frame *f = &sim->frame[frame];

	SIM_STEP(page, "drop the page from the page cache");
	if (sim->file[file].frame != frame || f->dirty || f->writeback || f->maps || f->refs != 2)
		return false;
	sim_file_w(file)->frame = 0;
	sim_put(frame);
	return true;
}

/* try_to_unmap(): false, it stays mapped. */
static bool unmap(uint32_t page, uint16_t frame, bool *dropped)
{
	struct sim_pte *pte = &sim->page[page].pte;

	SIM_STEP(page, "unmap the page");
	*dropped = false;
	if (pte->state != SIM_PRESENT || pte->frame != frame)
		return false;
	if (!sim->frame[frame].anon) {
		for (uint32_t table = 0; table <= sim->now.children; table++) {
			if (sim_pte(table, page)->frame == frame)
				sim_put(sim_pte_clear(table, page));
		}
	} else if (may_drop(pte, &sim->frame[frame])) {
		*dropped = true;
		drop(page);
	} else {
		to_swap_entries(page, frame);
	}
	return true;
}

static int reclaim(uint32_t page, uint16_t frame, uint32_t flags)
{
	struct sim_bracket b;
	bool unmapped, dropped, anon = sim->frame[frame].anon;
	int err = sim_start(&b, page, 1, UHMM_EVENT_CLEAR, flags);

	if (err)
		return err;
	unmapped = unmap(page, frame, &dropped);
	sim_end(&b);
	if (!unmapped)
		return -EAGAIN;
	if (dropped)
		return 0;
	return (anon ? swap_out(page, frame) : drop_cached(page, frame)) ? 0 : -EAGAIN;
}

int lab_cpu_reclaim(uint32_t page, bool nonblock)
{
	const struct sim_pte *pte;
	uint16_t frame;
	int err;

	if (!sim_range_ok(page, 1))
		return -EINVAL;
	sim_enter("reclaim(%u%s)", page, nonblock ? ", nonblock" : "");
	SIM_STEP(page, "isolate the page");
	pte = &sim->page[page].pte;
	if (pte->state != SIM_PRESENT || pte->frame == SIM_ZERO)
		return sim_leave(-EFAULT);
	frame = pte->frame;
	sim_get(frame);
	sim_lock_folio(frame);
	err = reclaim(page, frame, nonblock ? UHMM_EVENT_NONBLOCK : 0);
	sim_unlock_folio(frame);
	SIM_STEP(page, "put the page back");
	sim_put(frame);
	return sim_leave(err);
}

/* The same on a machine without swap: only what MADV_FREE gave up, and nobody has written or taken since. */
int lab_cpu_drop(uint32_t page)
{
	const struct sim_pte *pte;
	struct sim_bracket b;
	uint16_t frame;
	bool dropped;

	if (!sim_range_ok(page, 1))
		return -EINVAL;
	sim_enter("memory is short: page %u", page);
	SIM_STEP(page, "isolate the page");
	pte = &sim->page[page].pte;
	if (pte->state != SIM_PRESENT || !sim->frame[pte->frame].lazy)
		return sim_leave(-EAGAIN);
	frame = pte->frame;
	sim_get(frame);
	sim_lock_folio(frame);
	sim_start(&b, page, 1, UHMM_EVENT_CLEAR, 0);
	SIM_STEP(page, "unmap the page, if it is still clean");
	dropped = pte->state == SIM_PRESENT && pte->frame == frame && may_drop(pte, &sim->frame[frame]);
	if (dropped)
		drop(page);
	sim_end(&b);
	sim_unlock_folio(frame);
	SIM_STEP(page, "put the page back");
	sim_put(frame);
	return sim_leave(dropped ? 0 : -EAGAIN);
}
