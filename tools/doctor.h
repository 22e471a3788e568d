/* SPDX-License-Identifier: MIT */
/* doctor.h: probes of what this machine offers. Each looks at the running system and writes down what it found. */
#ifndef TOOLS_DOCTOR_H
#define TOOLS_DOCTOR_H

#include <stdbool.h>
#include <stddef.h>

struct finding {
	const char *name;
	bool found;
	char value[160];   /* what is there, in a few words */
	char follows[240]; /* what it means for the library */
};

typedef void probe(struct finding *f);

void finding_value(struct finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));
void finding_follows(struct finding *f, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The first line of a small file, without the newline; false if it cannot be read. */
bool first_line(const char *path, char *out, size_t size);

/* doctor_probes.c: who tells of changes, and the device */
probe probe_kernel, probe_cpus, probe_hooks, probe_membarrier, probe_uring, probe_uring_sparse;
/* doctor_memory.c: memory */
probe probe_memlock, probe_uffd, probe_uffd_features, probe_populate, probe_max_maps, probe_thp, probe_five_levels;

/* doctor_table.c: which changes each monitor sees. Returns a STATUS_*. */
int doctor_table(bool as_json);

#endif
