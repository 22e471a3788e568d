/* SPDX-License-Identifier: MIT */
/*
 * emulated.h: under an emulator of user programs (qemu-user), which has no vfork(), no seccomp, no process_vm_readv() and no
 * threads in a child that was forked by one of several threads, some checks say nothing. Whoever runs the tests there says so.
 */
#ifndef TESTS_EMULATED_H
#define TESTS_EMULATED_H

#include <stdbool.h>
#include <stdlib.h>

static inline bool is_emulated(void)
{
	return getenv("UHMM_TEST_EMULATED") != NULL;
}

#endif
