/* The guard room: exchanges the C function behind a builtin, in place.

   PyMethodDef.ml_meth is replaced; the function object, its identity, signature, pickles and every reference taken
   before stay as they are, and undo is exact. The PyMethodDef is static, shared by every interpreter of the process,
   also by isolated ones under a GIL of their own: a replacement is plain C in effect. It keeps no Python object,
   reads no module state and leaves Cython's traceback machinery alone.

   "With the GIL" is "attached" on free-threaded builds: a row is claimed for one definition in one step, whatever else is stored
   is the same whoever stores it, and calls read it meanwhile. */
#ifndef SNAPSAFE_GUARD_H
#define SNAPSAFE_GUARD_H

#include "compat.h"

#include <stdbool.h>

/* Every method that is guarded, and all that is known of it (sqlite.c and openssl.c keep exchanges of their own). To guard
   one more, add a line, and the function if there is none that does it:

       X(ID, module, type or "", method, calling convention, ROLE, function)

   REPLACED  function(its arguments, the guard) answers in its place, and finds the original by ss_call() and its likes.
   AFTER     function(self) runs first, then the original.

   Functions are those of the .pxi files, declared with their C name; entries.h calls them. Rows of one module are guarded in
   this order. A row that this version of Python lacks, or has with another convention, is left out. */
#define SS_FOR_EACH_GUARD(X)                                                                                           \
    X(URANDOM, "posix", "", "urandom", O, REPLACED, guard_urandom)                                                     \
    X(GETRANDOM, "posix", "", "getrandom", KEYWORDS, REPLACED, guard_getrandom)                                        \
    X(FORK, "posix", "", "fork", NOARGS, REPLACED, guard_fork)                                                         \
    X(FORKPTY, "posix", "", "forkpty", NOARGS, REPLACED, guard_fork)                                                   \
    X(UNSHARE, "posix", "", "unshare", KEYWORDS, REPLACED, guard_unshare) /* from 3.12 on */                           \
    X(SETNS, "posix", "", "setns", KEYWORDS, REPLACED, guard_unshare) /* from 3.12 on */                               \
    X(EXEC, "builtins", "", "exec", KEYWORDS, REPLACED, guard_execute)                                                 \
    X(EXEC_310, "builtins", "", "exec", FASTCALL, REPLACED, guard_execute_310)                                         \
    X(CREATE_DYNAMIC, "_imp", "", "create_dynamic", FASTCALL, REPLACED, guard_create_dynamic)                          \
    X(EXEC_DYNAMIC, "_imp", "", "exec_dynamic", O, REPLACED, guard_exec)                                               \
    X(CREATE_BUILTIN, "_imp", "", "create_builtin", O, REPLACED, guard_create_builtin)                                 \
    X(EXEC_BUILTIN, "_imp", "", "exec_builtin", O, REPLACED, guard_exec)                                               \
    X(DLOPEN, "_ctypes", "", "dlopen", VARARGS, REPLACED, guard_dlopen)                                                \
    X(FORK_EXEC, "_posixsubprocess", "", "fork_exec", FASTCALL, REPLACED, guard_fork_exec)                             \
    X(FORK_EXEC_311, "_posixsubprocess", "", "fork_exec", VARARGS, REPLACED, guard_fork_exec_311)                      \
    X(SEED, "_random", "Random", "seed", FASTCALL, REPLACED, guard_seed)                                               \
    X(SETSTATE, "_random", "Random", "setstate", O, REPLACED, guard_setstate)                                          \
    X(GETSTATE, "_random", "Random", "getstate", NOARGS, REPLACED, guard_getstate)                                     \
    X(GETRANDBITS, "_random", "Random", "getrandbits", O, REPLACED, draw)                                              \
    X(RANDOM, "_random", "Random", "random", NOARGS, REPLACED, draw)                                                   \
    X(SSL_RAND_ADD, "_ssl", "", "RAND_add", FASTCALL, AFTER, nothing)                                                  \
    X(SSL_RAND_BYTES, "_ssl", "", "RAND_bytes", O, REPLACED, draw_ssl)                                                 \
    X(SSL_RAND_PSEUDO_BYTES, "_ssl", "", "RAND_pseudo_bytes", O, REPLACED, draw_ssl) /* until 3.11 */                  \
    X(SSL_DO_HANDSHAKE, "_ssl", "_SSLSocket", "do_handshake", NOARGS, AFTER, feed_ssl)                                 \
    X(SSL_READ, "_ssl", "_SSLSocket", "read", VARARGS, AFTER, feed_ssl)                                                \
    X(SSL_WRITE, "_ssl", "_SSLSocket", "write", O, AFTER, feed_ssl)                                                    \
    X(SSL_SHUTDOWN, "_ssl", "_SSLSocket", "shutdown", NOARGS, AFTER, feed_ssl)                                         \
    X(SSL_POST_HANDSHAKE, "_ssl", "_SSLSocket", "verify_client_post_handshake", NOARGS, AFTER, feed_ssl)               \
    X(SSL_SENDFILE, "_ssl", "_SSLSocket", "sendfile", FASTCALL, AFTER, feed_ssl) /* from 3.15 on */                    \
    X(CURSOR_EXECUTE, "_sqlite3", "Cursor", "execute", FASTCALL, AFTER, before_statement)                              \
    X(CURSOR_EXECUTEMANY, "_sqlite3", "Cursor", "executemany", FASTCALL, AFTER, before_statement)                      \
    X(CURSOR_EXECUTESCRIPT, "_sqlite3", "Cursor", "executescript", O, AFTER, before_statement)                         \
    X(CURSOR_FETCHONE, "_sqlite3", "Cursor", "fetchone", NOARGS, AFTER, before_statement)                              \
    X(CURSOR_FETCHMANY, "_sqlite3", "Cursor", "fetchmany", KEYWORDS, AFTER, before_statement)                          \
    X(CURSOR_FETCHALL, "_sqlite3", "Cursor", "fetchall", NOARGS, AFTER, before_statement)                              \
    X(CONNECTION_EXECUTE, "_sqlite3", "Connection", "execute", FASTCALL, AFTER, before_statement)                      \
    X(CONNECTION_EXECUTEMANY, "_sqlite3", "Connection", "executemany", FASTCALL, AFTER, before_statement)              \
    X(CONNECTION_EXECUTESCRIPT, "_sqlite3", "Connection", "executescript", O, AFTER, before_statement)                 \
    /* These call no SQL function; but a transaction's end, a copy and a blob write draw salts and nonces. */          \
    X(CONNECTION_COMMIT, "_sqlite3", "Connection", "commit", NOARGS, AFTER, before_statement)                          \
    X(CONNECTION_ROLLBACK, "_sqlite3", "Connection", "rollback", NOARGS, AFTER, before_statement)                      \
    X(CONNECTION_EXIT, "_sqlite3", "Connection", "__exit__", FASTCALL, AFTER, before_statement)                        \
    X(CONNECTION_CLOSE, "_sqlite3", "Connection", "close", NOARGS, AFTER, before_statement)                            \
    X(CONNECTION_BACKUP, "_sqlite3", "Connection", "backup", KEYWORDS, AFTER, before_statement)                        \
    X(CONNECTION_BLOBOPEN, "_sqlite3", "Connection", "blobopen", KEYWORDS, AFTER, before_statement) /* from 3.11 on */ \
    X(BLOB_WRITE, "_sqlite3", "Blob", "write", O, AFTER, before_statement)                          /* from 3.11 on */

enum ss_guard_id {
#define SS_GUARD_ID(id, ...) SS_GUARD_##id,
    SS_FOR_EACH_GUARD(SS_GUARD_ID)
#undef SS_GUARD_ID
    SS_GUARD_COUNT
};

/* What stands in a row, and the function made of it (entries.h). Texts and not pointers to them, and the functions apart: a
   start relocates what holds an address. */
typedef struct {
    char module[20], type[12], method[32];
    int flags; /* METH_ flags of the convention */
} ss_guard_row;
extern const ss_guard_row ss_guard_rows[SS_GUARD_COUNT];
extern void *const ss_guard_entries[SS_GUARD_COUNT];

/* `def` may be set where nothing was exchanged: what was found there was not the extension's own. Both atomic. */
typedef struct {
    PyMethodDef *def;
    void *original; /* once set, never cleared: a thread may be inside the replacement while it is undone */
} ss_guard;
extern ss_guard ss_guards[SS_GUARD_COUNT];

/* The same, with the original itself where an observer stands in ss_guards. */
extern ss_guard ss_guard_stock[SS_GUARD_COUNT];

/* From here on guards call observers[id], a function of the row's convention that calls the original of ss_guard_stock; where
   that is NULL, the original. NULL: all originals. The table must live as long. Needs the GIL. */
void ss_guard_observe(void *const *observers);

/* For the group of a row, the rows of its type: the file of another definition of the same method, which is not guarded. Set
   once under the GIL, never freed; another process reads whether it is set (sites.pxi). */
extern char *ss_guard_refused[SS_GUARD_COUNT];
#define SS_GUARD_NO_FILE "code that is in no file"

/* The first row of the same type; the row itself where that has none. */
int ss_guard_group(enum ss_guard_id id);

/* The file of which ss_guard_refused tells, for any row of the group; else NULL. */
const char *ss_guard_refused_file(enum ss_guard_id id);

static inline void *ss_original(const ss_guard *guard)
{
    void *original = SS_LOOK(guard->original);
#if SS_FREE_THREADED && defined(__aarch64__)
    /* CPython's load of ml_meth, by which we are called, orders no other load. */
    while (__builtin_expect(!original, 0))
        original = SS_LOOK(guard->original);
#endif
    return original;
}

/* The original, by its calling convention: METH_NOARGS, METH_O and METH_VARARGS; METH_FASTCALL; METH_FASTCALL with
   METH_KEYWORDS. POSIX lets a void pointer hold any of them. As entries.h says. */
static inline PyObject *ss_call(const ss_guard *guard, PyObject *self, PyObject *argument)
{
    return ((PyCFunction)ss_original(guard))(self, argument);
}

static inline PyObject *ss_call_fast(const ss_guard *guard, PyObject *self, PyObject **arguments, Py_ssize_t count)
{
    return ((PyObject * (*)(PyObject *, PyObject **, Py_ssize_t)) ss_original(guard))(self, arguments, count);
}

static inline PyObject *ss_call_keywords(const ss_guard *guard, PyObject *self, PyObject **arguments, Py_ssize_t count,
                                         PyObject *names)
{
    return ((PyObject * (*)(PyObject *, PyObject **, Py_ssize_t, PyObject *)) ss_original(guard))(self, arguments, count, names);
}

/* Guards a method of `owner`, a module or a type. Idempotent. Returns 0; 1 where it has no such attribute; -1 where that is
   no builtin of the row's convention. Sets no exception. Needs the GIL, or an attached thread state on free-threaded
   builds. */
int ss_guard_method(enum ss_guard_id id, PyObject *owner);

/* Guards every row of this module, those of its types too. Returns how many could not be, missing ones not counted; their
   names are appended to the list `failed`, if that is not NULL. Else as above. */
int ss_guard_module(const char *name, PyObject *module, PyObject *failed);

/* Puts the original back, unless somebody exchanged ours meanwhile. Needs the GIL. */
void ss_guard_remove(enum ss_guard_id id);

/* What CPython calls by this definition. */
static inline void *ss_method(const PyMethodDef *def) { return (void *)SS_LOOK(def->ml_meth); }

static inline int ss_guard_active(enum ss_guard_id id)
{
    const PyMethodDef *def = SS_LOOK(ss_guards[id].def);
    return def && ss_method(def) == ss_guard_entries[id];
}

/* Puts ours back where stock's own was put back past us: it gives no less. */
void ss_guard_put_back(enum ss_guard_id id);

/* Is this a builtin or a method descriptor that is guarded now, and is it called as CPython calls it? Needs the GIL. */
bool ss_guard_guards(PyObject *callable);

/* The same by the row. */
bool ss_guard_is(enum ss_guard_id id, PyObject *callable);

/* The definition behind a builtin function or a method descriptor; NULL for anything else. Borrowed, static. */
PyMethodDef *ss_definition(PyObject *callable);

/* How CPython calls this builtin function: what a new one of the same definition has in `vectorcall`. NULL for anything else.
   Needs the GIL; leaves no exception set. */
vectorcallfunc ss_own_call(PyObject *function);

/* Exchanges what makes a new instance past any method, in the type and in the subclasses that have copied it: tp_init with the
   wrapper that later subclasses take it from, and tp_new; NULL: not that. With the GIL of the interpreter that the type is of;
   leaves no exception. */
void ss_guard_exchange_init(PyTypeObject *type, initproc init_from, initproc init_to, newfunc new_from, newfunc new_to);

/* Are both addresses of one loaded object? Takes the loader's lock for a moment, never while it runs constructors. */
bool ss_same_object(const void *first, const void *second);

/* Is what it calls of the library that it is of itself? Then nobody has exchanged it, or we have. */
bool ss_definition_is_stock(const PyMethodDef *def);

/* The library whose function a method calls that is not guarded, or not any more; else NULL. The loader's text. */
const char *ss_guard_displaced_by(enum ss_guard_id id);

/* Is the guard of "module.method" in place, or are all of "module.Type", and is there no other copy? -1: no row has that name. */
int ss_guarded(const char *name);

#endif
