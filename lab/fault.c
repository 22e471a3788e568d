/* SPDX-License-Identifier: MIT */
/*
 * fault.c: code under test that touches memory which is not there loses its execution, as by a failed assertion; the search
 * goes on. The handler never returns: it switches to fiber 0, whose stack it does not run on, and the signal is not left
 * blocked.
 */
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "lab/run.h"

static const char *what(int signal, const void *address)
{
	if (signal == SIGFPE)
		return "a division by zero";
	if (signal == SIGILL)
		return "an instruction that cannot be";
	if (lab_fiber_in_guard(address))
		return "the stack is full";
	return (uintptr_t)address < 65536 ? "a null pointer is followed" : "memory that is not there is touched";
}

static void caught(int signal, siginfo_t *info, void *context)
{
	const struct lab_site *site;
	const char *file;

	(void)context;
	if (lab_run.now == 0) {
		/* Not the code under test but the lab, or a set-up: as without the handler, by the same instruction again. */
		(void)sigaction(signal, &(struct sigaction){ .sa_handler = SIG_DFL }, NULL);
		return;
	}
	site = lab_run.fiber[lab_run.now].op.site;
	file = site ? strrchr(site->file, '/') : NULL;
	lab_lost(8, "%s, at %p; %s was last at %s:%u", what(signal, info->si_addr), info->si_addr,
		 lab_run.fiber[lab_run.now].name, file ? file + 1 : site ? site->file : "its beginning", site ? site->line : 0);
}

void lab_fault_open(void)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGFPE, SIGILL };
	static char stack[64 * 1024];
	static bool open;
	const stack_t other = { .ss_sp = stack, .ss_size = sizeof(stack) };
	struct sigaction action;

	if (open)
		return;
	open = true;
	memset(&action, 0, sizeof(action));
	action.sa_sigaction = caught;
	action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
	if (sigaltstack(&other, NULL))
		return;
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		(void)sigaction(signals[i], &action, NULL);
}
