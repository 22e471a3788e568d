/* SPDX-License-Identifier: MIT */
/* common.c: fibers of the scenarios with models, and what must be true of each at the end. */
#include "lab/scenarios/common.h"

struct scenario_run *scenario_run;

static const char *const device_names[SCENARIO_SIDES] = {"gpu0", "gpu1"};
static const char *const cpu_names[SCENARIO_SIDES] = {"cpu0", "cpu1"};

void scenario_begin(void)
{
	scenario_run = lab_alloc_zeroed(sizeof(*scenario_run));
}

void scenario_must(int err, const char *what)
{
	if (err)
		lab_fail("%s: error %d", what, -err);
}

void scenario_attach(const struct lab_setup *s, uint32_t page, uint32_t count)
{
	for (uint32_t i = 0; i < s->devices; i++)
		s->model->attach(s->device[i], LAB_ADDR(page), LAB_ADDR(page + count));
}

void scenario_use(void *user)
{
	struct scenario_user *u = user;

	for (uint32_t i = 0; i < u->uses; i++)
		u->err[i] = u->model->use(u->device, u->page, u->access, &u->value[i]);
}

void scenario_devices(const struct lab_setup *s, uint32_t page, uint32_t access, uint32_t uses, void (*fn)(void *user))
{
	for (uint32_t i = 0; i < s->devices; i++) {
		struct scenario_user *u = &scenario_run->user[scenario_run->users++];

		u->device = s->device[i];
		u->model = s->model;
		u->page = page;
		u->access = access;
		u->uses = uses;
		for (uint32_t k = 0; (access & LAB_WRITE) && k < uses; k++)
			u->value[k] = SCENARIO_DEVICE_VALUE(i);
		lab_spawn(device_names[i], fn ? fn : scenario_use, u);
	}
}

static void change(void *cpu)
{
	struct scenario_cpu *c = cpu;

	c->err = c->change(c->index);
}

void scenario_cpus(const struct lab_setup *s, int (*fn)(uint32_t index))
{
	for (uint32_t i = 0; i < s->invalidators; i++) {
		struct scenario_cpu *c = &scenario_run->cpu[scenario_run->cpus++];

		c->change = fn;
		c->index = i;
		lab_spawn(cpu_names[i], change, c);
	}
}

static void check_use(const struct scenario_user *u, uint32_t i, bool may_fault, uint32_t value)
{
	uint32_t device = lab_device_index(u->device);

	if (u->err[i] == -EFAULT && may_fault)
		return;
	if (u->err[i] == -EBUSY)
		lab_fail("device %u gave up on page %u, after more tries than there are changes", device, u->page);
	if (u->err[i])
		lab_fail("device %u did not get at page %u: error %d", device, u->page, -u->err[i]);
	if (value && u->value[i] != value)
		lab_fail("device %u read %u from page %u, which never held it", device, u->value[i], u->page);
}

static int discard(uint32_t index)
{
	(void)index;
	return lab_cpu_dontneed(0, 1);
}

void scenario_discarded(const struct lab_setup *s, uint32_t access, uint32_t uses)
{
	scenario_begin();
	scenario_must(lab_cpu_mmap(0, 1, LAB_ANON, LAB_READ | LAB_WRITE), "mmap");
	scenario_must(lab_cpu_write(0, SCENARIO_OLD), "write");
	scenario_attach(s, 0, 1);
	scenario_devices(s, 0, access, uses, NULL);
	scenario_cpus(s, discard);
}

void scenario_check_users(bool may_fault, uint32_t value)
{
	for (uint32_t i = 0; i < scenario_run->users; i++)
		for (uint32_t k = 0; k < scenario_run->user[i].uses; k++)
			check_use(&scenario_run->user[i], k, may_fault, value);
}

void scenario_check_cpus(bool may_miss)
{
	for (uint32_t i = 0; i < scenario_run->cpus; i++) {
		int err = scenario_run->cpu[i].err;

		if (!may_miss || scenario_run->cpus == 1 || (err != -EAGAIN && err != -EFAULT))
			scenario_must(err, "the CPU's change");
	}
}
