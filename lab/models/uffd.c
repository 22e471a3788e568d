/* SPDX-License-Identifier: MIT */
#include "lab/models/uffd.h"

#include "lab/engine.h"
#include "lab/process.h"
#include "lab/search.h"

/* One event at a time: as in the kernel, each caller sleeps until its own has been read. */
struct uffd {
	struct lab_lock callers;
	struct uhmm_a32 posted, taken; /* 1: there is an event; it has been read */
	uint32_t page, count;          /* passed on with them */
	bool remove;
};

static struct uffd *uffd; /* of the configuration that was set up last */

static void report(uint32_t page, uint32_t count, bool remove)
{
	lab_lock(&uffd->callers);
	uffd->page = page;
	uffd->count = count;
	uffd->remove = remove;
	if (lab_telling)
		lab_note("userfaultfd: %s of page %u is posted", remove ? "REMOVE" : "UNMAP", page);
	lab_store_release(&uffd->posted, 1);
	lab_await(&uffd->taken, 1);
	lab_store_relaxed(&uffd->taken, 0);
	lab_unlock(&uffd->callers);
}

static long call(enum process_entry entry, long a, long b, long c, long d, long e, long f)
{
	bool before = entry == PROCESS_MADVISE;
	uint32_t page, count;
	bool any = process_range(entry, a, b, c, d, &page, &count);
	long result;

	if (any && before)
		report(page, count, true);
	result = process_original(entry, a, b, c, d, e, f);
	if (any && !before)
		report(page, count, false);
	return result;
}

static long on_munmap(long a, long b, long c, long d, long e, long f)
{
	return call(PROCESS_MUNMAP, a, b, c, d, e, f);
}

static long on_madvise(long a, long b, long c, long d, long e, long f)
{
	return call(PROCESS_MADVISE, a, b, c, d, e, f);
}

void uffd_watch(void (*reader)(void *arg), void *arg)
{
	uffd = lab_alloc_zeroed(sizeof(*uffd));
	process_patch(PROCESS_MUNMAP, on_munmap);
	process_patch(PROCESS_MADVISE, on_madvise);
	lab_spawn_daemon("reader", reader, arg);
}

void uffd_poll(void)
{
	lab_await(&uffd->posted, 1);
}

void uffd_read(uint32_t *page, uint32_t *count)
{
	uffd_poll();
	*page = uffd->page;
	*count = uffd->count;
	if (lab_telling)
		lab_note("userfaultfd: %s of page %u is read", uffd->remove ? "REMOVE" : "UNMAP", *page);
	lab_store_relaxed(&uffd->posted, 0);
	lab_store_release(&uffd->taken, 1);
}
