/* SPDX-License-Identifier: MIT */
#include "lab/models/vram.h"

#include "lab/engine.h"
#include "lab/search.h"

struct vram {
	uint32_t page;
	struct vram_watcher *watcher;     /* NULL: nobody asks to be called */
	struct uhmm_a32 where;            /* the slot of the page */
	struct uhmm_a32 word[VRAM_SLOTS]; /* what is in each */
};

static struct vram *vram; /* of the configuration that was set up last */

void vram_begin(uint32_t page, uint32_t value)
{
	vram = lab_alloc_zeroed(sizeof(*vram));
	vram->page = page;
	lab_store_relaxed(&vram->word[0], value);
}

uint32_t vram_where(uint32_t page)
{
	return page == vram->page ? lab_load_acquire(&vram->where) : UINT32_MAX;
}

void vram_load(struct lab_device *d, uint32_t page, uint32_t slot, uint32_t *value)
{
	*value = lab_load_acquire(&vram->word[slot]);
	if (lab_telling)
		lab_note("device %u, page %u: slot %u of device memory is %u", lab_device_index(d), page, slot, *value);
	if (*value == VRAM_NEXT)
		lab_lost(2, "device %u reads %u by page %u in slot %u of device memory: it has moved, that is somebody else's",
			 lab_device_index(d), *value, page, slot);
}

void vram_watch(struct vram_watcher *w)
{
	vram->watcher = w;
}

void vram_move(uint32_t page)
{
	uint32_t from = vram_where(page), to = (from + 1) % VRAM_SLOTS;

	if (vram->watcher)
		vram->watcher->start(vram->watcher, page);
	if (lab_telling)
		lab_call_enter("device memory: move page %u from slot %u to slot %u", page, from, to);
	lab_store_release(&vram->word[to], lab_load_acquire(&vram->word[from]));
	lab_store_release(&vram->where, to);
	lab_store_release(&vram->word[from], VRAM_NEXT);
	if (lab_telling)
		lab_call_leave();
	if (vram->watcher)
		vram->watcher->end(vram->watcher, page);
}
