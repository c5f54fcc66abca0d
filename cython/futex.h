/* A futex word (futex(2)). Python threads wait on it without the GIL, whatever a program has patched into the threading
   modules. */
#ifndef SNAPSAFE_FUTEX_H
#define SNAPSAFE_FUTEX_H

#include <errno.h>
#include <linux/futex.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word is `seen`, for `nanoseconds` at most (negative: for ever). Returns 0 if the word may have moved, else
   ETIMEDOUT, or EINTR after a signal. Any thread; without the GIL. */
static inline int ss_futex_wait(uint32_t *word, uint32_t seen, int64_t nanoseconds)
{
    const struct timespec relative = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != seen)
        return 0;
    if (syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, nanoseconds < 0 ? NULL : &relative, NULL, 0) == 0)
        return 0;
    return errno == EAGAIN ? 0 : errno;
}

/* Moves the word and wakes all who sleep on it. Any thread, with or without the GIL. */
static inline void ss_futex_wake(uint32_t *word)
{
    (void)__atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL);
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

#endif
