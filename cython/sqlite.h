/* The sqlite room: resets SQLite's own generator (randomblob(), random(), temporary names, journal nonces) after a restore.

   sqlite3_randomness(0, NULL) makes it seed itself anew at its next use, by the default VFS's xRandomness. That asks the
   kernel past our fence, so xRandomness is exchanged for fenced entropy. A draw itself cannot be hooked: the reset is made
   before statements run (sqlite.pxi), and for whoever else uses the library as soon as any guard notices a restore. Nothing
   here touches a Python object or needs the GIL; no lock of ours is held while SQLite runs. */
#ifndef SNAPSAFE_SQLITE_H
#define SNAPSAFE_SQLITE_H

#include "epoch.h"
#include "libraries.h"

#include <limits.h>

#define SS_SQLITE_MAX 8

/* snapsafe_rt/guards/sqlite3.py holds the sentence for each. */
enum ss_sqlite_state {
    SS_SQLITE_NONE = 0,
    SS_SQLITE_SEEN,       /* loaded; not in use as far as is known */
    SS_SQLITE_READY,      /* in use, and reset with each epoch */
    SS_SQLITE_SYMBOLS,    /* lacks a function that is needed */
    SS_SQLITE_FULL,       /* more than SS_SQLITE_MAX are loaded */
    SS_SQLITE_RELEASED,   /* deactivated */
    SS_SQLITE_HELD        /* forked while a thread that this process lacks had the generator: whoever draws waits for ever */
};

/* Notes each loaded SQLite: whatever defines sqlite3_randomness. Initialises none: a program may still want to configure it.
   Returns as ss_openssl_scan(). Any thread. */
bool ss_sqlite_scan(void);

/* Which of those that were only seen are in use by now? For who looks from outside. Any thread. */
void ss_sqlite_look(void);

/* Notes the SQLite that the shared object at `path` uses or contains, as one that is in use. NULL: the program itself. False
   where its functions cannot be reached. Any thread. */
bool ss_sqlite_consider(const char *path);

/* Has the VFS at this address, of a copy whose functions cannot be found, take its seeds from us; tells the word by which that
   is seen, and what it holds. False for another VFS than SQLite's own for Unix. Idempotent. Any thread. */
bool ss_sqlite_fence_given(uint64_t address, uint64_t *ret_at, uint64_t *ret_held);

/* Puts each xRandomness back and lets go of the libraries. */
void ss_sqlite_release(void);

/* The epoch that every library in use was reset for. */
extern uint64_t ss_sqlite_epoch;

/* Atomic; how often a generator took its seed from us. */
extern uint64_t ss_sqlite_seeds;

/* Resets every library in use that was not reset for `epoch`. Without the GIL: it waits for a mutex of SQLite's, and the thread
   that holds it may be in a VFS written in Python. */
void ss_sqlite_settle(uint64_t epoch);

/* Has the next statement reset every library in use. */
void ss_sqlite_forget(void);

static inline bool ss_sqlite_settled(uint64_t epoch)
{
    return SS_LIKELY(__atomic_load_n(&ss_sqlite_epoch, __ATOMIC_ACQUIRE) == epoch);
}

typedef struct {
    char path[PATH_MAX];
    const char *version;   /* sqlite3_libversion() */
    enum ss_sqlite_state state;
    bool fenced;           /* its seed comes from us, not from a VFS of the program's own */
    uint64_t resets, delays;
} ss_sqlite_info;

ss_library_table ss_sqlite_table(void);

/* Looks at slot `index`, 0 to SS_SQLITE_MAX; the last stands for libraries that found no place. False where it is empty. */
bool ss_sqlite_inspect(int index, ss_sqlite_info *ret_info);

#endif
