#define _GNU_SOURCE 1
#include "watch_holdings.h"

#include "connection.h"

#include <errno.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

uint32_t ss_watcher_how;

static uint64_t wakeups; /* atomic */
static int how_error;    /* atomic */

void ss_watch_set_how(enum ss_watch_how now) { __atomic_store_n(&ss_watcher_how, now, __ATOMIC_RELEASE); }

enum ss_watch_how ss_watch_get_how(int *ret_error, uint64_t *ret_wakeups)
{
    const uint32_t how = __atomic_load_n(&ss_watcher_how, __ATOMIC_ACQUIRE); /* first: its error is not older */
    *ret_error = __atomic_load_n(&how_error, __ATOMIC_ACQUIRE);
    *ret_wakeups = __atomic_load_n(&wakeups, __ATOMIC_RELAXED);
    return (enum ss_watch_how)how;
}

void ss_watch_look_only(void)
{
    __atomic_store_n(&how_error, 0, __ATOMIC_RELEASE);
    ss_watch_set_how(SS_WATCH_TIMER);
}

static unsigned connect_again(ss_watch_holdings *h)
{
    h->link = ss_connection_open();
    const bool nobody = h->link < 0 && ss_connection_wanted() && !ss_connection_again();
    return nobody ? SS_WOKE_HEARD : 0;
}

unsigned ss_watch_holdings_open(ss_watch_holdings *h)
{
    enum ss_watch_how best = SS_WATCH_TIMER;
    unsigned woke = 0;
    int error = 0;
    h->signals = h->inotify = -1;
    h->tick = true;
    for (int i = 0; i < h->plan->count; i++)
        h->plan->items[i].descriptor = -1;
    if (!ss_isolate_holds(&h->table)) {
        h->link = -1; /* a number of a table that this thread has no more */
        if (!ss_isolate_descriptors(&h->table))
            error = errno;
    }
    if (error) {
        if (ss_connection_wanted())
            ss_connection_fail(error);
    } else {
        sigset_t stop;
        sigemptyset(&stop);
        sigaddset(&stop, SS_WATCH_STOP_SIGNAL);
        h->signals = signalfd(-1, &stop, SFD_CLOEXEC | SFD_NONBLOCK);
        if (h->link < 0)
            woke |= connect_again(h);
        if (h->spare)
            return woke;
        h->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (h->signals < 0 || h->inotify < 0)
            error = errno;
        for (int i = 0; i < h->plan->count; i++) {
            ss_watch_item *item = &h->plan->items[i];
            if (item->device)
                item->descriptor = ss_watch_item_open(item);
            else if (h->inotify >= 0)
                item->descriptor = inotify_add_watch(h->inotify, item->path, item->mask | IN_MASK_ADD);
            if (item->descriptor < 0 && !error)
                error = errno;
            else if (item->descriptor >= 0 && !item->name)
                best = item->device ? SS_WATCH_POLL : SS_WATCH_INOTIFY;
        }
        if (best == SS_WATCH_TIMER && !error)
            best = SS_WATCH_INOTIFY; /* no source: only folders are watched, for one to come */
        h->tick = error != 0;
    }
    __atomic_store_n(&how_error, error, __ATOMIC_RELEASE);
    ss_watch_set_how(best);
    return woke | ss_watch_items_compare(h->plan->items, h->plan->count); /* what changed before the watches were set */
}

void ss_watch_holdings_close(ss_watch_holdings *h)
{
    if (!ss_isolate_holds(&h->table))
        return;
    for (int i = 0; i < h->plan->count; i++) {
        const ss_watch_item *item = &h->plan->items[i];
        if (item->device && item->descriptor >= 0)
            (void)close(item->descriptor);
    }
    if (h->inotify >= 0)
        (void)close(h->inotify);
    if (h->signals >= 0)
        (void)close(h->signals);
}

unsigned ss_watch_plan_wait(ss_watch_plan *plan, int milliseconds)
{
    const struct timespec tick = {.tv_sec = milliseconds / 1000, .tv_nsec = milliseconds % 1000 * 1000000L};
    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SS_WATCH_STOP_SIGNAL);
    (void)sigtimedwait(&stop, NULL, &tick);
    __atomic_add_fetch(&wakeups, 1, __ATOMIC_RELAXED);
    return ss_watch_items_compare(plan->items, plan->count);
}

static unsigned hear(ss_watch_holdings *h)
{
    bool ended;
    const unsigned woke = ss_connection_read(h->link, &ended) ? SS_WOKE_HEARD : 0;
    if (ended) {
        ss_connection_close(h->link);
        h->link = -1;
    }
    return woke;
}

unsigned ss_watch_holdings_wait(ss_watch_holdings *h)
{
    unsigned woke = 0;
    if (!h->table.own)
        return ss_watch_plan_wait(h->plan, SS_WATCH_TICK_MS);
    struct pollfd fds[3 + SS_WATCH_ITEMS] = {
        {.fd = h->signals, .events = POLLIN}, {.fd = h->inotify, .events = POLLIN}, {.fd = h->link, .events = POLLIN}};
    int count = 3;
    for (int i = 0; i < h->plan->count; i++) {
        if (h->plan->items[i].device)
            fds[count++] = (struct pollfd){.fd = h->plan->items[i].descriptor, .events = POLLIN};
    }
    const int ready = poll(fds, (nfds_t)count, h->tick || (h->link < 0 && ss_connection_again()) ? SS_WATCH_TICK_MS : -1);
    const int error = ready < 0 ? errno : 0;
    __atomic_add_fetch(&wakeups, 1, __ATOMIC_RELAXED);
    if (!ss_isolate_holds(&h->table))
        return ss_watch_holdings_open(h);
    if (error && error != EINTR) { /* EINVAL if somebody has lowered RLIMIT_NOFILE below `count` */
        __atomic_store_n(&how_error, error, __ATOMIC_RELEASE);
        ss_watch_set_how(SS_WATCH_TIMER);
        return ss_watch_plan_wait(h->plan, SS_WATCH_TICK_MS);
    }
    if (fds[0].revents & POLLIN) {
        struct signalfd_siginfo info;
        while (read(h->signals, &info, sizeof info) > 0)
            ;
    }
    if (fds[1].revents & POLLIN)
        woke |= ss_watch_items_read(h->inotify, h->plan->items, h->plan->count);
    if (fds[2].revents)
        woke |= hear(h);
    for (int i = 0, at = 3; i < h->plan->count; i++) {
        ss_watch_item *item = &h->plan->items[i];
        if (item->device && fds[at++].revents && item->descriptor >= 0)
            ss_watch_item_arm(item);
    }
    if (ready == 0 && h->inotify < 0) { /* a tick is over: perhaps there is one to be had by now */
        h->spare = false;
        ss_watch_holdings_close(h);
        woke |= ss_watch_holdings_open(h);
    } else if (ready == 0 && h->link < 0 && ss_connection_again()) {
        woke |= connect_again(h);
    }
    return woke;
}
