#define _GNU_SOURCE
#include "mask.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

void ss_mask_block(sigset_t *ret_before)
{
    static const int faults[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP};
    sigset_t mask;
    sigfillset(&mask);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        (void)sigdelset(&mask, faults[i]);
    (void)pthread_sigmask(SIG_SETMASK, &mask, ret_before);
}

/* The start of a file of /proc, in text. False if there is none. */
static bool read_text(const char *path, char *ret_text, size_t size)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : read(fd, ret_text, size - 1);
    if (fd >= 0)
        (void)close(fd);
    ret_text[got > 0 ? got : 0] = 0;
    return got > 0;
}

/* What main waits for in sigwait(3), as bits; else 0. The kernel counts it as not blocked meanwhile: taken for main's mask,
   that would let a thread of ours die of a signal that main was about to take. */
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
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof bits ? bits : 0; /* main may be gone from there */
}

void ss_mask_adopt_main(void)
{
    char text[4096];
    unsigned long long blocked = awaited_by_main();
    const char *line = read_text("/proc/self/status", text, sizeof text) ? strstr(text, "\nSigBlk:") : NULL;
    if (!line) /* of the thread group's leader */
        return;
    blocked |= strtoull(line + sizeof "\nSigBlk:" - 1, NULL, 16) | awaited_by_main(); /* it may have begun meanwhile */
    sigset_t mask;
    sigemptyset(&mask);
    for (int i = 1; i <= 64; i++) {
        if (blocked & 1ULL << (i - 1))
            (void)sigaddset(&mask, i);
    }
    (void)pthread_sigmask(SIG_SETMASK, &mask, NULL);
}
