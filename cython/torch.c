#define _GNU_SOURCE 1
#include "torch.h"

#include "entropy.h"
#include "numpy_seeds.h"
#include "process.h"
#include "provenance.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

ss_torch_layout ss_torch_at;
ss_torch_generator *ss_torch_default;
ss_torch_counts ss_torch_seen;
ss_slots ss_torch_slots = {.symbol = "_ZN2at6detail22getDefaultCPUGeneratorEv"};
void *(*ss_torch_original)(void);
bool ss_torch_active;

static void count(uint64_t *what) { __atomic_add_fetch(what, 1, __ATOMIC_RELAXED); }

/* ---- the registry ---- */

/* By the object's address. Changed with the GIL and the lock; so it is read with either, and where there is no GIL with the lock.
   Whoever has the lock waits for nothing. */
#define PLACES 1024
static ss_torch_generator *places[PLACES];
static uint64_t lock;
static uint64_t settled; /* atomic; the epoch + 1 which all of them are in. Set with the lock */

static void acquire(void) { ss_process_lock(&lock); }

static ss_torch_generator **place_of(PyObject *generator)
{
    return &places[((uintptr_t)generator >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 54];
}
_Static_assert(PLACES == 1 << (64 - 54), "the bits that are left of a hash");

static uint64_t seed_of(const ss_torch_generator *g)
{
    return g->cpu ? __atomic_load_n(&SS_TORCH_AT(g->impl, seed, uint64_t), __ATOMIC_RELAXED) : 0;
}

/* With the lock, for what is in the registry. */
static void put_tag(ss_torch_generator *g, uint64_t tag)
{
    const bool foreign = ss_numpy_kind_of(tag) == SS_NUMPY_FOREIGN;
    const bool was = ss_numpy_kind_of(g->tag) == SS_NUMPY_FOREIGN;
    if (foreign != was)
        __atomic_add_fetch(&ss_torch_seen.foreign, foreign ? 1 : (uint64_t)-1, __ATOMIC_RELAXED);
    __atomic_store_n(&g->seed, seed_of(g), __ATOMIC_RELAXED);
    __atomic_store_n(&g->tag, tag, __ATOMIC_RELEASE);
    if (g == ss_torch_default)
        __atomic_store_n(&ss_torch_seen.global_kept, ss_numpy_is_kept(tag), __ATOMIC_RELEASE);
    if (ss_numpy_is_stale(tag, __atomic_load_n(&settled, __ATOMIC_RELAXED) - 1))
        __atomic_store_n(&settled, 0, __ATOMIC_RELEASE);
}

void ss_torch_set_tag(ss_torch_generator *g, uint64_t tag)
{
    acquire();
    put_tag(g, tag);
    ss_process_unlock(&lock);
}

/* As the registry is read. */
static ss_torch_generator *look_up(PyObject *generator)
{
    ss_torch_generator *g = *place_of(generator);
    while (g && g->object != generator)
        g = g->next;
    return g;
}

/* `begun`: it began anew; else one that another thread has noted by now keeps its tag. */
static ss_torch_generator *note(PyObject *generator, uint64_t tag, bool begun)
{
    ss_torch_generator *made = calloc(1, sizeof *made); /* not with the lock */
    if (!made)
        return NULL;
    acquire();
    ss_torch_generator *g = look_up(generator);
    const bool is_new = !g;
    if (is_new) {
        g = made;
        *g = (ss_torch_generator){.impl = ss_torch_impl(generator), .object = generator, .tag = ss_numpy_tag(0, SS_NUMPY_SYSTEM)};
        g->cpu = SS_TORCH_AT(g->impl, device, uint8_t) == 0; /* c10::DeviceType::CPU */
        g->next = *place_of(generator);
        *place_of(generator) = g;
        ss_try_reference_prepare(generator);
    }
    if (is_new || begun)
        put_tag(g, tag);
    ss_process_unlock(&lock);
    if (!is_new)
        free(made);
    return g;
}

ss_torch_generator *ss_torch_note(PyObject *generator, uint64_t tag) { return note(generator, tag, true); }

/* One that is older than activation is stale, whoever chose its seed, for nobody saw it; what every generator begins with was
   chosen by torch. */
ss_torch_generator *ss_torch_find(PyObject *generator)
{
    if (SS_FREE_THREADED)
        acquire();
    ss_torch_generator *g = look_up(generator);
    if (SS_FREE_THREADED)
        ss_process_unlock(&lock);
    if (SS_LIKELY(g))
        return g;
    const uint64_t epoch = ss_epoch_begin();
    char *impl = ss_torch_impl(generator);
    const bool cpu = SS_TORCH_AT(impl, device, uint8_t) == 0;
    const bool own = cpu && SS_TORCH_AT(impl, seed, uint64_t) == SS_TORCH_DEFAULT_SEED;
    return note(generator, own ? ss_numpy_tag(epoch, SS_NUMPY_KEPT) : ss_numpy_tag(epoch - 1, SS_NUMPY_OLD), false);
}

static ss_torch_generator *take_out(ss_torch_generator **at)
{
    ss_torch_generator *g = *at;
    put_tag(g, ss_numpy_tag(0, SS_NUMPY_SYSTEM)); /* for what is counted */
    *at = g->next;
    return g;
}

void ss_torch_forget(PyObject *generator)
{
    ss_torch_generator **at = place_of(generator);
    acquire();
    while (*at && (*at)->object != generator)
        at = &(*at)->next;
    if (*at && *at != ss_torch_default)
        free(take_out(at));
    ss_process_unlock(&lock);
}

/* They are not freed: a thread that draws from one may be inside what is undone. */
void ss_torch_forget_all(void)
{
    acquire();
    for (int i = 0; i < PLACES; i++)
        for (ss_torch_generator **at = &places[i]; *at;)
            if (*at == ss_torch_default)
                at = &(*at)->next;
            else
                (void)take_out(at);
    ss_process_unlock(&lock);
}

void ss_torch_each(void (*visit)(ss_torch_generator *g, void *context), void *context)
{
    acquire();
    for (int i = 0; i < PLACES; i++)
        for (ss_torch_generator *g = places[i]; g; g = g->next)
            visit(g, context);
    ss_process_unlock(&lock);
}

/* ---- renewal ---- */

/* The whole state from the system: seeding would leave 32 bits of it. With the generator's own lock. */
static bool renew(char *impl)
{
    struct {
        uint32_t words[SS_TORCH_WORDS];
        uint64_t seed;
    } fresh;
    if (ss_entropy_fill(&fresh, sizeof fresh) != 0)
        return false;
    fresh.words[0] |= 0x80000000u; /* never all zero: of it the generator uses this bit alone */
    memcpy(impl + ss_torch_at.words, fresh.words, sizeof fresh.words);
    __atomic_store_n(&SS_TORCH_AT(impl, seed, uint64_t), fresh.seed, __ATOMIC_RELAXED);
    SS_TORCH_AT(impl, left, int32_t) = 1; /* the next draw makes other words of them first */
    SS_TORCH_AT(impl, next, uint32_t) = 0;
    memset(impl + ss_torch_at.normals, 0, SS_TORCH_NORMALS);
    return true;
}

/* Of a seed that nobody saw being given: as at::manual_seed(5) gives it, or as Generator::seed() of C++ does. */
static enum ss_numpy_kind kind_of_seed(uint64_t seed)
{
    return seed >> SS_TORCH_CHOSEN_BITS == 0 || seed == SS_TORCH_DEFAULT_SEED ? SS_NUMPY_KEPT : SS_NUMPY_FOREIGN;
}

/* With its own lock: the tag that it has in `epoch`; unchanged where there was no entropy. */
static uint64_t brought_into(ss_torch_generator *g, uint64_t epoch)
{
    uint64_t tag = __atomic_load_n(&g->tag, __ATOMIC_ACQUIRE);
    if (!ss_numpy_is_stale(tag, epoch))
        return tag;
    /* By C++, past Python's methods? */
    if (seed_of(g) != __atomic_load_n(&g->seed, __ATOMIC_RELAXED) && ss_numpy_kind_of(tag) != SS_NUMPY_OLD) {
        count(&ss_torch_seen.chosen);
        tag = ss_numpy_tag(epoch, kind_of_seed(seed_of(g)));
    }
    if (ss_numpy_is_kept(tag)) {
        count(&ss_torch_seen.kept);
        return ss_numpy_tag(epoch, ss_numpy_kind_of(tag));
    }
    if (!renew(g->impl)) {
        count(&ss_torch_seen.problems);
        return tag;
    }
    count(&ss_torch_seen.renewed);
    if (ss_numpy_kind_of(tag) == SS_NUMPY_OLD)
        count(&ss_torch_seen.older);
    return ss_numpy_tag(epoch, SS_NUMPY_SYSTEM);
}

/* Takes its own lock, std::mutex. False: it is this thread's, or that of a thread which a fork left behind, or is not to be had
   without waiting. */
static bool lock_it(char *impl, bool wait)
{
    pthread_mutex_t *mutex = (pthread_mutex_t *)(impl + ss_torch_at.mutex);
    if (pthread_mutex_trylock(mutex) == 0)
        return true;
#ifdef __GLIBC__
    const int saved = errno, owner = __atomic_load_n(&mutex->__data.__owner, __ATOMIC_RELAXED);
    const bool is_gone = owner && syscall(SYS_tgkill, getpid(), owner, 0) != 0 && errno == ESRCH;
    errno = saved;
    if (is_gone || owner == (int)syscall(SYS_gettid))
        return false;
#endif
    return wait && pthread_mutex_lock(mutex) == 0;
}

static void unlock_it(char *impl) { (void)pthread_mutex_unlock((pthread_mutex_t *)(impl + ss_torch_at.mutex)); }

/* With the registry's lock or without. */
static bool settle(ss_torch_generator *g, uint64_t epoch, bool wait, bool locked)
{
    if (!ss_numpy_is_stale(__atomic_load_n(&g->tag, __ATOMIC_ACQUIRE), epoch))
        return true;
    if (!g->cpu || !lock_it(g->impl, wait))
        return !g->cpu;
    const uint64_t tag = brought_into(g, epoch);
    if (locked)
        put_tag(g, tag);
    else
        ss_torch_set_tag(g, tag);
    unlock_it(g->impl);
    return !ss_numpy_is_stale(tag, epoch);
}

/* The default one is waited for: whoever comes here most probably draws from it, and would wait for it next. Others are not: a
   draw from one may take long, and a forked child may have inherited the lock of one that it never uses. What is left is looked
   for again by the next operator, and by whom Python gives it to. */
static __attribute__((noinline)) void settle_all(uint64_t epoch)
{
    ss_torch_generator *const main = ss_torch_default;
    (void)settle(main, epoch, true, false);
    acquire();
    bool all = !ss_numpy_is_stale(main->tag, epoch);
    for (int i = 0; i < PLACES; i++)
        for (ss_torch_generator *g = places[i]; g; g = g->next)
            all = (g == main || settle(g, epoch, false, true)) && all;
    if (all)
        __atomic_store_n(&settled, epoch + 1, __ATOMIC_RELEASE);
    ss_process_unlock(&lock);
}

void *ss_torch_hook(void)
{
    const uint64_t epoch = ss_epoch_begin();
    if (SS_UNLIKELY(__atomic_load_n(&settled, __ATOMIC_ACQUIRE) != epoch + 1))
        settle_all(epoch);
    return ss_torch_original();
}

void ss_torch_settle(ss_torch_generator *g, uint64_t epoch)
{
    if (!g->cpu || !ss_numpy_is_stale(__atomic_load_n(&g->tag, __ATOMIC_ACQUIRE), epoch))
        return;
    Py_BEGIN_ALLOW_THREADS
    (void)settle(g, epoch, true, false);
    Py_END_ALLOW_THREADS
}

bool ss_torch_scan(void)
{
    return !__atomic_load_n(&ss_torch_active, __ATOMIC_ACQUIRE) || ss_slots_exchange(&ss_torch_slots);
}

/* ---- where seeds and states come from ---- */

uint64_t ss_torch_judge(PyObject *seed, uint64_t epoch)
{
    uint64_t origin = epoch;
    const bool systems = ss_numpy_is_systems(seed, &origin);
    PyErr_Clear();
    if (!systems)
        count(&ss_torch_seen.chosen);
    return ss_numpy_tag(origin, systems ? SS_NUMPY_SYSTEM : SS_NUMPY_KEPT);
}

static const uint32_t *words_of(const ss_torch_generator *g) { return (const uint32_t *)(g->impl + ss_torch_at.words); }

void ss_torch_note_state(const ss_torch_generator *g)
{
    if (g->cpu)
        ss_provenance_note_state(words_of(g), (uint32_t)__atomic_load_n(&g->tag, __ATOMIC_ACQUIRE));
}

uint64_t ss_torch_judge_state(const ss_torch_generator *g, uint64_t epoch)
{
    uint32_t tag;
    if (g->cpu && ss_provenance_of_state(words_of(g), &tag))
        return ss_numpy_widen(tag, epoch);
    /* A generator that was seeded goes by its seed wherever it is taken; torch keeps it with the state. */
    return ss_numpy_tag(epoch, g->cpu ? kind_of_seed(seed_of(g)) : SS_NUMPY_KEPT);
}

void ss_torch_note_number(uint64_t number, uint64_t epoch)
{
    unsigned char big[8];
    int size = 8;
    for (int i = 0; i < 8; i++)
        big[i] = (unsigned char)(number >> (56 - 8 * i));
    while (size > 4 && !big[8 - size])
        size--;
    if (number >> 24) /* else it may well be one that somebody chooses */
        ss_provenance_note_draw(big + 8 - size, (size_t)size, epoch);
}
