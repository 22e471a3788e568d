/* SPDX-License-Identifier: MIT */
/*
 * What the searches leave out is not missed. An enumerator of its own, which knows nothing of invisible operations, of
 * learning, of turns that include the next operation, nor of flushes that do not matter, tries every operation of a small
 * program as a place to go on elsewhere. Its final states within a bound are those that the searches must reach.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lab/hunt.h"
#include "lab/memory.h"
#include "lab/history.h"
#include "lab/models/models.h"
#include "lab/scenarios/scenarios.h"
#include "lab/simmm/sim.h"
#include <uhmm/lab.h>

#define FIBERS 3
#define WORDS 4
#define BRUTE_MAX 4096u
#define TOO_MANY 100000u /* executions of the enumerator: the program is not small, and is left out */

/* ---- programs ---- */

/*
 * r w  step that reads, writes          a A  load relaxed, acquire      b B  store relaxed, release     m n  add: full, relaxed
 * c    compare-and-swap from 0          F L H  full, light, heavy       + -  a lock                     ( )  shared
 * t    try, give back if it worked      s k  sleep until set; set and wake      o W  store 1, relaxed; await it
 * p    wait with a deadline, once       y  yield     d D  pick one of 2, of 250 + the digit
 * x j  spawn a fiber that writes the word, join it                    P  plain write
 * i    the next operation is made only if the last value read was not 0
 */
static const char without_word[] = "ydjFLHi";

static const char *text[FIBERS];
static bool yields; /* somebody does */
static struct shared {
	uint32_t word[WORDS];
	uint64_t seen[FIBERS];
	uint32_t last[FIBERS], child[FIBERS];
	struct lab_mutex lock[WORDS];
	struct uhmm_a32 atomic[WORDS], flag[WORDS];
} *shared;

static void set32(uint32_t *word, uint32_t value)
{
	lab_arena_dirty(word, sizeof(*word));
	*word = value;
}

static void remember(uint32_t fiber, uint32_t value)
{
	lab_arena_dirty(&shared->seen[fiber], sizeof(shared->seen[fiber]));
	shared->seen[fiber] = lab_mix(shared->seen[fiber] * 31 + value + 1);
	set32(&shared->last[fiber], value);
}

static void step(void *object, bool write)
{
	lab_point(&(struct lab_op){ .kind = LAB_OP_STEP, .object = object, .write = write, .site = LAB_SITE("step") });
}

static void write_word(void *word)
{
	step(word, true);
	set32(word, *(uint32_t *)word + 1000);
}

static void perform_atomic(uint32_t fiber, char op, struct uhmm_a32 *a, uint32_t value)
{
	switch (op) {
	case 'a':
		remember(fiber, lab_a32_load(a, LAB_RELAXED, LAB_SITE("a")));
		break;
	case 'A':
		remember(fiber, lab_a32_load(a, LAB_ACQUIRE, LAB_SITE("A")));
		break;
	case 'b':
		lab_a32_store(a, value, LAB_RELAXED, LAB_SITE("b"));
		break;
	case 'B':
		lab_a32_store(a, value, LAB_RELEASE, LAB_SITE("B"));
		break;
	case 'm':
		remember(fiber, lab_a32_rmw(a, LAB_ADD, value, LAB_FULL, LAB_SITE("m")));
		break;
	case 'n':
		remember(fiber, lab_a32_rmw(a, LAB_ADD, value, LAB_RELAXED, LAB_SITE("n")));
		break;
	case 'c':
		remember(fiber, lab_a32_cas(a, 0, value, LAB_SITE("c")));
		break;
	case 'W':
		while (lab_a32_load(a, LAB_ACQUIRE, LAB_SITE("W")) != 1)
			lab_mem_await_change(a, 1, LAB_SITE("await"));
		break;
	case 'o':
		lab_a32_store(a, 1, LAB_RELAXED, LAB_SITE("o"));
		break;
	default:
		fail_msg("no operation %c", op);
	}
}

static void perform_lock(uint32_t fiber, char op, uint32_t v)
{
	bool taken;

	if (op == '+') {
		lab_mem_lock(&shared->lock[v], LAB_SITE("lock"));
	} else if (op == '-') {
		lab_mem_unlock(&shared->lock[v], LAB_SITE("unlock"));
	} else if (op == '(') {
		lab_mem_lock_shared(&shared->lock[v], LAB_SITE("lock shared"));
	} else if (op == ')') {
		lab_mem_unlock_shared(&shared->lock[v], LAB_SITE("unlock shared"));
	} else {
		taken = lab_mem_trylock(&shared->lock[v], LAB_SITE("trylock"));
		remember(fiber, taken);
		if (taken)
			lab_mem_unlock(&shared->lock[v], LAB_SITE("unlock"));
	}
}

static void perform_wait(uint32_t fiber, char op, uint32_t v)
{
	struct uhmm_a32 *const flag = &shared->flag[v];

	if (op == 'k') {
		lab_a32_store(flag, 1, LAB_RELEASE, LAB_SITE("flag = 1"));
		lab_mem_wake(flag, LAB_SITE("wake"));
	} else if (op == 'p') {
		remember(fiber, lab_mem_wait(flag, 0, true, LAB_SITE("park")));
	} else {
		while (!lab_a32_load(flag, LAB_ACQUIRE, LAB_SITE("flag?")))
			lab_mem_wait(flag, 0, false, LAB_SITE("wait"));
	}
}

void __tsan_write4(void *addr); /* as the compiler would call it */

static void perform(uint32_t fiber, char op, uint32_t v, uint32_t value)
{
	if (strchr("+-()t", op)) {
		perform_lock(fiber, op, v);
	} else if (strchr("skp", op)) {
		perform_wait(fiber, op, v);
	} else if (op == 'r') {
		step(&shared->word[v], false);
		remember(fiber, shared->word[v]);
	} else if (op == 'w') {
		step(&shared->word[v], true);
		set32(&shared->word[v], value);
	} else if (op == 'P') {
		__tsan_write4(&shared->word[v]);
		shared->word[v] = value;
	} else if (op == 'F') {
		lab_mem_fence(LAB_SITE("F"));
	} else if (op == 'L') {
		lab_mem_light(LAB_SITE("L"));
	} else if (op == 'H') {
		lab_mem_heavy(LAB_SITE("H"));
	} else if (op == 'y') {
		lab_relax();
	} else if (op == 'd' || op == 'D') {
		remember(fiber, lab_pick(op == 'd' ? 2 : 250 + v));
	} else if (op == 'x') {
		set32(&shared->child[fiber], lab_fiber_spawn("child", write_word, &shared->word[v], false));
	} else if (op == 'j') {
		if (shared->child[fiber])
			lab_fiber_join(shared->child[fiber]);
		set32(&shared->child[fiber], 0);
	} else {
		perform_atomic(fiber, op, &shared->atomic[v], value);
	}
}

static void run(void *arg)
{
	const uint32_t fiber = (uint32_t)(uintptr_t)arg;
	uint32_t value = 100 * (fiber + 1);
	bool skip = false;

	for (const char *p = text[fiber]; *p; p++) {
		const char op = *p;
		const bool plain = strchr(without_word, op) != NULL;

		if (op == ' ')
			continue;
		++value;
		if (op == 'i')
			skip = shared->last[fiber] == 0 && p[2] && !strchr("+-()", p[2]);
		else if (skip)
			skip = false;
		else
			perform(fiber, op, plain ? 0 : (uint32_t)(p[1] - '0'), value);
		p += !plain;
	}
}

static void setup(const struct lab_setup *s)
{
	static const char *const names[FIBERS] = { "one", "two", "three" };

	(void)s;
	shared = lab_alloc(sizeof(*shared), 64);
	for (uintptr_t i = 0; i < FIBERS && text[i]; i++)
		lab_spawn(names[i], run, (void *)i);
}

static struct lab_digest_set held; /* the final states of what held */
static uint32_t final[2];          /* looked for: what the first two atomics hold in the end */
static bool met, forgot;

static void check(const struct lab_setup *s)
{
	(void)s;
	for (uint32_t i = 0; i < FIBERS; i++)
		lab_digest(shared->seen[i]);
	for (uint32_t i = 0; i < WORDS; i++) {
		lab_digest(shared->word[i]);
		lab_digest(shared->atomic[i].private_value);
	}
	lab_digest_set_add(&held, lab_run.digest);
	met = met || (shared->atomic[0].private_value == final[0] && shared->atomic[1].private_value == final[1]);
	forgot = forgot || !lab_word_is_shared(lab_index_of_word(&sim->aliased), lab_half_of(&sim->aliased));
}

static const struct lab_scenario scenario = {
	.id = "soundness", .title = "a small program", .setup = setup, .check = check, .core_only = true, .reuse_frames = true
};

/* ---- the enumerator ---- */

static struct lab_config config;
static struct {
	uint32_t depth, length;
	uint16_t taken[BRUTE_MAX], of[BRUTE_MAX];
	uint32_t preemptions, left[LAB_CHOICE_KINDS];
	uint64_t executions;
	bool lost;
	struct lab_digest_set states, held;
} brute;

static uint32_t take(uint32_t n)
{
	if (n < 2)
		return 0;
	if (brute.depth == brute.length) {
		assert_true(brute.length < BRUTE_MAX);
		brute.of[brute.length] = (uint16_t)n;
		brute.taken[brute.length++] = 0;
	}
	assert_int_equal(brute.of[brute.depth], n);
	return brute.taken[brute.depth++];
}

static bool next(void)
{
	while (brute.length && brute.taken[brute.length - 1] + 1 == brute.of[brute.length - 1])
		brute.length--;
	if (brute.length)
		brute.taken[brute.length - 1]++;
	return brute.length > 0;
}

static uint32_t brute_pick(uint32_t candidates, bool on)
{
	uint32_t answer[64], n = 0;

	/* The end of a fiber is a step that others notice, but none of its own: it comes with the one before. */
	if (on && (brute.preemptions == 0 || (yields && lab_run.fiber[lab_run.now].op.kind == LAB_OP_EXIT)))
		candidates = 1u << lab_run.now;
	for (uint32_t rest = candidates; rest; rest &= rest - 1)
		answer[n++] = (uint32_t)__builtin_ctz(rest);
	for (uint32_t rest = lab_run.forced ? 0 : lab_buffered; rest; rest &= rest - 1) {
		const uint32_t fiber = (uint32_t)__builtin_ctz(rest);

		for (uint32_t i = 0; i < lab_flushable(fiber); i++)
			answer[n++] = LAB_FLUSH(fiber, i);
	}
	n = answer[take(n)];
	if (on && !LAB_IS_FLUSH(n) && n != lab_run.now)
		brute.preemptions--;
	return n;
}

static uint32_t brute_choose(enum lab_choice_kind kind, uint32_t n)
{
	uint32_t *const left = &brute.left[kind == LAB_CHOICE_BUFFER ? LAB_CHOICE_LOAD : kind];
	const uint32_t taken = *left ? take(n) : 0;

	if (taken && kind != LAB_CHOICE_DATA)
		--*left;
	return taken;
}

static const struct lab_mode brute_mode = { .pick = brute_pick, .choose = brute_choose, .each_turn = true, .exact = true };

/* False: too many. */
static bool enumerate(uint32_t bound)
{
	assert_true(lab_run_setup(&config));
	lab_digest_set_free(&held);
	lab_digest_set_free(&brute.states);
	brute.length = 0;
	brute.executions = 0;
	brute.lost = false;
	do {
		const struct lab_verdict *const v = &lab_run.verdict;

		brute.depth = 0;
		brute.preemptions = bound;
		brute.left[LAB_CHOICE_LOAD] = config.weak ? bound : 0;
		brute.left[LAB_CHOICE_SPURIOUS] = config.spurious;
		brute.left[LAB_CHOICE_TIMEOUT] = config.timeouts;
		brute.left[LAB_CHOICE_FAIL] = config.failures;
		brute.left[LAB_CHOICE_DATA] = UINT32_MAX;
		lab_run_once(&brute_mode, LAB_UNLIMITED);
		brute.lost = brute.lost || v->outcome == LAB_LOST;
		lab_digest_set_add(&brute.states, v->outcome == LAB_LOST ? lab_mix((uint64_t)v->invariant) : v->digest);
	} while (++brute.executions < TOO_MANY && next());
	lab_digest_set_free(&brute.held);
	brute.held = held;
	memset(&held, 0, sizeof(held));
	return brute.executions < TOO_MANY;
}

/* ---- comparing ---- */

static void given(const char *one, const char *two, const char *three)
{
	text[0] = one;
	text[1] = two;
	text[2] = three;
	memset(&config, 0, sizeof(config));
	config.scenario = &scenario;
	config.devices = config.invalidators = 1;
	config.step_max = 120;
	yields = false;
	for (uint32_t i = 0; i < FIBERS && text[i]; i++)
		yields = yields || strchr(text[i], 'y');
}

static bool quiet; /* it is meant to fail */

/*
 * False, and said: a search that ended by itself has not reached the states that there are. Within a bound it may reach more: a
 * preemption at an operation that does not count is none.
 */
static bool agrees(const char *search, const struct lab_result *r, uint32_t bound)
{
	const bool same = r->digests == brute.states.count && r->digest_of_set == lab_digest_set_hash(&brute.states);
	bool all = r->digests >= brute.states.count && bound != UINT32_MAX;

	for (size_t i = 0; i < brute.held.size && all; i++)
		all = !brute.held.slot[i] || !lab_digest_set_add(&held, brute.held.slot[i]);
	if ((same || all) && r->exhaustive)
		return true;
	if (!quiet)
		print_message("%s, bound %d, %s, %u spurious, %u late: %s || %s || %s: %llu states, and there are %llu%s\n",
			      search, (int)bound, config.weak ? "weak" : "sc", config.spurious, config.timeouts, text[0],
			      text[1] ? text[1] : "", text[2] ? text[2] : "", (unsigned long long)r->digests,
			      (unsigned long long)brute.states.count, r->exhaustive ? "" : " (not ended)");
	return false;
}

static bool bound_agrees(uint32_t bound)
{
	const struct lab_limits limits = { .go_on = true };
	struct lab_result r;

	if (!enumerate(bound))
		return true;
	config.bound = bound;
	lab_search_bound(&config, &limits, &r);
	return agrees("bound", &r, bound);
}

static bool all_agrees(void)
{
	const struct lab_limits limits = { .go_on = true };
	struct lab_result r;

	if (!enumerate(UINT32_MAX))
		return true;
	lab_search_all(&config, &limits, true, &r);
	return agrees("all", &r, UINT32_MAX);
}

/* ---- scenarios ---- */

static bool is_listed(const char *list, const char *name)
{
	const size_t len = strlen(name);

	for (const char *p = list ? strstr(list, name) : NULL; p; p = strstr(p + 1, name)) {
		if ((p == list || p[-1] == ' ') && (p[len] == ' ' || p[len] == '\0'))
			return true;
	}
	return false;
}

static uint32_t compared;

static bool scenario_agrees(const struct lab_scenario *s, const struct lab_model *m, bool weak)
{
	const struct lab_limits limits = { .go_on = true };
	struct lab_result r;

	if (!is_listed(s->expected, m->name) && !is_listed(s->losers, m->name))
		return true;
	config = (struct lab_config){ .scenario = s,
				      .model = m,
				      .devices = 1,
				      .invalidators = 1,
				      .weak = weak,
				      .spurious = 1,
				      .timeouts = 1,
				      .failures = s->failures,
				      .bound = 1 };
	/* What comes before a race is none, see lab_prologue(); the enumerator would take it for one. */
	if (!lab_run_setup(&config) || lab_run.prologue || !enumerate(1))
		return true;
	lab_search_bound(&config, &limits, &r);
	compared++;
	if (r.exhaustive && (r.outcome == LAB_LOST) == brute.lost && r.digests >= brute.states.count)
		return true;
	print_message("%s/%s%s: %llu states (%s), and there are %llu%s\n", s->id, m->name, weak ? " (weak)" : "",
		      (unsigned long long)r.digests, r.verdict.text, (unsigned long long)brute.states.count,
		      brute.lost ? ", and a loss" : "");
	return false;
}

/* Each race with each model that is named for it. */
static void test_scenarios(void **state)
{
	uint32_t wrong = 0;

	(void)state;
	for (size_t i = 0; lab_scenarios[i]; i++) {
		for (size_t k = 0; lab_models[k]; k++) {
			wrong += !scenario_agrees(lab_scenarios[i], lab_models[k], false);
			wrong += !scenario_agrees(lab_scenarios[i], lab_models[k], true);
		}
	}
	assert_int_equal(wrong, 0);
	assert_true(compared > 40);
}

/* ---- drawn programs ---- */

static uint64_t draw_state;

static uint32_t draw(uint32_t n)
{
	draw_state += UINT64_C(0x9e3779b97f4a7c15);
	return (uint32_t)((lab_mix(draw_state) >> 32) * n >> 32);
}

/* At most one lock at a time, given back. */
static void draw_fiber(char *p, uint32_t ops, const char *alphabet)
{
	char closing = 0, word = '0';
	uint32_t n = 1 + draw(ops);

	while (n--) {
		char op = alphabet[draw((uint32_t)strlen(alphabet))], v = (char)('0' + draw(2));

		if (strchr("+-()t", op) && closing) {
			op = closing;
			v = word;
			closing = 0;
		} else if (strchr("+-()", op)) {
			op = strchr("+-", op) ? '+' : '(';
			closing = op == '+' ? '-' : ')';
			word = v;
		}
		*p++ = op;
		if (!strchr(without_word, op))
			*p++ = v;
		*p++ = ' ';
	}
	if (closing) {
		*p++ = closing;
		*p++ = word;
	}
	*p = '\0';
}

/* What an operation is on; 0: on nothing. */
static int object_of(const char *p)
{
	static const char *const kinds[] = { "rwPxj", "abABmncoW", "+-()t", "skp" };

	for (int i = 0; i < 4; i++) {
		if (strchr(kinds[i], *p) && *p != 'j')
			return 1 + i * WORDS + (p[1] - '0');
	}
	return 0;
}

/*
 * Who yields goes on after a step that others can notice. The enumerator does not know which those are; so a program in which
 * somebody yields is compared only if all are, each object being used by two and written by one of them.
 */
static bool is_comparable(void)
{
	uint32_t users[1 + 4 * WORDS] = { 0 }, writers[1 + 4 * WORDS] = { 0 };
	bool all = true;

	for (uint32_t i = 0; i < FIBERS && text[i]; i++) {
		all = all && text[i][strcspn(text[i], "01")]; /* the end alone would be a step */
		for (const char *p = text[i]; *p; p++) {
			if (*p == ' ' || strchr(without_word, *p))
				continue;
			users[object_of(p)] |= 1u << i;
			if (!strchr("raA", *p))
				writers[object_of(p)] |= 1u << i;
			p++;
		}
	}
	for (uint32_t i = 1; i < 1 + 4 * WORDS; i++)
		all = all && (!users[i] || ((users[i] & (users[i] - 1)) && writers[i]));
	return !yields || all;
}

static bool drawn(uint64_t seed, uint32_t ops, const char *alphabet)
{
	static char store[FIBERS][128];
	uint32_t fibers;

	draw_state = seed * 1000003;
	fibers = 2 + draw(2);
	for (uint32_t i = 0; i < fibers; i++)
		draw_fiber(store[i], ops, alphabet);
	given(store[0], store[1], fibers > 2 ? store[2] : NULL);
	return is_comparable();
}

static uint64_t first = 1, count = 12;

static void test_bound_drawn(void **state)
{
	static const char *const alphabets[] = { "rwab", "abmnc", "rw+-()t", "absk", "rwoW", "aboWi", "rwxj", "rwdi", "abpk",
						 "rwabmnc", "abi+-t", "rwabmncF+-tskoWidpxj" };
	uint32_t wrong = 0;

	(void)state;
	for (size_t a = 0; a < sizeof(alphabets) / sizeof(alphabets[0]); a++) {
		for (uint64_t seed = first; seed < first + count; seed++) {
			if (!drawn(seed, 4, alphabets[a]))
				continue;
			config.spurious = seed % 2;
			config.timeouts = seed / 2 % 2;
			wrong += !bound_agrees((uint32_t)(seed % 3));
		}
	}
	assert_int_equal(wrong, 0);
}

static void test_weak_drawn(void **state)
{
	static const char *const alphabets[] = { "ab", "abAB", "abmn", "abF", "abLH", "aboW", "absk", "ab+-", "abxj", "rwab",
						 "abABmncFLH+-oWiBskp" };
	uint32_t wrong = 0;

	(void)state;
	for (size_t a = 0; a < sizeof(alphabets) / sizeof(alphabets[0]); a++) {
		for (uint64_t seed = first; seed < first + count; seed++) {
			if (!drawn(seed, 3, alphabets[a]))
				continue;
			config.weak = true;
			wrong += !bound_agrees(1 + (uint32_t)(seed % 2));
		}
	}
	assert_int_equal(wrong, 0);
}

static void test_all_drawn(void **state)
{
	static const char *const alphabets[] = { "rwab", "rwmnc", "rw+-()", "rw+-()t", "rwsk", "rwaoW", "rwxj", "rwdi", "rwpk",
						 "abmi", "rwH", "rwabmncFH+-()tskoWidpxj", "rwy", "rwy+-t", "rwaoWy", "rwsky",
						 "abmncyi", "rwab+-()tyskoWidpxj" };
	uint32_t wrong = 0;

	(void)state;
	for (size_t a = 0; a < sizeof(alphabets) / sizeof(alphabets[0]); a++) {
		for (uint64_t seed = first; seed < first + count; seed++) {
			if (!drawn(seed, 3, alphabets[a]))
				continue;
			config.spurious = seed % 2;
			config.timeouts = seed / 2 % 2;
			wrong += !all_agrees();
		}
	}
	assert_int_equal(wrong, 0);
}

/* Negative control: searches that miss something are found out. */
static void test_control(void **state)
{
	const struct lab_limits limits = { .go_on = true };
	struct lab_result r;

	(void)state;
	quiet = true;
	given("w0 r1", "w1 r0", NULL);
	lab_dpor_mistake = 1;
	assert_false(all_agrees());
	lab_dpor_mistake = 0;
	assert_true(all_agrees());
	/* Everything but the schedules with a preemption. */
	assert_true(enumerate(1));
	config.bound = 0;
	lab_search_bound(&config, &limits, &r);
	assert_false(agrees("bound", &r, 1));
	quiet = false;
}

/* ---- what is said of searches ---- */

static bool reaches(const char *one, const char *two, uint32_t first_holds, uint32_t second_holds)
{
	struct lab_result r;

	given(one, two, NULL);
	config.weak = true;
	config.bound = 3;
	final[0] = first_holds;
	final[1] = second_holds;
	met = false;
	lab_search_bound(&config, NULL, &r);
	assert_int_equal(r.outcome, LAB_HELD);
	assert_true(r.exhaustive);
	return met;
}

/* What is never tried, as docs/lab.md says; should that change, so must the words. */
static void test_left_out(void **state)
{
	struct lab_result r;

	(void)state;
	/* A yield waits for another fiber's step, though a processor promises no such thing: 0 is never read. */
	given("y r0", "w0", NULL);
	lab_search_all(&config, NULL, false, &r);
	assert_int_equal(r.digests, 1);
	/* Both first stores go to memory behind the other's second; but not past a lock, which empties the buffer. */
	assert_true(reaches("b0 b1", "b1 b0", 101, 201));
	assert_false(reaches("b0 +0 b1 -0", "b1 +1 b0 -1", 101, 201));
	/* A store is made before it is read. */
	assert_false(reaches("a0 i b1", "a1 i b0", 203, 103));
}

/* Two who share a lock are not ordered by it; neither for the reduction nor for data races. */
static void test_shared_locks(void **state)
{
	struct lab_result r;

	(void)state;
	given("+1 -1", "w0 (1 )1", "(1 w0 )1");
	assert_true(all_agrees());
	for (uint32_t weak = 0; weak < 2; weak++) {
		given("(1 P0 )1", "(1 P0 )1", NULL);
		config.weak = weak;
		lab_search_bound(&config, NULL, &r);
		assert_int_equal(r.outcome, LAB_LOST);
		assert_int_equal(r.verdict.invariant, 7);
		given("+1 P0 -1", "(1 P0 )1", "+1 P0 -1");
		config.weak = weak;
		config.bound = 1;
		lab_search_bound(&config, NULL, &r);
		assert_int_equal(r.outcome, LAB_HELD);
	}
}

/* All of so many are tried, or it is said that they are not. */
static void test_many_alternatives(void **state)
{
	const struct lab_limits limits = { .go_on = true };
	struct lab_result r;

	(void)state;
	given("D5", NULL, NULL);
	lab_search_bound(&config, &limits, &r);
	assert_int_equal(r.digests, 255);
	given("D6", NULL, NULL);
	lab_search_bound(&config, &limits, &r);
	assert_int_equal(r.outcome, LAB_LOST);
	assert_int_equal(r.verdict.invariant, 8);
}

/* A file of another search is refused, and what set-up says to be shared is so all the same. */
static void test_refused_file(void **state)
{
	char path[] = "/tmp/uhmm-lab-soundness-XXXXXX";
	const struct lab_limits limits = { .resume_file = path };
	struct lab_result r;
	const int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	assert_int_equal(write(fd, "nothing", 7), 7);
	close(fd);
	given("w0 r1", "w1 r0", NULL);
	forgot = false;
	lab_search_bound(&config, &limits, &r);
	unlink(path);
	assert_true(r.exhaustive);
	assert_false(forgot);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound_drawn),
		cmocka_unit_test(test_weak_drawn),
		cmocka_unit_test(test_all_drawn),
		cmocka_unit_test(test_scenarios),
		cmocka_unit_test(test_control),
		cmocka_unit_test(test_left_out),
		cmocka_unit_test(test_shared_locks),
		cmocka_unit_test(test_many_alternatives),
		cmocka_unit_test(test_refused_file),
	};

	/* More of them: first seed, how many. */
	if (argc > 2) {
		first = strtoull(argv[1], NULL, 10);
		count = strtoull(argv[2], NULL, 10);
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
