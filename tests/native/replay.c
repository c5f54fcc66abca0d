/* LD_PRELOAD: a machine that was restored and has not noticed. Kernel bytes and the clock go on from state in this process's
   memory, so every clone of the process is given the same ones; and nobody may reseed the kernel.

   SNAPSAFE_TEST_BUMP=PATH: the generation in that source moves once after the test set replay_armed: to 1 during the next draw
   of more than 256 bytes, to 2 when the time of a restore is noted. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/random.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

unsigned long replay_large_draws, replay_armed;

static uint64_t state = 1;
static uint64_t unix_ns = UINT64_C(1700000000000000000);

static void bump_once(unsigned long when)
{
    const char *path = getenv("SNAPSAFE_TEST_BUMP");
    uint64_t generation = 1000;
    if (!path || replay_armed != when)
        return;
    replay_armed = 0;
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
        bump_once(1);
    }
    return (ssize_t)size;
}

/* os.getrandom and some builds of OpenSSL come this way. */
long syscall(long number, ...)
{
    static long (*real)(long, ...);
    long a[6];
    va_list arguments;
    va_start(arguments, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(arguments, long);
    va_end(arguments);
    if (number == SYS_getrandom)
        return getrandom((void *)a[0], (size_t)a[1], (unsigned)a[2]);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "syscall");
    return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

/* OpenSSL's way to the kernel. */
int getentropy(void *out, size_t size)
{
    return getrandom(out, size, 0) < 0 ? -1 : 0;
}

/* The kernel's device: always the same bytes, whoever opened it and when. */
static const char *stale(const char *path)
{
    return strcmp(path, "/dev/urandom") && strcmp(path, "/dev/random") ? path : "/dev/zero";
}

int open(const char *path, int flags, ...)
{
    va_list arguments;
    va_start(arguments, flags);
    int mode = va_arg(arguments, int);
    va_end(arguments);
    return (int)syscall(SYS_openat, AT_FDCWD, stale(path), flags, mode);
}

int open64(const char *path, int flags, ...) __attribute__((alias("open")));

FILE *fopen(const char *path, const char *mode)
{
    static FILE *(*real)(const char *, const char *);
    if (!real)
        *(void **)&real = dlsym(RTLD_NEXT, "fopen");
    return real(stale(path), mode);
}

FILE *fopen64(const char *path, const char *mode) __attribute__((alias("fopen")));

/* getrandom(2) by an instruction in the library itself, or in libc (arc4random): a filter hands it to a signal handler. */
static void answer(int number, siginfo_t *info, void *context)
{
    mcontext_t *machine = &((ucontext_t *)context)->uc_mcontext;
    (void)number;
    (void)info;
#if defined(__x86_64__)
    machine->gregs[REG_RAX] = getrandom((void *)machine->gregs[REG_RDI], (size_t)machine->gregs[REG_RSI], 0);
#else
    machine->regs[0] = (uint64_t)getrandom((void *)machine->regs[0], (size_t)machine->regs[1], 0);
#endif
}

int replay_trap_getrandom(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getrandom, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
    struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
    return sigaction(SIGSYS, &action, NULL) || prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, now);
    bump_once(2);
    unix_ns += 100; /* a millisecond lasts ten thousand looks */
    now->tv_sec = (time_t)(unix_ns / 1000000000);
    now->tv_nsec = (long)(unix_ns % 1000000000);
    return 0;
}

#if defined(__x86_64__)
/* From here on rdtsc and rdtscp give the same count in this thread and those it starts: OpenSSL 1.1.1 mixes it into each
   draw, and clones that are restored side by side read the same one. */
static void emulate_tsc(int number, siginfo_t *info, void *context)
{
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    const unsigned char *code = (const unsigned char *)registers[REG_RIP];
    (void)info;
    if (code[0] == 0x0f && code[1] == 0x31) {
        registers[REG_RIP] += 2;
    } else if (code[0] == 0x0f && code[1] == 0x01 && code[2] == 0xf9) {
        registers[REG_RIP] += 3;
        registers[REG_RCX] = 0;
    } else {
        signal(number, SIG_DFL);
        return;
    }
    registers[REG_RAX] = 12345;
    registers[REG_RDX] = 0;
}

int replay_freeze_tsc(void)
{
    struct sigaction action = {.sa_sigaction = emulate_tsc, .sa_flags = SA_SIGINFO};
    return sigaction(SIGSEGV, &action, NULL) || prctl(PR_SET_TSC, PR_TSC_SIGSEGV, 0, 0, 0);
}
#endif

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
