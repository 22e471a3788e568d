/* SPDX-License-Identifier: MIT */
#include "supervisor.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>

int receive(int listener, union request *request)
{
	memset(request, 0, sizeof(*request));
	return (int)gate_call(SYS_ioctl, listener, (long)SECCOMP_IOCTL_NOTIF_RECV, (long)request, 0, 0, 0);
}

static int answer(int listener, const struct seccomp_notif_resp *r)
{
	union {
		struct seccomp_notif_resp r;
		char room[512];
	} response = {.room = {0}};

	response.r = *r;
	return (int)gate_call(SYS_ioctl, listener, (long)SECCOMP_IOCTL_NOTIF_SEND, (long)&response, 0, 0, 0);
}

int reply(int listener, uint64_t id, long result)
{
	bool failed = result < 0 && result > -4096;
	struct seccomp_notif_resp r = {.id = id, .error = failed ? (int)result : 0, .val = failed ? 0 : result};

	return answer(listener, &r);
}

int let_go_on(int listener, uint64_t id)
{
	struct seccomp_notif_resp r = {.id = id, .flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE};

	return answer(listener, &r);
}

bool is_waiting(int listener, int timeout_ms)
{
	struct pollfd p = {.fd = listener, .events = POLLIN};

	return gate_call(SYS_poll, (long)&p, 1, timeout_ms, 0, 0, 0) == 1 && (p.revents & POLLIN);
}

bool same_memory(pid_t pid)
{
	long self = gate_call(SYS_getpid, 0, 0, 0, 0, 0, 0);

	return gate_call(SYS_kcmp, self, pid, KCMP_VM, 0, 0, 0) == 0;
}

static long perform(const struct seccomp_data *d)
{
	const long a[6] = {(long)d->args[0], (long)d->args[1], (long)d->args[2],
			   (long)d->args[3], (long)d->args[4], (long)d->args[5]};

	return gate_call(d->nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}

int serve(int listener)
{
	union request request;
	const struct seccomp_data *d = &request.n.data;
	int rc = receive(listener, &request);
	const void *at;
	long result;

	if (rc)
		return rc == -EINTR || rc == -ENOENT ? 0 : rc; /* whoever waited has gone: nothing to do */
	if (!same_memory((pid_t)request.n.pid)) {
		let_go_on(listener, request.n.id);
		return 0;
	}
	if (!look_at_pages) {
		reply(listener, request.n.id, perform(d));
		return 0;
	}
	at = (const void *)(uintptr_t)d->args[0];
	seen.calls++;
	seen.number = d->nr;
	seen.before = byte_at(at);
	result = perform(d);
	seen.after = byte_at(at);
	reply(listener, request.n.id, result);
	return 0;
}

int notify_install(const long *numbers, unsigned flags)
{
	const struct filter_spec spec = {
		.action = SECCOMP_RET_USER_NOTIF,
		.flags = SECCOMP_FILTER_FLAG_NEW_LISTENER | flags,
		.numbers = numbers,
	};

	return filter_install(&spec);
}

static int the_listener;
static sem_t ready, installed;

static void *supervise(void *arg)
{
	sem_post(&ready);
	while (sem_wait(&installed))
		;
	while (serve(the_listener) == 0)
		;
	return arg;
}

/* The thread comes first, and gets as far as its loop: to make one takes mapping calls, which nobody would answer. */
int supervised(void)
{
	pthread_t t;

	memset(&seen, 0, sizeof(seen));
	sem_init(&ready, 0, 0);
	sem_init(&installed, 0, 0);
	if (pthread_create(&t, NULL, supervise, NULL))
		return -EAGAIN;
	while (sem_wait(&ready))
		;
	the_listener = notify_install(mapping_calls, ALL_THREADS | KILLABLE);
	if (the_listener >= 0)
		sem_post(&installed);
	return the_listener;
}
