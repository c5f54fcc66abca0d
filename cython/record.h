/* The record room: what a process lets `snapsafe status --pid` see of it, without running anything for it.

   One private mapping of a memfd, named so that /proc/PID/maps shows "/memfd:snapsafe (deleted)"; the descriptor is closed
   at once. A reader finds it there and reads it through /proc/PID/mem, as it may read any memory of a process that it may
   trace. The mapping is private: a forked child goes on with a copy of its own.

   Layout, version 1, little-endian as every supported machine is; snapsafe_rt/report/remote.py reads it:
     0x00  8 bytes  "SNAPSAFE"
     0x08  u32      version
     0x0c  u32      length of the mapping
     0x10  u32      sequence count of the text: odd while it is written
     0x14  u32      length of the text
     0x18  u64      id of the process (in its own namespace) whose record this is
     0x20  u32      enum ss_watch_how (watcher.h)
     0x24  u32      callbacks registered for the time after a restore
     0x28  u64[6]   addresses in this process: ss_hot, ss_cold (epoch.h), ss_fence_flag and ss_fence (entropy.h), the count
                    of kept instances met, the table of sources (source.h)
     0x58  u32[2]   bytes of an entry of that table, entries
     0x60  2 x 32   ss_library_table (libraries.h) of the libcryptos, and of the SQLites
     0xa0  u32      enum ss_contact_state (contact.h)
     0x100          the text, UTF-8: lines of fields that tabs part (snapsafe_rt/report/page.py)
   The addresses lead to the very words that the guards compare, so these cannot be out of date; the text can be. */
#ifndef SNAPSAFE_RECORD_H
#define SNAPSAFE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#define SS_RECORD_VERSION 1
#define SS_RECORD_LENGTH 32768
#define SS_RECORD_TEXT 0x100
#define SS_RECORD_ROOM (SS_RECORD_LENGTH - SS_RECORD_TEXT)

/* Replaces the text; makes the record at the first call, with `kept` as the counter's address. The caller serialises
   (it holds the GIL). Returns 0 or an errno: EMSGSIZE beyond SS_RECORD_ROOM, else why there is no mapping. */
int ss_record_store(const void *text, size_t size, const uint64_t *kept);

/* Tell how a watcher runs, how it stands with who announces snapshots, and how many callbacks there are. Any thread, no
   lock; before the first store they do nothing. A forked child begins without a watcher and without a connection. */
void ss_record_set_watcher(uint32_t how);
void ss_record_set_contact(uint32_t state);
void ss_record_set_callbacks(uint32_t count);

/* From the fork handlers of epoch.c. */
void ss_record_after_fork_in_child(void);

#endif
