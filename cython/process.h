/* The process room: tells this process from its parent and its children, whom it trusts, and a lock that no child inherits.
   Nothing here touches a Python object or needs the GIL. */
#ifndef SNAPSAFE_PROCESS_H
#define SNAPSAFE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden) /* else each access to a variable loads its address first */

/* Made by ss_process_setup(); never unmapped. The kernel zeroes it in children, of clone(2) too (MADV_WIPEONFORK). Where it
   does not (gVisor answers EINVAL), the token here stays 0, and the pid and pthread_atfork tell. */
typedef struct {
    uint64_t token; /* atomic; 0 until somebody asks */
    pid_t pid;      /* atomic; 0 until somebody asks */
} ss_process_page;

extern ss_process_page *ss_process;

/* The slow half of ss_process_token(): makes one where there is none, or where the pid tells that it is the parent's. */
uint64_t ss_process_token_made(void);

/* Changes in every process, forked or cloned: a number that no other living process of this epoch shares through
   memory. Never 0. Makes no system call but getrandom(2), and that once; getpid(2) where the page is not zeroed. */
static inline uint64_t ss_process_token(void)
{
    const uint64_t token = __atomic_load_n(&ss_process->token, __ATOMIC_ACQUIRE);
    return __builtin_expect(token != 0, 1) ? token : ss_process_token_made();
}

/* getpid(2), which is asked once in a process. */
pid_t ss_process_pid(void);

/* May this user decide what this process takes for true: by a file that it reads, by a socket that it connects to? Root and
   its own user may. In a user namespace the real root shows as the overflow uid, and is trusted by that number there; where
   nobody says whether this is one, it is not. Needs a descriptor for a moment, in that case only. */
bool ss_process_trusts(uid_t user);

/* A lock for what a hook must never wait for long. *lock is 0 while it is free, else the token of the process whose thread
   holds it: so a forked child finds free what a thread held that it lacks. Tries for a moment, yielding. False if another
   thread of this process, or this one, has it. */
bool ss_process_trylock(uint64_t *lock);

/* The same, waiting for as long as it takes: for what is held for a few instructions, at none of which a thread of Python can be
   stopped. The GIL is of no use where there is none, and a lock of CPython's would let go of the thread state. */
void ss_process_lock(uint64_t *lock);
void ss_process_unlock(uint64_t *lock);

/* Makes the page and registers the fork handlers, once for the process. Returns 0 or an errno. For ss_epoch_setup() alone. */
int ss_process_setup(void);

#pragma GCC visibility pop

#endif
