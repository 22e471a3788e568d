/* SPDX-License-Identifier: MIT */
/*
 * notify.c: calls that wait in the kernel until a supervisor has answered for them. No signal is sent, so none can be blocked.
 * But the filter goes to every descendant, for ever, and calls that nobody answers fail.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "supervisor.h"

static int probe(const void *arg)
{
	(void)arg;
	return same_memory(getpid()) && supervised() >= 0 ? 0 : SETUP_FAILED;
}

bool notify_is_here(void)
{
	return fate_here(probe) == 0;
}

/* ---- what it is good for ---- */

static void *look_with_all_blocked(void *arg)
{
	block_all_signals();
	*(int *)arg = look_at_four_calls();
	return NULL;
}

static int look_supervised(const void *arg)
{
	char *page = map_inline(PAGE, 1);
	int rc = FAILED;
	bool ok = true;
	pthread_t t;
	pid_t pid;

	(void)arg;
	if (supervised() < 0 || pthread_create(&t, NULL, look_with_all_blocked, &rc))
		return SETUP_FAILED;
	pthread_join(t, NULL); /* as a thread ends it blocks all signals and makes a mapping call */
	memset(&seen, 0, sizeof(seen));
	pid = vfork();
	if (pid == 0) {
		unmap_inline(page, PAGE);
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	ok &= claim_long("calls seen of a vfork() child that unmaps a page of ours", (long)seen.calls, 1);
	ok &= claim_long("the page at the start of the call", seen.before, 1);
	ok &= claim_fate("a program that is started while somebody answers", fork_and_exec(), 0);
	return ok ? rc : FAILED;
}

static int notify_sees(void)
{
	NEEDS_NOTIFY();
	return fate_here(look_supervised);
}

/* ---- nobody answers ---- */

static int exec_supervised(const void *arg)
{
	(void)arg;
	if (supervised() < 0)
		return SETUP_FAILED;
	return exec_in_place();
}

static int notify_exec(void)
{
	int found;

	NEEDS_NOTIFY();
	printf(" a listener is close-on-exec, and the supervisor's thread is gone\n");
	found = fate_here(exec_supervised);
	printf("  a program in the place of the supervised one: %s\n", fate_text(found));
	return claim("it cannot start", found != 0 && found != SETUP_FAILED) ? PASSED : FAILED;
}

static int unmap_says(void)
{
	return (int)-unmap_inline(map_inline(PAGE, 1), PAGE);
}

static int close_listener(const void *arg)
{
	int listener = notify_install(munmap_only, 0);

	(void)arg;
	if (listener < 0)
		return SETUP_FAILED;
	close(listener);
	return unmap_says();
}

static int notify_close(void)
{
	NEEDS_NOTIFY();
	return claim_fate("errno of munmap() after the listener was closed (ENOSYS is 38)", fate_here(close_listener), ENOSYS)
		       ? PASSED
		       : FAILED;
}

struct pipes {
	int report[2], end[2]; /* `end` closes when the parent goes */
};

/* Left behind: waits for the end of its parent, which answers for it, then lives on as daemons do. */
static _Noreturn void be_left_behind(const struct pipes *p, bool start_program)
{
	char byte;

	close(p->end[1]);
	while (read(p->end[0], &byte, 1) != 0)
		;
	if (start_program)
		exec_self("ordinary");
	_exit(unmap_says());
}

static int leave_behind(const struct pipes *p, bool start_program)
{
	int listener = supervised();
	pid_t pid;

	if (listener < 0)
		return SETUP_FAILED;
	pid = (pid_t)bare_call(SYS_fork, 0, 0, 0, 0, 0, 0);
	if (pid == 0) {
		close(listener); /* as exec would. Who keeps it open and reads nothing from it, waits for himself */
		be_left_behind(p, start_program);
	}
	return write(p->report[1], &pid, sizeof(pid)) == sizeof(pid) ? 0 : SETUP_FAILED;
}

static int leave_process(const void *arg)
{
	return leave_behind(arg, false);
}

static int leave_program(const void *arg)
{
	return leave_behind(arg, true);
}

static int fate_left_behind(int (*body)(const void *arg))
{
	struct pipes p;
	pid_t pid = -1;
	int rc;

	if (pipe(p.report) || pipe(p.end))
		return SETUP_FAILED;
	rc = fate_of(body, &p);
	close(p.end[1]);
	if (rc == 0 && read(p.report[0], &pid, sizeof(pid)) == sizeof(pid))
		rc = fate_of_pid(pid); /* ours now, see PR_SET_CHILD_SUBREAPER */
	else
		rc = SETUP_FAILED;
	close(p.report[0]);
	close(p.report[1]);
	close(p.end[0]);
	return rc;
}

static int notify_orphan(void)
{
	bool ok = true;
	int found;

	NEEDS_NOTIFY();
	if (prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))
		return skip("no PR_SET_CHILD_SUBREAPER");
	ok &= claim_fate("errno of munmap() in a child that has outlived its supervisor (ENOSYS is 38)",
			 fate_left_behind(leave_process), ENOSYS);
	found = fate_left_behind(leave_program);
	printf("  a program started by such a child: %s\n", fate_text(found));
	ok &= claim("it cannot start", found != 0 && found != SETUP_FAILED);
	return ok ? PASSED : FAILED;
}

/* ---- a process beside, that outlives everybody ---- */

static int send_descriptor(int socket, int fd)
{
	char byte = 0, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec io = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(fd));
	return sendmsg(socket, &m, 0) == 1 ? 0 : -errno;
}

static int receive_descriptor(int socket)
{
	char byte, control[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec io = {.iov_base = &byte, .iov_len = 1};
	struct msghdr m = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
	int fd = -1;

	if (recvmsg(socket, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static pid_t start_keeper(int *socket)
{
	int pair[2];
	pid_t pid;

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
		return -1;
	pid = fork();
	if (pid == 0) {
		int listener = receive_descriptor(pair[1]);

		prctl(PR_SET_PDEATHSIG, SIGKILL); /* it is of this experiment only */
		while (listener >= 0 && serve(listener) == 0)
			;
		_exit(0);
	}
	close(pair[1]);
	*socket = pair[0];
	return pid;
}

static int kept(const void *arg)
{
	int socket, listener;
	pid_t keeper = start_keeper(&socket);
	bool ok = true;

	(void)arg;
	listener = notify_install(munmap_only, 0);
	if (keeper < 0 || listener < 0 || send_descriptor(socket, listener))
		return SETUP_FAILED;
	close(listener);
	ok &= claim_long("errno of munmap() while the keeper answers", unmap_says(), 0);
	kill(keeper, SIGKILL);
	waitpid(keeper, NULL, 0);
	ok &= claim_long("errno of munmap() after it was killed (ENOSYS is 38)", unmap_says(), ENOSYS);
	return ok ? PASSED : FAILED;
}

static int notify_keeper(void)
{
	NEEDS_NOTIFY();
	return fate_here(kept);
}

static int answer_until_end(const void *arg)
{
	const struct pipes *p = arg;
	char byte = 1;
	int listener = supervised();
	pid_t pid;

	if (listener < 0)
		return SETUP_FAILED;
	pid = (pid_t)bare_call(SYS_fork, 0, 0, 0, 0, 0, 0);
	if (pid == 0) {
		bool told = read(p->end[0], &byte, 1) == 1;

		_exit(told && unmap_says() == 0 && write(p->report[1], &byte, 1) == 1 ? 0 : 1);
	}
	if (write(p->report[1], &byte, 1) != 1)
		return SETUP_FAILED;
	return fate_of_pid(pid);
}

static bool says_something(int fd, int timeout_ms)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char byte;

	return poll(&p, 1, timeout_ms) == 1 && read(fd, &byte, 1) == 1;
}

static int notify_stopped(void)
{
	struct pipes p;
	bool ok = true;
	pid_t pid;

	NEEDS_NOTIFY();
	if (pipe(p.report) || pipe(p.end))
		return FAILED;
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		_exit(answer_until_end(&p));
	ok &= claim("supervised", says_something(p.report[0], LONG_MS));
	kill(pid, SIGSTOP);
	waitpid(pid, NULL, WUNTRACED);
	ok &= write(p.end[1], "", 1) == 1;
	ok &= claim("a child makes no mapping call while its parent is stopped", !says_something(p.report[0], A_WHILE_MS));
	kill(pid, SIGCONT);
	ok &= claim("it does when the parent goes on", says_something(p.report[0], LONG_MS));
	return claim_fate("parent and child", fate_of_pid(pid), 0) && ok ? PASSED : FAILED;
}

const struct experiment notify_experiments[] = {
	{"notify_sees", "USER_NOTIF with a supervisor thread sees everything, all signals blocked or not", notify_sees},
	{"notify_exec", "the program that replaces a supervised one cannot start", notify_exec},
	{"notify_close", "a monitor that closes leaves mapping calls that fail", notify_close},
	{"notify_orphan", "so do children that outlive it, daemons for instance", notify_orphan},
	{"notify_keeper", "a process beside that answers for all is one whose death breaks all", notify_keeper},
	{"notify_stopped", "children stand still while the one who answers does", notify_stopped},
	{0},
};
