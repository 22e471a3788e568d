/* SPDX-License-Identifier: MIT */
/*
 * wake.pml: sleeping on `active`, as it is done with a futex. The count has a bit for "somebody sleeps", so that an end without
 * sleepers makes no system call. A sleeper sets the bit, and sleeps while the word is what it saw last and its predicate false.
 *
 * Mistakes: ZEROONLY  the predicate is "the count is zero" alone. Woken by one end, the sleeper meets the next start: not zero, so it
 *                     sleeps again, without the bit, and the next end wakes nobody.
 *           NOBIT     it sleeps without having set the bit
 *           NOWORD    the sleep does not compare the word again (a futex does)
 */
#ifndef NI
#define NI 2
#endif
#ifndef NR
#define NR 2
#endif

byte count = 0, woken = 0, done = 0;   /* woken: how many wakes there were */
bool waiter = false, mm_lock = false;

#define LOCK(l) atomic { !l -> l = true }
#define UNLOCK(l) l = false

proctype invalidator()
{
	bool wake;

	LOCK(mm_lock); count++; UNLOCK(mm_lock);
	LOCK(mm_lock);
	atomic { count--; wake = (count == 0 && waiter) };
	if :: wake -> waiter = false; woken++ :: else -> skip fi;
	UNLOCK(mm_lock);
	done++
}

proctype reader()
{
	byte seen_count, seen_woken;
	bool seen_waiter;

begin:	LOCK(mm_lock);
	if :: count == 0 -> UNLOCK(mm_lock); goto finished :: else -> skip fi;
	UNLOCK(mm_lock);
#ifndef NOBIT
	waiter = true;
#endif
again:	atomic { seen_count = count; seen_waiter = waiter };
#if defined(ZEROONLY) || defined(NOBIT)
	if :: seen_count == 0 -> goto begin :: else -> skip fi;
#else
	if :: seen_count == 0 || !seen_waiter -> goto begin :: else -> skip fi;
#endif
	/* The futex: compares the word and goes to sleep in one step. */
#ifdef NOWORD
	seen_woken = woken;
#else
	atomic {
		seen_woken = woken;
		if :: count != seen_count || waiter != seen_waiter -> goto again :: else -> skip fi
	};
#endif
	woken != seen_woken;
	goto again;
finished:
	done++
}

init
{
	byte i = 0;

	atomic {
		do :: i < NI -> run invalidator(); i++ :: else -> break od;
		i = 0;
		do :: i < NR -> run reader(); i++ :: else -> break od
	}
	done == NI + NR
}
