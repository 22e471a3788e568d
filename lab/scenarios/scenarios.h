/* SPDX-License-Identifier: MIT */
/* scenarios.h: the races. One file each, named after its row in docs/races.md; registry.c lists them. */
#ifndef LAB_SCENARIOS_H
#define LAB_SCENARIOS_H

#include <uhmm/lab.h>

/* All of them, in the order of the table, NULL at the end. */
extern const struct lab_scenario *const lab_scenarios[];

#endif
