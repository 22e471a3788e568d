/* SPDX-License-Identifier: MIT */
/*
 * core.pml: the collision-retry protocol for one page and one notifier.
 *
 * NI invalidators each announce, call back, change the page (or fail), and end; NR readers each look the page up and program one
 * device entry. Checked in every interleaving: no valid entry names an old page once the callback has run (the assertions at the
 * change and at the end), no count goes below zero, no callback on freed memory, and nobody waits for ever (spin's own "invalid
 * end state").
 *
 * What takes part besides, by flag:
 *	LATE     the notifier is inserted while invalidations run        GROW     it is resized onto the page
 *	SHRINK   it is resized off the page and on again                 REMOVE   it is removed and its memory freed
 *	TSO      the store of seq and the unlock behind it pass through a store buffer of their own
 *
 * Mistakes, one flag each, every one of which must be caught:
 *	REVERSE     the reader loads active before seq              LOOKFIRST   it looks the page up before it loads active
 *	SEQFIRST    start stores seq before it counts               EMAILEND    an end sets active to 0 instead of one less
 *	NAIVEINSERT insert does not count what is active            NAIVERESIZE nor does resize
 *	NOSEQ       resize does not store a new seq                 GROWSEQFIRST it stores seq before it counts
 *	DROPAFTER   the driver drops its entry after the shrink     REMOVEFIRST removal before the driver has stopped
 *	NOBUSY      removal does not wait for a running callback    NOWAKE      nor wake those who wait in read_begin
 *	NOLOCKPASS  the callback looks whether there is anything to tear down without taking the driver lock (TSO)
 *	SATURATE    (with NAIVE...) the count stops at zero instead of the assertion: shows the stale page itself
 */
#ifndef NI
#define NI 2
#endif
#ifndef NR
#define NR 1
#endif
#ifndef TRIES
#define TRIES 3
#endif

#define LOCK(l) atomic { !l -> l = true }
#define UNLOCK(l) l = false
#define COVERED (inserted && covers)
#define NEW_SEQ atomic { seq = next_seq; next_seq++ }

byte page = 0;                         /* which page the process has; every change makes it another */
bool entry = false; byte entry_page;   /* the device's page-table entry, under driver_lock */
byte seq = 1, next_seq = 2, nactive = 0, busy = 0;
bool mm_lock = false, driver_lock = false;
bool linked[NI];                       /* the list of active invalidations */
#ifdef LATE
bool inserted = false;
#else
bool inserted = true;
#endif
#ifdef GROW
bool covers = false, usable = false;   /* usable: the driver's own idea of covers, under driver_lock */
#else
bool covers = true, usable = true;
#endif
bool dead = false, freed = false;
byte done = 0;

#ifdef TSO
/* What invalidator i has stored but nobody else sees: 2 seq and then the unlock, 1 the unlock, 0 nothing. */
byte buffered[NI], buffered_seq[NI];

proctype store_buffer(byte i)
{
end:	do
	:: atomic { buffered[i] == 2 -> seq = buffered_seq[i]; buffered[i] = 1 }
	:: atomic { buffered[i] == 1 -> mm_lock = false; buffered[i] = 0 }
	od
}
#endif

inline count_and_store_seq(i)
{
	linked[i] = true;
#if defined(SEQFIRST)
	if :: COVERED -> NEW_SEQ; nactive++ :: else -> skip fi;
	UNLOCK(mm_lock)
#elif defined(TSO)
	if
	:: COVERED -> nactive++; atomic { buffered_seq[i] = next_seq; next_seq++; buffered[i] = 2 }
	:: else -> UNLOCK(mm_lock)
	fi
#else
	if :: COVERED -> nactive++; NEW_SEQ :: else -> skip fi;
	UNLOCK(mm_lock)
#endif
}

/* Busy is taken under the lock, with a look whether the notifier is still there: removal waits for it. */
inline callback(i)
{
#ifdef NOLOCKPASS
	if :: !driver_lock && !entry -> goto changed :: else -> skip fi;
#endif
#ifdef TSO
	buffered[i] == 0;              /* locking drains one's own buffer */
#endif
	told = false;
	LOCK(mm_lock);
	if :: COVERED -> busy++; told = true :: else -> skip fi;
	UNLOCK(mm_lock);
	if
	:: told ->
		LOCK(driver_lock); assert(!freed); entry = false; UNLOCK(driver_lock);
#ifdef REMOVE
		LOCK(mm_lock); busy--; UNLOCK(mm_lock)
#else
		atomic { busy-- }
#endif
	:: else -> skip
	fi
}

proctype invalidator(byte i)
{
	bool told;

	LOCK(mm_lock);
	count_and_store_seq(i);
	callback(i);
changed:
	if
	:: atomic { page++; assert(!entry) }
	:: skip                        /* the call failed */
	fi;
#ifdef TSO
	buffered[i] == 0;
#endif
	LOCK(mm_lock);
	linked[i] = false;
#if defined(EMAILEND)
	if :: COVERED -> nactive = 0 :: else -> skip fi;
#elif defined(SATURATE)
	if :: COVERED && nactive > 0 -> nactive-- :: else -> skip fi;
#else
	if :: COVERED -> assert(nactive > 0); nactive-- :: else -> skip fi;
#endif
	UNLOCK(mm_lock);
	done++
}

proctype reader()
{
	byte s, a, looked, tries = 0;

#ifdef LATE
	inserted;
#endif
	do
	:: tries < TRIES ->
		tries++;
begin:
#if defined(REVERSE)
		a = nactive; s = seq;
#elif defined(LOOKFIRST)
		s = seq; looked = page; a = nactive;
#else
		s = seq; a = nactive;
#endif
		if
		:: a != 0 ->
#if defined(REMOVE) && !defined(NOWAKE)
			nactive == 0 || dead;
			if :: dead -> break :: else -> goto begin fi
#else
			nactive == 0; goto begin
#endif
		:: else -> skip
		fi;
#ifndef LOOKFIRST
		looked = page;
#endif
		LOCK(driver_lock);
		if
		:: s != seq || !usable || dead -> UNLOCK(driver_lock)
		:: else ->
			atomic { entry = true; entry_page = looked; assert(entry_page == page) };
			UNLOCK(driver_lock);
			break
		fi
	:: else -> break
	od;
	done++
}

inline count_linked()
{
	i = 0; n = 0;
	do
	:: i < NI -> if :: linked[i] -> n++ :: else -> skip fi; i++
	:: else -> break
	od
}

inline grow()
{
	LOCK(mm_lock);
	count_linked();
#if defined(NAIVERESIZE)
	skip;
#elif defined(GROWSEQFIRST)
	NEW_SEQ; nactive = nactive + n;
#elif defined(NOSEQ)
	nactive = nactive + n;
#else
	nactive = nactive + n; NEW_SEQ;
#endif
	covers = true;
	UNLOCK(mm_lock);
	LOCK(driver_lock); usable = true; UNLOCK(driver_lock)
}

proctype inserter()
{
	byte i, n;

	LOCK(mm_lock);
#ifndef NAIVEINSERT
	count_linked();
	nactive = nactive + n;
#endif
	NEW_SEQ;
	inserted = true;
	UNLOCK(mm_lock);
	done++
}

proctype grower()
{
	byte i, n;

	grow();
	done++
}

inline stop_using()
{
	LOCK(driver_lock); usable = false; entry = false; UNLOCK(driver_lock)
}

proctype shrinker()
{
	byte i, n;

#ifndef DROPAFTER
	stop_using();
#endif
	LOCK(mm_lock);
	count_linked();
	covers = false; NEW_SEQ; nactive = nactive - n;
	UNLOCK(mm_lock);
#ifdef DROPAFTER
	stop_using();
#endif
	grow();
	done++
}

proctype remover()
{
#ifndef REMOVEFIRST
	stop_using();
#endif
	LOCK(mm_lock);
	inserted = false;
	dead = true;
	UNLOCK(mm_lock);
#ifndef NOBUSY
	busy == 0;
#endif
	stop_using();
	freed = true;
	done++
}

init
{
	byte i = 0, n = NI + NR;

	atomic {
		do
		:: i < NI ->
			run invalidator(i);
#ifdef TSO
			run store_buffer(i);
#endif
			i++
		:: else -> break
		od;
		i = 0;
		do :: i < NR -> run reader(); i++ :: else -> break od;
#ifdef LATE
		run inserter(); n++;
#endif
#ifdef GROW
		run grower(); n++;
#endif
#ifdef SHRINK
		run shrinker(); n++;
#endif
#ifdef REMOVE
		run remover(); n++;
#endif
	}
	done == n;
#ifndef REMOVE
	assert(nactive == 0);
#endif
	assert(!entry || entry_page == page)
}
