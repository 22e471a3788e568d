/* SPDX-License-Identifier: MIT */
/*
 * fast.pml: the fast path (G8). An invalidator publishes its range in its own line, passes a full barrier and looks at the occupancy;
 * an inserter sets the occupancy, passes a full barrier and scans the lines, claiming what it overlaps. Stores to the lines and to
 * the occupancy go through store buffers (`line_store`, `occupied_store`): a barrier is waiting until one's own is empty.
 *
 * With it, by flag:
 *	OTHER     another notifier set the same mark before, for another range: there is nothing of it to claim
 *	REINSERT  the notifier is inserted, removed and inserted again
 *	CLEAR     a removal of another notifier takes the shared mark away meanwhile
 *	ASYM      the invalidator has no barrier of its own; the inserter makes every thread pass one
 *
 * Mistakes:
 *	NOBARINV   no barrier between publishing and looking        NOBARINS   none between setting the occupancy and scanning
 *	PLAINEND   the end loads and then stores, not one exchange  RECOUNT    a slow start counts again what a claim counted
 *	NOWITHDRAW the slow start leaves the line published         SKIPSCAN   no scan if the mark was set already
 *	CLEAROUT   the mark is taken away outside the lock
 * Allowed: EARLYWITHDRAW, the line is emptied before the lock is taken.
 */
#ifndef NI
#define NI 1
#endif
#ifndef NR
#define NR 1
#endif
#ifndef TRIES
#define TRIES 2
#endif

#define LOCK(l) atomic { !l -> l = true }
#define UNLOCK(l) l = false

#define EMPTY 0
#define PUBLISHED 1
#define CLAIMED 2

byte page = 0, entry_page = 0, seq = 1, next_seq = 2, nactive = 0, done = 0;
bool entry = false, usable = false, inserted = false, ready = false, occupied = false;
bool mm_lock = false, driver_lock = false;
bool linked[NI];
byte line[NI];
bool line_store[NI];                   /* PUBLISHED is on its way to line[i] */
bool occupied_store = false;           /* true is on its way to occupied */

proctype store_buffers()
{
end:	do
	:: atomic { line_store[0] -> line[0] = PUBLISHED; line_store[0] = false }
#if NI > 1
	:: atomic { line_store[1] -> line[1] = PUBLISHED; line_store[1] = false }
#endif
	:: atomic { occupied_store -> occupied = true; occupied_store = false }
	od
}

#define BARRIER_AFTER_LINE(i) (!line_store[i])
#define EXCHANGE_LINE(i, old) atomic { !line_store[i] -> old = line[i]; line[i] = EMPTY }

inline change_or_fail()
{
	if
	:: atomic { page++; assert(!(entry && inserted)) }
	:: skip
	fi
}

inline slow_end(i)
{
	LOCK(mm_lock);
	linked[i] = false;
	if :: inserted -> assert(nactive > 0); nactive-- :: else -> skip fi;
	UNLOCK(mm_lock)
}

/* Takes the range back from the line; the counts of a claim stand, but every slow start stores a seq and calls back. */
inline slow_start(i)
{
#if defined(NOWITHDRAW)
	LOCK(mm_lock);
	old = EMPTY;
#elif defined(EARLYWITHDRAW)
	EXCHANGE_LINE(i, old);
	LOCK(mm_lock);
#else
	LOCK(mm_lock);
	EXCHANGE_LINE(i, old);
#endif
#ifdef RECOUNT
	old = EMPTY;
#endif
	linked[i] = true;
	if
	:: inserted ->
		if :: old != CLAIMED -> nactive++ :: else -> skip fi;
		atomic { seq = next_seq; next_seq++ }
	:: else -> skip
	fi;
	UNLOCK(mm_lock);
	LOCK(driver_lock); if :: inserted -> entry = false :: else -> skip fi; UNLOCK(driver_lock)
}

proctype invalidator(byte i)
{
	byte old;
	bool seen;

	line_store[i] = true;
#if !defined(NOBARINV) && !defined(ASYM)
	BARRIER_AFTER_LINE(i);
#endif
	seen = occupied;
	if
	:: !seen ->
		change_or_fail();
#ifdef PLAINEND
		BARRIER_AFTER_LINE(i); old = line[i]; line[i] = EMPTY;
#else
		EXCHANGE_LINE(i, old);
#endif
		if :: old == CLAIMED -> slow_end(i) :: else -> skip fi
	:: else ->
		slow_start(i);
		change_or_fail();
#ifdef NOWITHDRAW
		EXCHANGE_LINE(i, old);
#endif
		slow_end(i)
	fi;
	done++
}

inline scan_lines()
{
	i = 0;
	do
	:: i < NI ->
		if
		:: atomic { line[i] == PUBLISHED -> line[i] = CLAIMED };
			if :: linked[i] -> skip :: else -> linked[i] = true; nactive++ fi
		:: else -> skip
		fi;
		i++
	:: else -> break
	od
}

inline count_linked()
{
	i = 0;
	do
	:: i < NI -> if :: linked[i] -> nactive++ :: else -> skip fi; i++
	:: else -> break
	od
}

inline insert(scan)
{
	LOCK(mm_lock);
	occupied_store = true;
#ifndef NOBARINS
	!occupied_store;
#endif
#ifdef ASYM
	i = 0;
	do :: i < NI -> BARRIER_AFTER_LINE(i); i++ :: else -> break od;
#endif
	count_linked();
	if :: scan -> scan_lines() :: else -> skip fi;
	atomic { seq = next_seq; next_seq++ };
	!occupied_store;               /* the unlock */
	inserted = true;
	UNLOCK(mm_lock)
}

inline remove()
{
	LOCK(driver_lock); usable = false; entry = false; UNLOCK(driver_lock);
	LOCK(mm_lock); inserted = false; nactive = 0; occupied = false; UNLOCK(mm_lock)
}

proctype inserter()
{
	byte i;

#ifdef OTHER
	LOCK(mm_lock); occupied_store = true; !occupied_store; UNLOCK(mm_lock);
#endif
#ifdef REINSERT
	insert(true); remove();
#endif
#ifdef SKIPSCAN
	insert((!occupied));
#else
	insert(true);
#endif
	LOCK(driver_lock); usable = true; UNLOCK(driver_lock);
	ready = true;
	done++
}

#ifdef CLEAR
/* Another notifier with the same mark goes. The mark is derived from who is left, so the question is asked where the answer holds. */
proctype clearer()
{
	bool wanted;

#ifdef CLEAROUT
	LOCK(mm_lock); wanted = inserted; UNLOCK(mm_lock);
	if :: !wanted -> occupied = false :: else -> skip fi;
#else
	LOCK(mm_lock);
	if :: !inserted -> occupied = false :: else -> skip fi;
	UNLOCK(mm_lock);
#endif
	done++
}
#endif

proctype reader()
{
	byte s, a, looked, tries = 0;

	ready;
	do
	:: tries < TRIES ->
		tries++;
begin:		s = seq; a = nactive;
		if :: a != 0 -> nactive == 0; goto begin :: else -> skip fi;
		looked = page;
		LOCK(driver_lock);
		if
		:: s != seq || !usable -> UNLOCK(driver_lock)
		:: else ->
			atomic { entry = true; entry_page = looked; assert(entry_page == page) };
			UNLOCK(driver_lock);
			break
		fi
	:: else -> break
	od;
	done++
}

init
{
	byte i = 0, n = NI + NR + 1;

	atomic {
		run store_buffers();
		run inserter();
#ifdef CLEAR
		occupied = true;
		run clearer(); n++;
#endif
		do :: i < NI -> run invalidator(i); i++ :: else -> break od;
		i = 0;
		do :: i < NR -> run reader(); i++ :: else -> break od
	}
	done == n;
	assert(nactive == 0);
	assert(!entry || entry_page == page)
}
