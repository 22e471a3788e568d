/* SPDX-License-Identifier: MIT */
/*
 * ucx.h: UCX's registration caches, told by this library's hooks. In libuhmm-ucx.so.
 *
 * UCX patches libc's mapping calls itself, unless somebody promises to tell it of every unmapping. Preloading libuhmm-ucx.so
 * does that for a program that knows nothing of it; a program that does know calls uhmm_ucx_attach(). What changes is in
 * uhmm_integrations(7).
 *
 * Stability: as <uhmm/mm.h>. Threads: any.
 */
#ifndef UHMM_UCX_H
#define UHMM_UCX_H

#ifdef __cplusplus
extern "C" {
#endif

/*
 * uhmm_ucx_attach: from now on, and for the rest of the process, every change that goes through libc is reported to UCX before
 * and after it happens, and UCX installs no hooks of its own for unmappings.
 *
 * libucm is loaded already; it is kept from being unloaded. This library comes before it: preloaded, or linked with the program
 * in front of UCX. Then UCX is attached when it is loaded, and this call says what became of that. Opens an address space with
 * HOOKS. Later calls return what the first one did. May block for a few milliseconds, and takes the dynamic linker's lock; not
 * from a callback, nor under a lock that is held around a change of mappings. A failure has changed nothing: UCX goes on with
 * its own hooks.
 *
 *  -ENOENT      no libucm in this process (not remembered: a later call tries again)
 *  -ENOSYS      this libucm takes no external events, or was loaded before this library
 *  -EBUSY       another library, perhaps UCX itself, has patched libc's mapping calls
 *  -EOPNOTSUPP  no hooks on this machine
 *  -EPERM       the system forbids changing executable mappings
 *  -ENOMEM      no memory
 */
int uhmm_ucx_attach(void);

#ifdef __cplusplus
}
#endif
#endif
