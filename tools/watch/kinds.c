/* SPDX-License-Identifier: MIT */
#include "watch/kinds.h"

const char *const watch_kind_names[WATCH_KINDS] = {
	[WATCH_MMAP] = "mmap",
	[WATCH_MMAP_FIXED] = "mmap fixed",
	[WATCH_MUNMAP] = "munmap",
	[WATCH_MREMAP_MOVE] = "mremap move",
	[WATCH_MREMAP_SIZE] = "mremap in place",
	[WATCH_BRK_UP] = "brk up",
	[WATCH_BRK_DOWN] = "brk down",
	[WATCH_DONTNEED] = "DONTNEED",
	[WATCH_FREE] = "MADV_FREE",
	[WATCH_ADVICE] = "other madvise",
	[WATCH_PROTECT] = "mprotect",
	[WATCH_SHMAT] = "shmat",
	[WATCH_SHMDT] = "shmdt",
	[WATCH_REMAP_FILE] = "remap_file",
	[WATCH_DLCLOSE] = "dlclose",
	[WATCH_FORK] = "fork",
};

const char *const watch_cause_names[WATCH_CAUSES] = {
	[WATCH_HEARD] = "announced",           [WATCH_BY_NUMBER] = "by_syscall", [WATCH_ONTO] = "mremap_onto",
	[WATCH_UNKNOWN_CALL] = "unknown_call", [WATCH_UNSEEN] = "unseen",        [WATCH_WINDOW] = "while_changing",
};

const char *const watch_cause_texts[WATCH_CAUSES] = {
	[WATCH_HEARD] = "announced before the call",
	[WATCH_BY_NUMBER] = "changed through syscall()",
	[WATCH_ONTO] = "mremap onto the buffer",
	[WATCH_UNKNOWN_CALL] = "advice or calls they do not know, dlclose",
	[WATCH_UNSEEN] = "changed unseen, then mapped again",
	[WATCH_WINDOW] = "used while it was being changed",
};
