/* Isolates a thread of ours from the program that it runs in: its descriptors, and the signals that it takes. Each function
   acts on the calling thread; with or without the GIL. */
#ifndef SNAPSAFE_ISOLATE_H
#define SNAPSAFE_ISOLATE_H

#include <sys/types.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

/* A private descriptor table: its numbers and the program's never alias. Zeros: there is none. The mark is a memfd by whose
   inode the table is known again. */
typedef struct {
    bool own;
    int mark;
    uint64_t mark_dev, mark_ino;
} ss_private_table;

/* Leaves the program's table for an empty one; there is no way back. False, with errno set, where the kernel (before 5.9, or
   a filter) does not let it. */
bool ss_isolate_descriptors(ss_private_table *table);

/* Is it still this thread's table? CRIU restores a process with one table for all threads, and a number of ours is then
   somebody else's file. */
bool ss_isolate_holds(const ss_private_table *table);

/* Blocks every signal but those that the kernel raises for an instruction: a load from a source that was truncated raises
   SIGBUS, which source.c handles, and a blocked SIGBUS kills past its handler. `ret_before` may be NULL. */
void ss_isolate_signals(sigset_t *ret_before);

/* Takes main's mask, as a thread has that main starts: for callbacks, whose child processes inherit the mask. Blocks what main
   waits for in sigwait(3) as well. Without /proc it changes nothing. */
void ss_isolate_as_main(void);

/* Waits until a thread that was joined is gone: pthread_join() returns before the kernel has stopped counting it, and CPython's
   fork() warns by that count. With an inotify it takes 8 ms, half as long again if this only yields. This gives up after half
   a second: a warning is no harm. */
void ss_isolate_gone(const pid_t *tid);

#endif
