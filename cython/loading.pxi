# The loading room: sees modules and shared libraries come, whoever imports them and in which interpreter.
#
# What every module passes through is guarded: the functions of _imp for an extension module, exec() for one of Python
# code. So it does not matter which finder found a module, which loader loads it and under what name; neither does the
# program see anything of ours, be it a frame, a finder or a loader. A module of the table is guarded as soon as it was
# executed, and so again after a program unloaded and re-imported it.

cdef extern from *:
    """
    #ifndef SS_WATCHED_MODULES
    #error "build_facts.py defines it"
    #endif
    /* The modules of the table, parted by commas; atomic, for every interpreter reads it. Never freed. */
    static const char *ss_watched_names = SS_WATCHED_MODULES;

    static void ss_watch_names(const char *names)
    {
        char *copy = strdup(names);
        if (copy)
            __atomic_store_n(&ss_watched_names, (const char *)copy, __ATOMIC_RELEASE);
    }

    static int ss_is_watched(const char *name, size_t size)
    {
        const char *at = __atomic_load_n(&ss_watched_names, __ATOMIC_ACQUIRE);
        while (*at) {
            const char *end = strchrnul(at, ',');
            if ((size_t)(end - at) == size && memcmp(at, name, size) == 0)
                return 1;
            at = *end ? end + 1 : end;
        }
        return 0;
    }

    /* UTF-8 of a str; NULL, with no exception set, for anything else. */
    static const char *ss_text(PyObject *object, size_t *ret_size)
    {
        Py_ssize_t size = 0;
        const char *text = object && PyUnicode_Check(object) ? PyUnicode_AsUTF8AndSize(object, &size) : NULL;
        if (!text)
            PyErr_Clear();
        *ret_size = (size_t)size;
        return text;
    }

    /* The name of the table's module that this one is, or NULL: by its name; or by that of its file, for it may be
       loaded under another one, or twice. Ours are none. `file` may be NULL. */
    static const char *ss_watched_as(PyObject *module_name, PyObject *file, char out[64])
    {
        size_t size;
        const char *name = ss_text(module_name, &size);
        if (name && strncmp(name, "snapsafe_rt.", 12) == 0)
            return NULL;
        if (!name || !ss_is_watched(name, size)) {
            name = file ? ss_text(file, &size) : name;
            const char part = file ? '/' : '.', *last = name ? strrchr(name, part) : NULL;
            if (last) {
                size -= (size_t)(last + 1 - name);
                name = last + 1;
            }
            if (name && file) {
                /* One that begins with _ is an extension module: Python code in such a file is the program's own. */
                if (size < 4 || strcmp(name + size - 3, ".py") != 0 || name[0] == '_')
                    return NULL;
                size -= 3;
            }
            if (!name || !ss_is_watched(name, size))
                return NULL;
        }
        if (size >= 64)
            return NULL;
        memcpy(out, name, size);
        out[size] = 0;
        return out;
    }

    /* Tells this interpreter's core, if it has one, that a module of the table was executed. Attached, with no
       exception set. Steals `value`, and returns it; or NULL with an exception set, one that is not ours to keep. */
    static PyObject *ss_tell_executed(PyObject *value, const char *trigger, PyObject *names)
    {
        PyObject *core = names ? ss_dict_string(PyImport_GetModuleDict(), "snapsafe_rt._core") : NULL;
        PyObject *told = NULL;
        if (!core)
            return value;
        ss_unobserved_begin();
        told = PyObject_CallMethod(core, "executed", "sO", trigger, names);
        ss_unobserved_end();
        Py_DECREF(core);
        if (!told)
            Py_CLEAR(value);
        Py_XDECREF(told);
        return value;
    }

    /* Counts an import. As above. */
    static PyObject *ss_imported(PyObject *value, const char *trigger, PyObject *names)
    {
        ss_count(&ss_looked.imports);
        if (!trigger && !ss_load_u32(&ss_looked.each))
            return value;
        return ss_tell_executed(value, trigger ? trigger : "", names);
    }

    /* After exec(code, globals). As above. */
    static PyObject *ss_code_executed(PyObject *value, PyObject *code, PyObject *names)
    {
        char trigger[64];
        if (!PyCode_Check(code) || !PyDict_Check(names))
            return value;
        PyObject *spec = ss_dict_string(names, "__spec__"), *name = ss_dict_string(names, "__name__");
        const char *known = ss_watched_as(name, ((PyCodeObject *)code)->co_filename, trigger);
        const bool imported = known || (spec && spec != Py_None);
        Py_XDECREF(spec);
        Py_XDECREF(name);
        return imported ? ss_imported(value, known, names) : value;
    }

    /* After an extension module was executed. As above. */
    static PyObject *ss_extension_executed(PyObject *value, PyObject *module)
    {
        char trigger[64];
        PyObject *name = PyModule_Check(module) ? PyModule_GetNameObject(module) : NULL;
        const char *known = name ? ss_watched_as(name, NULL, trigger) : NULL;
        PyErr_Clear();
        Py_XDECREF(name);
        return PyModule_Check(module) ? ss_imported(value, known, PyModule_GetDict(module)) : value;
    }
    """
    void ss_watch_names(const char* names) noexcept
    PyObject* ss_code_executed(PyObject* value, PyObject* code, PyObject* names) noexcept
    PyObject* ss_extension_executed(PyObject* value, PyObject* module) noexcept


cdef PyObject* guard_execute "guard_execute"(PyObject* module, PyObject** args, Py_ssize_t count, PyObject* names,
                                             ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call_keywords(guard, module, args, count, names)
    if value != NULL and count > 1:
        return ss_code_executed(value, args[0], args[1])
    return value


# The same in 3.10.
cdef PyObject* guard_execute_310 "guard_execute_310"(PyObject* module, PyObject** args, Py_ssize_t count,
                                                     ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call_fast(guard, module, args, count)
    if value != NULL and count > 1:
        return ss_code_executed(value, args[0], args[1])
    return value


cdef void look_through() noexcept nogil:
    cdef bint done = ss_openssl_scan()
    done = ss_sqlite_scan() and done
    done = ss_torch_scan() and done
    if not done:
        ss_libraries_look_again()


# With the GIL, or attached, for a fork waits for those who are: no thread forks meanwhile, whose child would inherit
# the loader's lock.
cdef void scan_libraries() noexcept:
    if ss_libraries_changed():
        look_through()
    ss_sqlite_look()


# For reports, check() and the restore event, which also come after deactivation. What C code loads by itself passes
# none of the doors below. It is hooked without the GIL, for the loader may be at work in a thread that waits for that.
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
    # Without a definition it is Python code that has the name of an extension module: nothing of it is a reference.
    if module != NULL and raw_module_check(module) and raw_module_def(module) != NULL:
        name = raw_module_name(module)
        if name == NULL:
            raw_error_clear()
    if name == NULL:
        scan_libraries()
        return
    if strrchr(name, c'.') != NULL:     # a copy of it, in a package of the program's
        name = strrchr(name, c'.') + 1
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
        return ss_extension_executed(value, created)
    return value


cdef PyObject* guard_dlopen "guard_dlopen"(PyObject* module, PyObject* args, ss_guard* guard) noexcept:
    cdef PyObject* value = ss_call(guard, module, args)
    if value != NULL:
        scan_libraries()
    return value
