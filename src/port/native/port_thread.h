/* SPDX-License-Identifier: MIT */
/* port_thread.h, native backend; documented in ../thread.h. */
#ifndef PORT_NATIVE_THREAD_H
#define PORT_NATIVE_THREAD_H

struct port_thread_area {
	_Alignas(64) unsigned char bytes[THREAD_AREA_SIZE];
};

extern __thread struct port_thread_area port_thread_area __attribute__((tls_model("initial-exec"), visibility("hidden")));

static inline void *thread_area(void)
{
	void *area = &port_thread_area;

#ifdef __SANITIZE_ADDRESS__
	/*
	 * UBSan's check for NULL uses the flags of the `add` that makes the address; in an executable the linker relaxes that
	 * to a `lea`, which sets none. So let the check have an instruction of its own.
	 */
	__asm__("" : "+r"(area));
#endif
	return area;
}

#endif
