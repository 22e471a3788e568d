/* SPDX-License-Identifier: MIT */
/* file.c: files behind mappings: one file a page, its page cache, write-back, truncation. */
#include "lab/simmm/sim.h"

/* The frame of the file page in the cache, with its folio lock; 0: not cached, not locked. */
static uint16_t lock_cached(uint32_t file)
{
	uint16_t frame;

	while ((frame = sim->file[file].frame) != 0) {
		sim_lock_folio(frame);
		if (sim->file[file].frame == frame)
			break;
		sim_unlock_folio(frame);
	}
	return frame;
}

/* page_mkclean(): start, the entry loses its write and dirty bits, end. The next write faults and makes it dirty again. */
static void make_clean(uint32_t page, uint16_t frame)
{
	struct sim_pte *pte = &sim->page[page].pte;
	struct sim_bracket b;

	sim_start(&b, page, 1, UHMM_EVENT_PROTECT, 0);
	SIM_STEP(page, "write-protect and clean the entry");
	if (pte->state == SIM_PRESENT && pte->frame == frame && pte->flags & (SIM_DIRTY | SIM_WRITE)) {
		sim_write_protect(page);
		pte->flags &= (uint8_t)~SIM_DIRTY;
		sim_frame_w(frame)->dirty = true;
	}
	sim_end(&b);
}

static void write_out(uint32_t page, uint32_t file, uint16_t frame)
{
	SIM_STEP(page, "write the page to storage");
	sim_file_w(file)->storage = sim->frame[frame].data;
	sim_frame_w(frame)->writeback = false;
	sim_note("page %u: storage has %u", page, sim->frame[frame].data.value);
	sim_put(frame);
}

/*
 * folio_clear_dirty_for_io(): under the folio lock first all entries are made clean, then the dirty bit goes; a fault that
 * wants to make the page writable waits for the folio lock. What a device writes by an entry that it should have lost is not
 * announced by anybody afterwards: it stays in a page that counts as clean (R4).
 */
int lab_cpu_writeback(uint32_t page)
{
	uint32_t file;
	uint16_t frame;

	if (!sim_range_ok(page, 1))
		return -EINVAL;
	sim_enter("writeback(%u)", page);
	file = sim->page[page].mapped ? sim->page[page].file : page;
	frame = lock_cached(file);
	if (!frame)
		return sim_leave(0);
	for (uint32_t i = 0; i < LAB_PAGES; i++) {
		if (sim->page[i].mapped && sim->page[i].kind == LAB_FILE_SHARED && sim->page[i].file == file)
			make_clean(i, frame);
	}
	SIM_STEP(page, "clear the dirty bit");
	if (!sim->frame[frame].dirty) {
		sim_unlock_folio(frame);
		return sim_leave(0);
	}
	sim_frame_w(frame)->dirty = false;
	sim_frame_w(frame)->writeback = true;
	sim_get(frame);
	sim_unlock_folio(frame);
	write_out(page, file, frame);
	return sim_leave(0);
}

/* The page cache lets go of the page, whoever holds references to it. */
static void remove_cached(uint32_t page, uint32_t file)
{
	uint16_t frame = lock_cached(file);

	if (!frame)
		return;
	SIM_STEP(page, "remove the page from the page cache");
	sim_file_w(file)->frame = 0;
	sim_frame_w(frame)->dirty = false;
	sim_note("page %u: frame %u is not the file's any more", page, frame);
	sim_put(frame);
	sim_unlock_folio(frame);
}

static void truncate_one(uint32_t page)
{
	uint32_t file = sim->page[page].mapped ? sim->page[page].file : page;

	SIM_STEP(page, "shorten the file");
	sim_file_w(file)->cut = true;
	sim_file_w(file)->storage = (struct sim_data){.value = 0};
	/* unmap_mapping_range(), private copies included. */
	for (uint32_t i = 0; i < LAB_PAGES; i++) {
		if (sim->page[i].mapped && sim->page[i].kind != LAB_ANON && sim->page[i].file == file)
			sim_zap(i, 1, UHMM_EVENT_CLEAR);
	}
	remove_cached(page, file);
}

/* ftruncate() to nothing of the files behind these pages. Accesses fail from then on, until mmap() makes them long again. */
int lab_cpu_truncate(uint32_t page, uint32_t count)
{
	if (!sim_range_ok(page, count))
		return -EINVAL;
	sim_enter("truncate(%u, %u)", page, count);
	for (uint32_t i = page; i < page + count; i++)
		truncate_one(i);
	return sim_leave(0);
}
