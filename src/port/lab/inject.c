/* SPDX-License-Identifier: MIT */
#include "port/inject.h"

#include "lab/engine.h"

/* Whether a call fails is a choice, within the scenario's budget. During set-up nothing fails. */
bool port_inject(enum inject_site site)
{
	(void)site;
	return lab_choose(LAB_CHOICE_FAIL, 2) != 0;
}

/* The nth pass is for tests that count; here every pass is tried. */
void port_inject_fail(enum inject_site site, uint64_t nth)
{
	(void)site;
	(void)nth;
}

uint64_t port_inject_passes(enum inject_site site)
{
	(void)site;
	return 0;
}
