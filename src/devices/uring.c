/* SPDX-License-Identifier: MIT */
/*
 * uring.c: io_uring fixed buffers on any pointer.
 *
 * Overview. The ring's table of fixed buffers is sparse and belongs to a registration cache: its reg() fills one slot, its
 * dereg() empties it. A request that prep made holds its registration, and with it the slot, until the completion:
 *
 *	R28     submitter                       anybody else
 *	        prep: FIXED, slot 3
 *	                                        munmap: the region in slot 3 is invalid
 *	                                        (slot 3 emptied, and filled with another buffer: the losing model)
 *	        submit: the kernel resolves slot 3 only now
 *
 * The kernel keeps a buffer alive from submission on, but between prep and submission only the slot's number exists. So the
 * put, after which the cache may dereg, comes in complete() and nowhere else. Required: slot 3 is still the old buffer's.
 *
 * Locking. None here. A request is handed over by its token, without a locked instruction: prep publishes it, complete stores 0
 * when the entry may be used again. One thread prepares at a time and one reaps, as liburing wants it; they need not be the
 * same. The table (uring_table.h) has a lock of its own, for misses and deregistrations.
 */
#include "devices/uring.h"

#include <errno.h>
#include <liburing.h>
#include <linux/capability.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <uhmm/regcache.h>

#include "core/core.h"
#include "devices/uring_table.h"
#include "port/clock.h"
#include "port/mm.h"
#include "port/sync.h"
#include "regcache/trim.h"

/* Of each so many slots the cache leaves one: evicted registrations wait there for their dereg. */
#define URING_SLOTS_SPARE 8u
/* The largest completion queue that the kernel makes. */
#define URING_REQUESTS 65536u
/* Entries that are looked at before it is asked how many are busy. */
#define URING_SEARCH 8u
/* The kernel's limit for one buffer. */
#define URING_BUFFER_MAX ((size_t)1 << 30)

/*
 * What to register. Measured by bench/uring_fixed.c on a 2-CPU virtual machine, Linux 6.18; ns a request:
 *
 *	O_DIRECT, ext4           512     4096    16384    65536   131072
 *	write, plain            8062     8242     9886    15444    23911
 *	write, FIXED            7165     7758     9558    13439    20336
 *	register + empty a slot  660      660      890     1810     3050
 *
 * With O_DIRECT, FIXED saves the pinning on every use, 0.4 us up to 16 KiB and 2 to 4 us at 64 to 128 KiB, and a miss is paid
 * back by the second use. On the page cache it copies through page fragments and loses up to 7 %, so a program that knows its
 * file is buffered may as well prepare a plain request of its own. Below a page a buffer pins and accounts more than it uses,
 * and shares the page with whatever lies beside it.
 */
#define URING_FIXED_MIN 4096u
/*
 * A program that never uses a buffer twice would pay for every registration and gain nothing. After so many misses without a
 * hit only one request in URING_TRY is registered, until there is a hit.
 */
#define URING_STREAK 64u
#define URING_TRY 8u

/* user_data of our requests: mark, generation, index. The mark's top bit is set, as in no user pointer, tagged or not. */
#define TOKEN_MARK_SHIFT 48
#define TOKEN_GENERATION_SHIFT 16
#define TOKEN_GENERATION_MASK UINT64_C(0xffffffff)
#define TOKEN_INDEX_MASK UINT64_C(0xffff)
#define MARK_FIRST 0x8000u
#define MARK_COUNT 0x7fffu /* 0xffff stays out: small negative numbers have it */

_Static_assert(URING_REQUESTS == TOKEN_INDEX_MASK + 1, "an index fills its field");

struct request {
	struct uhmm_a64 token; /* the user_data of the sqe while in flight; 0: free */
	struct uhmm_reg *reg;  /* held until complete; NULL: a plain request */
	uint64_t user_data;    /* the program's */
	uint64_t generation;   /* of the last use */
};

struct uhmm_uring {
	struct uhmm_mm *mm;
	struct uhmm_regcache *cache; /* NULL: every request is plain */
	struct request *requests;
	uint64_t mark;
	uint32_t life;
	size_t max_bytes; /* the cache's bound */
	size_t bytes;     /* of this mapping */
	struct uring_tuning tuning;

	/* The submitter's. */
	_Alignas(64) uint32_t cursor; /* where the search for a free request begins */
	uint32_t fresh;               /* requests from here on were never used */
	uint32_t streak;              /* misses since the last hit */
	uint32_t tries;               /* requests since the streak grew too long */
	uint64_t registrations;       /* tells a hit of the cache from a miss */
	int reg_error;                /* of the last registration */
	uint64_t fixed, plain_chosen, plain_forced;
	struct uhmm_aptr submitter; /* the thread of the last prep */

	/* The reaper's. */
	_Alignas(64) struct uhmm_a64 completed;

	_Alignas(64) struct uring_table table;
};

/* ---- what the cache calls ---- */

static int register_buffer(struct uhmm_uring *u, struct uhmm_reg *reg)
{
	uint32_t slot = 0;
	int err;

	if (reg->len > URING_BUFFER_MAX)
		return -E2BIG;
	err = uring_table_fill(&u->table, reg->addr, reg->len, &slot);
	if (err)
		return err;
	if (u->tuning.reg_delay_ns)
		clock_sleep_ns(u->tuning.reg_delay_ns);
	reg->handle = slot;
	return 0;
}

/* In the submitter's thread, inside prep. */
static int uring_reg(void *ctx, struct uhmm_reg *reg)
{
	struct uhmm_uring *u = ctx;

	u->registrations++;
	u->reg_error = register_buffer(u, reg);
	return u->reg_error;
}

/*
 * On the cache's thread, or in the submitter's. Nobody holds the registration, so no request that was prepared with the slot is
 * without its completion.
 */
static void uring_dereg(void *ctx, struct uhmm_reg *reg)
{
	struct uhmm_uring *u = ctx;

	uring_table_empty(&u->table, (uint32_t)reg->handle);
}

static const struct uhmm_regcache_ops uring_cache_ops = {.reg = uring_reg, .dereg = uring_dereg};

/* ---- attach, detach ---- */

/* The kernel accounts registered memory against RLIMIT_MEMLOCK unless the ring's creator had this capability. */
static bool may_lock_memory(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (port_syscall(SYS_capget, (long)(uintptr_t)&header, (long)(uintptr_t)data, 0, 0, 0, 0) != 0)
		return false;
	return data[0].effective & (1u << CAP_IPC_LOCK);
}

static size_t default_max_bytes(void)
{
	struct rlimit limit;
	long pages = sysconf(_SC_PHYS_PAGES);

	if (!may_lock_memory() && getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY)
		return limit.rlim_cur > MM_PAGE_SIZE ? limit.rlim_cur : MM_PAGE_SIZE; /* 0 would ask for the default */
	return (size_t)(pages > 0 ? pages : 1024) * MM_PAGE_SIZE / 4;
}

static int cache_setup(struct uhmm_uring *u)
{
	struct uhmm_regcache_options options = {
		.size = sizeof(options),
		.max_regions = u->table.size - u->table.size / URING_SLOTS_SPARE,
		.max_bytes = u->max_bytes,
		.flags = UHMM_REGCACHE_PINS,
	};
	int err;

	if (!u->table.size)
		return 0;
	err = uhmm_regcache_create(u->mm, &uring_cache_ops, u, &options, &u->cache);
	if (err)
		uring_table_destroy(&u->table);
	return err;
}

/* One mapping: the attachment, the lists of slots, the requests. What is not used of it is never touched. */
static int uring_alloc(struct io_uring *ring, uint32_t slots, struct uhmm_uring **out)
{
	size_t lists_at = sizeof(struct uhmm_uring);
	size_t requests_at = (lists_at + uring_table_bytes(slots) + 63) & ~(size_t)63;
	size_t bytes = requests_at + URING_REQUESTS * sizeof(struct request);
	struct uhmm_uring *u;
	void *at;
	int err = mm_reserve(bytes, &at);

	if (err)
		return err;
	u = at;
	u->bytes = bytes;
	u->requests = (struct request *)((char *)at + requests_at);
	uring_table_init(&u->table, ring, slots, (char *)at + lists_at);
	*out = u;
	return 0;
}

int uring_attach_with(struct uhmm_mm *mm, struct io_uring *ring, const struct uring_tuning *tuning, struct uhmm_uring **u)
{
	static struct uhmm_a32 attachments;
	uint32_t slots = tuning && tuning->slots ? tuning->slots : URING_SLOTS;
	struct uhmm_uring *new;
	int err;

	if (!mm || !ring || !u || !ring->sq.sqes || !ring->cq.cqes || slots > URING_SLOTS)
		return -EINVAL;
	err = uring_alloc(ring, slots, &new);
	if (err)
		return err;
	new->mm = mm;
	new->life = core_mm_life(mm);
	new->mark = (uint64_t)(MARK_FIRST + a32_fetch_add_relaxed(&attachments, 1) % MARK_COUNT) << TOKEN_MARK_SHIFT;
	if (tuning)
		new->tuning = *tuning;
	new->table.refuse = new->tuning.refuse;
	new->table.refuse_arg = new->tuning.refuse_arg;
	err = uring_table_setup(&new->table, slots);
	new->max_bytes = new->tuning.max_bytes ? new->tuning.max_bytes : default_max_bytes();
	if (!err)
		err = cache_setup(new);
	if (err) {
		mm_unmap(new, new->bytes);
		return err;
	}
	*u = new;
	return 0;
}

int uhmm_uring_attach(struct uhmm_mm *mm, struct io_uring *ring, struct uhmm_uring **u)
{
	return uring_attach_with(mm, ring, NULL, u);
}

static bool is_childs(const struct uhmm_uring *u)
{
	return core_mm_life(u->mm) != u->life;
}

static uint64_t requests_in_flight(const struct uhmm_uring *u)
{
	/* Acquire: whoever sees the last completion counted sees its put done. Pairs with the release in complete(). */
	uint64_t completed = a64_load_acquire(&u->completed);

	return u->fixed + u->plain_chosen + u->plain_forced - completed;
}

int uhmm_uring_detach(struct uhmm_uring *u)
{
	int err;

	if (!u)
		return -EINVAL;
	if (is_childs(u))
		return -EOWNERDEAD;
	if (core_in_callback())
		return -EDEADLK;
	if (requests_in_flight(u))
		return -EBUSY;
	if (u->cache) {
		/* The whole table at once, and first: it is what can fail. The cache, with nothing in use, finds no table. */
		err = uring_table_destroy(&u->table);
		if (err)
			return err;
		err = uhmm_regcache_destroy(u->cache);
		if (err)
			return err;
	}
	mm_unmap(u, u->bytes);
	return 0;
}

/* ---- requests ---- */

static struct request *find_free(struct uhmm_uring *u, uint32_t tries)
{
	while (tries--) {
		struct request *r = &u->requests[u->cursor];

		u->cursor = u->cursor + 1 < u->fresh ? u->cursor + 1 : 0;
		/* Acquire: the reaper is done with the entry. Pairs with the release in complete(). */
		if (a64_load_acquire(&r->token) == 0)
			return r;
	}
	return NULL;
}

/*
 * The search goes round, since the oldest requests are the likeliest to be done. Fresh entries are taken only while half of the
 * others are busy: so a long search has at least as many free entries before it as busy ones, and pays for few of them each
 * time round. NULL: all are in flight.
 */
static struct request *request_get(struct uhmm_uring *u)
{
	struct request *r = find_free(u, u->fresh < URING_SEARCH ? u->fresh : URING_SEARCH);
	uint64_t busy;

	if (r)
		return r;
	busy = requests_in_flight(u);
	if (u->fresh < URING_REQUESTS && 2 * busy >= u->fresh)
		return &u->requests[u->fresh++];
	return busy < URING_REQUESTS ? find_free(u, u->fresh) : NULL;
}

static bool worth_registering(struct uhmm_uring *u, uintptr_t start, unsigned len)
{
	size_t pages_len = mm_page_ceil(start + len) - mm_page_floor(start);

	if (!u->cache || len == 0 || pages_len > URING_BUFFER_MAX || pages_len > u->max_bytes)
		return false;
	if (u->tuning.always_fixed)
		return true;
	if (len < URING_FIXED_MIN)
		return false;
	return u->streak < URING_STREAK || ++u->tries % URING_TRY == 0;
}

/* No memory may be locked any more, or no slot is free: lets go of buffers that no request uses. */
static void make_room(struct uhmm_uring *u, const void *buf, unsigned len)
{
	uintptr_t start = (uintptr_t)buf;

	/* Whole pages are locked and counted. */
	regcache_trim(u->cache, mm_page_ceil(start + len) - mm_page_floor(start));
	uring_table_drain(&u->table);
}

static int populate(bool for_writing, void *first, size_t bytes)
{
	return for_writing ? mm_populate_write(first, bytes) : mm_populate_read(first, bytes);
}

/*
 * The range cannot be registered. That may be its nature (a file mapping, read-only memory: io_uring pins for writing), or it
 * may be no memory for this request at all. Populating asks the kernel, and does what a plain request would do anyway.
 * -EOPNOTSUPP is also its word for a missing permission; the request tells where the kernel cannot (Linux 5.13).
 */
static bool is_accessible(struct uhmm_uring *u, bool for_writing, uintptr_t start, unsigned len)
{
	void *first = (void *)mm_page_floor(start);
	int err = populate(for_writing, first, mm_page_ceil(start + len) - mm_page_floor(start));

	if (err == -EOPNOTSUPP)
		return populate(true, u, MM_PAGE_SIZE) == -EOPNOTSUPP;
	return err != -EFAULT && err != -ENOMEM;
}

/* 0 with *reg set or, for a plain request, NULL; or -EFAULT. */
static int hold_buffer(struct uhmm_uring *u, bool read, const void *buf, unsigned len, struct uhmm_reg **reg)
{
	/* For both: io_uring pins for writing whatever the request, which also breaks COW before it can go stale (R7). */
	const uint32_t access = PROT_READ | PROT_WRITE;
	uint64_t before = u->registrations;
	int err = uhmm_regcache_get(u->cache, buf, len, access, reg);

	/* Of the kernel and the table. The cache's own bounds are not asked twice: it has made what room there was. */
	if ((err == -ENOMEM || err == -ENOSPC) && u->registrations != before && u->reg_error == err) {
		make_room(u, buf, len);
		err = uhmm_regcache_get(u->cache, buf, len, access, reg);
	}
	if (err) {
		*reg = NULL;
		if (err == -EFAULT && !is_accessible(u, read, (uintptr_t)buf, len))
			return -EFAULT;
	}
	if (!err && u->registrations == before)
		u->streak = 0;
	else if (u->streak < URING_STREAK)
		u->streak++;
	return 0;
}

static int check_prep(const struct uhmm_uring *u, const struct io_uring_sqe *sqe, const void *buf, unsigned len)
{
	uintptr_t start = (uintptr_t)buf;

	if (!u || !sqe || (!buf && len) || start > MM_ADDR_END || len > MM_ADDR_END - start)
		return -EINVAL;
	return is_childs(u) ? -EOWNERDEAD : 0;
}

static void fill_sqe(struct uhmm_uring *u, struct request *r, struct io_uring_sqe *sqe, bool read)
{
	uint64_t index = (uint64_t)(r - u->requests);
	uint64_t generation = ++r->generation & TOKEN_GENERATION_MASK;
	uint64_t token = u->mark | generation << TOKEN_GENERATION_SHIFT | index;

	if (r->reg) {
		sqe->opcode = read ? IORING_OP_READ_FIXED : IORING_OP_WRITE_FIXED;
		sqe->buf_index = (uint16_t)r->reg->handle;
	}
	sqe->user_data = token;
	/* Release: the reaper finds the request by its token. Pairs with the acquire in find(). */
	a64_store_release(&r->token, token);
}

static int prep(struct uhmm_uring *u, struct io_uring_sqe *sqe, bool read, int fd, const void *buf, unsigned len,
		uint64_t offset, uint64_t user_data)
{
	struct request *r;
	int err = check_prep(u, sqe, buf, len);

	if (err)
		return err;
	aptr_store_relaxed(&u->submitter, core_thread());
	if (uring_table_queued(&u->table))
		uring_table_drain(&u->table);
	r = request_get(u);
	if (!r)
		return -EAGAIN;
	r->reg = NULL;
	if (worth_registering(u, (uintptr_t)buf, len)) {
		err = hold_buffer(u, read, buf, len, &r->reg);
		if (err)
			return err;
		*(r->reg ? &u->fixed : &u->plain_forced) += 1;
	} else {
		u->plain_chosen++;
	}
	r->user_data = user_data;
	io_uring_prep_rw(read ? IORING_OP_READ : IORING_OP_WRITE, sqe, fd, buf, len, offset);
	fill_sqe(u, r, sqe, read);
	return 0;
}

int uhmm_uring_prep_read(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, void *buf, unsigned len, uint64_t offset,
			 uint64_t user_data)
{
	return prep(u, sqe, true, fd, buf, len, offset, user_data);
}

int uhmm_uring_prep_write(struct uhmm_uring *u, struct io_uring_sqe *sqe, int fd, const void *buf, unsigned len,
			  uint64_t offset, uint64_t user_data)
{
	return prep(u, sqe, false, fd, buf, len, offset, user_data);
}

/* The request in flight that the token names, or NULL. */
static struct request *find(const struct uhmm_uring *u, uint64_t token)
{
	struct request *r = &u->requests[token & TOKEN_INDEX_MASK];

	if ((token ^ u->mark) >> TOKEN_MARK_SHIFT)
		return NULL;
	return a64_load_acquire(&r->token) == token ? r : NULL;
}

bool uhmm_uring_owns(const struct uhmm_uring *u, const struct io_uring_cqe *cqe)
{
	return u && cqe && find(u, cqe->user_data) && !is_childs(u);
}

uint64_t uhmm_uring_complete(struct uhmm_uring *u, const struct io_uring_cqe *cqe)
{
	struct request *r;
	uint64_t user_data;

	if (!cqe)
		return 0;
	if (!u || is_childs(u))
		return cqe->user_data;
	r = find(u, cqe->user_data);
	if (!r)
		return cqe->user_data;
	user_data = r->user_data;
	if (r->reg)
		uhmm_regcache_put(u->cache, r->reg);
	/* Release: the submitter may use the entry again. Pairs with the acquire in request_get(). */
	a64_store_release(&r->token, 0);
	/* One thread reaps at a time, so no read-modify-write. Pairs with the acquire in requests_in_flight(). */
	a64_store_release(&u->completed, a64_load_relaxed(&u->completed) + 1);
	if (uring_table_queued(&u->table) && aptr_load_relaxed(&u->submitter) == core_thread())
		uring_table_drain(&u->table);
	return user_data;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

int uhmm_uring_stats(const struct uhmm_uring *u, struct uhmm_uring_stats *out)
{
	struct uhmm_uring_stats now;

	if (!u || !out || out->size < sizeof(now))
		return -EINVAL;
	if (is_childs(u))
		return -EOWNERDEAD; /* the parent's thread may hold the table's lock, for ever here */
	now = (struct uhmm_uring_stats){
		.size = min_u64(out->size, sizeof(now)),
		.fixed = u->fixed,
		.plain_chosen = u->plain_chosen,
		.plain_forced = u->plain_forced,
		.in_flight = requests_in_flight(u),
		.slots = u->table.size,
		.slots_used = uring_table_used((struct uring_table *)&u->table), /* takes its lock */
		.slots_queued = uring_table_queued(&u->table),
	};
	*out = now;
	return 0;
}
