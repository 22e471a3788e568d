/* SPDX-License-Identifier: MIT */
/*
 * fabric.c: libfabric's side: finding it, importing the monitor, and what libfabric calls.
 *
 * Preloaded, this library stands before libfabric's fi_fabric(): every domain is opened on a fabric, and the monitor must be
 * there before the first domain. A program that makes no fabric never pays for more than the preload itself. Nothing of
 * libfabric is linked: the one that the program has is looked for, under the versions that it has had since 1.0.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <rdma/fabric.h>
#include <rdma/fi_ext.h>

#include <uhmm/fabric.h>
#include <uhmm/mm.h>

#include "integrations/fabric_track.h"
#include "integrations/say.h"

#define EXPORT __attribute__((visibility("default")))

static const char OURS[] = "uhmm-fabric";
static const char WITHOUT_US[] = "libfabric goes on with its own monitor";

/* ---- what libfabric calls ---- */

static struct fid_mem_monitor monitor;
static struct uhmm_mm *address_space;

static void drop(const void *addr, size_t len)
{
	monitor.import_ops->notify(&monitor, addr, len);
}

static int monitor_start(struct fid_mem_monitor *m)
{
	(void)m;
	return track_start(address_space, drop);
}

static void monitor_stop(struct fid_mem_monitor *m)
{
	(void)m;
	track_stop();
}

/* Never an error: libfabric would write a line for each, and what is not watched is refused when it is found. */
static int monitor_subscribe(struct fid_mem_monitor *m, const void *addr, size_t len)
{
	(void)m;
	track_subscribe(addr, len);
	return 0;
}

static void monitor_unsubscribe(struct fid_mem_monitor *m, const void *addr, size_t len)
{
	(void)m;
	track_unsubscribe(addr, len);
}

static bool monitor_valid(struct fid_mem_monitor *m, const void *addr, size_t len)
{
	(void)m;
	return track_valid(addr, len);
}

static struct fi_ops_mem_monitor monitor_ops = {
	.size = sizeof(struct fi_ops_mem_monitor),
	.start = monitor_start,
	.stop = monitor_stop,
	.subscribe = monitor_subscribe,
	.unsubscribe = monitor_unsubscribe,
	.valid = monitor_valid,
};

/* ---- finding libfabric ---- */

/* The program's own, then one that was loaded on the quiet (a plugin's, RTLD_LOCAL). */
static void *fabric_symbol(const char *name)
{
	void *found = dlsym(RTLD_DEFAULT, name), *handle;

	if (found)
		return found;
	handle = dlopen("libfabric.so.1", RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return NULL;
	found = dlsym(handle, name);
	dlclose(handle);
	return found;
}

/* What we gave it is called until the process ends, and what it gave us as well. */
static void keep_loaded(void *inside)
{
	Dl_info where;

	if (dladdr(inside, &where) && where.dli_fname)
		dlopen(where.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
}

typedef int (*open_fn)(uint32_t, const char *, void *, size_t, uint64_t, struct fid **, void *);

static int import_into(open_fn open)
{
	struct fid *cache;
	int err = open(FI_VERSION(1, 13), "mr_cache", NULL, 0, 0, &cache, NULL);

	if (err)
		return -ENOSYS;
	monitor.fid.fclass = FI_CLASS_MEM_MONITOR;
	monitor.export_ops = &monitor_ops;
	err = fi_import_fid(cache, &monitor.fid, 0);
	fi_close(cache);
	return err;
}

static int open_address_space(void)
{
	const struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	int err = uhmm_mm_open(&address_space, &options);

	if (err)
		say(OURS, err == -EBUSY ? "libc is patched by another library" : "no hooks", -err, WITHOUT_US);
	return err;
}

/* Asked for by name, no cache at all is what the user gets. */
static bool is_unwanted(void)
{
	const char *wanted = getenv("FI_MR_CACHE_MONITOR");

	return wanted && strcmp(wanted, "disabled") == 0;
}

static int import_now(void)
{
	open_fn open = (open_fn)fabric_symbol("fi_open");
	uint32_t (*version)(void) = (uint32_t(*)(void))fabric_symbol("fi_version");
	int err;

	if (!open && !version)
		return -ENOENT;
	if (!open || (version && FI_VERSION_LT(version(), FI_VERSION(1, 13)))) {
		say(OURS, "this libfabric is older than 1.13", 0, WITHOUT_US);
		return -ENOSYS;
	}
	if (is_unwanted())
		return -ENOSYS;
	err = open_address_space();
	if (err)
		return err;
	keep_loaded((void *)open);
	err = import_into(open);
	if (err) {
		say(OURS, "the monitor was not accepted", -err, WITHOUT_US);
		uhmm_mm_close(address_space);
	}
	return err;
}

/* The lock is held while libfabric sets itself up; nobody takes it in a callback or in a fork handler. */
static pthread_mutex_t import_lock = PTHREAD_MUTEX_INITIALIZER;

EXPORT int uhmm_fabric_import(void)
{
	static int result = -ENOENT;
	int err;

	pthread_mutex_lock(&import_lock);
	if (result == -ENOENT)
		result = import_now();
	err = result;
	pthread_mutex_unlock(&import_lock);
	return err;
}

EXPORT void uhmm_fabric_stats(struct uhmm_fabric_stats *out)
{
	track_stats(out);
}

/* Before libfabric's own destructors: ours are run first, as the library that was loaded first is also set up last. */
static __attribute__((destructor)) void at_end(void)
{
	track_end();
}

/* ---- before libfabric's own ---- */

static void *next_fabric(const char *name, const char *version)
{
	void *next = dlvsym(RTLD_NEXT, name, version), *handle;

	if (next)
		return next;
	handle = dlopen("libfabric.so.1", RTLD_LAZY | RTLD_NOLOAD);
	if (!handle)
		return NULL;
	next = dlvsym(handle, name, version);
	dlclose(handle);
	return next;
}

typedef int (*fabric_fn)(struct fi_fabric_attr *, struct fid_fabric **, void *);
typedef int (*fabric2_fn)(struct fi_info *, struct fid_fabric **, uint64_t, void *);

static int fabric(const char *version, struct fi_fabric_attr *attr, struct fid_fabric **out, void *context)
{
	fabric_fn next = (fabric_fn)next_fabric("fi_fabric", version);

	if (!next)
		return -FI_ENOSYS;
	uhmm_fabric_import();
	return next(attr, out, context);
}

EXPORT int fabric_1_0(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context);
EXPORT int fabric_1_1(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context);
EXPORT int fabric2_1_8(struct fi_info *info, struct fid_fabric **out, uint64_t flags, void *context);

int fabric_1_0(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context)
{
	return fabric("FABRIC_1.0", attr, out, context);
}

int fabric_1_1(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context)
{
	return fabric("FABRIC_1.1", attr, out, context);
}

/* Of libfabric 2; its arguments are passed on as they are. */
int fabric2_1_8(struct fi_info *info, struct fid_fabric **out, uint64_t flags, void *context)
{
	fabric2_fn next = (fabric2_fn)next_fabric("fi_fabric2", "FABRIC_1.8");

	if (!next)
		return -FI_ENOSYS;
	uhmm_fabric_import();
	return next(info, out, flags, context);
}

__asm__(".symver fabric_1_0, fi_fabric@FABRIC_1.0");
__asm__(".symver fabric_1_1, fi_fabric@@FABRIC_1.1");
__asm__(".symver fabric2_1_8, fi_fabric2@@FABRIC_1.8");
