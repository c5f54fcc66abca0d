/* LD_PRELOAD: a CLOCK_MONOTONIC that may jump, or stand still, as a machine's does over a restore. What it shows stands in the
   file that JUMP_FILE names, two int64: nanoseconds to add, and, if not 0, what to show instead. Waits take their real time. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *now)
{
    static int (*real)(clockid_t, struct timespec *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "clock_gettime");
    const int outcome = real(clock, now);
    int64_t words[2] = {0, 0};
    const char *path = getenv("JUMP_FILE");
    const int fd = path && (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (read(fd, words, sizeof words) == sizeof words) {
            const int64_t shown = words[1] ? words[1] : now->tv_sec * INT64_C(1000000000) + now->tv_nsec + words[0];
            now->tv_sec = shown / 1000000000;
            now->tv_nsec = shown % 1000000000;
        }
        (void)close(fd);
    }
    return outcome;
}
