/* SPDX-License-Identifier: MIT */
/* hook_entry.h: the functions that are patched and where they lead. */
#ifndef MONITORS_HOOK_ENTRY_H
#define MONITORS_HOOK_ENTRY_H

#include <stddef.h>

#include "monitors/patch.h"

struct patch_site *hook_sites(size_t *n);
/* Asks the dynamic linker for them; before hook_sites(), with no lock held. */
void hook_sites_resolve(void);

#endif
