/* SPDX-License-Identifier: MIT */
/* watch_run.h: COMMAND as a child in this process's own group, with its terminal, directory, input and signals. */
#ifndef TOOLS_WATCH_RUN_H
#define TOOLS_WATCH_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <sys/types.h>

struct child {
	pid_t pid;
	bool over;
	int status;      /* as waitpid() gives it */
	sigset_t before; /* this process's signal mask */
};

struct launch {
	char **argv;
	const char *directory; /* of the records; NULL: do not preload */
	const char *library;
	unsigned options; /* WATCH_OPTION_* */
	int capture_fd;   /* where output that would go to the terminal goes instead; -1: nowhere */
};

/* 0 or the errno with which COMMAND could not be executed. */
int child_start(struct child *c, const struct launch *l);
/* Passes signals on, until it has ended or the time is up. */
void child_wait(struct child *c, int timeout_ms);
/* The tool's exit status for the child's; dies of the signal that the child died of. */
int child_exit(struct child *c);

#endif
