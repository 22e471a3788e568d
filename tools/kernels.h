/* SPDX-License-Identifier: MIT */
/* kernels.h: what is computed over the stream; the same code for the device's bytes and for the CPU's own reading of them. */
#ifndef TOOLS_KERNELS_H
#define TOOLS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ANSWER_SIZE 24

/* A kernel's own, in the middle of a stream. */
union kernel_state {
	uint64_t words[12];
	uint64_t sum;
};

struct kernel {
	const char *name;
	const char *summary;
	bool copies; /* the device writes the stream to a file as well, and the answer is that of the file */
	void (*begin)(union kernel_state *s);
	void (*update)(union kernel_state *s, const void *data, size_t len);
	void (*answer)(const union kernel_state *s, char out[ANSWER_SIZE]);
};

/* By name, or NULL. */
const struct kernel *kernel_find(const char *name);
/* The i-th, or NULL. */
const struct kernel *kernel_at(size_t i);

#endif
