/* The words that an epoch consists of, for whoever only reads them: guards compare ss_hot, entropy.c judges the fence by
   both, the status page hands out their addresses. epoch.c alone writes them. Process-wide; no Python object, no GIL. */
#ifndef SNAPSAFE_EPOCH_STATE_H
#define SNAPSAFE_EPOCH_STATE_H

#include <stdbool.h>
#include <stdint.h>

#include "source.h"

#pragma GCC visibility push(hidden) /* else each access to a variable loads its address first */

#define SS_LIKELY(x) __builtin_expect(!!(x), 1)
#define SS_UNLIKELY(x) __builtin_expect(!!(x), 0)

enum ss_cause { SS_CAUSE_NONE = 0, SS_CAUSE_GENERATION, SS_CAUSE_DISRUPTION, SS_CAUSE_NOTIFIED, SS_CAUSE_SOURCE };

/* What every draw reads: one cache line. */
typedef struct {
    const volatile uint64_t *word; /* never NULL: points at a constant 0 while nothing is watched */
    uint64_t mask; /* 0 in a forked child until its first look, which therefore finds a change */
    uint64_t remembered;
    uint64_t epoch;
} __attribute__((aligned(64))) ss_hot_state;

extern const volatile uint64_t ss_nothing; /* what is watched while nothing is */
extern ss_hot_state ss_hot;

/* What changes with it and is seldom read. Written under epoch.c's mutex, and read there; a reader without the mutex, such as
   another process, goes by the sequence count, which covers ss_hot too. */
typedef struct {
    uint32_t sequence;     /* odd while something of it, or of ss_hot, is being changed */
    int32_t watched;       /* atomic; slot of the source, -1 if none */
    uint64_t outlived;     /* atomic; the generation that a restore was told of in which did not move it, else 0 */
    uint64_t restores;     /* epochs advanced since the process began */
    int64_t last_ns;       /* CLOCK_REALTIME of the last one's detection, 0 if none */
    uint64_t last_certain; /* the last epoch that no marker alone began */
    uint32_t last_cause;   /* enum ss_cause */
    int32_t attestor;      /* atomic; slot of the file whose manager attests the kernel's reseed for a device, -1 if none */
} __attribute__((aligned(16))) ss_epoch_cold;

extern ss_epoch_cold ss_cold;

/* The watched source, NULL if none; atomic. */
extern const ss_source *ss_epoch_source;

/* True while the source shows what was remembered of it: no restore since the last look. */
static inline bool ss_watched_unchanged(void)
{
    const volatile uint64_t *word = __atomic_load_n(&ss_hot.word, __ATOMIC_ACQUIRE);
    uint64_t now = __atomic_load_n(word, __ATOMIC_ACQUIRE) & __atomic_load_n(&ss_hot.mask, __ATOMIC_RELAXED);
    return SS_LIKELY(now == __atomic_load_n(&ss_hot.remembered, __ATOMIC_ACQUIRE));
}

/* True while a synchronous source is mapped and watched. */
static inline bool ss_epoch_synchronous(void)
{
    const ss_source *source = __atomic_load_n(&ss_epoch_source, __ATOMIC_ACQUIRE);
    return source && ss_source_synchronous(source);
}

/* True where somebody attests that the kernel was reseeded after the restore that began this epoch: the writer of the watched
   file, for the generation that it shows; or, while a device is watched, the manager in the attestor's file, for what the
   device shows. Any thread; takes no lock, for entropy.c asks both under epoch.c's mutex and without it. */
bool ss_epoch_reseeded(void);

#pragma GCC visibility pop

#endif
