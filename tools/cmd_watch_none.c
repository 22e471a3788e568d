/* SPDX-License-Identifier: MIT */
/* cmd_watch_none.c: where there are no hooks, or no way to find unwind tables without a lock. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "complain.h"

int cmd_watch(int argc, char **argv)
{
	if (argc > 1 && strcmp(argv[1], "--help") == 0) {
		printf("uhmm watch needs x86-64 and the GNU C library 2.35, which this build is without.\n");
		return flush_output("watch") ? STATUS_DONE : STATUS_FAILED;
	}
	complain("watch", "needs x86-64 and the GNU C library 2.35, which this build is without");
	return STATUS_FAILED;
}
