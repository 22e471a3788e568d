/* SPDX-License-Identifier: MIT */
/*
 * uffd_model.c: caches whose only witness is userfaultfd, with one mistake each: the controls of R26 and R34.
 *
 * One cache of one page under one mutex; a look-up is thrown away if an event came meanwhile, so only the mistake loses.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "races.h"

#ifndef UFFD_FEATURE_WP_ASYNC
#define UFFD_FEATURE_WP_ASYNC (1u << 15)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

struct uffd_model {
	pthread_mutex_t lock;
	enum race_uffd_mistake mistake;
	bool valid, gate; /* the rest but fd under lock */
	uint64_t handle, seq;
	int fd;
	atomic_bool stop;
	pthread_t reader;
	unsigned char *bell; /* unmapping it wakes the reader */
};

static int open_uffd(void)
{
	struct uffdio_api api = { .api = UFFD_API,
				  .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP | UFFD_FEATURE_WP_ASYNC |
					      UFFD_FEATURE_EVENT_UNMAP | UFFD_FEATURE_EVENT_REMOVE };
	int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

	if (fd >= 0 && ioctl(fd, UFFDIO_API, &api)) {
		close(fd);
		fd = -1;
	}
	return fd;
}

static bool watch(const struct uffd_model *m, void *page)
{
	struct uffdio_register r = { .range = { (uintptr_t)page, RACE_PAGE }, .mode = UFFDIO_REGISTER_MODE_WP };

	return ioctl(m->fd, UFFDIO_REGISTER, &r) == 0;
}

static void set_gate(struct uffd_model *m, bool shut)
{
	pthread_mutex_lock(&m->lock);
	m->gate = shut;
	pthread_mutex_unlock(&m->lock);
}

static void *read_events(void *arg)
{
	struct uffd_model *m = arg;
	struct pollfd p = { .fd = m->fd, .events = POLLIN };
	uint64_t seed = 97;
	struct uffd_msg msg;

	while (!atomic_load(&m->stop)) {
		poll(&p, 1, -1);
		/* RACE_EVENT_AFTER_REUSE: with no gate shut, whoever made the call goes on before anybody is told. */
		if (m->mistake != RACE_EVENT_AFTER_REUSE)
			set_gate(m, true);
		if (read(m->fd, &msg, sizeof(msg)) == sizeof(msg)) {
			race_delay(RACE_CHANGE_TURNS_MAX, &seed);
			pthread_mutex_lock(&m->lock);
			m->valid = false;
			m->seq++;
			pthread_mutex_unlock(&m->lock);
		}
		/* RACE_DROP_BEFORE_ZAP: the pages of a REMOVE have not gone yet, and nobody asks. */
		set_gate(m, false);
	}
	return NULL;
}

static int look_up(struct race_cache *c, struct uffd_model *m, void *addr, uint64_t *handle)
{
	static _Thread_local uint64_t seed = 99;
	uint64_t seq, h;
	bool gate;

	pthread_mutex_lock(&m->lock);
	gate = m->gate;
	seq = m->seq;
	if (m->valid && !gate) {
		*handle = m->handle;
		pthread_mutex_unlock(&m->lock);
		return 0;
	}
	pthread_mutex_unlock(&m->lock);
	if (gate)
		return -EAGAIN;
	/* No mapping, or one that is just going: the race's own look says so, too. */
	h = watch(m, addr) ? race_identity(addr) : 0;
	if (!h)
		return -EFAULT;
	race_delay(c->reg_turns_max, &seed);
	pthread_mutex_lock(&m->lock);
	if (m->seq == seq && !m->gate) {
		m->valid = true;
		m->handle = h;
	}
	pthread_mutex_unlock(&m->lock);
	return -EAGAIN;
}

static int model_get(struct race_cache *c, void *addr, void **reg, uint64_t *handle)
{
	unsigned spins = 0;
	int rc;

	*reg = c->model;
	while ((rc = look_up(c, c->model, addr, handle)) == -EAGAIN)
		race_pause(&spins);
	return rc;
}

static void model_put(struct race_cache *c, void *reg)
{
	(void)c;
	(void)reg;
}

static void model_change(struct race_cache *c, void *page, enum race_change kind)
{
	(void)c;
	race_change_raw(page, kind);
}

static void model_close(struct race_cache *c)
{
	struct uffd_model *m = c->model;

	atomic_store(&m->stop, true);
	munmap(m->bell, RACE_PAGE);
	pthread_join(m->reader, NULL);
	close(m->fd);
	pthread_mutex_destroy(&m->lock);
	free(m);
}

bool race_open_uffd_model(struct race_cache *c, enum race_uffd_mistake mistake, uint64_t reg_turns_max)
{
	struct uffd_model *m = calloc(1, sizeof(*m));

	if (!m)
		race_die("no memory");
	m->mistake = mistake;
	m->fd = open_uffd();
	if (m->fd < 0) {
		free(m);
		return false;
	}
	m->bell = mmap(NULL, RACE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->bell == MAP_FAILED || !watch(m, m->bell))
		race_die("no page to wake the reader with: %s", strerror(errno));
	pthread_mutex_init(&m->lock, NULL);
	if (pthread_create(&m->reader, NULL, read_events, m))
		race_die("no thread");
	*c = (struct race_cache){ .get = model_get, .put = model_put, .change = model_change, .close = model_close,
				  .reg_turns_max = reg_turns_max, .model = m };
	return true;
}
