/* SPDX-License-Identifier: MIT */
#include "forker.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "run.h"

#define ROUND_NS 50000000L

/*
 * The gate is open again before the child looks: the parent's threads and its device go on with their pages while the child
 * reads its own. What the device writes now must not show in the child, and what the parent's threads write, which is copied
 * first because of the fork, must reach the device (R20, R22).
 */
static bool fork_once(struct run *run)
{
	int status = 0;
	pid_t child;

	if (!gate_close(&run->gate))
		return false;
	child = fork();
	if (child == 0)
		_exit(arena_holds_stamps(&run->arena) ? 0 : 1);
	gate_open(&run->gate);
	if (child < 0) {
		fail(&run->failure, "cannot fork: %s", strerror(errno));
		return false;
	}
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		fail(&run->failure, "a forked child found wrong content in its copy of the arena");
		return false;
	}
	count(&run->counters.forks, 1);
	return true;
}

static void *forker_main(void *arg)
{
	struct run *run = arg;
	const struct timespec round = {.tv_nsec = ROUND_NS};

	while (!atomic_load_explicit(&run->chaos_stop, memory_order_relaxed)) {
		nanosleep(&round, NULL);
		if (!stopping(run) && !fork_once(run))
			break;
		if (stopping(run))
			break;
	}
	if (failed(&run->failure))
		atomic_store(&run->stop, true);
	return NULL;
}

int forker_start(pthread_t *thread, struct run *run)
{
	return -pthread_create(thread, NULL, forker_main, run);
}
