/* SPDX-License-Identifier: MIT */
/*
 * The userfaultfd witness on the real kernel, with what hardly ever happens made to happen: its reader dies, the kernel
 * refuses, an older kernel, a program without the privilege.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <uhmm/uhmm.h>

#include "../bare.h"
#include "core/core.h"
#include "monitors/uffd_inside.h"
#include "port/inject.h"
#include "port/mm.h"
#include "port/text.h"

#define PAGE ((size_t)4096)
#define RW (PROT_READ | PROT_WRITE)

struct fixture {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache;
	unsigned char *page;
	int regs;
};
static struct fixture f;

static int reg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	r->handle = *(volatile unsigned char *)r->addr;
	f.regs++;
	return 0;
}

static void dereg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	(void)r;
}

static unsigned char *map_page(void *where, int flags)
{
	unsigned char *p = mmap(where, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static int open_mm(uint32_t monitors)
{
	struct uhmm_mm_options o = {.size = sizeof(o), .monitors = monitors};

	return uhmm_mm_open(&f.mm, &o);
}

static void begin(uint32_t monitors)
{
	static const struct uhmm_regcache_ops ops = {.reg = reg, .dereg = dereg};

	f = (struct fixture){.regs = 0};
	if (open_mm(monitors) != 0)
		skip();
	assert_int_equal(uhmm_regcache_create(f.mm, &ops, NULL, NULL, &f.cache), 0);
	/* Neighbours that do not merge with it. */
	f.page = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(f.page, MAP_FAILED);
	f.page = map_page(f.page + PAGE, MAP_FIXED);
	*f.page = 1;
}

static void close_all(void)
{
	assert_int_equal(uhmm_regcache_destroy(f.cache), 0);
	uhmm_mm_close(f.mm);
	assert_int_equal(a32_load_acquire(&uffd.state), UFFD_CLOSED);
}

static void finish(void)
{
	close_all();
	munmap(f.page - PAGE, 3 * PAGE);
}

/* What the page holds, by the cache. */
static int get(void)
{
	struct uhmm_reg *r;
	int value, err = -EBUSY;

	/* A service thread may not be given the processor for longer than a get waits. */
	for (int i = 0; i < 60 && err == -EBUSY; i++)
		err = uhmm_regcache_get(f.cache, f.page, PAGE, PROT_READ, &r);
	assert_int_equal(err, 0);
	value = (int)r->handle;
	uhmm_regcache_put(f.cache, r);
	return value;
}

/* Two gets that register once. */
static bool is_kept(void)
{
	int before;

	get();
	before = f.regs;
	get();
	return f.regs == before;
}

/* A taint is over, or a death noticed: no other way to know than to look. */
static bool becomes_kept(void)
{
	for (int i = 0; i < 10000; i++) {
		if (is_kept())
			return true;
		usleep(1000);
	}
	return false;
}

static void replace_raw(unsigned char value)
{
	assert_int_equal(bare_call(SYS_munmap, (long)f.page, (long)PAGE, 0, 0, 0, 0), 0);
	assert_int_equal(bare_call(SYS_mmap, (long)f.page, (long)PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 (long)f.page);
	*f.page = value;
}

static void discard_raw(unsigned char value)
{
	assert_int_equal(bare_call(SYS_madvise, (long)f.page, (long)PAGE, MADV_DONTNEED, 0, 0, 0), 0);
	*f.page = value;
}

static void use(void)
{
	assert_int_equal(get(), 1);
	assert_true(is_kept());
	replace_raw(2);
	assert_int_equal(get(), 2);
	discard_raw(3);
	assert_int_equal(get(), 3);
	assert_true(becomes_kept());
	assert_int_equal(get(), 3);
}

static void test_use(void **state)
{
	(void)state;
	begin(UHMM_MONITOR_UFFD);
	use();
	finish();
}

/* Mappings are found in /proc/self/maps where they cannot be asked for. */
static void test_old_kernel(void **state)
{
	(void)state;
	begin(UHMM_MONITOR_UFFD);
	if (uffd.maps >= 0)
		text_close(uffd.maps);
	uffd.maps = -1;
	use();
	finish();
}

/* Only for faults of user mode, which is all that an ordinary user may have. */
static void test_unprivileged(void **state)
{
	(void)state;
	begin(UHMM_MONITOR_UFFD);
	finish();
	port_inject_fail(INJECT_UFFD, 1);
	begin(UHMM_MONITOR_UFFD);
	port_inject_fail(INJECT_UFFD, 0);
	assert_false(uffd.forks);
	use();
	finish();
}

static void test_reader_dies(void **state)
{
	(void)state;
	begin(UHMM_MONITOR_UFFD);
	assert_true(is_kept());
	port_inject_fail(INJECT_READER, 1);
	replace_raw(2); /* read, and after that nobody reads */
	assert_int_equal(get(), 2);
	replace_raw(3); /* does not hang */
	for (int i = 0; i < 10000 && uffd_runs(); i++)
		usleep(1000);
	assert_false(uffd_runs());
	assert_int_equal(get(), 3);
	assert_false(is_kept());
	replace_raw(4);
	assert_int_equal(get(), 4);
	assert_int_equal(open_mm(UHMM_MONITOR_UFFD), -EOPNOTSUPP);
	finish();
	port_inject_fail(INJECT_READER, 0);
	/* With the last address space it is forgotten. */
	begin(UHMM_MONITOR_UFFD);
	use();
	finish();
}

/* The kernel has no memory when the notifier is inserted: the look-up tries again. */
static void test_not_watched_at_once(void **state)
{
	(void)state;
	begin(UHMM_MONITOR_UFFD);
	port_inject_fail(INJECT_UFFD_WATCH, 1);
	use();
	assert_true(port_inject_passes(INJECT_UFFD_WATCH) >= 2);
	port_inject_fail(INJECT_UFFD_WATCH, 0);
	finish();
}

/* The hooks keep their calls' events back; where that fails the event says the same once more. */
static void test_hooked(void **state)
{
	(void)state;
	begin(UHMM_MONITOR_UFFD | UHMM_MONITOR_HOOKS);
	for (int i = 0; i < 3; i++) {
		port_inject_fail(INJECT_UFFD_UNWATCH, i == 1 ? 1 : 0);
		replace_raw(5);
		assert_int_equal(get(), 5);
		assert_true(becomes_kept());
		assert_int_equal(munmap(f.page, PAGE), 0);
		assert_ptr_equal(map_page(f.page, MAP_FIXED), f.page);
		*f.page = 6;
		assert_int_equal(get(), 6);
		assert_true(becomes_kept());
		assert_int_equal(madvise(f.page, PAGE, MADV_DONTNEED), 0);
		*f.page = 7;
		assert_int_equal(get(), 7);
		assert_true(becomes_kept());
		discard_raw(8);
		assert_int_equal(get(), 8);
	}
	finish();
}

/* ---- what the kernel sends no event for ---- */

static bool have_segments(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0600);

	if (id >= 0)
		shmctl(id, IPC_RMID, NULL);
	return id >= 0;
}

static void attach_segment(void)
{
	int id = shmget(IPC_PRIVATE, PAGE, 0600);

	assert_true(id >= 0);
	assert_int_equal(bare_call(SYS_shmat, id, (long)f.page, SHM_REMAP, 0, 0, 0), (long)f.page);
	shmctl(id, IPC_RMID, NULL);
}

/* A segment takes the page's place, and then something else that segment's: neither is seen. */
static void change_unseen(unsigned char value)
{
	const long got = (long)f.page;

	attach_segment();
	assert_int_equal(bare_call(SYS_mmap, got, (long)PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0), got);
	*f.page = value;
}

static int nothing(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	return 0;
}

static void forget(void)
{
	struct uhmm_event event = {.start = (uintptr_t)f.page, .end = (uintptr_t)f.page + PAGE, .kind = UHMM_EVENT_UNMAP};
	struct uhmm_invalidation inv;

	assert_int_equal(uhmm_invalidate_start(f.mm, &inv, &event), 0);
	uhmm_invalidate_end(&inv);
}

/* R34, G1: the list says that the place is watched, and a miss does not believe it. */
static void miss_after_unseen(void)
{
	assert_int_equal(get(), 1);
	assert_true(is_kept());
	change_unseen(2);
	assert_int_equal(get(), 1); /* by design: see docs/uffd.md */
	assert_true(watchset_covers(&uffd.set, (uintptr_t)f.page, (uintptr_t)f.page + PAGE));
	forget();
	assert_int_equal(get(), 2);
	assert_true(is_kept());
	replace_raw(3);
	assert_int_equal(get(), 3);
}

/* The same of a notifier that stays: a seq that the witness vouched for. */
static void stay_after_unseen(void)
{
	static const struct uhmm_notifier_ops ops = {.invalidate = nothing};
	struct uhmm_notifier n = {.private_mm = NULL};
	uint64_t seq;

	*f.page = 1;
	assert_int_equal(uhmm_notifier_insert(f.mm, &n, f.page, PAGE, &ops), 0);
	seq = uhmm_read_begin(&n);
	assert_true(seq != UHMM_SEQ_DEAD);
	change_unseen(2);
	assert_false(uhmm_read_retry(&n, seq)); /* by design */
	seq = uhmm_read_begin(&n);
	assert_true(seq != UHMM_SEQ_DEAD);
	replace_raw(3);
	assert_true(uhmm_read_retry(&n, seq));
	assert_int_equal(uhmm_notifier_remove(&n), 0);
}

static void test_unseen(void **state)
{
	(void)state;
	if (!have_segments())
		skip();
	begin(UHMM_MONITOR_UFFD);
	miss_after_unseen();
	stay_after_unseen();
	if (uffd.maps >= 0)
		text_close(uffd.maps);
	uffd.maps = -1;
	replace_raw(1);
	miss_after_unseen();
	stay_after_unseen();
	finish();
	/* With the hooks a miss asks the kernel as well. */
	begin(UHMM_MONITOR_UFFD | UHMM_MONITOR_HOOKS);
	miss_after_unseen();
	finish();
}

/* A place of which nothing is left is not in the list any more once somebody has looked. */
static void test_unseen_hole(void **state)
{
	(void)state;
	if (!have_segments())
		skip();
	begin(UHMM_MONITOR_UFFD);
	attach_segment();
	*f.page = 1;
	assert_true(is_kept());
	assert_int_equal(bare_call(SYS_shmdt, (long)f.page, 0, 0, 0, 0, 0), 0);
	assert_true(watchset_covers(&uffd.set, (uintptr_t)f.page, (uintptr_t)f.page + PAGE));
	forget();
	assert_false(uffd_watch_range((uintptr_t)f.page, (uintptr_t)f.page + PAGE, false, false));
	assert_false(watchset_any(&uffd.set, (uintptr_t)f.page, (uintptr_t)f.page + PAGE));
	map_page(f.page, MAP_FIXED_NOREPLACE);
	*f.page = 2;
	assert_int_equal(get(), 2);
	replace_raw(3);
	assert_int_equal(get(), 3);
	finish();
}

/* ---- a hole in a file, by a hooked call (R26, G1) ---- */

/* Its event is kept back, or is sent and read inside the call's bracket: nobody hangs, nothing is stale. */
static void punch(int fd, unsigned char value)
{
	unsigned char *second = mmap(NULL, PAGE, RW, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(second, MAP_FAILED);
	assert_ptr_equal(mmap(f.page, PAGE, RW, MAP_SHARED | MAP_FIXED, fd, 0), f.page);
	*f.page = value;
	assert_int_equal(get(), value);
	assert_true(becomes_kept());
	for (int i = 0; i < 50; i++) {
		*f.page = value;
		becomes_kept();
		assert_int_equal(madvise(i & 1 ? second : f.page, PAGE, MADV_REMOVE), 0);
		assert_int_equal(get(), 0);
		*f.page = value;
		assert_int_equal(bare_call(SYS_madvise, (long)f.page, (long)PAGE, MADV_REMOVE, 0, 0, 0), 0);
		assert_int_equal(get(), 0);
	}
	assert_true(becomes_kept());
	munmap(second, PAGE);
}

static void test_punched(void **state)
{
	int fd = memfd_create("uffd", MFD_CLOEXEC);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
	begin(UHMM_MONITOR_UFFD | UHMM_MONITOR_HOOKS);
	alarm(60);
	punch(fd, 5);
	port_inject_fail(INJECT_UFFD_UNWATCH, 1); /* one event that cannot be kept back */
	punch(fd, 6);
	port_inject_fail(INJECT_UFFD_UNWATCH, 0);
	alarm(0);
	finish();
	close(fd);
}

/* ---- memory of the library beside the program's ---- */

#define PLACES 256

static int map_plainly(size_t len, void **out)
{
	*out = mmap(NULL, len, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	return *out == MAP_FAILED ? -ENOMEM : 0;
}

/* One page right beside f.page's mapping, as the kernel gives it: the gaps elsewhere are filled first. NULL: it never does. */
static unsigned char *map_beside(int (*map)(size_t len, void **out))
{
	void *filled[PLACES], *at = NULL;
	int n;

	for (n = 0; n < PLACES; n++) {
		if (map(PAGE, &filled[n]) != 0)
			break;
		if ((unsigned char *)filled[n] == f.page - PAGE || (unsigned char *)filled[n] == f.page + PAGE) {
			at = filled[n];
			break;
		}
	}
	while (n-- > 0)
		mm_unmap(filled[n], PAGE);
	return at;
}

/* With a gap of one page on both sides. */
static bool is_neighbour_watched(int (*map)(size_t len, void **out), bool *tried)
{
	unsigned char *beside;
	bool watched;

	begin(UHMM_MONITOR_UFFD);
	munmap(f.page - PAGE, PAGE);
	munmap(f.page + PAGE, PAGE);
	beside = map_beside(map);
	*tried = beside != NULL;
	assert_true(is_kept());
	assert_true(watchset_covers(&uffd.set, (uintptr_t)f.page, (uintptr_t)f.page + PAGE));
	watched = beside && watchset_any(&uffd.set, (uintptr_t)beside, (uintptr_t)beside + PAGE);
	if (beside)
		mm_unmap(beside, PAGE);
	close_all();
	munmap(f.page, PAGE); /* the gaps may be somebody's by now */
	return watched;
}

static void test_beside(void **state)
{
	bool tried;

	(void)state;
	assert_false(is_neighbour_watched(mm_map, &tried));
	if (!tried)
		skip();
	assert_false(is_neighbour_watched(mm_reserve, &tried));
	/* The other way round: the program's own mapping becomes one with it. */
	if (!is_neighbour_watched(map_plainly, &tried) && tried)
		fail();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_use),         cmocka_unit_test(test_old_kernel),  cmocka_unit_test(test_unprivileged),
		cmocka_unit_test(test_reader_dies), cmocka_unit_test(test_not_watched_at_once),
		cmocka_unit_test(test_hooked),      cmocka_unit_test(test_unseen),      cmocka_unit_test(test_unseen_hole),
		cmocka_unit_test(test_punched),     cmocka_unit_test(test_beside),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
