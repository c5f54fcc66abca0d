/* The life room: a process may finalise its interpreter and initialise it again. Cython knows a module by the id of its
   interpreter, which is the same then, and would refuse to make it a second time. So the module that was left over is forgotten
   first; setup.py gives Cython's own function another name. */
#undef PyInit__core
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdbool.h>

PyMODINIT_FUNC ss_init_core(void);
void ss_forget_module(void);

static bool noting, over;

/* The last that Py_FinalizeEx() does. */
static void note_end(void)
{
    noting = false;
    over = true;
}

/* With the GIL of the interpreter that imports it. */
PyMODINIT_FUNC PyInit__core(void)
{
    if (over)
        ss_forget_module();
    over = false;
    noting = noting || Py_AtExit(note_end) == 0;
    return ss_init_core();
}
