/* SPDX-License-Identifier: MIT */
/* remap.c: mremap(MREMAP_MAYMOVE | MREMAP_FIXED), same size. */
#include "lab/simmm/sim.h"

/* One entry under both page table locks. What the device knows the page by is its old address: only that one is told of. */
static void move_entry(uint32_t from, uint32_t to)
{
	struct sim_pte moved;

	SIM_STEP(from, "move the page-table entry");
	sim_touch(to);
	moved = sim->page[from].pte;
	if (moved.state == SIM_NONE || sim_wrong == LAB_SIM_REMAP_COPIES_NOTHING)
		return;
	sim_changing(from);
	sim->page[to].pte = moved;
	sim->page[from].pte = (struct sim_pte){.state = SIM_NONE};
	if (moved.state == SIM_PRESENT) {
		sim_note("page %u: frame %u -> none", from, moved.frame);
		sim_note("page %u: none -> frame %u", to, moved.frame);
	}
}

static void move_mapping(uint32_t from, uint32_t count, uint32_t to)
{
	for (uint32_t i = 0; i < count; i++) {
		struct sim_page *old = &sim->page[from + i], *new = &sim->page[to + i];

		SIM_STEP(to + i, "copy the mapping");
		new->mapped = new->known = 1;
		new->kind = old->kind;
		new->prot = old->prot;
		new->file = old->file;
	}
}

int lab_cpu_mremap(uint32_t from, uint32_t count, uint32_t to)
{
	struct sim_bracket b;

	if (!sim_range_ok(from, count) || !sim_range_ok(to, count) || (from < to + count && to < from + count))
		return -EINVAL;
	sim_alias();
	sim_enter("mremap(%u, %u, %u)", from, count, to);
	if (sim_fails())
		return sim_leave(-ENOMEM);
	sim_lock_mm();
	for (uint32_t i = from; i < from + count; i++) {
		if (!sim->page[i].mapped) {
			sim_unlock_mm();
			return sim_leave(-EFAULT);
		}
	}
	sim_unmap_locked(to, count);
	move_mapping(from, count, to);
	sim_start(&b, from, count, UHMM_EVENT_REMAP, 0);
	for (uint32_t i = 0; i < count; i++)
		move_entry(from + i, to + i);
	sim_end(&b);
	sim_unmap_locked(from, count);
	sim_unlock_mm();
	return sim_leave(0);
}
