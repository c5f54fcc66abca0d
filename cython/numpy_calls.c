#include "numpy_calls.h"

#include "bitgen.h"
#include "guard.h"
#include "numpy.h"
#include "process.h"
#include "provenance.h"

typedef PyObject *(*fast_call)(PyObject *self, PyObject *const *arguments, Py_ssize_t count, PyObject *names);

/* `original` is never cleared: a thread may be inside the replacement while that is undone. */
typedef struct {
    PyMethodDef *def;
    void *original, *entry;
    enum ss_numpy_owner owner;
} call;

static PyObject *call_fast(const call *c, PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    return ((fast_call)c->original)(self, a, n, names);
}

/* ---- drawing ---- */

/* Borrowed; NULL: not what it should be, and nothing is guarded. */
static inline __attribute__((always_inline)) PyObject *drawn_from(PyObject *self, enum ss_numpy_owner owner)
{
    PyObject *bg = self;
    if (owner == SS_NUMPY_GENERATOR && SS_LIKELY(PyObject_TypeCheck(self, ss_numpy.generator)))
        bg = SS_NUMPY_AT(self, ss_numpy_at.of_generator, PyObject *);
    else if (owner == SS_NUMPY_RANDOM_STATE && SS_LIKELY(PyObject_TypeCheck(self, ss_numpy.random_state)))
        bg = SS_NUMPY_AT(self, ss_numpy_at.of_state, PyObject *);
    if (SS_LIKELY(bg && ss_numpy_is_bit_generator(bg) && ss_numpy_capsule(bg)))
        return bg;
    if (owner != SS_NUMPY_BIT_GENERATOR && bg && bg != self && bg != Py_None)
        ss_numpy_problem("a generator draws from a %s, which is no BitGenerator", Py_TYPE(bg)->tp_name);
    return NULL;
}

static inline __attribute__((always_inline)) bool is_ready(PyObject *self, PyObject *bg, enum ss_numpy_owner owner, uint64_t epoch)
{
    return SS_LIKELY(!ss_numpy_is_stale(ss_numpy_tag_of(bg), epoch) &&
                     (owner != SS_NUMPY_RANDOM_STATE || ss_numpy_gauss_tag(self) == ~(uint32_t)epoch));
}

/* After a draw, without a GIL: did another thread give it a state of another epoch meanwhile, as by set_state()? */
static inline bool is_still_ready(PyObject *self, enum ss_numpy_owner owner, uint64_t epoch, PyObject *from, uint64_t given)
{
    if (!SS_FREE_THREADED)
        return true;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    PyObject *bg = drawn_from(self, owner); /* perhaps not the one that it was */
    return !bg || (is_ready(self, bg, owner, epoch) && ss_numpy_stale_given(from) == given);
}

/* Returns 0, or -1 with an exception set. */
static __attribute__((noinline)) int make_ready(PyObject *self, PyObject *bg, enum ss_numpy_owner owner, uint64_t epoch)
{
    Py_INCREF(bg); /* another thread may take it away from `self` meanwhile */
    int outcome = ss_numpy_settle(bg, epoch, true);
    if (outcome == 0 && owner == SS_NUMPY_RANDOM_STATE && ss_numpy_gauss_tag(self) != ~(uint32_t)epoch)
        outcome = ss_numpy_settle_gauss(self, bg, epoch);
    Py_DECREF(bg);
    return outcome;
}

/* After a draw that the generation moved in: is the value to be given out? A kept sequence is never drawn from twice for one
   value: that would skip some. The BitGenerator may be another one by now; without a GIL its sequence may be kept only since. */
static __attribute__((noinline)) bool may_return(PyObject *self, PyObject *value, enum ss_numpy_owner owner, uint64_t tag)
{
    PyObject *bg = value ? drawn_from(self, owner) : NULL;
    return !bg || (ss_numpy_is_kept(ss_numpy_tag_of(bg)) && (!SS_FREE_THREADED || ss_numpy_is_kept(tag)));
}

static PyObject *draw(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names, const call *c)
{
    for (int tries = 1;; tries++) {
        PyObject *bg = drawn_from(self, c->owner), *value;
        const uint64_t epoch = ss_epoch_begin(), given = ss_numpy_stale_given(bg);
        if (SS_UNLIKELY(!bg))
            return call_fast(c, self, a, n, names);
        if (!is_ready(self, bg, c->owner, epoch) && make_ready(self, bg, c->owner, epoch) != 0)
            return NULL;
        const uint64_t tag = SS_FREE_THREADED ? ss_numpy_tag_of(bg) : 0;
        value = call_fast(c, self, a, n, names);
        if (SS_LIKELY(ss_epoch_unchanged(epoch) && is_still_ready(self, c->owner, epoch, bg, given)) ||
            may_return(self, value, c->owner, tag) || tries == SS_DRAW_TRIES)
            return value;
        Py_DECREF(value);
    }
}

/* A method definition has no room for a closure: a C function for each. Their addresses are stored by code, for a table of
   them would have to be relocated at each start of a program. */
#define TEN(X, P) X(P##0) X(P##1) X(P##2) X(P##3) X(P##4) X(P##5) X(P##6) X(P##7) X(P##8) X(P##9)
#define EACH_DRAW(X)                                                                                                   \
    TEN(X, ) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5) TEN(X, 6) TEN(X, 7) TEN(X, 8) TEN(X, 9)                 \
    TEN(X, 10) TEN(X, 11) TEN(X, 12) TEN(X, 13) TEN(X, 14)
#define MOST_DRAWS 150
#define MOST_WATCHED 10
static call draws[MOST_DRAWS], watched[MOST_WATCHED];
static int draw_count, watched_count; /* atomic */

#define DRAW(N)                                                                                                        \
    static PyObject *draw##N(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)                        \
    {                                                                                                                  \
        return draw(self, a, n, names, &draws[N]);                                                                \
    }
EACH_DRAW(DRAW)

/* ---- what is not a draw ---- */

static PyObject *seed_legacy(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *spawn(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *generate_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *set_sequence(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *set_bit_generator_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *get_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *set_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);
static PyObject *set_global(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names);

static call others[SS_NUMPY_OTHERS];

static PyObject *only_argument(PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    return n + (names ? PyTuple_GET_SIZE(names) : 0) ? a[0] : Py_None;
}

/* MT19937._legacy_seeding(seed), which RandomState(seed), RandomState.seed(seed) and numpy.random.seed(seed) call. */
static PyObject *seed_legacy(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    const uint64_t epoch = ss_epoch_begin();
    const bool known = ss_numpy_is_bit_generator(self) && ss_numpy_capsule(self);
    for (int tries = 1;; tries++) {
        const uint64_t before = known ? ss_numpy_begin_change(self) : 0;
        PyObject *value = call_fast(&others[SS_NUMPY_LEGACY_SEEDING], self, a, n, names);
        if (!value && known)
            ss_numpy_end_change(self, before);
        if (!value || !known || ss_numpy_changed(self, ss_numpy_judge(only_argument(a, n, names), epoch), tries))
            return value;
        Py_DECREF(value);
    }
}

/* Calls what draws from a SeedSequence's entropy: again where that is renewed and the generation moved meanwhile. `ret_tag`: that
   of the sequence then. New reference, or NULL with an exception set. */
static PyObject *draw_from_sequence(const call *c, PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names,
                                    uint64_t *ret_tag)
{
    for (int tries = 1;; tries++) {
        const uint64_t epoch = ss_epoch_begin();
        if (ss_numpy_settle_sequence(self, epoch) != 0)
            return NULL;
        PyObject *value = call_fast(c, self, a, n, names);
        *ret_tag = ss_numpy_widen(ss_numpy_sequence_tag(self), epoch);
        if (!value || ss_epoch_unchanged(epoch) || tries == SS_DRAW_TRIES || ss_numpy_is_kept(*ret_tag))
            return value;
        Py_DECREF(value);
    }
}

/* SeedSequence.spawn(): children are of their parent's kind. */
static PyObject *spawn(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    uint64_t tag;
    const call *c = &others[SS_NUMPY_SPAWN];
    if (!ss_numpy_is_sequence(self))
        return call_fast(c, self, a, n, names);
    ss_numpy_quiet++;
    PyObject *value = draw_from_sequence(c, self, a, n, names, &tag);
    ss_numpy_quiet--;
    for (Py_ssize_t i = 0; value && PyList_Check(value) && i < PyList_GET_SIZE(value); i++)
        if (ss_numpy_is_sequence(PyList_GET_ITEM(value, i)))
            ss_numpy_set_sequence_tag(PyList_GET_ITEM(value, i), (uint32_t)tag);
    return value;
}

/* SeedSequence.generate_state() */
static PyObject *generate_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    uint64_t tag;
    const call *c = &others[SS_NUMPY_GENERATE_STATE];
    return ss_numpy_is_sequence(self) ? draw_from_sequence(c, self, a, n, names, &tag) : call_fast(c, self, a, n, names);
}

/* SeedSequence.__setstate__(): what was pickled or copied. Entropy of as many bits as the system's, that this process has not
   seen, is nobody's choice or was chosen elsewhere; any other was chosen. */
static PyObject *set_sequence(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    const uint64_t epoch = ss_epoch_begin();
    PyObject *value = call_fast(&others[SS_NUMPY_SET_SEQUENCE], self, a, n, names), *entropy;
    if (!value || !ss_numpy_is_sequence(self))
        return value;
    entropy = SS_NUMPY_AT(self, ss_numpy_at.entropy, PyObject *);
    uint32_t tag = (uint32_t)ss_numpy_tag(epoch, SS_NUMPY_KEPT);
    if (entropy && PyLong_Check(entropy) && !ss_provenance_of_made(ss_numpy_print_entropy(entropy), &tag)) {
        PyObject *bits = PyObject_CallMethod(entropy, "bit_length", NULL);
        const long size = bits ? PyLong_AsLong(bits) : 128;
        Py_XDECREF(bits);
        PyErr_Clear();
        if (size > 96 && size <= 128)
            tag = (uint32_t)ss_numpy_tag(epoch, SS_NUMPY_FOREIGN);
    }
    ss_numpy_set_sequence_tag(self, tag);
    return value;
}

/* BitGenerator.__setstate__(): where the state was made elsewhere, the SeedSequence that comes with it may tell that its seed
   was chosen. */
static PyObject *set_bit_generator_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    PyObject *value = call_fast(&others[SS_NUMPY_SET_BIT_GENERATOR], self, a, n, names), *sequence;
    if (!value || !ss_numpy_is_bit_generator(self) || !ss_numpy_capsule(self))
        return value;
    const uint64_t tag = ss_numpy_tag_of(self);
    sequence = SS_NUMPY_AT(self, ss_numpy_at.seed_seq, PyObject *);
    if (ss_numpy_kind_of(tag) == SS_NUMPY_FOREIGN && ss_numpy_is_sequence(sequence) &&
        (~ss_numpy_sequence_tag(sequence) & 3) == SS_NUMPY_KEPT)
        (void)ss_numpy_move_tag(self, tag, tag ^ SS_NUMPY_FOREIGN ^ SS_NUMPY_KEPT);
    return value;
}

/* RandomState.get_state() */
static PyObject *get_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    const call *c = &others[SS_NUMPY_GET_STATE];
    PyObject *value = draw(self, a, n, names, c), *bg;
    const uint64_t tag = value && (bg = drawn_from(self, SS_NUMPY_RANDOM_STATE)) ? ss_numpy_tag_of(bg) : SS_NUMPY_CHANGING;
    if (tag != SS_NUMPY_CHANGING && SS_NUMPY_AT(self, ss_numpy_at.has_gauss, int32_t))
        ss_provenance_note_made(ss_numpy_print_gauss(self), (uint32_t)tag);
    return value;
}

/* RandomState.set_state(): the second normal value that comes with it may be of another epoch than the state, or of an instance
   of another kind. */
static PyObject *set_state(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    const uint64_t epoch = ss_epoch_begin();
    PyObject *value = call_fast(&others[SS_NUMPY_SET_STATE], self, a, n, names);
    PyObject *bg = drawn_from(self, SS_NUMPY_RANDOM_STATE);
    uint32_t made;
    if (!value || !bg)
        return value;
    int32_t *has_gauss = &SS_NUMPY_AT(self, ss_numpy_at.has_gauss, int32_t);
    if (*has_gauss && ss_provenance_of_made(ss_numpy_print_gauss(self), &made)) {
        const uint64_t tag = ss_numpy_widen(made, epoch);
        if (ss_numpy_is_stale(tag, epoch) && !ss_numpy_is_kept(tag))
            *has_gauss = 0;
    }
    ss_numpy_set_gauss_tag(self, ~(uint32_t)(~ss_numpy_tag_of(bg) >> 2));
    return value;
}

/* numpy.random.set_bit_generator() */
static PyObject *set_global(PyObject *self, PyObject *const *a, Py_ssize_t n, PyObject *names)
{
    ss_numpy_making++;
    PyObject *value = call_fast(&others[SS_NUMPY_SET_GLOBAL], self, a, n, names);
    ss_numpy_making--;
    if (value)
        ss_numpy_show_global();
    return value;
}

static void *entry_of(enum ss_numpy_other which)
{
    switch (which) {
    case SS_NUMPY_LEGACY_SEEDING: return (void *)seed_legacy;
    case SS_NUMPY_SPAWN: return (void *)spawn;
    case SS_NUMPY_GENERATE_STATE: return (void *)generate_state;
    case SS_NUMPY_SET_SEQUENCE: return (void *)set_sequence;
    case SS_NUMPY_SET_BIT_GENERATOR: return (void *)set_bit_generator_state;
    case SS_NUMPY_GET_STATE: return (void *)get_state;
    case SS_NUMPY_SET_STATE: return (void *)set_state;
    case SS_NUMPY_SET_GLOBAL: return (void *)set_global;
    case SS_NUMPY_OTHERS: break;
    }
    return NULL;
}

/* ---- exchanging a method ---- */

/* Cython's functions begin with a PyCFunctionObject, as long as numpy is not built for the limited API. Static; NULL for what is
   none of these, or where its definition is nowhere in a library. */
static PyMethodDef *definition_of(PyObject *o)
{
    PyMethodDef *def = ss_definition(o);
    const char *last = strrchr(Py_TYPE(o)->tp_name, '.'); /* behind the name of Cython's own module, if it has one */
    if (!def && strcmp(last ? last + 1 : Py_TYPE(o)->tp_name, "cython_function_or_method") == 0 &&
        Py_TYPE(o)->tp_basicsize > (Py_ssize_t)sizeof(PyCFunctionObject))
        def = ((PyCFunctionObject *)o)->m_ml;
    return def && ss_same_object(def, def) ? def : NULL;
}

/* Returns whether it calls `entry` then. With the lock. What is in the table already is not written again: another thread may be
   in it. */
static bool exchange(call *c, PyMethodDef *def, void *entry, enum ss_numpy_owner owner)
{
    void *now = (void *)__atomic_load_n(&def->ml_meth, __ATOMIC_ACQUIRE);
    if (now == entry)
        return true;
    if (!ss_same_object(def, now))
        return false; /* exchanged before us, by whom nobody knows: no original to go on with */
    if (c->def != def || c->original != now || c->entry != entry || c->owner != owner)
        *c = (call){def, now, entry, owner};
    ss_slot_store(&def->ml_meth, entry);
    return true;
}

#define CONVENTIONS (METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD)

/* Where a definition is in a list, or may be put: NULL where that is full. With the lock. */
static call *place_in(call *list, int count, int most, const PyMethodDef *def)
{
    int i = 0;
    while (i < count && list[i].def != def)
        i++;
    return i == most ? NULL : &list[i];
}

/* With the lock: counts it, now that it is whole. */
static void put(const call *c, const call *list, int *count)
{
    if (c - list == *count)
        __atomic_store_n(count, *count + 1, __ATOMIC_RELEASE);
}

bool ss_numpy_guard_draw(PyObject *callable, enum ss_numpy_owner owner)
{
    void *entries[MOST_DRAWS];
    PyMethodDef *def = definition_of(callable);
    int i = 0;
#define STORE(N) entries[i++] = (void *)draw##N;
    EACH_DRAW(STORE)
    if (!def || (def->ml_flags & CONVENTIONS) != (METH_FASTCALL | METH_KEYWORDS))
        return false;
    ss_process_lock(&ss_numpy_lock);
    call *c = place_in(draws, draw_count, MOST_DRAWS, def);
    const bool done = c && exchange(c, def, entries[c - draws], owner);
    if (done)
        put(c, draws, &draw_count);
    ss_process_unlock(&ss_numpy_lock);
    return done;
}

bool ss_numpy_watch_draw(PyObject *callable)
{
    PyMethodDef *def = definition_of(callable);
    if (!def || !ss_same_object(def, (void *)def->ml_meth))
        return false;
    ss_process_lock(&ss_numpy_lock);
    call *c = place_in(watched, watched_count, MOST_WATCHED, def);
    if (c && c->def != def)
        *c = (call){def, (void *)def->ml_meth, (void *)def->ml_meth, SS_NUMPY_RANDOM_STATE};
    if (c)
        put(c, watched, &watched_count);
    ss_process_unlock(&ss_numpy_lock);
    return c;
}

bool ss_numpy_guard_other(PyObject *callable, enum ss_numpy_other which)
{
    PyMethodDef *def = definition_of(callable);
    if (!def || (def->ml_flags & CONVENTIONS) != (METH_FASTCALL | METH_KEYWORDS))
        return false;
    ss_process_lock(&ss_numpy_lock);
    const bool done = (!others[which].def || others[which].def == def) &&
                      exchange(&others[which], def, entry_of(which), SS_NUMPY_RANDOM_STATE);
    ss_process_unlock(&ss_numpy_lock);
    return done;
}

static call *call_at(int i)
{
    const int drawing = __atomic_load_n(&draw_count, __ATOMIC_ACQUIRE), seen = __atomic_load_n(&watched_count, __ATOMIC_ACQUIRE);
    if (i < drawing)
        return &draws[i];
    i -= drawing;
    if (i < seen)
        return &watched[i];
    i -= seen;
    return i < SS_NUMPY_OTHERS ? &others[i] : NULL;
}

bool ss_numpy_guards(PyObject *callable)
{
    const PyMethodDef *def = definition_of(callable);
    const call *c;
    for (int i = 0; def && (c = call_at(i)); i++)
        if (c->def == def)
            return (void *)__atomic_load_n(&def->ml_meth, __ATOMIC_ACQUIRE) == c->entry;
    return false;
}

bool ss_numpy_call_word(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name)
{
    const call *c = call_at(i);
    if (c) {
        *ret_at = c->def ? (uintptr_t)&c->def->ml_meth : 0;
        *ret_held = (uintptr_t)c->entry;
        *ret_name = c->def ? c->def->ml_name : "";
    }
    return c;
}

void ss_numpy_release_calls(void)
{
    const call *c;
    for (int i = 0; (c = call_at(i)); i++)
        if (c->def && (void *)__atomic_load_n(&c->def->ml_meth, __ATOMIC_ACQUIRE) == c->entry)
            ss_slot_store(&c->def->ml_meth, c->original);
}
