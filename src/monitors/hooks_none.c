/* SPDX-License-Identifier: MIT */
/* hooks_none.c: machines and C libraries for which nobody has written the patching. Everything explicit works. */
#include "monitors/hooks.h"

#include <errno.h>
#include <stdio.h>

int hooks_attach(struct uhmm_mm *mm)
{
	(void)mm;
	return -EOPNOTSUPP;
}

void hooks_detach(struct uhmm_mm *mm)
{
	(void)mm;
}

void hooks_fork_child(void)
{
}

bool hooks_repair(void)
{
	return false;
}

size_t hooks_status(char *text, size_t size)
{
	return (size_t)snprintf(text, size, "hooks need x86-64 or aarch64, and glibc");
}
