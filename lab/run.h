/* SPDX-License-Identifier: MIT */
/*
 * run.h: one execution, for the searches. What fibers call is in engine.h.
 *
 * A fiber that has published its operation decides itself, on its own stack, who goes on, and switches there directly; if that
 * is itself, nothing is switched. A *turn* is leave to perform the published operation and to run to the next visible one. A
 * search is a struct lab_mode: it is asked at each decision, and keeps what it needs to ask differently next time.
 *
 *   published   ready      waits for its turn; the lock it wants may be taken, then it is not *enabled*
 *   asleep      sleeping   in lab_sleep(); a wake makes it ready. So does a deadline, when nobody else can run
 *   ended       neither
 */
#ifndef LAB_RUN_H
#define LAB_RUN_H

#include <stdarg.h>

#include "lab/engine.h"
#include "lab/fiber.h"
#include "lab/search.h"

#define LAB_NOBODY UINT32_MAX
#define LAB_UNLIMITED UINT32_MAX
#define LAB_ALTERNATIVES_MAX 255u /* of one choice: a schedule has a byte for it */
/* What pick() answers for "flush number i of fiber f, and ask again". */
#define LAB_FLUSH(fiber, i) (UINT32_C(0x100) | (uint32_t)(fiber) << 4 | (uint32_t)(i))
#define LAB_IS_FLUSH(answer) (((answer) & UINT32_C(0x100)) != 0)
#define LAB_FLUSH_FIBER(answer) (((answer) >> 4) & 15u)
#define LAB_FLUSH_INDEX(answer) ((answer) & 15u)

struct lab_fiber {
	struct lab_context context;
	struct lab_op op;      /* published, not performed yet */
	uint32_t turns;        /* operations performed; counted only when run.slow */
	/* Fairness among fibers that spin: see yield_account(). */
	uint32_t behind, others, seen;
	const void *address;   /* asleep: on this */
	bool has_deadline, late;
	bool is_daemon;
	uint32_t joins;        /* LAB_OP_JOIN: whom */
	void (*fn)(void *arg);
	void *arg;
	char name[12];
};

struct lab_mode {
	/*
	 * Who takes the next turn: a fiber of `candidates` (never 0), or a flush. `on`: the running fiber is one of them and
	 * did not give way of its own accord, so that taking another is a preemption. No candidates: one of the flushes.
	 */
	uint32_t (*pick)(uint32_t candidates, bool on);
	/* 0..n-1; n > 1. Asked only while the kind's budget lasts. */
	uint32_t (*choose)(enum lab_choice_kind kind, uint32_t n);
	/* The running fiber wakes another, has released a lock, has joined another, made it, yields. NULL if not wanted. */
	void (*woke)(uint32_t fiber);
	void (*released)(const struct lab_op *op);
	void (*joined)(uint32_t fiber);
	void (*made)(uint32_t fiber);
	void (*yielded)(void);
	/* Waking up and going on after a yield are turns of their own. Otherwise they include the next visible operation. */
	bool each_turn;
	/* Every operation is a decision, visible or not: a schedule is being followed. */
	bool exact;
};

struct lab_run {
	uint32_t now;            /* the running fiber; 0: set-up, checks */
	uint32_t last;           /* who ended the execution */
	uint32_t all;            /* fibers of the process: bit n; made: also those that a fork left behind */
	uint32_t made;
	uint32_t ready, sleeping, blocking; /* blocking: of those ready, the ones whose operation may have to wait */
	uint32_t daemons, ended;
	uint32_t spinners;       /* have yielded */
	uint32_t barred;         /* have yielded, and no other fiber has made a step since */
	uint32_t starter;        /* who waits for the running fiber to publish its first operation; LAB_NOBODY */
	bool carried;            /* the running fiber's turn includes its next visible operation */
	bool open;               /* an operation was performed that lab_after_step has not seen */
	bool over;
	bool prologue;           /* nothing is tried yet; false in modes that must see every turn */
	bool untold;             /* the prologue, in every mode: not part of the story */
	bool forced;             /* pick() is asked whose deadline comes first, nobody being able to run */
	bool usual;              /* the last decision was for lab_pick_usual() */
	bool slow;               /* recording, telling, or following a schedule */
	uint32_t steps, step_max, preemptions;
	uint32_t left[LAB_CHOICE_KINDS]; /* budgets; BUFFER draws on LOAD's */
	uint64_t digest;
	const struct lab_mode *mode;
	const struct lab_config *config;
	struct lab_verdict verdict; /* of this execution, once it is lost */
	struct lab_fiber fiber[LAB_FIBERS];
};
extern struct lab_run lab_run;

/*
 * A new configuration: everything forgotten, set-up made, memory remembered. False: the set-up itself lost; see
 * lab_run.verdict.
 */
bool lab_run_setup(const struct lab_config *config);
/* One execution; bound: preemptions and weak deviations. The verdict's text is valid only if it lost. */
enum lab_outcome lab_run_once(const struct lab_mode *mode, uint32_t bound);
/* fault.c: from now on a fiber that faults loses. */
void lab_fault_open(void);
/* Back to fiber 0, the running fiber never to be heard of again. Returns if this is fiber 0. */
void lab_finish(void);
/* The verdict when nobody can run: who waits where. */
void lab_deadlock(void);
/* The running fiber has ended: another's turn, if there is one. Does not return. */
void lab_end_turn(void);
/* From fiber 0: the first turn. Returns when the execution is over. */
void lab_first_turn(void);
/* For modes: ends the execution as LAB_ABANDONED; does not return in a fiber. */
void lab_abandon(void);
/* For modes: the program did something else than when the same choices were made before. Does not return in a fiber. */
void lab_not_deterministic(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What pick() answers when nothing speaks for another: the running fiber, else the next one round, else the first flush. */
uint32_t lab_pick_usual(uint32_t candidates, bool on);
/* May the fiber take its turn now? */
bool lab_enabled(uint32_t fiber);
/* The fibers' operations that do not commute, memory's and the engine's own. */
bool lab_turns_conflict(const struct lab_op *a, const struct lab_op *b);

/* ---- run_tell.c: what is done when run.slow ---- */

struct lab_schedule;
struct lab_teller {
	struct lab_schedule *record; /* NULL: not recorded */
	void (*tell)(void *arg, const struct lab_tell *t); /* NULL: nobody listens */
	void *arg;
};
/* From now on; NULL: nobody. */
void lab_tell_begin(const struct lab_teller *teller);
void lab_tell_turn(uint32_t fiber);
/* What the fiber did before its first turn cannot wait for that one to be recorded: it goes to sleep, or ends. */
void lab_tell_held(uint32_t fiber);
/* The fiber begins to perform its published operation; it has performed it. */
void lab_tell_op(uint32_t fiber, const struct lab_op *op);
void lab_tell_done(void);
void lab_tell_flush(uint32_t fiber, uint32_t i);
void lab_tell_choice(enum lab_choice_kind kind, uint32_t taken);
void lab_tell_preempted(uint32_t fiber);
void lab_tell_words(uint32_t fiber, const char *words);
void lab_tell_verdict(void);

#endif
