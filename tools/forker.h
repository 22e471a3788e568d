/* SPDX-License-Identifier: MIT */
/* forker.h: a thread that forks between rounds, while chaos and the device are parked. */
#ifndef TOOLS_FORKER_H
#define TOOLS_FORKER_H

#include <pthread.h>

struct run;

/* 0 or a negative errno. Ends after run->chaos_stop. */
int forker_start(pthread_t *thread, struct run *run);

#endif
