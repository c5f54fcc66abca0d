#include "compat.h" /* before any header of the system: Python.h says which of their parts are wanted */

#include "bitgen.h"

#include "entropy.h"
#include "epoch.h"
#include "numpy.h"
#include "process.h"

#include <stdlib.h>

typedef struct {
    ss_bitgen own; /* as it was */
    ss_bitgen *place;
    const uint64_t *tag;
    uint64_t raw_mask;
} held;

/* Open addressing by the address of the state; read without a lock, changed with it. A table that has become too small is left
   behind, for somebody may be reading it. A place is written before its key. */
typedef struct {
    size_t size;
    struct {
        uintptr_t key; /* atomic; 0: never used, GONE: free again */
        held *one;
    } places[];
} table;

#define GONE 1
static table *current; /* atomic */
static size_t used;    /* of its places, free ones included */
static uint64_t lock;  /* of ss_process_lock() */

static size_t first_place(const table *t, const void *state)
{
    return ((uintptr_t)state >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 20 & (t->size - 1);
}

/* In any thread, without the GIL. */
static const held *find(const void *state)
{
    const table *t = __atomic_load_n(&current, __ATOMIC_ACQUIRE);
    for (size_t i = t ? first_place(t, state) : 0; t; i = (i + 1) & (t->size - 1)) {
        const uintptr_t key = __atomic_load_n(&t->places[i].key, __ATOMIC_ACQUIRE);
        if (key == (uintptr_t)state)
            return __atomic_load_n(&t->places[i].one, __ATOMIC_RELAXED);
        if (!key)
            break;
    }
    return NULL;
}

/* There is room. With the lock. */
static void put(table *t, uintptr_t key, held *one)
{
    size_t i = first_place(t, (void *)key);
    while (t->places[i].key > GONE)
        i = (i + 1) & (t->size - 1);
    used += !t->places[i].key;
    __atomic_store_n(&t->places[i].one, one, __ATOMIC_RELAXED);
    __atomic_store_n(&t->places[i].key, key, __ATOMIC_RELEASE);
}

/* With the lock. */
static bool grow(void)
{
    table *old = current, *t;
    if (old && used * 2 < old->size)
        return true;
    const size_t size = old ? old->size * 2 : 64;
    t = calloc(1, sizeof *t + size * sizeof t->places[0]);
    if (!t)
        return false;
    t->size = size;
    used = 0;
    for (size_t i = 0; old && i < old->size; i++)
        if (old->places[i].key > GONE)
            put(t, old->places[i].key, old->places[i].one);
    __atomic_store_n(&current, t, __ATOMIC_RELEASE);
    return true;
}

static uint64_t fresh(void)
{
    uint64_t value = 0;
    if (ss_entropy_fill(&value, sizeof value) != 0) /* the kernel gave none, nor the CPU: status says degraded */
        __atomic_add_fetch(&ss_numpy_seen.problems, 1, __ATOMIC_RELAXED);
    return value;
}

/* A state that is not found is of an instance that has ended. */
#define SHIM(TYPE, NAME, FRESH)                                                                                        \
    static TYPE shim_##NAME(void *state)                                                                               \
    {                                                                                                                  \
        const held *one = find(state);                                                                                 \
        const uint64_t epoch = ss_epoch_begin();                                                                       \
        uint64_t tag = one ? __atomic_load_n(one->tag, __ATOMIC_ACQUIRE) : 0;                                          \
        if (SS_LIKELY(one && (!ss_numpy_is_stale(tag, epoch) || ss_numpy_is_kept(tag)))) {                             \
            TYPE value = one->own.NAME(state);                                                                         \
            if (SS_LIKELY(ss_epoch_unchanged(epoch)) || ss_numpy_is_kept(tag))                                         \
                return value;                                                                                          \
        }                                                                                                              \
        return FRESH;                                                                                                  \
    }
SHIM(uint64_t, next_uint64, fresh())
SHIM(uint32_t, next_uint32, (uint32_t)fresh())
SHIM(double, next_double, (double)(fresh() >> 11) * (1.0 / 9007199254740992.0))
SHIM(uint64_t, next_raw, fresh() & (one ? one->raw_mask : 0))

bool ss_bitgen_is_held(const ss_bitgen *bitgen)
{
    return __atomic_load_n(&bitgen->next_uint64, __ATOMIC_ACQUIRE) == shim_next_uint64;
}

static void take_out(table *t, const void *key)
{
    for (size_t i = first_place(t, key); t->places[i].key; i = (i + 1) & (t->size - 1))
        if (t->places[i].key == (uintptr_t)key) {
            __atomic_store_n(&t->places[i].key, GONE, __ATOMIC_RELEASE);
            return;
        }
}

/* With the lock. */
static void forget(const uint64_t *tag)
{
    held *one = (held *)find(tag);
    if (!one)
        return;
    take_out(current, one->own.state);
    take_out(current, tag);
    free(one);
}

/* With the lock. */
static int hold(ss_bitgen *bitgen, const uint64_t *tag, uint64_t raw_mask)
{
    if (ss_bitgen_is_held(bitgen))
        return 0;
    if (!bitgen->state || !bitgen->next_uint64 || !bitgen->next_uint32 || !bitgen->next_double || !bitgen->next_raw)
        return -1;
    held *one = (held *)find(tag);
    if (!one) {
        const held *before = find(bitgen->state); /* of an instance whose capsule outlives it */
        one = malloc(sizeof *one);
        if (!one || !grow()) {
            free(one);
            return -1;
        }
        *one = (held){*bitgen, bitgen, tag, raw_mask};
        if (before)
            forget(before->tag);
        put(current, (uintptr_t)bitgen->state, one);
        put(current, (uintptr_t)tag, one); /* by which it is forgotten */
    }
    /* One word each, whose state is the same: whoever draws meanwhile finds the one or the other. */
    __atomic_store_n(&bitgen->next_uint64, shim_next_uint64, __ATOMIC_RELEASE);
    __atomic_store_n(&bitgen->next_uint32, shim_next_uint32, __ATOMIC_RELEASE);
    __atomic_store_n(&bitgen->next_double, shim_next_double, __ATOMIC_RELEASE);
    __atomic_store_n(&bitgen->next_raw, shim_next_raw, __ATOMIC_RELEASE);
    return 0;
}

int ss_bitgen_hold(ss_bitgen *bitgen, const uint64_t *tag, uint64_t raw_mask)
{
    ss_process_lock(&lock);
    const int outcome = hold(bitgen, tag, raw_mask);
    ss_process_unlock(&lock);
    return outcome;
}

void ss_bitgen_forget(const uint64_t *tag)
{
    if (!find(tag)) /* as nearly all */
        return;
    ss_process_lock(&lock);
    forget(tag);
    ss_process_unlock(&lock);
}

void ss_bitgen_release(void)
{
    ss_process_lock(&lock);
    table *t = current;
    for (size_t i = 0; t && i < t->size; i++) {
        if (t->places[i].key <= GONE)
            continue;
        const held *one = t->places[i].one;
        ss_bitgen *place = one->place;
        /* The memory of an instance whose capsule outlives it may be something else by now. */
        if (place->state != one->own.state || place->next_uint64 != shim_next_uint64 || place->next_raw != shim_next_raw)
            continue;
        __atomic_store_n(&place->next_uint64, one->own.next_uint64, __ATOMIC_RELEASE);
        __atomic_store_n(&place->next_uint32, one->own.next_uint32, __ATOMIC_RELEASE);
        __atomic_store_n(&place->next_double, one->own.next_double, __ATOMIC_RELEASE);
        __atomic_store_n(&place->next_raw, one->own.next_raw, __ATOMIC_RELEASE);
    }
    ss_process_unlock(&lock);
}
