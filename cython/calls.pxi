# What Python has of the calls room (calls.h): a guard for libraries that only renew themselves.

cdef extern from "calls.h":
    enum ss_call_kind:
        SS_CALL_DRAW, SS_CALL_TIMED, SS_CALL_NODED, SS_CALL_NODE
    int ss_calls_family(const char* name, PyObject* renew, bint each_thread) except -1
    const char* ss_calls_guard(PyObject* builtin, const char* file, int family, ss_call_kind kind) noexcept
    bint ss_calls_in_place(PyObject* builtin) noexcept
    bint ss_calls_word(PyObject* builtin, uint64_t* ret_at, uint64_t* ret_held) noexcept
    void ss_calls_remove(int family) noexcept
    void ss_calls_put_back() noexcept
    bint ss_calls_foreign(int family) noexcept
    const char* ss_calls_feed(PyObject* builtin) noexcept
    void ss_calls_starve() noexcept
    uint64_t ss_calls_fed() noexcept
    int ss_calls_write(PyObject* builtin, const char* symbol, const void* bytes, size_t size) noexcept


def calls_family(str name not None, renew not None, bint each_thread, /):
    """The number of a family: of one library's builtins, for which `renew` is called first where its generator is of
    another epoch, in each thread or once for all. They are called again if the generation moved meanwhile."""
    return ss_calls_family(name.encode(), <PyObject*>renew, each_thread)


def calls_guard(int family, str name not None, builtin not None, str file not None, str signature, /):
    """Guards a builtin, of the extension in `file`. Returns "", or why it cannot be guarded. After a restore those with
    one of these signatures take a random node, and getnode() gives it."""
    cdef bytes path = file.encode("utf-8", "surrogateescape")
    cdef ss_call_kind kind = (SS_CALL_TIMED if signature == "(node=None, clock_seq=None)" else
                              SS_CALL_NODED if signature == "(node=None, timestamp=None, nanos=None)" else
                              SS_CALL_NODE if name == "getnode" else SS_CALL_DRAW)
    cdef const char* why = ss_calls_guard(<PyObject*>builtin, path, family, kind)
    return f"{name}() {why.decode()}" if why != NULL else ""


def calls_in_place(builtin not None, /):
    return bool(ss_calls_in_place(<PyObject*>builtin))


def calls_words(builtin not None, /):
    """Of memory by which another process sees the same; see sites.pxi. "" for one that was never guarded."""
    cdef uint64_t at, held
    return ss_word_text(at, held) if ss_calls_word(<PyObject*>builtin, &at, &held) else ""


def calls_foreign(int family, /):
    """Did another interpreter of the process draw from it, where it is not renewed?"""
    return bool(ss_calls_foreign(family))


def calls_remove(int family, /):
    ss_calls_remove(family)


def calls_feed(builtin not None, /):
    """Have the library of this guarded builtin take its seeds from us. Returns "", or why it cannot."""
    cdef const char* why = ss_calls_feed(<PyObject*>builtin)
    return why.decode() if why != NULL else ""


def calls_fed():
    """How often this thread was asked for a seed by a library that calls_feed() reached."""
    return ss_calls_fed()


def write_thread_variable(builtin not None, str symbol not None, bytes value not None, /):
    """Write to the calling thread's variable of that name, in the library that this builtin is of. Raises OSError where
    it has none of that size."""
    cdef int error = ss_calls_write(<PyObject*>builtin, symbol.encode(), PyBytes_AS_STRING(value), len(value))
    if error:
        raise OSError(error, symbol)
