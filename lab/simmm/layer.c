/* SPDX-License-Identifier: MIT */
/* layer.c: between the engine, which runs fibers, and the scenario, which has a machine with devices. */
#include "lab/simmm/sim.h"

static struct lab_setup now;

static void setup(const struct lab_config *config)
{
	now = (struct lab_setup){.devices = config->devices, .invalidators = config->invalidators, .model = config->model};
	lab_sim_setup(config, config->devices, config->model ? config->model->state_size : 0, now.device);
	config->scenario->setup(&now);
	sim_check(); /* and nothing is left for the first execution to look at */
}

static void check(const struct lab_config *config)
{
	if (config->scenario->check)
		config->scenario->check(&now);
	lab_sim_check_end();
	lab_digest(lab_sim_digest());
}

void *lab_alloc_zeroed(size_t size)
{
	void *p = lab_alloc(size, 16);

	if (!p)
		lab_lost(8, "the arena has no room for %zu bytes", size);
	return p;
}

static const struct lab_layer layer = {.setup = setup, .check = check};

__attribute__((constructor)) static void set_layer(void)
{
	lab_layer = &layer;
}
