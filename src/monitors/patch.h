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

enum patch_need {
	PATCH_REQUIRED,
	PATCH_IF_THERE,   /* older libcs lack it */
	PATCH_IF_POSSIBLE /* and else the rest is patched without it, and the status says so */
};

struct patch_site {
	const char *name;    /* as libc exports it */
	void (*hook)(void);  /* what its entry leads to; of any type */
	struct uhmm_aptr *original; /* becomes the function as it was, before the entry is patched, for good */
	/*
	 * In place of `hook` where somebody else's jump was at the entry: must call what `chained` points to, which becomes
	 * where
	 * that jump led. NULL: then such a function cannot be patched. A function of its own, because the other one's way may
	 * come by a copy of our first jump again, and has to find the original there.
	 */
	void (*chained_hook)(void);
	struct uhmm_aptr *chained;
	enum patch_need need;
	struct uhmm_aptr entry; /* patch_resolve() */
};

#define PATCH_SITES_MAX 24u

/* Finds the functions. The only step that takes the dynamic linker's lock: without the hooks' lock, by several at once. */
void patch_resolve(struct patch_site *sites, size_t n);

/*
 * Reads the functions, prepares the trampolines (for good), and leads the entries to the hooks. May be repeated at any time:
 * then
 * it puts in place what somebody else has overwritten, on top of what he has put there. On failure nothing is patched that was
 * not before.
 *
 *  -EOPNOTSUPP  no libc that can be patched here
 *  -EBUSY       one of the functions was patched by somebody else in a way that cannot be chained: the status names him
 *  -EPERM       executable mappings cannot be made
 *  -ENOMEM
 */
int patch_install(struct patch_site *sites, size_t n);

/*
 * The bytes as they were, except where somebody has patched on top of us: there the hook stays, and passes everything
 * through.
 */
void patch_remove(void);

/*
 * Has somebody overwritten a jump of ours? patch_is_whole() looks at all of them, with the caller's lock. patch_probe() looks
 * at one, whichever the number makes it, and patch_is_text() says whether a range may hold some: without the lock, in no time.
 */
bool patch_is_whole(void);
bool patch_probe(uint32_t which);
bool patch_is_text(uintptr_t start, uintptr_t end);
/* Is some of the text where our jumps are writable now? */
bool patch_is_being_written(void);

/* True if addr is in code that a thread on its way through a patched function may be in: the functions and the trampolines. */
bool patch_covers(uintptr_t addr);

/* One line on what the last patch_install() came to. Constant storage or static; never NULL. */
const char *patch_status(void);

#endif
