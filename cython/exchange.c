#include "exchange.h"

#include "object_lock.h"

/* Without a GIL nothing of an entry changes once its function is there, but that and the target when it is ended. */
typedef struct {
    PyObject *function, *target; /* atomic; strong; NULL: free */
    PyObject *code;              /* strong; stock's */
    PyObject *names;             /* strong; of the arguments, a tuple */
    PyObject *ours;              /* strong; the code in its place (3.11), else NULL */
} exchange;

/* Open addressing by the function's address; at most half full. */
typedef struct {
    size_t size;
    exchange places[];
} exchanges;
static exchanges *table;      /* atomic; NULL: nothing was exchanged yet */
static size_t used, occupied; /* exchanges; places that are not free */
#define ENDED ((PyObject *)&table) /* in the place of a function: no address of one */

static size_t place_of(const exchanges *in, const PyObject *function)
{
    size_t at = ((uintptr_t)function >> 4) * UINT64_C(0x9e3779b97f4a7c15) >> 32 & (in->size - 1);
    const PyObject *there;
    while ((there = SS_LOOK(in->places[at].function)) && there != function)
        at = (at + 1) & (in->size - 1);
    return at;
}

static exchange *find(const PyObject *function)
{
    exchanges *in = SS_LOOK(table);
    exchange *found = in ? &in->places[place_of(in, function)] : NULL;
    return found && SS_LOOK(found->function) ? found : NULL;
}

/* Makes a table of this size of the entries that are left. -1, with no exception set: the old one stays. */
static int resize(size_t size)
{
    exchanges *old = table, *made = PyMem_RawCalloc(1, sizeof *made + size * sizeof *made->places);
    if (!made)
        return -1;
    made->size = size;
    for (size_t i = 0; old && i < old->size; i++)
        if (old->places[i].function && old->places[i].function != ENDED)
            made->places[place_of(made, old->places[i].function)] = old->places[i];
    occupied = used;
    __atomic_store_n(&table, made, __ATOMIC_RELEASE);
    if (!SS_FREE_THREADED)
        PyMem_RawFree(old);
    return 0;
}

#if SS_FUNCTIONS_RUN_CODE

#include <opcode.h>

/* Code that calls the constant with its arguments. Its file, line and names are the function's, for tracebacks. */
static PyObject *calling(PyCodeObject *code, PyObject *names, PyObject *target)
{
    const int count = code->co_argcount;
    unsigned char text[64], lines[16];
    Py_ssize_t size = 0, lines_size = 0;
#define UNIT(operation, argument) (text[size++] = (operation), text[size++] = (unsigned char)(argument))
    UNIT(RESUME, 0);
    UNIT(PUSH_NULL, 0);
    UNIT(LOAD_CONST, 0);
    for (int i = 0; i < count; i++)
        UNIT(LOAD_FAST, i);
    UNIT(PRECALL, count);
    UNIT(CACHE, 0);
    UNIT(CALL, count);
    for (int i = 0; i < 4; i++)
        UNIT(CACHE, 0);
    UNIT(RETURN_VALUE, 0);
#undef UNIT
    /* Objects/locations.md: entries for up to 8 units each; kind 13 has a line, here the first, and no columns. */
    for (Py_ssize_t left = size / 2; left > 0; left -= 8) {
        lines[lines_size++] = (unsigned char)(0x80 | 13 << 3 | ((left < 8 ? left : 8) - 1));
        lines[lines_size++] = 0;
    }
    PyObject *bytecode = PyBytes_FromStringAndSize((char *)text, size);
    PyObject *table_of_lines = PyBytes_FromStringAndSize((char *)lines, lines_size);
    PyObject *none = PyBytes_FromStringAndSize(NULL, 0), *empty = PyTuple_New(0);
    PyObject *constants = PyTuple_Pack(1, target);
    PyObject *made = NULL;
    if (bytecode && table_of_lines && none && empty && constants)
        made = (PyObject *)PyCode_NewWithPosOnlyArgs(
            count, code->co_posonlyargcount, 0, count, count + 3, CO_OPTIMIZED | CO_NEWLOCALS, bytecode, constants, empty,
            names, empty, empty, code->co_filename, code->co_name, code->co_qualname, code->co_firstlineno, table_of_lines,
            none);
    Py_XDECREF(bytecode);
    Py_XDECREF(table_of_lines);
    Py_XDECREF(none);
    Py_XDECREF(empty);
    Py_XDECREF(constants);
    return made;
}

/* As func_set_code() in Objects/funcobject.c, without its audit event. */
static void run_code(PyObject *function, PyObject *code)
{
    PyFunctionObject *own = (PyFunctionObject *)function;
    PyObject *old = own->func_code;
    own->func_version = 0;
    own->func_code = Py_NewRef(code);
    Py_DECREF(old);
}

/* `__code__` of a function, stock's while ours is in its place. */
static getter stock_get_code;
static PyObject *get_code(PyObject *function, void *closure)
{
    PyObject *code = stock_get_code(function, closure);
    const exchange *found = code ? find(function) : NULL;
    if (found && code == found->ours)
        Py_SETREF(code, Py_NewRef(found->code));
    return code;
}

static void show_stock(int shown)
{
    for (PyGetSetDef *one = PyFunction_Type.tp_getset; one->name; one++)
        if (strcmp(one->name, "__code__") == 0) {
            if (shown && one->get != get_code) {
                stock_get_code = one->get;
                one->get = get_code;
            } else if (!shown && one->get == get_code) {
                one->get = stock_get_code;
            }
        }
}

static int put(exchange *one)
{
    one->ours = calling((PyCodeObject *)one->code, one->names, one->target);
    if (!one->ours)
        return -1;
    run_code(one->function, one->ours);
    show_stock(1);
    return 0;
}

static void take_back(exchange *one)
{
    if (PyFunction_GET_CODE(one->function) == one->ours)
        run_code(one->function, one->code);
    if (used == 1)
        show_stock(0);
}

static const PyObject *expected_code(const exchange *one) { return one->ours; }
#define EXPECTED_CALL(one) ((void)(one), stock_vectorcall)

static vectorcallfunc stock_vectorcall;

#else

static vectorcallfunc stock_vectorcall;

/* The arguments of a call by the function's signature, into `bound`: borrowed. 0, or -1 where they do not fit, or that is to
   be said by the function itself. Without a GIL the entry may be ended meanwhile, so the function is given. */
static int bind(const exchange *one, const PyFunctionObject *own, PyObject *const *arguments, Py_ssize_t given,
                PyObject *names, PyObject **bound)
{
    const Py_ssize_t count = PyTuple_GET_SIZE(one->names), positional = ((PyCodeObject *)one->code)->co_posonlyargcount;
    const Py_ssize_t named = names ? PyTuple_GET_SIZE(names) : 0;
    const Py_ssize_t defaults = own->func_defaults ? PyTuple_GET_SIZE(own->func_defaults) : 0;
    if (given > count)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        bound[i] = i < given ? arguments[i] : NULL;
    for (Py_ssize_t i = 0; i < named; i++) {
        PyObject *name = PyTuple_GET_ITEM(names, i);
        Py_ssize_t at = positional;
        while (at < count && PyTuple_GET_ITEM(one->names, at) != name &&
               PyUnicode_Compare(PyTuple_GET_ITEM(one->names, at), name) != 0)
            at++;
        if (at == count || bound[at])
            return -1;
        bound[at] = arguments[given + i];
    }
    for (Py_ssize_t i = 0; i < count; i++)
        if (!bound[i]) {
            if (i < count - defaults)
                return -1;
            bound[i] = PyTuple_GET_ITEM(own->func_defaults, i - (count - defaults));
        }
    return 0;
}

static PyObject *call(PyObject *function, PyObject *const *arguments, size_t flags, PyObject *names)
{
    PyObject *bound[SS_EXCHANGE_MOST];
    const exchange *one = find(function);
#if SS_FREE_THREADED
    if (!one) { /* it is being begun or ended */
        ss_room_lock(SS_ROOM_EXCHANGE);
        one = find(function);
        ss_room_unlock(SS_ROOM_EXCHANGE);
    }
#endif
    PyObject *target = one ? SS_LOOK(one->target) : NULL;
    if (!target || PyFunction_GET_CODE(function) != one->code ||
        bind(one, (PyFunctionObject *)function, arguments, PyVectorcall_NARGS(flags), names, bound) != 0)
        return stock_vectorcall(function, arguments, flags, names);
    /* Borrowed: a default may be exchanged meanwhile, and the exchange be undone. */
    const Py_ssize_t count = PyTuple_GET_SIZE(one->names);
    Py_INCREF(target);
    for (Py_ssize_t i = 0; i < count; i++)
        Py_INCREF(bound[i]);
    PyObject *value = PyObject_Vectorcall(target, bound, (size_t)count, NULL);
    for (Py_ssize_t i = 0; i < count; i++)
        Py_DECREF(bound[i]);
    Py_DECREF(target);
    return value;
}

static int put(exchange *one)
{
    ss_function_set_call((PyFunctionObject *)one->function, call);
    return 0;
}

static void take_back(exchange *one)
{
    if (((PyFunctionObject *)one->function)->vectorcall == call)
        ss_function_set_call((PyFunctionObject *)one->function, stock_vectorcall);
}

static const PyObject *expected_code(const exchange *one) { return one->code; }
#define EXPECTED_CALL(one) ((void)(one), call)

#endif

#if SS_FREE_THREADED

static void let_go(exchange *one)
{
    used--;
    __atomic_store_n(&one->function, ENDED, __ATOMIC_RELEASE);
    __atomic_store_n(&one->target, NULL, __ATOMIC_RELEASE);
}

#else

/* Those that stand behind it, because its place was taken, are put where they are found again. */
static void let_go(exchange *one)
{
    const exchange gone = *one;
    exchange *const all = table->places;
    const size_t last = table->size - 1;
    memset(one, 0, sizeof *one);
    used--;
    occupied--;
    for (size_t at = (size_t)(one - all + 1) & last; all[at].function; at = (at + 1) & last) {
        const exchange moved = all[at];
        memset(&all[at], 0, sizeof moved);
        all[place_of(table, moved.function)] = moved;
    }
    Py_XDECREF(gone.ours);
    Py_DECREF(gone.names);
    Py_DECREF(gone.code);
    Py_DECREF(gone.target);
    Py_DECREF(gone.function);
}

#endif

/* With the room's lock. 0; 1 where it was exchanged already, or another library's code is called; -1 where there is no memory,
   with an exception set or without. Takes the names over where it is 0. */
static int begin(PyObject *function, PyObject *target, PyObject *code, PyObject *names)
{
    const vectorcallfunc now = SS_LOOK(((PyFunctionObject *)function)->vectorcall);
    if (!stock_vectorcall)
        stock_vectorcall = now;
    if (find(function) || now != stock_vectorcall)
        return 1;
    if (!table || occupied * 2 >= table->size) {
        const size_t size = !table ? 16 : used * 2 >= table->size ? table->size * 2 : table->size;
        if (resize(size) != 0)
            return -1;
    }
    exchange *one = &table->places[place_of(table, function)];
    one->target = Py_NewRef(target);
    one->code = Py_NewRef(code);
    one->names = names;
    one->ours = NULL;
    __atomic_store_n(&one->function, Py_NewRef(function), __ATOMIC_RELEASE);
    used++;
    occupied++;
    if (put(one) == 0)
        return 0;
    Py_INCREF(names);
    let_go(one);
    return -1;
}

int ss_exchange_begin(PyObject *function, PyObject *target)
{
    const int varied = CO_VARARGS | CO_VARKEYWORDS;
    if (!PyFunction_Check(function)) {
        PyErr_SetString(PyExc_TypeError, "not a Python function");
        return -1;
    }
    PyCodeObject *code = (PyCodeObject *)PyFunction_GET_CODE(function);
    if (code->co_flags & varied || code->co_kwonlyargcount || code->co_argcount > SS_EXCHANGE_MOST ||
        ((PyFunctionObject *)function)->func_closure) {
        PyErr_Format(PyExc_TypeError, "%U() has a signature that cannot be exchanged", code->co_name);
        return -1;
    }
    PyObject *variables = PyObject_GetAttrString((PyObject *)code, "co_varnames");
    PyObject *names = variables ? PyTuple_GetSlice(variables, 0, code->co_argcount) : NULL;
    Py_XDECREF(variables);
    if (!names)
        return -1;
    ss_room_lock(SS_ROOM_EXCHANGE);
    const int outcome = begin(function, target, (PyObject *)code, names);
    ss_room_unlock(SS_ROOM_EXCHANGE);
    if (outcome == 0)
        return 0;
    Py_DECREF(names);
    if (outcome > 0)
        PyErr_Format(PyExc_TypeError, "%U() was exchanged already, or is called by another library's code", code->co_name);
    else if (!PyErr_Occurred())
        PyErr_NoMemory();
    return -1;
}

void ss_exchange_end(PyObject *function)
{
    ss_room_lock(SS_ROOM_EXCHANGE);
    exchange *one = find(function);
    if (one) {
        take_back(one);
        let_go(one);
    }
    ss_room_unlock(SS_ROOM_EXCHANGE);
}

int ss_exchange_in_place(PyObject *function)
{
    const exchange *one = find(function);
    return one && PyFunction_GET_CODE(function) == expected_code(one) &&
           SS_LOOK(((PyFunctionObject *)function)->vectorcall) == EXPECTED_CALL(one);
}

void ss_exchange_words(PyObject *function, uint64_t ret_at[2], uint64_t ret_held[2])
{
    const exchange *one = find(function);
    PyFunctionObject *own = (PyFunctionObject *)function;
    ret_at[0] = (uintptr_t)&own->func_code;
    ret_held[0] = one ? (uintptr_t)expected_code(one) : 0;
    ret_at[1] = (uintptr_t)&own->vectorcall;
    ret_held[1] = one ? (uintptr_t)EXPECTED_CALL(one) : 0;
}

PyObject *ss_exchange_copy(PyObject *function)
{
    if (!PyFunction_Check(function)) {
        PyErr_SetString(PyExc_TypeError, "not a Python function");
        return NULL;
    }
    PyFunctionObject *own = (PyFunctionObject *)function;
    PyObject *copy = PyFunction_NewWithQualName(own->func_code, own->func_globals, own->func_qualname);
    if (copy && own->func_defaults && PyFunction_SetDefaults(copy, own->func_defaults) != 0)
        Py_CLEAR(copy);
    return copy;
}
