/* What Python sees of the core: its structs, each field once, and the words for its states. Included by _core.pyx alone.
   _core.pyi gives the types; tests/unit/test_native_facts.py compares it, and whatever Python keeps for the case that there is
   no core, with this.

   Nothing is made before it is asked for. With the GIL; a function returns a new reference, or NULL with an exception set. */
#ifndef SNAPSAFE_SHOWN_H
#define SNAPSAFE_SHOWN_H

#include "compat.h"
#include "connection.h"
#include "entropy.h"
#include "epoch.h"
#include "openssl.h"
#include "status_page.h"
#include "source.h"
#include "sqlite.h"
#include "watcher.h"

/* ---- the words for states; -Wswitch finds the one that lacks its word, for there is no default ---- */

#define SS_WORDS(name, type, cases)                                                                                    \
    static const char *word_of_##name(int state)                                                                       \
    {                                                                                                                  \
        switch ((type)state) {                                                                                         \
            cases                                                                                                      \
        }                                                                                                              \
        return NULL;                                                                                                   \
    }                                                                                                                  \
    static inline PyObject *ss_##name##_word(int state)                                                                \
    {                                                                                                                  \
        const char *word = word_of_##name(state);                                                                      \
        return word ? PyUnicode_FromString(word) : PyErr_Format(PyExc_SystemError, "%d is no " #type, state);          \
    }
/* clang-format off */
#define SS_IS(state, word) case state: return word;

SS_WORDS(cause, enum ss_cause,
    SS_IS(SS_CAUSE_NONE, "") SS_IS(SS_CAUSE_GENERATION, "generation") SS_IS(SS_CAUSE_DISRUPTION, "disruption")
    SS_IS(SS_CAUSE_NOTIFIED, "notified") SS_IS(SS_CAUSE_SOURCE, "source"))
SS_WORDS(fence, enum ss_fence,
    SS_IS(SS_FENCE_DOWN, "down") SS_IS(SS_FENCE_CPU, "cpu") SS_IS(SS_FENCE_HOST, "host")
    SS_IS(SS_FENCE_DEGRADED, "degraded"))
SS_WORDS(how, enum ss_watch_how,
    SS_IS(SS_WATCH_OFF, "off") SS_IS(SS_WATCH_POLL, "poll") SS_IS(SS_WATCH_INOTIFY, "inotify")
    SS_IS(SS_WATCH_TIMER, "timer") SS_IS(SS_WATCH_STARTING, "starting"))
SS_WORDS(connection, enum ss_connection_state,
    SS_IS(SS_CONNECTION_NONE, "none") SS_IS(SS_CONNECTION_ABSENT, "absent") SS_IS(SS_CONNECTION_UNTRUSTED, "untrusted")
    SS_IS(SS_CONNECTION_FAILED, "failed") SS_IS(SS_CONNECTION_ENDED, "ended") SS_IS(SS_CONNECTION_ASKED, "asked")
    SS_IS(SS_CONNECTION_HELD, "held") SS_IS(SS_CONNECTION_HEARD, "heard"))
SS_WORDS(openssl, enum ss_openssl_state,
    SS_IS(SS_OPENSSL_NONE, "none") SS_IS(SS_OPENSSL_GUARDED, "guarded") SS_IS(SS_OPENSSL_DISPLACED, "displaced")
    SS_IS(SS_OPENSSL_INEFFECTIVE, "ineffective") SS_IS(SS_OPENSSL_FIPS, "fips") SS_IS(SS_OPENSSL_SYMBOLS, "symbols")
    SS_IS(SS_OPENSSL_FULL, "full") SS_IS(SS_OPENSSL_RELEASED, "released"))
SS_WORDS(sqlite, enum ss_sqlite_state,
    SS_IS(SS_SQLITE_NONE, "none") SS_IS(SS_SQLITE_SEEN, "seen") SS_IS(SS_SQLITE_READY, "ready")
    SS_IS(SS_SQLITE_SYMBOLS, "symbols") SS_IS(SS_SQLITE_FULL, "full") SS_IS(SS_SQLITE_RELEASED, "released")
    SS_IS(SS_SQLITE_HELD, "held"))
SS_WORDS(kind, enum ss_source_kind,
    SS_IS(SS_KIND_VMCLOCK, "vmclock") SS_IS(SS_KIND_SYSGENID, "sysgenid"))
SS_WORDS(word, enum ss_source_word,
    SS_IS(SS_WORD_NONE, "none") SS_IS(SS_WORD_GENERATION, "generation") SS_IS(SS_WORD_DISRUPTION, "disruption"))
SS_WORDS(source, enum ss_source_status,
    SS_IS(SS_SOURCE_OK, "") SS_IS(SS_SOURCE_MISSING, "missing") SS_IS(SS_SOURCE_FORBIDDEN, "forbidden")
    SS_IS(SS_SOURCE_SYSTEM, "system") SS_IS(SS_SOURCE_NOT_A_FILE, "not a file")
    SS_IS(SS_SOURCE_FILESYSTEM, "filesystem") SS_IS(SS_SOURCE_WRITABLE, "writable") SS_IS(SS_SOURCE_OWNER, "owner")
    SS_IS(SS_SOURCE_SHORT, "short") SS_IS(SS_SOURCE_MAGIC, "magic") SS_IS(SS_SOURCE_VERSION, "version")
    SS_IS(SS_SOURCE_NO_GENERATION, "no generation") SS_IS(SS_SOURCE_FULL, "full") SS_IS(SS_SOURCE_LOST, "lost")
    SS_IS(SS_SOURCE_OTHER_DEVICE, "other device"))
/* clang-format on */

/* -1, with no exception set, for no kind. */
static inline int ss_kind_of(const char *word)
{
    const char *known;
    for (int kind = 0; (known = word_of_kind(kind)) != NULL; kind++)
        if (strcmp(known, word) == 0)
            return kind;
    return -1;
}

/* ---- structs: X(field, conversion, value) ---- */

#define SS_BOOL(value) PyBool_FromLong((value) != 0)
#define SS_INT(value) PyLong_FromLongLong(value)
#define SS_COUNT(value) PyLong_FromUnsignedLongLong(value)
#define SS_SECONDS(value) PyFloat_FromDouble(value)
#define SS_PATH(value) PyUnicode_DecodeFSDefault(value)
#define SS_TEXT(value) PyUnicode_FromString(value)

#define SS_SOURCE_FIELDS(X)                                                                                            \
    X(word, ss_word_word, SS_LOOK(info->word))                                                                         \
    X(device, SS_BOOL, info->device)                                                                                   \
    X(detached, SS_BOOL, SS_LOOK(info->detached))                                                                      \
    X(lost, SS_BOOL, SS_LOOK(info->lost))                                                                              \
    X(stuck, SS_BOOL, SS_LOOK(info->stuck))                                                                            \
    X(dev, SS_COUNT, SS_LOOK(info->dev))                                                                               \
    X(ino, SS_COUNT, SS_LOOK(info->ino))                                                                               \
    X(rdev, SS_COUNT, info->rdev)                                                                                      \
    X(serial, SS_COUNT, info->serial)                                                                                  \
    X(value, SS_COUNT, value)                                                                                          \
    X(synchronous, SS_BOOL, ss_source_synchronous(info))                                                               \
    X(reseeded, SS_COUNT, ss_source_reseeded(info))                                                                    \
    X(signaller, SS_COUNT, ss_source_signaller(info))                                                                  \
    X(managed, SS_BOOL, ss_source_managed(info))

#define SS_EPOCH_FIELDS(X)                                                                                             \
    X(epoch, SS_COUNT, info->epoch)                                                                                    \
    X(generation, SS_COUNT, info->generation)                                                                          \
    X(restores, SS_COUNT, info->restores)                                                                              \
    X(cause, ss_cause_word, info->cause)                                                                               \
    X(last_certain, SS_COUNT, info->last_certain)                                                                      \
    X(last_ns, SS_INT, info->last_ns)                                                                                  \
    X(source, SS_INT, info->source)                                                                                    \
    X(synchronous, SS_BOOL, info->synchronous)

#define SS_ENTROPY_FIELDS(X)                                                                                           \
    X(fence, ss_fence_word, info->fence)                                                                               \
    X(seconds_left, SS_SECONDS, info->seconds_left)                                                                    \
    X(cpu, SS_BOOL, info->cpu)                                                                                         \
    X(hash, SS_BOOL, info->hash)                                                                                       \
    X(kernel_reseeded, SS_BOOL, info->kernel_reseeded)                                                                 \
    X(host_left, SS_COUNT, info->host_left)                                                                            \
    X(failures, SS_COUNT, info->failures)

#define SS_LIBCRYPTO_FIELDS(X)                                                                                         \
    X(path, SS_PATH, info->path)                                                                                       \
    X(version, SS_COUNT, info->version)                                                                                \
    X(state, ss_openssl_word, info->state)                                                                             \
    X(calls, SS_COUNT, info->calls)                                                                                    \
    X(reseeds, SS_COUNT, info->reseeds)                                                                                \
    X(failures, SS_COUNT, info->failures)                                                                              \
    X(failing, SS_BOOL, info->failing)

#define SS_LIBSQLITE_FIELDS(X)                                                                                         \
    X(path, SS_PATH, info->path)                                                                                       \
    X(version, SS_TEXT, info->version)                                                                                 \
    X(state, ss_sqlite_word, info->state)                                                                              \
    X(fenced, SS_BOOL, info->fenced)                                                                                   \
    X(resets, SS_COUNT, info->resets)                                                                                  \
    X(delays, SS_COUNT, info->delays)

#define SS_WATCHER_FIELDS(X)                                                                                           \
    X(running, SS_BOOL, info->running)                                                                                 \
    X(how, ss_how_word, info->how)                                                                                     \
    X(error, SS_INT, info->error)                                                                                      \
    X(wakeups, SS_COUNT, info->wakeups)

/* The type of a struct sequence (PyStructSequence), borrowed: made at its first use, and kept in `names`, the dict of the
   module. NULL with an exception set. */
static PyObject *ss_shown_type(PyObject *names, const char *name, PyStructSequence_Field *fields, int count)
{
    PyStructSequence_Desc description = {name, "What the core knew at that moment; cython/shown.h.", fields, count};
    const char *own = strrchr(name, '.') + 1;
    PyObject *key = PyUnicode_InternFromString(own);
    PyObject *type = key ? PyDict_GetItemWithError(names, key) : NULL;
    if (key && !type && !PyErr_Occurred()) {
        PyObject *made = (PyObject *)PyStructSequence_NewType(&description);
        type = made ? PyDict_SetDefault(names, key, made) : NULL; /* another thread's, where that was there first */
        Py_XDECREF(made);
    }
    Py_XDECREF(key);
    return type;
}

/* A struct sequence of these values, which it steals; any may be NULL, with an exception set. */
static PyObject *ss_shown(PyObject *names, const char *name, PyStructSequence_Field *fields, PyObject **values, int count)
{
    bool good = true;
    for (int i = 0; i < count; i++)
        good = good && values[i];
    PyObject *type = good ? ss_shown_type(names, name, fields, count) : NULL, *shown = NULL;
    if (type)
        shown = PyStructSequence_New((PyTypeObject *)type);
    for (int i = 0; i < count; i++)
        if (shown)
            PyStructSequence_SetItem(shown, i, values[i]);
        else
            Py_XDECREF(values[i]);
    return shown;
}

#define SS_NAME(field, conversion, value) {#field, NULL},
#define SS_VALUE(field, conversion, value) conversion(value),
#define SS_SHOW(fields_of, name, ...)                                                                                  \
    static int ss_prepare_##name(PyObject *names)                                                                      \
    {                                                                                                                  \
        PyStructSequence_Field fields[] = {fields_of(SS_NAME){NULL, NULL}};                                            \
        const int count = sizeof fields / sizeof *fields - 1;                                                          \
        return ss_shown_type(names, "snapsafe_rt._core." #name, fields, count) ? 0 : -1;                               \
    }                                                                                                                  \
    static PyObject *ss_show_##name(PyObject *names, __VA_ARGS__)                                                      \
    {                                                                                                                  \
        PyStructSequence_Field fields[] = {fields_of(SS_NAME){NULL, NULL}};                                            \
        PyObject *values[] = {fields_of(SS_VALUE)};                                                                    \
        return ss_shown(names, "snapsafe_rt._core." #name, fields, values, sizeof values / sizeof *values);            \
    }
SS_SHOW(SS_SOURCE_FIELDS, SourceState, const ss_source *info, uint64_t value)
SS_SHOW(SS_EPOCH_FIELDS, EpochState, const ss_epoch_info *info)
SS_SHOW(SS_ENTROPY_FIELDS, EntropyState, const ss_entropy_info *info)
SS_SHOW(SS_LIBCRYPTO_FIELDS, LibcryptoState, const ss_openssl_info *info)
SS_SHOW(SS_LIBSQLITE_FIELDS, LibsqliteState, const ss_sqlite_info *info)
SS_SHOW(SS_WATCHER_FIELDS, WatcherState, const ss_watcher_info *info)

/* Makes the types that a restore event may use, while there is memory: CPython 3.11 takes a reference too many away where there
   is none. 0, or -1 with an exception set. */
static int ss_prepare_shown(PyObject *names)
{
    return ss_prepare_SourceState(names) || ss_prepare_EpochState(names) || ss_prepare_EntropyState(names) ||
                   ss_prepare_LibcryptoState(names) || ss_prepare_LibsqliteState(names) || ss_prepare_WatcherState(names)
               ? -1
               : 0;
}

#endif
