/* SPDX-License-Identifier: MIT */
#include "protocol.h"

#include <errno.h>
#include <string.h>

#include "uring_calls.h"

static const struct protocol protocols[] = {
	{"interval", "the shipped one: collision-retry, changes seen by hooks", ANNOUNCE_HOOKS, true, &uring_calls_shipped},
	{"announce_before", "sabotaged: a change is announced before the call only", ANNOUNCE_BEFORE, false,
	 &uring_calls_shipped},
	{"no_retry", "sabotaged: what changed during a registration is not noticed", ANNOUNCE_HOOKS, false,
	 &uring_calls_no_retry},
	{"none", "sabotaged: nobody announces anything", ANNOUNCE_NEVER, false, &uring_calls_shipped},
};

const struct protocol *protocol_at(size_t i)
{
	return i < sizeof(protocols) / sizeof(protocols[0]) ? &protocols[i] : NULL;
}

const struct protocol *protocol_find(const char *name)
{
	if (strcmp(name, "sound") == 0)
		return &protocols[0];
	for (size_t i = 0; protocol_at(i); i++) {
		if (strcmp(protocols[i].name, name) == 0)
			return &protocols[i];
	}
	return NULL;
}

int protocol_open_mm(const struct protocol *p, bool hooks, struct uhmm_mm **mm, enum announce *announce)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	int err;

	*announce = p->announce;
	if (p->announce == ANNOUNCE_HOOKS) {
		err = hooks ? uhmm_mm_open(mm, &options) : -EOPNOTSUPP;
		if (err != -EOPNOTSUPP && err != -EBUSY && err != -EPERM)
			return err;
		*announce = ANNOUNCE_BRACKET;
	}
	options.monitors = UHMM_MONITOR_EXPLICIT;
	return uhmm_mm_open(mm, &options);
}
