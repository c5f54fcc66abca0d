# The sqlite3 room: what steps a statement in _sqlite3 resets SQLite's generator first, once an epoch (sqlite.c).
#
# A statement that was running when the snapshot was taken goes on with the old generator until its next row is asked
# for: it cannot be begun anew. So the protection is refreshed, not guarded.
#
# Runs in any interpreter, as random.pxi's guards do.

cdef extern from "sqlite.h" nogil:
    enum: SS_SQLITE_MAX
    ctypedef struct ss_sqlite_info:
        char path[1]
        const char* version
        int state
        bint fenced
        uint64_t resets
        uint64_t delays
    uint64_t ss_sqlite_seeds
    void ss_sqlite_scan() noexcept
    bint ss_sqlite_consider(const char* path) noexcept
    void ss_sqlite_release() noexcept
    bint ss_sqlite_settled(uint64_t epoch) noexcept
    void ss_sqlite_settle(uint64_t epoch) noexcept
    void ss_sqlite_forget() noexcept
    bint ss_sqlite_inspect(int index, ss_sqlite_info* ret_info) noexcept

cdef extern from *:
    """
    static int ss_sqlite_reached;           /* the functions of the last _sqlite3's SQLite were found */
    static iternextfunc ss_cursor_next;     /* _sqlite3.Cursor's own; the same for every copy of the type */
    static iternextfunc ss_next_of(PyObject *type) { return ((PyTypeObject *)type)->tp_iternext; }
    static void ss_exchange_next(PyObject *type, iternextfunc from, iternextfunc to)
    {
        PyObject *wrapper;
        if (((PyTypeObject *)type)->tp_iternext != from)
            return;
        ((PyTypeObject *)type)->tp_iternext = to;
        /* __next__, called by name, has a copy of the pointer. */
        wrapper = PyObject_GetAttrString(type, "__next__");
        if (!wrapper)
            PyErr_Clear();
        else if (Py_IS_TYPE(wrapper, &PyWrapperDescr_Type) &&
                 ((PyWrapperDescrObject *)wrapper)->d_wrapped == (void *)from)
            ((PyWrapperDescrObject *)wrapper)->d_wrapped = (void *)to;
        Py_XDECREF(wrapper);
        PyType_Modified((PyTypeObject *)type);
    }
    """
    ctypedef PyObject* (*iternextfunc)(PyObject*) noexcept
    bint ss_sqlite_reached
    iternextfunc ss_cursor_next
    iternextfunc ss_next_of(PyObject* type_) noexcept
    void ss_exchange_next(PyObject* type_, iternextfunc from_, iternextfunc to) noexcept


# With the GIL; lets go of it once an epoch, as every call into SQLite does. Touches no exception.
cdef inline void before_statement() noexcept:
    cdef uint64_t epoch = ss_look()
    if SS_UNLIKELY(not ss_sqlite_settled(epoch)):
        with nogil:
            ss_sqlite_settle(epoch)


cdef PyObject* guard_cursor_execute(PyObject* self, PyObject** args, Py_ssize_t count) noexcept:
    before_statement()
    return (<ss_fast>ss_guards[SS_GUARD_CURSOR_EXECUTE].original)(self, args, count)


cdef PyObject* guard_cursor_executemany(PyObject* self, PyObject** args, Py_ssize_t count) noexcept:
    before_statement()
    return (<ss_fast>ss_guards[SS_GUARD_CURSOR_EXECUTEMANY].original)(self, args, count)


cdef PyObject* guard_cursor_executescript(PyObject* self, PyObject* script) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CURSOR_EXECUTESCRIPT].original)(self, script)


cdef PyObject* guard_cursor_fetchone(PyObject* self, PyObject* unused) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CURSOR_FETCHONE].original)(self, unused)


cdef PyObject* guard_cursor_fetchmany(PyObject* self, PyObject** args, Py_ssize_t count, PyObject* names) noexcept:
    before_statement()
    return (<ss_fast_keywords>ss_guards[SS_GUARD_CURSOR_FETCHMANY].original)(self, args, count, names)


cdef PyObject* guard_cursor_fetchall(PyObject* self, PyObject* unused) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CURSOR_FETCHALL].original)(self, unused)


cdef PyObject* guard_cursor_next(PyObject* self) noexcept:
    before_statement()
    return ss_cursor_next(self)


cdef PyObject* guard_connection_execute(PyObject* self, PyObject** args, Py_ssize_t count) noexcept:
    before_statement()
    return (<ss_fast>ss_guards[SS_GUARD_CONNECTION_EXECUTE].original)(self, args, count)


cdef PyObject* guard_connection_executemany(PyObject* self, PyObject** args, Py_ssize_t count) noexcept:
    before_statement()
    return (<ss_fast>ss_guards[SS_GUARD_CONNECTION_EXECUTEMANY].original)(self, args, count)


cdef PyObject* guard_connection_executescript(PyObject* self, PyObject* script) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CONNECTION_EXECUTESCRIPT].original)(self, script)


# From here on no SQL function is called; but a transaction's end, a copy and a blob write draw salts and nonces.

cdef PyObject* guard_connection_commit(PyObject* self, PyObject* unused) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CONNECTION_COMMIT].original)(self, unused)


cdef PyObject* guard_connection_rollback(PyObject* self, PyObject* unused) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CONNECTION_ROLLBACK].original)(self, unused)


cdef PyObject* guard_connection_exit(PyObject* self, PyObject** args, Py_ssize_t count) noexcept:
    before_statement()
    return (<ss_fast>ss_guards[SS_GUARD_CONNECTION_EXIT].original)(self, args, count)


cdef PyObject* guard_connection_close(PyObject* self, PyObject* unused) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_CONNECTION_CLOSE].original)(self, unused)


cdef PyObject* guard_connection_backup(PyObject* self, PyObject** args, Py_ssize_t count, PyObject* names) noexcept:
    before_statement()
    return (<ss_fast_keywords>ss_guards[SS_GUARD_CONNECTION_BACKUP].original)(self, args, count, names)


cdef PyObject* guard_connection_blobopen(PyObject* self, PyObject** args, Py_ssize_t count, PyObject* names) noexcept:
    before_statement()
    return (<ss_fast_keywords>ss_guards[SS_GUARD_CONNECTION_BLOBOPEN].original)(self, args, count, names)


cdef PyObject* guard_blob_write(PyObject* self, PyObject* data) noexcept:
    before_statement()
    return (<PyCFunction>ss_guards[SS_GUARD_BLOB_WRITE].original)(self, data)


# When _sqlite3 was executed, and has thereby initialised its SQLite. With the GIL and no exception set; leaves none.
cdef void guard_sqlite(PyObject* module) noexcept:
    cdef PyObject* path = raw_module_filename(module)
    cdef PyObject* owner
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
    owner = raw_getattr(module, "Cursor")
    if owner != NULL:
        guard_cursor(owner)
        raw_decref(owner)
    raw_error_clear()
    owner = raw_getattr(module, "Connection")
    if owner != NULL:
        guard_connection(owner)
        raw_decref(owner)
    raw_error_clear()
    owner = raw_getattr(module, "Blob")     # from 3.11 on
    if owner != NULL:
        guard_attribute(owner, "write", SS_GUARD_BLOB_WRITE, METH_O, <void*>guard_blob_write)
        raw_decref(owner)
    raw_error_clear()


cdef void guard_cursor(PyObject* cls) noexcept:
    guard_attribute(cls, "execute", SS_GUARD_CURSOR_EXECUTE, METH_FASTCALL, <void*>guard_cursor_execute)
    guard_attribute(cls, "executemany", SS_GUARD_CURSOR_EXECUTEMANY, METH_FASTCALL, <void*>guard_cursor_executemany)
    guard_attribute(cls, "executescript", SS_GUARD_CURSOR_EXECUTESCRIPT, METH_O, <void*>guard_cursor_executescript)
    guard_attribute(cls, "fetchone", SS_GUARD_CURSOR_FETCHONE, METH_NOARGS, <void*>guard_cursor_fetchone)
    guard_attribute(cls, "fetchmany", SS_GUARD_CURSOR_FETCHMANY, METH_FASTCALL | METH_KEYWORDS,
                    <void*>guard_cursor_fetchmany)
    guard_attribute(cls, "fetchall", SS_GUARD_CURSOR_FETCHALL, METH_NOARGS, <void*>guard_cursor_fetchall)


cdef void guard_connection(PyObject* cls) noexcept:
    guard_attribute(cls, "execute", SS_GUARD_CONNECTION_EXECUTE, METH_FASTCALL, <void*>guard_connection_execute)
    guard_attribute(cls, "executemany", SS_GUARD_CONNECTION_EXECUTEMANY, METH_FASTCALL,
                    <void*>guard_connection_executemany)
    guard_attribute(cls, "executescript", SS_GUARD_CONNECTION_EXECUTESCRIPT, METH_O,
                    <void*>guard_connection_executescript)
    guard_attribute(cls, "commit", SS_GUARD_CONNECTION_COMMIT, METH_NOARGS, <void*>guard_connection_commit)
    guard_attribute(cls, "rollback", SS_GUARD_CONNECTION_ROLLBACK, METH_NOARGS, <void*>guard_connection_rollback)
    guard_attribute(cls, "__exit__", SS_GUARD_CONNECTION_EXIT, METH_FASTCALL, <void*>guard_connection_exit)
    guard_attribute(cls, "close", SS_GUARD_CONNECTION_CLOSE, METH_NOARGS, <void*>guard_connection_close)
    guard_attribute(cls, "backup", SS_GUARD_CONNECTION_BACKUP, METH_FASTCALL | METH_KEYWORDS,
                    <void*>guard_connection_backup)
    guard_attribute(cls, "blobopen", SS_GUARD_CONNECTION_BLOBOPEN, METH_FASTCALL | METH_KEYWORDS,
                    <void*>guard_connection_blobopen)      # from 3.11 on


# tp_iternext is copied into subclasses when they are made, so those that exist are walked. Needs the GIL.
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
