/* What the list of guard.h is made into: for each row the C function that CPython calls, and the table that installs it.
   Included by _core.pyx alone, for the functions of the .pxi files are its own.

   An entry runs in any interpreter of the process, under that interpreter's own GIL (none on free-threaded builds), with no
   exception set. It returns as the original does: a new reference, or NULL with an exception set. */
#ifndef SNAPSAFE_ENTRIES_H
#define SNAPSAFE_ENTRIES_H

#include "epoch.h"
#include "guard.h"

/* For each convention: the parameters, how they are passed on, how the original is called, CPython's flags. */
#define SS_TAKES_NOARGS PyObject *self, PyObject *argument
#define SS_TAKES_O PyObject *self, PyObject *argument
#define SS_TAKES_VARARGS PyObject *self, PyObject *argument
#define SS_TAKES_FASTCALL PyObject *self, PyObject **arguments, Py_ssize_t count
#define SS_TAKES_KEYWORDS PyObject *self, PyObject **arguments, Py_ssize_t count, PyObject *names
#define SS_PASSES_NOARGS self, argument
#define SS_PASSES_O self, argument
#define SS_PASSES_VARARGS self, argument
#define SS_PASSES_FASTCALL self, arguments, count
#define SS_PASSES_KEYWORDS self, arguments, count, names
#define SS_ORIGINAL_NOARGS ss_call
#define SS_ORIGINAL_O ss_call
#define SS_ORIGINAL_VARARGS ss_call
#define SS_ORIGINAL_FASTCALL ss_call_fast
#define SS_ORIGINAL_KEYWORDS ss_call_keywords
#define SS_FLAGS_NOARGS METH_NOARGS
#define SS_FLAGS_O METH_O
#define SS_FLAGS_VARARGS METH_VARARGS
#define SS_FLAGS_FASTCALL METH_FASTCALL
#define SS_FLAGS_KEYWORDS (METH_FASTCALL | METH_KEYWORDS)

#define SS_DECLARE_REPLACED(function, convention) static PyObject *function(SS_TAKES_##convention, ss_guard *guard);
#define SS_DECLARE_AFTER(function, convention) static void function(PyObject *self);
#define SS_CALL_REPLACED(function, convention, guard) function(SS_PASSES_##convention, guard)
#define SS_CALL_AFTER(function, convention, guard)                                                                     \
    (function(self), SS_ORIGINAL_##convention(guard, SS_PASSES_##convention))

/* On the way of every draw and every statement: worth a copy in each entry. */
static inline __attribute__((always_inline)) PyObject *draw(PyObject *self, PyObject *argument, ss_guard *guard);
static inline __attribute__((always_inline)) void before_statement(PyObject *self);

/* For a row whose original alone is of use. */
static inline void nothing(PyObject *self)
{
}

#define SS_ENTRY(id, module, type, method, convention, role, function)                                                 \
    SS_DECLARE_##role(function, convention)                                                                            \
    static PyObject *entry_##id(SS_TAKES_##convention)                                                                 \
    {                                                                                                                  \
        return SS_CALL_##role(function, convention, &ss_guards[SS_GUARD_##id]);                                        \
    }
SS_FOR_EACH_GUARD(SS_ENTRY)

#define SS_ROW(id, module, type, method, convention, role, function)                                                   \
    [SS_GUARD_##id] = {module, type, method, SS_FLAGS_##convention},
const ss_guard_row ss_guard_rows[SS_GUARD_COUNT] = {SS_FOR_EACH_GUARD(SS_ROW)};
#define SS_ENTRY_OF(id, ...) [SS_GUARD_##id] = (void *)entry_##id,
void *const ss_guard_entries[SS_GUARD_COUNT] = {SS_FOR_EACH_GUARD(SS_ENTRY_OF)};

#endif
