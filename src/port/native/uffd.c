/* SPDX-License-Identifier: MIT */
#include "port/uffd.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>

#include "port/inject.h"
#include "port/linux_new.h"
#include "port/mm.h"
#include "port/thread.h"

#define FEATURES                                                                                                            \
	(UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMAP |     \
	 UFFD_FEATURE_EVENT_REMOVE)

static int control(int fd, unsigned long request, void *arg)
{
	return (int)port_syscall(SYS_ioctl, fd, (long)request, (long)(uintptr_t)arg, 0, 0, 0);
}

/* A descriptor serves one handshake. */
static int open_with(long flags, uint64_t features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = features};
	int fd = -EPERM, err;

	if (!PORT_INJECT(INJECT_UFFD))
		fd = (int)port_syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | flags, 0, 0, 0, 0, 0);
	if (fd == -EACCES) /* a security module's word */
		return -EPERM;
	if (fd == -ENOSYS || fd == -EINVAL) /* the latter: a flag of 5.11 */
		return -EOPNOTSUPP;
	if (fd < 0)
		return fd;
	err = control(fd, UFFDIO_API, &api);
	if (!err)
		return fd;
	uffd_close(fd);
	return err == -EINVAL ? -EOPNOTSUPP : err;
}

int uffd_open(bool *forks)
{
	int fd = open_with(0, FEATURES | UFFD_FEATURE_EVENT_FORK);

	*forks = fd >= 0;
	/* Without the privilege, or with part of it only: no fault is ever served, so user mode only is as good. */
	if (fd == -EPERM)
		fd = open_with(UFFD_USER_MODE_ONLY, FEATURES);
	return fd;
}

void uffd_close(int fd)
{
	port_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

int uffd_watch(int fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_register r = {.range = {.start = start, .len = end - start}, .mode = UFFDIO_REGISTER_MODE_WP};

	return PORT_INJECT(INJECT_UFFD_WATCH) ? -ENOMEM : control(fd, UFFDIO_REGISTER, &r);
}

int uffd_unwatch(int fd, uintptr_t start, uintptr_t end)
{
	struct uffdio_range r = {.start = start, .len = end - start};

	return PORT_INJECT(INJECT_UFFD_UNWATCH) ? -ENOMEM : control(fd, UFFDIO_UNREGISTER, &r);
}

bool uffd_is_async(int pagemap, uintptr_t addr)
{
	struct pagemap_scan s = {
		.size = sizeof(s), .flags = PAGEMAP_SCAN_CHECK_WPASYNC, .start = addr, .end = addr + MM_PAGE_SIZE};

	return control(pagemap, PAGEMAP_SCAN_CALL, &s) >= 0;
}

int uffd_poll(int fd, uint64_t timeout_ns)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	struct timespec left = {.tv_sec = (time_t)(timeout_ns / 1000000000u), .tv_nsec = (long)(timeout_ns % 1000000000u)};
	long err = port_syscall(SYS_ppoll, (long)(uintptr_t)&p, 1, timeout_ns ? (long)(uintptr_t)&left : 0, 0, 0, 0);

	if (err == 0)
		return -ETIMEDOUT;
	if (err < 0)
		return err == -EINTR ? 0 : (int)err;
	return p.revents & POLLIN ? 0 : -EBADF;
}

void uffd_precise_sleeps(void)
{
	port_syscall(SYS_prctl, PR_SET_TIMERSLACK, 1000, 0, 0, 0, 0);
}

static struct uffd_event event_of(const struct uffd_msg *m)
{
	switch (m->event) {
	case UFFD_EVENT_UNMAP:
	case UFFD_EVENT_REMOVE:
		return (struct uffd_event){.kind = m->event == UFFD_EVENT_UNMAP ? UFFD_UNMAP : UFFD_REMOVE,
					   .start = m->arg.remove.start,
					   .end = m->arg.remove.end};
	case UFFD_EVENT_REMAP:
		return (struct uffd_event){.kind = UFFD_REMAP,
					   .start = m->arg.remap.from,
					   .end = m->arg.remap.from + m->arg.remap.len,
					   .to = m->arg.remap.to};
	case UFFD_EVENT_FORK:
		return (struct uffd_event){.kind = UFFD_FORK, .child = (int)m->arg.fork.ufd};
	default:
		return (struct uffd_event){.kind = UFFD_OTHER};
	}
}

int uffd_read(int fd, struct uffd_event *out, uint32_t max)
{
	struct uffd_msg m[UFFD_READ_MAX];
	uint32_t n = max < UFFD_READ_MAX ? max : UFFD_READ_MAX;
	long got = port_syscall(SYS_read, fd, (long)(uintptr_t)m, (long)(n * sizeof(m[0])), 0, 0, 0);

	if (got < 0)
		return (int)got;
	n = (uint32_t)((size_t)got / sizeof(m[0]));
	for (uint32_t i = 0; i < n; i++)
		out[i] = event_of(&m[i]);
	return (int)n;
}

/* ---- a thread's life: the kernel's list of robust futexes, of which ours is the only one this thread ever has ---- */

static void set_list(void *list)
{
	port_syscall(SYS_set_robust_list, (long)(uintptr_t)list, sizeof(struct robust_list_head), 0, 0, 0, 0);
}

void thread_life_begin(struct thread_life *l)
{
	struct robust_list_head *head = (struct robust_list_head *)(void *)l->list;
	struct robust_list *entry = (struct robust_list *)(void *)&l->list[3];
	size_t size;

	static_assert(sizeof(*head) == 3 * sizeof(void *), "and the entry behind it");
	port_syscall(SYS_get_robust_list, 0, (long)(uintptr_t)&l->former, (long)(uintptr_t)&size, 0, 0, 0);
	/* Only with this bit does the kernel wake anybody when it clears the word. */
	a32_store_release(&l->word, thread_id() | FUTEX_WAITERS);
	entry->next = &head->list;
	head->list.next = entry;
	head->list_op_pending = NULL;
	head->futex_offset = (char *)&l->word - (char *)entry;
	set_list(head);
}

void thread_life_end(struct thread_life *l)
{
	set_list(l->former);
	a32_store_release(&l->word, 0);
}

bool thread_life_is_lost(const struct thread_life *l)
{
	return a32_load_acquire(&l->word) & FUTEX_OWNER_DIED;
}

void thread_life_await(const struct thread_life *l, const struct uhmm_a32 *work, uint32_t seen)
{
	uint32_t alive = a32_load_acquire(&l->word);
	/* Not a private futex: the kernel wakes it as a shared one. */
	struct futex_waitv both[2] = {
		{.val = alive, .uaddr = (uintptr_t)&l->word, .flags = FUTEX_32},
		{.val = seen, .uaddr = (uintptr_t)work, .flags = FUTEX_32 | FUTEX_PRIVATE_FLAG},
	};
	struct timespec a_while = {.tv_nsec = 100000000};
	long err;

	if ((alive & FUTEX_OWNER_DIED) || a32_load_acquire(work) != seen)
		return;
	err = port_syscall(SYS_futex_waitv, (long)(uintptr_t)both, 2, 0, 0, 0, 0);
	/* Refused by a filter of system calls, with whatever errno: then the life is looked at ten times a second. */
	if (err < 0 && err != -EAGAIN && err != -EINTR)
		port_syscall(SYS_futex, (long)(uintptr_t)work, FUTEX_WAIT_PRIVATE, (long)seen, (long)(uintptr_t)&a_while, 0, 0);
}
