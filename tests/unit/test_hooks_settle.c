/* SPDX-License-Identifier: MIT */
/*
 * R25: who is inside a mapping call when watching begins (src/monitors/settle.h). The address space counts as settled only when
 * every thread has been seen elsewhere; being parked in an unrelated system call is elsewhere.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <linux/futex.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/core.h"
#include "port/linux_new.h"

#define PAGE ((size_t)4096)

static struct uhmm_mm *open_hooks(void)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	struct uhmm_mm *mm;

	if (uhmm_mm_open(&mm, &options) != 0)
		skip();
	return mm;
}

static bool settles(struct uhmm_mm *mm)
{
	for (int i = 0; i < 2000 && !core_mm_is_settled(mm); i++)
		usleep(5000);
	return core_mm_is_settled(mm);
}

static void wait_until_blocked(pid_t tid)
{
	char name[64], state[256];
	ssize_t got = 0;

	snprintf(name, sizeof(name), "/proc/self/task/%d/syscall", (int)tid);
	do {
		int fd = open(name, O_RDONLY);

		usleep(1000);
		got = read(fd, state, sizeof(state) - 1);
		close(fd);
	} while (got <= 0 || state[0] == 'r');
}

static atomic_int tid, stop;
static uint32_t word;

static void *park(void *arg)
{
	tid = gettid();
	syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0);
	return arg;
}

static void test_parked_elsewhere(void **state)
{
	struct uhmm_mm *mm;
	pthread_t t;

	(void)state;
	tid = 0;
	pthread_create(&t, NULL, park, NULL);
	while (!tid)
		usleep(100);
	wait_until_blocked(tid);
	mm = open_hooks();
	assert_true(settles(mm));
	__atomic_store_n(&word, 1, __ATOMIC_SEQ_CST);
	syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
	pthread_join(t, NULL);
	uhmm_mm_close(mm);
}

static void *spin(void *arg)
{
	tid = gettid();
	while (!stop)
		;
	return arg;
}

static void test_spinning(void **state)
{
	struct uhmm_mm *mm;
	pthread_t t;

	(void)state;
	tid = stop = 0;
	pthread_create(&t, NULL, spin, NULL);
	while (!tid)
		usleep(100);
	mm = open_hooks();
	assert_true(settles(mm));
	stop = 1;
	pthread_join(t, NULL);
	uhmm_mm_close(mm);
}

/* A region whose first touch waits for us; -1 where userfaultfd may not serve the kernel's own faults. */
static int make_missing(void *at, size_t len)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.range = {(uintptr_t)at, len}, .mode = UFFDIO_REGISTER_MODE_MISSING};
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);

	if (fd >= 0 && (ioctl(fd, UFFDIO_API, &api) != 0 || ioctl(fd, UFFDIO_REGISTER, &reg) != 0)) {
		close(fd);
		return -1;
	}
	return fd;
}

static void *populate(void *at)
{
	tid = gettid();
	madvise(at, PAGE, MADV_POPULATE_READ);
	return NULL;
}

static void test_inside_a_mapping_call(void **state)
{
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_zeropage zero = {.range = {(uintptr_t)at, PAGE}};
	int fd = make_missing(at, PAGE);
	struct uhmm_mm *mm;
	pthread_t t;

	(void)state;
	if (fd < 0)
		skip();
	tid = 0;
	pthread_create(&t, NULL, populate, at);
	while (!tid)
		usleep(100);
	wait_until_blocked(tid);
	mm = open_hooks();
	assert_false(core_mm_is_settled(mm));
	usleep(50000);
	assert_false(core_mm_is_settled(mm));
	assert_int_equal(ioctl(fd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(t, NULL);
	assert_true(settles(mm));
	uhmm_mm_close(mm);
	munmap(at, PAGE);
	close(fd);
}

static void *open_and_close(void *arg)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = UHMM_MONITOR_HOOKS};
	struct uhmm_mm *mm;

	for (int i = 0; i < 40; i++) {
		if (uhmm_mm_open(&mm, &options) != 0)
			return NULL;
		uhmm_mm_close(mm);
	}
	return arg;
}

/* Every open here starts the service thread, every close may be the one that joins it while the next open starts another. */
static void test_service_comes_and_goes(void **state)
{
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uffdio_zeropage zero = {.range = {(uintptr_t)at, PAGE}};
	int fd = make_missing(at, PAGE);
	struct uhmm_mm *mm;
	pthread_t inside, t[2];
	void *done;

	(void)state;
	if (fd < 0)
		skip();
	tid = 0;
	pthread_create(&inside, NULL, populate, at);
	while (!tid)
		usleep(100);
	wait_until_blocked(tid);
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, open_and_close, at);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], &done);
		assert_ptr_equal(done, at);
	}
	mm = open_hooks();
	assert_false(core_mm_is_settled(mm));
	assert_int_equal(ioctl(fd, UFFDIO_ZEROPAGE, &zero), 0);
	pthread_join(inside, NULL);
	assert_true(settles(mm));
	uhmm_mm_close(mm);
	munmap(at, PAGE);
	close(fd);
}

static sem_t entered, leave;

static int block(struct uhmm_notifier *n, const struct uhmm_event *event)
{
	(void)n;
	(void)event;
	sem_post(&entered);
	sem_wait(&leave);
	return 0;
}

static void *unmap(void *at)
{
	munmap(at, PAGE);
	return NULL;
}

/* A hook that is under way knows nothing of an address space that begins to listen now. */
static void test_second_listener(void **state)
{
	static const struct uhmm_notifier_ops ops = {.invalidate = block};
	void *at = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct uhmm_mm *first = open_hooks(), *second;
	struct uhmm_notifier n = {0};
	pthread_t t;

	(void)state;
	assert_true(settles(first));
	sem_init(&entered, 0, 0);
	sem_init(&leave, 0, 0);
	assert_int_equal(uhmm_notifier_insert(first, &n, at, PAGE, &ops), 0);
	pthread_create(&t, NULL, unmap, at);
	sem_wait(&entered);
	second = open_hooks();
	assert_false(core_mm_is_settled(second));
	assert_true(core_mm_is_settled(first));
	sem_post(&leave);
	pthread_join(t, NULL);
	assert_true(settles(second));
	assert_int_equal(uhmm_notifier_remove(&n), 0);
	uhmm_mm_close(second);
	uhmm_mm_close(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parked_elsewhere),
		cmocka_unit_test(test_spinning),
		cmocka_unit_test(test_inside_a_mapping_call),
		cmocka_unit_test(test_service_comes_and_goes),
		cmocka_unit_test(test_second_listener),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
