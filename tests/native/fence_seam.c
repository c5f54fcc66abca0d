/* LD_PRELOAD, before replay.c: while a restore is being noted, when the fence is up already and the rest is not written yet,
   another thread asks whether it is up: it lets SQLite take a seed, which looks at no generation. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/random.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/ioctl.h>

/* For the scripts. */
void (*fence_randomness)(int, void *); /* sqlite3_randomness(); NULL while nothing is asked */
unsigned long fence_asked;

static void *seeding(void *unused)
{
    char byte;
    fence_randomness(0, NULL);
    fence_randomness(sizeof byte, &byte);
    return unused;
}

int ioctl(int fd, unsigned long request, ...)
{
    static int (*real)(int, unsigned long, ...);
    pthread_t other;
    va_list arguments;
    va_start(arguments, request);
    void *argument = va_arg(arguments, void *);
    va_end(arguments);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "ioctl");
    if (request == RNDADDENTROPY && fence_randomness) {
        if (pthread_create(&other, NULL, seeding, NULL) != 0 || pthread_join(other, NULL) != 0)
            abort();
        fence_asked++;
    }
    return real(fd, request, argument);
}
