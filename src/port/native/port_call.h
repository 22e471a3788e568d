/* SPDX-License-Identifier: MIT */
/*
 * port_call.h, native: the hooks' own system calls, in the frame of whoever makes them. A system call empties the processor's
 * return predictor on many machines, so that port_syscall(), a function, would cost them a mispredicted return.
 *
 * Neither form is a memory barrier: on aarch64 the way into the kernel and back orders no access of this thread before another
 * one. Where a look has to come after what a call changed, fence_after_call() says so.
 */
#ifndef PORT_CALL_H
#define PORT_CALL_H

#if !defined(__x86_64__) && !defined(__aarch64__)
#include <errno.h>
#include <unistd.h>
#endif

/* Code that ThreadSanitizer's runtime follows; in the lab, which has a runtime of its own, this is never defined. */
#if defined(__SANITIZE_THREAD__)
#define PORT_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define PORT_TSAN 1
#endif
#endif

/*
 * The same as a function's whole body, for code that ThreadSanitizer must not instrument and hence cannot inline the others:
 * PORT_CALL_4(number, a, b, c, d) returns the result.
 */
#if defined(__x86_64__)
#define PORT_CALL_4(number, a, b, c, d)                                                                                        \
	register long r10_ __asm__("r10") = (d);                                                                               \
	long result_;                                                                                                          \
                                                                                                                               \
	__asm__ volatile("syscall" : "=a"(result_) : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10_) : "rcx", "r11", "memory"); \
	return result_
#elif defined(__aarch64__)
#define PORT_CALL_4(number, a, b, c, d)                                                                                        \
	register long x8_ __asm__("x8") = (number);                                                                            \
	register long x0_ __asm__("x0") = (a);                                                                                 \
	register long x1_ __asm__("x1") = (b);                                                                                 \
	register long x2_ __asm__("x2") = (c);                                                                                 \
	register long x3_ __asm__("x3") = (d);                                                                                 \
                                                                                                                               \
	__asm__ volatile("svc #0" : "+r"(x0_) : "r"(x8_), "r"(x1_), "r"(x2_), "r"(x3_) : "memory", "cc");                      \
	return x0_
#endif

#if defined(__x86_64__)
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

#elif defined(__aarch64__)
/* The kernel gives every register but x0 back as it was. */
static inline __attribute__((always_inline)) long port_call_3(long number, long a, long b, long c)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2) : "memory", "cc");
	return x0;
}

static inline __attribute__((always_inline)) long port_call_6(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc #0" : "+r"(x0) : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5) : "memory", "cc");
	return x0;
}
#else
/* Nothing is patched on these machines, so libc's own stub will do. */
static inline long port_call_6(long number, long a, long b, long c, long d, long e, long f)
{
	long result = syscall(number, a, b, c, d, e, f);

	return result == -1 ? -errno : result;
}
#endif

#endif
