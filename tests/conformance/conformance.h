/* SPDX-License-Identifier: MIT */
/*
 * conformance.h: one table of operations, run on the simulated machine and on the kernel that the test runs on.
 *
 * A sequence is text: "anon(0,2) write(0,5) fork() write(0,6) read(0)=6 child(0)=5". After "=" stands what the CPU must see, on
 * either machine: a value, or an error. Operations whose result is not stated are compared between the two all the same.
 *
 *	anon shared private (page, count [, prot])   mmap at the page; prot: none, r, rw (the default)
 *	unmap dontneed free truncate (page, count)   protect(page, count, prot)   remap(page, count, to)   fork()
 *	write(page, value)   read(page)   child(page): what the forked child reads
 *	populate(page): for writing   drop(page): memory is short, of what MADV_FREE gave up
 *	writeback migrate replace reclaim (page)     nothing that a program could notice
 */
#ifndef CONFORMANCE_H
#define CONFORMANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGES 8u      /* of the simulated LAB_PAGES, that sequences use */
#define OPS_MAX 32u
#define RESULT_ANY (-4096)

enum op_kind {
	OP_ANON, OP_SHARED, OP_PRIVATE, OP_UNMAP, OP_DONTNEED, OP_FREE, OP_TRUNCATE, OP_PROTECT, OP_REMAP, OP_FORK, OP_WRITE,
	OP_READ, OP_CHILD, OP_WRITEBACK, OP_MIGRATE, OP_REPLACE, OP_RECLAIM, OP_POPULATE, OP_DROP, OP_KINDS
};

struct op {
	enum op_kind kind;
	uint32_t page, count, arg; /* arg: prot as LAB_READ | LAB_WRITE, value, or target */
	bool expected;             /* what follows is stated */
	int error;
	uint32_t value;
};

/* What can be seen of a page without touching it. */
struct sight {
	bool present, zero;   /* an entry; of the zero page */
	uint64_t frame;       /* 0: cannot be seen */
};

struct seen {
	int error;            /* of the operation, or RESULT_ANY */
	uint32_t value;       /* of a read */
	struct sight page[PAGES];
};

/* A machine runs a sequence and says what was seen after each operation. False: it cannot, and said why. */
typedef bool (*machine_fn)(const struct op *ops, size_t count, struct seen *seen);
bool run_on_simmm(const struct op *ops, size_t count, struct seen *seen);
bool run_on_kernel(const struct op *ops, size_t count, struct seen *seen);
/* Ends what the kernel's machine has open. */
void kernel_done(void);
bool kernel_sees_frames(void);

/* The number of operations; stops the test where the text is wrong. */
size_t parse(const char *text, struct op ops[OPS_MAX]);
void print_op(const struct op *op, char *out, size_t size);
static inline bool op_reads(const struct op *op)
{
	return op->kind == OP_READ || op->kind == OP_CHILD;
}

struct sequence {
	const char *about, *text;
};
extern const struct sequence sequences[];
extern const size_t sequence_count;

#endif
