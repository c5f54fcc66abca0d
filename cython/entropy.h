/* The entropy room: bytes that differ in every clone, even before the kernel noticed that it was restored.

   Kernel bytes, and while the fence is up XOR an independent stream: the CPU's (RDRAND or RDSEED, RNDR on arm64) or
   bytes the host handed over. Unique if either is. No generator and no cipher of our own. Nothing here touches a
   Python object or needs the GIL. */
#ifndef SNAPSAFE_ENTROPY_H
#define SNAPSAFE_ENTROPY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden) /* else each access to a variable loads its address first */

/* The slowest kernel (no VMGenID) reseeds by the clock once in CRNG_RESEED_INTERVAL, 60 s, at times 5 minutes. */
#define SS_FENCE_SECONDS 300
/* What passes between two looks at the fence counts for no more: CLOCK_MONOTONIC may jump over a restore by the time that the
   snapshot lay, and no kernel was reseeded by that. */
#define SS_FENCE_STEP_SECONDS 60

enum ss_fence {
    SS_FENCE_DOWN = 0,
    SS_FENCE_CPU,        /* up; the CPU's stream is mixed in */
    SS_FENCE_HOST,       /* up; bytes of notify_restored() are mixed in */
    SS_FENCE_DEGRADED    /* up; only clocks and jitter, conditioned by a hash: likely, not surely, unique */
};

/* Fills `out` with fenced entropy. 0, or -1 with errno set where neither the kernel nor the CPU gave any. */
int ss_entropy_fill(void *out, size_t size);

/* Mixes the independent stream into kernel bytes that somebody else drew. The caller has seen that the fence is up. */
void ss_entropy_mix_up(void *inout, size_t size);

/* Stirs the CPU's stream, or else the host's, and the clocks into bytes that the caller has had for itself until now. Asks the
   kernel for nothing but the time: for draws that are no system call in CPython either, so a program may have forbidden all
   others by a filter that kills. False where there is neither stream; the bytes may be changed then. */
bool ss_entropy_stir(void *inout, size_t size);

/* Raises the fence for a new epoch. Called under the epoch's mutex, before the new epoch is published; makes no system call but
   clock_gettime(2), for this may be within a draw. */
void ss_entropy_restored(void);

/* After a restore: makes the kernel reseed, once, where this process may (CAP_SYS_ADMIN), which lowers the fence. Opens the
   device for a moment, so this is never called within a draw: the watcher's runner, the restore event and
   notify_restored() do. Waits for another thread that is at it. Any thread that holds none of the core's locks. */
void ss_entropy_renew_kernel(void);

/* Raises the fence only: at activation, since a process may have been started right after a restore. */
void ss_entropy_raise(void);

/* Raises the fence and holds it up, whatever attests a reseed, while the program stands still for a snapshot: any moment may be
   the first one in a clone. `held` false ends that. */
void ss_entropy_hold(bool held);

/* Finds, ahead of any hook, the hash that degraded entropy needs. Call with no lock held. */
void ss_entropy_prepare(void);

/* From the fork handlers of epoch.c: the leaf lock must not be inherited from a thread that the child lacks. */
void ss_entropy_before_fork(void);
void ss_entropy_after_fork_in_parent(void);
void ss_entropy_after_fork_in_child(void);

/* Slow half of ss_fence_up(): whoever reads lowers the fence, when its time is over or somebody attests that the kernel was
   reseeded (ss_epoch_reseeded). */
bool ss_fence_still_up(void);

/* 0 while the fence is down, else the number of the raise it is up for. */
extern uint32_t ss_fence_flag;
static inline bool ss_fence_down(void) /* surely; else ss_fence_up() tells */
{
    return __builtin_expect(__atomic_load_n(&ss_fence_flag, __ATOMIC_ACQUIRE) == 0, 1);
}
static inline bool ss_fence_up(void)
{
    return !ss_fence_down() && ss_fence_still_up();
}

/* ss_entropy_mix_up(), if the fence is up. */
static inline void ss_entropy_mix(void *inout, size_t size)
{
    if (ss_fence_up())
        ss_entropy_mix_up(inout, size);
}

/* What the fence is judged by; the status page has its address. All atomic but for the host's three, which have a lock. */
typedef struct {
    int64_t started_ns;      /* CLOCK_MONOTONIC, which stands still while suspended: errs to longer */
    uint64_t failures;       /* fills that got no entropy from anywhere */
    uint64_t host_epoch;     /* the host's stream is good for this epoch alone */
    uint64_t host_size, host_used; /* the size is atomic: 0 while there is none */
    uint32_t kernel_reseeded; /* we did it ourselves after the last restore */
    uint32_t cpu;            /* a CPU stream is there; as of the last raise */
    uint32_t hash;           /* degraded entropy has a hash */
    uint32_t held;           /* it does not fall: any moment may be the first one in a clone */
    int64_t looked_ns;       /* when it was judged last */
} __attribute__((aligned(8))) ss_fence_state;

extern ss_fence_state ss_fence;

typedef struct {
    int fence;               /* enum ss_fence */
    double seconds_left;
    bool cpu;                /* a CPU stream is there */
    bool hash;               /* degraded entropy has a hash to condition it with */
    bool kernel_reseeded;    /* the last restore's reseed of the kernel was permitted and done */
    size_t host_left;        /* bytes of the host's stream not used yet */
    uint64_t failures;       /* fills that got no entropy from anywhere */
} ss_entropy_info;
void ss_entropy_inspect(ss_entropy_info *ret_info);

/* Hands over a stream derived from host bytes, good for `epoch` alone. Copies; returns 0 or ENOMEM. */
int ss_entropy_host(const void *bytes, size_t size, uint64_t epoch);

/* RNDADDENTROPY, then RNDRESEEDCRNG (Linux include/uapi/linux/random.h; either alone does nothing). `credit` counts
   bits. Returns 0 or an errno (EPERM without CAP_SYS_ADMIN). */
int ss_entropy_reseed_kernel(const void *bytes, size_t size, int credit);

/* For tests: as if this CPU had no random instruction. */
void ss_entropy_disable_cpu_for_testing(bool disabled);

#pragma GCC visibility pop

#endif
