/* SPDX-License-Identifier: MIT */
/* parse.c: sequences from and to text. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conformance.h"

static const struct {
	const char *name;
	uint32_t least, most; /* arguments */
} names[OP_KINDS] = {
	[OP_ANON] = {"anon", 2, 3},         [OP_SHARED] = {"shared", 2, 3},       [OP_PRIVATE] = {"private", 2, 3},
	[OP_UNMAP] = {"unmap", 2, 2},       [OP_DONTNEED] = {"dontneed", 2, 2},   [OP_FREE] = {"free", 2, 2},
	[OP_TRUNCATE] = {"truncate", 2, 2}, [OP_PROTECT] = {"protect", 3, 3},     [OP_REMAP] = {"remap", 3, 3},
	[OP_FORK] = {"fork", 0, 0},         [OP_WRITE] = {"write", 2, 2},         [OP_READ] = {"read", 1, 1},
	[OP_CHILD] = {"child", 1, 1},       [OP_WRITEBACK] = {"writeback", 1, 1}, [OP_MIGRATE] = {"migrate", 1, 1},
	[OP_REPLACE] = {"replace", 1, 1},   [OP_RECLAIM] = {"reclaim", 1, 1},
	[OP_POPULATE] = {"populate", 1, 1}, [OP_DROP] = {"drop", 1, 1},
};
static const struct {
	const char *name;
	int error;
} errors[] = {{"EFAULT", -EFAULT}, {"EINVAL", -EINVAL}, {"ENOMEM", -ENOMEM}, {"ok", 0}};

static void wrong(const char *text, const char *at)
{
	fprintf(stderr, "sequence \"%s\": not understood at \"%.20s\"\n", text, at);
	exit(1);
}

static bool word(const char **at, const char *name)
{
	size_t len = strlen(name);

	if (strncmp(*at, name, len) != 0 || isalnum((unsigned char)(*at)[len]))
		return false;
	*at += len;
	return true;
}

static uint32_t argument(const char *text, const char **at)
{
	char *end;
	unsigned long value;

	if (word(at, "none"))
		return 0;
	if (word(at, "rw"))
		return 3;
	if (word(at, "r"))
		return 1;
	value = strtoul(*at, &end, 10);
	if (end == *at)
		wrong(text, *at);
	*at = end;
	return (uint32_t)value;
}

static void expectation(const char *text, const char **at, struct op *op)
{
	op->expected = true;
	for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++) {
		if (word(at, errors[i].name)) {
			op->error = errors[i].error;
			return;
		}
	}
	if (!op_reads(op))
		wrong(text, *at);
	op->value = argument(text, at);
}

static const char *one(const char *text, const char *at, struct op *op)
{
	uint32_t args[3] = {0, 1, 3}, given = 0;
	uint32_t kind = 0;

	while (kind < OP_KINDS && !word(&at, names[kind].name))
		kind++;
	if (kind == OP_KINDS || *at++ != '(')
		wrong(text, at);
	while (*at != ')') {
		if (given == 3 || (given && *at++ != ','))
			wrong(text, at);
		args[given++] = argument(text, &at);
	}
	at++;
	if (given < names[kind].least || given > names[kind].most)
		wrong(text, at);
	*op = (struct op){.kind = (enum op_kind)kind, .page = args[0], .count = args[1], .arg = args[2]};
	if (kind == OP_WRITE) {
		op->count = 1;
		op->arg = args[1];
	}
	if (*at == '=') {
		at++;
		expectation(text, &at, op);
	}
	return at;
}

size_t parse(const char *text, struct op ops[OPS_MAX])
{
	size_t count = 0;
	const char *at = text;

	for (;;) {
		at += strspn(at, " ");
		if (!*at)
			return count;
		if (count == OPS_MAX)
			wrong(text, at);
		at = one(text, at, &ops[count++]);
	}
}

void print_op(const struct op *op, char *out, size_t size)
{
	static const char *const prot[] = {"none", "r", "rw", "rw"};
	const char *name = names[op->kind].name;

	switch (op->kind) {
	case OP_ANON:
	case OP_SHARED:
	case OP_PRIVATE:
	case OP_PROTECT:
		snprintf(out, size, "%s(%u,%u,%s)", name, op->page, op->count, prot[op->arg & 3]);
		break;
	case OP_REMAP:
		snprintf(out, size, "%s(%u,%u,%u)", name, op->page, op->count, op->arg);
		break;
	case OP_WRITE:
		snprintf(out, size, "%s(%u,%u)", name, op->page, op->arg);
		break;
	case OP_FORK:
		snprintf(out, size, "fork()");
		break;
	default:
		if (names[op->kind].least == 1)
			snprintf(out, size, "%s(%u)", name, op->page);
		else
			snprintf(out, size, "%s(%u,%u)", name, op->page, op->count);
	}
}
