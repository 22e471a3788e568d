/* SPDX-License-Identifier: MIT */
/*
 * port_call.h, native: the hooks' own system calls, in the frame of whoever makes them. A system call empties the processor's
 * return predictor on many machines, so that port_syscall(), a function, would cost them a mispredicted return.
 *
 * Where nothing is patched (not x86-64) nobody includes this.
 */
#ifndef PORT_CALL_H
#define PORT_CALL_H

/* Code that ThreadSanitizer's runtime follows; in the lab, which has a runtime of its own, this is never defined. */
#if defined(__SANITIZE_THREAD__)
#define PORT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PORT_TSAN 1
#endif
#endif

/* The kernel's own result. */
static inline __attribute__((always_inline)) long port_call_3(long number, long a, long b, long c)
{
	long result;

	__asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
	return result;
}

/* The arguments are values already: a sanitizer's check of a load is a call, and may not come between the registers'. */
static inline __attribute__((always_inline)) long port_call_6(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif
