#define _GNU_SOURCE 1
#include "watcher.h"

#include "entropy.h"
#include "epoch.h"
#include "futex.h"
#include "isolate.h"
#include "lost.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LEAST_STACK ((size_t)1 << 20) /* musl's default of 128 KiB is too small for Python */

/* `control` serialises starting and stopping and is held across the joins; `mutex` guards what the threads share, and
   nothing is waited for or called under it. Order: control, mutex, then those of the other rooms. */
static pthread_mutex_t control = PTHREAD_MUTEX_INITIALIZER;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed; /* by CLOCK_MONOTONIC: a restore is when the other one is set */

/* Under control. */
static ss_watch_plan plan;
static bool wanted, alive;
static bool delayed; /* atomic; the next watcher waits a tick before it opens anything: see ss_watcher_resume() */
static int every_ms; /* 0: sleeps in what it has open */
static int paused;
static pthread_t watcher, runner;

/* Under mutex, or atomic where a line says so. */
static uint64_t number;          /* atomic; of the pair of threads that may live: a thread with another number ends */
static unsigned pending;         /* SS_WOKE_ bits */
static bool runner_busy;         /* the runner of `number` runs an event */
static ss_watch_item *next_plan; /* what the watcher is to watch instead; NULL when it has taken it over */
static int next_count;
static int busy;                 /* runners at an event, those of earlier numbers counted */
static int calling;              /* callbacks of the program that are being run, by whomever */
static int called;               /* those of them that runners run */
static int forks;                /* forks that are about to be made: runners keep out of Python */
static int standing;             /* runners at an event that wait for the end of those, without the GIL */
static __thread pid_t runs_as;   /* the id of a runner, of whatever number, else 0; not under mutex: the thread's own */
static bool (*run_event)(unsigned why);
static void (*let_runner_in)(void); /* set before the fork handlers are */
static uint64_t delivered;              /* atomic */
static pid_t watcher_tid, runner_tid;   /* atomic */
static int start_error;                 /* atomic */

void ss_watcher_delivered(uint64_t epoch)
{
    __atomic_store_n(&delivered, epoch, __ATOMIC_RELEASE);
}

static void make_changed(void)
{
    pthread_condattr_t attributes;
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
}

static struct timespec from_now(int milliseconds)
{
    struct timespec then;
    (void)clock_gettime(CLOCK_MONOTONIC, &then);
    then.tv_nsec += (long)(milliseconds % 1000) * 1000000;
    then.tv_sec += milliseconds / 1000 + then.tv_nsec / 1000000000;
    then.tv_nsec %= 1000000000;
    return then;
}

static bool is_current(uint64_t mine) { return __atomic_load_n(&number, __ATOMIC_ACQUIRE) == mine; }

static void post(unsigned why)
{
    if (!why)
        return;
    (void)pthread_mutex_lock(&mutex);
    pending |= why;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
}

void ss_watcher_poke(void)
{
    if (__atomic_load_n(&ss_watcher_how, __ATOMIC_ACQUIRE) != SS_WATCH_OFF)
        post(SS_WOKE_EPOCH);
}

/* clone(2) calls no fork handler, so a restore is the first that a child of it may hear. */
static void on_advance(uint64_t epoch)
{
    if (!ss_lost_told())
        ss_watcher_poke();
}

static void on_forked(uint64_t unused) { (void)ss_lost_told(); }

/* ---- the runner ---- */

static void *runner_main(void *argument)
{
    const uint64_t mine = (uint64_t)(uintptr_t)argument;
    runs_as = (pid_t)syscall(SYS_gettid);
    __atomic_store_n(&runner_tid, runs_as, __ATOMIC_RELEASE);
    (void)prctl(PR_SET_NAME, "snapsafe-event");
    (void)pthread_mutex_lock(&mutex);
    while (is_current(mine)) {
        unsigned why = pending;
        if (!why || forks) {
            (void)pthread_cond_wait(&changed, &mutex);
            continue;
        }
        bool (*run)(unsigned) = run_event, done = true;
        pending = 0;
        runner_busy = true;
        busy++;
        (void)pthread_mutex_unlock(&mutex);
        if (ss_epoch_begin() == __atomic_load_n(&delivered, __ATOMIC_ACQUIRE))
            why &= ~SS_WOKE_EPOCH;
        else
            ss_entropy_renew_kernel();
        if (why && run)
            done = run(why);
        (void)pthread_mutex_lock(&mutex);
        if (is_current(mine))
            runner_busy = false;
        if (busy > 0) /* it is 0 in a child that a callback forked: there this returns from the callback */
            busy--;
        (void)pthread_cond_broadcast(&changed);
        if (!done && is_current(mine)) {
            const struct timespec until = from_now(SS_WATCH_TICK_MS);
            (void)pthread_cond_timedwait(&changed, &mutex, &until);
            pending |= why;
        }
    }
    (void)pthread_mutex_unlock(&mutex);
    return NULL;
}

static bool is_runner(void) { return runs_as != 0; }

/* A child that the runner made by clone(2) has another id. */
static bool in_runner(void) { return runs_as == (pid_t)syscall(SYS_gettid); }

bool ss_watcher_calling(bool begins)
{
    (void)pthread_mutex_lock(&mutex);
    const bool may = !begins || !is_runner() || !forks;
    if (begins && may) {
        calling++;
        called += is_runner();
    } else if (!begins && calling > 0) { /* it is 0 in a child that a callback forked */
        calling--;
        called -= is_runner() && called > 0;
    }
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
    /* Else all are blocked: main may block one and wait for it at any time, and the kernel must not give it to us then. */
    if (may && in_runner())
        begins ? ss_isolate_as_main() : ss_isolate_signals(NULL);
    return may;
}

bool ss_watcher_fork_waits(void)
{
    if (!is_runner())
        return false;
    (void)pthread_mutex_lock(&mutex);
    const bool waits = forks != 0;
    (void)pthread_mutex_unlock(&mutex);
    return waits;
}

void ss_watcher_stand_by(void)
{
    (void)pthread_mutex_lock(&mutex);
    standing++;
    (void)pthread_cond_broadcast(&changed);
    while (forks)
        (void)pthread_cond_wait(&changed, &mutex);
    if (standing > 0) /* it is 0 after ss_watcher_forget() */
        standing--;
    (void)pthread_mutex_unlock(&mutex);
}

/* With mutex held. */
static bool quiet(enum ss_watcher_work work)
{
    if (work == SS_WORK_EVENT)
        return !busy;
    if (work == SS_WORK_PYTHON)
        return busy <= standing + is_runner();
    return busy <= standing + called + is_runner() || calling > called; /* it may wait for who runs those */
}

bool ss_watcher_quiet(enum ss_watcher_work work, int milliseconds)
{
    struct timespec until = {0};
    if (milliseconds)
        until = from_now(milliseconds);
    (void)pthread_mutex_lock(&mutex);
    while (!quiet(work) && milliseconds && pthread_cond_timedwait(&changed, &mutex, &until) != ETIMEDOUT)
        ;
    const bool is = quiet(work);
    (void)pthread_mutex_unlock(&mutex);
    return is;
}

/* ---- the watcher ---- */

/* While the program stands still for a snapshot: holds no descriptor, and looks at the plan's paths until it has to end. */
static void look_often(uint64_t mine)
{
    ss_watch_look_only();
    for (int slept = 0; is_current(mine); slept += every_ms) {
        post(ss_watch_items_compare(plan.items, plan.count));
        if (ss_epoch_begin() != __atomic_load_n(&delivered, __ATOMIC_ACQUIRE))
            post(SS_WOKE_EPOCH);
        if (slept >= SS_WATCH_TICK_MS) {
            post(SS_WOKE_HEARD);
            slept = 0;
        }
        post(ss_watch_plan_wait(&plan, every_ms));
    }
}

/* Takes over the next plan, if there is one; the connection stays. */
static void take_plan(ss_watch_holdings *h)
{
    (void)pthread_mutex_lock(&mutex);
    const bool given = next_plan != NULL; /* it stays: hand_over() waits until this has taken it */
    (void)pthread_mutex_unlock(&mutex);
    if (!given)
        return;
    ss_watch_holdings_close(h);
    (void)pthread_mutex_lock(&mutex);
    plan.count = ss_watch_items_adopt(plan.items, plan.count, next_plan, next_count);
    next_plan = NULL;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
    h->spare = false;
    post(ss_watch_holdings_open(h));
}

static void *watcher_main(void *argument)
{
    const uint64_t mine = (uint64_t)(uintptr_t)argument;
    ss_watch_holdings h = {.plan = &plan, .signals = -1, .inotify = -1, .link = -1};
    __atomic_store_n(&watcher_tid, (pid_t)syscall(SYS_gettid), __ATOMIC_RELEASE);
    (void)prctl(PR_SET_NAME, "snapsafe-watch");
    bool wait = __atomic_load_n(&delayed, __ATOMIC_ACQUIRE);
    if (every_ms) {
        look_often(mine);
        return NULL;
    }
    if (wait && ss_connection_wanted()) { /* the connection cannot wait: a snapshot announced meanwhile would be missed */
        h.spare = true;
        wait = false;
    }
    if (!wait)
        post(ss_watch_holdings_open(&h));
    while (is_current(mine)) {
        if (ss_epoch_begin() != __atomic_load_n(&delivered, __ATOMIC_ACQUIRE))
            post(SS_WOKE_EPOCH);
        if (!wait) {
            post(ss_watch_holdings_wait(&h));
            take_plan(&h);
            continue;
        }
        post(ss_watch_plan_wait(&plan, SS_WATCH_TICK_MS));
        wait = false;
        if (is_current(mine))
            post(ss_watch_holdings_open(&h));
    }
    if (h.link >= 0 && ss_isolate_holds(&h.table)) {
        ss_watch_holdings_close(&h); /* before the farewell, after which the snapshot may be taken at once */
        ss_connection_close(h.link);
    }
    return NULL; /* a table of its own goes with its last thread */
}

static void after_fork_in_child(void);

/* In a child of clone(2), before anything else is done with the threads there. */
static void adopt_child(void)
{
    if (ss_lost_elsewhere())
        after_fork_in_child();
}

/* ---- starting and stopping; with control held ---- */

/* Tells both threads to end. Returns whether the runner is at an event; it may be the caller. */
static bool dismiss(void)
{
    (void)pthread_mutex_lock(&mutex);
    __atomic_add_fetch(&number, 1, __ATOMIC_ACQ_REL);
    const bool at_event = runner_busy;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
    return at_event;
}

static void end_runner(bool at_event)
{
    if (at_event) { /* it ends after its event */
        (void)pthread_detach(runner);
    } else {
        (void)pthread_join(runner, NULL);
        ss_isolate_gone(&runner_tid);
    }
}

static void start(void)
{
    sigset_t before;
    pthread_attr_t attributes;
    size_t stack = 0;
    ss_lost_resumed();
    if (alive || !wanted || paused)
        return;
    (void)pthread_mutex_lock(&mutex);
    const uint64_t mine = __atomic_add_fetch(&number, 1, __ATOMIC_ACQ_REL);
    /* The new watcher looks at the epoch itself. The other reasons stay, for nobody would find those changes a second time. */
    pending &= ~SS_WOKE_EPOCH;
    runner_busy = false;
    (void)pthread_mutex_unlock(&mutex);
    ss_isolate_signals(&before);
    (void)pthread_attr_init(&attributes);
    if (pthread_attr_getstacksize(&attributes, &stack) == 0 && stack < LEAST_STACK)
        (void)pthread_attr_setstacksize(&attributes, LEAST_STACK);
    int error = pthread_create(&runner, &attributes, runner_main, (void *)(uintptr_t)mine);
    if (!error) {
        (void)pthread_attr_setstacksize(&attributes, LEAST_STACK / 4);
        ss_watch_set_how(SS_WATCH_STARTING);
        error = pthread_create(&watcher, &attributes, watcher_main, (void *)(uintptr_t)mine);
        if (error)
            end_runner(dismiss());
    }
    (void)pthread_attr_destroy(&attributes);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    alive = !error;
    ss_lost_started(alive);
    if (error)
        ss_watch_set_how(SS_WATCH_OFF);
    __atomic_store_n(&start_error, error, __ATOMIC_RELEASE);
}

static void stop(void)
{
    if (!alive)
        return;
    const bool leave = dismiss();
    (void)pthread_kill(watcher, SS_WATCH_STOP_SIGNAL);
    (void)pthread_join(watcher, NULL);
    ss_isolate_gone(&watcher_tid);
    end_runner(leave);
    alive = false;
    ss_lost_started(false);
    ss_connection_fail(0);
    ss_watch_set_how(SS_WATCH_OFF);
}

/* Gives the running watcher another plan, and waits until it has taken it over. */
static void hand_over(ss_watch_item *items, int count, bool (*run)(unsigned why))
{
    (void)pthread_mutex_lock(&mutex);
    run_event = run;
    next_plan = items;
    next_count = count;
    (void)pthread_kill(watcher, SS_WATCH_STOP_SIGNAL);
    while (next_plan)
        (void)pthread_cond_wait(&changed, &mutex);
    (void)pthread_mutex_unlock(&mutex);
}

int ss_watcher_plan(ss_watch_item *items, int count, bool want, bool (*run)(unsigned why), int every,
                    const ss_connection_plan *link, const unsigned char *farewell, size_t farewell_size)
{
    adopt_child();
    (void)pthread_mutex_lock(&control);
    if (alive && want && !every && !every_ms && !farewell && ss_connection_stands(link)) {
        hand_over(items, count, run);
        (void)pthread_mutex_unlock(&control);
        return 0;
    }
    ss_connection_set_farewell(farewell, farewell_size);
    stop();
    ss_connection_set_farewell(NULL, 0);
    ss_connection_set(link);
    every_ms = every;
    plan.count = ss_watch_items_adopt(plan.items, plan.count, items, count);
    wanted = want;
    ss_lost_wanted(want);
    (void)pthread_mutex_lock(&mutex);
    run_event = run;
    (void)pthread_mutex_unlock(&mutex);
    __atomic_store_n(&start_error, 0, __ATOMIC_RELEASE);
    __atomic_store_n(&delayed, false, __ATOMIC_RELEASE);
    start();
    const int error = __atomic_load_n(&start_error, __ATOMIC_ACQUIRE);
    (void)pthread_mutex_unlock(&control);
    return error;
}

void ss_watcher_pause(void)
{
    adopt_child();
    (void)pthread_mutex_lock(&control);
    paused++;
    (void)pthread_mutex_lock(&mutex);
    const bool at_event = runner_busy;
    (void)pthread_mutex_unlock(&mutex);
    /* During an event about a snapshot the connection, which delays it, stays; the runner of the event is here anyway. */
    if (!at_event || ss_connection_inspect(NULL) != SS_CONNECTION_HEARD)
        stop();
    (void)pthread_mutex_unlock(&control);
}

void ss_watcher_resume(void)
{
    adopt_child();
    (void)pthread_mutex_lock(&control);
    if (paused > 0)
        paused--;
    /* It opens nothing for a tick. Closing an inotify takes the kernel milliseconds: who forks again within the tick, and a
       child that ends within it, need not pay them. */
    __atomic_store_n(&delayed, true, __ATOMIC_RELEASE);
    start();
    (void)pthread_mutex_unlock(&control);
}

void ss_watcher_inspect(ss_watcher_info *ret_info)
{
    int error;
    ret_info->how = ss_watch_get_how(&error, &ret_info->wakeups);
    ret_info->running = ret_info->how != SS_WATCH_OFF;
    ret_info->error = ret_info->running ? error : __atomic_load_n(&start_error, __ATOMIC_ACQUIRE);
}

/* ---- fork ---- */

/* The child has the GIL as it is now. With a runner in it, or in its queue, nobody would ever let it go there. The guards of
   os.fork() have stopped the threads by now; this is for a fork past it. */
static void before_fork(void)
{
    (void)pthread_mutex_lock(&mutex);
    forks++;
    const bool wait = !quiet(SS_WORK_PYTHON) && !ss_lost_elsewhere();
    (void)pthread_mutex_unlock(&mutex);
    if (wait) {
        int cancelable; /* what waits here may be cancelled, as fork() may not */
        (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &cancelable);
        let_runner_in();
        (void)pthread_setcancelstate(cancelable, NULL);
    }
    (void)pthread_mutex_lock(&control);
    (void)pthread_mutex_lock(&mutex);
    ss_connection_before_fork();
}

static void after_fork_in_parent(void)
{
    ss_connection_after_fork_in_parent();
    forks--;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
    (void)pthread_mutex_unlock(&control);
}

/* The child has one thread, and it is none of ours. An event that the parent's runner had begun is pending here. */
static void after_fork_in_child(void)
{
    (void)pthread_mutex_init(&control, NULL);
    (void)pthread_mutex_init(&mutex, NULL);
    make_changed();
    __atomic_add_fetch(&number, 1, __ATOMIC_ACQ_REL);
    if (busy)
        pending |= SS_WOKE_PATHS; /* the parent's runner may have taken it from `pending` */
    alive = runner_busy = false;
    runs_as = 0;
    busy = paused = calling = called = forks = standing = 0;
    ss_lost_forked();
    ss_connection_after_fork_in_child();
    ss_watch_set_how(SS_WATCH_OFF);
}

void ss_watcher_forget(void)
{
    (void)pthread_mutex_lock(&mutex);
    busy = calling = called = forks = standing = 0;
    (void)pthread_cond_broadcast(&changed);
    (void)pthread_mutex_unlock(&mutex);
}

int ss_watcher_setup(void (*let_in)(void))
{
    static bool done; /* under control */
    (void)pthread_mutex_lock(&control);
    let_runner_in = let_in;
    int error = done ? 0 : ss_lost_setup(ss_watcher_pause);
    if (!done) {
        make_changed();
        if (!error)
            error = pthread_atfork(before_fork, after_fork_in_parent, after_fork_in_child);
        ss_epoch_observe(SS_OBSERVER_WAKES, on_advance);
        ss_epoch_observe(SS_OBSERVER_FORKED, on_forked);
    }
    done = !error;
    (void)pthread_mutex_unlock(&control);
    return error;
}
