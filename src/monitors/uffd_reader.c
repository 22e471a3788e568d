/* SPDX-License-Identifier: MIT */
/*
 * uffd_reader.c: the thread that reads the events. Threads of the program stand in the kernel until it does, and they may hold
 * anything: it takes no lock, runs no callback, allocates nothing and touches no memory but its own.
 */
#include <errno.h>

#include "core/queue.h"
#include "monitors/uffd_inside.h"
#include "port/text.h"

/* A fork's event comes with a descriptor. Where there is none left, ours goes: the fork would wait for ever. */
static int read_events(struct uffd_event *events)
{
	int n = uffd_read(uffd_fd(), events, UFFD_READ_MAX);

	if ((n == -EMFILE || n == -ENFILE) && uffd.spare >= 0) {
		text_close(uffd.spare);
		uffd.spare = -1;
		n = uffd_read(uffd_fd(), events, UFFD_READ_MAX);
	}
	return n;
}

static struct witness_event decide(const struct uffd_event *e)
{
	struct witness_event out = {.start = e->start, .end = e->end, .to = e->to};

	switch (e->kind) {
	case UFFD_UNMAP:
		out.kind = WITNESS_UNMAP;
		break;
	case UFFD_REMAP:
		out.kind = WITNESS_REMAP;
		break;
	case UFFD_REMOVE:
		out.kind = WITNESS_REMOVE;
		return out;
	default:
		out.kind = WITNESS_FORK;
		return out;
	}
	/* Nobody else unmaps that page. It is ours alone, and goes only to be seen here. */
	if (e->kind == UFFD_UNMAP && e->start <= (uintptr_t)uffd.bell && (uintptr_t)uffd.bell < e->end)
		a32_store_relaxed(&uffd.rung, 1);
	out.forgotten = watchset_try_forget_touching(&uffd.set, out.start, out.end);
	if (out.kind == WITNESS_REMAP)
		out.forgotten &= watchset_try_forget_touching(&uffd.set, out.to, out.to + (out.end - out.start));
	return out;
}

/* The child's mappings are its own business: with its descriptor they go off the kernel's list. */
static void close_child(const struct uffd_event *e)
{
	if (e->kind != UFFD_FORK)
		return;
	uffd_close(e->child);
	if (uffd.spare < 0)
		uffd.spare = text_open("/proc/self/maps");
}

/*
 * The service thread is woken when the callers have gone on, or have had the time: on their own processor, where a reader wakes
 * up fastest, they would have to wait for it otherwise.
 */
#define URGE_AFTER_NS 50000u
#define URGE_AFTER_EVENTS 8u

static uint32_t unserved; /* rounds since something was left for it; only the reader's */

static void urge(void)
{
	unserved = 0;
	core_service_wake();
}

static int serve_once(void)
{
	struct witness_event decided[WITNESS_EVENTS];
	struct uffd_event events[UFFD_READ_MAX];
	uint32_t count = 0;
	int n;

	static_assert(UFFD_READ_MAX <= WITNESS_EVENTS, "one gate for what one read gives");
	/* Both before the read, with which the callers go on. */
	watchset_doubt(&uffd.set);
	witness_shut(&uffd.witness, &uffd.witness.reader);
	n = read_events(events);
	for (int i = 0; i < n; i++)
		if (events[i].kind != UFFD_FORK || !uffd_fork_is_known())
			decided[count++] = decide(&events[i]);
	unserved += witness_open(&uffd.witness, &uffd.witness.reader, decided, count) || unserved;
	for (int i = 0; i < n; i++)
		close_child(&events[i]);
	if (unserved >= URGE_AFTER_EVENTS)
		urge();
	return n < 0 ? n : 0;
}

/* Those that the next try may not meet again. */
static bool is_passing(int err)
{
	return err == -EAGAIN || err == -EINTR || err == -EMFILE || err == -ENFILE || err == -ENOMEM;
}

/* False: the descriptor does not work any more. */
static bool next(void)
{
	int err = uffd_poll(uffd_fd(), unserved ? URGE_AFTER_NS : 0);

	if (err == -ETIMEDOUT)
		urge();
	if (!err)
		err = serve_once();
	return !err || err == -ETIMEDOUT || is_passing(err);
}

/* One that ends without having been told to is noticed by the guard: its life ends with the thread, not here. */
void uffd_reader_main(void *arg)
{
	bool works = true;

	(void)arg;
	unserved = 0;
	uffd_precise_sleeps();
	thread_life_begin(&uffd.life);
	a32_store_release(&uffd.up, 1);
	sync_wake32(&uffd.up);
	while (works && !a32_load_relaxed(&uffd.rung))
		works = next() && !PORT_INJECT(INJECT_READER);
	if (works)
		thread_life_end(&uffd.life);
}
