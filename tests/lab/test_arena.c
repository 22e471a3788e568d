/* SPDX-License-Identifier: MIT */
/* Memory of an execution: fixed addresses, and after each execution it is what it was after set-up, whoever wrote it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lab/arena.h"
#include "lab/models/models.h"
#include "lab/run.h"
#include "lab/scenarios/scenarios.h"
#include "lab/simmm/sim.h"

/* ---- by hand ---- */

static void test_addresses(void **state)
{
	char *first, *second;

	(void)state;
	lab_arena_begin();
	first = lab_alloc(100, 64);
	second = lab_alloc(1, 4096);
	assert_int_equal((uintptr_t)first % 64, 0);
	assert_int_equal((uintptr_t)second % 4096, 0);
	assert_true(second >= first + 100);
	assert_true((uintptr_t)first >= LAB_ARENA_BASE + (uintptr_t)LAB_FIBERS * LAB_AREA_SIZE);
	lab_arena_begin();
	assert_ptr_equal(lab_alloc(100, 64), first);
	assert_ptr_equal(lab_alloc(1, 4096), second);
	assert_null(lab_alloc(LAB_ARENA_SIZE, 8));
	assert_null(lab_alloc(SIZE_MAX, 8));
}

static void write_at(char *at, char value)
{
	lab_arena_dirty(at, 1);
	*at = value;
}

static void test_restore(void **state)
{
	char *kept, *later;

	(void)state;
	lab_arena_begin();
	kept = lab_alloc(4096, 64);
	write_at(kept, 1);
	lab_arena_snapshot();
	for (int round = 0; round < 3; round++) {
		assert_int_equal(kept[0], 1);
		assert_int_equal(kept[100], 0);
		write_at(kept, 2);
		write_at(kept, 3);
		write_at(kept + 100, 4);
		later = lab_alloc(64, 64);
		assert_int_equal(*later, 0);
		write_at(later, 5);
		lab_arena_restore();
	}
	assert_int_equal(kept[0], 1);
	/* Another set-up finds nothing of this one. */
	lab_arena_begin();
	assert_ptr_equal(lab_alloc(4096, 64), kept);
	assert_int_equal(kept[0], 0);
}

static void test_always(void **state)
{
	char *unseen;

	(void)state;
	lab_arena_begin();
	unseen = lab_alloc(256, 64);
	lab_arena_always(unseen, 256);
	lab_arena_snapshot();
	for (int round = 0; round < 3; round++) {
		assert_int_equal(unseen[200], 0);
		unseen[200] = 1;
		lab_arena_restore();
	}
	lab_arena_begin();
}

/* The negative control: a write that nobody announced stays. */
static void test_unseen_write_stays(void **state)
{
	char *unseen;

	(void)state;
	lab_arena_begin();
	unseen = lab_alloc(64, 64);
	lab_arena_snapshot();
	unseen[0] = 1;
	lab_arena_restore();
	assert_int_equal(unseen[0], 1);
	unseen[0] = 0;
	lab_arena_begin();
}

/* ---- real executions, at random ---- */

static uint64_t seed;

static uint32_t random_below(uint32_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(seed >> 33) % n;
}

static uint32_t random_pick(uint32_t candidates, bool on)
{
	uint32_t i;

	if (!candidates) {
		i = 0;
		while (!lab_flushable(i))
			i++;
		return LAB_FLUSH(i, 0);
	}
	if (on && random_below(4))
		return lab_run.now;
	do {
		i = random_below(LAB_FIBERS);
	} while (!(candidates >> i & 1u));
	return i;
}

static uint32_t random_choose(enum lab_choice_kind kind, uint32_t n)
{
	return kind == LAB_CHOICE_FAIL || random_below(4) ? 0 : random_below(n);
}

static const struct lab_mode random_mode = {.pick = random_pick, .choose = random_choose};

struct image {
	size_t arena_bytes, static_bytes;
	unsigned char *bytes;
};

static struct image take_image(void)
{
	struct image image = {.arena_bytes = lab_arena_used(), .static_bytes = lab_static_end - lab_static_start};

	image.bytes = malloc(image.arena_bytes + image.static_bytes);
	assert_non_null(image.bytes);
	memcpy(image.bytes, (void *)LAB_ARENA_BASE, image.arena_bytes);
	memcpy(image.bytes + image.arena_bytes, (void *)lab_static_start, image.static_bytes);
	return image;
}

/* The simulated machine does not put back what means nothing: invalidations that are not open. */
static bool means_nothing(const unsigned char *at)
{
	return sim && (uintptr_t)at - (uintptr_t)sim->invalidation < sizeof(sim->invalidation);
}

/* Where it differs, or 0. */
static uintptr_t difference(const struct image *image)
{
	const unsigned char *arena = (const unsigned char *)LAB_ARENA_BASE, *data = (const unsigned char *)lab_static_start;

	for (size_t i = 0; i < image->arena_bytes; i++)
		if (arena[i] != image->bytes[i] && !means_nothing(&arena[i]))
			return (uintptr_t)&arena[i];
	for (size_t i = 0; i < image->static_bytes; i++)
		if (data[i] != image->bytes[image->arena_bytes + i])
			return (uintptr_t)&data[i];
	return 0;
}

static void try_pair(const struct lab_scenario *scenario, const struct lab_model *model, bool weak)
{
	const struct lab_config config = {.scenario = scenario,
					  .model = model,
					  .devices = 1,
					  .invalidators = 1,
					  .weak = weak,
					  .spurious = 1,
					  .timeouts = 1};
	struct image image;
	uintptr_t at = 0;

	if (!lab_run_setup(&config))
		return;
	image = take_image();
	for (int round = 0; round < 20 && !at; round++) {
		lab_run_once(&random_mode, 10);
		at = difference(&image);
	}
	free(image.bytes);
	if (at)
		print_message(
			"%s, %s: byte 0x%llx of %s stays changed\n", scenario->id, model->name,
			(unsigned long long)(at - (lab_index(at) < LAB_ARENA_SIZE / 8 ? LAB_ARENA_BASE : lab_static_start)),
			lab_index(at) < LAB_ARENA_SIZE / 8 ? "the arena" : "static data");
	assert_int_equal(at, 0);
}

static void test_every_scenario_leaves_nothing(void **state)
{
	(void)state;
	for (const struct lab_scenario *const *s = lab_scenarios; *s; s++)
		for (const struct lab_model *const *m = lab_models; *m; m++)
			for (int weak = 0; weak < 2; weak++)
				if (strstr((*s)->expected, (*m)->name) || strstr((*s)->losers, (*m)->name))
					try_pair(*s, *m, weak);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_addresses),
		cmocka_unit_test(test_restore),
		cmocka_unit_test(test_always),
		cmocka_unit_test(test_unseen_write_stays),
		cmocka_unit_test(test_every_scenario_leaves_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
