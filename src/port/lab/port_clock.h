/* SPDX-License-Identifier: MIT */
/* port_clock.h, lab backend only: time stands still but for sleeps and deadlines that pass. */
#ifndef PORT_LAB_CLOCK_H
#define PORT_LAB_CLOCK_H

#include <stdint.h>

/* It is at least `ns` now. */
void port_clock_reach(uint64_t ns);

#endif
