/* SPDX-License-Identifier: MIT */
/* state.h: searches that take hours, in slices that survive the end of the command. */
#ifndef LAB_STATE_H
#define LAB_STATE_H

#include "lab/workers.h"

/*
 * Runs the table in rounds: every unfinished search goes on for a slice where it was stopped. What it has done is kept in
 * `directory` (NULL: under $XDG_STATE_HOME or ~/.local/state), apart for each build of the program: schedules of one mean
 * something else in another. `seconds` 0: until all have ended. False: has complained.
 */
bool lab_state_run(struct lab_table *t, const char *directory, double seconds, const struct lab_watch *watch);

#endif
