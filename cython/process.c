#define _GNU_SOURCE 1
#include "process.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define OVERFLOW_UID 65534 /* Documentation/admin-guide/sysctl/fs.rst; outside of a user namespace it is "nobody" */

ss_process_page *ss_process;

static bool wiped;
static uint64_t token_of_pid; /* atomic; in place of the page's where that is not wiped */

/* A leaf lock, around the making of a token. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void before_fork(void) { (void)pthread_mutex_lock(&mutex); }
static void after_fork_in_parent(void) { (void)pthread_mutex_unlock(&mutex); }

static void after_fork_in_child(void)
{
    (void)pthread_mutex_init(&mutex, NULL);
    __atomic_store_n(&ss_process->token, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_process->pid, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&token_of_pid, 0, __ATOMIC_RELEASE);
}

int ss_process_setup(void)
{
    if (ss_process)
        return 0;
    const size_t length = (size_t)sysconf(_SC_PAGESIZE);
    void *page = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return errno;
    wiped = madvise(page, length, MADV_WIPEONFORK) == 0;
    ss_process = page;
    return pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
}

pid_t ss_process_pid(void)
{
    pid_t pid = wiped ? __atomic_load_n(&ss_process->pid, __ATOMIC_ACQUIRE) : 0;
    if (!pid) {
        pid = getpid();
        __atomic_store_n(&ss_process->pid, pid, __ATOMIC_RELEASE);
    }
    return pid;
}

uint64_t ss_process_token_made(void)
{
    uint64_t *place = wiped ? &ss_process->token : &token_of_pid;
    (void)pthread_mutex_lock(&mutex);
    uint64_t token = *place;
    const pid_t before = __atomic_load_n(&ss_process->pid, __ATOMIC_ACQUIRE);
    if (token == 0 || (!wiped && before != ss_process_pid())) {
        if (getrandom(&token, sizeof token, GRND_NONBLOCK) != (ssize_t)sizeof token) {
            struct timespec now;
            (void)clock_gettime(CLOCK_MONOTONIC, &now);
            token = ((uint64_t)ss_process_pid() << 40) ^ ((uint64_t)now.tv_sec << 30) ^ (uint64_t)now.tv_nsec;
        }
        token |= 1;
        __atomic_store_n(place, token, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&mutex);
    return token;
}

static bool in_user_namespace(void)
{
    static const char initial[] = "         0          0 4294967295\n"; /* user_namespaces(7) */
    char text[sizeof initial + 1];
    int fd = open("/proc/self/uid_map", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text);
    (void)close(fd);
    return length > 0 && ((size_t)length != sizeof initial - 1 || memcmp(text, initial, sizeof initial - 1) != 0);
}

bool ss_process_trusts(uid_t user)
{
    return user == 0 || user == geteuid() || (user == OVERFLOW_UID && in_user_namespace());
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

void ss_process_lock(uint64_t *lock)
{
    while (!ss_process_trylock(lock))
        (void)sched_yield();
}

void ss_process_unlock(uint64_t *lock)
{
    __atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}
