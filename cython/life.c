/* The life room: a process may finalise its interpreter and initialise it again. Cython knows a module by the id of its
   interpreter, which is the same then, and would refuse to make it a second time. So the module that was left over is forgotten
   first; setup.py gives Cython's own function another name. */
#undef PyInit__core
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

PyMODINIT_FUNC ss_init_core(void);
void ss_forget_module(void);

static bool noting, over; /* atomic */

/* The last that Py_FinalizeEx() does. */
static void note_end(void)
{
    __atomic_store_n(&noting, false, __ATOMIC_RELAXED);
    __atomic_store_n(&over, true, __ATOMIC_RELAXED);
}

/* With the GIL of the interpreter that imports it, or attached to it. */
PyMODINIT_FUNC PyInit__core(void)
{
    if (__atomic_exchange_n(&over, false, __ATOMIC_RELAXED))
        ss_forget_module();
    if (!__atomic_exchange_n(&noting, true, __ATOMIC_RELAXED) && Py_AtExit(note_end) != 0)
        __atomic_store_n(&noting, false, __ATOMIC_RELAXED);
    return ss_init_core();
}
