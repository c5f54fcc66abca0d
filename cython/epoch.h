/* The epoch room: the process's own count of restores, and the two checks every guard makes.

   draw(state):  e = ss_epoch_begin();  if (state.tag != e) reseed;
                 value = original();    if (ss_epoch_unchanged(e)) return value;  else once more

   The check after the draw compares a captured epoch: comparing with the shared remembered word alone lets a stale
   value pass while another thread moves that word. Everything here is process-wide (the guards are shared by all
   interpreters), needs no GIL and touches no Python object. */
#ifndef SNAPSAFE_EPOCH_H
#define SNAPSAFE_EPOCH_H

#include <stdbool.h>
#include <stdint.h>

#include "epoch_state.h"

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "snapsafe_rt's native core supports Linux on x86-64 and arm64"
#endif

/* How often a draw is repeated because the generation moved during it. Only a source that is rewritten without pause makes a
   draw reach this; then the value of the last try, freshly reseeded, is given out. */
#define SS_DRAW_TRIES 1024

/* The slow path of ss_epoch_begin: advances the epoch if the source really changed. Takes the native mutex. */
void ss_epoch_catch_up(void);

/* Looks at the source and returns the epoch under which a draw may begin. */
static inline uint64_t ss_epoch_begin(void)
{
    if (SS_UNLIKELY(!ss_watched_unchanged()))
        ss_epoch_catch_up();
    return __atomic_load_n(&ss_hot.epoch, __ATOMIC_ACQUIRE);
}

/* True while nothing was restored since ss_epoch_begin() returned `epoch`. */
static inline bool ss_epoch_unchanged(uint64_t epoch)
{
    return SS_LIKELY(ss_watched_unchanged() && __atomic_load_n(&ss_hot.epoch, __ATOMIC_ACQUIRE) == epoch);
}

typedef struct {
    uint64_t epoch;
    uint64_t generation;      /* the watched word, 0 without a source */
    uint64_t restores;        /* epochs advanced since the process began */
    int cause;                /* enum ss_cause of the last one */
    uint64_t last_certain;    /* the last epoch with another cause than a disruption marker */
    int64_t last_ns;          /* CLOCK_REALTIME of its detection, 0 if none */
    int source;               /* slot of the watched source, -1 if none */
    bool synchronous;
} ss_epoch_info;

/* Each takes the native mutex, in any thread, with or without the GIL. */
void ss_epoch_inspect(ss_epoch_info *ret_info);
uint64_t ss_epoch_advance(enum ss_cause cause);  /* returns the new epoch */

/* Who is told of each advance, in this order: what is to be renewed is, before anybody who waits for a restore is woken. One
   observer each. SS_OBSERVER_FORKED is told by the first draw of a forked child instead. */
enum ss_epoch_observer { SS_OBSERVER_RENEWS = 0, SS_OBSERVER_WAKES, SS_OBSERVER_FORKED, SS_EPOCH_OBSERVERS };

/* Has `told` called after each advance by the thread that made it, wherever that is: with or without the GIL, with whatever
   locks its caller holds, but none of the epoch's. Any thread; takes no lock. */
void ss_epoch_observe(enum ss_epoch_observer place, void (*told)(uint64_t epoch));

/* Watches slot `index` (-1: nothing). `certain`: the caller knows that there was no restore since the previous source was last
   looked at. If it does not know, the epoch advances. */
void ss_epoch_watch(int index, bool certain);

/* Watches slot `index`, a device that was let go of when it showed `value` and is mapped again. If it shows another value now,
   that is a restore; but not if the file that was watched meanwhile, slot `file` (-1: none), says that it was written for
   this very restore, which was counted then. */
void ss_epoch_watch_since(int index, uint64_t value, int file);

/* Names the slot of the file in which a manager attests, while a device is watched, that the kernel was reseeded: -1 if there
   is none. Takes the native mutex. */
void ss_epoch_set_attestor(int index);

/* Prepares the process room and registers the fork handlers: once for the process, however many interpreters import the core.
   Returns 0 or an errno. Any thread. */
int ss_epoch_setup(void);

#endif
