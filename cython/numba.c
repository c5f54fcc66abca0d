#include "numba.h"

#include "entropy.h"
#include "epoch.h"

/* Of the calling thread: what it was given, and under which epoch and installation that was renewed. */
struct known {
    ss_numba_state *state;
    uint64_t epoch;
    unsigned installed;
    bool kept; /* the program seeded it */
};

static __thread struct known known[SS_NUMBA_GENERATORS];
/* Atomic: the same whenever it is installed, but for another copy of numba. */
static ss_numba_get originals[SS_NUMBA_GENERATORS];
static ss_numba_put original_seed;
static const int *reseed;
static unsigned installed; /* how often; 0 while it is not. Read by threads that do not hold the GIL */
static unsigned installations;

static ss_numba_state *original(int which) { return __atomic_load_n(&originals[which], __ATOMIC_RELAXED)(); }
static bool keeps_nothing(void) { return __atomic_load_n(__atomic_load_n(&reseed, __ATOMIC_RELAXED), __ATOMIC_RELAXED); }

/* Any thread, with or without the GIL; takes no lock. False where there is no entropy. */
static bool renew(ss_numba_state *state)
{
    if (ss_entropy_fill(state->words, sizeof state->words))
        return false;
    state->words[0] |= 0x80000000; /* numba's own: a state of zeros would stay one */
    state->index = 624;
    state->has_gauss = 0;
    state->gauss = 0;
    state->initialized = 1;
    return true;
}

/* Called by compiled functions, in any thread, with or without the GIL. Sets no exception. The original takes the GIL where it
   seeds a state for the first time, and ends the process where it cannot. */
static ss_numba_state *generator(int which)
{
    struct known *one = &known[which];
    uint64_t epoch = ss_epoch_begin();
    unsigned now = __atomic_load_n(&installed, __ATOMIC_ACQUIRE);
    if (one->state && !one->state->initialized)
        one->kept = false; /* in a forked child numba seeds it anew */
    ss_numba_state *state = original(which);
    if (now && (one->state != state || one->epoch != epoch || one->installed != now)) {
        bool stays = one->state == state && one->installed == now && one->kept && !keeps_nothing();
        if (!stays) {
            while (!renew(state)) {
                state->initialized = 0;
                (void)original(which);
            }
            one->kept = false;
        }
        one->state = state;
        one->epoch = epoch;
        one->installed = now;
    }
    return state;
}

static ss_numba_state *of_random(void)
{
    return generator(0);
}

static ss_numba_state *of_numpy(void)
{
    return generator(1);
}

static ss_numba_state *of_numba(void)
{
    return generator(2);
}

/* As generator(): numpy.random.seed() and random.seed() in compiled functions. */
static void seeded(ss_numba_state *state, unsigned value)
{
    __atomic_load_n(&original_seed, __ATOMIC_RELAXED)(state, value);
    for (int which = 0; which < SS_NUMBA_GENERATORS; which++)
        if (known[which].state == state)
            known[which].kept = true;
}

void ss_numba_install(const ss_numba_get generators[SS_NUMBA_GENERATORS], ss_numba_put seed, const int *reseed_kept)
{
    for (int which = 0; which < SS_NUMBA_GENERATORS; which++)
        __atomic_store_n(&originals[which], generators[which], __ATOMIC_RELAXED);
    __atomic_store_n(&original_seed, seed, __ATOMIC_RELAXED);
    __atomic_store_n(&reseed, reseed_kept, __ATOMIC_RELAXED);
    __atomic_store_n(&installed, ++installations, __ATOMIC_RELEASE);
}

void ss_numba_remove(void)
{
    __atomic_store_n(&installed, 0, __ATOMIC_RELEASE);
}

void *ss_numba_generator(int which)
{
    const ss_numba_get ours[SS_NUMBA_GENERATORS] = {of_random, of_numpy, of_numba};
    return (void *)ours[which];
}

void *ss_numba_seed(void)
{
    return (void *)seeded;
}

bool ss_numba_seeded_as(const ss_numba_state *state)
{
    unsigned seed = 5;
    for (int at = 0; at < 624; at++) {
        if (state->words[at] != seed)
            return false;
        seed = 1812433253u * (seed ^ seed >> 30) + (unsigned)at + 1;
    }
    return state->index == 624 && !state->has_gauss && state->gauss == 0 && state->initialized == 1;
}
