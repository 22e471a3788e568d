/* SPDX-License-Identifier: MIT */
/*
 * c_program NAME [no-userfaultfd]: munmap() through libc and by a system call of its own, under each monitor. Built
 * dynamically, statically, and with musl. With no-userfaultfd a filter refuses that system call, and the device that offers
 * the same, as in a container.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "../bare.h"
#include "probe.h"

#define LEN 65536u

static void *map(void)
{
	char *p = mmap(NULL, LEN, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	p[0] = 1;
	return p;
}

static void by_libc(void *page)
{
	munmap(page, LEN);
}

static void by_itself(void *page)
{
	bare_call(SYS_munmap, (long)page, LEN, 0, 0, 0, 0);
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define NEW_BY_DEVICE 0xaa00 /* USERFAULTFD_IOC_NEW */

static int refuse_userfaultfd(void)
{
	struct sock_filter code[] = {
		LOAD(nr),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_userfaultfd, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		LOAD(args[1]),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, NEW_BY_DEVICE, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {.len = sizeof(code) / sizeof(code[0]), .filter = code};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

int main(int argc, char **argv)
{
	static const char *const monitors[] = {"explicit", "hooks", "uffd", "auto"};
	char what[64];

	if (argc > 2 && refuse_userfaultfd()) {
		printf("skipped: no system-call filters here\n");
		return 77;
	}
	for (size_t i = 0; i < sizeof(monitors) / sizeof(monitors[0]); i++) {
		snprintf(what, sizeof(what), "%s libc", argc > 1 ? argv[1] : "program");
		probe_run(what, monitors[i], map, by_libc);
		snprintf(what, sizeof(what), "%s inline", argc > 1 ? argv[1] : "program");
		probe_run(what, monitors[i], map, by_itself);
	}
	return 0;
}
