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


@cython.final
cdef class Calls:
    """Builtins of one library, for which `renew` is called first where its generator is of another epoch: in each
    thread, or once for all. They are called again if the generation moved meanwhile."""
    cdef int family
    cdef dict guarded

    def __init__(self, str name not None, renew not None, bint each_thread, /):
        self.family = ss_calls_family(name.encode(), <PyObject*>renew, each_thread)
        self.guarded = {}

    def guard(self, str name not None, builtin not None, str file not None, str signature, /):
        """Returns "", or why it cannot be guarded. After a restore those with one of these signatures take a random
        node, and getnode() gives it."""
        cdef bytes path = file.encode("utf-8", "surrogateescape")
        cdef ss_call_kind kind = (SS_CALL_TIMED if signature == "(node=None, clock_seq=None)" else
                                  SS_CALL_NODED if signature == "(node=None, timestamp=None, nanos=None)" else
                                  SS_CALL_NODE if name == "getnode" else SS_CALL_DRAW)
        cdef const char* why = ss_calls_guard(<PyObject*>builtin, path, self.family, kind)
        if why != NULL:
            return f"{name}() {why.decode()}"
        self.guarded[name] = builtin
        return ""

    def displaced(self):
        """What is wrong with them now, as a sentence; "" for nothing."""
        if ss_calls_foreign(self.family):
            return "another interpreter of this process draws from it, where it is not renewed"
        for name, builtin in self.guarded.items():
            if not ss_calls_in_place(<PyObject*>builtin):
                return f"{name}() was exchanged by another library"
        return ""

    def words(self):
        """Of memory by which another process sees the same; see sites.pxi."""
        cdef uint64_t at, held
        found = []
        for builtin in self.guarded.values():
            if ss_calls_word(<PyObject*>builtin, &at, &held):
                found.append(ss_word_text(at, held))
        return " ".join(found)

    def feed(self, builtin not None, /):
        """Have the library of this guarded builtin take its seeds from us. Returns "", or why it cannot."""
        cdef const char* why = ss_calls_feed(<PyObject*>builtin)
        return why.decode() if why != NULL else ""

    def undo(self):
        ss_calls_remove(self.family)


def calls_fed():
    """How often this thread was asked for a seed by a library that Calls.feed() reached."""
    return ss_calls_fed()


def write_thread_variable(builtin not None, str symbol not None, bytes value not None, /):
    """Write to the calling thread's variable of that name, in the library that this builtin is of. Raises OSError where
    it has none of that size."""
    cdef int error = ss_calls_write(<PyObject*>builtin, symbol.encode(), PyBytes_AS_STRING(value), len(value))
    if error:
        raise OSError(error, symbol)


@cython.final
cdef class Renewing:
    """What a Python function does while it is exchanged (Exchanged.to): what it draws from is renewed first where it is
    of another epoch, by `renew` with the same arguments; and it is called again if the generation moved meanwhile.

    `key`: under that name each first argument keeps the epoch of its own state; None: all have one in common."""
    cdef object function, renew, key
    cdef uint64_t tag   # the epoch + 1; 0: older than we are

    def __init__(self, function not None, renew not None, key, /):
        self.function, self.renew, self.key = function, renew, key

    cdef bint is_of(self, object owner, uint64_t epoch) except -1:
        if self.key is None:
            return self.tag == epoch + 1
        return getattr(owner, self.key, None) == epoch

    cdef int note(self, object owner, uint64_t epoch) except -1:
        if self.key is None:
            self.tag = epoch + 1
        else:
            setattr(owner, self.key, epoch)
        return 0

    def one(self, first, /):
        cdef uint64_t epoch
        cdef int tries = 0
        while True:
            epoch = ss_epoch_begin()
            if not self.is_of(first, epoch):
                self.renew(first)
                self.note(first, epoch)
            value = self.function(first)
            tries += 1
            if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                return value

    def two(self, first, second, /):
        cdef uint64_t epoch
        cdef int tries = 0
        while True:
            epoch = ss_epoch_begin()
            if not self.is_of(first, epoch):
                self.renew(first, second)
                self.note(first, epoch)
            value = self.function(first, second)
            tries += 1
            if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                return value
