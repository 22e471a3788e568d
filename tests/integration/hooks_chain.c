/* SPDX-License-Identifier: MIT */
/*
 * hooks_chain [FORMS]: another library patches the same functions (R25, R32, and what libraries that cache registrations do to
 * each other).
 *
 * A patcher of our own puts its jump at an entry, in every form that is in use, before or after ours, and takes it out again by
 * putting back what it saved, before or after we take out ours. In every state a call must be heard by both that are in, and
 * after the last one has left libc's text must be what it was. Threads call the functions all the time in the last case.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <sys/wait.h>

#include "../emulated.h"
#include "hooks_common.h"
#include "hooks_machine.h"

#define CHECK(condition)                                                                                                    \
	do {                                                                                                                \
		if (!(condition)) {                                                                                         \
			printf("%s:%d: %s\n", __func__, __LINE__, #condition);                                              \
			return 1;                                                                                           \
		}                                                                                                           \
	} while (0)

/* ---- the other library ---- */

static atomic_int theirs; /* calls that it heard */
static bool by_libc = true; /* it makes the text writable as they all do, or unseen */

static long as_libc(long result)
{
	if ((unsigned long)result <= -4096ul)
		return result;
	errno = (int)-result;
	return -1;
}

static long their_munmap(long a, long b)
{
	theirs++;
	return as_libc(bare_call(SYS_munmap, a, b, 0, 0, 0, 0));
}

static long their_mmap(long a, long b, long c, long d, long e, long f)
{
	theirs++;
	return as_libc(bare_call(SYS_mmap, a, b, c, d, e, f));
}

static long their_madvise(long a, long b, long c)
{
	theirs++;
	return as_libc(bare_call(SYS_madvise, a, b, c, 0, 0, 0));
}

static long their_mprotect(long a, long b, long c)
{
	theirs++;
	return as_libc(bare_call(SYS_mprotect, a, b, c, 0, 0, 0));
}

struct their_patch {
	unsigned char *entry;
	unsigned char saved[PATCH_MAX], bytes[PATCH_MAX];
	size_t len;
};

static bool protect(unsigned char *at, long prot)
{
	long page = (long)at & ~(long)(PAGE - 1);

	return by_libc ? mprotect((void *)page, 2 * PAGE, (int)prot) == 0
		       : bare_call(SYS_mprotect, page, 2 * PAGE, prot, 0, 0, 0) == 0;
}

static bool poke(unsigned char *at, const unsigned char *bytes, size_t len)
{
	if (!protect(at, PROT_READ | PROT_WRITE | PROT_EXEC))
		return false;
	for (size_t i = 0; i < len; i++)
		poke_byte(at + i, bytes[i]);
	__builtin___clear_cache((char *)at, (char *)at + len);
	return protect(at, PROT_READ | PROT_EXEC);
}

static unsigned char *near_memory(const unsigned char *entry)
{
	static unsigned char *place;
	static size_t used;

	if (!place)
		place = (unsigned char *)bare_call(SYS_mmap, ((long)entry & ~0xfffffl) - (64l << 20), PAGE,
						   PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	used += STUB_SIZE;
	return place + used - STUB_SIZE;
}

static void *libc_symbol(const char *name)
{
	return dlsym(dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD), name);
}

static bool they_come(struct their_patch *p, const char *name, enum form form, void *hook)
{
	p->entry = libc_symbol(name);
	p->len = make_form(p->bytes, p->entry, form, (uintptr_t)hook, near_memory(p->entry));
	memcpy(p->saved, p->entry, p->len);
	return poke(p->entry, p->bytes, p->len);
}

static bool they_go(const struct their_patch *p)
{
	return poke(p->entry, p->saved, p->len);
}

/* ---- what is checked in every state ---- */

struct function {
	const char *name;
	void *their_hook;
	bool (*call)(char *page); /* takes the page away, or tries to: heard once by each that is in */
};

static bool call_munmap(char *page) { return munmap(page, PAGE) == 0; }
static bool call_mmap(char *page)
{
	return mmap(page, PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == page;
}
static bool call_madvise(char *page) { return madvise(page, PAGE, MADV_DONTNEED) == 0; }
static bool call_mprotect(char *page) { return mprotect(page, PAGE, PROT_READ) == 0; }

static const struct function functions[] = {
	{"munmap", (void *)their_munmap, call_munmap},
	{"mmap", (void *)their_mmap, call_mmap},
	{"madvise", (void *)their_madvise, call_madvise},
	{"mprotect", (void *)their_mprotect, call_mprotect},
};

/* 0 if just these hear a call. mm: ours, or NULL. */
static int heard_at(char *page, struct uhmm_mm *mm, const struct function *f, bool them)
{
	struct watch w = {0};
	int before, wrong = 0;

	if (mm)
		watch_on(mm, &w, page, PAGE);
	before = theirs;
	if (!f->call(page))
		wrong = 1;
	if (them ? theirs == before : theirs != before)
		wrong |= 2;
	if (mm && (w.drops < 1 || w.starts != w.drops || w.byte_at_first != 1))
		wrong |= 4;
	if (mm)
		watch_off(&w);
	return wrong;
}

static int heard(struct uhmm_mm *mm, const struct function *f, bool them)
{
	char *page = bare_map(PAGE, 1);
	int wrong = heard_at(page, mm, f, them);

	bare_unmap(page, PAGE);
	return wrong;
}

static unsigned long hash_text(const struct function *f)
{
	const unsigned char *at = libc_symbol(f->name);
	unsigned long hash = 5381;

	for (int i = -32; i < 64; i++)
		hash = hash * 33 + at[i];
	return hash;
}

static int theirs_first_ours_goes_first(const struct function *f, enum form form)
{
	unsigned long before = hash_text(f);
	struct their_patch p;
	struct uhmm_mm *mm;

	CHECK(they_come(&p, f->name, form, f->their_hook));
	CHECK(heard(NULL, f, true) == 0);
	for (int i = 0; i < 3; i++) {
		mm = open_hooks();
		CHECK(heard(mm, f, true) == 0);
		uhmm_mm_close(mm);
		CHECK(memcmp(p.entry, p.bytes, p.len) == 0);
		CHECK(heard(NULL, f, true) == 0);
	}
	CHECK(they_go(&p));
	CHECK(hash_text(f) == before);
	mm = open_hooks();
	CHECK(heard(mm, f, false) == 0);
	uhmm_mm_close(mm);
	CHECK(hash_text(f) == before);
	return 0;
}

static int theirs_first_theirs_goes_first(const struct function *f, enum form form)
{
	unsigned long before = hash_text(f);
	struct their_patch p;
	struct uhmm_mm *mm;

	CHECK(they_come(&p, f->name, form, f->their_hook));
	mm = open_hooks();
	CHECK(heard(mm, f, true) == 0);
	CHECK(they_go(&p)); /* over ours */
	CHECK(heard(mm, f, false) == 0);
	uhmm_mm_close(mm);
	CHECK(hash_text(f) == before);
	return 0;
}

static int ours_first_theirs_goes_first(const struct function *f, enum form form)
{
	unsigned long before = hash_text(f);
	struct uhmm_mm *mm = open_hooks();
	struct their_patch p;

	for (int i = 0; i < 3; i++) {
		CHECK(they_come(&p, f->name, form, f->their_hook));
		CHECK(heard(mm, f, true) == 0);
		CHECK(they_go(&p));
		CHECK(heard(mm, f, false) == 0);
	}
	uhmm_mm_close(mm);
	CHECK(hash_text(f) == before);
	return 0;
}

static int ours_first_ours_goes_first(const struct function *f, enum form form)
{
	unsigned long before = hash_text(f);
	struct uhmm_mm *mm = open_hooks();
	struct their_patch p;

	CHECK(they_come(&p, f->name, form, f->their_hook));
	CHECK(heard(mm, f, true) == 0);
	uhmm_mm_close(mm);
	CHECK(memcmp(p.entry, p.bytes, p.len) == 0);
	CHECK(heard(NULL, f, true) == 0);
	CHECK(they_go(&p)); /* our jump is what they saved: nobody listens, the call goes through */
	CHECK(heard(NULL, f, false) == 0);
	mm = open_hooks();
	CHECK(heard(mm, f, false) == 0);
	uhmm_mm_close(mm);
	CHECK(hash_text(f) == before);
	return 0;
}

/* Written behind our back: noticed by the inserts that follow, at the latest when each jump has had its turn. */
static int unseen(const struct function *f, enum form form)
{
	struct uhmm_mm *mm = open_hooks();
	struct their_patch p;

	by_libc = false;
	CHECK(they_come(&p, f->name, form, f->their_hook));
	for (int i = 0; i < 32; i++) {
		static char somewhere;
		struct watch w;

		watch_on(mm, &w, &somewhere, 1);
		watch_off(&w);
	}
	CHECK(heard(mm, f, true) == 0);
	CHECK(they_go(&p));
	uhmm_mm_close(mm);
	mm = open_hooks(); /* so does an open */
	CHECK(heard(mm, f, false) == 0);
	uhmm_mm_close(mm);
	return 0;
}

/* ---- a cache keeps nothing while somebody may be writing ---- */

static int registered, deregistered;

static int reg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	(void)r;
	registered++;
	return 0;
}

static void dereg(void *ctx, struct uhmm_reg *r)
{
	(void)ctx;
	(void)r;
	deregistered++;
}

static int get_twice(struct uhmm_regcache *cache, void *at)
{
	int before = registered;
	struct uhmm_reg *r;

	for (int i = 0; i < 2; i++) {
		if (uhmm_regcache_get(cache, at, PAGE, PROT_READ, &r) != 0)
			return -1;
		uhmm_regcache_put(cache, r);
	}
	return registered - before;
}

static int get_until_kept(struct uhmm_regcache *cache, void *at)
{
	int got = 2;

	for (int i = 0; i < 2000 && got > 1; i++) {
		got = get_twice(cache, at);
		if (got > 1)
			usleep(2000);
	}
	return got;
}

static int while_they_write(void)
{
	static const struct uhmm_regcache_ops ops = {.reg = reg, .dereg = dereg};
	struct uhmm_mm *mm = open_hooks();
	unsigned char *text = libc_symbol("munmap"), *elsewhere = libc_symbol("malloc");
	struct uhmm_regcache *cache;
	char status[600];
	struct watch w;
	void *at = bare_map(PAGE, 1);

	CHECK(uhmm_regcache_create(mm, &ops, NULL, NULL, &cache) == 0);
	CHECK(get_until_kept(cache, at) <= 1);
	CHECK(get_twice(cache, at) == 0);
	CHECK(protect(elsewhere, PROT_READ | PROT_WRITE | PROT_EXEC)); /* where no jump of ours is */
	CHECK(get_twice(cache, at) == 0);
	CHECK(protect(elsewhere, PROT_READ | PROT_EXEC));
	CHECK(protect(text, PROT_READ | PROT_WRITE | PROT_EXEC));
	CHECK(get_twice(cache, at) == 2);
	uhmm_hooks_status(status, sizeof(status));
	CHECK(strstr(status, "writable"));
	uhmm_mm_close(open_hooks()); /* who opens now does not switch pages under the writer's hands */
	CHECK(get_twice(cache, at) == 2);
	poke_byte(text, text[0]);
	watch_on(mm, &w, at, PAGE);
	errno = 7;
	CHECK(protect(text, PROT_READ | PROT_EXEC));
	CHECK(errno == 7);
	CHECK(w.drops == 1); /* found while nobody could say that it changed */
	watch_off(&w);
	uhmm_hooks_status(status, sizeof(status));
	CHECK(!strstr(status, "writable"));
	CHECK(get_until_kept(cache, at) <= 1);
	CHECK(get_twice(cache, at) == 0);
	uhmm_regcache_flush(cache);
	CHECK(uhmm_regcache_destroy(cache) == 0);
	CHECK(registered == deregistered);
	bare_unmap(at, PAGE);
	uhmm_mm_close(mm);
	return 0;
}

/* ---- others that lead on to what they found, which is us ---- */

static long (*next_of[2])(long, long);

static long lead_on_first(long a, long b)
{
	theirs++;
	return next_of[0](a, b);
}

static long lead_on_second(long a, long b)
{
	theirs++;
	return next_of[1](a, b);
}

static int two_that_lead_on(void)
{
	static void *const hooks[] = {(void *)lead_on_first, (void *)lead_on_second};
	const struct function *f = &functions[0];
	unsigned long before = hash_text(f);
	struct uhmm_mm *mm = open_hooks();
	struct their_patch p[2];

	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < 2; i++) {
			const unsigned char *next = jumps_to(libc_symbol(f->name));

			CHECK(next != NULL);
			memcpy(&next_of[i], &next, sizeof(next));
			CHECK(they_come(&p[i], f->name, NEAR, hooks[i]));
			CHECK(heard(mm, f, true) == 0);
		}
		for (int i = 2; i-- > 0;) {
			CHECK(they_go(&p[i]));
			CHECK(heard(mm, f, i > 0) == 0);
		}
	}
	uhmm_mm_close(mm);
	CHECK(hash_text(f) == before);
	return 0;
}

/* ---- threads in the functions while we come and go on top of them ---- */

static atomic_int stop, idle, may_leave;

/* A thread's last calls come when ThreadSanitizer has dismantled it: not by way of our instrumented hooks. */
static void *work(void *arg)
{
	unsigned long *calls = arg;

	while (!stop) {
		char *p = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		*p = 1;
		if (madvise(p, PAGE, MADV_DONTNEED) != 0 || *p != 0 || munmap(p, 2 * PAGE) != 0)
			abort();
		(*calls)++;
	}
	idle++;
	while (!may_leave)
		usleep(500);
	return NULL;
}

static int under_load(enum form form)
{
	enum { THREADS = 4 };
	struct their_patch p[3];
	unsigned long calls[THREADS] = {0};
	pthread_t t[THREADS];
	char *page = bare_map(PAGE, 1);

	for (int i = 0; i < 3; i++)
		CHECK(they_come(&p[i], functions[i].name, form, functions[i].their_hook));
	stop = 0;
	for (int i = 0; i < THREADS; i++)
		CHECK(pthread_create(&t[i], NULL, work, &calls[i]) == 0);
	for (int i = 0; i < 60; i++) {
		struct uhmm_mm *mm = open_hooks();

		*page = 1;
		CHECK(heard_at(page, mm, &functions[2], true) == 0);
		uhmm_mm_close(mm);
	}
	stop = 1;
	while (idle < THREADS)
		usleep(500);
	for (int i = 0; i < 3; i++)
		CHECK(memcmp(p[i].entry, p[i].bytes, p[i].len) == 0);
	for (int i = 0; i < 3; i++)
		CHECK(they_go(&p[i]));
	may_leave = 1;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(t[i], NULL);
		CHECK(calls[i] > 0);
	}
	return 0;
}

/* ---- each case is a process of its own ---- */

static int (*const orders[])(const struct function *, enum form) = {
	theirs_first_ours_goes_first, theirs_first_theirs_goes_first, ours_first_theirs_goes_first,
	ours_first_ours_goes_first, unseen,
};
static const char *const order_names[] = {
	"theirs, ours, ours out", "theirs, ours, theirs out", "ours, theirs, theirs out", "ours, theirs, ours out", "unseen",
};

static int one(int order, const struct function *f, enum form form)
{
	alarm(60);
	if (f)
		return orders[order](f, form);
	return order == 2 ? two_that_lead_on() : order ? under_load(form) : while_they_write();
}

static int in_child(int order, const struct function *f, enum form form, const char *name)
{
	int status, rc;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (child == 0) {
		rc = one(order, f, form);
		fflush(stdout);
		_exit(rc);
	}
	waitpid(child, &status, 0);
	rc = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	if (rc && rc != SKIP)
		printf("%s, %s, %s: FAILED (%d)\n", f ? f->name : "all", form_names[form], name, rc);
	return rc;
}

/* ThreadSanitizer lets each process sleep for a second when it ends. */
#ifdef __SANITIZE_THREAD__
#define USUAL_FORMS 1
#else
#define USUAL_FORMS FORMS
#endif

/* Those that skip: no hooks to be had here. */
int main(int argc, char **argv)
{
	int cases = 0, skips = 0, failures = 0, forms = argc > 1 ? atoi(argv[1]) : USUAL_FORMS;

	for (int form = 0; form < forms; form++) {
		for (size_t f = 0; f < sizeof(functions) / sizeof(functions[0]); f++) {
			for (int order = 0; order < (int)(sizeof(orders) / sizeof(orders[0])); order++) {
				int rc = in_child(order, &functions[f], (enum form)form, order_names[order]);

				cases++;
				skips += rc == SKIP;
				failures += rc != 0 && rc != SKIP;
			}
		}
		failures += in_child(1, NULL, (enum form)form, "under load") % SKIP != 0;
	}
	failures += in_child(2, NULL, NEAR, "two that lead on") % SKIP != 0;
	/* An emulator's own threads are never seen settled. */
	if (!is_emulated())
		failures += in_child(0, NULL, NEAR, "while they write") % SKIP != 0;
	printf("%d cases, %d skipped, %d failures\n", cases, skips, failures);
	return failures ? 1 : skips == cases ? SKIP : 0;
}
