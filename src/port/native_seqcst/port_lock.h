/* SPDX-License-Identifier: MIT */
/*
 * port_lock.h, for ThreadSanitizer: a futex lock over its own atomics. Its interceptor of pthread_mutex_lock() fails in a
 * thread that it has already taken leave of, and hooks run until the very end of a thread, when glibc gives back the stack.
 */
#ifndef PORT_LOCK_H
#define PORT_LOCK_H

struct sync_lock {
	struct uhmm_a32 word; /* 0 free, 1 held, 2 held and somebody may sleep */
};

#define SYNC_LOCK_INIT {.word = {0}}

static inline void sync_lock_init(struct sync_lock *l)
{
	*l = (struct sync_lock)SYNC_LOCK_INIT;
}

static inline bool sync_lock_try(struct sync_lock *l)
{
	return a32_cas_full(&l->word, 0, 1);
}

static inline bool sync_lock_is_not_marked(uint32_t word, const void *arg)
{
	(void)arg;
	return word != 2;
}

static inline void sync_lock_acquire(struct sync_lock *l)
{
	if (sync_lock_try(l))
		return;
	while (a32_xchg_full(&l->word, 2) != 0)
		sync_await32(&l->word, sync_lock_is_not_marked, 0, SYNC_FOREVER);
}

static inline void sync_lock_acquire_spin(struct sync_lock *l)
{
	while (!sync_lock_try(l))
		sync_relax();
}

static inline void sync_lock_release(struct sync_lock *l)
{
	if (a32_xchg_full(&l->word, 0) == 2)
		sync_wake32(&l->word);
}

#endif
