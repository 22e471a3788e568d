/* SPDX-License-Identifier: MIT */
/* frames.c: frames of memory, their references, and the page-table entries that name them. */
#include <stdio.h>

#include "lab/simmm/sim.h"

const char *sim_name(uint32_t frame, char buffer[20])
{
	if (frame == 0)
		return "none";
	if (frame == SIM_ZERO)
		return "the zero page";
	snprintf(buffer, 20, "frame %u", frame);
	return buffer;
}

/* The highest number, or the one freed last, for scenarios in which somebody else's data turns up under an old name. */
static uint16_t take_number(void)
{
	if (sim->reuse && sim->now.reusable)
		return sim->free_frames[--sim->now.reusable];
	if (sim->now.frames + 1u >= SIM_ZERO)
		lab_lost(5, "more than %u frames were needed", SIM_FRAMES);
	return ++sim->now.frames;
}

uint16_t sim_frame_copy(uint16_t of)
{
	uint16_t frame = take_number();
	struct sim_frame *f = sim_frame_w(frame);

	*f = (struct sim_frame){.anon = true, .generation = lab_generation};
	if (of)
		f->data = sim->frame[of].data;
	return frame;
}

uint16_t sim_frame_new(void)
{
	uint16_t frame = sim_frame_copy(0);

	if (sim->now.memories + 1u >= SIM_FRAMES)
		lab_lost(5, "more than %u memories were needed", SIM_FRAMES);
	sim_frame_w(frame)->data.memory = ++sim->now.memories;
	return frame;
}

static void give_number(uint16_t frame)
{
	if (sim->reuse) {
		lab_arena_dirty(&sim->free_frames[sim->now.reusable], sizeof(*sim->free_frames));
		sim->free_frames[sim->now.reusable++] = frame;
	}
}

void sim_frame_undo(uint16_t frame)
{
	if (frame == sim->now.frames)
		sim->now.frames--;
	else
		give_number(frame);
}

struct sim_file *sim_file_w(uint32_t file)
{
	lab_arena_dirty(&sim->file[file], sizeof(sim->file[file]));
	return &sim->file[file];
}

uint16_t sim_count_write(uint16_t memory, bool device)
{
	struct sim_writes *writes = &sim->memory[memory];

	lab_arena_dirty(writes, sizeof(*writes));
	return device ? ++writes->dev : ++writes->cpu;
}

/* The zero page is never freed; its references are not counted, as nobody waits for them. */
void sim_get(uint16_t frame)
{
	if (frame != SIM_ZERO)
		sim_frame_w(frame)->refs++;
}

bool sim_try_get(uint16_t frame)
{
	if (frame == SIM_ZERO)
		return true;
	if (sim->frame[frame].frozen || sim->frame[frame].refs == 0)
		return false;
	sim_get(frame);
	return true;
}

void sim_put(uint16_t frame)
{
	struct sim_frame *f;

	if (frame == SIM_ZERO)
		return;
	f = sim_frame_w(frame);
	if (f->refs == 0)
		lab_lost(8, "a reference to frame %u is dropped that nobody holds", frame);
	if (--f->refs > 0)
		return;
	sim_note("frame %u is free", frame);
	give_number(frame);
}

struct sim_pte *sim_pte(uint32_t table, uint32_t page)
{
	struct sim_pte *pte;

	if (table == 0)
		return &sim->page[page].pte;
	pte = &sim->child[table - 1][page];
	lab_arena_dirty(pte, sizeof(*pte));
	return pte;
}

static void set(uint32_t table, uint32_t page, uint16_t frame, uint32_t flags)
{
	struct sim_pte *pte = sim_pte(table, page);

	pte->frame = frame;
	pte->state = sim->frame[frame].vram ? SIM_DEVICE : SIM_PRESENT;
	pte->flags = (uint8_t)flags;
	if (frame != SIM_ZERO) {
		struct sim_frame *f = sim_frame_w(frame);

		f->maps++;
		f->refs++;
		if (table == 0) {
			f->gone = 0;
			f->page = (uint8_t)page;
		}
	}
}

/* The hardware's dirty bit is handed to the frame, whoever drops the entry. */
static void unmap_frame(uint32_t table, uint32_t page, uint16_t frame, uint8_t flags)
{
	struct sim_frame *f;

	if (table == 0)
		sim_changing(page);
	if (frame == SIM_ZERO)
		return;
	f = sim_frame_w(frame);
	f->maps--;
	if (flags & SIM_DIRTY)
		f->lazy = false;
	if (flags & SIM_DIRTY && !f->anon)
		f->dirty = true;
	if (table == 0)
		f->gone = sim->now.starts;
}

static uint16_t clear(uint32_t table, uint32_t page)
{
	struct sim_pte *pte = sim_pte(table, page);
	struct sim_pte old = *pte;

	pte->state = SIM_NONE;
	pte->frame = 0;
	pte->flags = 0;
	/* A swap entry goes with its slot; one that still is in the swap cache lets go of the frame there. */
	if (old.state == SIM_SWAP && old.frame)
		sim_put(old.frame);
	if (old.state != SIM_PRESENT && old.state != SIM_DEVICE)
		return 0;
	unmap_frame(table, page, old.frame, old.flags);
	return old.frame;
}

static void tell(uint32_t page, uint16_t from, uint16_t to, uint32_t flags)
{
	char old[20], new[20];

	sim_note("page %u: %s -> %s%s", page, sim_name(from, old), sim_name(to, new), flags & SIM_WRITE ? ", writable" : "");
}

void sim_pte_set(uint32_t table, uint32_t page, uint16_t frame, uint32_t flags)
{
	set(table, page, frame, flags);
	if (table == 0)
		tell(page, 0, frame, flags);
}

uint16_t sim_pte_clear(uint32_t table, uint32_t page)
{
	uint16_t frame = clear(table, page);

	if (table == 0 && frame)
		tell(page, frame, 0, 0);
	return frame;
}

uint16_t sim_pte_exchange(uint32_t page, uint16_t frame, uint32_t flags)
{
	uint16_t old = clear(0, page);

	set(0, page, frame, flags);
	tell(page, old, frame, flags);
	return old;
}

void sim_write_protect(uint32_t page)
{
	struct sim_page *p = &sim->page[page];

	if (p->pte.flags & SIM_WRITE) {
		p->pte.flags &= (uint8_t)~SIM_WRITE;
		p->protected_at = sim_changing(page);
		sim_note("page %u: write-protected", page);
	}
}

uint16_t sim_cache(uint32_t page, uint32_t file)
{
	struct sim_file *f = sim_file_w(file);
	struct sim_frame *frame;

	if (f->frame)
		return f->frame;
	if (f->storage.memory) {
		f->frame = sim_frame_copy(0);
	} else {
		/* The file's first page in memory; what is written to it is this memory wherever it is copied to. */
		f->frame = sim_frame_new();
		f->storage.memory = sim->frame[f->frame].data.memory;
	}
	frame = sim_frame_w(f->frame);
	frame->data = f->storage;
	frame->anon = false;
	frame->refs = 1;
	frame->page = (uint8_t)page;
	sim_note("page %u: read into frame %u", page, f->frame);
	return f->frame;
}
