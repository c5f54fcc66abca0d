# The os room: guards os.urandom and os.getrandom, for references taken before activation too. Outside the fence the
# kernel's bytes pass through untouched. entries.h says how what has a C name of its own is called.

# What is drawn while the fence is up is mixed; new reference. Steals `value`, which may be NULL or no bytes: passed on.
# A value that is ours alone is mixed where it is. Others never: one-byte results are objects that the interpreter keeps
# (3.15), or may be.
cdef PyObject* fenced(PyObject* value, uint64_t epoch) noexcept:
    cdef PyObject* copy
    if value == NULL or not raw_bytes_check(value):
        return value
    if ss_fence_up():
        if raw_bytes_size(value) == 1:
            return fenced_byte(value)
        if raw_refcount(value) != 1:
            copy = raw_bytes(raw_bytes_data(value), raw_bytes_size(value))
            raw_decref(value)
            if copy == NULL:
                return NULL
            value = copy
        ss_entropy_mix_up(raw_bytes_data(value), raw_bytes_size(value))
    ss_provenance_note_draw(<unsigned char*>raw_bytes_data(value), raw_bytes_size(value), epoch)
    return value


# The same where it mostly has nothing to do.
cdef inline PyObject* passed(PyObject* value, uint64_t epoch) noexcept:
    if SS_LIKELY(ss_fence_down() and value != NULL and raw_bytes_check(value)):
        ss_provenance_note_draw(<unsigned char*>raw_bytes_data(value), raw_bytes_size(value), epoch)
        return value
    return fenced(value, epoch)


# bytes_FromStringAndSize gives out cached objects for single bytes, so the byte is mixed before the object is made.
cdef PyObject* fenced_byte(PyObject* value) noexcept:
    cdef char byte = raw_bytes_data(value)[0]
    raw_decref(value)
    ss_entropy_mix_up(&byte, 1)
    return raw_bytes(&byte, 1)


cdef PyObject* guard_urandom "guard_urandom"(PyObject* module, PyObject* size, ss_guard* guard) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value
    cdef int tries = 0
    while True:
        epoch = ss_epoch_begin()
        value = passed(ss_call(guard, module, size), epoch)
        tries += 1
        if SS_LIKELY(ss_epoch_unchanged(epoch)) or value == NULL or tries == SS_DRAW_TRIES:
            return value
        raw_decref(value)


cdef PyObject* guard_getrandom "guard_getrandom"(PyObject* module, PyObject** args, Py_ssize_t count, PyObject* names,
                                                 ss_guard* guard) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value
    cdef int tries = 0
    while True:
        epoch = ss_epoch_begin()
        value = passed(ss_call_keywords(guard, module, args, count, names), epoch)
        tries += 1
        if SS_LIKELY(ss_epoch_unchanged(epoch)) or value == NULL or tries == SS_DRAW_TRIES:
            return value
        raw_decref(value)
