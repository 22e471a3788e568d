/* SPDX-License-Identifier: MIT */
/* programs_mended.h: losing models with their mistake taken out, to show that their races can be held. No part of the lab. */
#ifndef TESTS_LAB_PROGRAMS_MENDED_H
#define TESTS_LAB_PROGRAMS_MENDED_H

#include <uhmm/lab.h>

extern const struct lab_model mended_evictable; /* skip_if_evicted, evict_unlocked (R14) */
extern const struct lab_model mended_vram;      /* notifier_only (R19) */
extern const struct lab_model mended_exclusive; /* exclusive_no_end (R23) */

#endif
