/* SPDX-License-Identifier: MIT */
/* gup.c: get_user_pages() and pin_user_pages(): the lockless way first, then the one by faults. */
#include "lab/simmm/sim.h"

enum { PIN = 16 }; /* beside the access */

/*
 * gup_must_unshare(): a pin must be on a page that is the process's own, or a later copy on write takes the process elsewhere
 * and leaves the device on the page that it had.
 */
static bool must_unshare(uint16_t frame, uint32_t how)
{
	return how & PIN && !(how & LAB_WRITE) && !sim->frame[frame].exclusive;
}

static bool usable(uint32_t page, uint32_t how)
{
	const struct sim_page *p = &sim->page[page];

	if (!sim_pte_allows(&p->pte, how & (LAB_READ | LAB_WRITE)))
		return false;
	return p->kind == LAB_FILE_SHARED || !must_unshare(p->pte.frame, how);
}

static void take(uint16_t frame, uint32_t how)
{
	sim_frame_w(frame)->pins = (uint16_t)(sim->frame[frame].pins + (how & PIN ? 1 : 0));
}

static void give(uint16_t frame, uint32_t how)
{
	if (how & PIN && frame != SIM_ZERO)
		sim_frame_w(frame)->pins--;
	sim_put(frame);
}

/*
 * gup_fast(): no lock, so three steps, between which anything may happen:
 *
 *	read the entry
 *	take a reference, unless the frame is on its way out
 *	is the entry still the same? and, for a pin, has no fork write-protected meanwhile?
 */
static bool get_fast(uint32_t page, uint32_t how, uint16_t *frame)
{
	uint16_t forks = sim->now.forks;
	bool good;

	SIM_LOOK(page, "read the page-table entry");
	if ((how & PIN && forks & 1u) || !usable(page, how))
		return false;
	*frame = sim->page[page].pte.frame;
	SIM_STEP(page, "take a reference");
	if (!sim_try_get(*frame))
		return false;
	if (*frame != SIM_ZERO)
		take(*frame, how);
	SIM_STEP(page, "is the entry still the same?");
	good = sim->page[page].pte.frame == *frame && usable(page, how) && (!(how & PIN) || sim->now.forks == forks);
	if (!good)
		give(*frame, how);
	return good;
}

/* follow_page(): under the page table lock, so in one step; the mapping cannot go meanwhile. */
static int get_slow(uint32_t page, uint32_t how, uint16_t *frame)
{
	const struct sim_page *p = &sim->page[page];
	uint32_t access = how & (LAB_READ | LAB_WRITE);

	for (;;) {
		int err = sim_fault(page, access | (how & PIN && p->kind != LAB_FILE_SHARED ? SIM_FAULT_UNSHARE : 0));

		if (err)
			return err;
		sim_read_lock_mm();
		SIM_STEP(page, "look the page up, take a reference");
		if (p->mapped && usable(page, how)) {
			*frame = p->pte.frame;
			sim_get(*frame);
			if (*frame != SIM_ZERO)
				take(*frame, how);
			sim_read_unlock_mm();
			return 0;
		}
		sim_read_unlock_mm();
	}
}

static int get(struct lab_device *d, uint32_t page, uint32_t how, lab_frame *frame)
{
	char name[20];
	uint16_t got;
	int err;

	if (page >= LAB_PAGES)
		return -EFAULT;
	if (!(how & LAB_WRITE))
		how |= LAB_READ;
	sim_enter("%s(%u, %s)", how & PIN ? "pin" : "grab", page, how & LAB_WRITE ? "write" : "read");
	err = get_fast(page, how, &got) ? 0 : get_slow(page, how, &got);
	if (!err) {
		lab_arena_dirty(frame, sizeof(*frame));
		*frame = got;
		sim_note("device %u has %s", d->index, sim_name(got, name));
	}
	return sim_leave(err);
}

int lab_grab(struct lab_device *d, uint32_t page, uint32_t access, lab_frame *frame)
{
	return get(d, page, access & (LAB_READ | LAB_WRITE), frame);
}

int lab_pin(struct lab_device *d, uint32_t page, uint32_t access, lab_frame *frame)
{
	return get(d, page, (access & (LAB_READ | LAB_WRITE)) | PIN, frame);
}

void lab_put(struct lab_device *d, lab_frame frame)
{
	(void)d;
	SIM_STEP(sim->frame[frame].page, "drop the reference");
	give((uint16_t)frame, 0);
}

void lab_unpin(struct lab_device *d, lab_frame frame)
{
	(void)d;
	SIM_STEP(sim->frame[frame].page, "drop the pin");
	if (frame != SIM_ZERO && sim->frame[frame].pins == 0)
		lab_lost(8, "frame %u is unpinned and was not pinned", frame);
	give((uint16_t)frame, PIN);
}

void lab_mark_dirty(struct lab_device *d, lab_frame frame)
{
	(void)d;
	SIM_STEP(sim->frame[frame].page, "mark the page dirty");
	if (!sim->frame[frame].anon && frame != SIM_ZERO)
		sim_frame_w(frame)->dirty = true;
}
