/* SPDX-License-Identifier: MIT */
/*
 * r27.c: self-invalidating registration. reg() changes the very range that it registers, as its own free() may; a cache that
 * begins again for as long as something was invalidated never ends. Bounded here: a get ends, with a registration (an uncached
 * one of the exact range at last) or with -EBUSY, after a number of calls of reg() that does not grow.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "../bare.h"
#include "races.h"

#define CALLS_MAX 64u

struct self {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
	bool explicit_calls;
	_Atomic uint64_t calls, live; /* dereg() runs on another thread */
};

static int reg_discards(void *ctx, struct uhmm_reg *reg)
{
	struct self *s = ctx;
	struct uhmm_event e = { .start = (uintptr_t)reg->addr, .end = (uintptr_t)reg->addr + reg->len,
				.kind = UHMM_EVENT_CLEAR };
	struct uhmm_invalidation inv;

	s->calls++;
	s->live++;
	free(malloc(1 << 20)); /* mapped and unmapped */
	if (!s->explicit_calls) {
		if (madvise(reg->addr, reg->len, MADV_DONTNEED))
			return -errno;
	} else {
		if (uhmm_invalidate_start(s->mm, &inv, &e))
			race_die("invalidate_start failed");
		bare_call(SYS_madvise, (long)reg->addr, (long)reg->len, MADV_DONTNEED, 0, 0, 0);
		uhmm_invalidate_end(&inv);
	}
	reg->handle = s->calls;
	return 0;
}

static void dereg_counts(void *ctx, struct uhmm_reg *reg)
{
	struct self *s = ctx;

	(void)reg;
	s->live--;
}

/* Calls of reg() that the worst get took. */
static uint64_t gets(struct self *s, unsigned char *page, uint64_t tries, uint64_t *busy)
{
	uint64_t worst = 0;

	for (uint64_t i = 0; i < tries; i++) {
		uint64_t before = s->calls;
		struct uhmm_reg *reg;
		int rc = uhmm_regcache_get(s->cache, page, 100, PROT_READ | PROT_WRITE, &reg);

		if (rc == 0) {
			if ((unsigned char *)reg->addr > page || (unsigned char *)reg->addr + reg->len < page + 100)
				race_die("a registration that does not cover what was asked for");
			uhmm_regcache_put(s->cache, reg);
		} else if (rc == -EBUSY) {
			++*busy;
		} else {
			race_die("get: %s", strerror(-rc));
		}
		if (s->calls - before > worst)
			worst = s->calls - before;
		race_progress();
	}
	return worst;
}

void race_r27(const struct race_params *p, struct race_result *r)
{
	static const struct uhmm_regcache_ops ops = { .reg = reg_discards, .dereg = dereg_counts };
	struct uhmm_mm_options o = { .size = sizeof(o) };
	struct self s = { .explicit_calls = p->explicit_calls };
	uint64_t worst, busy = 0;
	int rc;

	r->tries = p->tries < 10000 ? p->tries : 10000;
	r->loss = "unbounded";
	r->model = "retry_forever";
	race_catch_faults();
	r->control = race_model_retry_forever(100000) != 0;
	if (p->explicit_calls || RACE_TSAN)
		o.monitors = UHMM_MONITOR_EXPLICIT;
	rc = uhmm_mm_open(&s.mm, &o);
	if (rc)
		race_die("mm_open: %s", strerror(-rc));
	if (!(uhmm_mm_monitors(s.mm) & UHMM_MONITOR_HOOKS))
		s.explicit_calls = true;
	rc = uhmm_regcache_create(s.mm, &ops, &s, NULL, &s.cache);
	if (rc)
		race_die("regcache_create: %s", strerror(-rc));
	worst = gets(&s, race_map_page(), r->tries, &busy);
	r->lost = worst > CALLS_MAX;
	if (uhmm_regcache_flush(s.cache) || s.live)
		race_die("%llu registrations left after the flush", (unsigned long long)s.live);
	if (uhmm_regcache_destroy(s.cache))
		race_die("the cache cannot be destroyed");
	uhmm_mm_close(s.mm);
	snprintf(r->note, sizeof(r->note), "at most %llu calls of reg() a get, %llu gets busy", (unsigned long long)worst,
		 (unsigned long long)busy);
}
