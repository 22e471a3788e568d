/* SPDX-License-Identifier: MIT */
/* replay.h: following a schedule, for what is made of replays. */
#ifndef LAB_REPLAY_H
#define LAB_REPLAY_H

#include "lab/choice.h"

/*
 * One execution after lab_run_setup(); the verdict is lab_run.verdict. To the letter: false if the schedule does not fit, and
 * the verdict's text says where it parts. Otherwise elements that do not fit are passed over; after the end of the schedule
 * all goes the usual way.
 */
bool lab_replay_once(const struct lab_schedule *schedule, bool to_the_letter);

#endif
