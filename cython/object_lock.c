#include "object_lock.h"

#if SS_FREE_THREADED

#include <pthread.h>

_Static_assert(SS_OBJECT_PLACES == 1 << (64 - 58), "the upper bits of the hash choose one");
PyMutex ss_object_locks[SS_OBJECT_PLACES], ss_room_locks[SS_ROOMS];

static void after_fork_in_child(void)
{
    memset(ss_object_locks, 0, sizeof ss_object_locks);
    memset(ss_room_locks, 0, sizeof ss_room_locks);
}

static int error;
static void set_up(void) { error = pthread_atfork(NULL, NULL, after_fork_in_child); }

int ss_object_lock_setup(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* two interpreters may import the core at once */
    (void)pthread_once(&once, set_up);
    return error;
}

#endif
