/* The items that the watcher watches: does a path lead to another file by now, and what wakes the watcher when it does. All of
   it runs in the watcher's thread, and descriptors are numbers of that thread's table. Nothing here needs the GIL. */
#ifndef SNAPSAFE_WATCH_ITEMS_H
#define SNAPSAFE_WATCH_ITEMS_H

#include <stdbool.h>
#include <stdint.h>

/* Why the runner calls. */
#define SS_WOKE_EPOCH 1u  /* the epoch is another than the delivered one */
#define SS_WOKE_PATHS 2u /* a path of the plan leads somewhere else: a source came, went or was replaced */
#define SS_WOKE_HEARD 4u /* the announcer of snapshots said something, came or went; also once in SS_WATCH_TICK_MS by a plan
                            that looks every few milliseconds */

/* One thing to look at. With a name: that entry of the folder `path`. Without: the file or device `path` itself. */
typedef struct {
    char *path, *name;     /* malloc'ed; owned by the plan */
    uint32_t mask;         /* inotify's; 0 for a device */
    bool device, sysgenid; /* poll it; how to arm it again */
    bool announcer;        /* it is the announcer's: SS_WOKE_HEARD instead of SS_WOKE_PATHS */
    uint64_t dev, ino;     /* where it led when it was last looked at; 0 and 0: nowhere. With IN_CLOSE_WRITE: see look_up() */
    int descriptor;        /* the watch of the inotify, or the open device; -1 if none */
} ss_watch_item;

/* Notes where each leads now. Returns SS_WOKE_ bits for those that led elsewhere before. */
unsigned ss_watch_items_compare(ss_watch_item *items, int count);

/* Reads the inotify empty. Returns SS_WOKE_ bits: whether an entry came, went or was replaced. */
unsigned ss_watch_items_read(int inotify, ss_watch_item *items, int count);

/* Opens and arms a device. Returns its descriptor, or -1 with errno set: ENOTSUP where its driver tells nobody. */
int ss_watch_item_open(const ss_watch_item *item);

/* Arms a device again, after its driver told of a change; closes it where that fails. */
void ss_watch_item_arm(ss_watch_item *item);

/* Frees the strings of a plan and puts the items in its place; theirs are its own then. Returns how many there are. */
int ss_watch_items_adopt(ss_watch_item *plan, int plan_count, const ss_watch_item *items, int count);

#endif
