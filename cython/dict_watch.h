/* The dict watch: was a name of a module rebound since it was looked up?

   A native path asks this on every call, so it must cost less than looking the names up. Names that begin with an
   underscore do not count, for modules keep their state in those. Needs the GIL; without one nothing is followed, and the names
   are looked up each time. */
#ifndef SNAPSAFE_DICT_WATCH_H
#define SNAPSAFE_DICT_WATCH_H

#include "compat.h"

/* Begins, or ends, to follow a module's dict; they nest. Where a dict cannot be followed, ss_dict_watch_version() is 0. Leaves
   no exception set. */
void ss_dict_watch_begin(PyObject *dict);
void ss_dict_watch_end(PyObject *dict);

/* The dicts are of an interpreter that was finalised: none of them is there any more. */
void ss_dict_watch_forget(void);

/* A number that is equal to an earlier one only if nothing was stored in `dict` in between; or 0: unknown, so look the names
   up. */
#if SS_FOLLOWS_BY_WATCHER
extern uint64_t ss_dict_watch_changes;
static inline uint64_t ss_dict_watch_version(PyObject *dict)
{
    return ss_dict_watch_changes;
}
#elif SS_FOLLOWS_BY_VERSION
static inline uint64_t ss_dict_watch_version(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_version_tag;
}
#else
static inline uint64_t ss_dict_watch_version(PyObject *dict)
{
    return 0;
}
#endif

#endif
