# The loading room: sees extension modules and shared libraries come, whoever imports them and in which interpreter.
#
# The functions of _imp through which every extension module passes are guarded, so nothing is added to sys.meta_path for
# them: _random is guarded as soon as it was executed, and so again after a program unloaded and re-imported it.

cdef extern from "libraries.h":
    bint ss_libraries_changed() noexcept

cdef extern from "openssl.h":
    void ss_openssl_scan() noexcept
    void ss_openssl_release() noexcept

cdef extern from "sqlite.h":
    void ss_sqlite_scan() noexcept
    void ss_sqlite_release() noexcept


cdef void scan_libraries() noexcept:
    if ss_libraries_changed():
        ss_openssl_scan()
        ss_sqlite_scan()


# After `module`, possibly NULL, was executed. Called with the GIL and no exception set; leaves none.
cdef void loaded(PyObject* module) noexcept:
    cdef const char* name
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
            found = raw_getattr(module, "dlopen")
            if found != NULL:
                ss_guard_install(&ss_guards[SS_GUARD_DLOPEN], found, METH_VARARGS, <void*>guard_dlopen)
                raw_decref(found)
            else:
                raw_error_clear()
    scan_libraries()


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
