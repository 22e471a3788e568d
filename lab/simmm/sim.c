/* SPDX-License-Identifier: MIT */
/* sim.c: the machine as a whole: set-up, steps, locks, what can be asked of it. */
#include "lab/simmm/sim.h"
#include <string.h>

#include "lab/memory_inside.h"

struct sim *sim;
enum lab_sim_fault sim_wrong;

static void *allocate(size_t size)
{
	void *p = lab_alloc(size, 64);

	if (!p)
		lab_lost(8, "the arena has no room for the simulated machine");
	return p;
}

static void make_devices(uint32_t count, size_t state_size, struct lab_device *devices[])
{
	sim->devices = count;
	for (uint32_t i = 0; i < count; i++) {
		sim->device[i] = (struct lab_device){.index = i, .state = allocate(state_size ? state_size : 1)};
		devices[i] = &sim->device[i];
	}
}

void lab_sim_setup(const struct lab_config *config, uint32_t count, size_t state_size, struct lab_device *devices[])
{
	sim = allocate(sizeof(*sim));
	sim->child = allocate(sizeof(*sim->child) * (SIM_TABLES - 1));
	sim->file = allocate(sizeof(*sim->file) * LAB_PAGES);
	sim->frame = allocate(sizeof(*sim->frame) * SIM_FRAMES);
	sim->memory = allocate(sizeof(*sim->memory) * SIM_FRAMES);
	sim->folio_lock = allocate(sizeof(*sim->folio_lock) * SIM_FRAMES);
	sim->free_frames = allocate(sizeof(*sim->free_frames) * SIM_FRAMES);
	sim->last_listener = &sim->listeners;
	sim_frame_w(SIM_ZERO)->refs = 1;
	make_devices(count, state_size, devices);
	sim_wrong = LAB_SIM_RIGHT;
	lab_after_step = sim_check;
	if (config->scenario && config->scenario->reuse_frames) {
		sim->reuse = true;
		sim_alias();
	}
}

/* The word counts as shared as soon as two fibers have written it; nobody else ever publishes it. */
void sim_alias(void)
{
	const struct lab_op op = {LAB_OP_STEP, true, &sim->aliased, NULL};

	lab_op_visible(1, &op);
	lab_op_visible(2, &op);
}

static bool aliased(void)
{
	uintptr_t at = (uintptr_t)&sim->aliased;

	return lab_word_is_shared(lab_index_of_word(&sim->aliased), at >> 2 & 1u);
}

void sim_step(uint32_t page, bool write, const struct lab_site *site)
{
	const struct lab_op op = {LAB_OP_STEP, write, &sim->page[aliased() ? 0 : page], site};

	lab_point(&op);
	sim_now_w();
	sim_touch(page);
}

void sim_touch(uint32_t page)
{
	struct sim_page *p = &sim->page[page];

	sim->now.touched |= sim_bits(page, 1);
	if (p->generation != lab_generation) {
		lab_arena_dirty(p, sizeof(*p));
		p->generation = lab_generation;
	}
}

struct sim_now *sim_now_w(void)
{
	if (sim->now.generation != lab_generation) {
		lab_arena_dirty(&sim->now, sizeof(sim->now));
		sim->now.generation = lab_generation;
	}
	return &sim->now;
}

void sim_lock_mm(void)
{
	lab_mem_lock(&sim->mmap_lock, LAB_SITE("mmap_lock, for writing"));
}

void sim_unlock_mm(void)
{
	lab_mem_unlock(&sim->mmap_lock, LAB_SITE("unlock mmap_lock"));
}

void sim_read_lock_mm(void)
{
	lab_mem_lock_shared(&sim->mmap_lock, LAB_SITE("mmap_lock, for reading"));
}

void sim_read_unlock_mm(void)
{
	lab_mem_unlock_shared(&sim->mmap_lock, LAB_SITE("unlock mmap_lock, for reading"));
}

void sim_lock_folio(uint16_t frame)
{
	lab_mem_lock(&sim->folio_lock[frame], LAB_SITE("folio lock"));
}

void sim_unlock_folio(uint16_t frame)
{
	lab_mem_unlock(&sim->folio_lock[frame], LAB_SITE("unlock folio"));
}

int sim_leave(int result)
{
	if (lab_telling) {
		if (result)
			lab_note("= -%s", strerrorname_np(-result));
		lab_call_leave();
	}
	return result;
}

bool sim_range_ok(uint32_t page, uint32_t count)
{
	return count > 0 && page < LAB_PAGES && count <= LAB_PAGES - page;
}

void lab_sim_break(enum lab_sim_fault fault)
{
	sim_wrong = fault;
}

/* ---- what can be asked ---- */

bool lab_sim_mapping(uint32_t page, enum lab_kind *kind, uint32_t *prot)
{
	const struct sim_page *p = &sim->page[page];

	if (page >= LAB_PAGES || !p->mapped)
		return false;
	*kind = (enum lab_kind)p->kind;
	*prot = p->prot;
	return true;
}

lab_frame lab_sim_frame(uint32_t page, uint32_t *access)
{
	const struct sim_pte *pte = &sim->page[page].pte;

	if (access)
		*access = pte->state == SIM_PRESENT ? pte->flags & (LAB_READ | LAB_WRITE) : 0;
	return pte->state == SIM_PRESENT ? pte->frame : 0;
}

bool lab_sim_is_zero(lab_frame frame)
{
	return frame == SIM_ZERO;
}

uint32_t lab_sim_refs(lab_frame frame)
{
	return sim->frame[frame].refs;
}

uint32_t lab_sim_pins(lab_frame frame)
{
	return sim->frame[frame].pins;
}

uint32_t lab_sim_storage(uint32_t page)
{
	return sim->file[sim->page[page].file].storage.value;
}

int lab_sim_child_value(uint32_t page, uint32_t *value)
{
	const struct sim_pte *pte = &sim->child[0][page];

	if (!sim->now.children || pte->state == SIM_NONE)
		return -EFAULT;
	*value = pte->state == SIM_SWAP && !pte->frame ? pte->swap.value : sim->frame[pte->frame].data.value;
	return 0;
}

const struct sim_data *sim_reachable(uint32_t page)
{
	const struct sim_page *p = &sim->page[page];

	if (p->pte.state == SIM_SWAP && !p->pte.frame)
		return &p->pte.swap;
	if (p->pte.state != SIM_NONE)
		return &sim->frame[p->pte.frame].data;
	if (p->mapped && p->kind != LAB_ANON && !sim->file[p->file].cut)
		return sim->file[p->file].frame ? &sim->frame[sim->file[p->file].frame].data : &sim->file[p->file].storage;
	return NULL;
}

uint32_t lab_sim_value(uint32_t page)
{
	const struct sim_data *data = sim_reachable(page);

	return data ? data->value : 0;
}

/* ---- the digest ---- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
	hash = (hash ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return hash ^ (hash >> 29);
}

/* The first page whose entry names this frame, LAB_PAGES if none: a name that does not depend on the order of allocation. */
static uint32_t first_page(uint16_t frame)
{
	uint32_t page = 0;

	while (page < LAB_PAGES && !(sim->page[page].pte.state == SIM_PRESENT && sim->page[page].pte.frame == frame))
		page++;
	return page;
}

static uint64_t digest_page(uint64_t hash, uint32_t page)
{
	const struct sim_page *p = &sim->page[page];
	const struct sim_data *data = sim_reachable(page);

	hash = mix(hash, (uint64_t)p->mapped | (uint64_t)p->kind << 8 | (uint64_t)p->prot << 16 | (uint64_t)p->pte.state << 24 |
				 (uint64_t)p->pte.flags << 32 | (uint64_t)p->owner << 40);
	hash = mix(hash, data ? data->value : UINT64_MAX);
	if (p->pte.state == SIM_PRESENT) {
		const struct sim_frame *f = &sim->frame[p->pte.frame];

		hash = mix(hash, first_page(p->pte.frame) | (uint64_t)f->pins << 16);
		if (p->pte.frame != SIM_ZERO)
			hash = mix(hash,
				   f->refs | (uint64_t)f->maps << 16 | (uint64_t)f->dirty << 32 | (uint64_t)f->exclusive << 33);
	}
	for (uint32_t d = 0; d < sim->devices; d++) {
		const struct sim_entry *e = &sim->page[page].entry[d];

		hash = mix(hash, e->frame ? e->access | (uint64_t)(e->frame == p->pte.frame) << 8 | 1u << 9 : 0);
	}
	return hash;
}

uint64_t lab_sim_digest(void)
{
	uint64_t hash = UINT64_C(0x243f6a8885a308d3);
	uint64_t references = 0;

	for (uint32_t page = 0; page < LAB_PAGES; page++) {
		const struct sim_file *file = &sim->file[page];

		if (!sim->page[page].known)
			continue;
		hash = digest_page(hash, page);
		hash = mix(hash, file->storage.value | (uint64_t)file->cut << 32 | (uint64_t)(file->frame != 0) << 33);
		if (file->frame)
			hash = mix(hash, sim->frame[file->frame].data.value);
	}
	for (uint32_t f = 1; f <= sim->now.frames; f++)
		references += sim->frame[f].refs;
	return mix(hash, references);
}

static uint64_t mix_bytes(uint64_t hash, const void *from, size_t size)
{
	const unsigned char *byte = from;

	while (size-- > 0)
		hash = mix(hash, *byte++);
	return hash;
}

uint64_t lab_sim_memory_hash(void)
{
	struct sim_now now = sim->now;
	uint64_t hash;

	/* When the arena was last told differs, and means nothing. */
	now.generation = 0;
	hash = mix_bytes(0, &now, sizeof(now));
	for (uint32_t i = 0; i < LAB_PAGES; i++) {
		struct sim_page page = sim->page[i];

		page.generation = 0;
		hash = mix_bytes(hash, &page, sizeof(page));
	}
	for (uint32_t i = 0; i < SIM_FRAMES; i++) {
		struct sim_frame frame = sim->frame[i];

		frame.generation = 0;
		hash = mix_bytes(hash, &frame, sizeof(frame));
	}
	hash = mix_bytes(hash, &sim->mmap_lock, sizeof(*sim) - offsetof(struct sim, mmap_lock));
	hash = mix_bytes(hash, sim->child, sizeof(*sim->child) * (SIM_TABLES - 1));
	hash = mix_bytes(hash, sim->file, sizeof(*sim->file) * LAB_PAGES);
	hash = mix_bytes(hash, sim->memory, sizeof(*sim->memory) * SIM_FRAMES);
	hash = mix_bytes(hash, sim->folio_lock, sizeof(*sim->folio_lock) * SIM_FRAMES);
	return mix_bytes(hash, sim->free_frames, sizeof(*sim->free_frames) * SIM_FRAMES);
}
