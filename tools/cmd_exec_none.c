/* SPDX-License-Identifier: MIT */
/* cmd_exec_none.c: uhmm exec where the build found no liburing or no xxHash. */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "complain.h"

int cmd_exec(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], "--help") == 0) {
		puts("Usage: uhmm exec KERNEL FILE... [OPTION]...\n"
		     "This build lacks io_uring or xxHash: it can only say so.");
		return flush_output(argv[0]) ? STATUS_DONE : STATUS_FAILED;
	}
	complain(argv[0], "built without io_uring or xxHash: there is no device to run on");
	return STATUS_FAILED;
}
