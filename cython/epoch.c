#define _GNU_SOURCE
#include "epoch.h"

#include "entropy.h"
#include "record.h"
#include "source.h"
#include "watcher.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static const volatile uint64_t nothing = 0;

void (*ss_epoch_heard)(uint64_t epoch);

ss_hot_state ss_hot = {.word = &nothing, .mask = UINT64_MAX};
const ss_source *ss_epoch_source;

/* Guards everything below and every write to ss_hot. Held for microseconds; never across a call into a library. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
ss_epoch_cold ss_cold = {.watched = -1};

/* With the mutex held, around every change of ss_hot and ss_cold. A clone(2) of a thread in between leaves it odd. */
static void change_begins(void)
{
    __atomic_store_n(&ss_cold.sequence, (ss_cold.sequence + 1) | 1, __ATOMIC_RELAXED);
    __atomic_thread_fence(__ATOMIC_RELEASE);
}

static void change_ends(void)
{
    __atomic_store_n(&ss_cold.sequence, ss_cold.sequence + 1, __ATOMIC_RELEASE);
}

/* Fork safety. A child must not inherit the mutex held by a thread it does not have. */
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

ss_process_page *ss_process;

static void after_fork_in_child(void)
{
    ss_entropy_after_fork_in_child();
    ss_record_after_fork_in_child();
    (void)pthread_mutex_init(&mutex, NULL);
    if (ss_process)
        __atomic_store_n(&ss_process->token, 0, __ATOMIC_RELEASE);
}

int ss_epoch_setup(void)
{
    if (ss_process)
        return 0;
    size_t length = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return errno;
    ss_process = page;
    return pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

uint64_t ss_process_token_made(void)
{
    ss_process_page *page = ss_process;
    uint64_t token = __atomic_load_n(&page->token, __ATOMIC_ACQUIRE);
    if (token != 0 && page->pid == getpid())
        return token;
    (void)pthread_mutex_lock(&mutex);
    token = page->token;
    if (token == 0 || (!page->wiped && page->pid != getpid())) {
        /* gVisor answers EINVAL; there the pid and the fork handler must do. */
        page->wiped = madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_WIPEONFORK) == 0;
        page->pid = getpid();
        if (getrandom(&token, sizeof token, GRND_NONBLOCK) != (ssize_t)sizeof token) {
            struct timespec now;
            (void)clock_gettime(CLOCK_MONOTONIC, &now);
            token = ((uint64_t)page->pid << 40) ^ ((uint64_t)now.tv_sec << 30) ^ (uint64_t)now.tv_nsec;
        }
        token |= 1;
        __atomic_store_n(&page->token, token, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&mutex);
    return token;
}

bool ss_claim(uint64_t *claim)
{
    uint64_t token = ss_process_token();
    for (int i = 0; i < 1000; i++) {
        if (ss_claim_try(claim, token))
            return true;
        (void)sched_yield();
    }
    return false;
}

/* With the mutex held. The fence rises before anybody can see the new epoch; the epoch moves before the remembered
   word does, so that a draw which began before fails one of the two comparisons of ss_stands(). */
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

/* After the mutex was released, where advance() had been called. */
static void tell(uint64_t epoch)
{
    void (*heard)(uint64_t) = __atomic_load_n(&ss_epoch_heard, __ATOMIC_ACQUIRE);
    if (!epoch)
        return;
    if (heard)
        heard(epoch);
    ss_watcher_poke();
}

/* With the mutex held. Between these stores a reader may compare an old word with a new number: a difference sends it
   to the mutex, and equality is the truth about a source that was watched at that instant. */
static void watch(ss_source *source, int index, uint64_t value)
{
    __atomic_store_n(&ss_cold.watched, index, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_epoch_source, source, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_hot.mask, source ? ss_source_mask(source) : UINT64_MAX, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_hot.word, source ? ss_source_address(source) : &nothing, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_hot.remembered, value, __ATOMIC_RELEASE);
}

void ss_epoch_catch_up(void)
{
    uint64_t advanced = 0;
    (void)pthread_mutex_lock(&mutex);
    ss_source *source = ss_source_at(ss_cold.watched);
    if (source) {
        uint64_t value;
        int outcome = ss_source_read(source, &value);
        change_begins();
        if (outcome == SS_READ_LOST) {
            advanced = advance(SS_CAUSE_SOURCE);
            watch(NULL, -1, 0);
        } else if (value != ss_hot.remembered) {
            /* A stuck source's raw word counts as a change once: it is remembered like any other. */
            advanced = advance(source->word == SS_WORD_DISRUPTION ? SS_CAUSE_DISRUPTION : SS_CAUSE_GENERATION);
            __atomic_store_n(&ss_hot.remembered, value, __ATOMIC_RELEASE);
        }
        change_ends();
    }
    (void)pthread_mutex_unlock(&mutex);
    tell(advanced);
}

uint64_t ss_epoch_advance(enum ss_cause cause)
{
    ss_source *source;
    uint64_t value;
    (void)pthread_mutex_lock(&mutex);
    /* One restore is one epoch: what the source shows by now belongs to the restore we were told of. What it shows from
       the new epoch on does not: states may be of that, and the next restore would be taken for the one told of. */
    source = ss_source_at(ss_cold.watched);
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
    /* The word that tells for what is read first, and the number second: publish() writes them the other way round. */
    if (source && instead && ss_source_read(source, &now) != SS_READ_LOST && ss_source_told(instead, source, now) &&
        ss_source_read(instead, &shown) == SS_READ_OK && ss_cold.watched == file && shown == ss_hot.remembered)
        value = now;
    change_begins();
    watch(source, source ? index : -1, value);
    change_ends();
    (void)pthread_mutex_unlock(&mutex);
    (void)ss_look();
}

static int heeded = -1; /* atomic */

void ss_epoch_heed(int index)
{
    __atomic_store_n(&heeded, index, __ATOMIC_RELEASE);
}

bool ss_epoch_reseeded(void)
{
    /* Between the fence's rise and the end of a change, what is remembered is of the epoch before. The rise came after the
       count had become odd, so whoever judges a raised fence sees that. */
    if (__atomic_load_n(&ss_cold.sequence, __ATOMIC_ACQUIRE) & 1)
        return false;
    const ss_source *source = __atomic_load_n(&ss_epoch_source, __ATOMIC_ACQUIRE);
    const uint64_t now = __atomic_load_n(&ss_hot.remembered, __ATOMIC_ACQUIRE);
    /* What was written for a generation that has seen a restore since tells of a reseed before that. */
    if (!source || now == __atomic_load_n(&ss_cold.outlived, __ATOMIC_ACQUIRE))
        return false;
    if (!source->device) {
        const uint64_t reseeded = ss_source_reseeded(source);
        return reseeded != 0 && reseeded == now;
    }
    ss_source *word = ss_source_at(__atomic_load_n(&heeded, __ATOMIC_ACQUIRE));
    return word && ss_source_vouched(word, source, now);
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
