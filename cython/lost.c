#include "lost.h"

#include "process.h"

#include <pthread.h>
#include <stddef.h>

/* All atomic. */
static bool wanted;
static uint64_t started_by; /* token of the process whose threads they are, 0 if there are none */
static bool forked;         /* a fork handler found threads missing, and nobody resumed yet */
static void (*on_lost)(void);

static pthread_key_t at_thread_end;
static void (*at_end)(void);

static void on_thread_end(void *unused)
{
    (void)unused;
    at_end();
}

int ss_lost_setup(void (*pause)(void))
{
    at_end = pause;
    return pthread_key_create(&at_thread_end, on_thread_end);
}

void ss_lost_wanted(bool now) { __atomic_store_n(&wanted, now, __ATOMIC_RELEASE); }

void ss_lost_started(bool started)
{
    __atomic_store_n(&started_by, started ? ss_process_token() : 0, __ATOMIC_RELEASE);
}

void ss_lost_forked(void)
{
    (void)pthread_setspecific(at_thread_end, &at_thread_end);
    __atomic_store_n(&started_by, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&forked, true, __ATOMIC_RELEASE);
}

void ss_lost_resumed(void) { __atomic_store_n(&forked, false, __ATOMIC_RELEASE); }

bool ss_lost_elsewhere(void)
{
    const uint64_t starter = __atomic_load_n(&started_by, __ATOMIC_ACQUIRE);
    return starter != 0 && starter != ss_process_token();
}

bool ss_watcher_lost(void)
{
    return __atomic_load_n(&wanted, __ATOMIC_ACQUIRE) && (__atomic_load_n(&forked, __ATOMIC_ACQUIRE) || ss_lost_elsewhere());
}

void ss_watcher_tell_lost(void (*told)(void)) { __atomic_store_n(&on_lost, told, __ATOMIC_RELEASE); }

bool ss_lost_told(void)
{
    void (*told)(void) = __atomic_load_n(&on_lost, __ATOMIC_ACQUIRE);
    const bool lost = ss_watcher_lost();
    if (lost && told)
        told();
    return lost;
}
