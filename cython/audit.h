/* The audit room: what a program does before a snapshot that is the same in every clone, by place. Only SNAPSAFE_AUDIT
   begins it; until then nothing of it runs.

   Guards call the original of a method through ss_guards (guard.h). While the audit is on an observer stands there: it calls
   the original, and counts who called. So a draw is seen where it is guarded, and whatever can be asked of the method stays
   as it is. No value is kept, nor passed on to anybody.

   The counts lie in a mapping that is read from outside at any moment, also when the process hangs: a file that stays when
   the process ends in whatever way, or memory. A forked process has a table of its
   own from its first draw, or note, on.

   Layout, version 1, little-endian; snapsafe_rt/report/audited.py reads it:
     0x00  8 bytes  "SNAPAUDT"
     0x08  u32[6]   version, where the places begin, bytes of a place, how many fit, how many there are, sequence count of the
                    note: odd while it is written
     0x20  u64      draws of places that did not fit
     0x28  u64[2]   id of the process, of its parent (in its own namespace)
     0x38  i64      when it began, ns since 1970
     0x40  u64[2]   length of the note; sessions that did not fit
     0x50  128      the program's name, then 0
     0x100          the note, UTF-8: JSON (snapsafe_rt/report/audit.py)
   Of a place: u64 times; i64[2] first and last, ns since 1970; i64 TLS sessions that began here and are not over; u32[2] kind,
   and 1 if it is in per_generation(); then text: fields that tabs part, what, and file, line, function of the place and of
   the program's own frame that led there.

   All of it needs the GIL of the main interpreter; in others observers only call the original. Without a GIL it needs to be
   attached, and what is static here is looked at and changed with the room's lock (object_lock.h), which no Python code runs
   under. */
#ifndef SNAPSAFE_AUDIT_H
#define SNAPSAFE_AUDIT_H

#include "compat.h"

#include <stdbool.h>
#include <stddef.h>

enum ss_audit_kind {
    SS_AUDIT_RANDOM,
    SS_AUDIT_URANDOM,
    SS_AUDIT_SSL,
    SS_AUDIT_SEED,
    SS_AUDIT_TLS,
    SS_AUDIT_UUID,
    SS_AUDIT_ENVIRONMENT,
};

extern bool ss_audit_on; /* atomic */

/* Is it a number that nobody chose? And is a generator's state one that this process has seen before? With the GIL; leave no
   exception set. */
typedef struct {
    int (*seed_is_systems)(PyObject *seed);
    int (*state_is_known)(PyObject *generator);
} ss_audit_origins;

/* Begins it. `file`: the files are called that with ".PID" at the end; NULL: memory. `library`, `own`: the folders of the
   standard library, and of this package; `name`: the program's. Idempotent. Returns 0, or an errno: then nothing is recorded. */
int ss_audit_begin(const char *file, const char *library, const char *own, const char *name,
                   const ss_audit_origins *origins);

/* Ends it; what was recorded stays to be read. */
void ss_audit_end(void);

/* Replaces the note. One that does not fit is left out. `last`: the program is over, and what ends now was open. */
void ss_audit_note(const char *text, size_t size, bool last);

/* A builtin that calls `target`, and counts it as `what`, which has to live as long; of the environment the name that was
   read is counted. New reference, or NULL with MemoryError set. */
PyObject *ss_audit_wrap(enum ss_audit_kind kind, const char *what, PyObject *target);

/* Calls the factory of a per_generation(): what is drawn in it is made anew after a restore. As PyObject_CallNoArgs(). */
PyObject *ss_audit_make(PyObject *factory);

#endif
