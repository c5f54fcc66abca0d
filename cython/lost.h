/* The part of the watcher room that knows whose threads these are: a child that was forked past os.fork lacks those of its parent.
   Nothing here needs the GIL or takes a lock. */
#ifndef SNAPSAFE_LOST_H
#define SNAPSAFE_LOST_H

#include <stdbool.h>

/* The watcher notes: are threads wanted; were they started in this process, or stopped; a fork handler ran in a child; they
   were started again there, as far as they may be. */
void ss_lost_wanted(bool wanted);
void ss_lost_started(bool started);
void ss_lost_forked(void);
void ss_lost_resumed(void);

/* `pause` is called at the end of the thread in which this process was forked. A process lives until its last thread ends, and a
   child that was forked in another thread than main ends with that one: ours must not keep it alive. Returns 0 or an errno. */
int ss_lost_setup(void (*pause)(void));

/* Were they started by a parent of this process, and no fork handler ran since (clone(2))? */
bool ss_lost_elsewhere(void);

/* Is this a child that has not the threads that it wants? Then it wants ss_watcher_resume(), from Python code. Any thread. */
bool ss_watcher_lost(void);

/* Has `told` called where that is noticed within a draw: with or without the GIL, and whatever locks its caller holds, but none
   of ours. */
void ss_watcher_tell_lost(void (*told)(void));

/* Calls it, if this is such a child; returns whether it is. */
bool ss_lost_told(void);

#endif
