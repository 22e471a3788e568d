/* SPDX-License-Identifier: MIT */
/*
 * uffd_watch.c: whole mappings are put on the kernel's list when a notifier is to cover part of them, and never split.
 *
 * A mapping may change between the look and the registration, and what is not registered sends no event. So there is a
 * second look: once the kernel has agreed, a mapping that has the whole range is registered as a whole, because a neighbour
 * that is not cannot be part of it; and from then on every change of it raises the epoch before anybody can rely on the
 * list.
 *
 * For three calls the kernel sends no event: shmat(SHM_REMAP), shmdt and remap_file_pages. The list goes on saying that the
 * place is watched, and what is mapped there next is not. So the list is not asked where that matters, but the kernel is: a
 * registration again of what is registered already changes nothing there, and that of what is not makes the list true.
 *
 *	somebody                                 watcher, later
 *	shmdt(a): gone, and no event
 *	mmap() gives a out again                 [a, b) is in the list
 *	                                         looks, registers what there is now, looks again
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/stat.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "monitors/proc.h"
#include "monitors/uffd_inside.h"
#include "port/linux_new.h"
#include "port/mm.h"

#define TRIES 8u

/* ---- kinds ---- */

#define DEVICES 16u
#define DEVICE_MEMORY (UINT64_C(1) << 63)

/* File systems seen so far, by device number, with DEVICE_MEMORY if they keep their files in memory. 0: free. */
static struct uhmm_a64 devices[DEVICES];

static void remember(uint64_t dev, bool memory)
{
	for (uint32_t i = 0; i < DEVICES; i++)
		if (a64_cas_full(&devices[i], 0, dev | (memory ? DEVICE_MEMORY : 0)))
			return;
}

static void remember_memfd(unsigned flags)
{
	long fd = port_syscall(SYS_memfd_create, (long)(uintptr_t)"uhmm", (long)(MFD_CLOEXEC | flags), 0, 0, 0, 0);
	struct statx x;

	if (fd < 0)
		return;
	if (port_syscall(SYS_statx, fd, (long)(uintptr_t)"", AT_EMPTY_PATH, STATX_BASIC_STATS, (long)(uintptr_t)&x, 0) == 0)
		remember(makedev(x.stx_dev_major, x.stx_dev_minor), true);
	port_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* The kernel's own file systems, which are mounted nowhere: of memfds, shared anonymous memory and System V segments. */
void uffd_watch_init(void)
{
	if (a64_load_relaxed(&devices[0]))
		return;
	remember_memfd(0);
	remember_memfd(MFD_HUGETLB);
}

static bool is_memory(uint64_t dev)
{
	bool memory;

	for (uint32_t i = 0; i < DEVICES; i++)
		if ((a64_load_relaxed(&devices[i]) & ~DEVICE_MEMORY) == dev)
			return a64_load_relaxed(&devices[i]) & DEVICE_MEMORY;
	memory = proc_device_is_memory(dev);
	remember(dev, memory);
	return memory;
}

/* ---- one mapping ---- */

/* The first mapping that ends above addr. */
static int look(uintptr_t addr, struct proc_mapping *m)
{
	struct procmap_query q = {
		.size = sizeof(q), .query_flags = PROCMAP_QUERY_COVERING_OR_NEXT_VMA, .query_addr = addr};
	long err;

	if (uffd.maps < 0)
		return proc_mapping_find(addr, m, NULL, 0);
	err = port_syscall(SYS_ioctl, uffd.maps, PROCMAP_QUERY, (long)(uintptr_t)&q, 0, 0, 0);
	if (err)
		return (int)err;
	*m = (struct proc_mapping){.start = (uintptr_t)q.vma_start,
				   .end = (uintptr_t)q.vma_end,
				   .inode = q.inode,
				   .dev = makedev(q.dev_major, q.dev_minor)};
	return 0;
}

static bool is_wanted(const struct proc_mapping *m, bool files)
{
	return !m->inode || files || is_memory(m->dev);
}

/*
 * 0: m was whole and registered, and is in the list: where it was before (listed), or of which the epoch is still that.
 * -EAGAIN: something has changed.
 */
static int watch_mapping(const struct proc_mapping *m, uint64_t epoch, bool listed)
{
	struct proc_mapping now;
	uint32_t left;
	int err = uffd_watch(uffd_fd(), m->start, m->end);

	if (err)
		return err;
	if (look(m->start, &now) != 0 || now.start > m->start || now.end < m->end)
		return -EAGAIN;
	if (listed)
		/* Others' events raise the epoch, but what has changed here is not in the list any more. */
		return watchset_covers(&uffd.set, m->start, m->end) ? 0 : -EAGAIN;
	if (!watchset_add(&uffd.set, m->start, m->end, epoch))
		return -EAGAIN;
	left = a32_load_relaxed(&uffd.left); /* once: below zero it would be all there can be */
	if (left)
		a32_store_relaxed(&uffd.left, left - 1); /* about */
	return 0;
}

/* Nothing is watched there, whatever the list says. */
static void correct(uintptr_t start, uintptr_t end)
{
	if (start < end && watchset_any(&uffd.set, start, end))
		watchset_forget(&uffd.set, start, end);
}

static int visit(const struct proc_mapping *m, uint64_t epoch, bool files, bool trust)
{
	bool listed = watchset_covers(&uffd.set, m->start, m->end);
	int err;

	if (listed && trust)
		return 0;
	err = is_wanted(m, files) ? watch_mapping(m, epoch, listed) : -EINVAL;
	if (err && err != -EAGAIN)
		correct(m->start, m->end);
	return err;
}

static int watch_once(uintptr_t start, uintptr_t end, bool files, bool trust)
{
	uint64_t epoch = watchset_epoch(&uffd.set);
	int err, failed = 0;

	for (uintptr_t at = start; at < end;) {
		struct proc_mapping m;

		err = look(at, &m);
		if (err || m.start >= end) {
			correct(at, end);
			return -ENOENT;
		}
		if (m.start > at) {
			correct(at, m.start);
			failed = -ENOENT; /* a hole; what comes behind it is watched all the same */
		}
		at = m.end;
		err = visit(&m, epoch, files, trust);
		if (err == -EAGAIN)
			return err;
		failed = err ? err : failed;
	}
	return failed;
}

bool uffd_watch_range(uintptr_t start, uintptr_t end, bool files, bool trust)
{
	int err = -EAGAIN;

	start = mm_page_floor(start);
	end = mm_page_ceil(end);
	if (trust && watchset_covers(&uffd.set, start, end))
		return uffd_runs();
	for (uint32_t i = 0; i < TRIES && err == -EAGAIN && uffd_ready(); i++)
		err = watch_once(start, end, files, trust);
	return !err && uffd_runs();
}
