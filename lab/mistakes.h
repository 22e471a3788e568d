/* SPDX-License-Identifier: MIT */
/* mistakes.h: what would be wrong with memory.c. For tests only: the litmus tests must notice each. */
#ifndef LAB_MISTAKES_H
#define LAB_MISTAKES_H

#include <stdint.h>

enum lab_mistake {
	LAB_MISTAKE_NEVER_STALE,   /* loads return the newest store, always */
	LAB_MISTAKE_NEVER_LATE,    /* no store ever waits */
	LAB_MISTAKE_INCOHERENT,    /* a fiber forgets what it has read */
	LAB_MISTAKE_RELEASE_EARLY, /* a release store overtakes those before it */
	LAB_MISTAKE_NO_RELEASE,    /* nothing is to be had with a release store */
	LAB_MISTAKE_NO_SEQUENCE,   /* a read-modify-write does not carry on what it replaces */
	LAB_MISTAKE_FENCE_ALONE,   /* a fence does not know of the fences before it */
	LAB_MISTAKE_LIGHT,         /* heavy barriers do not reach others */
	LAB_MISTAKE_STRONG,        /* and with this they reach them wherever they are */
	LAB_MISTAKE_LOCK,          /* a lock hands nothing on */
	LAB_MISTAKES
};

extern uint32_t lab_mistakes; /* bits of these; 0 */

#endif
