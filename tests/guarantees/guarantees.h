/* SPDX-License-Identifier: MIT */
/*
 * guarantees.h: one cell of guarantees/table.txt at a time: memory of one kind (area.c), one operation on it (the acts),
 * made in one way (ways.c), while a notifier and a cached registration watch one page of it (main.c).
 *
 * Whatever a test does besides the operation itself it does by system calls of its own, which hooks do not see.
 */
#ifndef TESTS_GUARANTEES_H
#define TESTS_GUARANTEES_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/shm.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <uhmm/uhmm.h>

#include "../bare.h"

#define PAGE ((size_t)4096)
#define HUGE ((size_t)2 << 20)
#define BYTE 0x5a
#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define FIXED MAP_FIXED
#define MOVE MREMAP_MAYMOVE
#define SKIP 77

/* What headers of 2023 may lack; the numbers are the kernel's. */
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif
#ifndef MADV_DONTOP_LOCKED
#define MADV_DONTOP_LOCKED 24
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25
#endif
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#define MADV_GUARD_REMOVE 103
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif
#define PUNCH_HOLE (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
#define ZERO_RANGE FALLOC_FL_ZERO_RANGE
#define COLLAPSE_RANGE FALLOC_FL_COLLAPSE_RANGE
#define INSERT_RANGE FALLOC_FL_INSERT_RANGE

enum mapping {
	MAPPING_ANON,
	MAPPING_ANON_2M,
	MAPPING_THP,
	MAPPING_HUGETLB,
	MAPPING_SHMEM,
	MAPPING_FILE_SHARED,
	MAPPING_FILE_PRIVATE,
	MAPPING_BRK,
	MAPPING_STACK,
	MAPPING_SYSV,
	MAPPING_BLOCK,
	MAPPING_ARENA,
	MAPPING_THREAD_STACK,
	MAPPING_OBJECT,
	MAPPINGS
};
extern const char *const mapping_names[MAPPINGS];

enum way { WAY_LIBC, WAY_SYSCALL, WAY_THREAD, WAY_HANDLER, WAY_VFORK, WAY_INLINE, WAY_RING, WAY_PROCESS, WAY_KERNEL, WAYS };
extern const char *const way_names[WAYS];

enum {
	OP_LATER = 1u << 0,  /* what it changes cannot be seen at once */
	OP_UNSEEN = 1u << 1, /* part of it is done unseen by construction */
	OP_PINS = 1u << 2,   /* the cache has UHMM_REGCACHE_PINS; the notifier is told all the same */
	OP_FS = 1u << 3,     /* a file system that can do it */
	OP_SWAP = 1u << 4,
	OP_NODES = 1u << 5,
	OP_KSM = 1u << 6,
	OP_REFUSED = 1u << 7 /* by the kernel, where uffd watches */
};

struct op {
	const char *name;
	long (*call)(void);
	unsigned page, needs;
	unsigned since; /* kernel 6.13 is 6013 */
};

struct cell {
	const struct op *op;
	enum mapping mapping;
	enum way way;
	char verdict[5]; /* of each monitor: yes, no, needless or kept, by the first letter */
};

/* The memory of the cell that is being run: four units with a gap before and behind. */
struct area {
	enum mapping mapping;
	size_t unit_size; /* PAGE or HUGE */
	char *at;           /* the first of four units */
	char *watched;      /* the page that is watched */
	char *room;         /* the address range that is the area's own */
	size_t room_len;
	char *room_spare, *room_other; /* made when asked for */
	int fd, file_flags;
	int sysv, second;   /* segments; -1 */
	char name[48];      /* a path that leads to fd */
	void *result;       /* a mapping that the operation made, to be unmapped */
	size_t result_len;
	void *handle;       /* of the malloc'd block, the object */
	const char *unavailable; /* why the operation cannot be tried here */
};
extern struct area area;
extern enum way way;

/* area.c. area_make() leaves area.unavailable if there is no such memory here. */
void area_make(enum mapping mapping, unsigned page);
void area_plug(void); /* right after the operation */
void area_drop(void);
void area_init(void);

/* What is found at an address: enough to see that it is not what it was. */
struct seen {
	int byte;       /* -1: not readable */
	bool writable;
	uint64_t frame; /* 0: not there or not to be known */
};
struct seen look(const char *at);
uint64_t frame_of(const char *where); /* 0: not there or not to be known */
bool frames_are_visible(void);

/* ways.c */
void ways_init(void);
void run_in_way(long (*call)(void));
long way_call(long number, const long *args);
/* After the call, in the thread that asked for it. */
extern long way_result; /* negative errno on failure */

bool calls_libc(void);
/* A child that executes system calls for us, and this process as it sees it. */
long helper_advise(void *at, size_t len, int advice);
void ways_end(void);

#define LONGS1(a) (long)(a)
#define LONGS2(a, ...) (long)(a), LONGS1(__VA_ARGS__)
#define LONGS3(a, ...) (long)(a), LONGS2(__VA_ARGS__)
#define LONGS4(a, ...) (long)(a), LONGS3(__VA_ARGS__)
#define LONGS5(a, ...) (long)(a), LONGS4(__VA_ARGS__)
#define LONGS6(a, ...) (long)(a), LONGS5(__VA_ARGS__)
#define LONGS_OF(a, b, c, d, e, f, macro, ...) macro
#define LONGS(...) LONGS_OF(__VA_ARGS__, LONGS6, LONGS5, LONGS4, LONGS3, LONGS2, LONGS1, 0)(__VA_ARGS__)

/* A system call in the current way; negative errno on failure. */
static inline long errno_of(long result)
{
	return result == -1 ? -errno : result;
}
#define CALL(name, ...) \
	(calls_libc() ? errno_of((long)name(__VA_ARGS__)) : way_call(SYS_##name, (const long[6]){LONGS(__VA_ARGS__)}))
#define BARE(name, ...) bare_six(SYS_##name, (const long[6]){LONGS(__VA_ARGS__)})

static inline long bare_six(long number, const long *a)
{
	return bare_call(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static inline bool is_error(long result)
{
	return result < 0 && result > -4096;
}

/* ---- what the table's calls are made of ---- */

#define unit (area.unit_size)
static inline char *at(size_t n)
{
	return area.at + n * unit;
}
static inline long bytes(long units)
{
	return units * (long)unit;
}
static inline int file(void)
{
	return area.fd;
}
static inline const char *path(void)
{
	return area.name;
}
char *spare(void);  /* room for four units, nothing there */
char *other(void);  /* four units of another byte */
int segment(void);  /* a segment of four units */

/* acts_memory.c, acts_heap.c, acts_files.c, acts_kernel.c: operations that are more than one call */
long act_map_hint(void);
long act_grow_in_place(void);
long act_map_reused(void);
long act_move_to_grow(void);
long act_move_keeping(void);
long act_view_again(void);
long act_locked_dontneed(void);
long act_advise_itself(int advice);
long act_advise_from_outside(int advice);
long act_ask_residency(void);
long act_seal(void);
long act_bind_policy(void);
long act_move_to_node(void);
long act_sbrk(long by);
long act_free_block(void);
long act_grow_block(void);
long act_trim(void);
long act_end_thread(void);
long act_grow_stack(void);
long act_close_object(void);
long act_close_object_again(void);
long act_write_file(int flag);
long act_cut(int mode, long units);
long act_posix_fadvise(int fd, long offset, long len, int advice);
long act_fork_and_write(void);
long act_fork_by_call(void);
long act_vfork_exec(void);
long act_spawn(void);
long act_uffd_move(void);
long act_uffd_register(void);
long act_merge(void);
long act_swap_out(void);
long act_announce(bool changes);

/* What acts_heap.c and acts_kernel.c keep between set-up and end. */
void heap_make(void); /* MAPPING_BLOCK, ARENA, THREAD_STACK, OBJECT */
void heap_drop(void);
extern struct uhmm_mm *current_mm;

#endif
