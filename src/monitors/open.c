/* SPDX-License-Identifier: MIT */
/* open.c: uhmm_mm_open() and uhmm_mm_close(): the core's address space with the monitors that were asked for. */
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "core/core.h"
#include "monitors/fork.h"
#include "monitors/hooks.h"
#include "monitors/uffd.h"
#include "port/mm.h"

#define MONITORS_HERE (UHMM_MONITOR_EXPLICIT | UHMM_MONITOR_HOOKS | UHMM_MONITOR_UFFD)
#define MONITORS_LATER (UHMM_MONITOR_TRAP | UHMM_MONITOR_KMOD)
#define WITNESS_FLAGS UHMM_WITNESS_FILES

/* The size of the first release's options: up to and with fault_threads. */
#define FIRST_SIZE offsetof(struct uhmm_mm_options, witness)

/* Fields that the caller has and this release has not must be zero. A size beyond a page is no struct but a mistake. */
static bool tail_is_zero(const struct uhmm_mm_options *options)
{
	const unsigned char *bytes = (const unsigned char *)options;

	if (options->size > MM_PAGE_SIZE)
		return false;
	for (size_t i = sizeof(*options); i < options->size; i++)
		if (bytes[i])
			return false;
	return true;
}

/* A caller of the first release has none. */
static uint32_t witness_flags(const struct uhmm_mm_options *options)
{
	return options->size >= sizeof(*options) ? options->witness : 0;
}

static int check_options(const struct uhmm_mm_options *options)
{
	if (options->size < FIRST_SIZE || (options->size > FIRST_SIZE && options->size < sizeof(*options)))
		return -EINVAL;
	if (!tail_is_zero(options))
		return -E2BIG;
	if ((options->monitors & ~(uint32_t)(MONITORS_HERE | MONITORS_LATER)) || options->fault_threads)
		return -EINVAL;
	if ((witness_flags(options) & ~(uint32_t)WITNESS_FLAGS) || (options->size >= sizeof(*options) && options->reserved))
		return -E2BIG;
	return options->monitors & MONITORS_LATER ? -EOPNOTSUPP : 0;
}

static int attach_witness(struct uhmm_mm *mm, const struct uhmm_mm_options *options, uint32_t *obtained)
{
	int err;

	if (!(options->monitors & UHMM_MONITOR_UFFD))
		return 0;
	err = uffd_attach(mm, *obtained & UHMM_MONITOR_HOOKS, witness_flags(options) & UHMM_WITNESS_FILES);
	if (!err)
		*obtained |= UHMM_MONITOR_UFFD;
	return err;
}

/* *obtained: the bits. AUTO does without hooks where they cannot be had, for whatever reason. */
static int attach_hooks(struct uhmm_mm *mm, uint32_t asked, uint32_t *obtained)
{
	bool automatic = asked == UHMM_MONITOR_AUTO;
	int err;

	*obtained = UHMM_MONITOR_EXPLICIT;
	if (!automatic && !(asked & UHMM_MONITOR_HOOKS))
		return 0;
	err = hooks_attach(mm);
	if (!err)
		*obtained |= UHMM_MONITOR_HOOKS;
	return automatic ? 0 : err;
}

int uhmm_mm_open(struct uhmm_mm **out, const struct uhmm_mm_options *options)
{
	const struct uhmm_mm_options defaults = {.size = sizeof(defaults)};
	struct uhmm_mm *mm;
	uint32_t obtained;
	int err;

	if (!out)
		return -EINVAL;
	if (!options)
		options = &defaults;
	err = check_options(options);
	if (!err)
		err = fork_watch();
	if (!err)
		err = core_mm_create(&mm);
	if (err)
		return err;
	err = attach_hooks(mm, options->monitors, &obtained);
	if (!err)
		err = attach_witness(mm, options, &obtained);
	core_mm_set_monitors(mm, obtained);
	if (err) {
		uhmm_mm_close(mm);
		return err;
	}
	*out = mm;
	return 0;
}

void uhmm_mm_close(struct uhmm_mm *mm)
{
	if (!mm)
		return;
	if (core_mm_get_monitors(mm) & UHMM_MONITOR_HOOKS)
		hooks_detach(mm);
	if (core_mm_get_monitors(mm) & UHMM_MONITOR_UFFD)
		uffd_detach(mm);
	core_mm_destroy(mm);
}

uint32_t uhmm_mm_monitors(const struct uhmm_mm *mm)
{
	return mm ? core_mm_get_monitors(mm) : 0;
}

size_t uhmm_hooks_status(char *text, size_t size)
{
	return hooks_status(text, size);
}
