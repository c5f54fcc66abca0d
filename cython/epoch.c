#define _GNU_SOURCE 1
#include "epoch.h"

#include "entropy.h"
#include "process.h"
#include "source.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

static void (*observers[SS_EPOCH_OBSERVERS])(uint64_t epoch); /* atomic */

/* Guards every write to the words of epoch_state.h. Held for microseconds; never across a call into a library. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

/* With the mutex held, around every change of ss_hot and ss_cold. Sets the lowest bit rather than adding 1: a child of clone(2)
   may have inherited an odd count. */
static void change_begins(void)
{
    __atomic_store_n(&ss_cold.sequence, (ss_cold.sequence + 1) | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void change_ends(void)
{
    __atomic_store_n(&ss_cold.sequence, ss_cold.sequence + 1, __ATOMIC_RELEASE);
}

/* A child must not inherit a mutex that is held by a thread that it does not have. */
static void before_fork(void)
{
    (void)pthread_mutex_lock(&mutex);
    ss_entropy_before_fork();
}

static void after_fork_in_parent(void)
{
    ss_entropy_after_fork_in_parent();
    (void)pthread_mutex_unlock(&mutex);
}

static void after_fork_in_child(void)
{
    ss_entropy_after_fork_in_child();
    (void)pthread_mutex_init(&mutex, NULL);
    /* So that the next draw comes to ss_epoch_catch_up() once. Where 0 is remembered it would see no change ever again. */
    if (ss_hot.remembered)
        __atomic_store_n(&ss_hot.mask, 0, __ATOMIC_RELEASE);
}

int ss_epoch_setup(void)
{
    static pthread_mutex_t once = PTHREAD_MUTEX_INITIALIZER; /* without a GIL two interpreters may import the core at once */
    static bool done;
    int error = 0;
    (void)pthread_mutex_lock(&once);
    if (!done) {
        error = ss_process_setup();
        if (!error)
            error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
    }
    done = !error;
    (void)pthread_mutex_unlock(&once);
    return error;
}

void ss_epoch_observe(enum ss_epoch_observer place, void (*told)(uint64_t epoch))
{
    __atomic_store_n(&observers[place], told, __ATOMIC_RELEASE);
}

/* With the mutex held, between change_begins() and change_ends(). The fence rises before anybody can see the new epoch. The
   epoch moves before the caller moves the remembered word: so a draw that began earlier fails one of the two comparisons of
   ss_epoch_unchanged(). */
static uint64_t advance(enum ss_cause cause)
{
    struct timespec now;
    ss_entropy_restored();
    uint64_t epoch = ss_hot.epoch + 1;
    __atomic_store_n(&ss_hot.epoch, epoch, __ATOMIC_RELEASE);
    ss_cold.restores++;
    ss_cold.last_cause = cause;
    if (cause != SS_CAUSE_DISRUPTION)
        ss_cold.last_certain = epoch;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    ss_cold.last_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    return epoch;
}

static void tell_one(enum ss_epoch_observer place, uint64_t epoch)
{
    void (*told)(uint64_t) = __atomic_load_n(&observers[place], __ATOMIC_ACQUIRE);
    if (told)
        told(epoch);
}

/* After the mutex was released. `epoch`: what advance() returned, 0 where it was not called. */
static void tell(uint64_t epoch)
{
    if (!epoch)
        return;
    tell_one(SS_OBSERVER_RENEWS, epoch);
    tell_one(SS_OBSERVER_WAKES, epoch);
}

/* With the mutex held, as advance(). Between these stores a reader may compare the old source's word with the new number. If
   they differ it comes to the mutex and looks again; if they are equal, the source that it read had not moved. */
static void watch(ss_source *source, int index, uint64_t value)
{
    ss_source *old = ss_source_at(ss_cold.watched);
    if (source)
        ss_source_pin(source, SS_PIN_WATCHED, true);
    __atomic_store_n(&ss_cold.watched, index, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_epoch_source, source, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_hot.mask, source ? ss_source_mask(source) : UINT64_MAX, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_hot.word, source ? ss_source_address(source) : &ss_nothing, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_hot.remembered, value, __ATOMIC_RELEASE);
    if (old && old != source)
        ss_source_pin(old, SS_PIN_WATCHED, false);
}

/* With the mutex held, before anything is compared or remembered. */
static bool first_look_of_child(const ss_source *source)
{
    const bool first = ss_hot.mask == 0;
    if (first)
        __atomic_store_n(&ss_hot.mask, source ? ss_source_mask(source) : UINT64_MAX, __ATOMIC_RELEASE);
    return first;
}

void ss_epoch_catch_up(void)
{
    uint64_t advanced = 0;
    (void)pthread_mutex_lock(&mutex);
    ss_source *source = ss_source_at(ss_cold.watched);
    const bool forked = first_look_of_child(source);
    if (source) {
        uint64_t value;
        int outcome = ss_source_read(source, &value);
        change_begins();
        if (outcome == SS_READ_LOST) {
            advanced = advance(SS_CAUSE_SOURCE);
            watch(NULL, -1, 0);
        } else if (value != ss_hot.remembered) {
            /* The raw word of a stuck source counts as one change: it is remembered like any other. */
            advanced = advance(__atomic_load_n(&source->word, __ATOMIC_RELAXED) == SS_WORD_DISRUPTION ? SS_CAUSE_DISRUPTION : SS_CAUSE_GENERATION);
            __atomic_store_n(&ss_hot.remembered, value, __ATOMIC_RELEASE);
        }
        change_ends();
    }
    (void)pthread_mutex_unlock(&mutex);
    if (forked)
        tell_one(SS_OBSERVER_FORKED, 0);
    tell(advanced);
}

uint64_t ss_epoch_advance(enum ss_cause cause)
{
    ss_source *source;
    uint64_t value;
    (void)pthread_mutex_lock(&mutex);
    /* Count this as one epoch: absorb the counter's current value, or the move that we were just notified of would be counted
       again. Later moves are not absorbed: they belong to the next restore. */
    source = ss_source_at(ss_cold.watched);
    (void)first_look_of_child(source);
    const bool shown = source && ss_source_read(source, &value) != SS_READ_LOST;
    change_begins();
    uint64_t epoch = advance(cause);
    if (shown) {
        if (value == ss_hot.remembered)
            __atomic_store_n(&ss_cold.outlived, value, __ATOMIC_RELEASE);
        __atomic_store_n(&ss_hot.remembered, value, __ATOMIC_RELEASE);
    }
    change_ends();
    (void)pthread_mutex_unlock(&mutex);
    tell(epoch);
    return epoch;
}

void ss_epoch_watch(int index, bool certain)
{
    uint64_t advanced = 0;
    (void)pthread_mutex_lock(&mutex);
    ss_source *source = ss_source_at(index);
    uint64_t value = 0;
    if (source && ss_source_read(source, &value) == SS_READ_LOST) {
        source = NULL;
        certain = false;
    }
    change_begins();
    if (!certain)
        advanced = advance(SS_CAUSE_SOURCE);
    watch(source, source ? index : -1, value);
    change_ends();
    (void)pthread_mutex_unlock(&mutex);
    tell(advanced);
}

void ss_epoch_watch_since(int index, uint64_t value, int file)
{
    (void)pthread_mutex_lock(&mutex);
    ss_source *source = ss_source_at(index), *instead = ss_source_at(file);
    uint64_t now, shown;
    /* Which device's number the file is for is read first, and the file's own number second: publish() writes them the other
       way round. */
    if (source && instead && ss_source_read(source, &now) != SS_READ_LOST && ss_source_written_for(instead, source, now) &&
        ss_source_read(instead, &shown) == SS_READ_OK && ss_cold.watched == file && shown == ss_hot.remembered)
        value = now;
    change_begins();
    watch(source, source ? index : -1, value);
    change_ends();
    (void)pthread_mutex_unlock(&mutex);
    (void)ss_epoch_begin();
}

void ss_epoch_set_attestor(int index)
{
    (void)pthread_mutex_lock(&mutex);
    ss_source *source = ss_source_at(index);
    if (source)
        ss_source_pin(source, SS_PIN_ATTESTS, true);
    ss_source *old = ss_source_at(__atomic_exchange_n(&ss_cold.attestor, index, __ATOMIC_ACQ_REL));
    if (old && old != source)
        ss_source_pin(old, SS_PIN_ATTESTS, false);
    (void)pthread_mutex_unlock(&mutex);
}

void ss_epoch_inspect(ss_epoch_info *ret_info)
{
    (void)pthread_mutex_lock(&mutex);
    ss_source *source = ss_source_at(ss_cold.watched);
    memset(ret_info, 0, sizeof *ret_info);
    ret_info->epoch = ss_hot.epoch;
    ret_info->generation = ss_hot.remembered;
    ret_info->restores = ss_cold.restores;
    ret_info->cause = (int)ss_cold.last_cause;
    ret_info->last_certain = ss_cold.last_certain;
    ret_info->last_ns = ss_cold.last_ns;
    ret_info->source = ss_cold.watched;
    ret_info->synchronous = source && ss_source_synchronous(source);
    (void)pthread_mutex_unlock(&mutex);
}
