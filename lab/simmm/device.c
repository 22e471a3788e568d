/* SPDX-License-Identifier: MIT */
/* device.c: devices: page-table entries, loads and stores. There is no TLB apart from the entries. */
#include "lab/simmm/sim.h"

uint32_t lab_device_index(const struct lab_device *d)
{
	return d->index;
}

void *lab_device_state(struct lab_device *d)
{
	return d->state;
}

void lab_map(struct lab_device *d, uint32_t page, lab_frame frame, uint32_t access)
{
	char name[20];

	if (frame == 0 || frame >= SIM_FRAMES || page >= LAB_PAGES)
		lab_lost(8, "device %u is to map frame %u at page %u", d->index, frame, page);
	SIM_STEP(page, "program the device's entry");
	sim->page[page].entry[d->index] = (struct sim_entry){.frame = (uint16_t)frame, .access = (uint16_t)(access | LAB_READ)};
	sim_note("device %u, page %u: -> %s%s", d->index, page, sim_name(frame, name), access & LAB_WRITE ? ", writable" : "");
}

/* The whole pages of the range; every one is a step, as whether there is an entry is what a racing lab_map() decides. */
static void change(struct lab_device *d, uintptr_t start, uintptr_t end, uint32_t keep)
{
	uint32_t first = start <= LAB_ADDR(0) ? 0 : LAB_PAGE_OF(start);
	uint32_t last = end >= LAB_ADDR(LAB_PAGES) ? LAB_PAGES : LAB_PAGE_OF(end + 4095);

	for (uint32_t page = first; page < last; page++) {
		struct sim_entry *e = &sim->page[page].entry[d->index];
		char name[20];

		if (!sim->page[page].known)
			continue;
		if (keep)
			SIM_STEP(page, "take write access from the device's entry");
		else
			SIM_STEP(page, "clear the device's entry, flush");
		if (e->frame && e->access & ~keep)
			sim_note("device %u, page %u: %s -> %s", d->index, page, sim_name(e->frame, name),
				 keep ? "write-protected" : "none");
		e->access &= (uint16_t)keep;
		e->frame = keep ? e->frame : 0;
		sim_device_told(d->index, sim_bits(page, 1));
	}
}

void lab_unmap(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	if (start < end)
		change(d, start, end, 0);
}

void lab_protect(struct lab_device *d, uintptr_t start, uintptr_t end)
{
	if (start < end)
		change(d, start, end, LAB_READ);
}

lab_frame lab_mapped(const struct lab_device *d, uint32_t page, uint32_t *access)
{
	const struct sim_entry *e = &sim->page[page].entry[d->index];

	if (access) {
		lab_arena_dirty(access, sizeof(*access));
		*access = e->frame ? e->access : 0;
	}
	return e->frame;
}

/* ---- accesses ---- */

/*
 * Is the frame what the page is, for this access? By hand (through a get), one that began before the change is owed no more
 * than that its page stays memory.
 */
static void check_access(uint32_t device, uint32_t page, uint16_t frame, bool write, bool by_hand)
{
	const struct sim_pte *pte = &sim->page[page].pte;
	const struct sim_frame *f = &sim->frame[frame];
	uint16_t since = by_hand ? sim->now.use[lab_self()] : 0;
	char name[20], now[20];

	if (f->refs == 0)
		lab_lost(2, "device %u %s %s by page %u, which is free", device, write ? "writes" : "reads",
			 sim_name(frame, name), page);
	if (frame == SIM_ZERO && write)
		lab_lost(2, "device %u writes the zero page by page %u", device, page);
	if (sim_names(pte) != frame) {
		if (since ? f->gone && f->gone < since : !sim_pending(device, page))
			lab_lost(2, "device %u %s %s by page %u, which is %s by now", device, write ? "writes" : "reads",
				 sim_name(frame, name), page, sim_name(sim_names(pte), now));
		/* Told or not, what is written where no entry leads any more is in no copy (R3). */
		if (write && !since && f->anon && !f->maps && sim_reachable(page) != &f->data)
			lab_lost(3, "device %u writes %s by page %u, which is %s by now: nobody can read it there", device,
				 sim_name(frame, name), page, sim_name(sim_names(pte), now));
		return;
	}
	if (f->pins || since || pte->state != SIM_PRESENT || pte->flags & SIM_TAKEN || sim_pending(device, page))
		return;
	if (write && !(pte->flags & SIM_WRITE) && f->anon)
		lab_lost(2, "device %u writes %s by page %u, which the process may not write", device, sim_name(frame, name),
			 page);
	if (!(pte->flags & SIM_READ))
		lab_lost(2, "device %u uses %s by page %u, which the process may not use", device, sim_name(frame, name), page);
}

static void access_frame(struct lab_device *d, uint32_t page, uint16_t frame, uint32_t *value, bool write, bool by_hand)
{
	struct sim_data *data = &sim->frame[frame].data;
	char name[20];

	check_access(d->index, page, frame, write, by_hand);
	sim_note("device %u, page %u: %s %s %u", d->index, page, sim_name(frame, name), write ? "<-" : "is",
		 write ? *value : data->value);
	lab_told_values(write ? *value : data->value, data->value);
	if (!write) {
		lab_arena_dirty(value, sizeof(*value));
		*value = data->value;
		return;
	}
	data = &sim_frame_w(frame)->data;
	data->value = *value;
	data->has.dev = sim_count_write(data->memory, true);
}

int lab_load(struct lab_device *d, uint32_t page, uint32_t *value)
{
	const struct sim_entry *e = &sim->page[page].entry[d->index];

	SIM_LOOK(page, "device load");
	if (!e->frame)
		return -EFAULT;
	access_frame(d, page, e->frame, value, false, false);
	return 0;
}

int lab_store(struct lab_device *d, uint32_t page, uint32_t value)
{
	const struct sim_entry *e = &sim->page[page].entry[d->index];

	SIM_STEP(page, "device store");
	if (!e->frame || !(e->access & LAB_WRITE))
		return -EFAULT;
	access_frame(d, page, e->frame, &value, true, false);
	return 0;
}

void lab_load_frame(struct lab_device *d, uint32_t page, lab_frame frame, uint32_t *value)
{
	SIM_LOOK(page, "device load");
	access_frame(d, page, (uint16_t)frame, value, false, true);
}

void lab_store_frame(struct lab_device *d, uint32_t page, lab_frame frame, uint32_t value)
{
	SIM_STEP(page, "device store");
	access_frame(d, page, (uint16_t)frame, &value, true, true);
}

uint32_t lab_use_begin(void)
{
	uint32_t before = sim_now_w()->use[lab_self()];

	sim->now.use[lab_self()] = (uint16_t)(sim->now.starts + 1);
	return before;
}

void lab_use_end(uint32_t before)
{
	sim_now_w()->use[lab_self()] = (uint16_t)before;
}
