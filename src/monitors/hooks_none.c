/* SPDX-License-Identifier: MIT */
/* hooks_none.c: machines and C libraries for which nobody has written the patching. Everything explicit works. */
#include "monitors/hooks.h"

#include <errno.h>

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

const char *hooks_status(void)
{
	return "hooks need x86-64 and glibc";
}
