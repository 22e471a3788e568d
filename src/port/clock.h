/* SPDX-License-Identifier: MIT */
/* clock.h: time, for bounds and deadlines only; nothing is decided by how long something took. */
#ifndef PORT_CLOCK_H
#define PORT_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in nanoseconds. */
uint64_t clock_now_ns(void);
/* Sleeps at least that long, signals or not. */
void clock_sleep_ns(uint64_t ns);

#endif
