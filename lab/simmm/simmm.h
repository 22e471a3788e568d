/* SPDX-License-Identifier: MIT */
/*
 * simmm.h: what the engine, the built-in scenarios and the tests need of the simulated machine beyond <uhmm/lab.h>.
 */
#ifndef LAB_SIMMM_H
#define LAB_SIMMM_H

#include <uhmm/lab.h>

#include "lab/engine.h"

#define LAB_DEVICES 4u
#define LAB_DEVICE_NONE LAB_DEVICES

/*
 * Makes the machine of one configuration: all memory unmapped, no devices' entries, no listeners, and hooks the invariants in
 * as lab_after_step. Called in set-up, after the arena has been emptied and before anything else of the machine; state_size is
 * that of each device's model. Fills devices[0..count).
 */
void lab_sim_setup(const struct lab_config *config, uint32_t count, size_t state_size, struct lab_device *devices[]);

/* After all fibers have ended: the invariants that speak of the end (6: what started has ended). Loses by lab_lost(). */
void lab_sim_check_end(void);

/*
 * A hash of what can be told apart from outside: what each page reads, its rights, which frame it shares with whom, storage,
 * the devices' entries, references that were left. Frame numbers are not in it, so that it compares executions of different
 * order.
 */
uint64_t lab_sim_digest(void);

/* Of all its memory, bit by bit: for the test that each execution begins like the one before. */
uint64_t lab_sim_memory_hash(void);

/* What the process's mappings look like; false: no mapping there. Not a step. */
bool lab_sim_mapping(uint32_t page, enum lab_kind *kind, uint32_t *prot);
/* The frame that the CPU's page table names, 0 if none, and what it allows. Not a step. */
lab_frame lab_sim_frame(uint32_t page, uint32_t *access);
bool lab_sim_is_zero(lab_frame frame); /* the zero page */
uint32_t lab_sim_refs(lab_frame frame);
uint32_t lab_sim_pins(lab_frame frame);
/* What is on storage behind a file page. Not a step. */
uint32_t lab_sim_storage(uint32_t page);
/* What a reader of the page would get, 0 if nobody has written it. Not a step. */
uint32_t lab_sim_value(uint32_t page);
/* What a forked child reads at the page. -EFAULT: nothing there, or no child. Not a step. */
int lab_sim_child_value(uint32_t page, uint32_t *value);

/* For the tests of the tests: what the simulator does wrong on purpose. Cleared by lab_sim_setup(). */
enum lab_sim_fault {
	LAB_SIM_RIGHT,
	LAB_SIM_FORK_LEAVES_WRITE,    /* fork does not write-protect */
	LAB_SIM_DONTNEED_KEEPS,       /* MADV_DONTNEED leaves the page */
	LAB_SIM_COW_FORGETS,          /* a write to a shared page does not copy */
	LAB_SIM_REMAP_COPIES_NOTHING, /* mremap moves the mapping and not the pages */
	LAB_SIM_PRIVATE_WRITES_FILE,  /* a private file mapping writes through */
	LAB_SIM_FREE_TOO_EARLY,       /* MADV_FREE discards what was written after it */
	LAB_SIM_FAULTS
};
void lab_sim_break(enum lab_sim_fault fault);

#endif
