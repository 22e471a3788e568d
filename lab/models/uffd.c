/* SPDX-License-Identifier: MIT */
#include "lab/models/uffd.h"

#include "lab/engine.h"
#include "lab/process.h"
#include "lab/search.h"

/* One event at a time: as in the kernel, each caller sleeps until its own has been read. */
struct uffd {
	struct lab_lock callers;
	struct uhmm_a32 posted, taken; /* 1: there is an event; it has been read */
	struct uhmm_a32 closed;
	struct lab_uffd_event event;   /* passed on with them */
};

static struct uffd *uffd; /* of the configuration that was set up last */

static const char *const names[] = {"UNMAP", "REMAP", "REMOVE"};

static void report(const struct lab_uffd_event *e)
{
	lab_lock(&uffd->callers);
	if (!lab_load_acquire(&uffd->closed)) {
		uffd->event = *e;
		if (lab_telling)
			lab_note("userfaultfd: %s of page %u is posted", names[e->kind], e->page);
		lab_store_release(&uffd->posted, 1);
		lab_await(&uffd->taken, 1);
		lab_store_relaxed(&uffd->taken, 0);
	}
	lab_unlock(&uffd->callers);
}

static void changes(enum process_change change, uint32_t page, uint32_t count, uint32_t to)
{
	static const enum lab_uffd_kind kinds[] = {
		[PROCESS_UNMAPS] = LAB_UFFD_UNMAP, [PROCESS_REMAPS] = LAB_UFFD_REMAP, [PROCESS_DISCARDS] = LAB_UFFD_REMOVE};
	const struct lab_uffd_event event = {.kind = kinds[change], .page = page, .count = count, .to = to};

	report(&event);
}

void lab_uffd_watch(void (*reader)(void *arg), void *arg)
{
	uffd = lab_alloc_zeroed(sizeof(*uffd));
	process_on_change = changes;
	lab_spawn_daemon("reader", reader, arg);
}

void lab_uffd_poll(void)
{
	lab_await(&uffd->posted, 1);
}

struct lab_uffd_event lab_uffd_read(void)
{
	struct lab_uffd_event e;

	lab_uffd_poll();
	e = uffd->event;
	if (lab_telling)
		lab_note("userfaultfd: %s of page %u is read", names[e.kind], e.page);
	lab_store_relaxed(&uffd->posted, 0);
	lab_store_release(&uffd->taken, 1);
	return e;
}

void lab_uffd_close(void)
{
	lab_store_release(&uffd->closed, 1);
	if (lab_load_acquire(&uffd->posted))
		lab_uffd_read();
}
