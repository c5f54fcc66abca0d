/* The watcher room: tells the program of a restore that nobody drew or checked for. Two native threads, both asleep until
   something changes, neither with a Python state while it sleeps:

   watcher  sleeps in ppoll(2) on the source. Its descriptors live in a table of its own (CLOSE_RANGE_UNSHARE), so the
            program never sees one, and a program that closes or reuses every number closes or reads nobody else's.
   runner   lives in the program's table, for a thread's table is that of the thread that made it; runs the event.

   What it holds besides is the connection of contact.h. While the program stands still for a snapshot (`every_ms` of a plan) it
   holds nothing, and looks at the plan's paths again and again.

   All signals are blocked in both, and SIGURG (ignored by default, so it is harmless if it goes astray) is sent to the
   watcher alone to stop it. Nothing here needs the GIL; only what the runner calls takes it. */
#ifndef SNAPSAFE_WATCHER_H
#define SNAPSAFE_WATCHER_H

#include <stdbool.h>
#include <stdint.h>

#include "contact.h"
#include "paths.h"

/* What the watcher sleeps in, from best to worst. */
enum ss_watch_how {
    SS_WATCH_OFF = 0,
    SS_WATCH_POLL,    /* poll(2) on the device: its driver tells */
    SS_WATCH_INOTIFY, /* inotify(7) on the file */
    SS_WATCH_TIMER,   /* neither can be had: a look every SS_WATCH_TICK_MS */
    SS_WATCH_STARTING
};

extern uint32_t ss_watcher_how; /* atomic; enum ss_watch_how; the status page has its address */

#define SS_WATCH_TICK_MS 1000
#define SS_WATCH_ITEMS 12

/* Takes over `items` (and the strings) as the plan, and `link`; starts, stops or restarts the threads as `wanted` says.
   `every_ms`: hold no descriptor and look that often; 0: sleep in whatever can be had. `run` is called by the runner,
   without locks and without the GIL. A connection stands if the new plan wants the same one; else it is ended after all
   else is closed, with `farewell` if that is not NULL. Returns 0, or the errno that kept the threads from starting. Any thread but the watcher; with or without
   the GIL; waits a second for an answer to the farewell. */
int ss_watcher_plan(ss_watch_item *items, int count, bool wanted, void (*run)(unsigned why), int every_ms,
                    const ss_contact_plan *link, const unsigned char *farewell, size_t farewell_size);

/* Around whatever must find this process without further threads (fork, unshare). They nest; an event that runs goes on,
   and with it, while it is about a snapshot, the connection.
   resume() in a forked child starts the threads there. Any thread, with or without the GIL. */
void ss_watcher_pause(void);
void ss_watcher_resume(void);

/* Wakes the runner if there is one; each advance of the epoch does. Any thread that holds none of the locks of this file. */
void ss_watcher_poke(void);

/* The epoch whose event was run (or begun afresh) last. */
void ss_watcher_delivered(uint64_t epoch);

/* Told when a callback of the program begins and when it has ended. With the GIL; also in a child that it forked. */
void ss_watcher_calling(bool begins);

/* Waits until no runner runs an event, `milliseconds` at most; `own`: or the runner is at a callback of the program, or is
   who calls. False if it is not so yet. Without the GIL, which a runner needs, unless `milliseconds` is 0. */
bool ss_watcher_quiet(bool own, int milliseconds);

typedef struct {
    bool running;
    enum ss_watch_how how;
    int error;        /* errno for which it is no better than a timer, or does not run; else 0 */
    uint64_t wakeups; /* of the watcher, since the process began */
} ss_watcher_info;
void ss_watcher_inspect(ss_watcher_info *ret_info);

/* Registers the fork handlers, after ss_epoch_setup()'s and once for the process. Returns 0 or an errno. With the GIL. */
int ss_watcher_setup(void);

#endif
