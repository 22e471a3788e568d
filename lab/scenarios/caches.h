/* SPDX-License-Identifier: MIT */
/*
 * caches.h: what the scenarios for registration caches and hooks (R25, R27 to R33) share. Threads of one process use pages
 * through one model of device 0, or change them; what is checked is registrant.h's, at every call. The thread that is done
 * last gives everything back (the model's detach), so that each registration is seen to be deregistered once.
 */
#ifndef LAB_SCENARIOS_CACHES_H
#define LAB_SCENARIOS_CACHES_H

#include <errno.h>

#include <uhmm/lab.h>
#include <uhmm/regcache.h>

#include "lab/models/cache.h"
#include "lab/process.h"
#include "lab/registrant.h"
#include "lab/scenarios/common.h"

#define CACHES_THREADS 4u
#define RW (LAB_READ | LAB_WRITE)

struct caches_thread {
	const char *name;
	void (*fn)(uint32_t index);
	uint32_t index;
	bool may_be_full; /* a cache with a bound may answer -ENOSPC */
};

struct caches {
	struct lab_device *device;
	const struct lab_model *model;
	struct uhmm_regcache *cache; /* of scenarios that use the shipped one directly */
	bool alone;                  /* at the end everything is deregistered without being asked for */
	bool destroys;               /* it goes at the end; else it is only flushed, which is much less to do */
	uint32_t threads;
	struct uhmm_a32 done, served;  /* threads; gets that yielded something */
	struct caches_thread thread[CACHES_THREADS];
};

/* Of the configuration that was set up last. */
extern struct caches *caches;

/* Set-up: the process, so many written pages of anonymous memory from 0 on. Nothing is attached. options NULL: defaults. */
void caches_begin(const struct lab_setup *s, const struct process_options *options, uint32_t pages);
void caches_attach(void);    /* the model, to all pages */
void caches_own(void);       /* no model: the shipped cache on lab_mm(), with the core's fork handlers */
void caches_thread(const char *name, void (*fn)(uint32_t index));

/* In threads. A get, an access, a put; a get that does not yield anything may only say so. */
void caches_use(uint32_t page, uint32_t access);
void caches_must(int err, const char *what);

#endif
