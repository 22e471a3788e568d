/* SPDX-License-Identifier: MIT */
/* migrate.c: a page moved to another frame: by migration, which respects references, and by replacement, which does not. */
#include "lab/simmm/sim.h"

/* try_to_migrate(): every entry that names the frame becomes a migration entry; the process's own between start and end. */
static void unmap_for_migration(uint32_t page, uint16_t frame, const void *owner)
{
	struct sim_bracket b;

	sim_start_by(&b, page, 1, UHMM_EVENT_MIGRATE, 0, owner);
	SIM_STEP(page, "replace the entry by a migration entry");
	for (uint32_t table = 0; table <= sim->now.children; table++) {
		struct sim_pte *pte = sim_pte(table, page);
		uint8_t flags = pte->flags;

		if ((pte->state != SIM_PRESENT && pte->state != SIM_DEVICE) || pte->frame != frame)
			continue;
		sim_pte_clear(table, page);
		*pte = (struct sim_pte){.frame = frame, .state = SIM_MIGRATING, .flags = flags};
		sim_put(frame);
	}
	sim_end(&b);
}

/* remove_migration_ptes(): no start and end, as nobody can have looked anything up. */
static void map_again(uint32_t page, uint16_t frame)
{
	SIM_STEP(page, "replace the migration entry by the page");
	for (uint32_t table = 0; table <= sim->now.children; table++) {
		struct sim_pte *pte = sim_pte(table, page);

		if (pte->state == SIM_MIGRATING && pte->frame == frame)
			sim_pte_set(table, page, frame, pte->flags);
	}
}

/*
 * folio_migrate_mapping() and the copy: goes through only if nobody holds a reference but the page cache and ourselves.
 * References are frozen by the same step, so a lockless look-up that has read the entry and not yet taken its reference fails.
 */
static bool move_contents(uint32_t page, uint16_t old, uint16_t new, uint8_t vram)
{
	struct sim_frame *f, *to;
	struct sim_file *file = NULL;

	SIM_STEP(page, "check the references, copy");
	f = sim_frame_w(old);
	for (uint32_t i = 0; i < LAB_PAGES && !f->anon && !file; i++)
		file = sim->file[i].frame == old ? sim_file_w(i) : NULL;
	if (f->refs != 1u + (file != NULL) || f->pins) {
		sim_note("frame %u has %u references, %u expected", old, f->refs, 1u + (file != NULL));
		return false;
	}
	to = sim_frame_w(new);
	*to = *f;
	f->frozen = true;
	to->gone = 0;
	to->vram = vram;
	if (file)
		file->frame = new;
	for (uint32_t table = 0; table <= sim->now.children; table++) {
		struct sim_pte *pte = sim_pte(table, page);

		if (pte->state == SIM_MIGRATING && pte->frame == old)
			pte->frame = new;
	}
	sim_note("page %u: frame %u copied to frame %u", page, old, new);
	return true;
}

/* With a reference and the folio lock of our own. */
static bool isolate(uint32_t page, uint16_t *frame)
{
	const struct sim_pte *pte = &sim->page[page].pte;

	SIM_STEP(page, "isolate the page");
	if ((pte->state != SIM_PRESENT && pte->state != SIM_DEVICE) || pte->frame == SIM_ZERO)
		return false;
	*frame = pte->frame;
	sim_get(*frame);
	return true;
}

static void release(uint32_t page, uint16_t frame)
{
	SIM_STEP(page, "put the page back");
	sim_put(frame);
}

static int migrate(uint32_t page, uint8_t vram, const void *owner)
{
	uint16_t old, new;
	bool moved;

	if (!isolate(page, &old))
		return -EFAULT;
	sim_lock_folio(old);
	new = sim_frame_copy(old);
	sim_lock_folio(new);
	unmap_for_migration(page, old, owner);
	moved = move_contents(page, old, new, vram);
	map_again(page, moved ? new : old);
	sim_unlock_folio(new);
	sim_unlock_folio(old);
	release(page, moved ? new : old);
	if (moved) {
		struct sim_frame *f = sim_frame_w(old);

		/* Frozen with one reference; it is free now. */
		f->refs = 1;
		sim_put(old);
	} else {
		sim_frame_undo(new);
	}
	return moved ? 0 : -EAGAIN;
}

int lab_cpu_migrate(uint32_t page)
{
	if (!sim_range_ok(page, 1))
		return -EINVAL;
	sim_enter("migrate(%u)", page);
	return sim_leave(migrate(page, sim->frame[sim->page[page].pte.frame].vram, NULL));
}

/* ---- into the memory of devices ---- */

int lab_migrate_to_device(struct lab_device *d, uint32_t page, const void *owner, lab_frame *frame)
{
	const struct sim_page *p = &sim->page[page];
	int err;

	if (!sim_range_ok(page, 1))
		return -EINVAL;
	sim_enter("migrate_to_device(%u)", page);
	if (!p->mapped || p->kind != LAB_ANON || p->pte.state == SIM_DEVICE)
		return sim_leave(-EINVAL);
	err = migrate(page, (uint8_t)(d->index + 1), owner);
	*frame = p->pte.frame;
	return sim_leave(err);
}

void sim_bring_home(uint32_t page)
{
	sim_enter("migrate_to_ram(%u)", page);
	sim_leave(migrate(page, 0, NULL));
}

/* The device's own allocator moves its memory: the CPU's page table does not say where a page is there, so nobody is told. */
int lab_vram_move(struct lab_device *d, uint32_t page, lab_frame *frame)
{
	struct sim_page *p = &sim->page[page];
	uint16_t old, new;

	sim_enter("vram_move(%u)", page);
	SIM_STEP(page, "move the page within the device's memory");
	old = p->pte.frame;
	if (p->pte.state != SIM_DEVICE || sim->frame[old].vram != d->index + 1)
		return sim_leave(-EFAULT);
	new = sim_frame_copy(old);
	sim_frame_w(new)->vram = sim->frame[old].vram;
	sim_frame_w(new)->exclusive = sim->frame[old].exclusive;
	sim_pte_exchange(page, new, p->pte.flags);
	*frame = new;
	SIM_STEP(page, "free the old place");
	sim_put(old);
	return sim_leave(0);
}

/* ---- taken by a device, alone ---- */

/* make_device_exclusive(): faulted in for writing; then the entry is replaced by one on which every CPU access faults. */
int lab_make_exclusive(struct lab_device *d, uint32_t page, const void *owner, lab_frame *frame)
{
	struct sim_page *p = &sim->page[page];
	struct sim_bracket b;
	int err;

	sim_enter("make_exclusive(%u)", page);
	err = lab_grab(d, page, LAB_WRITE, frame);
	if (err)
		return sim_leave(err);
	sim_lock_folio((uint16_t)*frame);
	sim_start_by(&b, page, 1, UHMM_EVENT_EXCLUSIVE, 0, owner);
	SIM_STEP(page, "replace the entry by an exclusive one");
	if (sim_pte_allows(&p->pte, SIM_WRITE) && p->pte.frame == *frame) {
		sim_changing(page);
		p->pte.flags = SIM_TAKEN | SIM_DIRTY;
		sim_note("page %u: device %u has it alone", page, d->index);
	} else {
		err = -EBUSY;
	}
	sim_end(&b);
	sim_unlock_folio((uint16_t)*frame);
	if (err)
		lab_put(d, *frame);
	return sim_leave(err);
}

/* remove_device_exclusive_entry() */
void sim_take_back(uint32_t page)
{
	struct sim_page *p = &sim->page[page];
	uint16_t frame = p->pte.frame;
	struct sim_bracket b;

	sim_lock_folio(frame);
	sim_start(&b, page, 1, UHMM_EVENT_EXCLUSIVE, 0);
	SIM_STEP(page, "restore the entry");
	if (p->pte.state == SIM_PRESENT && p->pte.frame == frame && p->pte.flags & SIM_TAKEN) {
		sim_changing(page);
		p->pte.flags = (uint8_t)(SIM_DIRTY | p->prot);
		sim_note("page %u: the CPU's again", page);
	}
	sim_end(&b);
	sim_unlock_folio(frame);
}

/* ---- replacement ---- */

/* write_protect_page() of KSM: nobody writes from here on without a fault. */
static void stop_writers(uint32_t page)
{
	struct sim_bracket b;

	sim_start(&b, page, 1, UHMM_EVENT_PROTECT, 0);
	SIM_STEP(page, "write-protect the entry");
	if (sim->page[page].pte.state == SIM_PRESENT)
		sim_write_protect(page);
	sim_end(&b);
}

/*
 * replace_page(): like a copy on write that nobody has asked for. References do not stop it: uprobes never counted them. A
 * write fault in between has made the page writable again, perhaps elsewhere: then it is given up.
 */
int lab_cpu_replace(uint32_t page)
{
	struct sim_page *p;
	struct sim_bracket b;
	uint16_t old, new;
	bool same;

	if (!sim_range_ok(page, 1))
		return -EINVAL;
	sim_enter("replace(%u)", page);
	p = &sim->page[page];
	if (p->mapped && p->kind == LAB_FILE_SHARED)
		return sim_leave(-EINVAL);
	if (!isolate(page, &old))
		return sim_leave(-EFAULT);
	if (p->pte.flags & SIM_WRITE)
		stop_writers(page); /* as for equal pages; code, where breakpoints go, is not written to */
	SIM_STEP(page, "copy the page");
	new = sim->frame[old].anon ? sim_frame_copy(old) : sim_frame_new();
	sim_frame_w(new)->data.value = sim->frame[old].data.value;
	sim_start(&b, page, 1, UHMM_EVENT_CLEAR, 0);
	SIM_STEP(page, "replace the page");
	same = p->pte.state == SIM_PRESENT && p->pte.frame == old && !(p->pte.flags & SIM_WRITE);
	if (same)
		sim_pte_exchange(page, new, p->pte.flags);
	else
		sim_frame_undo(new);
	sim_end(&b);
	SIM_STEP(page, "drop the old page");
	if (same)
		sim_put(old);
	sim_put(old);
	return sim_leave(same ? 0 : -EAGAIN);
}
