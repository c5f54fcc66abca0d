#include "numpy_room.h"

#include "bitgen.h"
#include "guard.h"
#include "numpy.h"
#include "numpy_calls.h"
#include "numpy_types.h"
#include "process.h"
#include "words.h"

/* ---- the layout, found out ---- */

/* Where a value lies in an object, behind its head: once, or LookupError. */
static Py_ssize_t where(PyObject *o, Py_ssize_t size, uint64_t value, size_t width)
{
    Py_ssize_t found = -1;
    int times = 0;
    for (Py_ssize_t i = sizeof(PyObject); i + (Py_ssize_t)width <= size; i += (Py_ssize_t)width) {
        const uint64_t here = width == 8 ? SS_NUMPY_AT(o, i, uint64_t) : SS_NUMPY_AT(o, i, uint32_t);
        if (here == value) {
            found = i;
            times++;
        }
    }
    if (times != 1)
        PyErr_Format(PyExc_LookupError, "the layout of %s is not as known", Py_TYPE(o)->tp_name);
    return times == 1 ? found : -1;
}

static Py_ssize_t where_attribute(PyObject *o, PyTypeObject *type, const char *name)
{
    PyObject *value = PyObject_GetAttrString(o, name);
    const Py_ssize_t found = value ? where(o, type->tp_basicsize, (uintptr_t)value, 8) : -1;
    Py_XDECREF(value);
    return found;
}

static PyObject *unknown(const char *what)
{
    return PyErr_Format(PyExc_LookupError, "the layout of %s is not as known", what);
}

/* find_layout(bit_generator, generator, random_state, gauss, sequence, children): of instances made for it. `gauss` is the second
   value that the RandomState keeps, `children` what the SeedSequence says it has spawned. */
static PyObject *find_layout(PyObject *module, PyObject *args)
{
    PyObject *bg, *generator, *rs, *sequence;
    double gauss;
    unsigned int children;
    uint64_t bits;
    ss_numpy_layout found;
    const uint64_t mark = UINT64_C(0x5afe5afe5afe5afe);
    if (!PyArg_ParseTuple(args, "OOOdOI", &bg, &generator, &rs, &gauss, &sequence, &children))
        return NULL;
    PyObject *capsule = PyObject_GetAttrString(bg, "capsule");
    if (!capsule)
        return NULL;
    const ss_bitgen *bitgen = PyCapsule_GetPointer(capsule, "BitGenerator");
    if (bitgen && PyCapsule_SetContext(capsule, (void *)mark) == 0) {
        found.context = where(capsule, PyCapsule_Type.tp_basicsize, mark, 8);
        (void)PyCapsule_SetContext(capsule, NULL);
    }
    Py_DECREF(capsule);
    if (PyErr_Occurred())
        return NULL;
    memcpy(&bits, &gauss, sizeof bits);
    PyTypeObject *base = Py_TYPE(bg)->tp_base;
    if ((found.seed_seq = where_attribute(bg, base, "seed_seq")) < 0 || (found.lock = where_attribute(bg, base, "lock")) < 0 ||
        (found.capsule = where_attribute(bg, base, "capsule")) < 0 ||
        (found.of_generator = where_attribute(generator, Py_TYPE(generator), "bit_generator")) < 0 ||
        (found.of_state = where_attribute(rs, Py_TYPE(rs), "_bit_generator")) < 0 ||
        (found.gauss = where(rs, Py_TYPE(rs)->tp_basicsize, bits, 8)) < 0 ||
        (found.entropy = where_attribute(sequence, Py_TYPE(sequence), "entropy")) < 0 ||
        (found.pool = where_attribute(sequence, Py_TYPE(sequence), "pool")) < 0 ||
        (found.sequence_tag = where(sequence, Py_TYPE(sequence)->tp_basicsize, children, 4)) < 0)
        return NULL;
    /* struct aug_bitgen {bitgen_t *; int has_gauss; (4 bytes) double gauss;} */
    found.has_gauss = found.gauss - 8;
    found.gauss_tag = found.gauss - 4;
    if (SS_NUMPY_AT(rs, found.has_gauss, int32_t) != 1 || *(uint32_t *)((char *)rs + found.gauss_tag))
        return unknown("numpy.random.RandomState");
    found.sequence_tag += 4;
    if (found.sequence_tag + 4 != Py_TYPE(sequence)->tp_basicsize || SS_NUMPY_AT(sequence, found.sequence_tag, uint32_t))
        return unknown("numpy.random.SeedSequence");
    if ((uintptr_t)bitgen - (uintptr_t)bg + sizeof *bitgen > (uintptr_t)base->tp_basicsize)
        return unknown("numpy.random.BitGenerator");
    ss_numpy_at = found;
    Py_RETURN_NONE;
}

/* ---- what is exchanged ---- */

/* Steals it; NULL: none. */
static void set_learn(PyObject *learn)
{
    ss_process_lock(&ss_numpy_lock);
    PyObject *before = ss_numpy.learn;
    ss_numpy.learn = learn;
    ss_process_unlock(&ss_numpy_lock);
    Py_XDECREF(before);
}

/* install(BitGenerator, SeedSequence, Philox, Generator, RandomState, learn), after find_layout(). */
static PyObject *install(PyObject *module, PyObject *args)
{
    PyTypeObject *types[SS_NUMPY_TYPES];
    PyObject *learn;
    const bool first = !ss_numpy.bit_generator;
    if (!PyArg_ParseTuple(args, "O!O!O!O!O!O", &PyType_Type, &types[0], &PyType_Type, &types[1], &PyType_Type, &types[2],
                          &PyType_Type, &types[3], &PyType_Type, &types[4], &learn))
        return NULL;
    /* Never freed: they are the extension's own, and whoever is inside a method of ours may still ask. */
    ss_numpy.bit_generator = types[SS_NUMPY_T_BIT_GENERATOR];
    ss_numpy.sequence = types[SS_NUMPY_T_SEQUENCE];
    ss_numpy.generator = types[SS_NUMPY_T_GENERATOR];
    ss_numpy.random_state = types[SS_NUMPY_T_RANDOM_STATE];
    for (int i = 0; i < SS_NUMPY_TYPES && first; i++)
        Py_INCREF((PyObject *)types[i]);
    ss_numpy_ended = ss_bitgen_forget;
    set_learn(Py_NewRef(learn));
    for (int i = 0; i < SS_NUMPY_TYPES; i++)
        ss_numpy_hook_type(types[i], (enum ss_numpy_type)i);
    Py_RETURN_NONE;
}

/* guard_draw(callable, owner), watch_draw(callable), guard_other(callable, which), guard_fetched(descriptor, which): is it guarded? */
static PyObject *guard_draw(PyObject *module, PyObject *args)
{
    PyObject *callable;
    int owner;
    return PyArg_ParseTuple(args, "Oi", &callable, &owner) ? PyBool_FromLong(ss_numpy_guard_draw(callable, owner)) : NULL;
}

static PyObject *watch_draw(PyObject *module, PyObject *callable) { return PyBool_FromLong(ss_numpy_watch_draw(callable)); }

static PyObject *guard_other(PyObject *module, PyObject *args)
{
    PyObject *callable;
    int which;
    return PyArg_ParseTuple(args, "Oi", &callable, &which) ? PyBool_FromLong(ss_numpy_guard_other(callable, which)) : NULL;
}

static PyObject *guard_fetched(PyObject *module, PyObject *args)
{
    PyObject *descriptor;
    int which;
    return PyArg_ParseTuple(args, "Oi", &descriptor, &which) ? PyBool_FromLong(ss_numpy_guard_fetched(descriptor, which)) : NULL;
}

/* guard_state(owner, descriptor, raw_mask) */
static PyObject *guard_state(PyObject *module, PyObject *args)
{
    PyObject *descriptor;
    PyTypeObject *owner;
    unsigned long long mask;
    return PyArg_ParseTuple(args, "O!OK", &PyType_Type, &owner, &descriptor, &mask)
               ? PyBool_FromLong(ss_numpy_guard_state(owner, descriptor, mask))
               : NULL;
}

/* guards(callable): is it a method that is guarded now? */
static PyObject *guards(PyObject *module, PyObject *callable) { return PyBool_FromLong(ss_numpy_guards(callable)); }

/* set_global(RandomState, fresh): this is what the functions of numpy.random draw from; `fresh`: it was made just now, so it is
   of the system's seed, and is renewed by its first draw as what nobody saw being seeded. None: nobody knows. */
static PyObject *set_global(PyObject *module, PyObject *args)
{
    PyObject *rs;
    int fresh;
    if (!PyArg_ParseTuple(args, "Op", &rs, &fresh))
        return NULL;
    const bool is_one = ss_numpy.random_state && PyObject_TypeCheck(rs, ss_numpy.random_state);
    PyObject *bg = is_one ? SS_NUMPY_AT(rs, ss_numpy_at.of_state, PyObject *) : NULL;
    __atomic_store_n(&ss_numpy.global_rand, is_one ? rs : NULL, __ATOMIC_RELEASE);
    __atomic_store_n(&ss_numpy_seen.global_kept, 0, __ATOMIC_RELEASE);
    if (bg && ss_numpy_is_bit_generator(bg) && ss_numpy_capsule(bg)) {
        const uint64_t tag = ss_numpy_tag_of(bg);
        if (fresh && ss_numpy_kind_of(tag) == SS_NUMPY_OLD)
            (void)ss_numpy_move_tag(bg, tag, ss_numpy_tag(ss_epoch_begin() - 1, SS_NUMPY_SYSTEM));
        ss_numpy_show_global();
    }
    Py_RETURN_NONE;
}

/* remove(): puts all back. */
static PyObject *undo(PyObject *module, PyObject *unused)
{
    ss_numpy_release_calls();
    ss_numpy_release_types();
    ss_bitgen_release();
    __atomic_store_n(&ss_numpy.global_rand, NULL, __ATOMIC_RELEASE);
    set_learn(NULL);
    ss_numpy_forget_problems();
    Py_RETURN_NONE;
}

/* ---- what is shown ---- */

static bool word_at(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name)
{
    int calls = 0;
    uint64_t at, held;
    const char *name;
    if (ss_numpy_call_word(i, ret_at, ret_held, ret_name))
        return true;
    while (ss_numpy_call_word(calls, &at, &held, &name))
        calls++;
    return ss_numpy_type_word(i - calls, ret_at, ret_held, ret_name);
}

/* displaced(): the name of something that is not in place, or "". */
static PyObject *displaced(PyObject *module, PyObject *unused) { return ss_words_displaced(word_at); }

/* words(): of memory, by which another process sees the same (sites.pxi). */
static PyObject *words(PyObject *module, PyObject *unused) { return ss_words_text(word_at); }

/* judged_words(): the same of what the level depends on. */
static PyObject *judged_words(PyObject *module, PyObject *unused)
{
    return ss_words_judged(&ss_numpy_seen.global_kept, &ss_numpy_seen.foreign, &ss_numpy_seen.problems);
}

/* seen(): (renewed, older, kept, chosen, is the global one kept, foreign, problem). */
static PyObject *seen(PyObject *module, PyObject *unused)
{
    const uint64_t *words = (const uint64_t *)&ss_numpy_seen;
    unsigned long long now[6];
    for (int i = 0; i < 6; i++)
        now[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
    return Py_BuildValue("(KKKKiKs)", now[0], now[1], now[2], now[3], (int)now[4], now[5], ss_numpy_first_problem());
}

/* age(BitGenerator): as if it were of an older epoch. is_fresh(BitGenerator): was it brought into this one? For trying that what
   was exchanged is called. */
static PyObject *age(PyObject *module, PyObject *bg)
{
    const uint64_t tag = ss_numpy_tag_of(bg);
    (void)ss_numpy_move_tag(bg, tag, ss_numpy_tag(ss_epoch_begin() - 1, ss_numpy_kind_of(tag)));
    Py_RETURN_NONE;
}

static PyObject *is_fresh(PyObject *module, PyObject *bg)
{
    return PyBool_FromLong(!ss_numpy_is_stale(ss_numpy_tag_of(bg), ss_epoch_begin()));
}

PyObject *ss_numpy_room(void)
{
    static PyModuleDef definition;
    static PyMethodDef methods[17];
    int i = 0;
    if (!methods[0].ml_name) { /* by code: a table would be relocated at each start */
#define METHOD(NAME, FUNCTION, FLAGS) methods[i++] = (PyMethodDef){NAME, FUNCTION, FLAGS, NULL};
        METHOD("find_layout", find_layout, METH_VARARGS)
        METHOD("install", install, METH_VARARGS)
        METHOD("guard_draw", guard_draw, METH_VARARGS)
        METHOD("watch_draw", watch_draw, METH_O)
        METHOD("guard_other", guard_other, METH_VARARGS)
        METHOD("guard_fetched", guard_fetched, METH_VARARGS)
        METHOD("guard_state", guard_state, METH_VARARGS)
        METHOD("guards", guards, METH_O)
        METHOD("set_global", set_global, METH_VARARGS)
        METHOD("remove", undo, METH_NOARGS)
        METHOD("displaced", displaced, METH_NOARGS)
        METHOD("words", words, METH_NOARGS)
        METHOD("judged_words", judged_words, METH_NOARGS)
        METHOD("seen", seen, METH_NOARGS)
        METHOD("age", age, METH_O)
        METHOD("is_fresh", is_fresh, METH_O)
        definition = (PyModuleDef){PyModuleDef_HEAD_INIT, "snapsafe_rt._core.numpy", NULL, -1, methods};
    }
    return PyModule_Create(&definition);
}
