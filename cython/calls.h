/* The calls room: guards builtins of libraries whose generator nobody reaches, but which can be renewed in the calling thread,
   or for the whole process, by a function.

   The builtin's PyMethodDef.ml_meth is exchanged, as in guard.h, for one of a fixed number of entries. Before the call the
   family's function renews the generator, where that was not done in this epoch (by this thread); after it, if the generation
   moved meanwhile, the value is dropped and the call made again.

   A family's function asks the library, which asks the kernel; and that may repeat itself after a restore. So the library's
   pointer to getrandom(3) is exchanged for one to fenced entropy (ss_calls_feed), and whoever renews can see that it was used.

   All of it needs the GIL, or to be attached where there is none, unless it says otherwise. What is put in place or taken away
   then is by the room's lock (object_lock.h); calls take none: what they read of a place was there before it was exchanged, and
   whether a thread's generator was renewed stands in the thread's own memory. */
#ifndef SNAPSAFE_CALLS_H
#define SNAPSAFE_CALLS_H

#include "compat.h"

#include <stdbool.h>

#define SS_CALLS 32
#define SS_CALL_FAMILIES 8

/* What a call of uuid_utils draws besides: (node=None, clock_seq=None); (node=None, timestamp=None, nanos=None); getnode(). */
enum ss_call_kind { SS_CALL_DRAW = 0, SS_CALL_TIMED, SS_CALL_NODED, SS_CALL_NODE };

/* The family of this name, made if there is none: `renew` is called to renew its generator, in the calling thread, or for all
   threads where `each_thread` is false. Returns its number, or -1 with an exception set. */
int ss_calls_family(const char *name, PyObject *renew, bool each_thread);

/* Has calls of this builtin, of the extension in `file`, renew that family first. NULL, or why that cannot be: a text of ours.
   Sets no exception. */
const char *ss_calls_guard(PyObject *builtin, const char *file, int family, enum ss_call_kind kind);

/* Is that so, and is it called as CPython calls it? */
bool ss_calls_in_place(PyObject *builtin);

/* The word that is as it should be while it is so: where it lies, and what it holds. False for no guarded builtin. */
bool ss_calls_word(PyObject *builtin, uint64_t *ret_at, uint64_t *ret_held);

/* Puts the originals of a family back, unless somebody exchanged ours meanwhile. The family's function stays. */
void ss_calls_remove(int family);

/* Puts ours back where the original was put in its place. */
void ss_calls_put_back(void);

/* Another interpreter drew from this family: nothing was renewed there. */
bool ss_calls_foreign(int family);

/* Has the library that `builtin` is of draw its seeds from fenced entropy, by its words that hold getrandom(3)'s address: it
   must have asked once. NULL, or why that cannot be. Idempotent. Takes the loader's lock for a moment. */
const char *ss_calls_feed(PyObject *builtin);

/* Every library fed by ss_calls_feed() asks the kernel again. */
void ss_calls_starve(void);

/* How often this thread was given a seed by that. Any thread, without the GIL too. */
uint64_t ss_calls_fed(void);

/* Writes to the calling thread's copy of a thread-local variable of the library that this builtin is of. 0, or an errno: ENOENT
   where it has none of this name and size. */
int ss_calls_write(PyObject *builtin, const char *symbol, const void *bytes, size_t size);

#endif
