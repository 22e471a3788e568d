/* SPDX-License-Identifier: MIT */
/* workers.h: jobs in processes of their own, a few at a time. */
#ifndef LAB_WORKERS_H
#define LAB_WORKERS_H

#include <signal.h>

#include "lab/table.h"

struct lab_watch {
	/* A job has ended (state, found), or something is new to be shown: job NULL, about ten times a second. May be NULL. */
	void (*tell)(void *arg, const struct lab_job *job);
	void *arg;
	/* Set by a signal handler: end all searches, keep what earlier rounds found. NULL: nobody does. */
	const volatile sig_atomic_t *stop;
};

/*
 * Runs every waiting job of the table, `processes` at a time, in order. With a limit in seconds for all of them each gets
 * an equal share of what is left, so that what the quick ones leave over goes to the slow ones; 0: job->seconds as it is.
 */
bool lab_workers_run(struct lab_table *t, uint32_t processes, double seconds, const struct lab_watch *watch);

#endif
