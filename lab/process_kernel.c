/* SPDX-License-Identifier: MIT */
/* process_kernel.c: what the hooks ask the kernel and the dynamic linker, answered from the simulated machine. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "lab/memory.h"
#include "lab/port_lab.h"
#include "lab/process_state.h"
#include "lab/run.h"
#include "lab/simmm/simmm.h"
#include "monitors/hook_files.h"
#include "monitors/hook_text.h"
#include "monitors/patch.h"
#include "monitors/proc.h"
#include "monitors/uffd.h"
#include "port/mm.h"

long (*process_ring_register)(long fd, long opcode, long arg, long count);
void (*process_on_change)(enum process_change change, uint32_t page, uint32_t count, uint32_t to);

/* Program counters, as far as anybody asks: inside one of libc's functions, and not. */
#define PC_INSIDE ((uintptr_t)0x10000)
#define PC_OUTSIDE ((uintptr_t)0x20000)

uint32_t process_thread_id(void)
{
	return (uint32_t)port_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

/* ---- mapping calls ---- */

static bool is_mapped(uint32_t page)
{
	enum lab_kind kind;
	uint32_t prot;

	return lab_sim_mapping(page, &kind, &prot);
}

static bool pages_of(long addr, long len, uint32_t *page, uint32_t *count)
{
	uintptr_t at = (uintptr_t)addr;

	if (at < LAB_BASE || len <= 0 || at + (uintptr_t)len > LAB_BASE + LAB_PAGES * UINT64_C(4096))
		return false;
	*page = LAB_PAGE_OF(at);
	*count = (uint32_t)((len + 4095) / 4096);
	return true;
}

bool process_range(enum process_entry entry, long a, long b, long c, long d, uint32_t *page, uint32_t *count)
{
	if (entry == PROCESS_MMAP && !(d & MAP_FIXED))
		return false;
	(void)c;
	return pages_of(a, b, page, count);
}

static void tell(enum process_change change, uint32_t page, uint32_t count, uint32_t to)
{
	if (process_on_change)
		process_on_change(change, page, count, to);
}

static long map(uint32_t page, uint32_t count, long flags)
{
	bool replaces = false;

	for (uint32_t i = 0; i < count; i++)
		replaces |= is_mapped(page + i);
	if (replaces && !(flags & MAP_FIXED))
		return -EEXIST;
	if (lab_cpu_mmap(page, count, LAB_ANON, LAB_READ | LAB_WRITE))
		return -ENOMEM;
	if (replaces)
		tell(PROCESS_UNMAPS, page, count, 0);
	return (long)LAB_ADDR(page);
}

static long advise(uint32_t page, uint32_t count, long advice)
{
	if (advice == MADV_DONTNEED || advice == MADV_FREE)
		tell(PROCESS_DISCARDS, page, count, 0);
	if (advice == MADV_DONTNEED)
		return lab_cpu_dontneed(page, count);
	if (advice == MADV_FREE)
		return lab_cpu_madv_free(page, count);
	for (uint32_t i = page; i < page + count; i++) /* to populate them, and the like */
		if (!is_mapped(i))
			return -ENOMEM;
	return 0;
}

static long change(long number, const long *a)
{
	uint32_t page, count, to, to_count;
	int err;

	if (!pages_of(a[0], a[1], &page, &count))
		return number == SYS_madvise ? 0 : -ENOMEM; /* the library's own memory */
	switch (number) {
	case SYS_munmap:
		err = lab_cpu_munmap(page, count);
		if (!err)
			tell(PROCESS_UNMAPS, page, count, 0);
		return err;
	case SYS_mmap:
		return map(page, count, a[3]);
	case SYS_mremap:
		if (!pages_of(a[4], a[2], &to, &to_count))
			return -EINVAL;
		if (lab_cpu_mremap(page, count, to))
			return -EFAULT;
		tell(PROCESS_REMAPS, page, count, to);
		return a[4];
	case SYS_mprotect:
		return lab_cpu_mprotect(page, count, (uint32_t)a[2]);
	default:
		return advise(page, count, a[2]);
	}
}

/* In the call, /proc says which; out of it, the thread is where it was before. */
static long change_seen(long number, const long *a)
{
	struct process_thread *t = process_self();
	enum process_doing before = t ? t->doing : PROCESS_ELSEWHERE;
	long result;

	if (t)
		process_thread_is(t, PROCESS_IN_CALL, number);
	result = change(number, a);
	if (t)
		process_thread_is(t, before, 0);
	return result;
}

uint32_t process_threads(void)
{
	return process->threads;
}

bool process_is_discarding(uint32_t i)
{
	const struct process_thread *t = &process->thread[i];
	const struct lab_op op = {.kind = LAB_OP_STEP, .object = t, .site = LAB_SITE("/proc: what is the thread doing?")};

	lab_point(&op);
	return t->doing == PROCESS_IN_CALL && t->call == SYS_madvise;
}

/* ---- the others ---- */

static long uname_of(long at)
{
	static const struct utsname name = {.sysname = "Linux", .release = "6.8.0"};

	memcpy((void *)at, &name, sizeof(name));
	return 0;
}

long lab_syscall(long number, const long arg[6])
{
	uint32_t page, count;

	switch (number) {
	case SYS_munmap:
	case SYS_mmap:
	case SYS_mremap:
	case SYS_madvise:
	case SYS_mprotect:
		return change_seen(number, arg);
	case SYS_mincore:
		return pages_of(arg[0], arg[1], &page, &count) && is_mapped(page) ? 0 : -ENOMEM;
	case SYS_uname:
		return uname_of(arg[0]);
	case SYS_write: /* the library only ever writes what the program did wrong */
		lab_lost(8, "%.*s", (int)arg[2], (const char *)arg[1]);
		return arg[2];
	case SYS_io_uring_register:
		return process_ring_register ? process_ring_register(arg[0], arg[1], arg[2], arg[3]) : -ENOSYS;
	default:
		return -ENOSYS;
	}
}

/* ---- /proc ---- */

int proc_mapping_find(uintptr_t addr, struct proc_mapping *out, char *path, size_t path_size)
{
	uint32_t page = addr <= LAB_BASE ? 0 : LAB_PAGE_OF(addr), end;

	(void)path;
	(void)path_size;
	while (page < LAB_PAGES && !is_mapped(page))
		page++;
	if (page >= LAB_PAGES)
		return -ENOENT;
	for (end = page; end < LAB_PAGES && is_mapped(end); end++)
		;
	*out = (struct proc_mapping){.start = LAB_ADDR(page), .end = LAB_ADDR(end)};
	return 0;
}

bool proc_pidfd_is_self(int pidfd)
{
	(void)pidfd;
	return false;
}

static const struct process_thread *look_at(int tid)
{
	const struct process_thread *t = NULL;
	struct lab_op op = {.kind = LAB_OP_STEP, .site = LAB_SITE("/proc/self/task")};

	for (uint32_t i = 0; i < process->threads; i++)
		if (process->thread[i].id == (uint32_t)tid)
			t = &process->thread[i];
	op.object = t;
	if (t)
		lab_point(&op);
	return t;
}

/*
 * The kernel shows the call and the program counter of a thread that is off its processor, and "running" of one that is not:
 * both are possible at any time.
 */
struct proc_thread proc_thread_look(int tid)
{
	const struct process_thread *t = look_at(tid);

	if (!t || t->doing == PROCESS_EXITED)
		return (struct proc_thread){.doing = PROC_GONE};
	if (lab_choose(LAB_CHOICE_DATA, 2) == 1)
		return (struct proc_thread){.doing = PROC_RUNNING};
	if (t->doing == PROCESS_IN_CALL)
		return (struct proc_thread){.doing = PROC_IN_CALL, .call = t->call};
	return (struct proc_thread){.doing = PROC_STOPPED_IN_USER,
				    .pc = t->doing == PROCESS_IN_FUNCTION ? PC_INSIDE : PC_OUTSIDE};
}

uint64_t proc_thread_user_ticks(int tid)
{
	const struct process_thread *t = look_at(tid);

	return t ? t->ticks : UINT64_MAX;
}

int proc_threads_each(bool (*fn)(int tid, void *arg), void *arg)
{

	for (uint32_t i = 0; i < process->threads; i++) {
		const struct process_thread *t = &process->thread[i];
		const struct lab_op op = {.kind = LAB_OP_STEP, .object = t, .site = LAB_SITE("/proc/self/task")};

		lab_point(&op);
		if (t->id && t->doing != PROCESS_EXITED && !fn((int)t->id, arg))
			break;
	}
	return 0;
}

/* ---- patching: outside the lab ---- */

static const char *const names[PROCESS_ENTRIES] = {"munmap", "mmap", "mremap", "madvise", "mprotect"};

void patch_resolve(struct patch_site *sites, size_t n)
{
	(void)sites;
	(void)n;
}

int patch_install(struct patch_site *sites, size_t n)
{
	for (size_t i = 0; i < n; i++)
		for (uint32_t entry = 0; entry < PROCESS_ENTRIES; entry++)
			if (strcmp(sites[i].name, names[entry]) == 0)
				process_patch(entry, (process_fn)sites[i].hook);
	return 0;
}

void patch_remove(void)
{
	for (uint32_t entry = 0; entry < PROCESS_ENTRIES; entry++)
		process_patch(entry, NULL);
}

bool patch_covers(uintptr_t addr)
{
	return addr == PC_INSIDE;
}

/* Nobody else patches, nor writes there. */
bool patch_is_whole(void)
{
	return true;
}

bool patch_probe(uint32_t which)
{
	(void)which;
	return true;
}

bool patch_is_text(uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	return false;
}

bool patch_is_being_written(void)
{
	return false;
}

long hook_mprotect_text(long start, long len, long prot, patch_fn original)
{
	(void)original;
	return process_original(PROCESS_MPROTECT, start, len, prot, 0, 0, 0);
}

void hook_text_look(void)
{
}

void hook_text_drop(void)
{
}

const char *patch_status(void)
{
	return "installed";
}

/* ---- calls on files: outside the lab, whose files are never truncated through libc ---- */

bool hook_is_file_call(long number)
{
	(void)number;
	return false;
}

bool hook_is_truncation(long number)
{
	(void)number;
	return false;
}

long hook_file_by_number(long number, const long arg[6])
{
	(void)number;
	(void)arg;
	return -ENOSYS;
}

long hook_file_run(const struct hook_file_op *op)
{
	(void)op;
	return -1;
}

void hook_files_note(uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
}

/* ---- userfaultfd: what is decided (src/monitors/witness.c) is fed by models, what asks the kernel is outside ---- */

struct uhmm_a32 uffd_lifting;

int uffd_attach(struct uhmm_mm *mm, bool hooked, bool files)
{
	(void)mm;
	(void)hooked;
	(void)files;
	return -EOPNOTSUPP;
}

void uffd_detach(struct uhmm_mm *mm)
{
	(void)mm;
}

void uffd_fork_prepare(void)
{
}

void uffd_fork_parent(void)
{
}

void uffd_fork_child(void)
{
}

bool uffd_lift(uintptr_t start, uintptr_t end)
{
	(void)start;
	(void)end;
	return false;
}

void uffd_lifted(uintptr_t start, uintptr_t end, bool stays)
{
	(void)start;
	(void)end;
	(void)stays;
}

/* ---- the child ---- */

void process_become_child(void)
{
	lab_become_child();
	/* The copy has what every thread had written. */
	for (uint32_t i = 1; i < LAB_FIBERS; i++)
		if (i != lab_self() && (lab_run.made & 1u << i))
			lab_memory_joined(lab_self(), i);
	process->arena = (struct lab_lock){{NULL}};
}
