/* SPDX-License-Identifier: MIT */
/*
 * hooks_peers: UCX and libfabric as the distribution ships them, in one process with our hooks, in either order of coming and
 * of
 * going: everybody hears what changes. UCX's library is loaded at run time; of libfabric, whose monitor starts only for devices
 * that are not here, the one object that patches is taken out of the static library, and what it needs of the rest is below.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/shm.h>
#include <sys/wait.h>

#include "hooks_common.h"

#define CHECK(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition)) {                                                                                         \
			printf("%s:%d: %s\n", __func__, __LINE__, #condition);                                              \
			return 1;                                                                                           \
		}                                                                                                           \
	} while (0)

struct peer {
	const char *name;
	int (*come)(void); /* SKIP: not here */
	int (*go)(void);   /* NULL: it stays */
};

static atomic_int heard_by_peer; /* that `watched` went */
static atomic_uintptr_t watched;

/* ---- UCX ---- */

#define UCM_EVENT_VM_UNMAPPED (1 << 17)

struct ucm_vm_unmapped {
	void *address;
	size_t size;
};

static void on_ucm(int type, void *event, void *arg)
{
	struct ucm_vm_unmapped *e = event;
	uintptr_t start = (uintptr_t)e->address;

	(void)type;
	(void)arg;
	if (start <= watched && watched < start + e->size)
		heard_by_peer++;
}

static void *ucm_symbol(const char *name)
{
	static void *ucm;

	if (!ucm && dlopen("libucs.so.0", RTLD_NOW | RTLD_GLOBAL))
		ucm = dlopen("libucm.so.0", RTLD_NOW | RTLD_GLOBAL);
	return ucm ? dlsym(ucm, name) : NULL;
}

static int ucx_comes(void)
{
	int (*set)(int, int, void (*)(int, void *, void *), void *) =
		(int (*)(int, int, void (*)(int, void *, void *), void *))ucm_symbol("ucm_set_event_handler");

	if (!set) {
		printf("UCX is not here: libucm.so.0\n");
		return SKIP;
	}
	return set(UCM_EVENT_VM_UNMAPPED, 0, on_ucm, NULL) == 0 ? 0 : 1;
}

/* ---- libfabric ---- */

#ifdef HAVE_MEMHOOKS
struct ofi_mem_monitor { /* as in 1.17 */
	void *list[2];
	int iface;
	void (*init)(struct ofi_mem_monitor *m);
	void (*cleanup)(struct ofi_mem_monitor *m);
	int (*start)(struct ofi_mem_monitor *m);
	void (*stop)(struct ofi_mem_monitor *m);
};
extern struct ofi_mem_monitor *memhooks_monitor;

extern char core_prov[256];
extern pthread_rwlock_t mm_list_rwlock;
extern pthread_mutex_t mm_lock;
void fi_log(void);
int fi_log_enabled(void);
const char *fi_strerror(int err);
void ofi_monitor_init(struct ofi_mem_monitor *m);
void ofi_monitor_cleanup(struct ofi_mem_monitor *m);
void ofi_monitor_notify(struct ofi_mem_monitor *m, const void *addr, size_t len);

char core_prov[256];
pthread_rwlock_t mm_list_rwlock = PTHREAD_RWLOCK_INITIALIZER;
pthread_mutex_t mm_lock = PTHREAD_MUTEX_INITIALIZER;
void fi_log(void) { }
int fi_log_enabled(void) { return 0; }
const char *fi_strerror(int err) { return strerror(err); }
void ofi_monitor_init(struct ofi_mem_monitor *m) { (void)m; }
void ofi_monitor_cleanup(struct ofi_mem_monitor *m) { (void)m; }
void ofi_monitor_notify(struct ofi_mem_monitor *m, const void *addr, size_t len)
{
	uintptr_t start = (uintptr_t)addr;

	(void)m;
	if (start <= watched && watched - start < len)
		heard_by_peer++;
}

static int fabric_comes(void)
{
	return memhooks_monitor->start(memhooks_monitor) == 0 ? 0 : 1;
}

static int fabric_goes(void)
{
	memhooks_monitor->stop(memhooks_monitor);
	return 0;
}
#else
static int fabric_comes(void)
{
	printf("libfabric's static library is not here, or not of version 1.17\n");
	return SKIP;
}

static int fabric_goes(void)
{
	return 0;
}
#endif

static const struct peer peers[] = {
	{"UCX", ucx_comes, NULL},
	{"libfabric memhooks", fabric_comes, fabric_goes},
};

/* ---- what is done to a page ---- */

static void *page;

static bool do_munmap(void) { return munmap(page, PAGE) == 0; }
static bool do_dontneed(void) { return madvise(page, PAGE, MADV_DONTNEED) == 0; }
/* It has to move, because the next page is taken. Not to a fixed place: UCX 1.13 forgets that argument. */
static bool do_mremap(void)
{
	void *to = mremap(page, PAGE, 4 * PAGE, MREMAP_MAYMOVE);

	return to != MAP_FAILED && to != page;
}
static bool do_shmdt(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, IPC_CREAT | 0600);
	bool done;

	bare_call(SYS_shmat, id, (long)page, SHM_REMAP, 0, 0, 0);
	done = shmdt(page) == 0;
	shmctl(id, IPC_RMID, NULL);
	return done;
}

static bool (*const calls[])(void) = {do_munmap, do_dontneed, do_mremap, do_shmdt};

/* One call each: 0 if just those hear it that are in. */
static int all_hear(struct uhmm_mm *mm, bool peer)
{
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		struct watch w = {0};

		page = bare_map(2 * PAGE, 1);
		watched = (uintptr_t)page;
		heard_by_peer = 0;
		if (mm)
			watch_on(mm, &w, page, PAGE);
		CHECK(calls[i]());
		if (mm)
			watch_off(&w);
		bare_unmap(page, 2 * PAGE);
		if ((heard_by_peer > 0) != peer || (mm && w.drops == 0) || w.starts != w.drops + w.keeps) {
			printf("call %zu: the peer heard %d, we %d starts, %d drops\n", i, heard_by_peer, w.starts, w.drops);
			return 1;
		}
	}
	watched = 0;
	return 0;
}

static int peer_first(const struct peer *p)
{
	struct uhmm_mm *mm;
	int rc = p->come();

	if (rc)
		return rc;
	CHECK(all_hear(NULL, true) == 0);
	for (int i = 0; i < 2; i++) {
		mm = open_hooks();
		CHECK(all_hear(mm, true) == 0);
		uhmm_mm_close(mm);
		CHECK(all_hear(NULL, true) == 0);
	}
	if (!p->go)
		return 0;
	mm = open_hooks();
	p->go();
	CHECK(all_hear(mm, false) == 0);
	uhmm_mm_close(mm);
	return all_hear(NULL, false);
}

static int peer_second(const struct peer *p)
{
	struct uhmm_mm *mm = open_hooks();
	int rc = p->come();

	if (rc)
		return rc;
	CHECK(all_hear(mm, true) == 0);
	if (p->go) {
		p->go();
		CHECK(all_hear(mm, false) == 0);
		CHECK(p->come() == 0);
		CHECK(all_hear(mm, true) == 0);
	}
	uhmm_mm_close(mm);
	CHECK(all_hear(NULL, true) == 0);
	if (p->go) {
		p->go();
		CHECK(all_hear(NULL, false) == 0);
	}
	mm = open_hooks();
	CHECK(all_hear(mm, !p->go) == 0);
	uhmm_mm_close(mm);
	return 0;
}

static int in_child(int (*run)(const struct peer *), const struct peer *p, const char *order)
{
	int status, rc;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		alarm(60);
		rc = run(p);
		fflush(stdout);
		_exit(rc);
	}
	waitpid(child, &status, 0);
	rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	printf("%s %s: %s (%d)\n", p->name, order, rc == 0 ? "ok" : rc == SKIP ? "skipped" : "FAILED", rc);
	return rc;
}

int main(void)
{
	int skips = 0, failures = 0, cases = 0;

	for (size_t i = 0; i < sizeof(peers) / sizeof(peers[0]); i++) {
		int rc[2] = {in_child(peer_first, &peers[i], "first"), in_child(peer_second, &peers[i], "second")};

		for (int j = 0; j < 2; j++, cases++) {
			skips += rc[j] == SKIP;
			failures += rc[j] != 0 && rc[j] != SKIP;
		}
	}
	return failures ? 1 : skips == cases ? SKIP : 0;
}
