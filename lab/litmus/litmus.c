/* SPDX-License-Identifier: MIT */
/* litmus.c: runs litmus tests. The programs are in stores.c, messages.c and fences.c. */
#include "lab/litmus/litmus.h"

#include <string.h>

#include "lab/engine.h"
#include "lab/search.h"

#define VALUES 4u /* 0..3 in a register */
#define OUTCOMES 256u
#define BOUND 4u

_Static_assert(VALUES *VALUES *VALUES *VALUES == OUTCOMES, "one bit for each");

/* Not in the arena: what was met stays from one execution to the next. Registers are written before they are read. */
static const struct litmus *current;
static struct litmus_words *words;
static uint32_t registers[LITMUS_REGISTERS], register_count;
static bool met[OUTCOMES];

static void run_thread(void *arg)
{
	uintptr_t i = (uintptr_t)arg;

	current->thread[i](words, registers);
}

static void setup(const struct lab_setup *s)
{
	static const char *const names[LITMUS_THREADS] = {"A", "B", "C", "D"};

	(void)s;
	words = lab_alloc(sizeof(*words), 64);
	for (uintptr_t i = 0; i < LITMUS_THREADS && current->thread[i]; i++)
		lab_fiber_spawn(names[i], run_thread, (void *)i, false);
}

static void check(const struct lab_setup *s)
{
	uint32_t outcome = 0;

	(void)s;
	if (current->finally)
		current->finally(words, registers);
	for (uint32_t i = 0; i < register_count; i++)
		outcome = outcome * VALUES + registers[i];
	met[outcome] = true;
}

static const char *list_met(void)
{
	static char list[OUTCOMES * (LITMUS_REGISTERS + 1) + 1];
	char *at = list;

	for (uint32_t o = 0; o < OUTCOMES; o++) {
		if (!met[o])
			continue;
		if (at > list)
			*at++ = ' ';
		for (uint32_t i = 0; i < register_count; i++)
			at[i] = (char)('0' + (o >> 2 * (register_count - 1 - i) & 3u));
		at += register_count;
	}
	*at = 0;
	return list;
}

const char *litmus_run(const struct litmus *l, bool weak)
{
	const struct lab_scenario scenario = {
		.id = "litmus", .title = l->about, .setup = setup, .check = check, .core_only = true};
	const struct lab_config config = {
		.scenario = &scenario, .weak = weak, .bound = l->bound ? l->bound : BOUND, .devices = 1, .invalidators = 1};
	const struct lab_limits limits = {.go_on = true};
	const struct lab_layer *layer = lab_layer;
	static struct lab_result result;

	current = l;
	register_count = (uint32_t)strcspn(l->weak, " ");
	memset(met, 0, sizeof(met));
	memset(registers, 0, sizeof(registers));
	lab_layer = NULL; /* no simulated machine */
	lab_search_bound(&config, &limits, &result);
	lab_layer = layer;
	if (result.outcome != LAB_HELD)
		return result.verdict.text;
	return result.exhaustive ? list_met() : "the search did not end";
}
