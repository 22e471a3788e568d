/* SPDX-License-Identifier: MIT */
/* thread.c, lab backend: threads are fibers. */
#include "port/thread.h"

#include <errno.h>
#include <stddef.h>

#include "lab/engine.h"
#include "lab/port_lab.h"
#include "port/inject.h"
#include "port/mm.h"

#define HANDLERS 4u

static void (*exit_fn[LAB_FIBERS])(void *area);

static struct handlers {
	void (*prepare)(void), (*parent)(void), (*child)(void);
} handlers[HANDLERS];
static uint32_t handler_count;

int thread_exit_register(void (*fn)(void *area))
{
	exit_fn[lab_self()] = fn;
	return 0;
}

void lab_thread_exit(void)
{
	void (*fn)(void *) = exit_fn[lab_self()];

	if (fn)
		fn(thread_area());
}

uint32_t thread_id(void)
{
	return (uint32_t)port_syscall(186 /* gettid */, 0, 0, 0, 0, 0, 0);
}

bool thread_is_gone(uint32_t id)
{
	(void)id;
	return false;
}

int thread_service_start(struct thread_service *t, void (*fn)(void *arg), void *arg, const char *name)
{
	if (PORT_INJECT(INJECT_THREAD))
		return -EAGAIN;
	t->handle = (void *)(uintptr_t)lab_fiber_spawn(name, fn, arg, true);
	t->stack = NULL;
	return 0;
}

void thread_service_join(struct thread_service *t)
{
	lab_fiber_join((uint32_t)(uintptr_t)t->handle);
}

int thread_cancel_disable(void)
{
	return 0;
}

void thread_cancel_restore(int state)
{
	(void)state;
}

bool thread_in_signal_handler_since(const void *since)
{
	(void)since;
	return false;
}

int thread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void))
{
	if (handler_count == HANDLERS)
		return -ENOMEM;
	handlers[handler_count++] = (struct handlers){prepare, parent, child};
	return 0;
}

void lab_fork_prepare(void)
{
	for (uint32_t i = handler_count; i > 0; i--)
		handlers[i - 1].prepare();
}

void lab_fork_parent(void)
{
	for (uint32_t i = 0; i < handler_count; i++)
		handlers[i].parent();
}

void lab_fork_child(void)
{
	for (uint32_t i = 0; i < handler_count; i++)
		handlers[i].child();
}
