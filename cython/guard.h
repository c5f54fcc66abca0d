/* The guard room: exchanges the C function behind a builtin, in place.

   PyMethodDef.ml_meth is replaced; the function object, its identity, signature, pickles and every reference taken
   before stay as they are, and undo is exact. The PyMethodDef is static, shared by every interpreter of the process,
   also by isolated ones under a GIL of their own: a replacement is plain C in effect. It keeps no Python object,
   reads no module state and leaves Cython's traceback machinery alone. */
#ifndef SNAPSAFE_GUARD_H
#define SNAPSAFE_GUARD_H

#include "compat.h"

/* The calling conventions that PyCFunction does not spell; POSIX lets a void pointer hold any of them. */
typedef PyObject *(*ss_fast)(PyObject *, PyObject **, Py_ssize_t);
typedef PyObject *(*ss_fast_keywords)(PyObject *, PyObject **, Py_ssize_t, PyObject *);

typedef struct {
    PyMethodDef *def;
    void *original;          /* once set, never cleared: a thread may be inside the replacement while it is undone */
    void *replacement;
} ss_guard;

/* Every exchange that the Cython rooms make (sqlite.c and openssl.c keep their own). */
enum ss_guard_id {
    SS_GUARD_URANDOM,
    SS_GUARD_GETRANDOM,
    SS_GUARD_RANDOM,
    SS_GUARD_GETRANDBITS,
    SS_GUARD_SEED,
    SS_GUARD_GETSTATE,
    SS_GUARD_SETSTATE,
    SS_GUARD_CREATE_DYNAMIC,
    SS_GUARD_EXEC_DYNAMIC,
    SS_GUARD_CREATE_BUILTIN,
    SS_GUARD_EXEC_BUILTIN,
    SS_GUARD_DLOPEN,
    SS_GUARD_FORK,
    SS_GUARD_FORKPTY,
    SS_GUARD_FORK_EXEC,
    SS_GUARD_UNSHARE,
    SS_GUARD_SSL_RAND_ADD,
    SS_GUARD_SSL_RAND_BYTES,
    SS_GUARD_SSL_RAND_PSEUDO_BYTES,
    SS_GUARD_SSL_DO_HANDSHAKE,
    SS_GUARD_SSL_READ,
    SS_GUARD_SSL_WRITE,
    SS_GUARD_SSL_SHUTDOWN,
    SS_GUARD_SSL_POST_HANDSHAKE,
    SS_GUARD_SSL_SENDFILE,
    SS_GUARD_CURSOR_EXECUTE,
    SS_GUARD_CURSOR_EXECUTEMANY,
    SS_GUARD_CURSOR_EXECUTESCRIPT,
    SS_GUARD_CURSOR_FETCHONE,
    SS_GUARD_CURSOR_FETCHMANY,
    SS_GUARD_CURSOR_FETCHALL,
    SS_GUARD_CONNECTION_EXECUTE,
    SS_GUARD_CONNECTION_EXECUTEMANY,
    SS_GUARD_CONNECTION_EXECUTESCRIPT,
    SS_GUARD_CONNECTION_COMMIT,
    SS_GUARD_CONNECTION_ROLLBACK,
    SS_GUARD_CONNECTION_EXIT,
    SS_GUARD_CONNECTION_CLOSE,
    SS_GUARD_CONNECTION_BACKUP,
    SS_GUARD_CONNECTION_BLOBOPEN,
    SS_GUARD_BLOB_WRITE,
    SS_GUARD_COUNT
};
extern ss_guard ss_guards[SS_GUARD_COUNT];

/* Exchanges the C function of `callable`, a builtin function or a method descriptor, if its calling convention is
   exactly `flags` (METH_O, ...). Idempotent. Returns 0, or -1 with no exception set where it cannot be guarded.
   Needs the GIL, or an attached thread state on free-threaded builds. */
int ss_guard_install(ss_guard *guard, PyObject *callable, int flags, void *replacement);

/* Puts the original back, unless somebody exchanged ours meanwhile. Needs the GIL. */
void ss_guard_remove(ss_guard *guard);

static inline int ss_guard_active(const ss_guard *guard)
{
    return guard->def && (void *)guard->def->ml_meth == guard->replacement;
}

#endif
