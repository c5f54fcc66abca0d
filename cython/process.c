#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

ss_process_page *ss_process;

/* A leaf lock, around the making of a token. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void before_fork(void) { (void)pthread_mutex_lock(&mutex); }
static void after_fork_in_parent(void) { (void)pthread_mutex_unlock(&mutex); }

static void after_fork_in_child(void)
{
    (void)pthread_mutex_init(&mutex, NULL);
    __atomic_store_n(&ss_process->token, 0, __ATOMIC_RELEASE);
}

int ss_process_setup(void)
{
    if (ss_process)
        return 0;
    const size_t length = (size_t)sysconf(_SC_PAGESIZE);
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

bool ss_process_trylock(uint64_t *lock)
{
    const uint64_t token = ss_process_token();
    for (int i = 0; i < 1000; i++) {
        uint64_t holder = __atomic_load_n(lock, __ATOMIC_RELAXED);
        if (holder != token &&
            __atomic_compare_exchange_n(lock, &holder, token, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
            return true;
        (void)sched_yield();
    }
    return false;
}

void ss_process_unlock(uint64_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}
