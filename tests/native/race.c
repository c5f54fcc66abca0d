/* Moves the generation while a guarded C method draws, and tells whether a stale value got out.

   Loaded with ctypes.PyDLL before activation: exchange() gives the type or module a method of the same name that is defined
   here, which the guard then takes for the original. It notes the generation at the draw's begin, lets other threads run, and notes the time at
   the draw's end. Sound, without a window: a value is stale if a change was complete before its draw ended (so before the
   guard's check) and the draw began under an older generation. moving.h has the clock. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include "moving.h"

static pthread_t bumper;
static __thread uint64_t drawn_generation, drawn_time;
static PyCFunction original;
static PyMethodDef ours;

/* The draw: begin, a gap in which others run and the generation may move, end. The GIL is held at both ends. */
static PyObject *instrumented(PyObject *self, PyObject *argument)
{
    uint64_t began = generation();
    PyObject *value = original(self, argument);
    Py_BEGIN_ALLOW_THREADS
    for (volatile int i = 0; i < 50; i++) {}
    Py_END_ALLOW_THREADS
    drawn_generation = began;
    drawn_time = now();
    return value;
}

/* Exchanges a method of a heap type, or a builtin of a module, of one or no argument. A definition whose function lies in
   another library would not be guarded. */
PyObject *race_exchange(PyObject *owner, PyObject *name)
{
    PyObject *dict = PyType_Check(owner) ? ((PyTypeObject *)owner)->tp_dict : PyModule_GetDict(owner);
    PyObject *callable = PyDict_GetItemWithError(dict, name), *made;
    if (!callable)
        return PyErr_Format(PyExc_LookupError, "%R", name);
    PyMethodDef *def = PyCFunction_Check(callable) ? ((PyCFunctionObject *)callable)->m_ml
                                                   : ((PyMethodDescrObject *)callable)->d_method;
    if (def->ml_flags != METH_NOARGS && def->ml_flags != METH_O)
        return PyErr_Format(PyExc_TypeError, "unexpected calling convention %d", def->ml_flags);
    original = def->ml_meth;
    ours = *def;
    ours.ml_meth = instrumented;
    made = PyType_Check(owner) ? PyDescr_NewMethod((PyTypeObject *)owner, &ours)
                               : PyCFunction_New(&ours, ((PyCFunctionObject *)callable)->m_self);
    if (!made || PyDict_SetItem(dict, name, made) != 0)
        return NULL;
    if (PyType_Check(owner))
        PyType_Modified((PyTypeObject *)owner);
    return made;
}

PyObject *race_start(PyObject *address, PyObject *pause)
{
    page = (unsigned char *)PyLong_AsVoidPtr(address);
    atomic_store(&running, 1);
    if (pthread_create(&bumper, NULL, bumping, PyLong_AsVoidPtr(pause)) != 0)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

PyObject *race_stop(void)
{
    atomic_store(&running, 0);
    Py_BEGIN_ALLOW_THREADS
    pthread_join(bumper, NULL);
    Py_END_ALLOW_THREADS
    return PyLong_FromUnsignedLongLong(atomic_load(&log_count));
}

/* Calls callable(*arguments) `count` times; returns how many values were stale. */
PyObject *race_hammer(PyObject *callable, PyObject *arguments, PyObject *count)
{
    long stale = 0, rounds = PyLong_AsLong(count);
    for (long i = 0; i < rounds; i++) {
        PyObject *value = PyObject_Call(callable, arguments, NULL);
        if (!value)
            return NULL;
        Py_DECREF(value);
        stale += drawn_generation < complete_at(drawn_time);
    }
    return PyLong_FromLong(stale);
}

/* ---- numpy: the functions of a BitGenerator (numpy/random/bitgen.h) ---- */

typedef struct {
    void *state;
    uint64_t (*next_uint64)(void *);
    uint32_t (*next_uint32)(void *);
    double (*next_double)(void *);
    uint64_t (*next_raw)(void *);
} bitgen;

#define FILL 20 /* values of one call */
static double (*original_double)(void *);
static __thread unsigned filled;
static __thread double drawn_value;

/* Of a fill, which is drawn without the GIL: it began with its first value, and ended with its last. */
static double instrumented_double(void *state)
{
    if (filled++ % FILL == 0)
        drawn_generation = generation();
    drawn_value = original_double(state);
    for (volatile int i = 0; i < 50; i++) {}
    drawn_time = now();
    return drawn_value;
}

/* Before activation, and before Generators are made of it. */
PyObject *race_bitgen(PyObject *capsule)
{
    bitgen *one = PyCapsule_GetPointer(capsule, "BitGenerator");
    if (!one)
        return NULL;
    original_double = one->next_double;
    one->next_double = instrumented_double;
    Py_RETURN_NONE;
}

/* Draws `count` values by the functions that the capsule has now, without the GIL, as compiled code does; returns how many were
   stale. A value that is not the one drawn last is of fresh entropy. */
PyObject *race_values(PyObject *capsule, PyObject *count)
{
    bitgen *one = PyCapsule_GetPointer(capsule, "BitGenerator");
    long stale = 0, rounds = PyLong_AsLong(count);
    if (!one)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    for (long i = 0; i < rounds; i++) {
        filled = 0;
        const double value = one->next_double(one->state);
        stale += value == drawn_value && drawn_generation < complete_at(drawn_time);
    }
    Py_END_ALLOW_THREADS
    return PyLong_FromLong(stale);
}
