/* SPDX-License-Identifier: MIT */
/*
 * visible.c: which operations are worth a decision, and which plain accesses are worth remembering. What is done to a word
 * that one fiber alone uses, or that nobody writes, commutes with everything that the others do and races with nothing. Which
 * words those are is learnt while searching; what is learnt is kept until a new search begins, and a search begins again
 * whenever a word turns out to be shared, since what it skipped there was wrong.
 */
#include <stddef.h>

#include "lab/memory.h"
#include "lab/memory_inside.h"

/*
 * What is known of half a word of eight bytes, for operations; and then of each whole one, for accesses of any kind, which
 * matter where one is plain.
 */
#define ALL_USERS 0xfffu
#define ALL_WRITERS 0xfff000u
#define TRIED (1u << 24) /* a lock that somebody takes only if it is free */
#define VISIBLE (1u << 25)

#define LEARNT_MAX (1u << 20)
#define STRANGER_SLOTS (2u * LAB_STRANGERS)

bool lab_shared_grew;

uint32_t *lab_access_states;
static uint32_t *states, *learnt, learnt_count, words_known;
static uint32_t first_stranger, strangers;
static struct {
	uintptr_t word; /* address / 8; 0: free */
	uint32_t index;
} stranger[STRANGER_SLOTS];

void lab_visible_open(uint32_t words, void *(*zeroed)(size_t len))
{
	first_stranger = words;
	words_known = words + LAB_STRANGERS;
	states = zeroed((size_t)words_known * 3 * sizeof(*states));
	lab_access_states = states + (size_t)words_known * 2;
	learnt = zeroed(LEARNT_MAX * sizeof(*learnt));
}

uint32_t lab_index_of_stranger(uintptr_t addr)
{
	uintptr_t word = addr >> 3;
	uint32_t i = (uint32_t)(word * UINT64_C(0x9e3779b97f4a7c15) >> 32) % STRANGER_SLOTS;

	while (stranger[i].word && stranger[i].word != word)
		i = (i + 1) % STRANGER_SLOTS;
	if (!stranger[i].word) {
		if (strangers == LAB_STRANGERS)
			lab_stop("too many words outside the arena");
		stranger[i].word = word;
		stranger[i].index = first_stranger + strangers++;
	}
	return stranger[i].index;
}

/* ---- learning ---- */

static bool is_shared(uint32_t state)
{
	uint32_t users = state & ALL_USERS;

	return (state & ALL_WRITERS) && (users & (users - 1));
}

static uint32_t learn(uint32_t at, uint32_t news)
{
	uint32_t old = states[at], state = old | news;

	if (at >= words_known * 2)
		state |= is_shared(state) && (state & LAB_ACCESS_PLAIN) ? LAB_ACCESS_MATTERS : 0;
	else if (is_shared(state))
		state |= VISIBLE;
	/* A lock's releases were skipped until somebody tried it, all operations until there were two users. */
	if ((state & VISIBLE) && (!(old & VISIBLE) || (state & ~old & TRIED)))
		lab_shared_grew = true;
	if (state & ~old & LAB_ACCESS_MATTERS)
		lab_shared_grew = true;
	if (!old) {
		if (learnt_count == LEARNT_MAX)
			lab_stop("too many shared words");
		learnt[learnt_count++] = at;
	}
	states[at] = state;
	return state;
}

uint32_t lab_access_learn(uint32_t index, uint32_t news)
{
	return learn(words_known * 2 + index, news);
}

static uint32_t place_of(const void *object)
{
	return lab_index_of_word(object) * 2 + (uint32_t)((uintptr_t)object >> 2 & 1u);
}

static uint32_t learn_op(uint32_t fiber, const struct lab_op *op)
{
	uint32_t at = place_of(op->object);
	uint32_t news = LAB_USERS(fiber) | (op->write ? LAB_WRITERS(fiber) : 0) | (op->kind == LAB_OP_TRYLOCK ? TRIED : 0);
	uint32_t state = states[at];

	return __builtin_expect((state & news) == news, 1) ? state : learn(at, news);
}

bool lab_op_visible(uint32_t fiber, const struct lab_op *op)
{
	uint32_t state = op->object ? learn_op(fiber, op) : 0;

	/* Most operations empty the fiber's buffer: others may come before that. */
	if (lab_buffered >> fiber & 1u)
		return true;
	if (!op->object)
		return op->kind == LAB_OP_FENCE || op->kind == LAB_OP_LIGHT || op->kind == LAB_OP_HEAVY ? lab_weak : true;
	if (op->kind == LAB_OP_UNLOCK)
		return (state & (VISIBLE | TRIED)) == (VISIBLE | TRIED);
	return state & VISIBLE;
}

bool lab_word_is_shared(uint32_t index, uint32_t half)
{
	/* Who follows a schedule has learnt nothing. */
	return (states[index * 2 + half] & VISIBLE) || (lab_run.mode && lab_run.mode->exact);
}

void lab_shared_forget(void)
{
	while (learnt_count > 0)
		states[learnt[--learnt_count]] = 0;
	lab_shared_grew = false;
}

bool lab_shared_get(uint32_t i, uint64_t *word, uint32_t *state)
{
	if (i >= learnt_count)
		return false;
	*word = learnt[i];
	*state = states[learnt[i]];
	return true;
}

void lab_shared_put(uint64_t word, uint32_t state)
{
	if (word < (uint64_t)words_known * 3)
		learn((uint32_t)word, state);
}

/* ---- what the scheduler asks ---- */

bool lab_op_enabled(uint32_t fiber, const struct lab_op *op)
{
	(void)fiber;
	const struct lab_mutex *l = op->object;

	return op->kind != LAB_OP_LOCK || (l->holder == 0 && (!op->write || l->readers == 0));
}

bool lab_ops_conflict(const struct lab_op *a, const struct lab_op *b)
{
	if (a->kind == LAB_OP_HEAVY || b->kind == LAB_OP_HEAVY)
		return true;
	return a->object && a->object == b->object && (a->write || b->write);
}
