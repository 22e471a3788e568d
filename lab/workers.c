/* SPDX-License-Identifier: MIT */
/*
 * workers.c: a process for each job. It may crash, run out of arena or be killed: that costs this job and is said. It
 * also means that no search sees what another left in static variables.
 */
#include "lab/workers.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { WORKERS_MAX = 64, DRAW_MS = 100 };

static const double share_min_s = 0.05;
static const double loss_min_s = 10; /* for what must lose: to be cut short before would be a wrong result */

struct worker {
	struct lab_job *job; /* NULL: free */
	pid_t pid;
	int fd;
};

struct message {
	bool is_progress;
	uint64_t schedules;
	uint32_t bound;
	struct lab_finding found;
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- in the worker ---- */

static bool send_all(int fd, const void *data, size_t size)
{
	const char *at = data;

	while (size) {
		ssize_t n = write(fd, at, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		at += n;
		size -= (size_t)n;
	}
	return true;
}

static void send_progress(void *arg, uint64_t schedules, uint32_t bound)
{
	static struct message m; /* searches call from a small stack, perhaps */

	m.is_progress = true;
	m.schedules = schedules;
	m.bound = bound;
	if (!send_all(*(const int *)arg, &m, sizeof(m)))
		_exit(1);
}

static _Noreturn void work(const struct lab_table *t, const struct lab_job *job, int fd)
{
	static struct message m;

	/* An interrupted or killed command does not leave searches behind. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGINT, SIG_IGN); /* the command's to act on; it ends its workers */
	lab_job_run(t, job, send_progress, &fd, &m.found);
	_exit(send_all(fd, &m, sizeof(m)) ? 0 : 1);
}

/* ---- in the command ---- */

static bool start(const struct lab_table *t, struct worker *w, struct lab_job *job)
{
	int ends[2];

	if (pipe(ends) < 0)
		return false;
	fflush(stdout);
	fflush(stderr);
	w->pid = fork();
	if (w->pid == 0) {
		close(ends[0]);
		work(t, job, ends[1]);
	}
	close(ends[1]);
	if (w->pid < 0) {
		close(ends[0]);
		return false;
	}
	w->fd = ends[0];
	w->job = job;
	job->state = LAB_JOB_RUNNING;
	return true;
}

/* One whole message, or false: the worker has ended. Messages are longer than a pipe takes at once. */
static bool receive(int fd, struct message *m)
{
	size_t have = 0;

	while (have < sizeof(*m)) {
		ssize_t n = read(fd, (char *)m + have, sizeof(*m) - have);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		have += (size_t)n;
	}
	return true;
}

static void reap(struct worker *w)
{
	int status = 0;

	close(w->fd);
	while (waitpid(w->pid, &status, 0) < 0 && errno == EINTR) {
	}
	if (w->job->state == LAB_JOB_RUNNING) {
		w->job->state = LAB_JOB_DIED;
		w->job->died_of = WIFSIGNALED(status) ? WTERMSIG(status) : -WEXITSTATUS(status);
	}
	w->job = NULL;
}

/* The finding's pointers are this process's own too: both were made by one fork of the same image. */
static void take(struct worker *w, const struct message *m)
{
	if (m->is_progress) {
		w->job->progress = m->schedules;
		w->job->progress_bound = m->bound;
		return;
	}
	w->job->found = m->found;
	w->job->state = LAB_JOB_DONE;
}

static struct lab_job *next_job(struct lab_table *t, size_t *at)
{
	while (*at < t->job_count && t->jobs[*at].state != LAB_JOB_WAITING)
		++*at;
	return *at < t->job_count ? &t->jobs[(*at)++] : NULL;
}

static size_t jobs_left(const struct lab_table *t, size_t at)
{
	size_t left = 0;

	for (size_t i = at; i < t->job_count; i++)
		left += t->jobs[i].state == LAB_JOB_WAITING;
	return left;
}

static double share_of(const struct lab_table *t, const struct lab_job *job, double seconds, size_t jobs)
{
	bool must_lose = job->pair == SIZE_MAX || t->pairs[job->pair].expect == LAB_MUST_LOSE;
	double min = must_lose ? loss_min_s : share_min_s;
	/* Many need less than their share: the others may have half as much again. */
	double share = 1.5 * seconds / (double)jobs;

	return share > min ? share : min;
}

/* False: no process could be made and none is running. */
static bool fill(struct lab_table *t, struct worker *workers, uint32_t processes, size_t *at, double end)
{
	bool busy = false;

	for (uint32_t i = 0; i < processes; i++) {
		struct lab_job *job = workers[i].job ? NULL : next_job(t, at);

		if (job && end > 0)
			job->seconds = share_of(t, job, (end - now()) * processes, jobs_left(t, *at) + 1);
		if (job && !start(t, &workers[i], job)) {
			job->state = LAB_JOB_WAITING;
			--*at;
		}
		busy = busy || workers[i].job;
	}
	return busy || !jobs_left(t, *at);
}

static void serve(struct worker *workers, uint32_t processes, const struct lab_watch *watch)
{
	static struct message m;
	struct pollfd polls[WORKERS_MAX];

	for (uint32_t i = 0; i < processes; i++)
		polls[i] = (struct pollfd){.fd = workers[i].job ? workers[i].fd : -1, .events = POLLIN};
	if (poll(polls, processes, DRAW_MS) < 0)
		return;
	for (uint32_t i = 0; i < processes; i++) {
		struct lab_job *job = workers[i].job;

		if (!job || !polls[i].revents)
			continue;
		if (receive(workers[i].fd, &m)) {
			take(&workers[i], &m);
			continue;
		}
		reap(&workers[i]);
		if (watch->tell)
			watch->tell(watch->arg, job);
	}
}

static bool any_busy(const struct worker *workers, uint32_t processes)
{
	for (uint32_t i = 0; i < processes; i++) {
		if (workers[i].job)
			return true;
	}
	return false;
}

/* What an earlier round found still stands. */
static void stop_all(struct lab_table *t, struct worker *workers, uint32_t processes)
{
	for (uint32_t i = 0; i < processes; i++) {
		if (!workers[i].job)
			continue;
		kill(workers[i].pid, SIGKILL);
		reap(&workers[i]);
	}
	for (size_t i = 0; i < t->job_count; i++) {
		if (t->jobs[i].state != LAB_JOB_DONE)
			t->jobs[i].state = t->jobs[i].found.seconds > 0 ? LAB_JOB_DONE : LAB_JOB_WAITING;
	}
}

bool lab_workers_run(struct lab_table *t, uint32_t processes, double seconds, const struct lab_watch *watch)
{
	struct worker workers[WORKERS_MAX] = {0};
	double end = seconds > 0 ? now() + seconds : 0;
	size_t at = 0;

	if (processes > WORKERS_MAX)
		processes = WORKERS_MAX;
	do {
		if (!fill(t, workers, processes, &at, end)) {
			lab_complain("cannot make a process: %s", strerror(errno));
			return false;
		}
		serve(workers, processes, watch);
		if (watch->tell)
			watch->tell(watch->arg, NULL);
		if (watch->stop && *watch->stop) {
			stop_all(t, workers, processes);
			break;
		}
	} while (any_busy(workers, processes) || jobs_left(t, at));
	return true;
}
