/* LD_PRELOAD: a clock that a test can move. Each wait with an end, of any thread but the first, is over as soon as
   clock_move() says that so much time has passed, and on time without that. clock_waits() counts the threads that are in
   such a wait: where there are none, nothing wakes by itself, however long one looks. What the clock shows is not changed:
   CPython waits for its own lock by it. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define SLICE_MS 1 /* of real time: so soon does a wait see that the clock was moved */

static _Atomic int64_t moved_ms;
static _Atomic int waits;

void clock_move(long milliseconds)
{
    atomic_fetch_add(&moved_ms, milliseconds);
}

int clock_waits(void)
{
    return atomic_load(&waits);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000 + atomic_load(&moved_ms);
}

static int first_thread(void)
{
    return syscall(SYS_gettid) == getpid();
}

int poll(struct pollfd *fds, nfds_t count, int timeout)
{
    static int (*real)(struct pollfd *, nfds_t, int);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "poll");
    if (timeout <= 0 || first_thread())
        return real(fds, count, timeout);
    const int64_t until = now_ms() + timeout;
    int ready = 0;
    atomic_fetch_add(&waits, 1);
    while (now_ms() < until && ready == 0)
        ready = real(fds, count, SLICE_MS);
    atomic_fetch_sub(&waits, 1);
    return ready ? ready : real(fds, count, 0);
}

int sigtimedwait(const sigset_t *restrict set, siginfo_t *restrict info, const struct timespec *restrict timeout)
{
    static int (*real)(const sigset_t *, siginfo_t *, const struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "sigtimedwait");
    if (!timeout || first_thread())
        return real(set, info, timeout);
    const struct timespec slice = {.tv_nsec = SLICE_MS * 1000000L};
    const int64_t until = now_ms() + timeout->tv_sec * INT64_C(1000) + timeout->tv_nsec / 1000000;
    int taken = -1;
    errno = EAGAIN;
    atomic_fetch_add(&waits, 1);
    while (now_ms() < until && taken < 0 && errno == EAGAIN)
        taken = real(set, info, &slice);
    atomic_fetch_sub(&waits, 1);
    return taken;
}
