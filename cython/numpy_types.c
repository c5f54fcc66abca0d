#include "numpy_types.h"

#include "bitgen.h"
#include "guard.h"
#include "numpy.h"
#include "process.h"
#include "provenance.h"

/* ---- constructors ---- */

/* Cython from 3.1 on gives its types a tp_vectorcall, which makes instances past tp_init. */
static struct {
    PyTypeObject *type;
    initproc init, our_init;
    vectorcallfunc call, our_call;
} types[SS_NUMPY_TYPES];

/* What was passed for a parameter: borrowed, NULL if nothing was. */
static PyObject *argument_of(PyObject *args, PyObject *kwargs, Py_ssize_t position, const char *name)
{
    if (position < PyTuple_GET_SIZE(args))
        return PyTuple_GET_ITEM(args, position);
    return kwargs ? PyDict_GetItemString(kwargs, name) : NULL;
}

static PyObject *vector_argument_of(PyObject *const *args, size_t nargsf, PyObject *names, Py_ssize_t position, const char *name)
{
    const Py_ssize_t count = PyVectorcall_NARGS(nargsf);
    if (position < count)
        return args[position];
    for (Py_ssize_t i = 0; names && i < PyTuple_GET_SIZE(names); i++)
        if (PyUnicode_CompareWithASCIIString(PyTuple_GET_ITEM(names, i), name) == 0)
            return args[count + i];
    return NULL;
}

static int init_bit_generator(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const uint64_t epoch = ss_epoch_begin();
    const int outcome = types[SS_NUMPY_T_BIT_GENERATOR].init(self, args, kwargs);
    if (outcome == 0)
        ss_numpy_tag_new(self, epoch);
    return outcome;
}

static int init_sequence(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const uint64_t epoch = ss_epoch_begin();
    PyObject *seed = argument_of(args, kwargs, 0, "entropy");
    const int outcome = types[SS_NUMPY_T_SEQUENCE].init(self, args, kwargs);
    if (outcome == 0)
        ss_numpy_tag_sequence(self, seed, epoch);
    return outcome;
}

static PyObject *call_sequence(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    const uint64_t epoch = ss_epoch_begin();
    PyObject *seed = vector_argument_of(args, nargsf, names, 0, "entropy");
    PyObject *made = types[SS_NUMPY_T_SEQUENCE].call(type, args, nargsf, names);
    if (made && ss_numpy_is_sequence(made))
        ss_numpy_tag_sequence(made, seed, epoch);
    return made;
}

static void tag_philox(PyObject *self, PyObject *key, uint64_t epoch)
{
    if (key && key != Py_None && ss_numpy_capsule(self))
        ss_numpy_set_tag(self, ss_numpy_judge(key, epoch));
}

static int init_philox(PyObject *self, PyObject *args, PyObject *kwargs)
{
    const uint64_t epoch = ss_epoch_begin();
    const int outcome = types[SS_NUMPY_T_PHILOX].init(self, args, kwargs);
    if (outcome == 0)
        tag_philox(self, argument_of(args, kwargs, 2, "key"), epoch);
    return outcome;
}

static PyObject *call_philox(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)
{
    const uint64_t epoch = ss_epoch_begin();
    PyObject *made = types[SS_NUMPY_T_PHILOX].call(type, args, nargsf, names);
    if (made && ss_numpy_is_bit_generator(made))
        tag_philox(made, vector_argument_of(args, nargsf, names, 2, "key"), epoch);
    return made;
}

#define MAKER(NAME, WHICH)                                                                                             \
    static int init_##NAME(PyObject *self, PyObject *args, PyObject *kwargs)                                           \
    {                                                                                                                  \
        ss_numpy_making++;                                                                                             \
        const int outcome = types[WHICH].init(self, args, kwargs);                                                     \
        ss_numpy_making--;                                                                                             \
        return outcome;                                                                                                \
    }                                                                                                                  \
    static PyObject *call_##NAME(PyObject *type, PyObject *const *args, size_t nargsf, PyObject *names)                \
    {                                                                                                                  \
        ss_numpy_making++;                                                                                             \
        PyObject *made = types[WHICH].call(type, args, nargsf, names);                                                 \
        ss_numpy_making--;                                                                                             \
        return made;                                                                                                   \
    }
MAKER(generator, SS_NUMPY_T_GENERATOR)
MAKER(random_state, SS_NUMPY_T_RANDOM_STATE)

static initproc our_init(enum ss_numpy_type which)
{
    switch (which) {
    case SS_NUMPY_T_BIT_GENERATOR: return init_bit_generator;
    case SS_NUMPY_T_SEQUENCE: return init_sequence;
    case SS_NUMPY_T_PHILOX: return init_philox;
    case SS_NUMPY_T_GENERATOR: return init_generator;
    case SS_NUMPY_T_RANDOM_STATE: return init_random_state;
    case SS_NUMPY_TYPES: break;
    }
    return NULL;
}

/* BitGenerator itself makes no instances. */
static vectorcallfunc our_call(enum ss_numpy_type which)
{
    switch (which) {
    case SS_NUMPY_T_SEQUENCE: return call_sequence;
    case SS_NUMPY_T_PHILOX: return call_philox;
    case SS_NUMPY_T_GENERATOR: return call_generator;
    case SS_NUMPY_T_RANDOM_STATE: return call_random_state;
    case SS_NUMPY_T_BIT_GENERATOR:
    case SS_NUMPY_TYPES: break;
    }
    return NULL;
}

void ss_numpy_hook_type(PyTypeObject *type, enum ss_numpy_type which)
{
    if (type->tp_init != our_init(which)) {
        types[which].type = type;
        types[which].init = type->tp_init;
        types[which].our_init = our_init(which);
        ss_guard_exchange_init(type, types[which].init, types[which].our_init, NULL, NULL);
    }
    if (type->tp_vectorcall && our_call(which) && type->tp_vectorcall != our_call(which)) {
        types[which].call = type->tp_vectorcall;
        types[which].our_call = our_call(which);
        ss_slot_store(&type->tp_vectorcall, types[which].our_call);
    }
}

/* ---- states ---- */

static PyObject *get_state(PyObject *self, void *closure, ss_numpy_state *one)
{
    PyObject *value;
    if (!ss_numpy_is_bit_generator(self) || !ss_numpy_capsule(self))
        return one->get(self, closure);
    for (int tries = 1;; tries++) {
        const uint64_t epoch = ss_epoch_begin();
        /* This thread may have the lock of it: the state is then read as it is, and is known for what it is. */
        if (ss_numpy_settle(self, epoch, false) != 0)
            return NULL;
        const uint64_t given = ss_numpy_stale_given(self), before = ss_numpy_tag_of(self);
        value = one->get(self, closure);
        if (!value)
            return NULL;
        __atomic_thread_fence(__ATOMIC_ACQUIRE);
        const uint64_t tag = ss_numpy_tag_of(self);
        const bool same = tag == before && given == ss_numpy_stale_given(self);
        /* Of which tag is a state that another thread is changing, or has changed meanwhile? Who is still at that was waited for, and
           may wait for the lock that this thread has. */
        if (SS_FREE_THREADED && (!same || tag == SS_NUMPY_CHANGING)) {
            if (tries < SS_DRAW_TRIES && before != SS_NUMPY_CHANGING) {
                Py_DECREF(value);
                continue;
            }
            return value;
        }
        if (ss_epoch_unchanged(epoch) || ss_numpy_is_kept(tag) || tries == SS_DRAW_TRIES) {
            ss_provenance_note_made(ss_numpy_print_state(value), (uint32_t)tag);
            return value;
        }
        Py_DECREF(value);
    }
}

/* A state that was read here makes it what the instance was that it was read from; of any other nobody knows who chose it. What
   was given may be looked up before anybody draws from it; what was given as text, or lists, is so as the type reads it back. */
static int set_state(PyObject *self, PyObject *value, void *closure, ss_numpy_state *one)
{
    const uint64_t epoch = ss_epoch_begin();
    const bool known = ss_numpy_is_bit_generator(self) && ss_numpy_capsule(self);
    bool made;
    uint32_t tag;
    int tries = 0;
    do {
        const uint64_t before = known ? ss_numpy_begin_change(self) : 0;
        const int outcome = one->set(self, value, closure);
        if (outcome != 0 && known)
            ss_numpy_end_change(self, before);
        if (outcome != 0 || !known)
            return outcome;
        made = ss_provenance_of_made(ss_numpy_print_state(value), &tag);
        if (!made) {
            PyObject *seen = one->get(self, closure);
            made = seen && ss_provenance_of_made(ss_numpy_print_state(seen), &tag);
            PyErr_Clear();
            Py_XDECREF(seen);
        }
    } while (!ss_numpy_changed(self, made ? ss_numpy_widen(tag, epoch) : ss_numpy_tag(epoch, SS_NUMPY_FOREIGN), ++tries));
    return 0;
}

#define EIGHT(X, P) X(P##0) X(P##1) X(P##2) X(P##3) X(P##4) X(P##5) X(P##6) X(P##7)
#define EACH_STATE(X) EIGHT(X, 0) EIGHT(X, 01) EIGHT(X, 02) EIGHT(X, 03)
_Static_assert(SS_NUMPY_STATES == 32, "a getter and a setter for each, numbered in octal");
#define STATE(N)                                                                                                       \
    static PyObject *get##N(PyObject *self, void *c) { return get_state(self, c, &ss_numpy_states[N]); }               \
    static int set##N(PyObject *self, PyObject *value, void *c) { return set_state(self, value, c, &ss_numpy_states[N]); }
EACH_STATE(STATE)

static getter our_get(int i)
{
    getter all[SS_NUMPY_STATES];
#define STORE_GET(N) all[N] = get##N;
    EACH_STATE(STORE_GET)
    return all[i];
}

static setter our_set(int i)
{
    setter all[SS_NUMPY_STATES];
#define STORE_SET(N) all[N] = set##N;
    EACH_STATE(STORE_SET)
    return all[i];
}

bool ss_numpy_guard_state(PyTypeObject *owner, PyObject *descriptor, uint64_t raw_mask)
{
    int i;
    if (!Py_IS_TYPE(descriptor, &PyGetSetDescr_Type))
        return false;
    PyGetSetDef *def = ((PyGetSetDescrObject *)descriptor)->d_getset;
    ss_process_lock(&ss_numpy_lock);
    for (i = 0; i < ss_numpy_state_count && ss_numpy_states[i].def != def; i++) {}
    const bool possible = i < SS_NUMPY_STATES && def->get && def->set;
    if (possible && def->get != our_get(i)) {
        if (i == ss_numpy_state_count) {
            ss_numpy_states[i] = (ss_numpy_state){(PyTypeObject *)Py_NewRef((PyObject *)owner), def, def->get, def->set, raw_mask};
            __atomic_store_n(&ss_numpy_state_count, i + 1, __ATOMIC_RELEASE);
        }
        ss_slot_store(&def->get, our_get(i));
        ss_slot_store(&def->set, our_set(i));
    }
    ss_process_unlock(&ss_numpy_lock);
    return possible;
}

/* ---- pointers ---- */

static struct {
    PyGetSetDef *def;
    getter get;
} fetched[SS_NUMPY_FETCHED];

/* Sees to it that what is handed out is guarded. Leaves no exception. */
static void hold(PyObject *bg)
{
    PyObject *capsule = ss_numpy_capsule(bg);
    ss_bitgen *bitgen = PyCapsule_GetPointer(capsule, "BitGenerator");
    const bool held = bitgen && bitgen->next_uint64 && ss_bitgen_is_held(bitgen);
    if (held)
        return;
    if (!bitgen || ss_bitgen_hold(bitgen, ss_numpy_tag_in(capsule), ss_numpy_raw_mask(Py_TYPE(bg))) != 0) {
        ss_numpy_problem("the pointers of a %s could not be guarded", Py_TYPE(bg)->tp_name);
    } else {
        ss_numpy_note_end(capsule);
        ss_numpy_look_for_holders(bg);
    }
    PyErr_Clear();
}

static PyObject *fetch(PyObject *self, void *closure, enum ss_numpy_fetched which)
{
    if (ss_numpy_is_bit_generator(self) && ss_numpy_capsule(self) && !(which == SS_NUMPY_CAPSULE && ss_numpy_making)) {
        /* From here on it is drawn from without the GIL, by which alone it is renewed. */
        if (ss_numpy_settle(self, ss_epoch_begin(), false) != 0)
            return NULL;
        hold(self);
    }
    return fetched[which].get(self, closure);
}

static PyObject *fetch_capsule(PyObject *self, void *closure) { return fetch(self, closure, SS_NUMPY_CAPSULE); }
static PyObject *fetch_ctypes(PyObject *self, void *closure) { return fetch(self, closure, SS_NUMPY_CTYPES); }
static PyObject *fetch_cffi(PyObject *self, void *closure) { return fetch(self, closure, SS_NUMPY_CFFI); }

static getter our_fetch(enum ss_numpy_fetched which)
{
    return which == SS_NUMPY_CAPSULE ? fetch_capsule : which == SS_NUMPY_CTYPES ? fetch_ctypes : fetch_cffi;
}

bool ss_numpy_guard_fetched(PyObject *descriptor, enum ss_numpy_fetched which)
{
    if (!Py_IS_TYPE(descriptor, &PyGetSetDescr_Type))
        return false;
    PyGetSetDef *def = ((PyGetSetDescrObject *)descriptor)->d_getset;
    if (def->get != our_fetch(which)) {
        fetched[which].def = def;
        fetched[which].get = def->get;
        ss_slot_store(&def->get, our_fetch(which));
    }
    return true;
}

/* ---- what stands where ---- */

bool ss_numpy_type_word(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name)
{
    *ret_at = 0;
    *ret_name = "";
    if (i < 2 * SS_NUMPY_TYPES) {
        const int which = i / 2;
        if (types[which].type && (i % 2 == 0 || types[which].call)) {
            PyTypeObject *type = types[which].type;
            *ret_at = i % 2 ? (uintptr_t)&type->tp_vectorcall : (uintptr_t)&type->tp_init;
            *ret_held = i % 2 ? (uintptr_t)types[which].our_call : (uintptr_t)types[which].our_init;
            *ret_name = type->tp_name;
        }
        return true;
    }
    i -= 2 * SS_NUMPY_TYPES;
    const int states = __atomic_load_n(&ss_numpy_state_count, __ATOMIC_ACQUIRE);
    if (i < 2 * states) {
        PyGetSetDef *def = ss_numpy_states[i / 2].def;
        *ret_at = i % 2 ? (uintptr_t)&def->set : (uintptr_t)&def->get;
        *ret_held = i % 2 ? (uintptr_t)our_set(i / 2) : (uintptr_t)our_get(i / 2);
        *ret_name = "state";
        return true;
    }
    i -= 2 * states;
    if (i < SS_NUMPY_FETCHED && fetched[i].def) {
        *ret_at = (uintptr_t)&fetched[i].def->get;
        *ret_held = (uintptr_t)our_fetch(i);
        *ret_name = fetched[i].def->name;
    }
    return i < SS_NUMPY_FETCHED;
}

void ss_numpy_release_types(void)
{
    for (int i = 0; i < SS_NUMPY_TYPES; i++) {
        if (!types[i].type)
            continue;
        ss_guard_exchange_init(types[i].type, types[i].our_init, types[i].init, NULL, NULL);
        if (types[i].call && types[i].type->tp_vectorcall == types[i].our_call)
            ss_slot_store(&types[i].type->tp_vectorcall, types[i].call);
    }
    for (int i = 0; i < __atomic_load_n(&ss_numpy_state_count, __ATOMIC_ACQUIRE); i++) {
        const ss_numpy_state *one = &ss_numpy_states[i];
        if (one->def->get == our_get(i))
            ss_slot_store(&one->def->get, one->get);
        if (one->def->set == our_set(i))
            ss_slot_store(&one->def->set, one->set);
    }
    for (int i = 0; i < SS_NUMPY_FETCHED; i++)
        if (fetched[i].def && fetched[i].def->get == our_fetch(i))
            ss_slot_store(&fetched[i].def->get, fetched[i].get);
}
