/* SPDX-License-Identifier: MIT */
/*
 * uffd_guard.c: what the reader cannot do itself. It notices that the reader has gone, which nothing but the kernel can
 * tell, and lets those go who wait for it. And it waits for the end of discards (R26), which nothing tells at all: until
 * each thread has been seen elsewhere than in a call that discards.
 *
 * A thread shows where it is when it is not running. One that is running is taken to be elsewhere once it has had user time
 * twice by the clock tick, as in settle.c. The kernel's own workers for io_uring make such calls too; idle, they sleep in a way
 * that no such call does.
 */
#include <errno.h>
#include <sys/syscall.h>

#include "monitors/proc.h"
#include "monitors/uffd_inside.h"
#include "port/clock.h"
#include "port/mm.h"
#include "port/text.h"

#define LOOK_EVERY_NS 300000u
#define TICKS_ENOUGH 2u

struct thread_seen {
	int tid;
	uint64_t ticks;
};

struct crowd {
	struct thread_seen *at;
	size_t count, room;
	int self;
};

static bool take_down(int tid, void *arg)
{
	struct crowd *c = arg;

	if (tid == c->self)
		return true;
	if (c->count < c->room)
		c->at[c->count] = (struct thread_seen){.tid = tid, .ticks = proc_thread_user_ticks(tid)};
	c->count++;
	return true;
}

static void disperse(struct crowd *c)
{
	if (c->at)
		mm_unmap(c->at, c->room * sizeof(*c->at));
	c->at = NULL;
}

/* Every thread there is: false if they cannot be listed. */
static bool gather(struct crowd *c)
{
	size_t room = 512;
	void *at;

	do {
		disperse(c);
		if (mm_map(room * sizeof(*c->at), &at) != 0)
			return false;
		c->at = at;
		c->room = room;
		c->count = 0;
		if (proc_threads_each(take_down, c) != 0)
			return false;
		room = c->count + c->count / 2;
	} while (c->count > c->room);
	return true;
}

static bool is_elsewhere(const struct thread_seen *seen)
{
	struct proc_thread t = proc_thread_look(seen->tid);
	uint64_t ticks;
	bool idle;

	if (t.doing == PROC_GONE)
		return true;
	if (proc_thread_is_worker(seen->tid, &idle))
		return idle;
	if (t.doing == PROC_IN_CALL)
		return t.call != SYS_madvise && t.call != SYS_process_madvise;
	if (t.doing == PROC_STOPPED_IN_USER)
		return true;
	ticks = proc_thread_user_ticks(seen->tid);
	return ticks != UINT64_MAX && seen->ticks != UINT64_MAX && ticks >= seen->ticks + TICKS_ENOUGH;
}

static bool must_leave(void)
{
	return a32_load_acquire(&uffd.stop) || thread_life_is_lost(&uffd.life);
}

/* False: it is not known, or not asked any more. */
static bool await_elsewhere(void)
{
	struct crowd c = {.self = (int)thread_id()};
	bool known = gather(&c);

	while (known && c.count > 0 && !must_leave()) {
		size_t i = 0;

		while (i < c.count) {
			if (is_elsewhere(&c.at[i]))
				c.at[i] = c.at[--c.count];
			else
				i++;
		}
		if (c.count)
			clock_sleep_ns(LOOK_EVERY_NS);
	}
	known &= c.count == 0;
	disperse(&c);
	return known;
}

/*
 * Stale first, then let go: until the descriptor is closed whoever changed a mapping is still waiting for the reader. Its
 * number is not given free, because others may be about to use it.
 */
static void bury(void)
{
	int fd = uffd_fd(), other = text_open("/proc/self/maps");

	a32_store_release(&uffd.state, UFFD_DEAD);
	a32_store_release(&uffd_lifting, 0);
	/* The list is no more asked. Its lock may be held by one on top of whom a signal handler waits for the reader. */
	witness_die(&uffd.witness);
	if (other >= 0 && port_syscall(SYS_dup3, other, fd, 02000000 /* O_CLOEXEC */, 0, 0, 0) == fd) {
		text_close(other);
		return;
	}
	a32_store_release(&uffd.fd, (uint32_t)-1);
	uffd_close(fd);
}

void uffd_guard_main(void *arg)
{
	struct witness_taken taken;

	(void)arg;
	for (;;) {
		uint32_t seen = a32_load_acquire(&uffd.witness.work);

		if (a32_load_acquire(&uffd.stop))
			return;
		if (thread_life_is_lost(&uffd.life)) {
			bury();
			return;
		}
		if (!witness_take(&uffd.witness, &taken))
			thread_life_await(&uffd.life, &uffd.witness.work, seen);
		else if (await_elsewhere())
			witness_untaint(&uffd.witness, &uffd.witness.guard, &taken);
		else if (!must_leave())
			clock_sleep_ns(LOOK_EVERY_NS * 100); /* the system shows no threads, or memory is short */
	}
}
