/* SPDX-License-Identifier: MIT */
/* uring_calls.h: the shipped calls; uring_calls.c is compiled once with the library's sources and once with no_retry.h's. */
#ifndef TOOLS_URING_CALLS_H
#define TOOLS_URING_CALLS_H

#include "protocol.h"

#ifndef URING_CALLS
#define URING_CALLS uring_calls_shipped
#endif

extern const struct uring_calls uring_calls_shipped;

#endif
