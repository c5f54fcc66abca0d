#define _GNU_SOURCE 1
#include "connection.h"

#include "process.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define FAREWELL_MS 1000
#define PASSED_MOST 8
#define REFUSED_MOST 5 /* tries: somebody may have bound the socket and listen in a moment; after these, nobody does */

/* Written by the watcher; where there is none; and by ss_connection_take(). */
uint32_t ss_connection_now;

/* Guards what the watcher and Python share; nothing is waited for under it. */
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static unsigned char *received; /* SS_CONNECTION_KEPT bytes, once there was a connection */
static size_t received_size;
static int failure;
static bool over; /* atomic; the connection ended, and Python has not taken yet what it received last */

/* Changed while no watcher runs. Only the farewell is set while one does: before it is told to end, and it reads it after. */
static ss_connection_plan plan;
static const unsigned char *farewell;
static size_t farewell_size;

/* The watcher's. */
static int passed[PASSED_MOST];
static int passed_count;
static int refused; /* how often, in a row */

static void set_state(enum ss_connection_state now, int error)
{
    (void)pthread_mutex_lock(&mutex);
    failure = error;
    if (now != SS_CONNECTION_HEARD)
        __atomic_store_n(&over, false, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_connection_now, now, __ATOMIC_RELEASE);
    (void)pthread_mutex_unlock(&mutex);
}

void ss_connection_set(const ss_connection_plan *given)
{
    free(plan.path);
    free(plan.greeting);
    plan = *given;
    refused = 0;
    set_state(SS_CONNECTION_NONE, 0);
}

void ss_connection_set_farewell(const unsigned char *bytes, size_t size)
{
    farewell_size = size;
    __atomic_store_n(&farewell, bytes, __ATOMIC_RELEASE);
}

bool ss_connection_wanted(void)
{
    return plan.path != NULL;
}

bool ss_connection_stands(const ss_connection_plan *given)
{
    const uint32_t now = __atomic_load_n(&ss_connection_now, __ATOMIC_ACQUIRE);
    /* SS_CONNECTION_NONE: the watcher is about to open it. */
    if ((now != SS_CONNECTION_NONE && now != SS_CONNECTION_ASKED && now != SS_CONNECTION_HELD && now != SS_CONNECTION_HEARD) ||
        !plan.path || !given->path ||
        strcmp(plan.path, given->path) != 0 || plan.varlink != given->varlink ||
        plan.greeting_size != given->greeting_size || memcmp(plan.greeting, given->greeting, plan.greeting_size) != 0)
        return false;
    free(given->path);
    free(given->greeting);
    return true;
}

bool ss_connection_again(void)
{
    const uint32_t now = __atomic_load_n(&ss_connection_now, __ATOMIC_ACQUIRE);
    return now == SS_CONNECTION_FAILED || now == SS_CONNECTION_ENDED || __atomic_load_n(&over, __ATOMIC_ACQUIRE);
}

void ss_connection_fail(int error)
{
    set_state(error ? SS_CONNECTION_FAILED : SS_CONNECTION_NONE, error);
}

/* A stranger who listens could announce snapshots that never come. */
static bool trusted(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && ss_process_trusts(peer.uid);
}

/* Sends all of it, waiting for a moment where the other side reads slowly. Returns 0 or an errno. */
static int say(int fd, const unsigned char *bytes, size_t size)
{
    while (size) {
        const ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0) {
            struct pollfd one = {.fd = fd, .events = POLLOUT};
            if (errno != EAGAIN || poll(&one, 1, FAREWELL_MS) != 1)
                return errno;
            continue;
        }
        bytes += sent;
        size -= (size_t)sent;
    }
    return 0;
}

int ss_connection_open(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (!plan.path || __atomic_load_n(&over, __ATOMIC_ACQUIRE))
        return -1; /* Python takes first what the last connection received */
    const size_t length = strlen(plan.path);
    if (length >= sizeof address.sun_path) {
        set_state(SS_CONNECTION_ABSENT, ENAMETOOLONG);
        return -1;
    }
    memcpy(address.sun_path, plan.path, length);
    const bool abstract = plan.path[0] == '@';
    if (abstract)
        address.sun_path[0] = '\0';
    (void)pthread_mutex_lock(&mutex);
    if (!received)
        received = malloc(SS_CONNECTION_KEPT);
    received_size = 0;
    const bool kept = received != NULL;
    (void)pthread_mutex_unlock(&mutex);
    const int fd = kept ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    if (fd < 0) {
        set_state(SS_CONNECTION_FAILED, kept ? errno : ENOMEM);
        return -1;
    }
    const socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length + !abstract);
    int error = 0;
    enum ss_connection_state now = SS_CONNECTION_ASKED;
    if (connect(fd, (struct sockaddr *)&address, size) != 0) {
        error = errno;
        const bool soon = error == ECONNREFUSED && ++refused <= REFUSED_MOST;
        now = soon || error == EAGAIN || error == EINTR || error == ENOMEM ? SS_CONNECTION_FAILED : SS_CONNECTION_ABSENT;
    } else if (!trusted(fd)) {
        now = SS_CONNECTION_UNTRUSTED;
    } else {
        error = say(fd, plan.greeting, plan.greeting_size);
        if (error)
            now = SS_CONNECTION_FAILED;
    }
    set_state(now, error);
    if (now == SS_CONNECTION_ASKED) {
        refused = 0;
        return fd;
    }
    (void)close(fd);
    return -1;
}

/* With the mutex held. Varlink's first answer is to "give me a lock": Python has to see it if it is an error. All others are
   to "tell me when": Python has to see them. */
static enum ss_connection_state judge(void)
{
    const unsigned char *end = memchr(received, '\0', received_size);
    if (!plan.varlink)
        return SS_CONNECTION_HEARD;
    if (!end)
        return SS_CONNECTION_ASKED;
    const size_t first = (size_t)(end - received) + 1;
    if (memmem(received, first, "\"error\"", 7) || memchr(received + first, '\0', received_size - first))
        return SS_CONNECTION_HEARD;
    return SS_CONNECTION_HELD;
}

bool ss_connection_read(int fd, bool *ret_ended)
{
    unsigned char part[4096];
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(PASSED_MOST * sizeof(int))];
    const enum ss_connection_state before = (enum ss_connection_state)__atomic_load_n(&ss_connection_now, __ATOMIC_ACQUIRE);
    enum ss_connection_state now = before;
    bool heard = false;
    *ret_ended = false;
    while (!*ret_ended) {
        struct iovec to = {.iov_base = part, .iov_len = sizeof part};
        struct msghdr message = {.msg_iov = &to, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
        const ssize_t size = recvmsg(fd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (size < 0 && errno == EINTR)
            continue;
        if (size < 0 && errno == EAGAIN)
            break;
        for (struct cmsghdr *one = size > 0 ? CMSG_FIRSTHDR(&message) : NULL; one; one = CMSG_NXTHDR(&message, one)) {
            if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS)
                continue;
            for (size_t at = 0; at + sizeof(int) <= one->cmsg_len - CMSG_LEN(0); at += sizeof(int)) {
                int number;
                memcpy(&number, CMSG_DATA(one) + at, sizeof number);
                if (passed_count < PASSED_MOST)
                    passed[passed_count++] = number;
                else
                    (void)close(number);
            }
        }
        (void)pthread_mutex_lock(&mutex);
        if (size <= 0 || (size_t)size > SS_CONNECTION_KEPT - received_size) {
            *ret_ended = true;
        } else {
            memcpy(received + received_size, part, (size_t)size);
            received_size += (size_t)size;
            now = judge();
            heard = now == SS_CONNECTION_HEARD;
        }
        (void)pthread_mutex_unlock(&mutex);
    }
    __atomic_store_n(&over, *ret_ended && heard, __ATOMIC_RELEASE);
    set_state(*ret_ended && !heard ? SS_CONNECTION_ENDED : now, 0);
    return heard || (now == SS_CONNECTION_HELD && before != SS_CONNECTION_HELD);
}

void ss_connection_close(int fd)
{
    unsigned char answer[256];
    const unsigned char *last = __atomic_load_n(&farewell, __ATOMIC_ACQUIRE);
    if (fd >= 0 && last && say(fd, last, farewell_size) == 0) {
        /* Closed only after the other side has answered: it may drop what it has not read when the connection ends. */
        struct timespec until, now;
        int left = FAREWELL_MS;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        while (left > 0) {
            struct pollfd one = {.fd = fd, .events = POLLIN};
            const ssize_t size = poll(&one, 1, left) == 1 ? recv(fd, answer, sizeof answer, MSG_DONTWAIT) : 0;
            if (size <= 0 || memchr(answer, '\0', (size_t)size))
                break;
            (void)clock_gettime(CLOCK_MONOTONIC, &now);
            left = FAREWELL_MS - (int)((now.tv_sec - until.tv_sec) * 1000 + (now.tv_nsec - until.tv_nsec) / 1000000);
        }
    }
    if (fd >= 0)
        (void)close(fd);
    while (passed_count > 0)
        (void)close(passed[--passed_count]);
}

enum ss_connection_state ss_connection_inspect(int *ret_error)
{
    (void)pthread_mutex_lock(&mutex);
    if (ret_error)
        *ret_error = failure;
    (void)pthread_mutex_unlock(&mutex);
    return (enum ss_connection_state)__atomic_load_n(&ss_connection_now, __ATOMIC_ACQUIRE);
}

size_t ss_connection_take(unsigned char *out, size_t size)
{
    (void)pthread_mutex_lock(&mutex);
    size_t taken = 0;
    /* In another state, what is there belongs to a connection that was made since. */
    const bool heard = __atomic_load_n(&ss_connection_now, __ATOMIC_ACQUIRE) == SS_CONNECTION_HEARD;
    if (heard)
        taken = received_size < size ? received_size : size;
    if (taken) {
        memcpy(out, received, taken);
        memmove(received, received + taken, received_size - taken);
        received_size -= taken;
    }
    /* Even if nothing was taken: the end may come after the last bytes were. */
    const bool ended = heard && !received_size && __atomic_exchange_n(&over, false, __ATOMIC_ACQ_REL);
    if (ended)
        __atomic_store_n(&ss_connection_now, SS_CONNECTION_ENDED, __ATOMIC_RELEASE);
    (void)pthread_mutex_unlock(&mutex);
    return taken;
}

void ss_connection_before_fork(void)
{
    (void)pthread_mutex_lock(&mutex);
}

void ss_connection_after_fork_in_parent(void)
{
    (void)pthread_mutex_unlock(&mutex);
}

void ss_connection_after_fork_in_child(void)
{
    (void)pthread_mutex_init(&mutex, NULL);
    received_size = 0;
    passed_count = 0; /* numbers of the watcher's table, which is not here */
    farewell = NULL;
    over = false;
    __atomic_store_n(&ss_connection_now, SS_CONNECTION_NONE, __ATOMIC_RELEASE);
}
