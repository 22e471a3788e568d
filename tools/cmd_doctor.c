/* SPDX-License-Identifier: MIT */
/* cmd_doctor.c: uhmm doctor */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "complain.h"
#include "doctor.h"
#include "json.h"

static const char verb[] = "doctor";

static const struct {
	const char *name;
	probe *run;
} probes[] = {
	{"kernel", probe_kernel},
	{"processors", probe_cpus},
	{"hooks", probe_hooks},
	{"membarrier", probe_membarrier},
	{"io_uring", probe_uring},
	{"io_uring sparse table", probe_uring_sparse},
	{"locked memory", probe_memlock},
	{"userfaultfd", probe_uffd},
	{"userfaultfd features", probe_uffd_features},
	{"MADV_POPULATE_WRITE", probe_populate},
	{"max_map_count", probe_max_maps},
	{"transparent huge pages", probe_thp},
	{"five-level page tables", probe_five_levels},
};

#define PROBES (sizeof(probes) / sizeof(probes[0]))

void finding_value(struct finding *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->value, sizeof(f->value), format, args);
	va_end(args);
}

void finding_follows(struct finding *f, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(f->follows, sizeof(f->follows), format, args);
	va_end(args);
}

bool first_line(const char *path, char *out, size_t size)
{
	FILE *file = fopen(path, "re");
	bool ok = file && fgets(out, (int)size, file);

	if (file)
		fclose(file);
	if (ok)
		out[strcspn(out, "\n")] = '\0';
	return ok;
}

static int help(void)
{
	printf("Usage: uhmm doctor [--table] [--json]\n"
	       "Says for each feature that the library can use whether this machine has it, and what\n"
	       "follows. Nothing is changed.\n\n"
	       "  --table   which changes of the address space each monitor sees (uhmm-guarantees(7))\n"
	       "  --json    one JSON object on the last line instead of text\n"
	       "  --help    print this\n\n"
	       "Exit status: 0, whatever was found; 2 the call was wrong.\n");
	return flush_output(verb) ? STATUS_DONE : STATUS_FAILED;
}

static void print_text(const struct finding *f)
{
	printf("%-3s  %-23s %s\n     %-23s %s\n", f->found ? "yes" : "no", f->name, f->value, "", f->follows);
}

static void print_json(struct json *j, const struct finding *f)
{
	json_open(j, NULL, '{');
	json_string(j, "feature", f->name);
	json_bool(j, "found", f->found);
	json_string(j, "value", f->value);
	json_string(j, "follows", f->follows);
	json_close(j, '}');
}

static int examine(bool as_json)
{
	struct json j = {.out = stdout};

	if (as_json) {
		json_open(&j, NULL, '{');
		json_string(&j, "version", UHMM_VERSION);
		json_open(&j, "features", '[');
	}
	for (size_t i = 0; i < PROBES; i++) {
		struct finding f = {.name = probes[i].name};

		probes[i].run(&f);
		if (as_json)
			print_json(&j, &f);
		else
			print_text(&f);
	}
	if (as_json) {
		json_close(&j, ']');
		json_close(&j, '}');
		putchar('\n');
	}
	return flush_output(verb) ? STATUS_DONE : STATUS_FAILED;
}

int cmd_doctor(int argc, char **argv)
{
	bool as_json = false, table = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--help") == 0)
			return help();
		if (strcmp(argv[i], "--json") == 0) {
			as_json = true;
		} else if (strcmp(argv[i], "--table") == 0) {
			table = true;
		} else {
			complain(verb, "unknown argument '%s'; try 'uhmm doctor --help'", argv[i]);
			return STATUS_USAGE;
		}
	}
	return table ? doctor_table(as_json) : examine(as_json);
}
