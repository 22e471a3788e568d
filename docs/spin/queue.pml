/* SPDX-License-Identifier: MIT */
/*
 * queue.pml: an invalidation from a signal handler that interrupted the holder of the driver lock (G12). The callback cannot run
 * there, so the handler queues the range, raises the floor under which every seq is stale, and changes the page; a service
 * thread replays the invalidation when it gets the lock. Until then the device may use the old page, but nobody begins: what
 * read_begin let through finds, under the driver lock, either no entry or a current one.
 *
 * Mistakes: FLOORFIRST  the floor is raised before the range is queued    NOFLOOR  it is not raised
 *           UNQUEUEFIRST the range is taken off the queue before its callback has run
 *           NOQUEUED    read_begin does not look at the queue
 *           SELFWAIT    read_begin in the handler waits for the queue like any other
 */
#ifndef NR
#define NR 2
#endif
#ifndef TRIES
#define TRIES 2
#endif

#define LOCK(l) atomic { !l -> l = true }
#define UNLOCK(l) l = false
#define NEWER(a, b) ((a > b) -> a : b)
#define QUIET (nactive == 0 && queued == 0)

byte page = 0, entry_page = 0, seq = 1, next_seq = 2, floor = 0, nactive = 0, queued = 0, done = 0;
bool entry = true, mm_lock = false, driver_lock = false, ended = false;

inline raise_floor()
{
	atomic { floor = next_seq; next_seq++ }
}

/* On top of the holder: nothing of the holder goes on until it is through. */
inline handler()
{
#if defined(NOFLOOR)
	queued++;
#elif defined(FLOORFIRST)
	raise_floor(); queued++;
#else
	queued++; raise_floor();
#endif
#ifdef SELFWAIT
	QUIET;
#endif
	page++;
	ended = true
}

proctype holder()
{
	byte s;

begin:	s = NEWER(seq, floor);
	if :: !QUIET -> goto begin :: else -> skip fi;
	LOCK(driver_lock);
	handler();
	if
	:: s != NEWER(seq, floor) -> skip
	:: else -> entry = true; entry_page = 0; assert(entry_page == page) /* what it looked up is old */
	fi;
	UNLOCK(driver_lock);
	done++
}

proctype service()
{
	ended;
#ifdef UNQUEUEFIRST
	queued--;
#endif
	LOCK(mm_lock); nactive++; atomic { seq = next_seq; next_seq++ }; UNLOCK(mm_lock);
	LOCK(driver_lock); entry = false; UNLOCK(driver_lock);
	LOCK(mm_lock); nactive--; UNLOCK(mm_lock);
#ifndef UNQUEUEFIRST
	queued--;
#endif
	done++
}

proctype reader()
{
	byte s, f, looked, tries = 0;

	do
	:: tries < TRIES ->
		tries++;
begin:		s = seq; f = floor;
		s = NEWER(s, f);
#ifdef NOQUEUED
		if :: nactive != 0 -> nactive == 0; goto begin :: else -> skip fi;
#else
		if :: nactive != 0 -> nactive == 0; goto begin :: else -> skip fi;
		if :: queued != 0 -> queued == 0; goto begin :: else -> skip fi;
#endif
		looked = page;
		LOCK(driver_lock);
		if
		:: s != NEWER(seq, floor) -> UNLOCK(driver_lock)
		:: else ->
			assert(!entry || entry_page == page);
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
	byte i = 0;

	atomic {
		run holder(); run service();
		do :: i < NR -> run reader(); i++ :: else -> break od
	}
	done == NR + 2;
	assert(!entry || entry_page == page)
}
