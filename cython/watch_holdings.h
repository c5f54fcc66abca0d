/* What one watcher thread holds while it sleeps, in a descriptor table of its own: an inotify, the device, the connection. All of
   it runs in that thread. Nothing here needs the GIL. What a function finds it returns as SS_WOKE_ bits of watch_items.h. */
#ifndef SNAPSAFE_WATCH_HOLDINGS_H
#define SNAPSAFE_WATCH_HOLDINGS_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "isolate.h"
#include "watch_items.h"

#define SS_WATCH_TICK_MS 1000
#define SS_WATCH_ITEMS 12
#define SS_WATCH_STOP_SIGNAL SIGURG /* ends a sleep; ignored by default, so it does no harm elsewhere */

/* What the watcher sleeps in. */
enum ss_watch_how {
    SS_WATCH_OFF = 0,
    SS_WATCH_POLL,    /* poll(2) on the device, whose driver tells of a change */
    SS_WATCH_INOTIFY, /* inotify(7) on the file */
    SS_WATCH_TIMER,   /* neither can be had: it looks every SS_WATCH_TICK_MS */
    SS_WATCH_STARTING
};

extern uint32_t ss_watcher_how; /* atomic; enum ss_watch_how; the status page has its address */

/* Any thread: notes how the watcher sleeps now; the same for one that holds nothing and looks at the plan's paths alone; tells it,
   with the errno that made it a timer, else 0, and how often a watcher woke since the process began. */
void ss_watch_set_how(enum ss_watch_how now);
void ss_watch_look_only(void);
enum ss_watch_how ss_watch_get_how(int *ret_error, uint64_t *ret_wakeups);

typedef struct {
    ss_watch_item items[SS_WATCH_ITEMS];
    int count;
} ss_watch_plan;

typedef struct {
    ss_watch_plan *plan;        /* what it holds is of this */
    ss_private_table table;
    int signals, inotify, link; /* numbers of `table`; -1: none */
    bool tick;
    bool spare;                 /* no inotify and no device yet */
} ss_watch_holdings;

/* Opens what the plan names, as far as it can. Leaves a connection as it is. */
unsigned ss_watch_holdings_open(ss_watch_holdings *h);

/* All but the connection. */
void ss_watch_holdings_close(ss_watch_holdings *h);

/* Sleeps until something may have changed. */
unsigned ss_watch_holdings_wait(ss_watch_holdings *h);

/* Sleeps for so long, or until it is woken, and looks at the plan's paths; needs no descriptor. */
unsigned ss_watch_plan_wait(ss_watch_plan *plan, int milliseconds);

#endif
