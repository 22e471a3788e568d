/* SPDX-License-Identifier: MIT */
/*
 * vram.h: device memory of a few slots, as far as R19 is about it: a page of the process lives in a slot, and the slots are
 * moved by whoever manages that memory (to compact it, to evict, to unplug). The CPU's page table says "not here" before and
 * after, so the kernel has nothing to tell anybody of.
 */
#ifndef LAB_MODELS_VRAM_H
#define LAB_MODELS_VRAM_H

#include <uhmm/lab.h>

#define VRAM_SLOTS 4u
#define VRAM_NEXT 777u /* what the next owner of a slot has there */

/* Set-up: the page lives in slot 0 and reads `value`. */
void vram_begin(uint32_t page, uint32_t value);
/* Where the page is; UINT32_MAX: not in device memory. A step. */
uint32_t vram_where(uint32_t page);
/* A device reads a slot by its own page table, for this page. Loses if the page is not there any more. */
void vram_load(struct lab_device *d, uint32_t page, uint32_t slot, uint32_t *value);
/* Who has pages there and is called before one moves and after it. Set-up. */
struct vram_watcher {
	void (*start)(struct vram_watcher *w, uint32_t page);
	void (*end)(struct vram_watcher *w, uint32_t page);
};
void vram_watch(struct vram_watcher *w);
/* The manager moves the page to the next slot and gives the old one to somebody else. */
void vram_move(uint32_t page);

#endif
