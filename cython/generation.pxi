# The generation room: values and Python functions that must not outlive the epoch they were made in.

cdef class PerGeneration:
    """The callable that per_generation() returns: a value, made anew by its factory in each generation."""
    cdef readonly object __wrapped__
    cdef object value, lock
    cdef uint64_t made_in, locked_for
    cdef bint made

    def __init__(self, factory):
        if not callable(factory):
            raise TypeError(f"per_generation() takes a callable, not {type(factory).__name__}")
        self.__wrapped__ = factory

    def __call__(self):
        cdef uint64_t epoch = ss_epoch_begin()
        with critical_section(self):
            if self.made and self.made_in == epoch:
                return self.value
        return self.renew()

    def __repr__(self):
        return f"<per_generation {self.__wrapped__!r}>"

    # One thread runs the factory, the others wait for its value. A forked child makes a lock of its own: the thread
    # that held this one may not exist there.
    cdef object renew(self):
        cdef uint64_t epoch
        cdef int tries = 0
        with self.lock_of(ss_process_token()):
            while True:
                epoch = ss_epoch_begin()
                with critical_section(self):
                    if self.made and self.made_in == epoch:
                        return self.value
                value = ss_audit_make(<PyObject*>self.__wrapped__) if ss_audit_is_on() else self.__wrapped__()
                tries += 1
                if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                    with critical_section(self):
                        self.value = value
                        self.made_in = epoch
                        self.made = True
                    return value

    cdef object lock_of(self, uint64_t process):
        with critical_section(self):
            if self.locked_for == process:
                return self.lock
        from _thread import RLock
        made = RLock()
        with critical_section(self):
            if self.locked_for != process:      # nor has another thread made one meanwhile
                self.lock, self.locked_for = made, process
            return self.lock


# Calls a Python function again when the generation moved while it ran. For functions put together from several guarded
# draws (uuid6, uuid8); `function` is a copy of the original.
#
# With `renew`, for methods of one and two arguments: what they draw from is renewed first where it is of another epoch,
# by `renew` with the same arguments. `key`: under that name each first argument keeps the epoch of its own state; None:
# all have one in common.
cdef class Rechecked:
    cdef object function, renew, key
    cdef uint64_t tag   # atomic; the epoch + 1; 0: older than we are

    def __init__(self, function, renew=None, key=None):
        self.function, self.renew, self.key = function, renew, key

    def __call__(self, *args):
        cdef uint64_t epoch
        cdef int tries = 0
        while True:
            epoch = ss_epoch_begin()
            value = self.function(*args)
            tries += 1
            if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                return value

    cdef bint is_of(self, object owner, uint64_t epoch) except -1:
        if self.key is None:
            return ss_load_u64(&self.tag) == epoch + 1
        return getattr(owner, self.key, None) == epoch

    cdef int note(self, object owner, uint64_t epoch) except -1:
        if self.key is None:
            ss_store_u64(&self.tag, epoch + 1)
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
