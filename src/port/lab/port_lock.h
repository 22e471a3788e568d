/* SPDX-License-Identifier: MIT */
/* port_lock.h, lab backend: locks of lab/memory.c. Documented in ../sync.h. */
#ifndef PORT_LOCK_H
#define PORT_LOCK_H

struct sync_lock {
	struct lab_mutex mutex;
};

#define SYNC_LOCK_INIT                                                                                                         \
	{                                                                                                                      \
		.mutex = { 0, 0 }                                                                                              \
	}

static inline void sync_lock_init(struct sync_lock *l)
{
	*l = (struct sync_lock)SYNC_LOCK_INIT;
}

#define sync_lock_acquire(l) lab_mem_lock(&(l)->mutex, LAB_SITE("sync_lock_acquire(" #l ")"))
#define sync_lock_try(l) lab_mem_trylock(&(l)->mutex, LAB_SITE("sync_lock_try(" #l ")"))
#define sync_lock_release(l) lab_mem_unlock(&(l)->mutex, LAB_SITE("sync_lock_release(" #l ")"))
#define sync_lock_acquire_spin(l) port_lock_spin((l), LAB_SITE("sync_lock_acquire_spin(" #l ")"))

static inline void port_lock_spin(struct sync_lock *l, const struct lab_site *site)
{
	while (!lab_mem_trylock(&l->mutex, site))
		lab_mem_relax(site);
}

#endif
