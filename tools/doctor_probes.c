/* SPDX-License-Identifier: MIT */
#include <dlfcn.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/membarrier.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <uhmm/uhmm.h>
#include <unistd.h>

#include "doctor.h"

static bool kernel_is_at_least(unsigned major, unsigned minor)
{
	struct utsname u;
	unsigned have_major = 0, have_minor = 0;

	if (uname(&u) || sscanf(u.release, "%u.%u", &have_major, &have_minor) != 2)
		return false;
	return have_major > major || (have_major == major && have_minor >= minor);
}

void probe_kernel(struct finding *f)
{
	struct utsname u = {0};

	uname(&u);
	f->found = kernel_is_at_least(5, 13);
	finding_value(f, "%s %s, %s", u.sysname, u.release, u.machine);
	if (!f->found)
		finding_follows(f, "older than 5.13: no fixed-buffer tables; every io_uring request is plain");
	else if (!kernel_is_at_least(6, 2))
		finding_follows(
			f, "older than 6.2: pages are populated for writing before a read-only pin, else it would go stale");
	else
		finding_follows(f, "read-only pins stay current (6.2)");
}

void probe_cpus(struct finding *f)
{
	cpu_set_t set;
	int cpus = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

	f->found = cpus > 1;
	finding_value(f, "%d usable", cpus);
	finding_follows(f, cpus > 1 ? "races happen for real; uhmm exec --chaos shows them"
				    : "changes and registrations take turns: uhmm exec --chaos attacks less");
}

/* Where a jump at the entry leads, or NULL: the function begins as it was compiled. */
static const void *jump_target(const unsigned char *code)
{
	static const unsigned char endbr64[] = {0xf3, 0x0f, 0x1e, 0xfa};
	int32_t distance;

	if (memcmp(code, endbr64, sizeof(endbr64)) == 0)
		code += sizeof(endbr64);
	if (code[0] == 0xe9) { /* jmp rel32 */
		memcpy(&distance, code + 1, sizeof(distance));
		return code + 5 + distance;
	}
	if (code[0] == 0xff && code[1] == 0x25) { /* jmp *rel32(%rip) */
		const void *target;

		memcpy(&distance, code + 2, sizeof(distance));
		memcpy(&target, code + 6 + distance, sizeof(target));
		return target;
	}
	if (code[0] == 0x49 && code[1] == 0xbb) { /* mov imm64, %r11, then jmp *%r11 */
		const void *target;

		memcpy(&target, code + 2, sizeof(target));
		return target;
	}
	return NULL;
}

/* The first of libc's mapping functions that somebody has patched, and who; false: none looks patched. */
static bool find_patcher(const char **function, const char **who)
{
	static const char *const functions[] = {"mmap", "munmap", "mremap", "madvise", "mprotect",
						"brk",  "sbrk",   "shmat",  "shmdt",   "syscall"};

	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		const unsigned char *code = (const unsigned char *)dlsym(RTLD_DEFAULT, functions[i]);
		const void *target = code ? jump_target(code) : NULL;
		Dl_info info;

		if (!target)
			continue;
		*function = functions[i];
		*who = dladdr(target, &info) && info.dli_fname ? info.dli_fname : "code that belongs to no library";
		return true;
	}
	return false;
}

void probe_hooks(struct finding *f)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	const char *function = NULL, *who = NULL;
	bool patched = find_patcher(&function, &who); /* before the library patches them itself */
	char status[sizeof(f->value)];
	struct uhmm_mm *mm;
	int err = uhmm_mm_open(&mm, &options);

	uhmm_hooks_status(status, sizeof(status));
	f->found = err == 0;
	if (!err)
		uhmm_mm_close(mm);
	if (err == -EBUSY)
		finding_value(f, "%s", status);
	else if (patched)
		finding_value(f, "%s is patched by %s", function, who);
	else
		finding_value(f, "%s", err ? strerror(-err) : "libc's mapping calls can be patched");
	if (!err)
		finding_follows(f, "mapping calls through libc are seen, and passed on to whoever patched them; inline system "
				   "calls are not seen");
	else if (err == -EBUSY)
		finding_follows(f, "it cannot be chained: do without it, or announce changes yourself");
	else if (err == -EPERM)
		finding_follows(f, "the system forbids changing code (MDWE, SELinux): announce changes yourself");
	else
		finding_follows(f, "announce changes yourself: uhmm_invalidate_start() and _end()");
}

void probe_membarrier(struct finding *f)
{
	long commands = syscall(SYS_membarrier, MEMBARRIER_CMD_QUERY, 0, 0);

	f->found = commands >= 0 && (commands & MEMBARRIER_CMD_PRIVATE_EXPEDITED);
	finding_value(f, f->found ? "private expedited" : "not available");
	finding_follows(f, f->found ? "cache hits need no full barrier" : "every cache hit pays a full barrier");
}

/* By the bare calls: the answer is the kernel's, whatever the tool was built with. A descriptor or a negative errno. */
static int ring_open(void)
{
	struct io_uring_params params = {0};
	long fd = syscall(SYS_io_uring_setup, 4, &params);

	return fd < 0 ? -errno : (int)fd;
}

void probe_uring(struct finding *f)
{
	char disabled[32] = "unknown here";
	int fd = ring_open();

	first_line("/proc/sys/kernel/io_uring_disabled", disabled, sizeof(disabled));
	f->found = fd >= 0;
	finding_value(f, "%s; kernel.io_uring_disabled: %s", f->found ? "works" : strerror(-fd), disabled);
	if (f->found)
		finding_follows(f, "uhmm/uring.h and uhmm exec work");
	else if (fd == -EPERM)
		finding_follows(f, "set kernel.io_uring_disabled to 0 or lift the system-call filter: uhmm exec needs it");
	else
		finding_follows(f, "uhmm exec needs it; the rest of the library does not");
	if (f->found)
		close(fd);
}

void probe_uring_sparse(struct finding *f)
{
	struct io_uring_rsrc_register table = {.nr = 4, .flags = IORING_RSRC_REGISTER_SPARSE};
	int fd = ring_open(), err = fd < 0 ? -fd : 0;

	if (fd >= 0 && syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS2, &table, sizeof(table)))
		err = errno;
	f->found = err == 0;
	finding_value(f, "%s", err ? strerror(err) : "works");
	finding_follows(f, err ? "fixed buffers go into a table of empty ones, or every request is plain"
			       : "fixed buffers come and go one by one");
	if (fd >= 0)
		close(fd);
}
