/* SPDX-License-Identifier: MIT */
/* port_lock.h, native: pthread mutexes. Documented in ../sync.h. */
#ifndef PORT_LOCK_H
#define PORT_LOCK_H

#include <pthread.h>

struct sync_lock {
	pthread_mutex_t mutex;
};

#define SYNC_LOCK_INIT                                                                                                      \
	{                                                                                                                   \
		.mutex = PTHREAD_MUTEX_INITIALIZER                                                                          \
	}

static inline void sync_lock_init(struct sync_lock *l)
{
	*l = (struct sync_lock)SYNC_LOCK_INIT;
}

static inline void sync_lock_acquire(struct sync_lock *l)
{
	pthread_mutex_lock(&l->mutex);
}

static inline bool sync_lock_try(struct sync_lock *l)
{
	return pthread_mutex_trylock(&l->mutex) == 0;
}

static inline void sync_lock_acquire_spin(struct sync_lock *l)
{
	while (!sync_lock_try(l))
		sync_relax();
}

static inline void sync_lock_release(struct sync_lock *l)
{
	pthread_mutex_unlock(&l->mutex);
}

#endif
