# The sqlite3 room: what steps a statement in _sqlite3 resets SQLite's generator first, once an epoch (sqlite.c).
#
# A statement that was running when the snapshot was taken goes on with the old generator until its next row is asked
# for: it cannot be begun anew. So the protection is refreshed, not guarded.
#
# entries.h says how what has a C name of its own is called.

cdef extern from "sqlite.h" nogil:
    enum: SS_SQLITE_MAX
    ctypedef struct ss_sqlite_info:
        pass
    uint64_t ss_sqlite_seeds
    bint ss_sqlite_scan() noexcept
    void ss_sqlite_look() noexcept
    bint ss_sqlite_consider(const char* path) noexcept
    void ss_sqlite_release() noexcept
    bint ss_sqlite_fence_given(uint64_t address, uint64_t* ret_at, uint64_t* ret_held) noexcept
    bint ss_sqlite_settled(uint64_t epoch) noexcept
    void ss_sqlite_settle(uint64_t epoch) noexcept
    void ss_sqlite_forget() noexcept
    bint ss_sqlite_inspect(int index, ss_sqlite_info* ret_info) noexcept

cdef extern from "shown.h":
    object ss_show_LibsqliteState(object names, const ss_sqlite_info*)

cdef extern from *:
    """
    static int ss_sqlite_reached;           /* the functions of the last _sqlite3's SQLite were found */
    static iternextfunc ss_cursor_next;     /* _sqlite3.Cursor's own; the same for every copy of the type */
    static iternextfunc ss_next_of(PyObject *type)
    {
        return __atomic_load_n(&((PyTypeObject *)type)->tp_iternext, __ATOMIC_ACQUIRE);
    }
    /* Is this the extension's own type, whose execute() is guarded, and whose iteration is of the same library? */
    static int ss_is_cursor(PyObject *type)
    {
        PyObject *execute = PyObject_GetAttrString(type, "execute");
        const int is = execute && Py_IS_TYPE(execute, &PyMethodDescr_Type) &&
                       (PyObject *)PyDescr_TYPE(execute) == type &&
                       ss_guard_is(SS_GUARD_CURSOR_EXECUTE, execute) &&
                       ss_same_object(ss_definition(execute), (void *)ss_next_of(type));
        if (!execute)
            PyErr_Clear();
        Py_XDECREF(execute);
        return is;
    }
    static void ss_exchange_next(PyObject *type, iternextfunc from, iternextfunc to)
    {
        PyObject *wrapper;
        if (ss_next_of(type) != from)
            return;
        ss_slot_store(&((PyTypeObject *)type)->tp_iternext, to);
        /* __next__, called by name, has a copy of the pointer. */
        wrapper = PyObject_GetAttrString(type, "__next__");
        if (!wrapper)
            PyErr_Clear();
        else if (Py_IS_TYPE(wrapper, &PyWrapperDescr_Type) &&
                 ((PyWrapperDescrObject *)wrapper)->d_wrapped == (void *)from)
            ss_slot_store(&((PyWrapperDescrObject *)wrapper)->d_wrapped, to);
        Py_XDECREF(wrapper);
        PyType_Modified((PyTypeObject *)type);
    }
    """
    ctypedef PyObject* (*iternextfunc)(PyObject*) noexcept
    bint ss_sqlite_reached
    iternextfunc ss_cursor_next
    iternextfunc ss_next_of(PyObject* type_) noexcept
    bint ss_is_cursor(PyObject* type_) noexcept
    void ss_exchange_next(PyObject* type_, iternextfunc from_, iternextfunc to) noexcept


# Attached; detached once an epoch, as for every call into SQLite. Several threads may reset it at once. Touches no
# exception.
cdef inline void before_statement "before_statement"(PyObject* self) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    if SS_UNLIKELY(not ss_sqlite_settled(epoch)):
        with nogil:
            ss_sqlite_settle(epoch)


cdef PyObject* guard_cursor_next(PyObject* self) noexcept:
    before_statement(self)
    return ss_cursor_next(self)


# When _sqlite3 was executed, and has thereby initialised its SQLite. With the GIL and no exception set; leaves none.
cdef void guard_sqlite(PyObject* module) noexcept:
    cdef PyObject* path = raw_module_filename(module)
    cdef const char* text = NULL
    global ss_sqlite_reached
    if path == NULL:
        raw_error_clear()   # built in
    else:
        text = raw_utf8(path)
        raw_error_clear()
    if path == NULL or text != NULL:
        ss_sqlite_reached = ss_sqlite_consider(text)
    raw_xdecref(path)
    ss_guard_module("_sqlite3", module, NULL)


# tp_iternext is copied into subclasses when they are made, so those that exist are walked. One thread at a time:
# table.py.
cdef int exchange_next(cls, bint hooked) except -1:
    global ss_cursor_next
    if hooked:
        if ss_cursor_next == NULL:
            ss_cursor_next = ss_next_of(<PyObject*>cls)
        ss_exchange_next(<PyObject*>cls, ss_cursor_next, guard_cursor_next)
    else:
        ss_exchange_next(<PyObject*>cls, guard_cursor_next, ss_cursor_next)
    for subclass in type.__subclasses__(cls):
        exchange_next(subclass, hooked)
    return 0


def fence_vfs(tell, /):
    """Have the VFS whose address `tell(place)` writes to that place take its seeds from us. Returns words of memory by
    which another process sees that (sites.pxi); "" for another VFS than SQLite's own for Unix. Raises as `tell`."""
    cdef uint64_t address = 0
    cdef uint64_t at, held
    tell(<size_t>&address)
    if address == 0 or not ss_sqlite_fence_given(address, &at, &held):
        return ""
    return ss_word_text(at, held)
