/* SPDX-License-Identifier: MIT */
/* fault.c: page faults, and the CPU's loads and stores. */
#include "lab/simmm/sim.h"

enum { DONE, COPY, WAIT, HOME, TAKE_BACK }; /* what is left to do after the step that looked */

/* A page that nothing is mapped at: the zero page, a page of the file, or a new one. */
static void map_new(uint32_t page, bool write)
{
	const struct sim_page *p = &sim->page[page];
	uint16_t frame, cached;

	if (p->kind == LAB_ANON && !write) {
		sim_pte_set(0, page, SIM_ZERO, SIM_READ);
		return;
	}
	if (p->kind == LAB_ANON) {
		frame = sim_frame_new();
		sim_frame_w(frame)->exclusive = true;
		sim_pte_set(0, page, frame, SIM_READ | SIM_WRITE | SIM_DIRTY);
		return;
	}
	cached = sim_cache(page, p->file);
	if (p->kind == LAB_FILE_SHARED || !write || sim_wrong == LAB_SIM_PRIVATE_WRITES_FILE) {
		if (write)
			sim_frame_w(cached)->dirty = true;
		sim_pte_set(0, page, cached, write ? SIM_READ | SIM_WRITE | SIM_DIRTY : SIM_READ);
		return;
	}
	frame = sim_frame_new();
	sim_frame_w(frame)->data.value = sim->frame[cached].data.value;
	sim_frame_w(frame)->exclusive = true;
	sim_pte_set(0, page, frame, SIM_READ | SIM_WRITE | SIM_DIRTY);
}

/* From the swap cache if it still is there: then it is the same frame that others hold. */
static void swap_in(uint32_t page, bool write)
{
	struct sim_pte *pte = &sim->page[page].pte;
	uint16_t frame = pte->frame, cached;

	if (!frame) {
		frame = sim_frame_copy(0);
		sim_frame_w(frame)->data = pte->swap;
		sim_frame_w(frame)->exclusive = pte->flags & SIM_SWAP_EXCLUSIVE;
	}
	write = write && sim->frame[frame].exclusive;
	cached = pte->frame;
	sim_pte_set(0, page, frame, SIM_READ | SIM_DIRTY | (write ? SIM_WRITE : 0));
	if (cached)
		sim_put(cached);
}

/* A write to a page mapped without write access, or a look-up that wants the page to be the process's own. */
static int make_own(uint32_t page, uint32_t access)
{
	struct sim_page *p = &sim->page[page];
	struct sim_frame *f = sim_frame_w(p->pte.frame);

	if (!f->anon && p->kind == LAB_FILE_SHARED) {
		f->dirty = true; /* page_mkwrite */
	} else if (p->pte.frame != SIM_ZERO && f->anon && (f->exclusive || f->refs == 1)) {
		f->exclusive = true;
	} else if (sim_wrong != LAB_SIM_COW_FORGETS || p->pte.frame == SIM_ZERO) {
		return COPY;
	}
	if (access & LAB_WRITE) {
		p->pte.flags |= SIM_WRITE | SIM_DIRTY;
		sim_note("page %u: writable", page);
	}
	return DONE;
}

static int look(uint32_t page, uint32_t access)
{
	const struct sim_page *p = &sim->page[page];
	bool write = access & LAB_WRITE;

	SIM_STEP(page, "fault: mapping and page-table entry");
	if (!p->mapped || (p->prot & (access & 3)) != (access & 3))
		return -EFAULT;
	switch (p->pte.state) {
	case SIM_MIGRATING:
		return WAIT;
	case SIM_SWAP:
		swap_in(page, write);
		break;
	case SIM_NONE:
		if (p->kind != LAB_ANON && sim->file[p->file].cut)
			return -EFAULT; /* SIGBUS */
		map_new(page, write);
		break;
	case SIM_DEVICE:
		return HOME;
	default:
		if (p->pte.flags & SIM_TAKEN)
			return TAKE_BACK;
		sim->page[page].pte.flags |= SIM_READ; /* after mprotect(), lazily */
	}
	if (write ? !(p->pte.flags & SIM_WRITE) : access & SIM_FAULT_UNSHARE)
		return make_own(page, access);
	return DONE;
}

static uint16_t copy_of(uint16_t old)
{
	uint16_t new = sim->frame[old].anon &&old != SIM_ZERO ? sim_frame_copy(old) : sim_frame_new();

	sim_frame_w(new)->data.value = sim->frame[old].data.value;
	sim_frame_w(new)->exclusive = true;
	return new;
}

static bool still_to_copy(const struct sim_pte *pte)
{
	return pte->state == SIM_PRESENT && !(pte->flags & SIM_WRITE);
}

/*
 * wp_page_copy(): the copy is made first, with a reference to the old page, then the entry replaced, between start and end, if
 * it still is what was copied: another fault, or MADV_DONTNEED, may have come before. A lockless look-up may take the old page
 * until then; a device's entry for reading names it until the callback (R7).
 */
static int copy_on_write(uint32_t page, uint32_t access)
{
	struct sim_page *p = &sim->page[page];
	struct sim_bracket b;
	uint16_t old, new;
	bool same;

	SIM_STEP(page, "copy the page");
	if (!still_to_copy(&p->pte))
		return DONE; /* the fault is tried again */
	old = p->pte.frame;
	sim_get(old);
	new = copy_of(old);
	sim_start(&b, page, 1, UHMM_EVENT_CLEAR, 0);
	SIM_STEP(page, "replace the page by its copy");
	same = still_to_copy(&p->pte) && p->pte.frame == old;
	if (same)
		sim_pte_exchange(page, new, SIM_READ | SIM_DIRTY | (access & LAB_WRITE ? SIM_WRITE : 0));
	else
		sim_frame_undo(new);
	sim_end(&b);
	SIM_STEP(page, "drop the old page");
	if (same)
		sim_put(old);
	sim_put(old);
	return DONE;
}

/* Sleeps until whoever migrates the page has let go of its folio. */
static void wait_for_migration(uint32_t page)
{
	uint16_t frame = sim->page[page].pte.frame;

	if (sim->page[page].pte.state == SIM_MIGRATING && frame) {
		sim_lock_folio(frame);
		sim_unlock_folio(frame);
	}
}

/* page_mkwrite() locks the folio: against the half of write-back between the entries and the dirty bit. */
static uint16_t lock_for_mkwrite(uint32_t page, uint32_t access)
{
	const struct sim_page *p = &sim->page[page];
	uint16_t frame;

	if (!p->mapped || p->kind != LAB_FILE_SHARED || !(access & LAB_WRITE))
		return 0;
	while ((frame = sim->file[p->file].frame) != 0) {
		sim_lock_folio(frame);
		if (sim->file[p->file].frame == frame)
			break;
		sim_unlock_folio(frame);
	}
	return frame;
}

int sim_fault(uint32_t page, uint32_t access)
{
	uint16_t locked;
	int what;

	if (page >= LAB_PAGES)
		return -EFAULT;
	sim_read_lock_mm();
	locked = lock_for_mkwrite(page, access);
	what = look(page, access);
	if (locked)
		sim_unlock_folio(locked);
	if (what == COPY)
		what = copy_on_write(page, access);
	else if (what == HOME)
		sim_bring_home(page);
	else if (what == TAKE_BACK)
		sim_take_back(page);
	sim_read_unlock_mm();
	if (what == WAIT)
		wait_for_migration(page);
	return what < 0 ? what : 0;
}

static void check_owner(uint32_t page, const char *does)
{
	const struct sim_page *p = &sim->page[page];

	if (p->owner && p->pte.state == SIM_PRESENT && p->pte.flags & SIM_READ)
		lab_lost(4, "the CPU %s page %u, which %u has for itself alone", does, page, p->owner);
}

int lab_cpu_read(uint32_t page, uint32_t *value)
{
	int err = page < LAB_PAGES ? 0 : -EFAULT;

	sim_enter("read(%u)", page);
	while (!err) {
		SIM_LOOK(page, "load");
		check_owner(page, "reads");
		if (sim_pte_allows(&sim->page[page].pte, SIM_READ)) {
			lab_arena_dirty(value, sizeof(*value));
			*value = sim->frame[sim->page[page].pte.frame].data.value;
			lab_told_values(*value, *value);
			return sim_leave(0);
		}
		err = sim_fault(page, LAB_READ);
	}
	return sim_leave(err);
}

int lab_cpu_write(uint32_t page, uint32_t value)
{
	int err = page < LAB_PAGES ? 0 : -EFAULT;

	sim_enter("write(%u, %u)", page, value);
	while (!err) {
		struct sim_pte *pte = &sim->page[page].pte;

		SIM_STEP(page, "store");
		check_owner(page, "writes");
		if (sim_pte_allows(pte, SIM_WRITE)) {
			struct sim_data *data = &sim_frame_w(pte->frame)->data;

			lab_told_values(value, data->value);
			data->value = value;
			data->has.cpu = sim_count_write(data->memory, false);
			pte->flags |= SIM_DIRTY;
			return sim_leave(0);
		}
		err = sim_fault(page, LAB_WRITE);
	}
	return sim_leave(err);
}

/* A write fault that writes nothing. What MADV_FREE has given up is dirty by this, and so kept. */
int lab_cpu_populate(uint32_t page)
{
	int err = page < LAB_PAGES ? 0 : -EFAULT;

	sim_enter("madvise(%u, 1, POPULATE_WRITE)", page);
	while (!err) {
		struct sim_pte *pte = &sim->page[page].pte;

		SIM_STEP(page, "populate: make the entry dirty");
		if (sim_pte_allows(pte, SIM_WRITE)) {
			pte->flags |= SIM_DIRTY;
			return sim_leave(0);
		}
		err = sim_fault(page, LAB_WRITE);
	}
	return sim_leave(err);
}
