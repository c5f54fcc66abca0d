# The sites room: words of memory by which another process sees that a guard is in place, for it can run nothing here
# (snapsafe_rt/report/remote.py). As text, in parts that blanks separate: ADDRESS=what stands there while it is, and
# perhaps :NAME of what it is. An address with a sign before it tells where to look; once it differs nothing can be
# told. ?PLACE>KEY=VALUE:NAME is of an entry of a dict that grows: where it keeps its table, in which the value follows
# the key. With the GIL, or attached.

cdef extern from *:
    """
    #include <inttypes.h>
    #include <stdio.h>
    /* Where a dict keeps the values of these keys: "-AT=TABLE", where it keeps its table and which that is; then
       "AT=VALUE:KEY" for each, and the same for how a builtin function is called. How a table is laid out differs by
       version, but not that a value follows its key there; so it is searched, within the size that the dict gives for
       itself. The values are kept in the dict `kept`, by address, so that who asks often keeps no more. New reference,
       or NULL with an exception set: LookupError where a key is not found. */
    static int ss_keep(PyObject *kept, PyObject *value)
    {
        PyObject *address = PyLong_FromVoidPtr(value);
        const int error = address ? PyDict_SetItem(kept, address, value) : -1;
        Py_XDECREF(address);
        return error;
    }
    static const uintptr_t *ss_dict_table(PyObject *dict)
    {
        return (const uintptr_t *)__atomic_load_n(&((PyDictObject *)dict)->ma_keys, __ATOMIC_ACQUIRE);
    }
    static PyObject *ss_dict_places(PyObject *dict, PyObject *keys, PyObject *kept)
    {
        const Py_ssize_t count = PyTuple_GET_SIZE(keys);
        struct found {
            PyObject *value; /* `kept` has it */
            const uintptr_t *at;
        } *found = PyMem_Calloc((size_t)count + 1, sizeof *found);
        char *buffer = PyMem_Malloc(64 + (size_t)count * 256);
        PyObject *text = NULL;
        int used = found && buffer && PyDict_CheckExact(dict) ? 0 : -1;
        for (Py_ssize_t i = 0; used == 0 && i < count; i++) {
            found[i].value = ss_dict_get(dict, PyTuple_GET_ITEM(keys, i));
            if (!found[i].value || ss_keep(kept, found[i].value) != 0)
                used = -1;
            Py_XDECREF(found[i].value);
        }
        const uintptr_t *table = used == 0 ? ss_dict_table(dict) : NULL;
        PyObject *size = table ? PyObject_CallMethod(dict, "__sizeof__", NULL) : NULL;
        Py_ssize_t words = size ? PyLong_AsSsize_t(size) - (Py_ssize_t)sizeof(PyDictObject) : 0;
        words /= (Py_ssize_t)sizeof(uintptr_t);
        Py_XDECREF(size);
        PyErr_Clear();
        /* The search waits for no other lock and runs no Python code, so nobody changes the table meanwhile. */
        Py_BEGIN_CRITICAL_SECTION(dict);
        if (words > 0 && ss_dict_table(dict) == table)
            used = sprintf(buffer, "-%" PRIxPTR "=%" PRIxPTR, (uintptr_t)&((PyDictObject *)dict)->ma_keys,
                           (uintptr_t)table);
        for (Py_ssize_t i = 0; used > 0 && i < count; i++)
            for (Py_ssize_t at = 0; at + 1 < words && !found[i].at; at++)
                if (__atomic_load_n(&table[at], __ATOMIC_RELAXED) == (uintptr_t)PyTuple_GET_ITEM(keys, i) &&
                    __atomic_load_n(&table[at + 1], __ATOMIC_RELAXED) == (uintptr_t)found[i].value)
                    found[i].at = &table[at + 1];
        Py_END_CRITICAL_SECTION();
        for (Py_ssize_t i = 0; used > 0 && i < count; i++) {
            const char *name = found[i].at ? PyUnicode_AsUTF8(PyTuple_GET_ITEM(keys, i)) : NULL;
            if (!name || strlen(name) > 64) {
                used = -1;
                break;
            }
            used += sprintf(buffer + used, " %" PRIxPTR "=%" PRIxPTR ":%s", (uintptr_t)found[i].at,
                            (uintptr_t)found[i].value, name);
            vectorcallfunc call = ss_own_call(found[i].value);
            if (call)
                used += sprintf(buffer + used, " %" PRIxPTR "=%" PRIxPTR ":%s",
                                (uintptr_t) & ((PyCFunctionObject *)found[i].value)->vectorcall, (uintptr_t)call, name);
        }
        if (used > 0)
            text = PyUnicode_FromStringAndSize(buffer, used);
        else if (!PyErr_Occurred())
            PyErr_SetString(PyExc_LookupError, "the names cannot be found");
        PyMem_Free(buffer);
        PyMem_Free(found);
        return text;
    }
    /* The same of sys.modules, to which others add: "?PLACE>KEY=VALUE:NAME" for each of these keys that is there.
       A module is not kept for that: it is known by its dict too, which its functions keep. */
    static PyObject *ss_module_places(PyObject *dict, PyObject *keys)
    {
        PyObject *key, *value;
        Py_ssize_t at = 0;
        char buffer[1024];
        int used = 0;
        /* Nothing in here waits for another lock or runs Python code: the names are ASCII, the keys str. */
        Py_BEGIN_CRITICAL_SECTION(dict);
        while (used < 768 && PyDict_Next(dict, &at, &key, &value)) {
            for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(keys); i++) {
                PyObject *name = PyTuple_GET_ITEM(keys, i);
                if (key != name && (!PyUnicode_CheckExact(key) || PyUnicode_CHECK_INTERNED(key) ||
                                    PyUnicode_Compare(key, name)))
                    continue;
                used += sprintf(buffer + used, "?%" PRIxPTR ">%" PRIxPTR "=%" PRIxPTR ":%.64s ",
                                (uintptr_t)&((PyDictObject *)dict)->ma_keys, (uintptr_t)key, (uintptr_t)value,
                                PyUnicode_AsUTF8(name));
                PyObject **names = (PyObject **)value + sizeof(PyObject) / sizeof(PyObject *);
                if (PyModule_Check(value) && *names == PyModule_GetDict(value))
                    used += sprintf(buffer + used, "%" PRIxPTR "=%" PRIxPTR ":%.64s ", (uintptr_t)names,
                                    (uintptr_t)*names, PyUnicode_AsUTF8(name));
            }
        }
        Py_END_CRITICAL_SECTION();
        return PyUnicode_FromStringAndSize(buffer, used);
    }
    static PyObject *ss_word_text(uint64_t at, uint64_t held)
    {
        char text[48];
        return PyUnicode_FromStringAndSize(text, sprintf(text, "%" PRIx64 "=%" PRIx64, at, held));
    }
    static PyObject *ss_dict_of(PyObject *owner) /* borrowed */
    {
        return PyType_Check(owner) ? ((PyTypeObject *)owner)->tp_dict : owner;
    }
    static uint64_t ss_used_word(PyObject *dict, uint64_t *ret_held)
    {
        *ret_held = (uint64_t)__atomic_load_n(&((PyDictObject *)dict)->ma_used, __ATOMIC_RELAXED);
        return (uintptr_t)&((PyDictObject *)dict)->ma_used;
    }
    static PyObject **ss_code_place(PyObject *function) /* NULL: not a Python function */
    {
        return PyFunction_Check(function) ? &((PyFunctionObject *)function)->func_code : NULL;
    }
    static uint64_t ss_guard_word(int id, uint64_t *ret_held)
    {
        *ret_held = (uintptr_t)ss_guard_entries[id];
        return (uintptr_t)&ss_guards[id].def->ml_meth;
    }
    static const char *ss_guard_row_module(int id) { return ss_guard_rows[id].module; }
    static const char *ss_guard_row_type(int id) { return ss_guard_rows[id].type; }
    static const char *ss_guard_row_method(int id) { return ss_guard_rows[id].method; }
    /* What seeds a new instance: its initialiser, or on 3.10 its constructor (random.pxi). */
    static uint64_t ss_init_word(PyObject *cls, uint64_t init, uint64_t made, uint64_t *ret_held)
    {
        PyTypeObject *type = (PyTypeObject *)cls;
        const bool inits = type->tp_init != PyBaseObject_Type.tp_init;
        *ret_held = inits ? init : made;
        return inits ? (uintptr_t)&type->tp_init : (uintptr_t)&type->tp_new;
    }
    """
    object ss_dict_places(PyObject* dict_, PyObject* keys, PyObject* kept)
    object ss_module_places(PyObject* dict_, PyObject* keys)
    object ss_word_text(uint64_t at, uint64_t held)
    PyObject* ss_dict_of(PyObject* owner) noexcept
    PyObject** ss_code_place(PyObject* function) noexcept
    uint64_t ss_used_word(PyObject* dict_, uint64_t* ret_held) noexcept
    uint64_t ss_guard_word(int id_, uint64_t* ret_held) noexcept
    const char* ss_guard_row_module(int id_) noexcept
    const char* ss_guard_row_type(int id_) noexcept
    const char* ss_guard_row_method(int id_) noexcept
    uint64_t ss_init_word(PyObject* cls, uint64_t init, uint64_t made, uint64_t* ret_held) noexcept


_site_values = {}   # kept: another object at the address of one would pass for it


cdef bint is_row(int id, str name):
    row_type = ss_guard_row_type(id).decode()
    return name == f"{ss_guard_row_module(id).decode()}.{row_type or ss_guard_row_method(id).decode()}"


def guard_words(str name not None, /):
    """Of the guards of "module.method", or of "module.Type", that are in place."""
    cdef uint64_t held, at
    cdef int i
    found = []
    for i in range(SS_GUARD_COUNT):
        if ss_guard_active(i) and is_row(i, name):
            at = ss_guard_word(i, &held)
            found.append(ss_word_text(at, held))
            if ss_guard_group(i) == i:  # no other copy came
                found.append(ss_word_text(<uint64_t><size_t>&ss_guard_refused[i], 0))
    return " ".join(found)


def attribute_words(owner not None, tuple names not None, /):
    """Of what these names stand for in a dict, or in the dict of a type. Raises LookupError where that cannot be
    told."""
    return ss_dict_places(ss_dict_of(<PyObject*>owner), <PyObject*>names, <PyObject*>_site_values)


def module_words(dict modules not None, tuple names not None, /):
    """Of what these names stand for in sys.modules, if they are there."""
    return ss_module_places(<PyObject*>modules, <PyObject*>names)


def used_words(owner not None, /):
    """Of how many names there are in a dict, or in the dict of a type: a new one may hide what was found elsewhere."""
    cdef uint64_t held, at
    at = ss_used_word(ss_dict_of(<PyObject*>owner), &held)
    return ss_word_text(at, held) + ":__dict__"


def code_of(function, /):
    """The code of a Python function, past the audit event of `__code__`; None for what is no such function."""
    cdef PyObject** at = ss_code_place(<PyObject*>function)
    return <object>at[0] if at != NULL else None


def code_words(dict codes not None, /):
    """Of Python functions and the code that each had: the caller keeps both."""
    found = []
    for function, code in codes.items():
        found.append(ss_word_text(<uint64_t><size_t>ss_code_place(<PyObject*>function),
                                  <uint64_t><size_t><PyObject*>code))
    return " ".join(found)


def init_words(type cls not None, /):
    """Of what seeds a new instance of a `_random.Random`, which the core has hooked."""
    cdef uint64_t held, at
    at = ss_init_word(<PyObject*>cls, <uint64_t><size_t>guard_init, <uint64_t><size_t>guard_new, &held)
    return ss_word_text(at, held)


def own_sites():
    """As sites() of snapsafe_rt/guards/os.py, as far as it goes before Python of ours is loaded; [] where that cannot
    be told."""
    cdef uint64_t at, held, at_other, held_other
    if not (ss_guard_active(SS_GUARD_URANDOM) and ss_guard_active(SS_GUARD_GETRANDOM)):
        return []
    import os
    at = ss_guard_word(SS_GUARD_URANDOM, &held)
    at_other = ss_guard_word(SS_GUARD_GETRANDOM, &held_other)
    try:
        names = attribute_words(os.__dict__, ("urandom", "getrandom"))
    except LookupError:
        return []
    return [("os", "os.urandom", ss_word_text(at, held)), ("os", "os.getrandom", ss_word_text(at_other, held_other)),
            ("os", "os.", names)]


def displaced_by(str name not None, /):
    """What a method of "module.method" or "module.Type" calls, where it is not guarded: a file, and whether that is
    another copy of the extension; else ""."""
    cdef const char* file
    cdef int i
    for i in range(SS_GUARD_COUNT):
        if not is_row(i, name):
            continue
        file = ss_guard_refused_file(i)
        if file != NULL:
            return f"nothing of ours in {PyUnicode_DecodeFSDefault(file)}, another copy of the extension"
        file = ss_guard_displaced_by(i)
        if file != NULL:
            return PyUnicode_DecodeFSDefault(file)
    return ""


def put_back():
    """Put guards back where the method that they stand in for was put in their place. No others: who exchanged one for
    something else may call ours from there."""
    cdef int i
    if is_active():
        for i in range(SS_GUARD_COUNT):
            ss_guard_put_back(i)
        ss_calls_put_back()


def looked(bint each, /):
    """Python has looked at all guards now; `each`: it wants to after each import (executed() with "")."""
    ss_store_u64(&ss_looked.seen_imports, ss_load_u64(&ss_looked.imports))
    ss_store_u64(&ss_looked.seen_epoch, ss_epoch_begin())
    ss_store_u64(<uint64_t*>&ss_looked.seen_ns, ss_start_now_us() * 1000)
    ss_store_u32(&ss_looked.each, each)
