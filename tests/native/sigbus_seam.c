/* LD_PRELOAD: two threads fault on a source's page at the same time. Both make their hole in the SIGBUS handler; the second
   fills it after the first has made its own read-only. */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static __thread int armed;
static _Atomic int arrived, mapped, sealed;

static void wait_for(_Atomic int *count, int least)
{
    while (atomic_load(count) < least)
        (void)sched_yield();
}

void *mmap(void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    const int number = armed ? atomic_fetch_add(&arrived, 1) + 1 : 0;
    if (number)
        wait_for(&arrived, 2);
    if (number == 2)
        wait_for(&mapped, 1);
    void *page = (void *)syscall(SYS_mmap, at, length, protection, flags, fd, offset);
    if (number)
        atomic_fetch_add(&mapped, 1);
    if (number == 2)
        wait_for(&sealed, 1);
    return page;
}

int mprotect(void *page, size_t length, int protection)
{
    if (armed)
        wait_for(&mapped, 2);
    const int outcome = (int)syscall(SYS_mprotect, page, length, protection);
    if (armed)
        atomic_fetch_add(&sealed, 1);
    return outcome;
}

static int (*draw)(unsigned char *, int);

static void *drawing(void *unused)
{
    unsigned char out[16];
    (void)unused;
    armed = 1;
    if (draw(out, sizeof out) != 1)
        abort();
    armed = 0;
    return NULL;
}

/* For the script: returns how many holes were made. */
int sigbus_draw_twice(int (*rand_bytes)(unsigned char *, int))
{
    pthread_t threads[2];
    draw = rand_bytes;
    for (int i = 0; i < 2; i++)
        if (pthread_create(&threads[i], NULL, drawing, NULL) != 0)
            abort();
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    return atomic_load(&mapped);
}
