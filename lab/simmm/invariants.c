/* SPDX-License-Identifier: MIT */
/*
 * invariants.c: what must be true after every step, of the pages that the step touched. Nothing else can have become false:
 * what these look at changes only in steps on the page's own object.
 *
 *	1  here, of devices' entries           4  notify.c, lab_own()
 *	2  device.c, at the access             5  run.c
 *	3  here, of copies and counts          6  notify.c, at the end
 */
#include "lab/simmm/sim.h"

static void check_entries(uint32_t page)
{
	const struct sim_pte *pte = &sim->page[page].pte;
	uint16_t frame = sim_names(pte);
	char name[20], now[20];

	for (uint32_t d = 0; d < sim->devices; d++) {
		uint16_t mapped = sim->page[page].entry[d].frame;

		if (mapped && mapped != frame && !sim_pending(d, page))
			lab_lost(1, "device %u has %s at page %u, the CPU has %s, and nobody is going to tell the device", d,
				 sim_name(mapped, name), page, sim_name(frame, now));
	}
}

/* A copy that a reader gets has every write that was made to this memory. */
static void check_copy(uint32_t page)
{
	const struct sim_data *data = sim_reachable(page);
	const struct sim_writes *all;

	if (!data || !data->memory)
		return;
	all = &sim->memory[data->memory];
	if (data->has.dev != all->dev)
		lab_lost(3, "page %u reads %u: what a device wrote went to a frame that is not the page's any more", page,
			 data->value);
	if (data->has.cpu != all->cpu)
		lab_lost(3, "page %u reads %u: what the CPU wrote went to a frame that is not the page's any more", page,
			 data->value);
}

static bool mapped_dirty(uint16_t frame)
{
	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		const struct sim_pte *pte = &sim->page[page].pte;

		if (pte->state == SIM_PRESENT && pte->frame == frame && pte->flags & SIM_DIRTY)
			return true;
	}
	return false;
}

/* A page of the page cache that counts as clean is what is on storage: it may be dropped at any time. */
static void check_clean(uint32_t page)
{
	const struct sim_page *p = &sim->page[page];
	const struct sim_file *file = &sim->file[p->mapped ? p->file : page];
	const struct sim_frame *f = &sim->frame[file->frame];

	if (!file->frame || f->dirty || f->writeback)
		return;
	if (f->data.has.cpu == file->storage.has.cpu && f->data.has.dev == file->storage.has.dev)
		return;
	if (!mapped_dirty(file->frame))
		lab_lost(3, "page %u counts as clean, and nobody will write to storage what was written to it since (%u)", page,
			 f->data.value);
}

void sim_check(void)
{
	uint32_t touched = sim->now.touched;

	if (!touched)
		return;
	sim->now.touched = 0;
	for (; touched; touched &= touched - 1) {
		uint32_t page = (uint32_t)__builtin_ctz(touched);

		check_entries(page);
		check_copy(page);
		check_clean(page);
	}
}
