# The loading room: sees extension modules and shared libraries come, whoever imports them and in which interpreter.
#
# The functions of _imp through which every extension module passes are guarded, so nothing is added to sys.meta_path
# for them: _random is guarded as soon as it was executed, and so again after a program unloaded and re-imported it.


cdef void scan_libraries() noexcept:
    if ss_libraries_changed():
        ss_openssl_scan()
        ss_sqlite_scan()


# For reports, which are asked for after deactivation as well.
cdef void scan_while_active() noexcept:
    if ss_guard_active(SS_GUARD_EXEC_DYNAMIC):
        scan_libraries()


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
