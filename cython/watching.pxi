# The watching room: what Python has of the watcher's threads, the waits of the restore event, and the guards that stop
# the threads around a fork.

from cpython.exc cimport PyErr_CheckSignals

cdef extern from *:
    """
    #include "isolate.h"
    #include <sys/syscall.h>
    #include <unistd.h>

    /* What the runner calls; owned, set by the main interpreter alone. With the room's lock. */
    static PyObject *ss_event_function;

    /* What the runner takes for its next event, where it may take what another thread has made. Made with the GIL, and
       of the process whose token stands there: a forked child has lost it. Both atomic. */
    static PyThreadState *ss_prepared;
    static uint64_t ss_prepared_for;
    static int ss_event_states; /* atomic; of runners at an event, from before they are a thread's */
    static __thread int ss_in_event;

    static void ss_prepare_event(void)
    {
        const uint64_t process = ss_process_token();
        if (!SS_THREAD_STATE_FOR_OTHERS)
            return;
        if (__atomic_load_n(&ss_prepared_for, __ATOMIC_ACQUIRE) != process) {
            /* Before the runner can take it for this process's. */
            __atomic_store_n(&ss_prepared, NULL, __ATOMIC_RELEASE);
            __atomic_store_n(&ss_prepared_for, process, __ATOMIC_RELEASE);
        }
        if (!__atomic_load_n(&ss_prepared, __ATOMIC_ACQUIRE))
            __atomic_store_n(&ss_prepared, ss_thread_state_make(PyInterpreterState_Main()), __ATOMIC_RELEASE);
    }

    static PyThreadState *ss_take_prepared(void)
    {
        if (__atomic_load_n(&ss_prepared_for, __ATOMIC_ACQUIRE) != ss_process_token())
            return NULL;
        return __atomic_exchange_n(&ss_prepared, NULL, __ATOMIC_ACQ_REL);
    }

    static void ss_drop_prepared(void) /* with the GIL */
    {
        PyThreadState *state = ss_take_prepared();
        if (state) {
            PyThreadState_Clear(state);
            PyThreadState_Delete(state);
        }
    }

    /* With the GIL: the runner stands by, without it, while another thread forks. */
    static void ss_let_fork(void)
    {
        while (ss_watcher_fork_waits()) {
            Py_BEGIN_ALLOW_THREADS
            ss_watcher_stand_by();
            Py_END_ALLOW_THREADS
        }
    }

    /* Called without the GIL by the runner. False where there was no memory for it, so it has to be called again. Not
       by PyGILState_Ensure(), which ends the process then. Leaves no exception: what the function raises is reported as
       unraisable. */
    static bool ss_run_event(unsigned why)
    {
        bool done = true;
        if (!Py_IsInitialized())
            return done;
        PyThreadState *state = ss_take_prepared();
        if (!state)
            state = ss_thread_state_make(PyInterpreterState_Main());
        if (!state)
            return false;
        ss_in_event = 1;
        __atomic_add_fetch(&ss_event_states, 1, __ATOMIC_ACQ_REL);
        ss_thread_state_take(state);
        ss_let_fork();
        ss_room_lock(SS_ROOM_WATCHING);
        PyObject *function = Py_XNewRef(ss_event_function);
        ss_room_unlock(SS_ROOM_WATCHING);
        if (function) {
            PyObject *paths = why & SS_WOKE_PATHS ? Py_True : Py_False;
            PyObject *heard = why & SS_WOKE_HEARD ? Py_True : Py_False;
            PyObject *result = PyObject_CallFunctionObjArgs(function, paths, heard, NULL);
            if (!result) {
                done = !PyErr_ExceptionMatches(PyExc_MemoryError);
                PyErr_WriteUnraisable(function);
            }
            Py_XDECREF(result);
            Py_DECREF(function);
        }
        ss_prepare_event();
        PyThreadState_Clear(state);
        __atomic_sub_fetch(&ss_event_states, 1, __ATOMIC_ACQ_REL);
        ss_in_event = 0;
        PyThreadState_DeleteCurrent();
        return done;
    }

    /* With the GIL, in a child just forked: a thread state that nobody uses. Where the child's only thread ends while
       the runner begins, CPython would take its first state's memory for a new one, and abort (seen on 3.11). Without a
       GIL it would be given references of this thread to drop. */
    static void ss_keep_thread_state(void)
    {
        if (SS_THREAD_STATE_FOR_OTHERS)
            (void)ss_thread_state_make(PyInterpreterState_Main());
    }

    static void ss_set_event_function(PyObject *function)
    {
        Py_XINCREF(function);
        ss_room_lock(SS_ROOM_WATCHING);
        PyObject *old = ss_event_function;
        ss_event_function = function;
        ss_room_unlock(SS_ROOM_WATCHING);
        Py_XDECREF(old);
    }

    typedef struct {
        PyObject *function;
        PyThreadState *state; /* NULL: the thread makes its own */
    } ss_apart;

    /* A thread with an empty descriptor table of its own: calls a Python function. What that raises is dropped. */
    static void *ss_apart_main(void *argument)
    {
        ss_apart *apart = argument;
        ss_private_table table;
        if (syscall(SYS_gettid) != getpid() && ss_isolate_descriptors(&table)) {
            (void)close(table.mark);
            PyThreadState *state = apart->state ? apart->state : ss_thread_state_make(PyInterpreterState_Main());
            apart->state = NULL;
            if (!state)
                return NULL;
            ss_thread_state_take(state);
            PyObject *result = PyObject_CallObject(apart->function, NULL);
            if (!result)
                PyErr_Clear();
            Py_XDECREF(result);
            PyThreadState_Clear(state);
            PyThreadState_DeleteCurrent();
        }
        return NULL;
    }

    /* With the GIL, which it releases meanwhile. Returns when it was called, if a thread was to be had. */
    static void ss_call_apart(PyObject *function)
    {
        ss_apart apart = {function, NULL};
        pthread_t thread;
        sigset_t before;
        if (SS_THREAD_STATE_FOR_OTHERS && !(apart.state = ss_thread_state_make(PyInterpreterState_Main())))
            return;
        Py_BEGIN_ALLOW_THREADS
        ss_isolate_signals(&before);
        const int error = pthread_create(&thread, NULL, ss_apart_main, &apart);
        (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
        if (!error)
            (void)pthread_join(thread, NULL);
        Py_END_ALLOW_THREADS
        if (apart.state) {
            PyThreadState_Clear(apart.state);
            PyThreadState_Delete(apart.state);
        }
    }

    static uint64_t ss_thread_id(void) { return (uint64_t)pthread_self(); }

    /* Which kind of child the running guard makes: 0 none, 1 one that goes on, 2 one that will execute something else.
       Of this thread: several may be at it, and a child has the thread that made it. */
    static __thread int ss_forking;
    static __thread bool ss_before_fork; /* between the calls of PyOS_BeforeFork() and PyOS_AfterFork_...() */

    /* With the GIL: could a thread take it that is neither this one nor a runner? One that takes its first state now is
       not seen. */
    static bool ss_others(void)
    {
        if (PyInterpreterState_Next(PyInterpreterState_Head()))
            return true;
        int others = -1 - __atomic_load_n(&ss_event_states, __ATOMIC_ACQUIRE);
        PyThreadState *state = PyInterpreterState_ThreadHead(PyInterpreterState_Main());
        for (; state; state = PyThreadState_Next(state))
            others += state->thread_id != 0;
        return others > 0;
    }

    /* Does fork(3) call its handlers without a lock of its own? glibc does since 2.36 (bug 24595), musl does not. */
    extern const char *gnu_get_libc_version(void) __attribute__((weak));
    static bool ss_forks_unlocked(void)
    {
        int major = 0, minor = 0;
        return gnu_get_libc_version && sscanf(gnu_get_libc_version(), "%d.%d", &major, &minor) == 2 &&
               (major > 2 || minor >= 36);
    }

    /* Called by the thread that forks, with or without the GIL. It may hold what a callback waits for, so it waits
       for a time alone. The GIL it could not get back from a thread that waits, with the GIL, for a lock which this
       one holds: the C library's; or CPython's after PyOS_BeforeFork(), whose caller has a new GIL made in the child
       anyway. So it lets it go only where no such thread can come: to our own work, which takes no such lock, and not
       to a callback. Without a GIL no thread waits so. There it is a stop of all threads, begun by the runner and
       waiting for this one, that would never end in the child. */
    static void ss_let_in(void)
    {
        if (ss_forking || ss_before_fork || !Py_IsInitialized())
            return;
        if (!ss_attached()) {
            (void)(ss_watcher_quiet(SS_WORK_OWN, 1000) && ss_watcher_quiet(SS_WORK_PYTHON, 100));
        } else if (SS_FREE_THREADED) {
            Py_BEGIN_ALLOW_THREADS
            (void)(ss_watcher_quiet(SS_WORK_OWN, 1000) && ss_watcher_quiet(SS_WORK_PYTHON, 100));
            Py_END_ALLOW_THREADS
        } else if (!ss_watcher_quiet(SS_WORK_OWN, 0) && !ss_others() && ss_forks_unlocked()) {
            Py_BEGIN_ALLOW_THREADS
            (void)ss_watcher_quiet(SS_WORK_OWN, 1000);
            Py_END_ALLOW_THREADS
        }
    }

    static uint64_t ss_noticing; /* atomic; token of the process that a thread of is in notice_fork(), else 0 */

    /* Noticed within a draw: the threads are started by the main thread's next step in Python. */
    static int ss_resuming; /* atomic; it was told to */
    static int ss_resume_lost(void *unused);
    static void ss_lost(void)
    {
        if (!ss_forking && !__atomic_exchange_n(&ss_resuming, 1, __ATOMIC_ACQ_REL) &&
            Py_AddPendingCall(ss_resume_lost, NULL) != 0)
            __atomic_store_n(&ss_resuming, 0, __ATOMIC_RELEASE);
    }
    static bool ss_notice_begins(void)
    {
        const uint64_t process = ss_process_token();
        return __atomic_exchange_n(&ss_noticing, process, __ATOMIC_ACQ_REL) != process;
    }
    """
    PyObject* ss_event_function
    int ss_forking
    bint ss_before_fork
    int ss_event_states
    int ss_in_event
    int ss_resuming
    uint64_t ss_noticing
    bint ss_notice_begins() noexcept
    void ss_let_fork() noexcept
    void ss_let_in() noexcept nogil
    void ss_lost() noexcept nogil
    bint ss_run_event "ss_run_event"(unsigned int why) noexcept nogil
    void ss_set_event_function(PyObject* function) noexcept
    void ss_keep_thread_state() noexcept
    uint64_t ss_thread_id() noexcept
    void ss_call_apart(PyObject* function) noexcept
    ctypedef struct PyThreadState:
        pass
    PyThreadState* ss_prepared
    void ss_prepare_event() noexcept
    void ss_drop_prepared() noexcept
    void PyErr_SetObject(object, object)
    void PyErr_WriteUnraisable(object)
    char* strdup(const char*) nogil


def plan_watching(list items not None, bint wanted, function, link=None, int every_ms=0, bytes farewell=None, /):
    """Watch these; see ss_watcher_plan in watcher.h. Main interpreter only.

    An item is (path, name or None, inotify mask, device, sysgenid, announcer, st_dev, st_ino); `link` None, or
    (address, greeting, is it Varlink) as in connection.h. `function` is called with two answers: did a path lead
    somewhere else (SS_WOKE_PATHS), has who announces snapshots said something (SS_WOKE_HEARD)? Raises OSError where no
    thread could be started, ValueError for more than SS_WATCH_ITEMS items.
    """
    cdef ss_watch_item plan[SS_WATCH_ITEMS]
    cdef ss_connection_plan link_plan
    cdef int count = 0, error
    cdef const unsigned char* last = NULL
    cdef size_t last_size = 0
    cdef bytes address, greeting
    if len(items) > SS_WATCH_ITEMS:
        raise ValueError(f"{len(items)} things to watch")
    link_plan.path, link_plan.greeting, link_plan.greeting_size, link_plan.varlink = NULL, NULL, 0, False
    if farewell is not None:
        last, last_size = <const unsigned char*>PyBytes_AS_STRING(farewell), len(farewell)
    encoded = []
    for path, name, mask, device, sysgenid, announcer, dev, ino in items:
        encoded.append((path.encode("utf-8", "surrogateescape"),
                        None if name is None else name.encode("utf-8", "surrogateescape"),
                        int(mask), bool(device), bool(sysgenid), bool(announcer), int(dev), int(ino)))
    for path, name, mask, device, sysgenid, announcer, dev, ino in encoded:
        plan[count].path = strdup(path)
        plan[count].name = NULL if name is None else strdup(name)
        plan[count].mask = mask
        plan[count].device = device
        plan[count].sysgenid = sysgenid
        plan[count].announcer = announcer
        plan[count].dev = dev
        plan[count].ino = ino
        count += 1
    if link is not None:
        address, greeting, link_plan.varlink = link[0].encode("utf-8", "surrogateescape"), link[1], link[2]
        link_plan.greeting_size = len(greeting)
        link_plan.greeting = <unsigned char*>malloc(link_plan.greeting_size)
        if link_plan.greeting != NULL:
            memcpy(link_plan.greeting, PyBytes_AS_STRING(greeting), link_plan.greeting_size)
            link_plan.path = strdup(address)
    ss_set_event_function(<PyObject*>function if wanted else NULL)
    if wanted:
        ss_prepare_event()
    else:
        ss_drop_prepared()
    with nogil:
        error = ss_watcher_plan(plan, count, wanted, ss_run_event, every_ms, &link_plan, last, last_size)
    if error:
        raise OSError(error, "no thread could be started to watch for restores")


def call_apart(function, /):
    """Call it in a thread that has descriptors of its own: for what only imports, where the program has none left.
    Drops what it raises. Main interpreter only."""
    ss_call_apart(<PyObject*>function)


def resume_watching():
    """In a child whose fork no guard saw: start the threads there."""
    ss_keep_thread_state()
    with nogil:
        ss_watcher_resume()


cdef int resume_lost "ss_resume_lost"(void* unused) noexcept:
    ss_store_int(&ss_resuming, 0)
    try:
        notice_fork()
    except Exception:
        pass    # the next check() sees to it
    return 0


def notice_fork():
    """In a child that was forked past os.fork: do what os.fork() would have had done there. Not again where that asks
    itself, as looking for a source does before the watcher is there."""
    if ss_watcher_lost() and not ss_forking and ss_notice_begins():
        try:
            after_fork()
            page_write()
        finally:
            ss_store_u64(&ss_noticing, 0)


def calling(bint begins, /):
    """A callback of the program begins, or has ended."""
    while not ss_watcher_calling(begins):
        ss_let_fork()


def wait_quiet(int milliseconds, /):
    """Wait until no thread of the watcher runs an event. False if one still does."""
    cdef bint quiet
    with nogil:
        quiet = ss_watcher_quiet(SS_WORK_EVENT, milliseconds)
    return quiet


def connection_state():
    """(state, errno or 0)."""
    cdef int error
    cdef int state = ss_connection_inspect(&error)
    return ss_connection_word(state), error


def connection_take():
    """The bytes that were heard since the last call; b"" unless the state is SS_CONNECTION_HEARD."""
    cdef unsigned char* room = <unsigned char*>malloc(SS_CONNECTION_KEPT)
    if room == NULL:
        raise MemoryError
    try:
        return PyBytes_FromStringAndSize(<char*>room, <Py_ssize_t>ss_connection_take(room, SS_CONNECTION_KEPT))
    finally:
        free(room)


def inspect_watcher():
    """ss_watcher_info of watcher.h."""
    cdef ss_watcher_info info
    ss_watcher_inspect(&info)
    return ss_show_WatcherState(globals(), &info)


def report_unraisable(error, source, /):
    """To sys.unraisablehook, as os.register_at_fork's callbacks do."""
    PyErr_SetObject(type(error), error)
    PyErr_WriteUnraisable(source)


cdef class FutexWord:
    """A counter that threads wait on: past the locks of the threading modules, which a program may have patched."""
    cdef uint32_t word

    @property
    def value(self):
        return ss_load_u32(&self.word)

    def advance(self):
        """Count on, and wake all who wait."""
        ss_futex_wake(&self.word)

    def wait(self, uint32_t seen, seconds):
        """Wait until `value` is not `seen`. False after `seconds`; None: no limit. Signal handlers run meanwhile."""
        from time import monotonic
        cdef int64_t left = -1
        cdef int outcome
        until = None if seconds is None else monotonic() + seconds
        while ss_load_u32(&self.word) == seen:
            if until is not None:
                left = max(0, int((until - monotonic()) * 1e9))
            with nogil:
                outcome = ss_futex_wait(&self.word, seen, left)
            PyErr_CheckSignals()
            if outcome == ETIMEDOUT or left == 0:
                return ss_load_u32(&self.word) != seen
        return True


@cython.final
cdef class DeliveryLock(FutexWord):
    """The lock of who delivers the restore event of this interpreter, and up to which epoch it was delivered.

    Every method is one step, by the GIL or by the lock of this object. The lock dies with its process: a forked child
    finds it free, and the event pending.
    """
    cdef readonly uint64_t delivered
    cdef public object event     # what runs, while the lock is taken
    cdef public object greenlet  # in which it runs, under gevent
    cdef public object loop      # on which acheck() runs it
    cdef uint64_t thread, process
    cdef list waiting

    def __cinit__(self):
        self.waiting = []

    # Who holds it: 0 nobody, 1 no thread, for it is parked; pthread_self() is an address. With the lock of this object.
    cdef uint64_t holder(self) noexcept:
        return self.thread if self.process == ss_process_token() else 0

    def acquire(self):
        """Take the lock, if nobody has it."""
        with critical_section(self):
            if self.holder():
                return False
            # A parent's; kept to the end, for what goes with it may run Python.
            old = self.event, self.greenlet, self.loop
            self.event = self.greenlet = self.loop = None
            self.thread, self.process = ss_thread_id(), ss_process_token()
        return True

    def park(self):
        """Keep the lock, but for no thread: until unpark() no event runs, and who checks waits. In a child just forked:
        take over what the parent had parked."""
        with critical_section(self):
            self.thread, self.process = 1, ss_process_token()

    @property
    def parked(self):
        with critical_section(self):
            return bool(self.holder() == 1)

    def unpark(self):
        """This thread holds what was parked. False if nothing is."""
        with critical_section(self):
            if self.holder() != 1:
                return False
            self.thread = ss_thread_id()
        return True

    @property
    def taken(self):
        with critical_section(self):
            return bool(self.holder())

    @property
    def mine(self):
        """Does this thread hold it?"""
        with critical_section(self):
            return bool(self.holder() == ss_thread_id())

    def note_delivered(self, uint64_t epoch):
        """The event of this epoch was run."""
        with critical_section(self):
            self.delivered = epoch
        if ss_in_main_interpreter():
            ss_watcher_delivered(epoch)

    def call_at_end(self, wake):
        """Call it once, in whichever thread, when the lock is released. False if nobody has it."""
        with critical_section(self):
            if not self.holder():
                return False
            self.waiting.append(wake)
        return True

    def release(self):
        """Release the lock and wake who waits for it, if this thread holds it.

        One step for signal handlers: what one raises comes after it.
        """
        cdef list waiting
        with critical_section(self):
            if self.holder() != ss_thread_id():
                return
            waiting = self.waiting
            old = self.event, self.greenlet, self.loop
            self.event = self.greenlet = self.loop = None
            self.waiting = []
            self.thread = 0
        ss_futex_wake(&self.word)
        if ss_epoch_begin() != ss_load_u64(&self.delivered):
            ss_watcher_poke()
        raised = None
        for wake in waiting:
            try:
                wake()
            except BaseException as error:
                raised = error
        if raised is not None:
            raise raised


# ---- fork ----

def forking():
    """0: no guard of ours is at work; 1: a fork; 2: a subprocess that is about to execute a program."""
    return ss_forking


# The threads are gone before the original begins: it finds one thread where the program has one, no lock of theirs is
# taken, and no warning is given; on a machine with much to do, work of a millisecond may take a hundred. Both with the
# GIL; `kind` is for forking().
cdef void step_back(int kind) noexcept:
    global ss_forking
    if not ss_watcher_quiet(SS_WORK_OWN, 0):
        with nogil:
            ss_watcher_quiet(SS_WORK_OWN, 100)
    ss_watcher_pause()
    ss_forking = kind


cdef void come_back() noexcept:
    global ss_forking
    ss_forking = 0
    ss_watcher_resume()


# Returns what the original does.
cdef PyObject* alone(PyObject* module, PyObject* args, ss_guard* guard, int kind) noexcept:
    cdef uint64_t process = ss_process_token()
    cdef PyObject* value
    step_back(kind)
    value = ss_call(guard, module, args)
    if ss_process_token() != process:
        ss_keep_thread_state()
    come_back()
    return value


cdef PyObject* guard_fork "guard_fork"(PyObject* module, PyObject* nothing, ss_guard* guard) noexcept:
    return alone(module, nothing, guard, 1)


# The threads step back only where the child runs Python before it executes the program: preexec_fn is the last argument
# or the one before.
cdef PyObject* guard_fork_exec "guard_fork_exec"(PyObject* module, PyObject** args, Py_ssize_t count,
                                                 ss_guard* guard) noexcept:
    cdef PyObject* value
    cdef bint python = count > 1 and (raw_callable(args[count - 1]) or raw_callable(args[count - 2]))
    if python:
        step_back(2)
    value = ss_call_fast(guard, module, args, count)
    if python:
        come_back()
    return value


# The same up to 3.11.
cdef PyObject* guard_fork_exec_311 "guard_fork_exec_311"(PyObject* module, PyObject* args,
                                                         ss_guard* guard) noexcept:
    cdef Py_ssize_t count = raw_tuple_size(args)
    if count > 1 and (raw_callable(raw_tuple_item(args, count - 1)) or raw_callable(raw_tuple_item(args, count - 2))):
        return alone(module, args, guard, 2)
    return ss_call(guard, module, args)


# A process with several threads cannot enter a user namespace.
cdef PyObject* guard_unshare "guard_unshare"(PyObject* module, PyObject** args, Py_ssize_t count, PyObject* names,
                                             ss_guard* guard) noexcept:
    cdef PyObject* value
    step_back(0)
    value = ss_call_keywords(guard, module, args, count, names)
    come_back()
    return value
