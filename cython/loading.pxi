# The loading room: sees extension modules and shared libraries come, whoever imports them and in which interpreter.
#
# The functions of _imp through which every extension module passes are guarded, so nothing is added to sys.meta_path
# for them: _random is guarded as soon as it was executed, and so again after a program unloaded and re-imported it.


cdef void look_through() noexcept nogil:
    cdef bint done = ss_openssl_scan()
    done = ss_sqlite_scan() and done
    if not done:
        ss_libraries_look_again()


# With the GIL: no thread forks meanwhile, whose child would inherit the loader's lock.
cdef void scan_libraries() noexcept:
    if ss_libraries_changed():
        look_through()
    ss_sqlite_look()


# For reports, check() and the restore event, which also come after deactivation. What C code loads by itself passes none
# of the doors below. It is hooked without the GIL, for the loader may be at work in a thread that waits for that.
cdef void scan_while_active() noexcept:
    if ss_guard_active(SS_GUARD_EXEC_DYNAMIC):
        if ss_libraries_changed():
            with nogil:
                look_through()
        ss_sqlite_look()


def find_libraries():
    """Hook what was loaded since somebody looked. Returns how often libraries were loaded or unloaded by now."""
    scan_while_active()
    return ss_libraries_count()


cdef extern from *:
    """
    #include <sys/uio.h>
    /* With the GIL. Bytes of this process's memory, fewer where it ends; an errno where there is none. */
    static int ss_own_memory(size_t address, void *out, size_t size, size_t *ret_size)
    {
        struct iovec to = {out, size}, from = {(void *)address, size};
        ssize_t got = process_vm_readv(getpid(), &to, 1, &from, 1, 0);
        *ret_size = got > 0 ? (size_t)got : 0;
        return got < 0 ? errno : 0;
    }
    """
    int ss_own_memory(size_t address, void* out, size_t size, size_t* ret_size) noexcept


def own_memory(size_t address, size_t size, /):
    """Bytes of this process's memory, by process_vm_readv(2): what is gone by now is an OSError, not a fault."""
    cdef bytes data = PyBytes_FromStringAndSize(NULL, size)
    cdef size_t got = 0
    cdef int error = ss_own_memory(address, PyBytes_AS_STRING(data), size, &got)
    if error:
        raise OSError(error, "process_vm_readv(2)")
    return data[:got]


# After `module`, possibly NULL, was executed. Called with the GIL and no exception set; leaves none.
cdef void loaded(PyObject* module) noexcept:
    cdef const char* name = NULL
    if ss_watcher_lost():
        ss_lost()
    if module != NULL and raw_module_check(module):
        name = raw_module_name(module)
        if name == NULL:
            raw_error_clear()
    if name == NULL:
        scan_libraries()
        return
    if strcmp(name, "_random") == 0:
        guard_random(module)
    elif strcmp(name, "_ctypes") == 0 or strcmp(name, "_posixsubprocess") == 0:
        ss_guard_module(name, module, NULL)
    scan_libraries()
    # After the scan: what is left over is not reached by it.
    if strcmp(name, "_ssl") == 0:
        guard_ssl(module)
    elif strcmp(name, "_sqlite3") == 0:
        guard_sqlite(module)


cdef PyObject* guard_create_dynamic "guard_create_dynamic"(PyObject* module, PyObject** args, Py_ssize_t count,
                                                           ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call_fast(guard, module, args, count)
    if value != NULL:
        loaded(value)   # single-phase modules are complete here
    return value


cdef PyObject* guard_create_builtin "guard_create_builtin"(PyObject* module, PyObject* spec,
                                                           ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call(guard, module, spec)
    if value != NULL:
        loaded(value)
    return value


cdef PyObject* guard_exec "guard_exec"(PyObject* module, PyObject* created, ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call(guard, module, created)
    if value != NULL:
        loaded(created)
    return value


cdef PyObject* guard_dlopen "guard_dlopen"(PyObject* module, PyObject* args, ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call(guard, module, args)
    if value != NULL:
        scan_libraries()
    return value
