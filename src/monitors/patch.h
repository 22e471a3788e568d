/* SPDX-License-Identifier: MIT */
/*
 * patch.h: libc's functions lead to ours, from their entries on, for every caller there is.
 *
 * One set of sites for the process. The callers hold the hooks' lock. Nothing here runs in a hook.
 */
#ifndef MONITORS_PATCH_H
#define MONITORS_PATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <uhmm/notifier.h>

typedef long (*patch_fn)(long, long, long, long, long, long, long);

struct patch_site {
	const char *name;    /* as libc exports it */
	void (*hook)(void);  /* what its entry leads to; of any type */
	struct uhmm_aptr *original; /* becomes the function as it was, before the entry is patched, for good */
	bool required;       /* older libcs lack some */
	struct uhmm_aptr entry; /* patch_resolve() */
};

#define PATCH_SITES_MAX 24u

/* Finds the functions. The only step that takes the dynamic linker's lock: without the hooks' lock, by several at once. */
void patch_resolve(struct patch_site *sites, size_t n);

/*
 * Reads the functions, prepares the trampolines (once for good), and leads the entries to the hooks. May be repeated after a
 * failure or a removal. On failure nothing is patched that was not before.
 *
 *  -EOPNOTSUPP  no libc that can be patched here
 *  -EBUSY       another library has patched one of the functions
 *  -EPERM       executable mappings cannot be made
 *  -ENOMEM
 */
int patch_install(struct patch_site *sites, size_t n);

/*
 * The bytes as they were, except where somebody has patched on top of us: there the hook stays, and passes everything
 * through.
 */
void patch_remove(void);

/* True if addr is in code that a thread on its way through a patched function may be in: the functions and the trampolines. */
bool patch_covers(uintptr_t addr);

/* One line on what the last patch_install() came to. Constant storage or static; never NULL. */
const char *patch_status(void);

#endif
