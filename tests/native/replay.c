/* LD_PRELOAD: a machine that was restored and has not noticed. Kernel bytes and the clock go on from state in this process's
   memory, so every clone of the process is given the same ones; and nobody may reseed the kernel.

   SNAPSAFE_TEST_BUMP=PATH: the generation in that source moves during the next draw of more than 256 bytes, once. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

unsigned long replay_large_draws;

static uint64_t state = 1;
static uint64_t unix_ns = UINT64_C(1700000000000000000);

static void bump_once(void)
{
    const char *path = getenv("SNAPSAFE_TEST_BUMP");
    uint64_t generation = 1000;
    if (!path || replay_large_draws != 1)
        return;
    int fd = open(path, O_RDWR);
    if (fd < 0 || pwrite(fd, &generation, sizeof generation, 0x68) != (ssize_t)sizeof generation)
        abort();
    close(fd);
}

ssize_t getrandom(void *out, size_t size, unsigned flags)
{
    unsigned char *bytes = out;
    (void)flags;
    for (size_t i = 0; i < size; i++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        bytes[i] = (unsigned char)(state >> 32);
    }
    if (size > 256) {
        replay_large_draws++;
        bump_once();
    }
    return (ssize_t)size;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, now);
    unix_ns += 100; /* a millisecond lasts ten thousand looks */
    now->tv_sec = (time_t)(unix_ns / 1000000000);
    now->tv_nsec = (long)(unix_ns % 1000000000);
    return 0;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec exact;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

int ioctl(int fd, unsigned long request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (request == RNDADDENTROPY || request == RNDRESEEDCRNG) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_ioctl, fd, request, argument);
}
