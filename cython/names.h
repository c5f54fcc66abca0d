/* The names room: may a name of a module stand for something else by now?

   A native path asks this on every call, so it must cost less than looking the names up. Names that begin with an
   underscore are left out, for modules keep their state in those. Needs the GIL. */
#ifndef SNAPSAFE_NAMES_H
#define SNAPSAFE_NAMES_H

#include "compat.h"

/* Begins, or ends, to follow a module's dict. What does not work is not followed: then ss_names_version() is 0. Leaves no
   exception set. Begin and end nest. */
void ss_names_follow(PyObject *dict);
void ss_names_leave(PyObject *dict);

/* A number, equal to an earlier one only if nothing was stored in `dict` in between; or 0: unknown, look for yourself. */
#if SS_FOLLOWS_BY_WATCHER
extern uint64_t ss_names_changes;
static inline uint64_t ss_names_version(PyObject *dict)
{
    (void)dict;
    return ss_names_changes;
}
#elif SS_FOLLOWS_BY_VERSION
static inline uint64_t ss_names_version(PyObject *dict)
{
    return ((PyDictObject *)dict)->ma_version_tag;
}
#else
static inline uint64_t ss_names_version(PyObject *dict)
{
    (void)dict;
    return 0;
}
#endif

#endif
