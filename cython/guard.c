#define _GNU_SOURCE 1
#include "guard.h"

#include "libraries.h"

#include <dlfcn.h>
#include <link.h>
#include <stdlib.h>
#include <string.h>

ss_guard ss_guards[SS_GUARD_COUNT], ss_guard_stock[SS_GUARD_COUNT];
static void *const *observing; /* atomic */
char *ss_guard_refused[SS_GUARD_COUNT];

PyMethodDef *ss_definition(PyObject *callable)
{
    if (PyCFunction_Check(callable))
        return ((PyCFunctionObject *)callable)->m_ml;
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type) || Py_IS_TYPE(callable, &PyClassMethodDescr_Type))
        return ((PyMethodDescrObject *)callable)->d_method;
    return NULL;
}

void ss_guard_exchange_init(PyTypeObject *type, initproc init_from, initproc init_to, newfunc new_from, newfunc new_to)
{
    if (init_from && SS_LOOK(type->tp_init) == init_from) {
        ss_slot_store(&type->tp_init, init_to);
        /* type.__init__ is what later subclasses take their slot from. */
        PyObject *wrapper = PyObject_GetAttrString((PyObject *)type, "__init__");
        if (wrapper && Py_IS_TYPE(wrapper, &PyWrapperDescr_Type) &&
            ((PyWrapperDescrObject *)wrapper)->d_wrapped == (void *)init_from)
            ss_slot_store(&((PyWrapperDescrObject *)wrapper)->d_wrapped, init_to);
        Py_XDECREF(wrapper);
    }
    if (new_from && SS_LOOK(type->tp_new) == new_from)
        ss_slot_store(&type->tp_new, new_to);
    PyType_Modified(type);
    PyObject *subclasses = PyObject_CallMethod((PyObject *)type, "__subclasses__", NULL);
    for (Py_ssize_t i = 0; subclasses && i < PyList_GET_SIZE(subclasses); i++)
        ss_guard_exchange_init((PyTypeObject *)PyList_GET_ITEM(subclasses, i), init_from, init_to, new_from, new_to);
    Py_XDECREF(subclasses);
    PyErr_Clear();
}

struct search {
    uintptr_t first, second;
    bool same;
};

/* Of dl_iterate_phdr(3): 1 at the object that has the first address. */
static int find_both(struct dl_phdr_info *info, size_t size, void *context)
{
    struct search *search = context;
    (void)size;
    if (!ss_libraries_part(info, PT_LOAD, search->first))
        return 0;
    search->same = ss_libraries_part(info, PT_LOAD, search->second) != NULL;
    return 1;
}

bool ss_same_object(const void *first, const void *second)
{
    struct search search = {(uintptr_t)first, (uintptr_t)second, false};
    (void)dl_iterate_phdr(find_both, &search);
    return search.same;
}

int ss_guard_group(enum ss_guard_id id)
{
    const ss_guard_row *row = &ss_guard_rows[id];
    for (int other = 0; row->type[0] && other < (int)id; other++)
        if (strcmp(ss_guard_rows[other].module, row->module) == 0 && strcmp(ss_guard_rows[other].type, row->type) == 0)
            return other;
    return (int)id;
}

/* Remembers which file has another definition of a method. Needs the GIL. */
static void refuse(enum ss_guard_id id, const PyMethodDef *def)
{
    Dl_info own;
    char **place = &ss_guard_refused[ss_guard_group(id)], *none = NULL;
    if (SS_LOOK(*place))
        return;
    char *file = strdup(dladdr((const void *)def, &own) ? own.dli_fname : SS_GUARD_NO_FILE);
    if (!__atomic_compare_exchange_n(place, &none, file, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
        free(file);
}

static void set_original(int id, void *original)
{
    void *const *observers = SS_LOOK(observing);
    void *called = observers && observers[id] ? observers[id] : original;
    __atomic_store_n(&ss_guard_stock[id].original, original, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_guards[id].original, called, __ATOMIC_RELEASE);
}

void ss_guard_observe(void *const *observers)
{
    __atomic_store_n(&observing, observers, __ATOMIC_RELEASE);
    for (int id = 0; id < SS_GUARD_COUNT; id++) {
        void *original = SS_LOOK(ss_guard_stock[id].original);
        if (original)
            set_original(id, original);
    }
}

/* Needs the GIL. 0, or -1 with no exception set. */
static int exchange(enum ss_guard_id id, PyObject *callable)
{
    void *entry = ss_guard_entries[id];
    ss_guard *guard = &ss_guards[id];
    PyMethodDef *def = ss_definition(callable);
    const int conventions = METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD;
    if (!def || (def->ml_flags & conventions) != ss_guard_rows[id].flags ||
        strcmp(def->ml_name, ss_guard_rows[id].method) != 0)
        return -1;
    void *now = (void *)__atomic_load_n(&def->ml_meth, __ATOMIC_ACQUIRE);
    if (now != entry) {
        PyMethodDef *known = NULL;
        if (!__atomic_compare_exchange_n(&guard->def, &known, def, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE) && known != def) {
            refuse(id, def); /* another copy of the extension; its original may be another function */
            return -1;
        }
        if (!ss_same_object(def, now))
            return -1; /* exchanged before us, by whom nobody knows: no original to go on with */
        set_original((int)id, now);
        ss_slot_store(&def->ml_meth, entry);
    }
    /* A JIT trace compiled before the exchange has the old pointer in it (CPython 3.15, PYTHON_JIT=1). */
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type))
        PyType_Modified(((PyMethodDescrObject *)callable)->d_common.d_type);
    return 0;
}

int ss_guard_method(enum ss_guard_id id, PyObject *owner)
{
    PyObject *found = PyObject_GetAttrString(owner, ss_guard_rows[id].method);
    if (!found) {
        PyErr_Clear();
        return 1;
    }
    int outcome = exchange(id, found);
    Py_DECREF(found);
    return outcome;
}

int ss_guard_module(const char *name, PyObject *module, PyObject *failed)
{
    int count = 0;
    for (int id = 0; id < SS_GUARD_COUNT; id++) {
        const ss_guard_row *row = &ss_guard_rows[id];
        if (strcmp(row->module, name) != 0)
            continue;
        PyObject *type = row->type[0] ? PyObject_GetAttrString(module, row->type) : NULL;
        if (row->type[0] && !type) {
            PyErr_Clear(); /* this version lacks the type */
            continue;
        }
        if (ss_guard_method(id, type ? type : module) == -1) {
            count++;
            PyObject *text = failed ? PyUnicode_FromString(row->method) : NULL;
            if (text && PyList_Append(failed, text) != 0)
                PyErr_Clear();
            Py_XDECREF(text);
        }
        Py_XDECREF(type);
    }
    return count;
}

void ss_guard_remove(enum ss_guard_id id)
{
    if (ss_guard_active(id))
        ss_slot_store(&ss_guards[id].def->ml_meth, ss_original(&ss_guard_stock[id]));
}

void ss_guard_put_back(enum ss_guard_id id)
{
    PyMethodDef *def = SS_LOOK(ss_guards[id].def);
    if (def && ss_method(def) == SS_LOOK(ss_guard_stock[id].original))
        ss_slot_store(&def->ml_meth, ss_guard_entries[id]);
}

int ss_guarded(const char *name)
{
    int outcome = -1;
    for (int id = 0; id < SS_GUARD_COUNT; id++) {
        const ss_guard_row *row = &ss_guard_rows[id];
        const size_t length = strlen(row->module);
        if (strncmp(name, row->module, length) == 0 && name[length] == '.' &&
            strcmp(name + length + 1, row->type[0] ? row->type : row->method) == 0) {
            const int active = ss_guard_active(id) && !ss_guard_refused_file(id);
            /* A function has a row for each convention that it ever had; of a type's methods none may be missing. */
            outcome = outcome < 0 ? active : row->type[0] ? outcome && active : outcome || active;
        }
    }
    return outcome;
}

bool ss_guard_is(enum ss_guard_id id, PyObject *callable)
{
    return ss_guard_active(id) && ss_definition(callable) == SS_LOOK(ss_guards[id].def);
}

vectorcallfunc ss_own_call(PyObject *function)
{
    PyObject *made = PyCFunction_Check(function) && !(((PyCFunctionObject *)function)->m_ml->ml_flags & METH_METHOD)
                         ? PyCFunction_New(((PyCFunctionObject *)function)->m_ml, NULL)
                         : NULL;
    vectorcallfunc call = made ? ((PyCFunctionObject *)made)->vectorcall : NULL;
    if (!made)
        PyErr_Clear();
    Py_XDECREF(made);
    return call;
}

bool ss_guard_guards(PyObject *callable)
{
    const PyMethodDef *def = ss_definition(callable);
    if (PyCFunction_Check(callable) && ((PyCFunctionObject *)callable)->vectorcall != ss_own_call(callable))
        return false;
    for (int id = 0; def && id < SS_GUARD_COUNT; id++)
        if (SS_LOOK(ss_guards[id].def) == def)
            return ss_guard_active(id);
    return false;
}

bool ss_definition_is_stock(const PyMethodDef *def)
{
    return ss_same_object(def, ss_method(def));
}

const char *ss_guard_displaced_by(enum ss_guard_id id)
{
    Dl_info called;
    const PyMethodDef *def = SS_LOOK(ss_guards[id].def);
    if (!def || ss_guard_active(id))
        return NULL;
    return dladdr(ss_method(def), &called) ? called.dli_fname : SS_GUARD_NO_FILE;
}

const char *ss_guard_refused_file(enum ss_guard_id id)
{
    return SS_LOOK(ss_guard_refused[ss_guard_group(id)]);
}
