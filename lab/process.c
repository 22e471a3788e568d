/* SPDX-License-Identifier: MIT */
/* process.c: threads of the simulated process and their calls through libc. The kernel's side: process_kernel.c. */
#include "lab/process.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "lab/memory.h"
#include "lab/port_lab.h"
#include "lab/process_state.h"
#include "lab/run.h"
#include "port/mm.h"

struct process *process;
void (*process_on_return)(uint32_t page, uint32_t count, uint32_t number);

static const long numbers[PROCESS_ENTRIES] = {SYS_munmap, SYS_mmap, SYS_mremap, SYS_madvise, SYS_mprotect};

/* ---- set-up ---- */

bool process_has_deadlines(void)
{
	return lab_run.config->timeouts > 0;
}

/* The threads of the library, which the opening may have made, run until they wait for something to do. */
static void open_and_settle(void *arg)
{
	(void)arg;
	for (uint32_t i = 0; i < process->openings; i++)
		process->opening[i].fn(process->opening[i].arg);
	for (uint32_t i = 0; i < LAB_FIBERS; i++)
		lab_relax();
	process->begun = true;
	lab_store_release(&process->ready, 1);
	lab_prologue(false);
}

void process_begin(const struct process_options *options)
{
	static const struct process_options defaults;

	process = lab_alloc(sizeof(*process), 64);
	process->options = options ? *options : defaults;
	process_on_return = NULL;
	process_ring_register = NULL;
	process_on_change = NULL;
	lab_prologue(true);
	lab_spawn("start", open_and_settle, NULL);
}

void process_open_with(void (*fn)(void *arg), void *arg)
{
	process->opening[process->openings++] = (struct process_opening){.fn = fn, .arg = arg};
}

const struct process_options *process_options(void)
{
	return &process->options;
}

static void thread_main(void *arg)
{
	struct process_thread *t = arg;

	lab_await(&process->ready, 1);
	process_thread_is(t, PROCESS_ELSEWHERE, 0);
	t->fn(t->arg);
	process_thread_is(t, PROCESS_EXITED, 0);
}

void process_spawn(const char *name, void (*fn)(void *arg), void *arg)
{
	struct process_thread *t = &process->thread[process->threads++];

	*t = (struct process_thread){.fn = fn, .arg = arg};
	lab_spawn(name, thread_main, t);
}

/* ---- what a thread is doing, as /proc tells it ---- */

void process_thread_is(struct process_thread *t, enum process_doing doing, long call)
{
	static const struct lab_site sites[] = {
		[PROCESS_ELSEWHERE] = {__FILE__, __func__, "in user mode, outside libc's functions", __LINE__},
		[PROCESS_IN_FUNCTION] = {__FILE__, __func__, "in libc's function", __LINE__},
		[PROCESS_IN_CALL] = {__FILE__, __func__, "enters the kernel", __LINE__},
		[PROCESS_EXITED] = {__FILE__, __func__, "exits", __LINE__},
	};
	const struct lab_op op = {.kind = LAB_OP_STEP, .write = true, .object = t, .site = &sites[doing]};

	/* Nobody looks but who begins to watch while threads are running already, and who waits for the end of a discard. */
	if (process->options.late || process->options.looked_at)
		lab_point(&op);
	t->id = process_thread_id();
	t->doing = doing;
	t->call = call;
	/* A thread's time in user mode is sampled by the clock tick; one that is out of the call may have had any amount. */
	if (doing == PROCESS_ELSEWHERE)
		t->ticks += PROCESS_TICKS;
}

struct process_thread *process_self(void)
{
	for (uint32_t i = 0; i < process->threads; i++)
		if (process->thread[i].id == process_thread_id())
			return &process->thread[i];
	return NULL;
}

/* ---- entries ---- */

void process_patch(enum process_entry entry, process_fn fn)
{
	const struct lab_op op = {.kind = LAB_OP_STEP,
				  .write = true,
				  .object = &process->entry[entry],
				  .site = LAB_SITE("libc's entry is patched")};

	if (process->begun)
		lab_fetch_add(&process->patched, 1);
	lab_point(&op);
	process->entry[entry] = fn;
	process->patched_late |= process->begun;
}

long process_original(enum process_entry entry, long a, long b, long c, long d, long e, long f)
{
	return port_syscall(numbers[entry], a, b, c, d, e, f);
}

/* The first instruction of libc's function: it is the patch, or the thread is past it. */
static process_fn pass_entry(enum process_entry entry)
{
	const struct lab_op op = {.kind = LAB_OP_STEP, .object = &process->entry[entry], .site = LAB_SITE("libc's entry")};
	struct process_thread *t = process_self();

	lab_point(&op);
	/* Who runs a patch finds what was written before it was put there. */
	if (process->entry[entry] && process->patched_late)
		lab_fetch_add(&process->patched, 0);
	if (t && !process->entry[entry])
		t->doing = PROCESS_IN_FUNCTION;
	return process->entry[entry];
}

static long call_libc(enum process_entry entry, long a, long b, long c, long d, long e)
{
	process_fn fn = pass_entry(entry);
	struct process_thread *t = process_self();
	long result;

	if (fn)
		return fn(a, b, c, d, e, 0);
	result = process_original(entry, a, b, c, d, e, 0);
	if (t)
		process_thread_is(t, PROCESS_ELSEWHERE, 0);
	return result;
}

/* ---- calls ---- */

uint32_t process_returned(void)
{
	return lab_load_acquire(&process->returned);
}

void process_await_returned(uint32_t count)
{
	lab_await(&process->returned, count);
}

/* The number first: nothing comes between it and the retiring of what is gone. */
static int published(long result, uint32_t page, uint32_t count)
{
	uint32_t number = lab_fetch_add(&process->returned, 1) + 1;

	if (process_on_return)
		process_on_return(page, count, number);
	if (lab_telling)
		lab_call_leave();
	/* libc's stubs and the hooks give -1 and errno, which all fibers share: only that it failed is kept. */
	return result == -1 || (result < 0 && result >= -4095) ? -EFAULT : 0;
}

static long addr_of(uint32_t page)
{
	return (long)LAB_ADDR(page);
}

static long bytes_of(uint32_t count)
{
	return (long)count * 4096;
}

#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)
#define RW (PROT_READ | PROT_WRITE)

int process_munmap(uint32_t page, uint32_t count)
{
	if (lab_telling)
		lab_call_enter("munmap(%u, %u)", page, count);
	return published(call_libc(PROCESS_MUNMAP, addr_of(page), bytes_of(count), 0, 0, 0), page, count);
}

int process_mmap(uint32_t page, uint32_t count)
{
	if (lab_telling)
		lab_call_enter("mmap(%u, %u)", page, count);
	return published(call_libc(PROCESS_MMAP, addr_of(page), bytes_of(count), RW, ANON, -1), page, count);
}

int process_mmap_fixed(uint32_t page, uint32_t count)
{
	if (lab_telling)
		lab_call_enter("mmap(%u, %u, MAP_FIXED)", page, count);
	return published(call_libc(PROCESS_MMAP, addr_of(page), bytes_of(count), RW, ANON | MAP_FIXED, -1), page, count);
}

int process_mremap(uint32_t from, uint32_t count, uint32_t to)
{
	long result;

	if (lab_telling)
		lab_call_enter("mremap(%u, %u, to %u)", from, count, to);
	result = call_libc(PROCESS_MREMAP, addr_of(from), bytes_of(count), bytes_of(count), MREMAP_MAYMOVE | MREMAP_FIXED,
			   addr_of(to));
	if (process_on_return)
		process_on_return(from, count, lab_load_relaxed(&process->returned) + 1);
	return published(result, to, count);
}

static int advise(const char *name, uint32_t page, uint32_t count, int advice)
{
	if (lab_telling)
		lab_call_enter("madvise(%u, %u, %s)", page, count, name);
	return published(call_libc(PROCESS_MADVISE, addr_of(page), bytes_of(count), advice, 0, 0), page, count);
}

int process_dontneed(uint32_t page, uint32_t count)
{
	return advise("DONTNEED", page, count, MADV_DONTNEED);
}

int process_madv_free(uint32_t page, uint32_t count)
{
	return advise("FREE", page, count, MADV_FREE);
}

int process_protect(uint32_t page, uint32_t count, uint32_t prot)
{
	if (lab_telling)
		lab_call_enter("mprotect(%u, %u, %u)", page, count, prot);
	return published(call_libc(PROCESS_MPROTECT, addr_of(page), bytes_of(count), (long)prot, 0, 0), page, count);
}

int process_raw_munmap(uint32_t page, uint32_t count)
{
	long result;

	if (lab_telling)
		lab_call_enter("inline munmap(%u, %u)", page, count);
	result = port_syscall(SYS_munmap, addr_of(page), bytes_of(count), 0, 0, 0, 0);
	if (lab_telling)
		lab_call_leave();
	return (int)result;
}

int process_inline_munmap(uint32_t page, uint32_t count)
{
	if (lab_telling)
		lab_call_enter("inline munmap(%u, %u)", page, count);
	return published(port_syscall(SYS_munmap, addr_of(page), bytes_of(count), 0, 0, 0, 0), page, count);
}

int process_inline_dontneed(uint32_t page, uint32_t count)
{
	if (lab_telling)
		lab_call_enter("inline madvise(%u, %u, DONTNEED)", page, count);
	return published(port_syscall(SYS_madvise, addr_of(page), bytes_of(count), MADV_DONTNEED, 0, 0, 0), page, count);
}

int process_inline_mremap(uint32_t from, uint32_t count, uint32_t to)
{
	long result;

	if (lab_telling)
		lab_call_enter("inline mremap(%u, %u, to %u)", from, count, to);
	result = port_syscall(SYS_mremap, addr_of(from), bytes_of(count), bytes_of(count), MREMAP_MAYMOVE | MREMAP_FIXED,
			      addr_of(to), 0);
	if (process_on_return)
		process_on_return(from, count, lab_load_relaxed(&process->returned) + 1);
	return published(result, to, count);
}

int process_free(uint32_t page, uint32_t count)
{
	int err;

	if (lab_telling)
		lab_call_enter("free(%u)", page);
	lab_lock(&process->arena);
	err = process_dontneed(page, count);
	lab_unlock(&process->arena);
	if (lab_telling)
		lab_call_leave();
	return err;
}

/* ---- fork ---- */

/*
 * As glibc: prepare handlers; then malloc's locks; in the child those are made anew. Which of the two goes on is chosen as
 * soon as the copy is made, since from there on their memories differ.
 */
bool process_fork(void)
{
	bool child;

	if (lab_telling)
		lab_call_enter("fork()");
	lab_fork_prepare();
	lab_lock(&process->arena);
	lab_cpu_fork();
	child = process->options.fork_child && lab_choose(LAB_CHOICE_DATA, 2) == 1;
	if (child) {
		process_become_child();
		lab_fork_child();
	} else {
		lab_unlock(&process->arena);
		lab_fork_parent();
	}
	if (lab_telling)
		lab_call_leave();
	return child;
}
