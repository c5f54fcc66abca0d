#include "numpy.h"

#include "entropy.h"
#include "guard.h"
#include "numpy_seeds.h"
#include "process.h"
#include "provenance.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <time.h>

ss_numpy_counts ss_numpy_seen;
uint64_t ss_numpy_given[SS_OBJECT_PLACES];
const int *ss_numpy_reseed_kept;

ss_numpy_layout ss_numpy_at;
ss_numpy_names ss_numpy;
PyTypeObject *ss_numpy_bit_generators[16];
ss_numpy_state ss_numpy_states[SS_NUMPY_STATES];
int ss_numpy_state_count;
void (*ss_numpy_ended)(const uint64_t *tag);
__thread int ss_numpy_quiet, ss_numpy_making;
uint64_t ss_numpy_lock;
static char first_problem[240];
static enum { NONE, WRITING, WRITTEN } problem; /* atomic: who finds none writes the text */

void ss_numpy_problem(const char *format, ...)
{
    int none = NONE;
    if (__atomic_compare_exchange_n((int *)&problem, &none, WRITING, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED)) {
        va_list arguments;
        va_start(arguments, format);
        (void)vsnprintf(first_problem, sizeof first_problem, format, arguments);
        va_end(arguments);
        __atomic_store_n((int *)&problem, WRITTEN, __ATOMIC_RELEASE);
    }
    __atomic_add_fetch(&ss_numpy_seen.problems, 1, __ATOMIC_RELAXED);
}

const char *ss_numpy_first_problem(void)
{
    if (__atomic_load_n((int *)&problem, __ATOMIC_ACQUIRE) == WRITTEN)
        return first_problem;
    return __atomic_load_n(&ss_numpy_seen.problems, __ATOMIC_RELAXED) ? "there was no entropy for a value" : "";
}

void ss_numpy_forget_problems(void)
{
    __atomic_store_n(&ss_numpy_seen.problems, 0, __ATOMIC_RELAXED);
    __atomic_store_n((int *)&problem, NONE, __ATOMIC_RELEASE);
}

static void count(uint64_t *what) { __atomic_add_fetch(what, 1, __ATOMIC_RELAXED); }

/* The name of the exception that is set, and clears it, if it is of the kind that a program expects anywhere. Returns NULL,
   and leaves it, for KeyboardInterrupt and its likes. */
static const char *swallow(void)
{
    PyObject *type = PyErr_Occurred();
    if (!type)
        return "nothing";
    if (!PyErr_GivenExceptionMatches(type, PyExc_Exception))
        return NULL;
    const char *name = ((PyTypeObject *)type)->tp_name;
    PyErr_Clear();
    return name;
}

/* ---- tags ---- */

/* Of a capsule that ends with its BitGenerator, or after it. */
static void capsule_gone(PyObject *capsule)
{
    const uint64_t *tag = ss_numpy_tag_in(capsule);
    if (ss_numpy_kind_of(*tag) == SS_NUMPY_FOREIGN)
        __atomic_sub_fetch(&ss_numpy_seen.foreign, 1, __ATOMIC_RELAXED);
    if (ss_numpy_ended)
        ss_numpy_ended(tag);
}

void ss_numpy_note_end(PyObject *capsule)
{
    ss_object_lock(capsule);
    if (!PyCapsule_GetDestructor(capsule))
        (void)PyCapsule_SetDestructor(capsule, capsule_gone);
    ss_object_unlock(capsule);
}

static PyObject *global_bit_generator(void)
{
    PyObject *rand = __atomic_load_n(&ss_numpy.global_rand, __ATOMIC_ACQUIRE);
    return rand ? SS_NUMPY_AT(rand, ss_numpy_at.of_state, PyObject *) : NULL;
}

/* Whoever has shown a tag that is not the last one any more sees that, and shows the last one. */
static void show_global(PyObject *bg)
{
    const uint64_t *own = ss_numpy_tag_in(ss_numpy_capsule(bg));
    uint64_t shown;
    do {
        shown = __atomic_load_n(own, __ATOMIC_SEQ_CST);
        __atomic_store_n(&ss_numpy_seen.global_kept, ss_numpy_is_kept(shown), __ATOMIC_SEQ_CST);
    } while (shown != __atomic_load_n(own, __ATOMIC_SEQ_CST));
}

void ss_numpy_show_global(void)
{
    PyObject *bg = global_bit_generator();
    if (bg && ss_numpy_is_bit_generator(bg) && ss_numpy_capsule(bg))
        show_global(bg);
}

/* The tag of `bg` was exchanged: of two threads that do so, each counts its own change. */
static void changed(PyObject *bg, uint64_t before, uint64_t tag)
{
    const bool foreign = ss_numpy_kind_of(tag) == SS_NUMPY_FOREIGN;
    if (foreign != (ss_numpy_kind_of(before) == SS_NUMPY_FOREIGN)) {
        ss_numpy_note_end(ss_numpy_capsule(bg));
        __atomic_add_fetch(&ss_numpy_seen.foreign, foreign ? 1 : (uint64_t)-1, __ATOMIC_RELAXED);
    }
    if (bg == global_bit_generator())
        show_global(bg);
}

void ss_numpy_set_tag(PyObject *bg, uint64_t tag)
{
    changed(bg, __atomic_exchange_n(ss_numpy_tag_in(ss_numpy_capsule(bg)), tag, __ATOMIC_SEQ_CST), tag);
}

bool ss_numpy_move_tag(PyObject *bg, uint64_t from, uint64_t to)
{
    uint64_t *own = ss_numpy_tag_in(ss_numpy_capsule(bg)), before = from;
    const bool moved = __atomic_compare_exchange_n(own, &before, to, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
    if (moved)
        changed(bg, from, to);
    return moved;
}

/* Its tag when no other thread is changing the state any more; or after a second and more: that thread may wait for this one, in
   code of the program's that its state calls, or for numpy's lock. It may also lack a CPU for long: who does not wait for it then
   renews what it is about to set. */
static uint64_t settled_tag(PyObject *bg)
{
    const struct timespec moment = {0, 1000000};
    uint64_t tag = ss_numpy_tag_of(bg);
    for (int i = 0; SS_FREE_THREADED && SS_UNLIKELY(tag == SS_NUMPY_CHANGING) && i < 2000; i++) {
        Py_BEGIN_ALLOW_THREADS
        (void)(i < 1000 ? sched_yield() : nanosleep(&moment, NULL));
        Py_END_ALLOW_THREADS
        tag = ss_numpy_tag_of(bg);
    }
    return tag;
}

uint64_t ss_numpy_begin_change(PyObject *bg)
{
    uint64_t before;
    do
        before = settled_tag(bg);
    while (SS_FREE_THREADED && !ss_numpy_move_tag(bg, before, SS_NUMPY_CHANGING));
    if (SS_FREE_THREADED)
        __atomic_thread_fence(__ATOMIC_SEQ_CST); /* who has drawn of the new state then sees that tag, or a later one */
    return before;
}

bool ss_numpy_changed(PyObject *bg, uint64_t tag, int tries)
{
    if (SS_FREE_THREADED && ss_numpy_is_stale(tag, ss_epoch_begin()))
        count(&ss_numpy_given[ss_object_place(bg)]);
    if (SS_FREE_THREADED && tries < 3)
        return ss_numpy_move_tag(bg, SS_NUMPY_CHANGING, tag);
    ss_numpy_set_tag(bg, tag);
    return true;
}

void ss_numpy_end_change(PyObject *bg, uint64_t before)
{
    if (SS_FREE_THREADED)
        (void)ss_numpy_move_tag(bg, SS_NUMPY_CHANGING, before);
}

bool ss_numpy_is_other_bit_generator(PyObject *o)
{
    PyTypeObject *type = Py_TYPE(o);
    if (!PyType_IsSubtype(type, ss_numpy.bit_generator))
        return false;
    if (!PyType_HasFeature(type, Py_TPFLAGS_HEAPTYPE))
        __atomic_store_n(&ss_numpy_bit_generators[(uintptr_t)type >> 5 & 15], type, __ATOMIC_RELAXED);
    return true;
}

/* ---- prints of what travels ---- */

enum { PRINT_STATE = 1, PRINT_ENTROPY, PRINT_GAUSS };

static void fold(uint64_t *print, uint64_t word) { *print = ss_provenance_print(*print ^ word, *print >> 29 ^ 1); }

static void fold_bytes(uint64_t *print, const unsigned char *bytes, size_t size, size_t each)
{
    for (size_t i = 0; i < size; i += each) {
        uint64_t word = 0;
        memcpy(&word, bytes + i, size - i < each ? size - i : each);
        fold(print, word);
    }
}

/* Numbers count, in whatever they are held: an array, and the list that JSON makes of it, are one. Leaves no exception. */
static void fold_value(uint64_t *print, PyObject *value, int depth)
{
    uint64_t number;
    Py_buffer view;
    if (depth > 4)
        return;
    if (PyLong_Check(value)) {
        unsigned char *big;
        size_t size;
        if (ss_long_small(value, &number)) {
            fold(print, number);
        } else if (ss_long_to_big(value, &big, &size) == 0) {
            const size_t zeros = size && !big[0];
            fold_bytes(print, big + zeros, size - zeros, 8);
            free(big);
        }
    } else if (PyDict_Check(value)) {
        PyObject *key, *one;
        Py_BEGIN_CRITICAL_SECTION(value); /* the program's, who may change it meanwhile */
        for (Py_ssize_t i = 0; PyDict_Next(value, &i, &key, &one);) {
            /* The block is the same wherever it is read from: as in provenance.c. */
            const bool counts = !PyUnicode_Check(key) || PyUnicode_CompareWithASCIIString(key, "pos") != 0;
            Py_INCREF(one);
            if (counts)
                fold_value(print, one, depth + 1);
            Py_DECREF(one);
        }
        Py_END_CRITICAL_SECTION();
    } else if (PyList_Check(value)) {
        PyObject *one;
        for (Py_ssize_t i = 0; (one = ss_list_item(value, i)); i++) {
            fold_value(print, one, depth + 1);
            Py_DECREF(one);
        }
    } else if (PyTuple_Check(value)) {
        for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(value); i++)
            fold_value(print, PyTuple_GET_ITEM(value, i), depth + 1);
    } else if (PyObject_CheckBuffer(value) && PyObject_GetBuffer(value, &view, PyBUF_CONTIG_RO) == 0) {
        fold_bytes(print, view.buf, (size_t)view.len, view.itemsize == 4 ? 4 : 8);
        PyBuffer_Release(&view);
    } else if (PyIndex_Check(value)) {
        PyObject *index = PyNumber_Index(value);
        if (index)
            fold_value(print, index, depth + 1);
        Py_XDECREF(index);
    }
    PyErr_Clear();
}

/* Of what BitGenerator.state returned, or is given. 0: there is nothing in it. */
uint64_t ss_numpy_print_state(PyObject *state)
{
    uint64_t print = PRINT_STATE;
    PyObject *inner = PyDict_Check(state) ? ss_dict_string(state, "state") : NULL;
    fold_value(&print, inner ? inner : state, 0);
    Py_XDECREF(inner);
    return print;
}

uint64_t ss_numpy_print_entropy(PyObject *entropy)
{
    uint64_t print = PRINT_ENTROPY;
    fold_value(&print, entropy, 0);
    return print;
}

uint64_t ss_numpy_print_gauss(PyObject *rs)
{
    uint64_t print = PRINT_GAUSS;
    fold(&print, SS_NUMPY_AT(rs, ss_numpy_at.gauss, uint64_t));
    return print;
}

/* ---- where a seed comes from ---- */

/* The tag that goes with a seed which the program gave. Sets no exception. */
uint64_t ss_numpy_judge(PyObject *seed, uint64_t epoch)
{
    uint64_t origin = epoch;
    uint32_t made;
    bool systems = !seed || seed == Py_None;
    PyObject *number = seed && PyIndex_Check(seed) ? PyNumber_Index(seed) : NULL;
    Py_buffer view;
    /* Of a SeedSequence; or the list that torch makes of one for each worker. */
    PyObject *printed = number ? number : seed && PyList_Check(seed) ? seed : NULL;
    if (printed && ss_provenance_of_made(ss_numpy_print_entropy(printed), &made)) {
        Py_XDECREF(number);
        return ss_numpy_widen(made, epoch);
    }
    if (number) {
        systems = ss_numpy_is_systems(number, &origin);
    } else if (!systems && PyFloat_Check(seed)) {
        systems = ss_numpy_is_systems(seed, &origin);
    } else if (!systems && (PyList_Check(seed) || PyTuple_Check(seed))) {
        systems = ss_numpy_seeds_in(seed, &origin);
    } else if (!systems && PyObject_CheckBuffer(seed) && PyObject_GetBuffer(seed, &view, PyBUF_CONTIG_RO) == 0) {
        systems = (view.len > 1 && ss_provenance_of_int(view.buf, (size_t)view.len, &origin)) ||
                  ss_numpy_seeds_in_array(&view, &origin);
        PyBuffer_Release(&view);
    }
    PyErr_Clear();
    Py_XDECREF(number);
    if (!systems && !ss_numpy_quiet)
        count(&ss_numpy_seen.chosen);
    return ss_numpy_tag(origin, systems ? SS_NUMPY_SYSTEM : SS_NUMPY_KEPT);
}

/* A SeedSequence was made, of a seed that began under `epoch`. It leaves a print, for what is made of its entropy later. */
void ss_numpy_tag_sequence(PyObject *s, PyObject *seed, uint64_t epoch)
{
    const uint32_t tag = (uint32_t)ss_numpy_judge(seed, epoch);
    PyObject *entropy = SS_NUMPY_AT(s, ss_numpy_at.entropy, PyObject *);
    ss_numpy_set_sequence_tag(s, tag);
    if (entropy && PyLong_Check(entropy) && !ss_numpy_quiet)
        ss_provenance_note_made(ss_numpy_print_entropy(entropy), tag);
}

/* `s` takes the parts of `made`, and that its own, unless another thread was faster: without the lock it would have those of
   both. Whoever is at work with the former parts has found them without one, so without a GIL they stay for good. */
static bool take_parts(PyObject *s, PyObject *made, uint64_t epoch)
{
    ss_process_lock(&ss_numpy_lock);
    const bool stale = ss_numpy_is_stale(ss_numpy_widen(ss_numpy_sequence_tag(s), epoch), epoch);
    for (int i = 0; stale && i < 2; i++) {
        PyObject **own = &SS_NUMPY_AT(s, i ? ss_numpy_at.pool : ss_numpy_at.entropy, PyObject *);
        PyObject **new = &SS_NUMPY_AT(made, i ? ss_numpy_at.pool : ss_numpy_at.entropy, PyObject *);
        *new = __atomic_exchange_n(own, *new, __ATOMIC_ACQ_REL);
    }
    if (stale)
        ss_numpy_set_sequence_tag(s, (uint32_t)ss_numpy_tag(epoch, SS_NUMPY_SYSTEM));
    ss_process_unlock(&ss_numpy_lock);
    if (stale && SS_FREE_THREADED)
        Py_INCREF(made);
    return stale;
}

/* Gives a stale SeedSequence other entropy, unless its own was chosen. Returns 0, or -1 with an exception that is not ours to
   keep. Another thread may be at work with it, so a new one is made and its parts are exchanged in one step. */
int ss_numpy_settle_sequence(PyObject *s, uint64_t epoch)
{
    uint32_t own = ss_numpy_sequence_tag(s);
    const uint64_t tag = ss_numpy_widen(own, epoch);
    PyObject *number = NULL, *arguments = NULL, *keywords = NULL, *spawn_key = NULL, *pool_size = NULL, *made = NULL;
    unsigned char bytes[16];
    if (!ss_numpy_is_stale(tag, epoch))
        return 0;
    if (ss_numpy_is_kept(tag)) {
        (void)__atomic_compare_exchange_n(&SS_NUMPY_AT(s, ss_numpy_at.sequence_tag, uint32_t), &own,
                                          (uint32_t)ss_numpy_tag(epoch, ss_numpy_kind_of(tag)), false, __ATOMIC_RELEASE,
                                          __ATOMIC_RELAXED);
        return 0;
    }
    ss_numpy_quiet++;
    if (ss_entropy_fill(bytes, sizeof bytes) == 0 && (number = ss_long_from_little(bytes, sizeof bytes)) &&
        (spawn_key = PyObject_GetAttrString(s, "spawn_key")) && (pool_size = PyObject_GetAttrString(s, "pool_size")) &&
        (arguments = PyTuple_Pack(1, number)) &&
        (keywords = Py_BuildValue("{sOsO}", "spawn_key", spawn_key, "pool_size", pool_size)))
        made = PyObject_Call((PyObject *)ss_numpy.sequence, arguments, keywords);
    ss_numpy_quiet--;
    if (made && take_parts(s, made, epoch)) {
        ss_provenance_note_made(ss_numpy_print_entropy(number), (uint32_t)ss_numpy_tag(epoch, SS_NUMPY_SYSTEM));
        count(&ss_numpy_seen.renewed);
    }
    Py_XDECREF(number);
    Py_XDECREF(arguments);
    Py_XDECREF(keywords);
    Py_XDECREF(spawn_key);
    Py_XDECREF(pool_size);
    Py_XDECREF(made);
    if (made)
        return 0;
    const char *why = swallow();
    if (why)
        ss_numpy_problem("a SeedSequence could not be renewed: %s", why);
    return why ? 0 : -1;
}

/* BitGenerator.__init__ has run, begun under `epoch`: it is as old as its SeedSequence. */
void ss_numpy_tag_new(PyObject *bg, uint64_t epoch)
{
    PyObject *s = SS_NUMPY_AT(bg, ss_numpy_at.seed_seq, PyObject *);
    if (!ss_numpy_capsule(bg))
        return;
    ss_numpy_set_tag(bg, ss_numpy_is_sequence(s) ? ss_numpy_widen(ss_numpy_sequence_tag(s), epoch)
                                                 : ss_numpy_tag(epoch, SS_NUMPY_KEPT));
    (void)ss_numpy_state_of(Py_TYPE(bg)); /* now, that its setter is guarded before it is called */
}

/* ---- the types' own state, by their getter and setter ---- */

static ss_numpy_state *known_state(PyTypeObject *type)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; mro && i < PyTuple_GET_SIZE(mro); i++) {
        PyObject *dict = ((PyTypeObject *)PyTuple_GET_ITEM(mro, i))->tp_dict;
        PyObject *found = dict ? ss_dict_string(dict, "state") : NULL;
        const PyGetSetDef *def = found && Py_IS_TYPE(found, &PyGetSetDescr_Type) ? ((PyGetSetDescrObject *)found)->d_getset : NULL;
        const int count = __atomic_load_n(&ss_numpy_state_count, __ATOMIC_ACQUIRE);
        Py_XDECREF(found);
        for (int j = 0; def && j <= count; j++)
            if (j == count || ss_numpy_states[j].def == def)
                return j == count ? NULL : &ss_numpy_states[j];
    }
    return NULL;
}

/* The state of a type that was not seen before is looked at by Python. Leaves no exception. */
ss_numpy_state *ss_numpy_state_of(PyTypeObject *type)
{
    static __thread bool learning;
    ss_numpy_state *known = known_state(type);
    if (known || learning)
        return known;
    ss_process_lock(&ss_numpy_lock);
    PyObject *learn = Py_XNewRef(ss_numpy.learn);
    ss_process_unlock(&ss_numpy_lock);
    if (!learn)
        return NULL;
    learning = true;
    ss_numpy_quiet++;
    PyObject *done = PyObject_CallOneArg(learn, (PyObject *)type);
    ss_numpy_quiet--;
    learning = false;
    Py_DECREF(learn);
    if (!done)
        ss_numpy_problem("%s.state is not as numpy's: %s", type->tp_name, ((PyTypeObject *)PyErr_Occurred())->tp_name);
    PyErr_Clear();
    Py_XDECREF(done);
    return known_state(type);
}

/* ---- renewal ---- */

/* The type to make a new instance of: the extension's own, past what Python derives of it, for that may be made in another way. */
static PyTypeObject *maker_of(PyTypeObject *type, const ss_numpy_state *own)
{
    PyObject *mro = type->tp_mro;
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(mro); i++)
        if (!PyType_HasFeature((PyTypeObject *)PyTuple_GET_ITEM(mro, i), Py_TPFLAGS_HEAPTYPE))
            return (PyTypeObject *)PyTuple_GET_ITEM(mro, i);
    return own->owner;
}

uint64_t ss_numpy_raw_mask(PyTypeObject *type)
{
    const ss_numpy_state *own = ss_numpy_state_of(type);
    return own && maker_of(type, own) == own->owner ? own->raw_mask : ~UINT64_C(0);
}

/* Gives it the state of a new instance. Its lock is held. Returns whether it did; else an exception may be set. */
static bool renew(PyObject *bg)
{
    ss_numpy_state *own = ss_numpy_state_of(Py_TYPE(bg));
    PyObject *number = NULL, *sequence = NULL, *fresh = NULL, *state = NULL, *old = NULL;
    unsigned char bytes[16];
    bool done = false;
    if (!own)
        return false;
    ss_numpy_quiet++;
    if (ss_entropy_fill(bytes, sizeof bytes) == 0 && (number = ss_long_from_little(bytes, sizeof bytes)) &&
        (sequence = PyObject_CallOneArg((PyObject *)ss_numpy.sequence, number)) &&
        (fresh = PyObject_CallOneArg((PyObject *)maker_of(Py_TYPE(bg), own), sequence)))
        state = own->get(fresh, own->def->closure);
    ss_numpy_quiet--;
    if (state && Py_TYPE(bg) != Py_TYPE(fresh) && PyDict_Check(state)) { /* a subclass's ss_numpy_states have its name */
        old = own->get(bg, own->def->closure);
        PyObject *name = old && PyDict_Check(old) ? ss_dict_string(old, "bit_generator") : NULL;
        if (!old || (name && PyDict_SetItemString(state, "bit_generator", name) != 0))
            Py_CLEAR(state);
        Py_XDECREF(name);
    }
    done = state && own->set(bg, state, own->def->closure) == 0;
    Py_XDECREF(number);
    Py_XDECREF(sequence);
    Py_XDECREF(fresh);
    Py_XDECREF(state);
    Py_XDECREF(old);
    return done;
}

void ss_numpy_look_for_holders(PyObject *bg)
{
    static const char *const cached[] = {"_ctypes", "_cffi"};
    for (int i = 0; i < 2; i++) {
        PyObject *found = PyObject_GetAttrString(bg, cached[i]);
        if (found && found != Py_None)
            ss_numpy_problem("pointers to the state of a %s were handed out before activation", Py_TYPE(bg)->tp_name);
        Py_XDECREF(found);
    }
    PyErr_Clear();
}

/* Takes the lock of a BitGenerator: 1; 0 where it is not to be had without waiting; -1 with an exception set. */
static int lock(PyObject *bg, bool wait)
{
    PyObject *got = PyObject_CallMethod(SS_NUMPY_AT(bg, ss_numpy_at.lock, PyObject *), "acquire", "i", (int)wait);
    const int outcome = got ? PyObject_IsTrue(got) : -1;
    Py_XDECREF(got);
    return outcome;
}

/* May be called with an exception set, and keeps it. */
static void unlock(PyObject *bg)
{
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    PyObject *done = PyObject_CallMethod(SS_NUMPY_AT(bg, ss_numpy_at.lock, PyObject *), "release", NULL);
    Py_XDECREF(done);
    PyErr_Clear();
    PyErr_Restore(type, value, trace);
}

/* Brings a stale instance into `epoch`, under its own lock: a thread may be drawing from it without the GIL. Without `wait` it is
   left as it is where that is taken, perhaps by this thread. Returns 0, or -1 with an exception that is not ours to keep. */
int ss_numpy_settle(PyObject *bg, uint64_t epoch, bool wait)
{
    uint64_t tag;
    while (ss_numpy_is_stale(tag = settled_tag(bg), epoch)) {
        if (ss_numpy_is_kept(tag)) {
            if (!ss_numpy_move_tag(bg, tag, ss_numpy_tag(epoch, ss_numpy_kind_of(tag))))
                continue;
            count(&ss_numpy_seen.kept);
            return 0;
        }
        const int locked = lock(bg, wait);
        if (locked <= 0)
            return locked;
        int outcome = 1;
        /* Unless somebody did it while this thread waited. A state that another thread gave it meanwhile may have the same tag as
           the former one, so that is not left there. */
        const uint64_t now = SS_FREE_THREADED ? SS_NUMPY_CHANGING : tag;
        if (ss_numpy_move_tag(bg, tag, now)) {
            if (ss_numpy_kind_of(tag) == SS_NUMPY_OLD)
                ss_numpy_look_for_holders(bg);
            if (renew(bg)) {
                count(&ss_numpy_seen.renewed);
                if (ss_numpy_kind_of(tag) == SS_NUMPY_OLD)
                    count(&ss_numpy_seen.older);
                /* Else another thread gave it a state meanwhile. */
                outcome = !ss_numpy_move_tag(bg, now, ss_numpy_tag(epoch, SS_NUMPY_SYSTEM));
            } else {
                const char *why = swallow();
                ss_numpy_end_change(bg, tag);
                if (why)
                    ss_numpy_problem("a %s could not be renewed: %s", Py_TYPE(bg)->tp_name, why);
                outcome = why ? 0 : -1;
            }
        }
        unlock(bg);
        if (outcome <= 0)
            return outcome;
    }
    return 0;
}

/* The second of a pair of normal values goes with the state that it was drawn from. As above. */
int ss_numpy_settle_gauss(PyObject *rs, PyObject *bg, uint64_t epoch)
{
    if (!ss_numpy_is_kept(ss_numpy_tag_of(bg)) && SS_NUMPY_AT(rs, ss_numpy_at.has_gauss, int32_t)) {
        if (lock(bg, true) < 0)
            return -1;
        SS_NUMPY_AT(rs, ss_numpy_at.has_gauss, int32_t) = 0;
        unlock(bg);
    }
    ss_numpy_set_gauss_tag(rs, ~(uint32_t)epoch);
    return 0;
}

