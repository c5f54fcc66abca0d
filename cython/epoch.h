/* The epoch room: the process's own count of restores, and the two checks every guard makes.

   draw(state):  e = ss_look();  if (state.tag != e) reseed;  value = original();  if (ss_stands(e)) return value;

   The check after the draw compares a captured epoch: comparing with the shared remembered word alone lets a stale
   value pass while another thread moves that word. Everything here is process-wide (the guards are shared by all
   interpreters), needs no GIL and touches no Python object. */
#ifndef SNAPSAFE_EPOCH_H
#define SNAPSAFE_EPOCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "source.h"

#if !defined(__linux__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "snapsafe_rt's native core supports Linux on x86-64 and arm64"
#endif

#define SS_LIKELY(x) __builtin_expect(!!(x), 1)
#define SS_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* How often a draw is made again because the generation moved during it. Reached only by a source that is rewritten
   without pause; the value of the last try is then given out, freshly reseeded. */
#define SS_DRAW_TRIES 1024

enum ss_cause { SS_CAUSE_NONE = 0, SS_CAUSE_GENERATION, SS_CAUSE_DISRUPTION, SS_CAUSE_NOTIFIED, SS_CAUSE_SOURCE };

typedef struct {
    const volatile uint64_t *word; /* never NULL: points at a constant 0 while nothing is watched */
    uint64_t mask;
    uint64_t remembered;
    uint64_t epoch;
} __attribute__((aligned(64))) ss_hot_state;

extern ss_hot_state ss_hot;

/* What changes with it, seldom read. Written under the mutex, and read there; from outside under its sequence count, which
   covers ss_hot too (record.h). */
typedef struct {
    uint32_t sequence;   /* odd while something of it, or of ss_hot, is being changed */
    int32_t watched;     /* atomic; slot of the source, -1 if none */
    uint64_t outlived;   /* atomic; the generation that a restore was told of in which did not move it, else 0 */
    uint64_t restores;
    int64_t last_ns;
    uint64_t last_certain; /* the last epoch that no marker alone began */
    uint32_t last_cause; /* enum ss_cause */
} __attribute__((aligned(16))) ss_epoch_cold;

extern ss_epoch_cold ss_cold;

static inline bool ss_unchanged(void)
{
    const volatile uint64_t *word = __atomic_load_n(&ss_hot.word, __ATOMIC_ACQUIRE);
    uint64_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE) & __atomic_load_n(&ss_hot.mask, __ATOMIC_RELAXED);
    return SS_LIKELY(now == __atomic_load_n(&ss_hot.remembered, __ATOMIC_ACQUIRE));
}

/* The slow path of ss_look: advances the epoch if the source really changed. Takes the native mutex. */
void ss_epoch_catch_up(void);

/* Looks at the source and returns the epoch under which a draw may begin. */
static inline uint64_t ss_look(void)
{
    if (SS_UNLIKELY(!ss_unchanged()))
        ss_epoch_catch_up();
    return __atomic_load_n(&ss_hot.epoch, __ATOMIC_ACQUIRE);
}

/* True while nothing was restored since ss_look() returned `epoch`. */
static inline bool ss_stands(uint64_t epoch)
{
    return SS_LIKELY(ss_unchanged() && __atomic_load_n(&ss_hot.epoch, __ATOMIC_ACQUIRE) == epoch);
}

typedef struct {
    uint64_t epoch;
    uint64_t generation;      /* the watched word, 0 without a source */
    uint64_t restores;        /* epochs advanced since the process began */
    int cause;                /* enum ss_cause of the last one */
    uint64_t last_certain;    /* the last epoch with another cause than a disruption marker */
    int64_t last_ns;          /* CLOCK_REALTIME of its detection, 0 if none */
    int source;               /* slot of the watched source, -1 if none */
    bool synchronous;
} ss_epoch_info;

/* Each takes the native mutex, in any thread, with or without the GIL. */
void ss_epoch_inspect(ss_epoch_info *ret_info);
uint64_t ss_epoch_advance(enum ss_cause cause);  /* returns the new epoch */

/* Called after each advance by the thread that made it, wherever that is: with or without the GIL, with whatever locks its
   caller holds, but none of ours. Set by sqlite.c. */
extern void (*ss_epoch_heard)(uint64_t epoch);

/* Watches slot `index` (-1: nothing). `certain`: the program is known not to have been restored since the previous
   source was last looked at; without it the epoch advances, for unknown counts as changed. */
void ss_epoch_watch(int index, bool certain);

/* Watches slot `index`, a device that was let go of and shows again what is true, as if it had been watched since it showed
   `value`: what changed meanwhile is a restore, of its own kind. Unless the file watched instead, slot `file` (-1: none),
   tells that it was the one that was counted already. */
void ss_epoch_watch_since(int index, uint64_t value, int file);

/* The watched source, NULL if none; atomic. */
extern const ss_source *ss_epoch_source;

/* True while a synchronous source is mapped and watched. */
static inline bool ss_epoch_synchronous(void)
{
    const ss_source *source = __atomic_load_n(&ss_epoch_source, __ATOMIC_ACQUIRE);
    return source && ss_source_synchronous(source);
}

/* The slot of the file that a manager writes, -1 if none: while a device is watched, it is whose word lowers the fence. */
void ss_epoch_heed(int index);

/* True where the manager (or `snapsafe trigger --entropy`) wrote into the watched file that the kernel was reseeded for
   the generation it shows, or into the heeded one that it was for the device's. Takes no lock: entropy.c asks under the
   mutex and without it. */
bool ss_epoch_reseeded(void);

/* What tells processes apart. Made by ss_epoch_setup(); never unmapped. */
typedef struct {
    uint64_t token; /* atomic; 0 until somebody asks */
    pid_t pid;
    bool wiped; /* the kernel zeroes the page in children, of clone(2) too */
} ss_process_page;

extern ss_process_page *ss_process;

/* The slow half of ss_process_token(): makes one where there is none, or where the pid tells that it is the parent's. */
uint64_t ss_process_token_made(void);

/* Changes in every process, forked or cloned: a number that no other living process of this epoch shares through
   memory (MADV_WIPEONFORK, else the pid and pthread_atfork). Never 0. */
static inline uint64_t ss_process_token(void)
{
    const uint64_t token = __atomic_load_n(&ss_process->token, __ATOMIC_ACQUIRE);
    return SS_LIKELY(token != 0 && ss_process->wiped) ? token : ss_process_token_made();
}

/* A claim: a lock for what a hook must never wait for. It is the word of its owner's, 0 while free, else the token of the
   process whose thread holds it; so a forked child does not inherit the claim of a thread that it lacks. */
static inline bool ss_claim_try(uint64_t *claim, uint64_t token)
{
    uint64_t holder = __atomic_load_n(claim, __ATOMIC_RELAXED);
    return holder != token &&
           __atomic_compare_exchange_n(claim, &holder, token, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
}

static inline void ss_claim_end(uint64_t *claim)
{
    __atomic_store_n(claim, 0, __ATOMIC_RELEASE);
}

/* Tries for a moment, yielding. False if it cannot be had: another thread of this process, perhaps this one, is at it. */
bool ss_claim(uint64_t *claim);

/* Registers the fork handlers, once for the process however many interpreters import the core. Returns 0 or an errno.
   With the GIL. */
int ss_epoch_setup(void);

#endif
