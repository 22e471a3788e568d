/* SPDX-License-Identifier: MIT */
/*
 * bare.h: system calls made inline, which no hook sees and which no patched entry slows down: what tests do behind the
 * library's back, and the bare side of what benchmarks compare.
 */
#ifndef TESTS_BARE_H
#define TESTS_BARE_H

#ifndef __x86_64__
#include <errno.h>
#include <unistd.h>
#endif

/* Returns a negative errno on failure; errno itself stays as it is where hooks exist. */
static inline long bare_call(long number, long a, long b, long c, long d, long e, long f)
{
#if defined(__x86_64__)
	long result;
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
#else
	/* Nothing is patched on these machines, so libc's own stub will do. */
	long result = syscall(number, a, b, c, d, e, f);

	return result == -1 ? -errno : result;
#endif
}

#endif
