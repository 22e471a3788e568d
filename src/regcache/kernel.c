/* SPDX-License-Identifier: MIT */
/*
 * kernel.c: which kernel is this? Since 6.2 a long-term read-only pin of a private mapping breaks copy-on-write first, so that
 * the process keeps the page that the device has. Before, a zero page or a shared copy is pinned as it is, and left behind at
 * the process's next write (R7).
 */
#include <sys/syscall.h>
#include <sys/utsname.h>

#include "regcache/cache.h"

#define VERSION(major, minor) ((major) << 16 | (minor))

static struct uhmm_a32 version; /* 0: not asked yet */

static uint32_t parse(const char *release)
{
	uint32_t part[2] = {0, 0};

	for (uint32_t i = 0; i < 2; i++) {
		while (*release >= '0' && *release <= '9')
			part[i] = part[i] * 10 + (uint32_t)(*release++ - '0');
		if (*release == '.')
			release++;
	}
	return VERSION(part[0], part[1]);
}

bool kernel_needs_populate(void)
{
	uint32_t known = a32_load_relaxed(&version);
	struct utsname name;

	if (!known) {
		/* An unknown kernel is taken for an old one: populating is never wrong. */
		known = 1;
		if (port_syscall(SYS_uname, (long)(uintptr_t)&name, 0, 0, 0, 0, 0) == 0)
			known = parse(name.release) | 1;
		a32_store_relaxed(&version, known);
	}
	return known < VERSION(6u, 2u);
}

void kernel_force_version(unsigned int major, unsigned int minor)
{
	a32_store_relaxed(&version, major ? VERSION(major, minor) : 0);
}
