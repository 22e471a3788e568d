/* SPDX-License-Identifier: MIT */
/* cmd_bench.c: `uhmm bench`; everything is in bench/, which is also a binary of its own. */
#include "bench.h"
#include "cmd.h"

int cmd_bench(int argc, char **argv)
{
	return bench_main(argc, argv);
}
