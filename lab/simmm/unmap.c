/* SPDX-License-Identifier: MIT */
/* unmap.c: mmap, munmap, mprotect and the madvise calls that take pages away. */
#include "lab/simmm/sim.h"

/*
 * zap_page_range(): start, entry by entry, end; then, as the TLB gather is finished, the references go. A frame that a lockless
 * look-up has a reference to lives on.
 */
void sim_zap(uint32_t page, uint32_t count, enum uhmm_event_kind kind)
{
	uint16_t frames[LAB_PAGES];
	struct sim_bracket b;

	sim_start(&b, page, count, kind, 0);
	for (uint32_t i = 0; i < count; i++) {
		SIM_STEP(page + i, "clear the page-table entry, flush");
		frames[i] = sim_pte_clear(0, page + i);
	}
	sim_end(&b);
	for (uint32_t i = 0; i < count; i++) {
		if (!frames[i] || frames[i] == SIM_ZERO)
			continue;
		SIM_STEP(page + i, "drop the mapping's reference");
		sim_put(frames[i]);
	}
}

/* The mapping goes first: from then on faults fail, while lockless look-ups go on to succeed until the entry is cleared. */
void sim_unmap_locked(uint32_t page, uint32_t count)
{
	for (uint32_t i = page; i < page + count; i++) {
		uint32_t from = i;

		while (i < page + count && sim->page[i].mapped) {
			SIM_STEP(i, "take the mapping away");
			sim->page[i].mapped = 0;
			i++;
		}
		if (i > from)
			sim_zap(from, i - from, UHMM_EVENT_UNMAP);
	}
}

int lab_cpu_munmap(uint32_t page, uint32_t count)
{
	if (!sim_range_ok(page, count))
		return -EINVAL;
	sim_enter("munmap(%u, %u)", page, count);
	if (sim_fails())
		return sim_leave(-ENOMEM);
	sim_lock_mm();
	sim_unmap_locked(page, count);
	sim_unlock_mm();
	return sim_leave(0);
}

int lab_cpu_mmap(uint32_t page, uint32_t count, enum lab_kind kind, uint32_t prot)
{
	if (!sim_range_ok(page, count))
		return -EINVAL;
	sim_enter("mmap(%u, %u)", page, count);
	if (sim_fails())
		return sim_leave(-ENOMEM);
	sim_lock_mm();
	sim_unmap_locked(page, count);
	for (uint32_t i = page; i < page + count; i++) {
		struct sim_page *p = &sim->page[i];

		SIM_STEP(i, "insert the mapping");
		p->mapped = p->known = 1;
		p->kind = (uint8_t)kind;
		p->prot = (uint8_t)(prot & LAB_WRITE ? prot | LAB_READ : prot);
		p->file = (uint8_t)i;
		if (kind != LAB_ANON)
			sim_file_w(i)->cut = false; /* the program makes its file long enough for the mapping */
	}
	sim_unlock_mm();
	return sim_leave(0);
}

/* How many pages from here on are mapped (and anonymous). */
static uint32_t run_of(uint32_t page, uint32_t count, bool anon)
{
	uint32_t n = 0;

	while (n < count && sim->page[page + n].mapped && (!anon || sim->page[page + n].kind == LAB_ANON))
		n++;
	return n;
}

/* Holes are stepped over and answered by -ENOMEM at the end, as madvise() does. */
int lab_cpu_dontneed(uint32_t page, uint32_t count)
{
	int err = 0;

	if (!sim_range_ok(page, count))
		return -EINVAL;
	sim_enter("madvise(%u, %u, DONTNEED)", page, count);
	sim_read_lock_mm();
	for (uint32_t i = 0, n; i < count; i += n ? n : 1) {
		n = run_of(page + i, count - i, false);
		if (n && sim_wrong != LAB_SIM_DONTNEED_KEEPS)
			sim_zap(page + i, n, UHMM_EVENT_CLEAR);
		err = n ? err : -ENOMEM;
	}
	sim_read_unlock_mm();
	return sim_leave(err);
}

/* One entry made clean: what is written after this keeps the page, what was written before may go with it. */
static void free_lazily(uint32_t page)
{
	struct sim_pte *pte = &sim->page[page].pte;
	struct sim_frame *f;

	SIM_STEP(page, "make the entry clean");
	if (pte->state == SIM_SWAP) {
		sim_pte_clear(0, page);
		return;
	}
	if (pte->state != SIM_PRESENT || pte->frame == SIM_ZERO || sim->frame[pte->frame].maps > 1)
		return;
	f = sim_frame_w(pte->frame);
	sim_changing(page);
	pte->flags &= (uint8_t)~SIM_DIRTY;
	f->lazy = true;
	f->lazy_has = sim->memory[f->data.memory];
	if (sim_wrong == LAB_SIM_FREE_TOO_EARLY)
		f->data.value = 0;
	sim_note("page %u: may be dropped", page);
}

static void free_run(uint32_t page, uint32_t count)
{
	struct sim_bracket b;

	sim_start(&b, page, count, UHMM_EVENT_CLEAR, 0);
	for (uint32_t i = page; i < page + count; i++)
		free_lazily(i);
	sim_end(&b);
}

/* Up to the first mapping that is not anonymous, over holes. */
int lab_cpu_madv_free(uint32_t page, uint32_t count)
{
	int err = 0;

	if (!sim_range_ok(page, count))
		return -EINVAL;
	sim_enter("madvise(%u, %u, FREE)", page, count);
	sim_read_lock_mm();
	for (uint32_t i = 0, n; i < count && err != -EINVAL; i += n ? n : 1) {
		n = run_of(page + i, count - i, true);
		if (n)
			free_run(page + i, n);
		else
			err = sim->page[page + i].mapped ? -EINVAL : -ENOMEM;
	}
	sim_read_unlock_mm();
	return sim_leave(err);
}

/* Rights that come are not put into the entries here: the next fault does that. Rights that go must go at once. */
static void change_entry(uint32_t page, uint32_t prot)
{
	struct sim_pte *pte = &sim->page[page].pte;

	SIM_STEP(page, "change the entry's rights");
	if (pte->state == SIM_NONE || pte->flags & SIM_TAKEN)
		return;
	if (!(prot & LAB_WRITE))
		sim_write_protect(page);
	if (prot & LAB_READ)
		pte->flags |= SIM_READ;
	else
		pte->flags &= (uint8_t)~SIM_READ;
}

/* Up to the first hole. */
int lab_cpu_mprotect(uint32_t page, uint32_t count, uint32_t prot)
{
	struct sim_bracket b;
	uint32_t n;

	if (!sim_range_ok(page, count))
		return -EINVAL;
	if (prot & LAB_WRITE)
		prot |= LAB_READ;
	sim_enter("mprotect(%u, %u, %s)", page, count, prot & LAB_WRITE ? "write" : prot ? "read" : "none");
	if (sim_fails())
		return sim_leave(-ENOMEM);
	sim_lock_mm();
	n = run_of(page, count, false);
	for (uint32_t i = page; i < page + n; i++) {
		SIM_STEP(i, "change the mapping's rights");
		sim->page[i].prot = (uint8_t)prot;
	}
	if (n) {
		sim_start(&b, page, n, UHMM_EVENT_PROTECT, 0);
		for (uint32_t i = page; i < page + n; i++)
			change_entry(i, prot);
		sim_end(&b);
	}
	sim_unlock_mm();
	return sim_leave(n == count ? 0 : -ENOMEM);
}
