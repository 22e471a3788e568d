/* SPDX-License-Identifier: MIT */
/* doctor_table.c: uhmm doctor --table: guarantees/table.txt, with what cannot be had on this machine marked. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <uhmm/uhmm.h>

#include "cmd.h"
#include "complain.h"
#include "doctor.h"
#include "json.h"

#define COLUMNS 4

struct word {
	const char *name, *meaning;
};

struct row {
	const char *group, *operation, *mappings, *condition, *remark;
	bool changes;
	unsigned since; /* 6013: Linux 6.13; 0: any */
	const char *said[COLUMNS];
};

#include "rows.h"

static const uint32_t monitor_bits[COLUMNS] = {UHMM_MONITOR_EXPLICIT, UHMM_MONITOR_HOOKS, UHMM_MONITOR_UFFD,
					       UHMM_MONITOR_HOOKS | UHMM_MONITOR_UFFD};

static unsigned running_kernel(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;

	if (uname(&u) == 0 && sscanf(u.release, "%u.%u", &major, &minor) == 2)
		return major * 1000 + minor;
	return 0;
}

/* 0, or why it cannot be had here: a negative errno. */
static int try_monitor(uint32_t bits)
{
	struct uhmm_mm_options options = {.size = sizeof(options), .monitors = bits};
	struct uhmm_mm *mm;
	int err = uhmm_mm_open(&mm, &options);

	if (!err)
		uhmm_mm_close(mm);
	return err;
}

static const char unavailable[] = "unavailable";

/* The verdict without what is said of some ways; *others: those, or "". */
static void split(const char *said, char *verdict, size_t size, const char **others)
{
	const char *end = strstr(said, " (");

	snprintf(verdict, size, "%.*s", end ? (int)(end - said) : (int)strlen(said), said);
	*others = end ? end + 1 : "";
}

static void print_row(const struct row *row, const int *errors, bool here)
{
	const char *others[COLUMNS];
	char verdict[16];

	printf("  %-49s", row->operation);
	for (size_t i = 0; i < COLUMNS; i++) {
		split(row->said[i], verdict, sizeof(verdict), &others[i]);
		printf(" %-11s", here && !errors[i] ? verdict : unavailable);
	}
	printf(" %s %s", row->changes ? "changes" : "keeps", row->mappings);
	for (size_t i = 0; i < COLUMNS; i++)
		if (here && !errors[i] && *others[i])
			printf("; %s %s", columns[i], others[i]);
	if (*row->condition)
		printf("; %s", row->condition);
	if (*row->remark)
		printf("; %s", row->remark);
	putchar('\n');
}

static void print_words(const char *title, const struct word *words, size_t count)
{
	printf("\n%s\n", title);
	for (size_t i = 0; i < count; i++)
		printf("  %-13s %s\n", words[i].name, words[i].meaning);
}

static const struct word verdicts[] = {
	{"yes", "guaranteed: a look-up that begins after the call never finds what was there before"},
	{"no", "not seen: what was looked up before goes stale"},
	{"needless", "nothing has changed, and what was looked up before is dropped all the same"},
	{"kept", "nothing has changed, and nothing is dropped"},
	{"uncached", "not watched: every look-up of a cache is a new one, so that nothing can go stale"},
	{unavailable, "this machine lacks the monitor, or its kernel the operation"},
};

static void print_text(const int *errors, unsigned kernel)
{
	const char *group = "";

	printf("%-51s", "operation");
	for (size_t i = 0; i < COLUMNS; i++)
		printf(" %-11s", columns[i]);
	printf(" for which mappings; other verdicts, by way of calling\n");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (strcmp(group, rows[i].group) != 0)
			printf("\n%s\n", rows[i].group);
		group = rows[i].group;
		print_row(&rows[i], errors, rows[i].since <= kernel);
	}
	print_words("Verdicts", verdicts, sizeof(verdicts) / sizeof(verdicts[0]));
	print_words("Mappings", mappings, sizeof(mappings) / sizeof(mappings[0]));
	print_words("Ways of calling", ways, sizeof(ways) / sizeof(ways[0]));
	printf("\nMonitors on this machine\n");
	for (size_t i = 0; i < COLUMNS; i++)
		printf("  %-13s %s\n", columns[i], errors[i] ? strerror(-errors[i]) : "can be had");
}

static void print_json(const int *errors, unsigned kernel)
{
	struct json j = {.out = stdout};

	json_open(&j, NULL, '{');
	json_string(&j, "version", UHMM_VERSION);
	json_open(&j, "monitors", '{');
	for (size_t i = 0; i < COLUMNS; i++)
		json_bool(&j, columns[i], !errors[i]);
	json_close(&j, '}');
	json_open(&j, "rows", '[');
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		json_open(&j, NULL, '{');
		json_string(&j, "operation", rows[i].operation);
		json_bool(&j, "changes", rows[i].changes);
		json_string(&j, "mappings", rows[i].mappings);
		json_string(&j, "condition", rows[i].condition);
		json_bool(&j, "kernel_has_it", rows[i].since <= kernel);
		for (size_t c = 0; c < COLUMNS; c++)
			json_string(&j, columns[c], rows[i].said[c]);
		json_close(&j, '}');
	}
	json_close(&j, ']');
	json_close(&j, '}');
	putchar('\n');
}

int doctor_table(bool as_json)
{
	unsigned kernel = running_kernel();
	int errors[COLUMNS];

	for (size_t i = 0; i < COLUMNS; i++)
		errors[i] = try_monitor(monitor_bits[i]);
	if (as_json)
		print_json(errors, kernel);
	else
		print_text(errors, kernel);
	return flush_output("doctor") ? STATUS_DONE : STATUS_FAILED;
}
