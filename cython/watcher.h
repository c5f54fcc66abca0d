/* The watcher room: tells the program of a restore that nobody drew or checked for. Two native threads sleep until something
   changes; neither has a Python thread state while it sleeps.

   watcher  sleeps in poll(2) on the source and on the connection of connection.h, in a descriptor table of its own.
   runner   calls Python, in the program's table.

   Why two: a program that becomes a daemon closes every descriptor number, and may use one again. So the watcher leaves the
   program's table (isolate.h): the two can neither close nor read each other's files. No thread can come back from there; but
   what a callback opens must be the program's. So callbacks run on a thread that never left. And the watcher can be ended, for
   a fork or a snapshot, while a callback goes on.

   While the program stands still for a snapshot (`every_ms` of a plan) the watcher holds no descriptor, and looks at the plan's
   paths every few milliseconds.

   Both threads block all signals while they sleep. SIGURG, sent to the watcher alone, wakes it; it is ignored by default, so it
   does no harm elsewhere. Nothing here needs the GIL; only what the runner calls takes it. Who holds a lock of this file never
   waits for it, nor for a stop of all threads: so a thread that is attached may wait for such a lock. */
#ifndef SNAPSAFE_WATCHER_H
#define SNAPSAFE_WATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "connection.h"
#include "lost.h"
#include "watch_holdings.h"

/* Takes over `items` (and their strings) as the plan, and `link`; starts, stops or restarts the threads as `wanted` says.
   `every_ms`: hold no descriptor and look that often; 0: sleep in what can be had. The runner calls `run` without locks and
   without the GIL; where that returns false it calls it again after a tick. A connection stays if the new plan wants the same one. Else it is closed after all other descriptors, and
   `farewell`, if that is not NULL, is sent first: that waits a second for an answer. Returns 0, or the errno that kept the
   threads from starting. Any thread but the watcher, with or without the GIL. */
int ss_watcher_plan(ss_watch_item *items, int count, bool wanted, bool (*run)(unsigned why), int every_ms,
                    const ss_connection_plan *link, const unsigned char *farewell, size_t farewell_size);

/* Around what must find this process without our threads (fork, unshare). They nest. A runner at an event goes on; so does the
   watcher while that event is about a snapshot, for it holds the connection. In a forked child, resume() starts the threads
   there. Any thread, with or without the GIL. */
void ss_watcher_pause(void);
void ss_watcher_resume(void);

/* Wakes the runner if there is one; each advance of the epoch does. Any thread that holds none of the locks of this file. */
void ss_watcher_poke(void);

/* Notes the epoch whose event was run last: the runner is woken for others only. Any thread. */
void ss_watcher_delivered(uint64_t epoch);

/* Notes that a callback of the program begins, or has ended; also in a child that it forked. The runner has main's signal mask
   meanwhile. Any thread. False, and nothing is noted: this is a runner, and a fork waits. */
bool ss_watcher_calling(bool begins);

/* Is the caller a runner, and does another thread wait for it to be out of Python, because it forks? Then the runner calls
   stand_by() without the GIL, which returns when that thread has forked. */
bool ss_watcher_fork_waits(void);
void ss_watcher_stand_by(void);

enum ss_watcher_work {
    SS_WORK_EVENT,  /* runners at an event */
    SS_WORK_PYTHON, /* those, but for one that stands by, or is the caller */
    SS_WORK_OWN     /* of those, what is not a callback: short, it waits for nothing but the GIL */
};

/* Waits until there is none of this, for `milliseconds` at most. False if the time was too short. Without the GIL, which a runner
   needs; with it only where `milliseconds` is 0. */
bool ss_watcher_quiet(enum ss_watcher_work work, int milliseconds);

typedef struct {
    bool running;
    enum ss_watch_how how;
    int error;        /* the errno that made it a timer, or kept it from starting; else 0 */
    uint64_t wakeups; /* of the watcher, since the process began */
} ss_watcher_info;
void ss_watcher_inspect(ss_watcher_info *ret_info);

/* Registers the fork handlers and the observer of the epoch, once for the process and after ss_epoch_setup(). `let_runner_in` is
   called before a fork, by the thread that forks, while a runner is at work in Python. This comes after the other rooms, so that
   their locks, which the runner may want, are taken by the fork later. Returns 0 or an errno. Any thread. */
int ss_watcher_setup(void (*let_runner_in)(void));

/* The interpreter was finalised: threads of its time that it ended at the GIL are at work no more. Any thread. */
void ss_watcher_forget(void);

#endif
