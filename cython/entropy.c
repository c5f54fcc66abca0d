#define _GNU_SOURCE 1
#include "entropy.h"

#include "epoch_state.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/random.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
/* glibc has asked the CPU already: in a guest CPUID is an exit to the hypervisor, some 10 us. (musl has no __GLIBC_PREREQ.) */
#if defined(__GLIBC__)
#if __GLIBC_PREREQ(2, 33)
#include <sys/platform/x86.h>
#define CPU_FEATURES_KNOWN 1
#endif
#endif
#endif

uint32_t ss_fence_flag;

ss_fence_state ss_fence;

/* Atomic: the number of the raise for the last restore, until the kernel was made to reseed after it; else 0. */
static uint32_t kernel_is_stale;

static int cpu_disabled_for_testing;

/* ---- the CPU's stream ---- */

enum { CPU_UNKNOWN = 0, CPU_NONE, CPU_RDRAND, CPU_RDSEED, CPU_RNDR };

/* Intel SDM 7.3.17: ten tries; RDSEED may run dry for longer. */
#define CPU_TRIES 10

#if defined(__x86_64__)
__attribute__((target("rdrnd"))) static bool rdrand_word(uint64_t *out)
{
    for (int i = 0; i < CPU_TRIES; i++)
        if (_rdrand64_step((unsigned long long *)out))
            return true;
    return false;
}

__attribute__((target("rdseed"))) static bool rdseed_word(uint64_t *out)
{
    for (int i = 0; i < 100 * CPU_TRIES; i++) {
        if (_rdseed64_step((unsigned long long *)out))
            return true;
        _mm_pause();
    }
    return false;
}

static bool cpu_word_by(int kind, uint64_t *out)
{
    return kind == CPU_RDRAND ? rdrand_word(out) : kind == CPU_RDSEED ? rdseed_word(out) : false;
}

static int cpu_candidates(int *kinds)
{
    int count = 0;
#ifdef CPU_FEATURES_KNOWN
    if (CPU_FEATURE_PRESENT(RDRAND))
        kinds[count++] = CPU_RDRAND;
    if (CPU_FEATURE_PRESENT(RDSEED))
        kinds[count++] = CPU_RDSEED;
#else
    unsigned a, b, c, d;
    if (__get_cpuid(1, &a, &b, &c, &d) && (c & bit_RDRND))
        kinds[count++] = CPU_RDRAND;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_RDSEED))
        kinds[count++] = CPU_RDSEED;
#endif
    return count;
}

static uint64_t cycle_counter(void) { return __rdtsc(); }
#else
#ifndef HWCAP2_RNG
#define HWCAP2_RNG (1 << 16) /* Linux arch/arm64/include/uapi/asm/hwcap.h */
#endif

/* RNDR, Arm ARM D24.2.148: sets NZCV to 0b0100 (Z) on failure. Written by its encoding: older assemblers lack the name. */
static bool cpu_word_by(int kind, uint64_t *out)
{
    if (kind != CPU_RNDR)
        return false;
    for (int i = 0; i < CPU_TRIES; i++) {
        uint64_t value, good;
        __asm__ volatile("mrs %0, s3_3_c2_c4_0\n\tcset %1, ne" : "=r"(value), "=r"(good) : : "cc");
        if (good) {
            *out = value;
            return true;
        }
    }
    return false;
}

static int cpu_candidates(int *kinds)
{
    int count = 0;
    if (getauxval(AT_HWCAP2) & HWCAP2_RNG)
        kinds[count++] = CPU_RNDR;
    return count;
}

static uint64_t cycle_counter(void)
{
    uint64_t value;
    __asm__ volatile("isb\n\tmrs %0, cntvct_el0" : "=r"(value));
    return value;
}
#endif

/* Some AMD parts return all ones, with success, after a suspend (CVE-free erratum; Linux disables RDRAND there). */
static bool cpu_plausible(int kind)
{
    uint64_t first, word;
    if (!cpu_word_by(kind, &first))
        return false;
    for (int i = 0; i < 8; i++)
        if (cpu_word_by(kind, &word) && word != first)
            return true;
    return false;
}

/* The instruction to use, found once. Racing threads find the same. */
static int cpu_kind(void)
{
    static int found;
    int kind = __atomic_load_n(&found, __ATOMIC_ACQUIRE);
    if (kind == CPU_UNKNOWN) {
        int kinds[2], count = cpu_candidates(kinds);
        kind = CPU_NONE;
        for (int i = 0; i < count && kind == CPU_NONE; i++)
            if (cpu_plausible(kinds[i]))
                kind = kinds[i];
        __atomic_store_n(&found, kind, __ATOMIC_RELEASE);
    }
    return __atomic_load_n(&cpu_disabled_for_testing, __ATOMIC_ACQUIRE) ? CPU_NONE : kind;
}

void ss_entropy_disable_cpu_for_testing(bool disabled)
{
    __atomic_store_n(&cpu_disabled_for_testing, disabled, __ATOMIC_RELEASE);
}

#if defined(__x86_64__)
/* Whole words by RDRAND, without a call for each: a pool takes 508 at once. Returns how many bytes were mixed. */
__attribute__((target("rdrnd"))) static size_t rdrand_mix(unsigned char *bytes, size_t size)
{
    size_t done = 0;
    unsigned long long word;
    for (; size - done >= sizeof word && _rdrand64_step(&word); done += sizeof word) {
        unsigned long long mixed;
        memcpy(&mixed, bytes + done, sizeof mixed);
        mixed ^= word;
        memcpy(bytes + done, &mixed, sizeof mixed);
    }
    return done;
}
#endif

/* XORs the CPU's stream over the bytes; false (and the bytes partly mixed) where it ran dry. */
static bool cpu_mix(unsigned char *bytes, size_t size)
{
    int kind = cpu_kind();
    if (kind == CPU_NONE)
        return false;
#if defined(__x86_64__)
    if (kind == CPU_RDRAND) {
        const size_t done = rdrand_mix(bytes, size);
        bytes += done;
        size -= done;
    }
#endif
    while (size) {
        uint64_t word, part = 0;
        size_t step = size < sizeof word ? size : sizeof word;
        if (!cpu_word_by(kind, &word))
            return false;
        memcpy(&part, bytes, step);
        part ^= word;
        memcpy(bytes, &part, step);
        bytes += step;
        size -= step;
    }
    return true;
}

/* ---- the host's stream ---- */

/* A leaf lock: nothing is called while it is held. */
static pthread_mutex_t host_mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *host_bytes;

static void host_drop(void)
{
    if (host_bytes)
        explicit_bzero(host_bytes, ss_fence.host_size);
    free(host_bytes);
    host_bytes = NULL;
    __atomic_store_n(&ss_fence.host_size, 0, __ATOMIC_RELEASE);
    ss_fence.host_used = 0;
}

int ss_entropy_host(const void *bytes, size_t size, uint64_t epoch)
{
    unsigned char *copy = malloc(size ? size : 1);
    if (!copy)
        return ENOMEM;
    memcpy(copy, bytes, size);
    (void)pthread_mutex_lock(&host_mutex);
    host_drop();
    host_bytes = copy;
    __atomic_store_n(&ss_fence.host_size, size, __ATOMIC_RELEASE);
    ss_fence.host_epoch = epoch;
    (void)pthread_mutex_unlock(&host_mutex);
    return 0;
}

/* XORs unused bytes of the host's stream over the bytes, each once; false where it does not reach. The stream lies in
   this process's memory, so it is in every clone made from here on: it is good for its own epoch alone. */
static bool host_mix(unsigned char *bytes, size_t size)
{
    bool mixed = false;
    if (!__atomic_load_n(&ss_fence.host_size, __ATOMIC_ACQUIRE))
        return false; /* nobody handed anything over, and no draw pays for a lock */
    (void)pthread_mutex_lock(&host_mutex);
    if (host_bytes && ss_fence.host_epoch == __atomic_load_n(&ss_hot.epoch, __ATOMIC_ACQUIRE) &&
        ss_fence.host_size - ss_fence.host_used >= size) {
        for (size_t i = 0; i < size; i++)
            bytes[i] ^= host_bytes[ss_fence.host_used + i];
        explicit_bzero(host_bytes + ss_fence.host_used, size);
        ss_fence.host_used += size;
        mixed = true;
    }
    (void)pthread_mutex_unlock(&host_mutex);
    return mixed;
}

/* Held while the kernel is made to reseed, so that whoever comes second finds it done. */
static pthread_mutex_t kernel_mutex = PTHREAD_MUTEX_INITIALIZER;

void ss_entropy_before_fork(void)
{
    (void)pthread_mutex_lock(&kernel_mutex);
    (void)pthread_mutex_lock(&host_mutex);
}

void ss_entropy_after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&host_mutex);
    (void)pthread_mutex_unlock(&kernel_mutex);
}

void ss_entropy_after_fork_in_child(void)
{
    (void)pthread_mutex_init(&host_mutex, NULL);
    (void)pthread_mutex_init(&kernel_mutex, NULL);
}

static size_t host_left(void)
{
    (void)pthread_mutex_lock(&host_mutex);
    size_t left = 0;
    if (ss_fence.host_epoch == __atomic_load_n(&ss_hot.epoch, __ATOMIC_ACQUIRE))
        left = ss_fence.host_size - ss_fence.host_used;
    (void)pthread_mutex_unlock(&host_mutex);
    return left;
}

/* ---- degraded: clocks and jitter, through an established hash ---- */

#define JITTER_WORDS 32

/* Cycle counts between loads of a walk whose timing caches, interrupts and other guests disturb, then every clock. Not
   credited as entropy anywhere. */
static void gather_jitter(uint64_t words[JITTER_WORDS])
{
    static const clockid_t clocks[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_BOOTTIME, CLOCK_PROCESS_CPUTIME_ID,
                                       CLOCK_THREAD_CPUTIME_ID};
    volatile unsigned char walk[4096];
    int n = 0;
    for (size_t i = 0; i < sizeof clocks / sizeof *clocks; i++) {
        struct timespec now;
        (void)clock_gettime(clocks[i], &now);
        words[n++] = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    words[n++] = (uint64_t)(uintptr_t)&walk;
    for (; n < JITTER_WORDS; n++) {
        words[n] = cycle_counter();
        for (size_t i = 0; i < 64; i++)
            walk[(words[n] * 64 + i * 67) % sizeof walk]++;
    }
}

typedef unsigned char *(*sha512_function)(const unsigned char *, size_t, unsigned char *);

static sha512_function degraded_sha512; /* atomic; NULL if the machine has no libcrypto */

/* SHA512() of the system's libcrypto (SHA512(3), OpenSSL 1.1.1 to 3.6), and only where the CPU has no stream. */
void ss_entropy_prepare(void)
{
    static const char *const names[] = {"libcrypto.so.3", "libcrypto.so.1.1"};
    sha512_function function = NULL;
    if (cpu_kind() != CPU_NONE || __atomic_load_n(&degraded_sha512, __ATOMIC_ACQUIRE))
        return;
    for (size_t i = 0; !function && i < sizeof names / sizeof *names; i++) {
        void *handle = dlopen(names[i], RTLD_NOW | RTLD_LOCAL);
        if (handle)
            *(void **)&function = dlsym(handle, "SHA512"); /* the handle stays: the function is used for good */
    }
    __atomic_store_n(&degraded_sha512, function, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_fence.hash, function != NULL, __ATOMIC_RELEASE);
}

static void degraded_mix(unsigned char *bytes, size_t size)
{
    static uint64_t counter;
    struct {
        unsigned char kernel[64];
        uint64_t jitter[JITTER_WORDS];
        uint64_t count;
    } input;
    unsigned char digest[64];
    sha512_function sha512 = __atomic_load_n(&degraded_sha512, __ATOMIC_ACQUIRE);
    while (size) {
        size_t step = size < sizeof digest ? size : sizeof digest;
        memset(&input, 0, sizeof input);
        memcpy(input.kernel, bytes, step);
        gather_jitter(input.jitter);
        input.count = __atomic_add_fetch(&counter, 1, __ATOMIC_RELAXED);
        if (sha512) {
            (void)sha512((const unsigned char *)&input, sizeof input, digest);
            memcpy(bytes, digest, step);
        }
        bytes += step;
        size -= step;
    }
    explicit_bzero(&input, sizeof input);
    explicit_bzero(digest, sizeof digest);
}

/* ---- the kernel ---- */

/* As CPython's os.urandom: getrandom(2), else the device where a sandbox forbids the call. */
static int kernel_fill(unsigned char *out, size_t size)
{
    if (getrandom(out, size, 0) == (ssize_t)size)
        return 0;
    while (size) {
        ssize_t got = getrandom(out, size, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            break;
        out += got;
        size -= (size_t)got;
    }
    if (!size)
        return 0;
    int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (size) {
        ssize_t got = read(fd, out, size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            close(fd);
            return -1;
        }
        out += got;
        size -= (size_t)got;
    }
    close(fd);
    return 0;
}

int ss_entropy_reseed_kernel(const void *bytes, size_t size, int credit)
{
    struct {
        int entropy_count;
        int buf_size;
        unsigned char buf[512];
    } pool; /* struct rand_pool_info with room */
    int error = 0, fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return errno;
    if (size > sizeof pool.buf)
        size = sizeof pool.buf;
    memcpy(pool.buf, bytes, size);
    pool.entropy_count = credit;
    pool.buf_size = (int)size;
    if (ioctl(fd, RNDADDENTROPY, &pool) != 0 || ioctl(fd, RNDRESEEDCRNG) != 0)
        error = errno;
    explicit_bzero(&pool, sizeof pool);
    close(fd);
    return error;
}

/* ---- the fence ---- */

static int64_t monotonic_ns(clockid_t clock)
{
    struct timespec now;
    (void)clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void ss_entropy_raise(void)
{
    static uint32_t raises;
    uint32_t number = __atomic_add_fetch(&raises, 1, __ATOMIC_RELAXED);
    __atomic_store_n(&ss_fence.cpu, cpu_kind() != CPU_NONE, __ATOMIC_RELEASE);
    const int64_t now = monotonic_ns(CLOCK_MONOTONIC);
    __atomic_store_n(&ss_fence.looked_ns, now, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_fence.started_ns, now, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_fence_flag, number ? number : 1, __ATOMIC_RELEASE);
}

void ss_entropy_hold(bool held)
{
    __atomic_store_n(&ss_fence.held, held, __ATOMIC_RELEASE);
    if (held)
        ss_entropy_raise();
}

void ss_entropy_restored(void)
{
    ss_entropy_raise();
    /* In this order: see ss_entropy_renew_kernel(). */
    __atomic_store_n(&kernel_is_stale, __atomic_load_n(&ss_fence_flag, __ATOMIC_ACQUIRE), __ATOMIC_SEQ_CST);
    __atomic_store_n(&ss_fence.kernel_reseeded, 0, __ATOMIC_SEQ_CST);
}

static bool may_reseed_kernel(void)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};
    return syscall(SYS_capget, &header, data) == 0 && data[0].effective & 1U << CAP_SYS_ADMIN;
}

/* False where it was not permitted, or where the kernel could be fed with clocks and jitter alone: it is then likely unique,
   not surely. Those are credited with nothing. The reseed is forced, whether or not anything was credited. */
static bool feed_kernel(void)
{
    unsigned char seed[64] = {0};
    uint64_t jitter[JITTER_WORDS];
    unsigned char all[sizeof seed + sizeof jitter];
    const bool cpu = cpu_mix(seed, sizeof seed);
    gather_jitter(jitter);
    memcpy(all, seed, sizeof seed);
    memcpy(all + sizeof seed, jitter, sizeof jitter);
    const bool done = ss_entropy_reseed_kernel(all, sizeof all, cpu ? 8 * (int)sizeof seed : 0) == 0;
    explicit_bzero(seed, sizeof seed);
    explicit_bzero(all, sizeof all);
    return done && cpu;
}

void ss_entropy_renew_kernel(void)
{
    (void)pthread_mutex_lock(&kernel_mutex);
    uint32_t number = __atomic_load_n(&kernel_is_stale, __ATOMIC_SEQ_CST), stale = number;
    if (number && may_reseed_kernel() && feed_kernel() &&
        __atomic_compare_exchange_n(&kernel_is_stale, &stale, 0, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        __atomic_store_n(&ss_fence.kernel_reseeded, 1, __ATOMIC_SEQ_CST);
        if (__atomic_load_n(&kernel_is_stale, __ATOMIC_SEQ_CST)) /* restored again meanwhile */
            __atomic_store_n(&ss_fence.kernel_reseeded, 0, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&ss_fence.held, __ATOMIC_ACQUIRE))
            (void)__atomic_compare_exchange_n(&ss_fence_flag, &number, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE);
    }
    (void)pthread_mutex_unlock(&kernel_mutex);
}

#define SECOND INT64_C(1000000000)

/* The last look is longer ago than a second, or ahead of now. What the clock has moved by beyond what a look counts for is taken
   out of the fence's age. */
static __attribute__((noinline)) void fence_looked(int64_t looked, int64_t now)
{
    const int64_t passed = now - looked;
    const int64_t counts = passed < 0 ? 0 : passed < SS_FENCE_STEP_SECONDS * SECOND ? passed : SS_FENCE_STEP_SECONDS * SECOND;
    if (__atomic_compare_exchange_n(&ss_fence.looked_ns, &looked, now, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        (void)__atomic_add_fetch(&ss_fence.started_ns, passed - counts, __ATOMIC_ACQ_REL);
}

static int64_t fence_ns_left(void)
{
    /* The coarse clock: this is on every draw while the fence is up. It may be a tick behind. */
    const int64_t now = monotonic_ns(CLOCK_MONOTONIC_COARSE);
    const int64_t looked = __atomic_load_n(&ss_fence.looked_ns, __ATOMIC_ACQUIRE);
    if (SS_UNLIKELY((uint64_t)(now - looked + SECOND) > 2 * (uint64_t)SECOND))
        fence_looked(looked, now);
    return SS_FENCE_SECONDS * SECOND - (now - __atomic_load_n(&ss_fence.started_ns, __ATOMIC_ACQUIRE));
}

static double fence_seconds_left(void)
{
    const double left = (double)fence_ns_left() * 1e-9;
    return left < 1 && __atomic_load_n(&ss_fence.held, __ATOMIC_ACQUIRE) ? 1 : left;
}

bool ss_fence_still_up(void)
{
    uint32_t number = __atomic_load_n(&ss_fence_flag, __ATOMIC_ACQUIRE);
    if (number && (__atomic_load_n(&ss_fence.held, __ATOMIC_ACQUIRE) || (fence_ns_left() > 0 && !ss_epoch_reseeded())))
        return true;
    /* Only the fence that was judged may fall: another thread can have raised it anew meanwhile. */
    return !__atomic_compare_exchange_n(&ss_fence_flag, &number, 0, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) &&
           number != 0;
}

void ss_entropy_mix_up(void *inout, size_t size)
{
    bool host = host_mix(inout, size);
    bool cpu = cpu_mix(inout, size);
    if (!host && !cpu)
        degraded_mix(inout, size);
}

int ss_entropy_fill(void *out, size_t size)
{
    if (kernel_fill(out, size) == 0) {
        ss_entropy_mix(out, size);
        return 0;
    }
    int error = errno;
    memset(out, 0, size);
    if (cpu_mix(out, size))
        return 0;
    __atomic_add_fetch(&ss_fence.failures, 1, __ATOMIC_RELAXED);
    errno = error ? error : EIO;
    return -1;
}

bool ss_entropy_stir(void *inout, size_t size)
{
    struct {
        struct timespec real, monotonic;
        uint64_t cycles;
    } now;
    unsigned char *bytes = inout;
    const bool host = host_mix(bytes, size);
    if (!cpu_mix(bytes, size) && !host)
        return false;
    (void)clock_gettime(CLOCK_REALTIME, &now.real);
    (void)clock_gettime(CLOCK_MONOTONIC, &now.monotonic);
    now.cycles = cycle_counter();
    for (size_t i = 0; i < size && i < sizeof now; i++)
        bytes[i] ^= ((unsigned char *)&now)[i];
    return true;
}

void ss_entropy_inspect(ss_entropy_info *ret_info)
{
    ret_info->host_left = host_left();
    ret_info->cpu = cpu_kind() != CPU_NONE;
    ret_info->hash = __atomic_load_n(&degraded_sha512, __ATOMIC_ACQUIRE) != NULL;
    ret_info->kernel_reseeded = __atomic_load_n(&ss_fence.kernel_reseeded, __ATOMIC_ACQUIRE);
    ret_info->failures = __atomic_load_n(&ss_fence.failures, __ATOMIC_RELAXED);
    ret_info->fence = !ss_fence_up()        ? SS_FENCE_DOWN
                      : ret_info->cpu       ? SS_FENCE_CPU
                      : ret_info->host_left ? SS_FENCE_HOST
                                            : SS_FENCE_DEGRADED;
    ret_info->seconds_left = ret_info->fence == SS_FENCE_DOWN ? 0 : fence_seconds_left();
}
