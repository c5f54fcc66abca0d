#include "object_lock.h"

#if SS_FREE_THREADED

#include <pthread.h>
#include <stdbool.h>

_Static_assert(SS_OBJECT_LOCKS == 1 << (64 - 58), "the upper bits of the hash choose one");
PyMutex ss_object_locks[SS_OBJECT_LOCKS], ss_room_locks[SS_ROOMS];

static void after_fork_in_child(void)
{
    memset(ss_object_locks, 0, sizeof ss_object_locks);
    memset(ss_room_locks, 0, sizeof ss_room_locks);
}

int ss_object_lock_setup(void)
{
    static bool done;
    const int error = done ? 0 : pthread_atfork(NULL, NULL, after_fork_in_child);
    done = !error;
    return error;
}

#endif
