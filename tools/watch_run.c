/* SPDX-License-Identifier: MIT */
#include "watch_run.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "watch/record.h"

/* Those that this process passes on or waits for; all others do to it what they do. */
static const int handled[] = {SIGCHLD, SIGINT, SIGQUIT, SIGTERM, SIGHUP, SIGUSR1, SIGUSR2};

static sigset_t handled_set(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++)
		sigaddset(&set, handled[i]);
	return set;
}

/* ---- in the child ---- */

/* Whatever else is preloaded stays, behind ours. */
static bool set_environment(const struct launch *l)
{
	const char *others = getenv("LD_PRELOAD");
	char options[16], *preload;
	size_t size;
	bool done;

	if (!l->directory)
		return true;
	size = strlen(l->library) + (others ? strlen(others) : 0) + 2;
	preload = malloc(size);
	if (!preload)
		return false;
	snprintf(preload, size, "%s%s%s", l->library, others && *others ? ":" : "", others ? others : "");
	snprintf(options, sizeof(options), "%u", l->options);
	done = setenv("LD_PRELOAD", preload, 1) == 0 && setenv(WATCH_DIR_VARIABLE, l->directory, 1) == 0 &&
	       setenv(WATCH_OPTIONS_VARIABLE, options, 1) == 0;
	free(preload);
	return done;
}

static void capture(int fd)
{
	if (fd < 0)
		return;
	for (int out = STDOUT_FILENO; out <= STDERR_FILENO; out++)
		if (isatty(out))
			dup2(fd, out);
}

static _Noreturn void become(const struct child *c, const struct launch *l, int report_fd)
{
	int err;

	capture(l->capture_fd);
	if (set_environment(l)) {
		sigprocmask(SIG_SETMASK, &c->before, NULL);
		execvp(l->argv[0], l->argv);
	}
	err = errno;
	if (write(report_fd, &err, sizeof(err)) != (ssize_t)sizeof(err))
		_exit(126);
	_exit(127);
}

/* ---- in the parent ---- */

int child_start(struct child *c, const struct launch *l)
{
	sigset_t set = handled_set();
	int report[2], err = 0;

	if (pipe2(report, O_CLOEXEC))
		return errno;
	fflush(NULL);
	sigprocmask(SIG_BLOCK, &set, &c->before);
	c->over = false;
	c->pid = fork();
	if (c->pid == 0)
		become(c, l, report[1]);
	if (c->pid < 0)
		err = errno;
	close(report[1]);
	/* Ends without a word when it is executed. */
	if (c->pid > 0 && read(report[0], &err, sizeof(err)) == (ssize_t)sizeof(err))
		waitpid(c->pid, NULL, 0);
	close(report[0]);
	return err;
}

/* What the terminal sends goes to the whole group; what a process sends here is meant for COMMAND. */
static void pass_on(const struct child *c, const siginfo_t *info)
{
	if (info->si_signo != SIGCHLD && info->si_code <= 0)
		kill(c->pid, info->si_signo);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void child_wait(struct child *c, int timeout_ms)
{
	int64_t until = now_ms() + timeout_ms, left = timeout_ms;
	sigset_t set = handled_set();

	for (; !c->over && left > 0; left = until - now_ms()) {
		struct timespec wait = {.tv_sec = left / 1000, .tv_nsec = left % 1000 * 1000000};
		siginfo_t info;

		/* Asked first: it may have ended, and its signal been lost among others, before anybody waited. */
		if (waitpid(c->pid, &c->status, WNOHANG) == c->pid)
			c->over = true;
		else if (sigtimedwait(&set, &info, &wait) > 0)
			pass_on(c, &info);
	}
}

int child_exit(struct child *c)
{
	const struct rlimit no_core = {0, 0};
	int signal_number = WIFSIGNALED(c->status) ? WTERMSIG(c->status) : 0;
	sigset_t set;

	if (!signal_number)
		return WEXITSTATUS(c->status);
	fflush(NULL);
	setrlimit(RLIMIT_CORE, &no_core); /* there is one already, if there is to be one */
	signal(signal_number, SIG_DFL);
	sigemptyset(&set);
	sigaddset(&set, signal_number);
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	raise(signal_number);
	return 128 + signal_number;
}
