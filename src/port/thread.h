/* SPDX-License-Identifier: MIT */
/*
 * thread.h: per-thread state and service threads.
 *
 * The area is initial-exec thread-local storage: the first access in a thread calls no allocator, which matters because it may
 * come from inside free(). It is zero in a new thread. Fibers of the race lab share real thread-local storage, so nothing else
 * in the library may use _Thread_local.
 */
#ifndef PORT_THREAD_H
#define PORT_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#define THREAD_AREA_SIZE 192

#include <port_thread.h> /* static inline void *thread_area(void): 64-byte aligned, THREAD_AREA_SIZE bytes */

/*
 * thread_exit_register: call fn(area) when the calling thread exits, once the program's own thread-specific destructors had
 * their turn or among them; code of the thread may still run afterwards. Allocates nothing. -EAGAIN when it cannot be arranged.
 * All callers pass the same fn.
 */
int thread_exit_register(void (*fn)(void *area));

/*
 * The calling thread's id, by system call: libc's copy of it is wrong in the child of a bare clone(). And whether no thread of
 * this process has that id any more; ids are used again, so that a "no" may be about a newer thread.
 */
uint32_t thread_id(void);
bool thread_is_gone(uint32_t id);

/* A thread of the library's own: all signals blocked, stack from our own mapping, never cancelled. */
struct thread_service {
	void *handle, *stack;
};
int thread_service_start(struct thread_service *t, void (*fn)(void *arg), void *arg, const char *name);
void thread_service_join(struct thread_service *t);

/* No cancellation between the two; the first returns what the second is given. */
int thread_cancel_disable(void);
void thread_cancel_restore(int state);
/* Acts on a cancellation that is pending, if it is enabled: then it does not return. */
void thread_cancel_point(void);

/*
 * For the lock checker, on x86-64 and aarch64: true if a signal handler of this thread began after the function at stack
 * address `since` was entered, that is if a signal frame lies below it. Elsewhere, and for a handler on another stack, best
 * effort: may say false.
 */
bool thread_in_signal_handler_since(const void *since);

/* pthread_atfork. */
int thread_atfork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

#endif
