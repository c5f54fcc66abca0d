/* The exchange room: has a Python function do what another callable does, and keeps the function object, its `__code__` and
   all else that can be asked of it: references taken earlier follow, marshal and pickle see stock's code, undo is exact.

   By the function's vectorcall pointer, which CPython calls by; no audit event is raised, nothing is compiled. 3.11 alone
   looks past that pointer and runs the code: there the code is exchanged, and `__code__` goes on to show stock's
   (compat.h). All of it needs the GIL of the interpreter that owns the function.

   Without a GIL it needs to be attached. Who begins or ends has the room's lock (object_lock.h); a call takes none. So what a call
   may still look at stays for good: the entry of an exchange that was ended, with what it refers to, and tables that grew. */
#ifndef SNAPSAFE_EXCHANGE_H
#define SNAPSAFE_EXCHANGE_H

#include "compat.h"

/* Calling `function` calls `target` from here on: positionally, defaults filled in. What does not fit its signature goes to
   the function's own code, which raises what stock raises. Returns 0; or -1 with an exception set: TypeError for a signature
   with *, ** or more than SS_EXCHANGE_MOST arguments, MemoryError. */
#define SS_EXCHANGE_MOST 3
int ss_exchange_begin(PyObject *function, PyObject *target);

/* Undoes it, unless somebody exchanged ours meanwhile. */
void ss_exchange_end(PyObject *function);

/* Is it done, and would a call run the target? */
int ss_exchange_in_place(PyObject *function);

/* Two words that are as they should be while it is in place: where they lie, and what they hold. */
void ss_exchange_words(PyObject *function, uint64_t ret_at[2], uint64_t ret_held[2]);

/* A function that does what this one does without us. New reference, or NULL with an exception set: TypeError for what is no
   Python function, MemoryError. */
PyObject *ss_exchange_copy(PyObject *function);

#endif
