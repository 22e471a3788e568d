/* SPDX-License-Identifier: MIT */
#include "programs_memory.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "lab/engine.h"
#include "port/alloc.h"
#include "port/clock.h"
#include "port/thread.h"

#define THREAD(name, ...)                                                                                                      \
	static void name(struct shared *s)                                                                                     \
	{                                                                                                                      \
		__VA_ARGS__                                                                                                    \
	}

static uint32_t *halves(struct shared *s)
{
	return (uint32_t *)(void *)&s->plain;
}

static uint8_t *bytes(struct shared *s)
{
	return (uint8_t *)&s->plain;
}

struct large {
	uint64_t word[3];
};

/* ---- plain accesses ---- */

THREAD(write_plain, s->plain = 1;)
THREAD(read_plain, s->result += (uint32_t)s->plain;)
THREAD(only_read, (void)*(volatile uint64_t *)&s->plain;)
THREAD(write_low, halves(s)[0] = 1;)
THREAD(write_high, halves(s)[1] = 1;)
THREAD(write_byte_1, bytes(s)[1] = 1;)
THREAD(write_byte_2, bytes(s)[2] = 1;)
THREAD(fill, memset(&s->plain, 1, 24);)
THREAD(copy_from, struct large l; memcpy(&l, &s->plain, sizeof(l)); s->result += (uint32_t)l.word[1];)
THREAD(copy_whole, *(struct large *)(void *)&s->plain = (struct large){{1, 2, 3}};)
THREAD(write_middle, s->other[0] = 5;)

/* Of one thread's stack. */
THREAD(lend, volatile uint32_t mine = 0; aptr_store_release(&s->lent, (void *)(uintptr_t)&mine); s->result = mine;)
THREAD(borrow, uint32_t *lent = aptr_load_acquire(&s->lent); if (lent) *lent = 1;)

/* ---- what orders them ---- */

THREAD(locked_write, sync_lock_acquire(&s->lock[0]); s->plain++; sync_lock_release(&s->lock[0]);)
THREAD(locked_otherwise, sync_lock_acquire(&s->lock[1]); s->plain++; sync_lock_release(&s->lock[1]);)
THREAD(
	tried_write, if (sync_lock_try(&s->lock[0])) {
		s->plain++;
		sync_lock_release(&s->lock[0]);
	})
THREAD(spun_write, sync_lock_acquire_spin(&s->lock[0]); s->plain++; sync_lock_release(&s->lock[0]);)

THREAD(send, s->plain = 1; a32_store_release(&s->flag, 1);)
THREAD(send_relaxed, s->plain = 1; a32_store_relaxed(&s->flag, 1);)
THREAD(send_fence, s->plain = 1; fence_full(); a32_store_relaxed(&s->flag, 1);)
THREAD(receive, if (a32_load_acquire(&s->flag)) s->plain++;)
THREAD(receive_relaxed, if (a32_load_relaxed(&s->flag)) s->plain++;)
THREAD(
	receive_fence, if (a32_load_relaxed(&s->flag)) {
		fence_full();
		s->plain++;
	})
THREAD(send_by_add, s->plain = 1; a32_fetch_add_full(&s->flag, 1);)
THREAD(take_by_xchg, if (a32_xchg_full(&s->flag, 2) == 1) s->plain++;)
THREAD(send_before_add, s->plain = 1; a32_store_release(&s->flag, 1); a32_fetch_add_relaxed(&s->flag, 1);)
THREAD(light_write, s->plain = 1; fence_light();)
THREAD(heavy_read, sync_heavy_barrier(); s->result = (uint32_t)s->plain;)

static bool is_set(uint32_t value, const void *arg)
{
	(void)arg;
	return value != 0;
}

THREAD(send_and_wake, s->plain = 1; a32_store_release(&s->flag, 1); sync_wake32(&s->flag);)
THREAD(await_and_read, sync_await32(&s->flag, is_set, NULL, SYNC_FOREVER); s->plain++;)
THREAD(send_without_wake, s->plain = 1; a32_store_release(&s->flag, 1);)

/* ---- atomics and plain accesses mixed ---- */

THREAD(store_word, a32_store_relaxed(&s->flag, 1);)
THREAD(load_word, (void)a32_load_relaxed(&s->flag);)
THREAD(read_word_plainly, s->result = s->flag.private_value;)
THREAD(clear_word_plainly, memset(&s->flag, 0, sizeof(s->flag));)

/* ---- a thread of its own ---- */

static void child(void *arg)
{
	((struct shared *)arg)->plain++;
}

static void spawn_and_join(struct shared *s)
{
	uint32_t fiber;

	s->plain = 1;
	fiber = lab_fiber_spawn("child", child, s, false);
	lab_fiber_join(fiber);
	s->plain++;
}

THREAD(spawn_and_go_on, s->plain = 1; lab_fiber_spawn("child", child, s, false); s->plain++;)
THREAD(nothing, (void)s;)

/* ---- the seam ---- */

static void own_area(struct shared *s)
{
	uint32_t *mine = thread_area();

	(void)s;
	assert((uintptr_t)mine % 64 == 0 && *mine == 0);
	*mine = thread_id();
	sync_relax();
	assert(*(uint32_t *)thread_area() == thread_id());
}

static bool never(uint32_t value, const void *arg)
{
	(void)value;
	(void)arg;
	return false;
}

static void wait_until_late(struct shared *s)
{
	uint64_t deadline = clock_now_ns() + 1000;

	assert(sync_await32(&s->flag, never, NULL, deadline) == -ETIMEDOUT);
	assert(clock_now_ns() >= deadline);
}

static void use_pool(struct shared *s)
{
	struct pool p;
	void *a, *b;

	(void)s;
	pool_init(&p, 64, 1);
	a = pool_get(&p);
	b = pool_get(&p);
	assert(a && !b);
	pool_put(&p, a);
	assert(pool_get(&p) == a);
}

THREAD(claim, assert(a32_cas_full(&s->turn, 0, 1));)
THREAD(drop_not_held, sync_lock_release(&s->lock[0]);)
THREAD(lock_twice, sync_lock_acquire(&s->lock[0]); sync_lock_acquire(&s->lock[0]);)
THREAD(lock_ab, sync_lock_acquire(&s->lock[0]); sync_lock_acquire(&s->lock[1]); sync_lock_release(&s->lock[1]);
       sync_lock_release(&s->lock[0]);)
THREAD(lock_ba, sync_lock_acquire(&s->lock[1]); sync_lock_acquire(&s->lock[0]); sync_lock_release(&s->lock[0]);
       sync_lock_release(&s->lock[1]);)

const struct program memory_programs[] = {
	{"two writes", {write_plain, write_plain}, 7},
	{"a write and a read", {write_plain, read_plain}, 7},
	{"two reads", {only_read, only_read}, 0},
	{"halves of a word", {write_low, write_high}, 0},
	{"a word and its half", {write_plain, write_high}, 7},
	{"bytes of a word", {write_byte_1, write_byte_2}, 0},
	{"a half and a byte of it", {write_low, write_byte_2}, 7},
	{"memset", {fill, write_middle}, 7},
	{"memcpy", {copy_from, write_middle}, 7},
	{"a struct", {copy_whole, write_middle}, 7},
	{"something lent on a stack", {lend, borrow}, 7},
	{"one lock", {locked_write, locked_write}, 0},
	{"two locks", {locked_write, locked_otherwise}, 7},
	{"a lock that is tried", {locked_write, tried_write}, 0},
	{"a lock that is spun for", {locked_write, spun_write}, 0},
	{"a lock by one only", {locked_write, write_plain}, 7},
	{"release and acquire", {send, receive}, 0},
	{"relaxed and acquire", {send_relaxed, receive}, 7},
	{"release and relaxed", {send, receive_relaxed}, 7},
	{"fences", {send_fence, receive_fence}, 0},
	{"release and fence", {send, receive_fence}, 0},
	{"fence and relaxed", {send_fence, receive_relaxed}, 7},
	{"read-modify-writes", {send_by_add, take_by_xchg}, 0},
	{"a release sequence", {send_before_add, receive}, 0},
	{"light and heavy order no plain accesses", {light_write, heavy_read}, 7},
	{"a wake", {send_and_wake, await_and_read}, 0},
	{"no wake", {send_without_wake, await_and_read}, 5},
	{"a plain read of a word", {store_word, read_word_plainly}, 7},
	{"plain and atomic reads", {load_word, read_word_plainly}, 0},
	{"a plain write of a word", {load_word, clear_word_plainly}, 7},
	{"spawn and join", {spawn_and_join, nothing}, 0},
	{"no join", {spawn_and_go_on, nothing}, 7},
	{"thread areas", {own_area, own_area}, 0},
	{"a deadline", {wait_until_late, wait_until_late}, 0},
	{"a pool", {use_pool, use_pool}, 0},
	{"an assertion", {claim, claim}, 8},
	{"a lock that is not held", {drop_not_held, nothing}, 8},
	{"a lock taken twice", {lock_twice, nothing}, 5},
	{"two locks in two orders", {lock_ab, lock_ba}, 5},
	{NULL, {NULL, NULL}, 0},
};
