/* SPDX-License-Identifier: MIT */
#include "programs.h"

#include <stdio.h>
#include <string.h>

#include "lab/digest.h"
#include "lab/memory.h"
#include <uhmm/lab.h>

#define WORDS 3

static struct program current;
static struct shared {
	uint32_t word[WORDS];
	uint64_t seen[PROGRAM_FIBERS];
	struct lab_mutex lock[WORDS];
	struct uhmm_a32 atomic[WORDS], flag[WORDS];
} *shared;

void program_set(const struct program *p)
{
	current = *p;
}

static void remember(uint32_t fiber, uint64_t value)
{
	lab_arena_dirty(&shared->seen[fiber], sizeof(shared->seen[fiber]));
	shared->seen[fiber] = lab_mix(shared->seen[fiber] * 31 + value + 1);
}

static void step(void *object, bool write)
{
	lab_point(&(struct lab_op){ .kind = LAB_OP_STEP, .object = object, .write = write, .site = LAB_SITE("step") });
}

static void await_flag(uint32_t v, bool sleeping)
{
	while (!lab_a32_load(&shared->flag[v], LAB_ACQUIRE, LAB_SITE("flag?"))) {
		if (sleeping)
			lab_mem_wait(&shared->flag[v], 0, false, LAB_SITE("wait"));
		else
			lab_relax();
	}
}

static void set_flag(uint32_t v)
{
	lab_a32_store(&shared->flag[v], 1, LAB_RELEASE, LAB_SITE("flag = 1"));
	lab_mem_wake(&shared->flag[v], LAB_SITE("wake"));
}

static void on_words(uint32_t fiber, char op, uint32_t v, uint32_t value)
{
	if (op == 'r') {
		step(&shared->word[v], false);
		remember(fiber, shared->word[v]);
	} else if (op == 'w') {
		step(&shared->word[v], true);
		lab_arena_dirty(&shared->word[v], sizeof(shared->word[v]));
		shared->word[v] = value;
	} else if (op == 'a') {
		remember(fiber, lab_a32_load(&shared->atomic[v], LAB_RELAXED, LAB_SITE("a")));
	} else if (op == 'b') {
		lab_a32_store(&shared->atomic[v], value, LAB_RELAXED, LAB_SITE("b"));
	}
}

static uint32_t child_of[PROGRAM_FIBERS];

static void write_word(void *word)
{
	step(word, true);
	lab_arena_dirty(word, sizeof(uint32_t));
	*(uint32_t *)word += 1000;
}

static void perform(uint32_t fiber, char op, uint32_t v, uint32_t value)
{
	if (op == '+') {
		lab_mem_lock(&shared->lock[v], LAB_SITE("lock"));
	} else if (op == '-') {
		lab_mem_unlock(&shared->lock[v], LAB_SITE("unlock"));
	} else if (op == 't') {
		const bool taken = lab_mem_trylock(&shared->lock[v], LAB_SITE("trylock"));

		remember(fiber, taken);
		if (taken)
			lab_mem_unlock(&shared->lock[v], LAB_SITE("unlock"));
	} else if (op == 's' || op == 'z') {
		await_flag(v, op == 's');
	} else if (op == 'k') {
		set_flag(v);
	} else if (op == 'y') {
		lab_relax();
	} else if (op == 'd') {
		remember(fiber, lab_pick(2));
	} else if (op == 'f') {
		lab_become_child();
	} else if (op == 'x') {
		child_of[fiber] = lab_fiber_spawn("child", write_word, &shared->word[v], false);
	} else if (op == 'j') {
		if (child_of[fiber])
			lab_fiber_join(child_of[fiber]);
		child_of[fiber] = 0;
	} else if (op == 'p') {
		remember(fiber, lab_mem_wait(&shared->flag[v], 0, true, LAB_SITE("park")));
	} else {
		on_words(fiber, op, v, value);
	}
}

static void run(void *arg)
{
	const uint32_t fiber = (uint32_t)(uintptr_t)arg;
	uint32_t value = 100 * (fiber + 1);

	child_of[fiber] = 0;
	for (const char *p = current.fiber[fiber]; *p; p++) {
		const char op = *p;
		const bool plain = strchr("ydfj", op) != NULL;

		if (op == ' ')
			continue;
		perform(fiber, op, plain ? 0 : (uint32_t)(p[1] - '0'), ++value);
		p += !plain;
	}
}

static void setup(const struct lab_setup *s)
{
	static const char *const names[PROGRAM_FIBERS] = { "one", "two", "three", "four" };

	(void)s;
	shared = lab_alloc(sizeof(*shared), 64);
	for (uintptr_t i = 0; i < PROGRAM_FIBERS && current.fiber[i]; i++)
		lab_spawn(names[i], run, (void *)i);
}

static void check(const struct lab_setup *s)
{
	(void)s;
	for (uint32_t i = 0; i < PROGRAM_FIBERS; i++)
		lab_digest(shared->seen[i]);
	for (uint32_t i = 0; i < WORDS; i++) {
		lab_digest(shared->word[i]);
		lab_digest(shared->atomic[i].private_value);
	}
}

const struct lab_scenario program_scenario = {
	.id = "program", .title = "a small program", .setup = setup, .check = check, .core_only = true
};

/* ---- drawn ones ---- */

static uint64_t draw_state;

static uint32_t draw(uint32_t n)
{
	draw_state += UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)((lab_mix(draw_state) >> 32) * n >> 32);
}

/* Locks are taken and given back properly, two at most at a time, in either order: deadlocks are to be found. */
static void draw_fiber(char *text, uint32_t ops, const char *alphabet)
{
	uint32_t held[2], locks = 0, n = 1 + draw(ops);
	char *p = text;

	while (n || locks) {
		char op = n ? alphabet[draw((uint32_t)strlen(alphabet))] : '-';
		uint32_t v = draw(WORDS - 1);

		if (n)
			n--;
		if (op == '+' && (locks == 2 || (locks == 1 && held[0] == v)))
			op = '-';
		if (op == 't' && locks)
			op = '-'; /* nobody tries a lock that it holds */
		if (op == '-' && !locks)
			op = 'r';
		if (op == '-')
			v = held[--locks];
		else if (op == '+')
			held[locks++] = v;
		*p++ = op;
		if (!strchr("ydfj", op))
			*p++ = (char)('0' + v);
		*p++ = ' ';
	}
	*p = '\0';
}

const struct program *program_draw(uint64_t seed, uint32_t fibers_max, uint32_t ops_max, const char *alphabet)
{
	static struct program p;
	static char text[PROGRAM_FIBERS][128];
	uint32_t fibers;

	draw_state = seed;
	fibers = 2 + draw(fibers_max - 1);
	memset(&p, 0, sizeof(p));
	for (uint32_t i = 0; i < fibers; i++) {
		draw_fiber(text[i], ops_max, alphabet);
		p.fiber[i] = text[i];
	}
	return &p;
}

const char *program_text(const struct program *p)
{
	static char text[600];
	size_t length = 0;

	for (uint32_t i = 0; i < PROGRAM_FIBERS && p->fiber[i]; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%s|| %s", i ? " " : "", p->fiber[i]);
	return text;
}
