#include "guard.h"

ss_guard ss_guards[SS_GUARD_COUNT];

/* The definition behind a builtin function or a method descriptor; NULL for anything else. Borrowed, static. */
static PyMethodDef *definition(PyObject *callable)
{
    if (PyCFunction_Check(callable))
        return ((PyCFunctionObject *)callable)->m_ml;
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type) || Py_IS_TYPE(callable, &PyClassMethodDescr_Type))
        return ((PyMethodDescrObject *)callable)->d_method;
    return NULL;
}

int ss_guard_install(ss_guard *guard, PyObject *callable, int flags, void *replacement)
{
    PyMethodDef *def = definition(callable);
    const int conventions = METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD;
    if (!def || (def->ml_flags & conventions) != flags)
        return -1;
    void *now = (void *)__atomic_load_n(&def->ml_meth, __ATOMIC_ACQUIRE);
    if (now != replacement) {
        if (guard->def && guard->def != def && ss_guard_active(guard))
            return -1; /* another copy of the extension; its original may be another function */
        guard->def = def;
        guard->replacement = replacement;
        __atomic_store_n(&guard->original, now, __ATOMIC_RELEASE);
        __atomic_store_n(&def->ml_meth, (PyCFunction)replacement, __ATOMIC_RELEASE);
    }
    /* A JIT trace compiled before the exchange has the old pointer in it (CPython 3.15, PYTHON_JIT=1). */
    if (Py_IS_TYPE(callable, &PyMethodDescr_Type))
        PyType_Modified(((PyMethodDescrObject *)callable)->d_common.d_type);
    return 0;
}

void ss_guard_remove(ss_guard *guard)
{
    if (ss_guard_active(guard))
        __atomic_store_n(&guard->def->ml_meth, (PyCFunction)guard->original, __ATOMIC_RELEASE);
}
