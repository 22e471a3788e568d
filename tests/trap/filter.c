/* SPDX-License-Identifier: MIT */
/* filter.c: the gate, and the filters that let it pass. */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "trap.h"

/* The address that filters and dispatch see is the one behind the system call instruction, hence the nop. */
__asm__(".pushsection .text.gate,\"ax\",@progbits\n"
	".balign 64\n"
	".globl gate_start\ngate_start:\n"
	".globl gate_call\n.type gate_call,@function\ngate_call:\n"
	"mov %rdi,%rax\nmov %rsi,%rdi\nmov %rdx,%rsi\nmov %rcx,%rdx\nmov %r8,%r10\nmov %r9,%r8\nmov 8(%rsp),%r9\n"
	"syscall\nret\n"
	".globl gate_sigreturn\ngate_sigreturn:\nmov $15,%eax\nsyscall\nnop\n"
	".globl gate_end\ngate_end:\n"
	".popsection\n");

extern char __executable_start[], etext[];

const long mapping_calls[] = {SYS_munmap, SYS_madvise, SYS_mremap, SYS_mmap, -1};
const long mapping_and_mask_calls[] = {SYS_munmap, SYS_madvise, SYS_mremap, SYS_mmap, SYS_rt_sigprocmask, -1};
const long munmap_only[] = {SYS_munmap, -1};

struct program {
	struct sock_filter code[64];
	unsigned short n;
};

static void emit(struct program *p, unsigned op, unsigned yes, unsigned no, size_t operand)
{
	p->code[p->n++] = (struct sock_filter){
		.code = (unsigned short)op,
		.jt = (unsigned char)yes,
		.jf = (unsigned char)no,
		.k = (unsigned)operand,
	};
}

static void load(struct program *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, 0, 0, offset);
}

static void answer(struct program *p, unsigned action)
{
	emit(p, BPF_RET | BPF_K, 0, 0, action);
}

/* If called from [start, end]: the answer `inside`; else goes on behind. Both in one 4 GiB, as all of a program is. */
static void within(struct program *p, const char *start, const char *end, unsigned inside)
{
	const size_t ip = offsetof(struct seccomp_data, instruction_pointer);

	load(p, ip + 4);
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 0, 4, (uintptr_t)start >> 32);
	load(p, ip);
	emit(p, BPF_JMP | BPF_JGE | BPF_K, 0, 2, (uint32_t)(uintptr_t)start);
	emit(p, BPF_JMP | BPF_JGT | BPF_K, 1, 0, (uint32_t)(uintptr_t)end);
	answer(p, inside);
}

static void compile(struct program *p, const struct filter_spec *spec)
{
	unsigned count = 0;

	while (spec->numbers[count] >= 0)
		count++;
	load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, 1, 0, AUDIT_ARCH_X86_64);
	answer(p, SECCOMP_RET_ALLOW);
	load(p, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < count; i++)
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, count - i, 0, (size_t)spec->numbers[i]);
	answer(p, SECCOMP_RET_ALLOW);
	if (!spec->no_gate)
		within(p, gate_start, gate_end, SECCOMP_RET_ALLOW);
	if (spec->only_own_text) {
		within(p, __executable_start, etext, spec->action);
		answer(p, SECCOMP_RET_ALLOW);
	} else {
		answer(p, spec->action);
	}
}

int filter_install(const struct filter_spec *spec)
{
	struct program p = {.n = 0};
	struct sock_fprog prog = {.filter = p.code};
	long rc;

	compile(&p, spec);
	prog.len = p.n;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return -errno;
	rc = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, spec->flags, &prog);
	return rc < 0 ? -errno : (int)rc;
}
