/* SPDX-License-Identifier: MIT */
/* main.c: the benchmarks as a binary of their own; `uhmm bench` is the same code. */
#include "bench.h"

int main(int argc, char **argv)
{
	return bench_main(argc, argv);
}
