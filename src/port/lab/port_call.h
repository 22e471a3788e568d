/* SPDX-License-Identifier: MIT */
/* port_call.h, lab backend: the hooks' own system calls go where all others do. Documented in ../native/port_call.h. */
#ifndef PORT_CALL_H
#define PORT_CALL_H

#include "port/mm.h"

static inline long port_call_3(long number, long a, long b, long c)
{
	return port_syscall(number, a, b, c, 0, 0, 0);
}

static inline long port_call_6(long number, long a, long b, long c, long d, long e, long f)
{
	return port_syscall(number, a, b, c, d, e, f);
}

#endif
