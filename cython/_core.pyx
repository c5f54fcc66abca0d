# cython: language_level=3str, embedsignature=True, embedsignature.format=clinic, binding=False
# cython: subinterpreters_compatible=shared_gil, freethreading_compatible=True, auto_pickle=False, autotestdict=False
"""The native core: detects restores, counts them, and guards what draws randomness.

Python decides and reports (snapsafe_rt.activation, .source, .report); this module is private to the package. The rooms
and what each is for are listed in docs/design.md.
"""
cimport cython
from cython cimport critical_section
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno, ETIMEDOUT
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset, strcmp, strncmp, strrchr

from native cimport *

cdef extern from *:
    """
    /* Cython leaves a static function behind that it does not call while names are not compressed (setup.py). */
    #pragma GCC diagnostic ignored "-Wunused-function"

    /* Cython's own, by which it finds the module of an interpreter. For life.c. */
    static PyObject *__Pyx_State_FindModule(void *);
    static int __Pyx_State_RemoveModule(void *);
    __attribute__((visibility("hidden"))) void ss_forget_module(void);
    void ss_forget_module(void)
    {
        if (__Pyx_State_FindModule(NULL))
            (void)__Pyx_State_RemoveModule(NULL);
    }
    """

cdef extern from "Python.h":
    str PyUnicode_DecodeFSDefault(const char*)

cdef extern from "<string.h>" nogil:
    void explicit_bzero(void*, size_t) noexcept

include "random.pxi"
include "audit.pxi"
include "urandom.pxi"
include "ssl.pxi"
include "sqlite.pxi"
include "loading.pxi"
include "exchange.pxi"
include "generation.pxi"
include "watching.pxi"
include "uuid.pxi"
include "start.pxi"
include "sites.pxi"
include "calls.pxi"
include "numpy.pxi"
include "numba.pxi"
include "torch.pxi"


cdef int set_up() except -1:
    cdef int error = ss_epoch_setup() or ss_object_lock_setup() or ss_provenance_setup() or ss_watcher_setup(ss_let_in)
    if error:
        raise OSError(error, "snapsafe_rt: no memory page for the fork detector")
    ss_watcher_tell_lost(ss_lost)
    if is_active() and ss_in_main_interpreter():
        forget_life()
    return 0


# The main interpreter was finalised and initialised again: what is of C is in place, and Python knows nothing of it.
# Objects of the former one are gone.
cdef void forget_life() noexcept:
    global ss_event_function, ss_prepared, ss_resuming, ss_forking
    ss_store_int(&ss_main_active, False)
    ss_random_set_global(NULL)
    ss_event_function = NULL
    ss_prepared = NULL
    ss_store_int(&ss_event_states, 0)
    ss_resuming = ss_forking = 0
    ss_dict_watch_forget()
    ss_watcher_forget()
    forget_start()
    ss_epoch_advance(SS_CAUSE_SOURCE)   # nobody watched meanwhile


set_up()


# ---- sources ----

cdef int kind_of(str word) except -1:
    cdef int kind = ss_kind_of(word.encode())
    if kind < 0:
        raise ValueError(word)
    return kind


cdef ss_source* source_at(int index) except NULL:
    cdef ss_source* source = ss_source_at(index)
    if source == NULL:
        raise IndexError(index)
    return source


def prepare():
    """Make what a restore event could not make without memory."""
    ss_prepare_shown(globals())


def map_source(str kind not None, path, /):
    """Map `path`. Returns ("" or the word for enum ss_source_status, errno or 0, slot or -1)."""
    cdef int number = kind_of(kind)
    cdef bytes name = path.encode("utf-8", "surrogateescape")
    cdef const char* text = name
    cdef int status, index, error
    with nogil:
        status = ss_source_map(number, text, &index, &error)
    return ss_source_word(status), error, index


def map_descriptor(str kind not None, int fd, /):
    """The same of a device that somebody else opened; `fd` stays open."""
    cdef int number = kind_of(kind)
    cdef int status, index, error
    with nogil:
        status = ss_source_map_fd(number, fd, &index, &error)
    return ss_source_word(status), error, index


def detach(int index, /):
    """Keep a copy in the place of a mapped device until it is mapped again (source.h). Returns 0 or an errno. Raises
    IndexError."""
    return ss_source_detach(source_at(index))


def identify_source(int index, bint adopt, /):
    """(device, inode, has it a name) of the file that a mapped slot is of now; the last is None where that cannot be
    told. `adopt`: it is known as that file from here on. Raises IndexError."""
    cdef ss_source* source = source_at(index)
    cdef int named = ss_source_identify(source, adopt)
    return source.dev, source.ino, None if named < 0 else bool(named)


def release_sources():
    """What is not watched was mapped for an activation that has ended: its slots may be used for others."""
    ss_source_release()


def root_moved():
    """Is "/" another folder than when the first source was mapped? See source.h."""
    return bool(ss_source_root_moved())


def trusts(uint32_t user, /):
    """May this user decide what this process takes for true? See process.h."""
    return bool(ss_process_trusts(user))


def attests(file, bint own, uint64_t device, uint64_t shown, /):
    """Does a file with these words (signaller, seen, reseeded, generation) attest that the kernel was reseeded? See
    ss_file_attests in source.h."""
    cdef ss_file_words words
    words.signaller, words.seen, words.reseeded, words.generation = file
    return bool(ss_file_attests(&words, own, device, shown))


def describe_source(int index, /):
    """A mapped slot (ss_source in source.h), freshly read. Raises IndexError."""
    cdef ss_source* source = source_at(index)
    cdef uint64_t value
    ss_source_read(source, &value)
    return ss_show_SourceState(globals(), source, value)


def writer_gone(path, lock, /):
    """Was the file kept by a manager that does not any more? None where that cannot be told; see source.h."""
    cdef bytes name = path.encode("utf-8", "surrogateescape"), beside = lock.encode("utf-8", "surrogateescape")
    cdef const char* text = name
    cdef const char* text_of_lock = beside
    cdef int found
    with nogil:
        found = ss_source_writer_gone(text, text_of_lock)
    return None if found < 0 else bool(found)


def watch(int index, bint certain, /):
    """Watch a mapped slot, or nothing (-1). Without `certain` the epoch advances: unknown counts as changed."""
    with nogil:
        ss_epoch_watch(index, certain)


def watch_since(int index, uint64_t value, int file, /):
    """Watch a device that was let go of when it showed `value`, and is mapped again; see epoch.h."""
    with nogil:
        ss_epoch_watch_since(index, value, file)


def set_attestor(int index, /):
    """The manager's word in this mapped file (-1: none) lowers the fence while a device is watched."""
    ss_epoch_set_attestor(index)


def read_cost():
    """Nanoseconds that one check of the watched page takes, the least of a few measurements."""
    from time import perf_counter_ns
    cdef int _
    cdef uint64_t unchanged = 0
    best = None
    for _round in range(5):
        began = perf_counter_ns()
        for _ in range(1000):
            unchanged += ss_watched_unchanged()
        took = (perf_counter_ns() - began) / 1000
        best = took if best is None or took < best else best
    return best


def sigbus_state():
    """1: our handler is installed; 0: none is needed; -1: the program replaced it."""
    return ss_source_sigbus_state()


# ---- the epoch ----

def epoch():
    """The epoch, after a look at the source."""
    return ss_epoch_begin()


def advance():
    """Count a restore that somebody told of. Returns the new epoch."""
    cdef uint64_t now
    with nogil:
        now = ss_epoch_advance(SS_CAUSE_NOTIFIED)
        ss_entropy_renew_kernel()
    return now


def inspect_epoch():
    """ss_epoch_info of epoch.h."""
    cdef ss_epoch_info info
    ss_epoch_inspect(&info)
    return ss_show_EpochState(globals(), &info)


# ---- the status page ----

cdef extern from *:
    """
    static uint32_t ss_callbacks; /* atomic; registered for the time after a restore */
    """
    uint32_t ss_callbacks


def page_callbacks(uint32_t count, /):
    """Say on the status page how many callbacks are registered."""
    ss_store_u32(&ss_callbacks, count)


# ---- entropy ----

def entropy(Py_ssize_t n, /):
    """n bytes of fenced entropy, drawn wholly within one epoch. Raises ValueError, MemoryError, OSError."""
    cdef uint64_t began
    cdef int failed, tries = 0
    cdef unsigned char* buffer
    if n < 0:
        raise ValueError("negative argument not allowed")
    # Into memory of our own first: bytes of length 1 are cached objects of the interpreter.
    buffer = <unsigned char*>malloc(n + 1)
    if buffer == NULL:
        raise MemoryError
    try:
        while True:
            began = ss_epoch_begin()
            failed = ss_entropy_fill(buffer, n)
            if failed:
                raise OSError(errno, "no entropy: neither the kernel nor the CPU gave any")
            tries += 1
            if ss_epoch_unchanged(began) or tries == SS_DRAW_TRIES:
                ss_provenance_note_draw(buffer, n, began)
                return PyBytes_FromStringAndSize(<char*>buffer, n)
    finally:
        explicit_bzero(buffer, n)
        free(buffer)


def raise_fence():
    """Distrust the kernel for SS_FENCE_SECONDS; and find the hash that degraded entropy needs."""
    ss_entropy_prepare()
    ss_entropy_raise()


def hold_fence(bint held, /):
    """Raise the fence and keep it up, while any moment may be the first one in a clone; or end that."""
    ss_entropy_hold(held)


def host_entropy(bytes stream not None, uint64_t epoch, /):
    """Mix this stream into the entropy of `epoch`, each byte once."""
    cdef int error = ss_entropy_host(PyBytes_AS_STRING(stream), len(stream), epoch)
    if error:
        raise OSError(error, "no memory for the host's entropy")


def renew_kernel():
    """Make the kernel reseed after a restore, once, if this process may. Never within a draw; see entropy.h."""
    with nogil:
        ss_entropy_renew_kernel()


def reseed_kernel(bytes seed not None, int credit, /):
    """RNDADDENTROPY and RNDRESEEDCRNG. Raises OSError (EPERM without CAP_SYS_ADMIN)."""
    cdef int error = ss_entropy_reseed_kernel(PyBytes_AS_STRING(seed), len(seed), credit)
    if error:
        raise OSError(error, "the kernel's random number generator could not be reseeded")


def inspect_entropy():
    """ss_entropy_info of entropy.h."""
    cdef ss_entropy_info info
    ss_entropy_inspect(&info)
    return ss_show_EntropyState(globals(), &info)


def disable_cpu_for_testing(bint disabled, /):
    """As if this CPU had no random instruction."""
    ss_entropy_disable_cpu_for_testing(disabled)


# ---- guards ----

cdef extern from *:
    """
    static int ss_main_active; /* atomic; the main interpreter is activated: what is process-wide is its own */
    static int ss_in_main_interpreter(void) { return PyInterpreterState_Get() == PyInterpreterState_Main(); }
    """
    int ss_main_active
    bint ss_in_main_interpreter() noexcept


cdef inline bint is_active() noexcept:
    return ss_load_int(&ss_main_active) != 0


def in_main_interpreter():
    return bool(ss_in_main_interpreter())


def active():
    """Is the main interpreter activated? What is process-wide is its own."""
    return bool(is_active())


def owned_elsewhere():
    """Is this a subinterpreter of a process whose main interpreter is activated?"""
    return bool(is_active() and not ss_in_main_interpreter())


def install(bint reseed_kept, /):
    """Exchange what is shared by the whole process: os.urandom, os.getrandom and the doors of extension modules.

    Returns the names that could not be guarded. `reseed_kept`: SNAPSAFE_SEEDED=reseed.
    """
    import sys
    failed = []
    if owned_elsewhere():
        return failed
    ss_store_int(&ss_reseed_kept, reseed_kept)
    ss_store_int(&ss_main_active, ss_in_main_interpreter())
    ss_provenance_prepare()
    for name in ("posix", "_imp"):
        module = sys.modules[name]
        ss_guard_module(name.encode(), <PyObject*>module, <PyObject*>failed)
    module = sys.modules["builtins"]
    ss_guard_module("builtins", <PyObject*>module, NULL)
    if not ss_guarded("builtins.exec"):
        failed.append("exec")
    # Not only if libraries were loaded since: it may be the second activation.
    ss_openssl_scan()
    ss_sqlite_scan()
    for name in ("_random", "_ctypes", "_ssl", "_sqlite3", "_posixsubprocess"):
        module = sys.modules.get(name)
        if module is not None:
            loaded(<PyObject*>module)
    return failed


def remove():
    """Put everything back that install() and the doors exchanged."""
    cdef int i
    ss_store_int(&ss_main_active, False)
    forget_start()
    for i in range(SS_GUARD_COUNT):
        ss_guard_remove(i)
    ss_calls_starve()
    ss_openssl_release()
    ss_sqlite_release()
    ss_source_release_sigbus()


def guarded(str name not None, /):
    """Is the guard of "module.method" in place, or are all of "module.Type"? Raises KeyError for what guard.h lacks."""
    cdef int outcome = ss_guarded(name.encode())
    if outcome < 0:
        raise KeyError(name)
    return bool(outcome)


def guards(function, /):
    """Is this builtin, or method descriptor, one that is guarded now?"""
    return bool(ss_guard_guards(<PyObject*>function))


def is_hooked(type cls not None, /):
    """Is this a _random.Random that the core has hooked, and no other class of that name?"""
    return bool(ss_random_is_hooked(<PyObject*>cls, guard_init, guard_new))


def unhook_init(type cls not None, /):
    """Put back what seeds a new instance in `cls`, which is _random.Random, and in the subclasses that inherited it."""
    ss_random_hook(<PyObject*>cls, False, guard_init, guard_new)


def random_counters():
    """(instances renewed, of them older than activation, kept instances met, chosen seeds) since the process began."""
    return (ss_load_u64(&ss_random_reseeds), ss_load_u64(&ss_random_older), ss_load_u64(&ss_random_kept),
            ss_load_u64(&ss_random_chosen))


def random_seeds():
    """ss_random_seeds of status_page.h: (is the module's own generator kept, how many have a foreign state)."""
    return bool(ss_load_u64(&ss_random_seeded.global_kept)), ss_load_u64(&ss_random_seeded.foreign)


def random_global(instance, /):
    """This is the generator behind the functions of the module `random`; None: nobody knows."""
    ss_object_lock(<PyObject*>instance)
    ss_random_set_global(NULL if instance is None else <PyObject*>instance)
    ss_store_u64(&ss_random_seeded.global_kept, instance is not None and is_kept(<PyObject*>instance))
    ss_object_unlock(<PyObject*>instance)


def libcryptos():
    """ss_openssl_info (openssl.h) of every libcrypto that was found, also of those loaded past the doors of Python."""
    cdef ss_openssl_info info
    cdef bint known
    cdef int i
    found = []
    scan_while_active()
    for i in range(SS_OPENSSL_MAX + 1):
        with nogil:
            known = ss_openssl_inspect(i, &info)
        if known:
            found.append(ss_show_LibcryptoState(globals(), &info))
    return found


def libcrypto_states():
    """(path, state) as of the last draw or scan. Asks no OpenSSL: that could load its configuration."""
    cdef ss_library_table table = ss_openssl_table()
    cdef const char* entry
    cdef uint32_t i, state
    found = []
    for i in range(table.count):
        entry = <const char*><size_t>table.address + <size_t>i * table.entry
        state = ss_load_u32(<uint32_t*>(entry + table.state))
        if state != SS_OPENSSL_NONE and state != SS_OPENSSL_RELEASED:
            found.append((PyUnicode_DecodeFSDefault(entry + table.path), ss_openssl_word(state)))
    return found


def provider(str path not None, str symbol not None, /):
    """Path of the library whose `symbol` the loaded extension module at `path` calls; None if that cannot be told."""
    cdef char found[4096]  # PATH_MAX
    if ss_libraries_provider(path.encode("utf-8", "surrogateescape"), symbol.encode(), found):
        return PyUnicode_DecodeFSDefault(found)
    return None


def ssl_hooked(module not None, /):
    """Does a draw by this `_ssl` reach a hook? Tried."""
    return bool(ssl_is_hooked(<PyObject*>module))


def ssl_feeds():
    """How often RAND_add was fed through the guards of _ssl's methods; None where they are not in place."""
    return ss_load_u64(&ss_ssl_feeds) if ss_guard_active(SS_GUARD_SSL_RAND_BYTES) else None


def libsqlites():
    """ss_sqlite_info (sqlite.h) of every SQLite that was found."""
    cdef ss_sqlite_info info
    cdef bint known
    cdef int i
    found = []
    scan_while_active()
    for i in range(SS_SQLITE_MAX + 1):
        with nogil:
            known = ss_sqlite_inspect(i, &info)
        if known:
            found.append(ss_show_LibsqliteState(globals(), &info))
    return found


def sqlite_seeds():
    """How often an SQLite took the seed of its generator from us."""
    return ss_load_u64(&ss_sqlite_seeds)


def sqlite_reached():
    """Were the functions of the SQLite found that `_sqlite3` uses? As of the last time that it was executed."""
    return bool(ss_sqlite_reached)


def reset_sqlite():
    """As if no SQLite had been reset for this epoch: the next statement does."""
    ss_sqlite_forget()


def hook_next(type cls not None, bint hooked, /):
    """Exchange tp_iternext of `_sqlite3.Cursor` and of the subclasses that inherited it, or put it back. Returns
    whether it is exchanged then: never in a type that only has the name."""
    if not hooked or ss_next_of(<PyObject*>cls) == guard_cursor_next or ss_is_cursor(<PyObject*>cls):
        exchange_next(cls, hooked)
    return ss_next_of(<PyObject*>cls) == guard_cursor_next
