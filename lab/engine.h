/* SPDX-License-Identifier: MIT */
/*
 * engine.h: the inside of the race lab. What outsiders use is <uhmm/lab.h>.
 *
 * One execution runs a scenario's fibers on one kernel thread, one visible operation at a time. A fiber publishes the operation
 * that it is about to make and gives way (lab_point); so the scheduler knows, before anything happens, who can run and whose
 * operations conflict. Everything that is not determined by the program is a choice on one stack: which fiber goes on, which
 * store a load returns, whether a sleeper wakes for nothing, a deadline passes, an allocation fails. An execution is replayed
 * by replaying the choices; a search is an order in which choice stacks are tried.
 *
 *   fiber.[ch] fiber_*.S   stacks and the switch
 *   run.[ch]               one execution: publish, choose, perform; blocking; verdicts
 *   choice.[ch]            the stack, budgets, replay with its checks, text form of schedules
 *   search_bound.c         preemption bound 0, 1, 2, ...: every schedule with that many preemptions (and weak deviations)
 *   search_dpor.c          no bound: source-DPOR with sleep sets; SC memory
 *   search_pct.c           probabilistic concurrency testing for what is too large
 *   minimise.c             fewer preemptions that still fail
 *   memory.[ch]            what loads may return: modification histories, store buffers
 *   history.[ch] fences.c locks.c  the parts of it: stores in memory and waiting; fences and heavy barriers; locks and waits
 *   visible.c              which words are shared, as far as has been learnt
 *   clocks.h races.c       happens-before; plain accesses of code compiled with -fsanitize=thread, whose runtime this is
 *   arena.[ch]             all memory of an execution, at fixed addresses, put back to the state after set-up by undoing writes
 *   simmm/                 the simulated CPU side
 *   models/ scenarios/     drivers, and the races R1-R34
 *
 * Invisible operations: an atomic operation on a word that one fiber alone uses, or that nobody writes, commutes with what the
 * others do, so no other fiber needs to be tried before it. Which words those are is learnt: a search begins with none shared
 * and begins again whenever it meets a word that turns out to be (visible.c keeps the table, keyed by address). Schedules count
 * all operations of a fiber, visible or not, so that a schedule means the same with another table.
 */
#ifndef LAB_ENGINE_H
#define LAB_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LAB_FIBERS 12u      /* those of the set-up (0), the scenario, its service threads */
#define LAB_STEPS_MAX 20000u /* operations of an execution; beyond it: livelock */

enum lab_op_kind {
	LAB_OP_LOAD, LAB_OP_STORE, LAB_OP_RMW, /* atomics, on memory.c's words */
	LAB_OP_FENCE,                          /* fence_full */
	LAB_OP_LIGHT,                          /* fence_light */
	LAB_OP_HEAVY,                          /* sync_heavy_barrier: conflicts with everything */
	LAB_OP_LOCK, LAB_OP_TRYLOCK, LAB_OP_UNLOCK,
	LAB_OP_FUTEX_WAIT,                     /* compares the newest value; then sleeps until woken, or for nothing, or late */
	LAB_OP_FUTEX_WAKE,
	LAB_OP_STEP,                           /* of the simulated machine: a page-table entry, a device access, ... */
	LAB_OP_FLUSH,                          /* of the oldest buffered store of a fiber; a pseudo-thread's */
	LAB_OP_SPAWN, LAB_OP_JOIN, LAB_OP_EXIT,
	LAB_OP_YIELD,                          /* sync_relax, clock_sleep: not again before another fiber has made a step */
	LAB_OP_KINDS
};

/* Where in the source, and the operation as written there. Static; made by the macros of src/port/lab. */
#ifndef LAB_SITE_DECLARED
#define LAB_SITE_DECLARED /* also in <uhmm/lab.h> */
struct lab_site {
	const char *file, *function, *text;
	uint32_t line;
};
#endif

struct lab_op {
	enum lab_op_kind kind;
	bool write;                   /* conflicts with reads of the same object too */
	const void *object;           /* two operations on one object, one of them a write, do not commute */
	const struct lab_site *site;
};

/* ---- the running fiber ---- */

/* Index of the running fiber; 0 during set-up. */
uint32_t lab_self(void);
/*
 * Publishes op and returns when it is this fiber's turn to perform it, at once if the operation is invisible. For a kind that
 * blocks (LOCK, JOIN) the turn comes when it can succeed, as lab_op_enabled() says. During set-up and final checks: returns.
 */
void lab_point(const struct lab_op *op);

/*
 * Other choices: 0 is what usually happens. lab_choose() returns 0..n-1, each tried while its budget lasts: an answer other
 * than 0 takes one unit. n == 1 is no choice.
 */
enum lab_choice_kind {
	LAB_CHOICE_FIBER,    /* engine only */
	LAB_CHOICE_LOAD,     /* 0: the newest store that may be returned; budget: weak deviations */
	LAB_CHOICE_BUFFER,   /* 0: the store goes to memory at once; 1: it waits in the store buffer; budget: weak deviations */
	LAB_CHOICE_SPURIOUS, /* 1: a sleeper wakes for nothing; budget of its own (1 an execution) */
	LAB_CHOICE_TIMEOUT,  /* 1: a deadline has passed; budget of its own */
	LAB_CHOICE_FAIL,     /* 1: an allocation or a simulated call fails; budget of its own, 0 unless the scenario sets it */
	LAB_CHOICE_DATA,     /* a scenario's own free choice: no budget, all are tried */
	LAB_CHOICE_KINDS
};
uint32_t lab_choose(enum lab_choice_kind kind, uint32_t n);

/* Sleeps on an address until lab_wake(), spurious wake-up or deadline, the two being choices. True: woken; false: deadline. */
bool lab_sleep(const void *address, bool has_deadline, const struct lab_site *site);
/* Wakes all sleepers of the address; they can run from then on. */
void lab_wake(const void *address);

/* The verdict of this execution: it lost. Does not return when called in a fiber. `invariant` 1..6 as in <uhmm/lab.h>. */
void lab_lost(int invariant, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Called by run.c after every visible operation, and by the scenario layer to hook its invariants in. NULL: none. */
extern void (*lab_after_step)(void);

/*
 * Fibers made by code under test (threads of the library, R28's submitters); lab_spawn() of <uhmm/lab.h> is the first of them.
 * In set-up: exists in every execution. In a fiber: the child runs up to its first visible operation before this returns.
 */
uint32_t lab_fiber_spawn(const char *name, void (*fn)(void *arg), void *arg, bool is_daemon);
void lab_fiber_join(uint32_t fiber);
/* The running fiber goes on as the only thread of a forked child: all others vanish where they are, locks held and all. */
void lab_become_child(void);
/*
 * What must have happened before the race begins, and is none itself: threads of the library that start, an address space that
 * is opened. From lab_prologue(true) in a set-up until a fiber calls lab_prologue(false) one usual order is taken and nothing
 * else tried. The fibers of the race wait for that one. Replays and the search without a bound see every turn of it.
 */
void lab_prologue(bool on);
/* Is this address on a fiber's stack? Stacks are at the same addresses in every execution and are not put back. */
bool lab_on_stack(const void *address);
/* A fiber that sleeps in lab_sleep() on this address; for invariants. */
bool lab_is_sleeping(uint32_t fiber, const void *address);
/* Adds to the digest of the final state; by lab_layer's check. */
void lab_digest(uint64_t value);

/*
 * The layer of scenarios, between run.c and <uhmm/lab.h>. Set by lab/simmm/ before anything runs. NULL: config->scenario's own
 * setup and check are called with a bare struct lab_setup.
 */
struct lab_config;
struct lab_layer {
	/* Once per configuration, on fiber 0, before lab_arena_snapshot(): makes the machine, calls scenario->setup. */
	void (*setup)(const struct lab_config *config);
	/*
	 * On fiber 0, after an execution that held so far: scenario->check, what must be true at the end (lab_lost()), the
	 * digest.
	 */
	void (*check)(const struct lab_config *config);
};
extern const struct lab_layer *lab_layer;

/* ---- what memory.c gives to run.c and the searches ---- */

/* May this operation be performed now? Only LOCK and JOIN ever say no (FUTEX_WAIT sleeps inside). */
bool lab_op_enabled(uint32_t fiber, const struct lab_op *op);
/* Two operations of different fibers that do not commute. */
bool lab_ops_conflict(const struct lab_op *a, const struct lab_op *b);
/* A word used by one fiber only so far, or never written. Learns; sets *lab_shared_grew when it must be tried again. */
bool lab_op_visible(uint32_t fiber, const struct lab_op *op);
extern bool lab_shared_grew;
void lab_shared_forget(void);
/* Weak mode: has the fiber a buffered store that may go to memory now? Flush number i of those possible. */
uint32_t lab_flushable(uint32_t fiber);
void lab_flush(uint32_t fiber, uint32_t i);
/*
 * Could it matter whether `owner`'s stores go to memory before or after `next`, which fiber `other` is about to perform? Not if
 * that has nothing to do with their words, nor takes buffered stores to the same words along to memory.
 */
bool lab_flush_matters(uint32_t owner, uint32_t other, const struct lab_op *next);
/* Bit n: fiber n has buffered stores. 0 in SC mode. */
extern uint32_t lab_buffered;
/* The learnt table, for resuming: entry i, or false past the end; and one entry put back. `word` is position-independent. */
bool lab_shared_get(uint32_t i, uint64_t *word, uint32_t *state);
void lab_shared_put(uint64_t word, uint32_t state);
/* A new configuration, before its set-up; `weak` as in it. */
void lab_memory_begin(bool weak);
/* Begin and end of an execution, of a fiber; the happens-before edges of spawn, join. */
void lab_memory_reset(void);
void lab_memory_spawned(uint32_t parent, uint32_t child);
void lab_memory_joined(uint32_t joiner, uint32_t joined);

/*
 * What thread_exit_register() was given: run.c calls it in the fiber when its function has returned. In src/port/lab; weak,
 * because tests of the engine alone do without.
 */
void lab_thread_exit(void) __attribute__((weak));

/* ---- memory of an execution ---- */

/* Fixed addresses; zeroed; lives until the execution ends. Also behind mm_map() of src/port/lab. NULL: arena full. */
void *lab_alloc(size_t size, size_t align);
/* After set-up: what is written from now on is undone by lab_arena_restore(). All writes by instrumented code are seen. */
void lab_arena_snapshot(void);
/* A new configuration: static data as when the program began, nothing allocated, no snapshot. */
void lab_arena_begin(void);
void lab_arena_restore(void);
/* Somebody is about to write this memory; uninstrumented code of the lab calls it for memory in the arena. */
void lab_arena_dirty(const void *addr, size_t len);

/* ---- executions, for searches ---- */

struct lab_config {
	const struct lab_scenario *scenario;
	const struct lab_model *model;
	uint32_t devices, invalidators;
	bool weak;               /* histories and store buffers; false: sequential consistency, races detected all the same */
	uint32_t bound;          /* preemptions, and in weak mode weak deviations */
	uint32_t spurious, timeouts, failures; /* budgets */
	uint32_t step_max;       /* 0: LAB_STEPS_MAX */
};

enum lab_outcome { LAB_HELD, LAB_LOST, LAB_ABANDONED /* sleep-set blocked or superseded */ };

struct lab_verdict {
	enum lab_outcome outcome;
	int invariant;           /* 1..6; 0: held. 7: data race, 8: assertion of the code under test, 9: not deterministic */
	char text[400];
	uint32_t steps, preemptions;
	uint64_t digest;         /* of the final state, as the scenario's check hashed it: to compare searches */
};

/* Writes a schedule ("0x12.1x3.L1.0x2...", see choice.h) and reads it back; used by replay, minimise, resume. */
struct lab_schedule;

#endif
