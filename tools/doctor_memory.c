/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/userfaultfd.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "doctor.h"
#include "port/linux_new.h"
#include "units.h"

#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

/* Features newer than some distributions' headers. */
static const struct {
	uint64_t bit;
	const char *name;
} uffd_features[] = {
	{UINT64_C(1) << 15, "WP_ASYNC"},
	{UINT64_C(1) << 16, "MOVE"},
};

static bool may_lock_memory(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	return syscall(SYS_capget, &header, data) == 0 && (data[0].effective & (1u << CAP_IPC_LOCK));
}

void probe_memlock(struct finding *f)
{
	struct rlimit limit = {0};
	char amount[UNITS_SIZE];

	getrlimit(RLIMIT_MEMLOCK, &limit);
	f->found = may_lock_memory() || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= (1u << 20);
	if (may_lock_memory())
		finding_value(f, "unlimited (CAP_IPC_LOCK)");
	else if (limit.rlim_cur == RLIM_INFINITY)
		finding_value(f, "unlimited");
	else
		finding_value(f, "RLIMIT_MEMLOCK is %s", bytes_text(limit.rlim_cur, amount));
	finding_follows(f, f->found ? "registered memory is bounded by that, or a quarter of the machine's"
				    : "little memory can stay registered: raise ulimit -l");
}

static int uffd_open(int flags)
{
	long fd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags);

	return fd < 0 ? -errno : (int)fd;
}

void probe_uffd(struct finding *f)
{
	int full = uffd_open(0), user = uffd_open(UFFD_USER_MODE_ONLY);
	bool device = access("/dev/userfaultfd", R_OK | W_OK) == 0;
	char sysctl[32] = "?";

	first_line("/proc/sys/vm/unprivileged_userfaultfd", sysctl, sizeof(sysctl));
	f->found = full >= 0 || device;
	finding_value(f, "%s; vm.unprivileged_userfaultfd = %s; /dev/userfaultfd %s",
		      full >= 0   ? "full"
		      : user >= 0 ? "user mode only"
				  : strerror(-user),
		      sysctl, device ? "may be opened" : "may not be opened");
	if (f->found)
		finding_follows(f, "not used in this release; faults inside system calls can be served");
	else if (user >= 0)
		finding_follows(
			f, "not used in this release; for faults inside system calls: setfacl -m u:$USER:rw /dev/userfaultfd");
	else
		finding_follows(f, "not used in this release");
	if (full >= 0)
		close(full);
	if (user >= 0)
		close(user);
}

void probe_uffd_features(struct finding *f)
{
	struct uffdio_api api = {.api = UFFD_API};
	int fd = uffd_open(UFFD_USER_MODE_ONLY);
	char missing[64] = "";

	if (fd < 0 || ioctl(fd, UFFDIO_API, &api)) {
		finding_value(f, "%s", strerror(errno));
		finding_follows(f, "not used in this release");
	} else {
		for (size_t i = 0; i < sizeof(uffd_features) / sizeof(uffd_features[0]); i++) {
			if (!(api.features & uffd_features[i].bit)) {
				strcat(missing, " ");
				strcat(missing, uffd_features[i].name);
			}
		}
		f->found = missing[0] == '\0';
		finding_value(f, "%s%s", f->found ? "WP_ASYNC (6.7) and MOVE (6.8)" : "without", missing);
		finding_follows(f, "not used in this release");
	}
	if (fd >= 0)
		close(fd);
}

void probe_populate(struct finding *f)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	f->found = p != MAP_FAILED && madvise(p, page, MADV_POPULATE_WRITE) == 0;
	finding_value(f, f->found ? "works (5.14)" : "not available");
	finding_follows(f, f->found ? "pages can be made present before they are pinned"
				    : "read-only pins of untouched pages may be refused on kernels before 6.2");
	if (p != MAP_FAILED)
		munmap(p, page);
}

static unsigned count_maps(void)
{
	FILE *maps = fopen("/proc/self/maps", "re");
	unsigned lines = 0;

	for (int c; maps && (c = fgetc(maps)) != EOF;)
		lines += c == '\n';
	if (maps)
		fclose(maps);
	return lines;
}

void probe_max_maps(struct finding *f)
{
	char text[32] = "?";
	unsigned limit = 0;

	f->found = first_line("/proc/sys/vm/max_map_count", text, sizeof(text)) && sscanf(text, "%u", &limit) == 1 &&
		   limit >= 65530;
	finding_value(f, "%s mappings, of which this process has %u", text, count_maps());
	finding_follows(f, f->found ? "the library never splits the program's mappings; its own are a handful"
				    : "programs that map much in small pieces will meet ENOMEM: raise vm.max_map_count");
}

void probe_thp(struct finding *f)
{
	char text[64] = "not available";

	f->found = first_line("/sys/kernel/mm/transparent_hugepage/enabled", text, sizeof(text)) && !strstr(text, "[never]");
	finding_value(f, "%s", text);
	finding_follows(f, f->found ? "registrations of huge pages pin fewer, larger pages"
				    : "registrations pin single small pages");
}

/* Where mappings go by themselves, and how far up they may be asked for. */
#if defined(__aarch64__)
#define USUAL_BITS 48
#define LARGE_BITS 52
#else
#define USUAL_BITS 47
#define LARGE_BITS 56
#endif

void probe_five_levels(struct finding *f)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *high = (void *)((uintptr_t)1 << (LARGE_BITS - 1));
	void *p = mmap(high, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	f->found = p != MAP_FAILED && (uintptr_t)p >> USUAL_BITS != 0;
	finding_value(f, "addresses of %d bits", f->found ? LARGE_BITS : USUAL_BITS);
	finding_follows(f, f->found ? "addresses beyond the usual are watched and registered as well"
				    : "nothing: the library takes both");
	if (p != MAP_FAILED)
		munmap(p, page);
}
