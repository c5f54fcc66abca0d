/* The status page: what a process lets `snapsafe status --pid` see of it, without running anything for it.

   One private mapping of a memfd, named so that /proc/PID/maps shows "/memfd:snapsafe (deleted)"; the descriptor is closed
   at once. A reader finds it there and reads it through /proc/PID/mem, as it may read any memory of a process that it may
   trace. The mapping is private: a forked child goes on with a copy of its own.

   Layout, version 3, little-endian as every supported machine is; snapsafe_rt/report/remote.py reads it:
     0x00  8 bytes  "SNAPSAFE"
     0x08  u32      version
     0x0c  u32      length of the mapping
     0x10  u32      sequence count of the text: odd while it is written
     0x14  u32      length of the text
     0x18  u64      id of the process (in its own namespace) whose record this is
     0x20  u64      address in this process of ss_random_seeds
     0x28  u64[6]   addresses in this process: ss_hot, ss_cold (epoch_state.h), ss_fence_flag and ss_fence (entropy.h), the
                    count of kept instances met, the table of sources (source.h)
     0x58  u32[2]   bytes of an entry of that table, entries
     0x60  2 x 32   ss_library_table (libraries.h) of the libcryptos, and of the SQLites
     0xa0  u64[3]   addresses in this process: enum ss_watch_how (watcher.h), enum ss_connection_state (connection.h), how many
                    callbacks are registered for the time after a restore; a u32 each
     0xb8  u64      address in this process of ss_looked
     0x100          the text, UTF-8: lines of fields that tabs part (cython/start.pxi)
   The addresses lead to the very words that the guards compare, so these cannot be out of date; the text can be. */
#ifndef SNAPSAFE_STATUS_PAGE_H
#define SNAPSAFE_STATUS_PAGE_H

#include <stddef.h>
#include <stdint.h>

#define SS_STATUS_PAGE_VERSION 3
#define SS_STATUS_PAGE_LENGTH 32768
#define SS_STATUS_PAGE_TEXT 0x100
#define SS_STATUS_PAGE_CAPACITY (SS_STATUS_PAGE_LENGTH - SS_STATUS_PAGE_TEXT)

/* How old it is what only Python could tell of the guards: when it was looked at, and after how many imports. Atomic words;
   `imports` counts in any thread; the others are written by who has looked. */
typedef struct {
    uint64_t imports, seen_imports, seen_epoch;
    int64_t seen_ns; /* CLOCK_REALTIME */
    uint32_t each;   /* Python wants to look after each import */
} ss_looked_words;
extern ss_looked_words ss_looked;

/* What the program seeded itself: is the generator behind the functions of the module `random` kept (0, 1), and how many
   generators have a state that this process had not seen before? Atomic. */
typedef struct {
    uint64_t global_kept, foreign;
} ss_random_seeds;

/* Replaces the text; makes the record at the first call, with the addresses of words of the caller's: the count of kept
   instances met, the count of callbacks, and what the program seeded. The caller serialises (start.pxi). Returns 0 or an errno: EMSGSIZE beyond
   SS_STATUS_PAGE_CAPACITY, else why there is no mapping or no fork handler. */
int ss_status_page_store(const void *text, size_t size, const uint64_t *kept, const uint32_t *callbacks,
                         const ss_random_seeds *seeds);

#endif
