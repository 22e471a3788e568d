/* SPDX-License-Identifier: MIT */
/*
 * cache.pml: a registration cache as subscriber (G11). start suspends the entry; end drops it if something changed and else leaves it
 * suspended; a look-up revives a suspended entry as it would program a device.
 *
 * Allowed, though the library does not do it: EAGERONE, an end that revives if it is the only invalidation left, under the
 * driver lock and before its own count goes.
 *
 * Mistakes: ENDAFTER   active goes down before ops->end has run
 *           EAGER      end revives although another covering invalidation may have changed the page already
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

mtype = { NONE, VALID, SUSPENDED };

byte page = 0, registered = 0;         /* the process's page, and the one that the registration holds */
mtype state = VALID;                   /* under driver_lock */
byte seq = 1, next_seq = 2, nactive = 0, done = 0;
bool mm_lock = false, driver_lock = false;

inline tell_end()
{
	LOCK(driver_lock);
	if
	:: changed -> state = NONE
	:: else ->
#if defined(EAGER)
		if :: state == SUSPENDED -> atomic { state = VALID; assert(registered == page) } :: else -> skip fi
#elif defined(EAGERONE)
		if
		:: state == SUSPENDED && nactive == 1 -> atomic { state = VALID; assert(registered == page) }
		:: else -> skip
		fi
#else
		skip
#endif
	fi;
	UNLOCK(driver_lock)
}

inline uncount()
{
	LOCK(mm_lock); nactive--; UNLOCK(mm_lock)
}

proctype invalidator()
{
	bool changed = false;

	LOCK(mm_lock); nactive++; atomic { seq = next_seq; next_seq++ }; UNLOCK(mm_lock);
	LOCK(driver_lock); if :: state == VALID -> state = SUSPENDED :: else -> skip fi; UNLOCK(driver_lock);
	if
	:: atomic { page++; changed = true; assert(state != VALID) }
	:: skip
	fi;
#ifdef ENDAFTER
	uncount(); tell_end();
#else
	tell_end(); uncount();
#endif
	done++
}

proctype reader()
{
	byte s, a, looked, tries = 0;

	do
	:: tries < TRIES ->
		tries++;
		LOCK(driver_lock);         /* a hit needs no retry: valid entries are current */
		if
		:: state == VALID -> assert(registered == page); UNLOCK(driver_lock); break
		:: else -> UNLOCK(driver_lock)
		fi;
begin:		s = seq; a = nactive;
		if :: a != 0 -> nactive == 0; goto begin :: else -> skip fi;
		looked = page;
		LOCK(driver_lock);
		if
		:: s != seq -> UNLOCK(driver_lock)
		:: else ->
			if
			:: state == SUSPENDED -> atomic { state = VALID; assert(registered == page) }
			:: state == NONE -> atomic { state = VALID; registered = looked; assert(registered == page) }
			:: state == VALID -> assert(registered == page)
			fi;
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
		do :: i < NI -> run invalidator(); i++ :: else -> break od;
		i = 0;
		do :: i < NR -> run reader(); i++ :: else -> break od
	}
	done == NI + NR;
	assert(nactive == 0);
	assert(state != VALID || registered == page)
}
