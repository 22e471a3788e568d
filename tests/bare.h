/* SPDX-License-Identifier: MIT */
/*
 * bare.h: system calls made inline, which no hook sees and which no patched entry slows down: what tests do behind the
 * library's back, and the bare side of what benchmarks compare.
 */
#ifndef TESTS_BARE_H
#define TESTS_BARE_H

#include <sys/syscall.h>
#if !defined(__x86_64__) && !defined(__aarch64__)
#include <errno.h>
#include <unistd.h>
#endif

/* Calls that only older machines have: numbers that every kernel answers with -ENOSYS. */
#ifndef SYS_open
#define SYS_open (-1000)
#define SYS_creat (-1001)
#endif

/* gcc takes the register of the first argument and the result for a variable that a vfork() in the caller may spoil. */
#if defined(__aarch64__)
#define BARE_INLINE __attribute__((noinline, unused))
#else
#define BARE_INLINE inline
#endif

/* Returns a negative errno on failure; errno itself stays as it is where hooks exist. */
static BARE_INLINE long bare_call(long number, long a, long b, long c, long d, long e, long f)
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
#elif defined(__aarch64__)
	register long x8 __asm__("x8") = number;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;
	register long x0 __asm__("x0") = a;

	__asm__ volatile("svc #0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory", "cc");
	return x0;
#else
	/* Nothing is patched on these machines, so libc's own stub will do. */
	long result = syscall(number, a, b, c, d, e, f);

	return result == -1 ? -errno : result;
#endif
}

#endif
