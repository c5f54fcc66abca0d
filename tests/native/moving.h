/* A generation that a thread of the test moves, and the log that tells which change was complete at what time. The time
   stamp counter is one clock for all cores. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <time.h>

#if defined(__x86_64__)
#include <x86intrin.h>
static uint64_t now(void) { unsigned core; _mm_lfence(); uint64_t t = __rdtscp(&core); _mm_lfence(); return t; }
#else
static uint64_t now(void) { uint64_t t; __asm__ volatile("isb\n\tmrs %0, cntvct_el0\n\tisb" : "=r"(t)); return t; }
#endif

#define LOG 65536
static _Atomic uint64_t log_time[LOG], log_generation[LOG], log_count;
static unsigned char *page; /* the source, writable; NULL while nothing moves */
static _Atomic int running;

static uint64_t generation(void) { return page ? __atomic_load_n((uint64_t *)(page + 0x68), __ATOMIC_ACQUIRE) : 0; }

static void bump(void)
{
    uint32_t *seq = (uint32_t *)(page + 0x0c);
    uint64_t next = generation() + 1;
    __atomic_store_n(seq, *seq | 1, __ATOMIC_SEQ_CST);
    __atomic_store_n((uint64_t *)(page + 0x68), next, __ATOMIC_SEQ_CST);
    __atomic_store_n(seq, *seq + 1, __ATOMIC_SEQ_CST);
    uint64_t place = atomic_load(&log_count);
    atomic_store(&log_generation[place % LOG], next);
    atomic_store(&log_time[place % LOG], now());
    atomic_store(&log_count, place + 1);
}

/* The thread that moves it, every so many nanoseconds, while `running`. */
static void *bumping(void *pause)
{
    while (atomic_load(&running)) {
        struct timespec wait = {0, (long)(intptr_t)pause};
        bump();
        nanosleep(&wait, NULL);
    }
    return NULL;
}

/* The newest change that was complete at `time`; 0 if the log does not reach back. */
static uint64_t complete_at(uint64_t time)
{
    uint64_t count = atomic_load(&log_count);
    for (uint64_t i = count; i > 0 && i + LOG > count + 1; i--)
        if (atomic_load(&log_time[(i - 1) % LOG]) < time)
            return atomic_load(&log_generation[(i - 1) % LOG]);
    return 0;
}
