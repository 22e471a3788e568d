/* SPDX-License-Identifier: MIT */
/*
 * sim.h: the inside of the simulated machine.
 *
 * One process with LAB_PAGES pages of address space, up to three forked children that never write, and up to LAB_DEVICES
 * devices. A page of memory holds one word. Each kernel operation is a sequence of steps; a step is what the kernel does under
 * one page table lock, and is published on the object of its page, for everything that the invariants or another operation can
 * see of a page. Frame numbers are names: which of two pages got the lower one is not to be seen by anybody, so what two pages
 * do commutes. Where an operation makes pages share frames (mremap, a huge page, frames given out again) the whole machine
 * becomes one object: sim_alias().
 *
 * Locks, as in Linux, outermost first:
 *	mmap_lock	held for writing by what changes mappings, for reading by faults, slow look-ups and madvise()
 *	folio lock	held over migration, the write-protecting half of write-back, a fault that makes a file page writable
 * What the kernel does on its own account (migration, write-back, truncation, reclaim) finds its page table entries from the
 * frame and takes no mmap_lock: so it runs beside faults and munmap(), and each of its steps looks again at the entry.
 *
 * Left out, because no race here turns on it: TLBs apart from the tables (a step that takes an entry away has flushed), the
 * kernel's use of several locks where one orders the same (per-VMA locks, page table locks inside a step), sizes other than one
 * page and one huge page, memory that several processes write.
 *
 * Memory and its copies. What was written to one page of memory stays one *memory* while it is copied from frame to frame, to
 * swap and to storage. Each memory counts the CPU's and the devices' writes apart, as if each wrote a byte of its own; each
 * copy knows the counts that it has. A copy that a reader can reach and that lacks a count has lost a byte (invariant 3).
 */
#ifndef LAB_SIM_H
#define LAB_SIM_H

#include <errno.h>

#include "lab/arena.h"
#include "lab/memory.h"
#include "lab/search.h"
#include "lab/simmm/simmm.h"

#define SIM_FRAMES 256u
#define SIM_ZERO ((uint16_t)(SIM_FRAMES - 1))  /* the zero page */
#define SIM_TABLES 4u                          /* the process's own page table, three children's */
#define SIM_INVALIDATIONS 16u

enum sim_state { SIM_NONE, SIM_PRESENT, SIM_SWAP, SIM_MIGRATING, SIM_DEVICE }; /* DEVICE: in a device's memory */
/* TAKEN: by a device, for itself alone. */
enum { SIM_WRITE = LAB_WRITE, SIM_READ = LAB_READ, SIM_DIRTY = 4, SIM_SWAP_EXCLUSIVE = 8, SIM_TAKEN = 16 };

struct sim_writes {
	uint16_t cpu, dev;
};

/* One copy of a page of memory. */
struct sim_data {
	uint32_t value;
	struct sim_writes has; /* of the writes */
	uint16_t memory;      /* of which memory; 0: of none that anybody wrote */
	uint16_t unused;
};

struct sim_pte {
	uint16_t frame;       /* PRESENT: this one. MIGRATING: the copy that counts. SWAP: in the swap cache still, or 0 */
	uint8_t state, flags;
	struct sim_data swap; /* SWAP, frame 0: the copy on disk */
};

struct sim_frame {
	struct sim_data data;
	uint16_t refs, maps, pins;
	uint16_t gone;              /* when a page table last ceased to name it, in starts; 0: not yet */
	struct sim_writes lazy_has; /* lazy: the writes that MADV_FREE gave up */
	bool anon;                  /* not of the page cache */
	bool exclusive;             /* anon: nobody else maps it (PageAnonExclusive) */
	bool dirty, writeback;      /* page cache */
	bool lazy;                  /* after MADV_FREE */
	bool frozen;                /* no reference can be taken: it is on its way out */
	bool huge;
	uint8_t vram;               /* in the memory of this device, plus 1; 0: the system's */
	uint8_t page;               /* which page's object its references belong to */
	uint32_t generation;        /* the execution in which the arena was last told of a write here */
};

struct sim_file {
	struct sim_data storage;
	uint16_t frame;       /* in the page cache, or 0 */
	bool cut;             /* truncated: the page is beyond the end */
};

/* A device's page-table entry. */
struct sim_entry {
	uint16_t frame;
	uint16_t access;
};

/* What the steps on one page's object change, in one block of the arena. */
struct sim_page {
	_Alignas(64) struct sim_pte pte;
	struct sim_entry entry[LAB_DEVICES];
	uint8_t mapped, kind, prot, file; /* of the VMA; file: which page of the file */
	uint8_t owner;                    /* who says that the page is his alone, 0: nobody */
	uint8_t known;                    /* has ever been mapped: devices may have an entry */
	uint16_t protected_at;            /* when it last lost its write access, in starts */
	uint32_t generation;
};

/* An invalidation from before its first callback until after its last. Means nothing unless it is open. */
struct sim_invalidation {
	uint16_t pages;                 /* a bit for each */
	uint16_t pending[LAB_DEVICES];  /* pages at which the device's callback has still to run */
	uint16_t returned;              /* its number, from when start had returned; 0: not yet */
	uint32_t fiber;
};

/* What nearly every execution changes. */
struct sim_now {
	_Alignas(64) uint32_t generation;
	uint32_t open;                  /* invalidations: a bit for each */
	uint16_t touched;               /* pages to look at after this step */
	uint16_t starts;                /* invalidations whose start has returned */
	uint16_t frames, memories;      /* given out so far */
	uint16_t reusable;              /* frames on the free list, if they are given out again */
	uint16_t children;
	uint16_t forks;                 /* mm->write_protect_seq: odd while one write-protects */
	bool silent;
	uint16_t use[LAB_FIBERS];       /* since which start a fiber's get has been open, plus 1; 0: none is */
};

struct lab_device {
	uint32_t index;
	void *state;
};

struct sim {
	struct sim_now now;
	struct sim_page page[LAB_PAGES];
	struct sim_invalidation invalidation[SIM_INVALIDATIONS];
	struct sim_pte (*child)[LAB_PAGES];
	struct sim_file *file;
	struct sim_frame *frame;
	struct sim_writes *memory;      /* how many there have been, of each memory */
	uint16_t *free_frames;
	_Alignas(8) struct lab_mutex mmap_lock;
	struct lab_mutex *folio_lock;   /* one a frame */
	struct lab_listener *listeners, **last_listener;
	/* Of the set-up, not changed any more. */
	uint32_t aliased;               /* never written: see sim_alias() */
	uint32_t devices;
	bool reuse;
	struct uhmm_mm *mm;
	struct lab_device device[LAB_DEVICES];
};

extern struct sim *sim;
extern enum lab_sim_fault sim_wrong;

/* ---- steps (sim.c) ---- */

/*
 * This code is not compiled with -fsanitize=thread, so that it is fast, and says itself what it is about to write: the page of
 * a step is said by sim_step(), frames and so on by sim_frame_w() and its like.
 */
void sim_step(uint32_t page, bool write, const struct lab_site *site);
/* The step changes this page too. */
void sim_touch(uint32_t page);
/* For writes to sim->now before the first step. */
struct sim_now *sim_now_w(void);
#define SIM_STEP_(page, write, words) sim_step(page, write, LAB_SITE(words))
#define SIM_STEP(page, what) SIM_STEP_(page, true, what)
#define SIM_LOOK(page, what) SIM_STEP_(page, false, what)
/*
 * Pages share frames: all steps conflict. Learnt by the search, like words that turn out to be shared: the execution that finds
 * out makes it begin again.
 */
void sim_alias(void);
#define sim_note(...) (lab_telling ? lab_note(__VA_ARGS__) : (void)0)
#define sim_enter(...) (lab_telling ? lab_call_enter(__VA_ARGS__) : (void)0)
void sim_lock_mm(void);
void sim_unlock_mm(void);
void sim_read_lock_mm(void);
void sim_read_unlock_mm(void);
void sim_lock_folio(uint16_t frame);
void sim_unlock_folio(uint16_t frame);
/* Leaves the call and passes its result on. */
int sim_leave(int result);
/* Calls may fail before they have changed anything, if the scenario has a budget for that. */
static inline bool sim_fails(void)
{
	return lab_choose(LAB_CHOICE_FAIL, 2) != 0;
}
bool sim_range_ok(uint32_t page, uint32_t count);
static inline uint16_t sim_bits(uint32_t page, uint32_t count)
{
	return (uint16_t)(((1u << count) - 1u) << page);
}

/* ---- frames (frames.c) ---- */

/* For writing. */
static inline struct sim_frame *sim_frame_w(uint32_t frame)
{
	struct sim_frame *f = &sim->frame[frame];

	if (f->generation != lab_generation) {
		lab_arena_dirty(f, sizeof(*f));
		f->generation = lab_generation;
	}
	return f;
}
struct sim_file *sim_file_w(uint32_t file);
/* One more write to this memory: by the CPU or a device. */
uint16_t sim_count_write(uint16_t memory, bool device);
/* A frame of memory that nobody has written yet, or of another copy of the same memory. Has no reference. */
uint16_t sim_frame_new(void);
uint16_t sim_frame_copy(uint16_t of);
/* Takes back a frame that nobody has seen. */
void sim_frame_undo(uint16_t frame);
const char *sim_name(uint32_t frame, char buffer[20]);
void sim_get(uint16_t frame);
bool sim_try_get(uint16_t frame);
/* Drops a reference; the last one frees. */
void sim_put(uint16_t frame);
/* Sets and clears an entry of the process (table 0) or of child `table` - 1, with the frame's map count and reference. */
struct sim_pte *sim_pte(uint32_t table, uint32_t page);
void sim_pte_set(uint32_t table, uint32_t page, uint16_t frame, uint32_t flags);
/* Leaves the mapping's reference to the caller, who puts it. Returns the frame, 0 if none was mapped. */
uint16_t sim_pte_clear(uint32_t table, uint32_t page);
/* The same in one, for the process's own entry. */
uint16_t sim_pte_exchange(uint32_t page, uint16_t frame, uint32_t flags);
void sim_write_protect(uint32_t page);
/* The frame of the file page in the page cache, read in if need be. No reference. */
uint16_t sim_cache(uint32_t page, uint32_t file);

/* ---- others ---- */

/* Brackets, as mmu_notifier_invalidate_range_start() and _end(). -EAGAIN: NONBLOCK, and somebody refused; no end then. */
struct sim_bracket {
	struct uhmm_event event;
	struct uhmm_invalidation inv;
	uint32_t slot;
	bool core;
};
int sim_start(struct sim_bracket *b, uint32_t page, uint32_t count, enum uhmm_event_kind kind, uint32_t flags);
int sim_start_by(struct sim_bracket *b, uint32_t page, uint32_t count, enum uhmm_event_kind kind, uint32_t flags,
		 const void *owner);
void sim_end(struct sim_bracket *b);
/* The step that is being made changes the page: whoever had to be told has been. Returns the invalidation's number. */
uint16_t sim_changing(uint32_t page);
/* Has the device's callback for an invalidation of the page still to run? */
bool sim_pending(uint32_t device, uint32_t page);
void sim_device_told(uint32_t device, uint16_t pages);

enum { SIM_FAULT_UNSHARE = 8 }; /* make it the process's own without making it writable */
int sim_fault(uint32_t page, uint32_t access);
/* Which page the CPU has there: a migration entry names it too, the old one until the copy is made and then the new one. */
static inline uint16_t sim_names(const struct sim_pte *pte)
{
	return pte->state != SIM_NONE && pte->state != SIM_SWAP ? pte->frame : 0;
}
/* May this entry be used so? */
static inline bool sim_pte_allows(const struct sim_pte *pte, uint32_t access)
{
	return pte->state == SIM_PRESENT && (pte->flags & access) == access;
}
/* What a fault does about a page that a device has: taken alone, or in its memory (migrate_to_ram()). */
void sim_take_back(uint32_t page);
void sim_bring_home(uint32_t page);
/* Start, zap, end; then the references go. */
void sim_zap(uint32_t page, uint32_t count, enum uhmm_event_kind kind);
/* munmap() with the lock held. */
void sim_unmap_locked(uint32_t page, uint32_t count);
/* The copy that a reader of the page would get, or NULL: nothing that anybody wrote. */
const struct sim_data *sim_reachable(uint32_t page);
/* After every step. */
void sim_check(void);

#endif
