/* SPDX-License-Identifier: MIT */
/* main.c: `trap NAME` runs one experiment, `trap --list` lists them. Exit status 0, 1, or 77 with the reason. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "trap.h"

#define STUCK_AFTER_MS 60000 /* far beyond what a busy machine takes */

static const struct experiment *const all[] = {sigsys_experiments, notify_experiments, notify_call_experiments,
					       dispatch_experiments, other_experiments};

/* ---- fates ---- */

static void doze(void)
{
	const struct timespec ms = {.tv_nsec = 1000000};

	nanosleep(&ms, NULL);
}

int fate_of_pid(pid_t pid)
{
	int status;

	for (int ms = 0; ms < STUCK_AFTER_MS; ms++) {
		pid_t done = waitpid(pid, &status, WNOHANG);

		if (done == pid)
			return WIFSIGNALED(status) ? KILLED + WTERMSIG(status) : WEXITSTATUS(status);
		if (done < 0 && errno != EINTR)
			return -1;
		doze();
	}
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	return STUCK;
}

int fate_of(int (*fn)(const void *arg), const void *arg)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int rc = fn(arg);

		fflush(stdout);
		_exit(rc);
	}
	return pid < 0 ? -1 : fate_of_pid(pid);
}

const char *fate_text(int fate)
{
	static char text[2][64];
	static int turn;
	char *at = text[turn ^= 1];

	if (fate >= STUCK)
		return "stuck";
	if (fate >= KILLED)
		snprintf(at, sizeof(text[0]), "killed by signal %d (%s)", fate - KILLED, strsignal(fate - KILLED));
	else
		snprintf(at, sizeof(text[0]), "exit status %d", fate);
	return at;
}

/* ---- claims ---- */

bool claim_fate(const char *what, int found, int claimed)
{
	if (found == claimed)
		printf("  %s: %s\n", what, fate_text(found));
	else
		printf("  %s: %s, NOT %s\n", what, fate_text(found), fate_text(claimed));
	return found == claimed;
}

bool claim_long(const char *what, long found, long claimed)
{
	if (found == claimed)
		printf("  %s: %ld\n", what, found);
	else
		printf("  %s: %ld, NOT %ld\n", what, found, claimed);
	return found == claimed;
}

bool claim(const char *what, bool found)
{
	printf("  %s: %s\n", what, found ? "yes" : "NO");
	return found;
}

int skip(const char *why)
{
	printf("skipped: %s\n", why);
	return SKIPPED;
}

/* ---- a program of the ordinary kind, started by an experiment ---- */

const char *self_path(void)
{
	static char path[4096];
	ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);

	path[n > 0 ? n : 0] = '\0';
	return path;
}

_Noreturn void exec_self(const char *word)
{
	execl(self_path(), "trap", "--child", word, (char *)NULL);
	_exit(126);
}

static void *touch(void *arg)
{
	memset(arg, 1, PAGE);
	return arg;
}

/* Memory and a thread: what every program does. */
static int ordinary(void)
{
	char *block = malloc((size_t)4 << 20), *page = map_inline(PAGE, 1);
	pthread_t t;

	if (!block || !page || pthread_create(&t, NULL, touch, block))
		return 3;
	pthread_join(t, NULL);
	free(block);
	return unmap_inline(page, PAGE) ? 4 : 0;
}

static int child_main(const char *word)
{
	if (strcmp(word, "euid") == 0)
		return (int)geteuid() == 0 ? 10 : 11;
	return ordinary();
}

/* ---- */

static int run(const struct experiment *e)
{
	int rc;

	printf("%s: %s\n", e->name, e->claims);
	rc = byte_at(e->name) == (unsigned char)e->name[0] ? e->run() : skip("process_vm_readv() is refused here");
	printf("%s\n", rc == PASSED ? "as claimed" : rc == SKIPPED ? "not tried" : "NOT as claimed");
	return rc;
}

int main(int argc, char **argv)
{
	const struct rlimit none = {0, 0};

	if (argc == 3 && strcmp(argv[1], "--child") == 0)
		return child_main(argv[2]);
	if (getuid() != geteuid())
		return 2;              /* a copy of filter_privileges, in somebody else's hands */
	setrlimit(RLIMIT_CORE, &none); /* many die here */
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		for (const struct experiment *e = all[i]; e->name; e++) {
			if (argc == 2 && strcmp(argv[1], e->name) == 0)
				return run(e);
			if (argc == 2 && strcmp(argv[1], "--list") == 0)
				printf("%-24s %s\n", e->name, e->claims);
		}
	}
	return argc == 2 && strcmp(argv[1], "--list") == 0 ? 0 : 2;
}
