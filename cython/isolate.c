#define _GNU_SOURCE 1
#include "isolate.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef CLOSE_RANGE_UNSHARE
#define CLOSE_RANGE_UNSHARE (1U << 1)
#endif

bool ss_isolate_holds(const ss_private_table *table)
{
    struct stat st;
    return table->own && fstat(table->mark, &st) == 0 && st.st_dev == table->mark_dev && st.st_ino == table->mark_ino;
}

bool ss_isolate_descriptors(ss_private_table *table)
{
    struct stat st;
    table->own = false;
    if (syscall(SYS_close_range, 0U, ~0U, CLOSE_RANGE_UNSHARE) != 0)
        return false;
    table->mark = memfd_create("snapsafe-watch", MFD_CLOEXEC);
    if (table->mark < 0 || fstat(table->mark, &st) != 0)
        return false;
    table->mark_dev = st.st_dev;
    table->mark_ino = st.st_ino;
    table->own = true;
    return true;
}

/* ---- signals ---- */

void ss_isolate_signals(sigset_t *ret_before)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t mask;
    sigfillset(&mask);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        (void)sigdelset(&mask, faults[i]);
    (void)pthread_sigmask(SIG_SETMASK, &mask, ret_before);
}

/* Reads the beginning of a file of /proc as text. False if there is none. */
static bool read_text(const char *path, char *ret_text, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : read(fd, ret_text, size - 1);
    if (fd >= 0)
        (void)close(fd);
    ret_text[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* The signals that main waits for in sigwait(3), as bits; else 0. The bug that this prevents: main blocks SIGTERM and waits for
   it. While it waits, the kernel takes SIGTERM out of the mask that /proc shows. A thread of ours that copied this mask would
   take the next SIGTERM in main's place, and the program would die of it. */
static uint64_t awaited_by_main(void)
{
    char text[256];
    long call = -1;
    unsigned long long set = 0;
    uint64_t bits = 0;
    if (!read_text("/proc/self/syscall", text, sizeof text) || sscanf(text, "%ld 0x%llx", &call, &set) != 2 ||
        call != SYS_rt_sigtimedwait)
        return 0;
    const struct iovec here = {.iov_base = &bits, .iov_len = sizeof bits};
    const struct iovec there = {.iov_base = (void *)(uintptr_t)set, .iov_len = sizeof bits};
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof bits ? bits : 0; /* main may wait no more */
}

void ss_isolate_as_main(void)
{
    char text[4096];
    unsigned long long blocked = awaited_by_main();
    const char *line = read_text("/proc/self/status", text, sizeof text) ? strstr(text, "\nSigBlk:") : NULL;
    if (!line) /* it is that of the thread group's leader: main */
        return;
    blocked |= strtoull(line + sizeof "\nSigBlk:" - 1, NULL, 16) | awaited_by_main(); /* again: the wait may have begun since */
    sigset_t mask;
    sigemptyset(&mask);
    for (int i = 1; i <= 64; i++) {
        if (blocked & 1ULL << (i - 1))
            (void)sigaddset(&mask, i);
    }
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
}

void ss_isolate_gone(const pid_t *tid)
{
    static const struct timespec nap = {.tv_nsec = 200000L};
    for (int i = 0; i < 2500 && syscall(SYS_tgkill, getpid(), __atomic_load_n(tid, __ATOMIC_ACQUIRE), 0) == 0; i++)
        (void)(i < 20 ? sched_yield() : nanosleep(&nap, NULL));
}
