# The loading room: sees extension modules and shared libraries come, whoever imports them and in which interpreter.
#
# The functions of _imp through which every extension module passes are guarded, so nothing is added to sys.meta_path
# for them: _random is guarded as soon as it was executed, and so again after a program unloaded and re-imported it.


# Guards an attribute of a module or type by its calling convention. 0, or -1 where it is not there or differs. With the
# GIL and no exception set; leaves none.
cdef int guard_attribute(PyObject* owner, const char* name, int number, int flags, void* replacement) noexcept:
    cdef PyObject* found = raw_getattr(owner, name)
    cdef int outcome
    if found == NULL:
        raw_error_clear()
        return -1
    outcome = ss_guard_install(&ss_guards[number], found, flags, replacement)
    raw_decref(found)
    return outcome


cdef void scan_libraries() noexcept:
    if ss_libraries_changed():
        ss_openssl_scan()
        ss_sqlite_scan()


# For reports, which are asked for after deactivation as well.
cdef void scan_while_active() noexcept:
    if ss_guard_active(&ss_guards[SS_GUARD_EXEC_DYNAMIC]):
        scan_libraries()


# After `module`, possibly NULL, was executed. Called with the GIL and no exception set; leaves none.
cdef void loaded(PyObject* module) noexcept:
    cdef const char* name = NULL
    cdef PyObject* found
    if module != NULL and raw_module_check(module):
        name = raw_module_name(module)
        if name == NULL:
            raw_error_clear()
        elif strcmp(name, "_random") == 0:
            found = raw_getattr(module, "Random")
            if found != NULL:
                guard_random_type(found)
                raw_decref(found)
            else:
                raw_error_clear()
        elif strcmp(name, "_ctypes") == 0:
            guard_attribute(module, "dlopen", SS_GUARD_DLOPEN, METH_VARARGS, <void*>guard_dlopen)
        elif strcmp(name, "_posixsubprocess") == 0:
            guard_subprocess(module)
    scan_libraries()
    # After the scan: what is left over is not reached by it.
    if name != NULL and strcmp(name, "_ssl") == 0:
        guard_ssl(module)
    elif name != NULL and strcmp(name, "_sqlite3") == 0:
        guard_sqlite(module)


cdef PyObject* guard_create_dynamic(PyObject* module, PyObject** args, Py_ssize_t count) noexcept:
    cdef PyObject* value = (<ss_fast>ss_guards[SS_GUARD_CREATE_DYNAMIC].original)(module, args, count)
    if value != NULL:
        loaded(value)   # single-phase modules are complete here
    return value


cdef PyObject* guard_exec_dynamic(PyObject* module, PyObject* created) noexcept:
    cdef PyObject* value = (<PyCFunction>ss_guards[SS_GUARD_EXEC_DYNAMIC].original)(module, created)
    if value != NULL:
        loaded(created)
    return value


cdef PyObject* guard_create_builtin(PyObject* module, PyObject* spec) noexcept:
    cdef PyObject* value = (<PyCFunction>ss_guards[SS_GUARD_CREATE_BUILTIN].original)(module, spec)
    if value != NULL:
        loaded(value)
    return value


cdef PyObject* guard_exec_builtin(PyObject* module, PyObject* created) noexcept:
    cdef PyObject* value = (<PyCFunction>ss_guards[SS_GUARD_EXEC_BUILTIN].original)(module, created)
    if value != NULL:
        loaded(created)
    return value


cdef PyObject* guard_dlopen(PyObject* module, PyObject* args) noexcept:
    cdef PyObject* value = (<PyCFunction>ss_guards[SS_GUARD_DLOPEN].original)(module, args)
    if value != NULL:
        scan_libraries()
    return value
