/* The object lock: what is changed in two steps on builds without a GIL, while another thread must not come between.

   The lock that CPython keeps in each object will not do: a thread lets go of it wherever it waits, and in 3.13 also where it
   takes the same one again. This one is held. So between the two calls nothing may run Python code, a finalizer's either;
   waiting for an object's own lock is permitted. Builds with a GIL need none of it.

   A room's lock is the same for what a room keeps in static memory. It may be taken while an object's is held. */
#ifndef SNAPSAFE_OBJECT_LOCK_H
#define SNAPSAFE_OBJECT_LOCK_H

#include "compat.h"

enum ss_room { SS_ROOM_EXCHANGE = 0, SS_ROOM_CALLS, SS_ROOM_WATCHING, SS_ROOM_AUDIT, SS_ROOMS };

#define SS_OBJECT_PLACES 64 /* several objects share one */
static inline size_t ss_object_place(const PyObject *object)
{
    return (size_t)(((uintptr_t)object >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 58);
}

#if SS_FREE_THREADED

extern PyMutex ss_object_locks[SS_OBJECT_PLACES], ss_room_locks[SS_ROOMS];

static inline PyMutex *ss_object_lock_of(PyObject *object) { return &ss_object_locks[ss_object_place(object)]; }

/* Attached; detached while it waits, so that a stop of all threads can come about. Not twice in one thread. Leaves the exception
   that is set. */
static inline void ss_object_lock(PyObject *object) { PyMutex_Lock(ss_object_lock_of(object)); }
static inline void ss_object_unlock(PyObject *object) { PyMutex_Unlock(ss_object_lock_of(object)); }
static inline void ss_room_lock(enum ss_room room) { PyMutex_Lock(&ss_room_locks[room]); }
static inline void ss_room_unlock(enum ss_room room) { PyMutex_Unlock(&ss_room_locks[room]); }

/* Registers the fork handler: a forked child has only the thread that forked, which holds none. Once for the process. Returns 0
   or an errno. */
int ss_object_lock_setup(void);

#else

static inline void ss_object_lock(PyObject *object) { (void)object; }
static inline void ss_object_unlock(PyObject *object) { (void)object; }
static inline void ss_room_lock(enum ss_room room) { (void)room; }
static inline void ss_room_unlock(enum ss_room room) { (void)room; }
static inline int ss_object_lock_setup(void) { return 0; }

#endif

#endif
