# The os room: guards os.urandom and os.getrandom, for references taken before activation too. Outside the fence the
# kernel's bytes pass through untouched. Runs in any interpreter, as random.pxi's guards do.

# New reference to the bytes to hand out, mixed if the fence is up. Never changes `value` in place: from 3.15 on, one-
# byte results are the interpreter's cached objects. Steals `value`.
cdef inline PyObject* fenced(PyObject* value, uint64_t epoch) noexcept:
    cdef Py_ssize_t size = raw_bytes_size(value)
    cdef PyObject* copy
    if SS_UNLIKELY(ss_fence_up()):
        if size == 1:
            return fenced_byte(value)
        copy = raw_bytes(raw_bytes_data(value), size)
        raw_decref(value)
        if copy == NULL:
            return NULL
        value = copy
        ss_entropy_mix(raw_bytes_data(value), size)
    ss_origin_note_draw(<unsigned char*>raw_bytes_data(value), size, epoch)
    return value


# bytes_FromStringAndSize gives out cached objects for single bytes, so the byte is mixed before the object is made.
cdef PyObject* fenced_byte(PyObject* value) noexcept:
    cdef char byte = raw_bytes_data(value)[0]
    raw_decref(value)
    ss_entropy_mix(&byte, 1)
    return raw_bytes(&byte, 1)


cdef PyObject* guard_urandom(PyObject* module, PyObject* size) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value
    cdef int tries = 0
    while True:
        epoch = ss_look()
        value = (<PyCFunction>ss_guards[SS_GUARD_URANDOM].original)(module, size)
        if value != NULL and raw_bytes_check(value):
            value = fenced(value, epoch)
        tries += 1
        if SS_LIKELY(ss_stands(epoch)) or value == NULL or tries == SS_DRAW_TRIES:
            return value
        raw_decref(value)


cdef PyObject* guard_getrandom(PyObject* module, PyObject** args, Py_ssize_t count, PyObject* names) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value
    cdef int tries = 0
    while True:
        epoch = ss_look()
        value = (<ss_fast_keywords>ss_guards[SS_GUARD_GETRANDOM].original)(module, args, count, names)
        if value != NULL and raw_bytes_check(value):
            value = fenced(value, epoch)
        tries += 1
        if SS_LIKELY(ss_stands(epoch)) or value == NULL or tries == SS_DRAW_TRIES:
            return value
        raw_decref(value)
