#define _GNU_SOURCE 1
#include "torch_room.h"

#include "numpy_seeds.h"
#include "provenance.h"
#include "torch.h"
#include "torch_calls.h"
#include "words.h"

#include <dlfcn.h>
#include <pthread.h>

/* ---- the layout, found out ---- */

/* at::CPUGeneratorImpl: what c10::GeneratorImpl has first, and behind the seed the Mersenne Twister (at::mt19937_data_pod) and
   the second values. Found are the seed and what follows it; what comes before must look as it does in a generator that nobody
   uses, and be what is known of it by the last of it, the object that it belongs to. */
enum { OF_MUTEX = -64, OF_DEVICE = -24, OF_OBJECT = -8, OF_LEFT = 8, OF_NEXT = 16, OF_WORDS = 20, MOST_BEFORE = 256 };

/* at::THGeneratorStateNew, the 5056 bytes that get_state() gives. */
typedef struct {
    uint64_t seed;
    int32_t left, seeded;
    uint64_t next, words[SS_TORCH_WORDS];
    double normals[3];
    int32_t normal_is_valid, padding;
    float next_float;
    bool float_is_valid;
} legacy_state;
_Static_assert(sizeof(legacy_state) == 5056, "the bytes of a state");

static PyObject *unknown(const char *what)
{
    return PyErr_Format(PyExc_LookupError, "the layout of its generators is not as known (%s)", what);
}

/* find_layout(Generator, clone_state() of it, address of its get_state(), seed), after a draw from it. */
static PyObject *find_layout(PyObject *module, PyObject *args)
{
    PyObject *generator, *clone;
    unsigned long long state_address, seed;
    if (!PyArg_ParseTuple(args, "OOKK", &generator, &clone, &state_address, &seed))
        return NULL;
    ss_torch_layout found = {.impl = sizeof(PyObject)};
    if (Py_TYPE(generator)->tp_basicsize < (Py_ssize_t)sizeof(PyObject) + 8 || Py_TYPE(clone) != Py_TYPE(generator))
        return unknown("torch._C.Generator");
    const char *impl = *(char **)((char *)generator + found.impl), *other = *(char **)((char *)clone + found.impl);
    if (!impl || !other || (uintptr_t)impl % 16 || (uintptr_t)other % 16 || impl == other)
        return unknown("its address");
    while (found.seed < MOST_BEFORE && *(uint64_t *)(impl + found.seed) != seed)
        found.seed += 8;
    if (found.seed + OF_MUTEX != 16 || *(uint64_t *)(other + found.seed) != seed) /* behind the virtual table and a count */
        return unknown("the seed");
    const legacy_state *state = (legacy_state *)(uintptr_t)state_address;
    found.left = found.seed + OF_LEFT;
    found.next = found.seed + OF_NEXT;
    found.words = found.seed + OF_WORDS;
    found.normals = (found.words + 4 * SS_TORCH_WORDS + 7) & ~(Py_ssize_t)7;
    found.mutex = found.seed + OF_MUTEX;
    found.device = found.seed + OF_DEVICE;
    bool same = state->seed == seed && state->left == *(int32_t *)(impl + found.left) &&
                state->next == *(uint32_t *)(impl + found.next) && state->next;
    for (int i = 0; same && i < SS_TORCH_WORDS; i++)
        same = state->words[i] == ((uint32_t *)(impl + found.words))[i];
    if (!same)
        return unknown("the words");
    if (*(PyObject **)(other + found.seed + OF_OBJECT) != clone || *(uint8_t *)(impl + found.device) != 0)
        return unknown("the device");
    for (Py_ssize_t i = found.mutex; i < found.mutex + (Py_ssize_t)sizeof(pthread_mutex_t); i++)
        if (impl[i] || i >= found.device)
            return unknown("the lock");
    ss_torch_at = found;
    Py_RETURN_NONE;
}

/* with_normals(address of a get_state()): gives it a second value of a pair, a float of 1.5. has_normals(Generator), to which that
   state was given, read after a draw that left a double: does it have both where they are to be cleared? */
static PyObject *with_normals(PyObject *module, PyObject *address)
{
    legacy_state *state = PyLong_AsVoidPtr(address);
    if (!state)
        return PyErr_Occurred() ? NULL : unknown("a state");
    state->next_float = 1.5f;
    state->float_is_valid = true;
    Py_RETURN_NONE;
}

static PyObject *has_normals(PyObject *module, PyObject *generator)
{
    const char *at = *(char **)((char *)generator + ss_torch_at.impl) + ss_torch_at.normals;
    if (*(float *)at != 1.5f || at[4] != 1 || at[16] != 1)
        return unknown("the second normal values");
    Py_RETURN_NONE;
}

/* ---- what is exchanged ---- */

static int defined_times;
static void *defined_at;

static void see_definition(const char *path, void *handle)
{
    (void)path;
    defined_times++;
    defined_at = dlsym(handle, ss_torch_slots.symbol);
    (void)dlclose(handle);
}

/* install(default_generator, function for ss_torch_hooks or None), after find_layout(). The generator is taken for the system's,
   of an older epoch: nobody saw it being seeded. */
static PyObject *install(PyObject *module, PyObject *args)
{
    PyObject *generator, *hooks;
    if (!PyArg_ParseTuple(args, "OO", &generator, &hooks))
        return NULL;
    Py_XSETREF(ss_torch_hooks, hooks == Py_None ? NULL : Py_NewRef(hooks));
    ss_libraries_mark mark = {0};
    defined_times = 0;
    defined_at = NULL;
    ss_libraries_visit(ss_torch_slots.symbol, &mark, see_definition);
    if (defined_times != 1 || !defined_at)
        return PyErr_Format(PyExc_LookupError, "at::detail::getDefaultCPUGenerator() is defined by %d libraries", defined_times);
    if (ss_torch_original && ss_torch_original != (void *(*)(void))defined_at)
        return PyErr_Format(PyExc_LookupError, "another torch was guarded before");
    ss_torch_original = (void *(*)(void))defined_at;
    if (*(char **)ss_torch_original() != *(char **)((char *)generator + ss_torch_at.impl))
        return unknown("the default generator");
    ss_torch_guard_type(Py_TYPE(generator));
    ss_torch_default = ss_torch_note(generator, ss_numpy_tag(ss_epoch_begin() - 1, SS_NUMPY_SYSTEM));
    if (!ss_torch_default)
        return PyErr_NoMemory();
    ss_torch_slots.from = defined_at;
    ss_torch_slots.to = (void *)ss_torch_hook;
    if (!ss_slots_exchange(&ss_torch_slots) || !ss_torch_slots.count || ss_torch_slots.refused)
        return PyErr_Format(PyExc_LookupError, "%d of the words by which its libraries find a generator cannot be written to",
                            ss_torch_slots.refused);
    __atomic_store_n(&ss_torch_active, true, __ATOMIC_RELEASE);
    Py_RETURN_NONE;
}

/* guard_draw(callable, how), guard_method(callable, which): is it guarded? */
static PyObject *guard_draw(PyObject *module, PyObject *args)
{
    PyObject *callable;
    int how;
    return PyArg_ParseTuple(args, "Oi", &callable, &how) ? PyBool_FromLong(ss_torch_guard_draw(callable, how)) : NULL;
}

static PyObject *guard_method(PyObject *module, PyObject *args)
{
    PyObject *callable;
    int which;
    return PyArg_ParseTuple(args, "Oi", &callable, &which) ? PyBool_FromLong(ss_torch_guard_method(callable, which)) : NULL;
}

/* remove(): puts all back. The default generator's entry stays: a thread may be in the hook. */
static PyObject *undo(PyObject *module, PyObject *unused)
{
    __atomic_store_n(&ss_torch_active, false, __ATOMIC_RELEASE);
    (void)ss_slots_restore(&ss_torch_slots);
    ss_torch_release_calls();
    ss_torch_forget_all();
    __atomic_store_n(&ss_torch_seen.problems, 0, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

/* ---- what the workers of a DataLoader begin with ---- */

/* note_worker(seed of all, number, numpy's seed): the seeds of this worker are nobody's choice, if the first is not. */
static PyObject *note_worker(PyObject *module, PyObject *args)
{
    PyObject *base, *state;
    int number;
    uint64_t origin = ss_epoch_begin();
    if (!PyArg_ParseTuple(args, "OiO!", &base, &number, &PyList_Type, &state))
        return NULL;
    const uint64_t first = PyLong_AsUnsignedLongLong(base);
    if (PyErr_Occurred() || !ss_numpy_is_systems(base, &origin)) {
        PyErr_Clear();
        Py_RETURN_FALSE;
    }
    ss_torch_note_number(first + (uint64_t)number, origin);
    ss_provenance_note_made(ss_numpy_print_entropy(state), (uint32_t)ss_numpy_tag(origin, SS_NUMPY_SYSTEM));
    Py_RETURN_TRUE;
}

/* note_number(seed): another process drew it, from a generator that is not kept. */
static PyObject *note_number(PyObject *module, PyObject *number)
{
    const uint64_t drawn = PyLong_AsUnsignedLongLong(number);
    if (PyErr_Occurred())
        return NULL;
    ss_torch_note_number(drawn, ss_epoch_begin());
    Py_RETURN_NONE;
}

/* ---- generators of other devices ---- */

struct others {
    PyObject *found;
    uint64_t epoch;
};

/* Nothing is allocated but the list's own room, so nothing is collected, and no generator ends. Without a GIL another thread may be
   ending one, and wait for the registry's lock at that. */
static void take_other(ss_torch_generator *g, void *context)
{
    const struct others *others = context;
    if (!g->cpu && ss_numpy_is_stale(g->tag, others->epoch) && !ss_torch_is_kept(g) && ss_try_reference(g->object)) {
        (void)PyList_Append(others->found, g->object);
        Py_DECREF(g->object); /* the list has one */
    }
}

/* others(generators): those of other devices, of these and of all that are known, that are of another epoch and not kept. */
static PyObject *others(PyObject *module, PyObject *generators)
{
    struct others others = {PyList_New(0), ss_epoch_begin()};
    for (Py_ssize_t i = 0; others.found && PyTuple_Check(generators) && i < PyTuple_GET_SIZE(generators); i++)
        if (PyObject_TypeCheck(PyTuple_GET_ITEM(generators, i), ss_torch_type))
            (void)ss_torch_find(PyTuple_GET_ITEM(generators, i));
    if (others.found)
        ss_torch_each(take_other, &others);
    return others.found;
}

/* renewed(Generator): it was given another seed. */
static PyObject *renewed(PyObject *module, PyObject *generator)
{
    if (!ss_torch_note(generator, ss_numpy_tag(ss_epoch_begin(), SS_NUMPY_SYSTEM)))
        return PyErr_NoMemory();
    __atomic_add_fetch(&ss_torch_seen.renewed, 1, __ATOMIC_RELAXED);
    Py_RETURN_NONE;
}

/* ---- what is shown ---- */

static bool word_at(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name)
{
    const int slots = __atomic_load_n(&ss_torch_slots.count, __ATOMIC_ACQUIRE);
    if (i >= slots)
        return ss_torch_call_word(i - slots, ret_at, ret_held, ret_name);
    *ret_at = (uintptr_t)ss_torch_slots.places[i].at;
    *ret_held = (uintptr_t)ss_torch_slots.to;
    *ret_name = "getDefaultCPUGenerator";
    return true;
}

static PyObject *displaced(PyObject *module, PyObject *unused) { return ss_words_displaced(word_at); }
static PyObject *words(PyObject *module, PyObject *unused) { return ss_words_text(word_at); }

/* judged_words(): the same of what the level depends on. */
static PyObject *judged_words(PyObject *module, PyObject *unused)
{
    return ss_words_judged(&ss_torch_seen.global_kept, &ss_torch_seen.foreign, &ss_torch_seen.problems);
}

/* seen(): (renewed, older, kept, chosen, is the default one kept, foreign, problems, words that could not be exchanged). */
static PyObject *seen(PyObject *module, PyObject *unused)
{
    const uint64_t *words = (const uint64_t *)&ss_torch_seen;
    unsigned long long now[7];
    for (int i = 0; i < 7; i++)
        now[i] = __atomic_load_n(&words[i], __ATOMIC_RELAXED);
    return Py_BuildValue("(KKKKiKKi)", now[0], now[1], now[2], now[3], (int)now[4], now[5], now[6], ss_torch_slots.refused);
}

/* age(Generator): as if it were the system's, of an older epoch. is_fresh(Generator): was it brought into this one? */
static PyObject *age(PyObject *module, PyObject *generator)
{
    if (!ss_torch_note(generator, ss_numpy_tag(ss_epoch_begin() - 1, SS_NUMPY_SYSTEM)))
        return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *is_fresh(PyObject *module, PyObject *generator)
{
    const ss_torch_generator *g = ss_torch_find(generator);
    return PyBool_FromLong(g && !ss_numpy_is_stale(__atomic_load_n(&g->tag, __ATOMIC_ACQUIRE), ss_epoch_begin()));
}

PyObject *ss_torch_room(void)
{
    static PyModuleDef definition;
    static PyMethodDef methods[18];
    int i = 0;
    if (!methods[0].ml_name) { /* by code: a table would be relocated at each start */
#define METHOD(NAME, FUNCTION, FLAGS) methods[i++] = (PyMethodDef){NAME, FUNCTION, FLAGS, NULL};
        METHOD("find_layout", find_layout, METH_VARARGS)
        METHOD("with_normals", with_normals, METH_O)
        METHOD("has_normals", has_normals, METH_O)
        METHOD("install", install, METH_VARARGS)
        METHOD("guard_draw", guard_draw, METH_VARARGS)
        METHOD("guard_method", guard_method, METH_VARARGS)
        METHOD("remove", undo, METH_NOARGS)
        METHOD("note_worker", note_worker, METH_VARARGS)
        METHOD("note_number", note_number, METH_O)
        METHOD("others", others, METH_O)
        METHOD("renewed", renewed, METH_O)
        METHOD("displaced", displaced, METH_NOARGS)
        METHOD("words", words, METH_NOARGS)
        METHOD("judged_words", judged_words, METH_NOARGS)
        METHOD("seen", seen, METH_NOARGS)
        METHOD("age", age, METH_O)
        METHOD("is_fresh", is_fresh, METH_O)
        definition = (PyModuleDef){PyModuleDef_HEAD_INIT, "snapsafe_rt._core.torch", NULL, -1, methods};
    }
    return PyModule_Create(&definition);
}
