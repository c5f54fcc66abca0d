#include "torch_calls.h"

#include "guard.h"
#include "torch.h"

/* `original` is never cleared: a thread may be inside the replacement while that is undone. */
typedef struct {
    PyMethodDef *def;
    void *original, *entry;
    enum ss_torch_draw how;
    bool in_place, numbers; /* its name ends with _; what it fills with may be a seed: Tensor.random_() */
} call;

PyTypeObject *ss_torch_type;
PyObject *ss_torch_hooks;
static PyObject *generator_name, *out_name; /* interned; owned */

/* ---- drawing ---- */

/* What the call was given to draw from, borrowed; NULL for none: the default generator. */
static inline PyObject *given(PyObject *args, PyObject *named)
{
    PyObject *found = named ? PyDict_GetItemWithError(named, generator_name) : NULL;
    if (found)
        return PyObject_TypeCheck(found, ss_torch_type) ? found : NULL;
    for (Py_ssize_t i = PyTuple_GET_SIZE(args) - 1; i >= 0; i--) /* in some it is an argument by place, one of the last */
        if (PyObject_TypeCheck(PyTuple_GET_ITEM(args, i), ss_torch_type))
            return PyTuple_GET_ITEM(args, i);
    return NULL;
}

static ss_torch_generator *drawn_from(PyObject *args, PyObject *named)
{
    PyObject *generator = given(args, named);
    return generator ? ss_torch_find(generator) : ss_torch_default;
}

static bool is_true(PyObject *o, const char *attribute)
{
    PyObject *value = PyObject_GetAttrString(o, attribute);
    const bool found = value == Py_True;
    Py_XDECREF(value);
    PyErr_Clear();
    return found;
}

/* What the graph saves for the backward pass is handed to the program, which a second draw would do again: a checkpoint counts. */
static bool is_handed_out(PyObject *drawn)
{
    if (!is_true(drawn, "requires_grad"))
        return false;
    PyObject *hooks = ss_torch_hooks ? PyObject_CallOneArg(ss_torch_hooks, Py_False) : NULL;
    const bool none = hooks == Py_None;
    Py_XDECREF(hooks);
    PyErr_Clear();
    return !none;
}

/* After a draw that the generation moved in: may it be made again? Where it was drawn on the CPU, from a generator that is not
   kept, which a second draw would move on; and what it was made of is still what it was. */
static __attribute__((noinline)) bool is_repeatable(const call *c, PyObject *value, PyObject *args, PyObject *named)
{
    const ss_torch_generator *g = drawn_from(args, named);
    if (c->how == SS_TORCH_ONCE || !g || ss_torch_is_kept(g))
        return false;
    if (c->how == SS_TORCH_PURE && named && PyDict_GetItemWithError(named, out_name))
        return false; /* which may be what it is made of */
    for (Py_ssize_t i = 0; c->in_place && i < PyTuple_GET_SIZE(args); i++) /* and so may be a tensor of probabilities */
        if (!PyNumber_Check(PyTuple_GET_ITEM(args, i)) || PyObject_HasAttrString(PyTuple_GET_ITEM(args, i), "is_cpu"))
            return false;
    PyObject *drawn = PyTuple_Check(value) && PyTuple_GET_SIZE(value) ? PyTuple_GET_ITEM(value, 0) : value;
    return is_true(drawn, "is_cpu") && !is_handed_out(drawn);
}

/* A number that was drawn is often a seed: the samplers and the workers of a DataLoader have theirs by this. It is read where it
   lies: asking the tensor for it would be a step of what the program traces. */
static __attribute__((noinline)) void note_number(PyObject *tensor, ss_torch_generator *g, uint64_t epoch)
{
    uint64_t numbers[2] = {1, 0};
    static const char *const asked[] = {"dim", "data_ptr"};
    if (!g || !g->cpu || ss_torch_is_kept(g) || !is_true(tensor, "is_cpu"))
        return;
    for (int i = 0; i < 2 && (i == 0 || numbers[0] == 0); i++) {
        PyObject *value = PyObject_CallMethod(tensor, asked[i], NULL);
        numbers[i] = value && PyLong_Check(value) ? PyLong_AsUnsignedLongLong(value) : 1;
        Py_XDECREF(value);
    }
    PyObject *size = numbers[0] == 0 ? PyObject_CallMethod(tensor, "element_size", NULL) : NULL;
    if (size && PyLong_AsLong(size) == 8 && numbers[1] % 8 == 0 && numbers[1])
        ss_torch_note_number(*(uint64_t *)(uintptr_t)numbers[1], epoch);
    Py_XDECREF(size);
    PyErr_Clear();
}

static __attribute__((noinline)) PyObject *draw_slowly(const call *c, PyObject *self, PyObject *args, PyObject *named)
{
    for (int tries = 1;; tries++) {
        ss_torch_generator *g = drawn_from(args, named);
        const uint64_t epoch = ss_epoch_begin();
        if (g && g != ss_torch_default)
            ss_torch_settle(g, epoch);
        PyObject *value = ((PyCFunctionWithKeywords)c->original)(self, args, named);
        if (!value)
            return NULL;
        if (ss_epoch_unchanged(epoch) || tries == SS_DRAW_TRIES || !is_repeatable(c, value, args, named)) {
            if (c->numbers)
                note_number(value, g, epoch);
            return value;
        }
        Py_DECREF(value);
    }
}

/* What draws from the default generator, or from one that is in this epoch, calls the original and looks once more. */
static inline __attribute__((always_inline)) PyObject *draw(const call *c, PyObject *self, PyObject *args, PyObject *named)
{
    const uint64_t epoch = ss_epoch_begin();
    if (SS_UNLIKELY(c->numbers || given(args, named)))
        return draw_slowly(c, self, args, named);
    PyObject *value = ((PyCFunctionWithKeywords)c->original)(self, args, named);
    if (SS_LIKELY(ss_epoch_unchanged(epoch)) || !value || !is_repeatable(c, value, args, named))
        return value;
    Py_DECREF(value);
    return draw_slowly(c, self, args, named);
}

/* As those of numpy_calls.c. */
#define TEN(X, P) X(P##0) X(P##1) X(P##2) X(P##3) X(P##4) X(P##5) X(P##6) X(P##7) X(P##8) X(P##9)
#define EACH_DRAW(X) TEN(X, ) TEN(X, 1) TEN(X, 2) TEN(X, 3) TEN(X, 4) TEN(X, 5) TEN(X, 6) TEN(X, 7)
#define MOST_DRAWS 80
static call draws[MOST_DRAWS];
static int draw_count;

#define DRAW(N)                                                                                                        \
    static PyObject *draw##N(PyObject *self, PyObject *args, PyObject *named) { return draw(&draws[N], self, args, named); }
EACH_DRAW(DRAW)

/* ---- seeds and states ---- */

static call methods[SS_TORCH_METHODS];

static PyObject *stock(enum ss_torch_method which, PyObject *self, PyObject *argument)
{
    return ((PyCFunction)methods[which].original)(self, argument);
}

/* What changes a state: no restore that comes meanwhile may have another state in its place, so it is kept until its tag is known.
   `settled_tag` makes that, of what it is then. */
static PyObject *begin_anew(enum ss_torch_method which, PyObject *self, PyObject *argument,
                            uint64_t (*tag_of)(ss_torch_generator *g, PyObject *argument, uint64_t epoch))
{
    const uint64_t epoch = ss_epoch_begin();
    ss_torch_generator *g = ss_torch_find(self);
    const uint64_t before = g ? __atomic_load_n(&g->tag, __ATOMIC_ACQUIRE) : 0;
    if (g)
        ss_torch_set_tag(g, ss_numpy_tag(epoch, SS_NUMPY_KEPT));
    PyObject *value = stock(which, self, argument);
    if (g)
        ss_torch_set_tag(g, value ? tag_of(g, argument, epoch) : before);
    return value;
}

static uint64_t tag_of_seed(ss_torch_generator *g, PyObject *seed, uint64_t epoch) { return ss_torch_judge(seed, epoch); }
static uint64_t tag_of_system(ss_torch_generator *g, PyObject *unused, uint64_t epoch) { return ss_numpy_tag(epoch, SS_NUMPY_SYSTEM); }

/* torch.utils.checkpoint puts the state back that a forward pass began with, to compute it once more: with the values that it had.
   So does what torch.compile makes of it. They put the other one back after that. */
static bool is_recomputing(void)
{
    PyFrameObject *frame = (PyFrameObject *)Py_XNewRef((PyObject *)PyEval_GetFrame());
    bool found = false;
    for (int depth = 0; frame && depth < 4 && !found; depth++) {
        PyCodeObject *code = PyFrame_GetCode(frame);
        const char *file = PyUnicode_AsUTF8(code->co_filename);
        const size_t size = file ? strlen(file) : 0;
        static const char *const own[] = {"/torch/utils/checkpoint.py", "/torch/_prims/rng_prims.py"};
        for (size_t i = 0; i < sizeof own / sizeof *own && !found; i++)
            found = size >= strlen(own[i]) && strcmp(file + size - strlen(own[i]), own[i]) == 0;
        Py_DECREF(code);
        Py_SETREF(frame, PyFrame_GetBack(frame));
    }
    Py_XDECREF(frame);
    PyErr_Clear();
    return found;
}

static uint64_t tag_of_state(ss_torch_generator *g, PyObject *unused, uint64_t epoch)
{
    const uint64_t tag = ss_torch_judge_state(g, epoch);
    if (ss_numpy_is_stale(tag, epoch) && !ss_numpy_is_kept(tag) && is_recomputing())
        return ss_numpy_tag(epoch, SS_NUMPY_KEPT);
    return tag;
}

static PyObject *manual_seed(PyObject *self, PyObject *seed) { return begin_anew(SS_TORCH_MANUAL_SEED, self, seed, tag_of_seed); }
static PyObject *set_state(PyObject *self, PyObject *state) { return begin_anew(SS_TORCH_SET_STATE, self, state, tag_of_state); }
static PyObject *unpickle(PyObject *self, PyObject *state) { return begin_anew(SS_TORCH_UNPICKLE, self, state, tag_of_state); }

/* What reads a state: of this epoch, if it is not kept. `noted` is told of it. */
static PyObject *look_at(enum ss_torch_method which, PyObject *self, PyObject *unused,
                         void (*noted)(ss_torch_generator *g, PyObject *value, uint64_t epoch))
{
    ss_torch_generator *g = ss_torch_find(self);
    for (int tries = 1;; tries++) {
        const uint64_t epoch = ss_epoch_begin();
        if (g)
            ss_torch_settle(g, epoch);
        PyObject *value = stock(which, self, unused);
        if (!value || !g || ss_epoch_unchanged(epoch) || ss_torch_is_kept(g) || tries == SS_DRAW_TRIES) {
            if (value && g)
                noted(g, value, epoch);
            return value;
        }
        Py_DECREF(value);
    }
}

static void note_seed(ss_torch_generator *g, PyObject *value, uint64_t epoch)
{
    const unsigned long long number = PyLong_Check(value) ? PyLong_AsUnsignedLongLongMask(value) : 0;
    if (!ss_torch_is_kept(g))
        ss_torch_note_number(number, epoch);
}

static void note_state(ss_torch_generator *g, PyObject *value, uint64_t epoch) { ss_torch_note_state(g); }

static void note_clone(ss_torch_generator *g, PyObject *value, uint64_t epoch)
{
    if (PyObject_TypeCheck(value, ss_torch_type))
        (void)ss_torch_note(value, __atomic_load_n(&g->tag, __ATOMIC_ACQUIRE));
}

static PyObject *initial_seed(PyObject *self, PyObject *unused) { return look_at(SS_TORCH_INITIAL_SEED, self, unused, note_seed); }
static PyObject *get_state(PyObject *self, PyObject *unused) { return look_at(SS_TORCH_GET_STATE, self, unused, note_state); }
static PyObject *reduce(PyObject *self, PyObject *unused) { return look_at(SS_TORCH_REDUCE, self, unused, note_state); }
static PyObject *clone_state(PyObject *self, PyObject *unused) { return look_at(SS_TORCH_CLONE_STATE, self, unused, note_clone); }

/* It asks the kernel, which may repeat itself after a restore: what it gave is replaced before anybody draws. */
static PyObject *seed(PyObject *self, PyObject *unused)
{
    const uint64_t epoch = ss_epoch_begin();
    ss_torch_generator *g = ss_torch_find(self);
    PyObject *value = begin_anew(SS_TORCH_SEED, self, unused, tag_of_system);
    if (!value || !g || !g->cpu)
        return value;
    ss_torch_set_tag(g, ss_numpy_tag(epoch - 1, SS_NUMPY_SYSTEM));
    Py_SETREF(value, initial_seed(self, NULL));
    return value;
}

static void *entry_of(enum ss_torch_method which)
{
    switch (which) {
    case SS_TORCH_MANUAL_SEED: return (void *)manual_seed;
    case SS_TORCH_SEED: return (void *)seed;
    case SS_TORCH_INITIAL_SEED: return (void *)initial_seed;
    case SS_TORCH_GET_STATE: return (void *)get_state;
    case SS_TORCH_SET_STATE: return (void *)set_state;
    case SS_TORCH_CLONE_STATE: return (void *)clone_state;
    case SS_TORCH_REDUCE: return (void *)reduce;
    case SS_TORCH_UNPICKLE: return (void *)unpickle;
    case SS_TORCH_METHODS: break;
    }
    return NULL;
}

/* ---- the type ---- */

static newfunc stock_new;
static destructor stock_dealloc;

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *named)
{
    const uint64_t epoch = ss_epoch_begin();
    PyObject *made = stock_new(type, args, named);
    if (made && ss_torch_impl(made))
        (void)ss_torch_note(made, ss_numpy_tag(epoch, SS_NUMPY_KEPT)); /* each begins with torch's own seed */
    return made;
}

static void end(PyObject *self)
{
    ss_torch_forget(self);
    stock_dealloc(self);
}

void ss_torch_guard_type(PyTypeObject *type)
{
    if (!generator_name) {
        generator_name = PyUnicode_InternFromString("generator");
        out_name = PyUnicode_InternFromString("out");
    }
    ss_torch_type = type;
    if (type->tp_dealloc == end)
        return;
    stock_dealloc = type->tp_dealloc;
    stock_new = type->tp_new;
    ss_slot_store(&type->tp_dealloc, end);
    ss_slot_store(&type->tp_new, make);
}

/* ---- exchanging a builtin ---- */

/* Returns whether it calls `entry` then. Its code is torch's, of the library that has the type's; its definition may lie on
   the heap. */
static bool exchange(call *c, PyMethodDef *def, void *entry)
{
    void *now = (void *)__atomic_load_n(&def->ml_meth, __ATOMIC_ACQUIRE);
    if (now == entry)
        return true;
    if (!ss_same_object((void *)stock_dealloc, now))
        return false; /* exchanged before us, by whom nobody knows: no original to go on with */
    c->def = def;
    c->original = now;
    c->entry = entry;
    ss_slot_store(&def->ml_meth, entry);
    return true;
}

#define CONVENTIONS (METH_VARARGS | METH_KEYWORDS | METH_NOARGS | METH_O | METH_FASTCALL | METH_METHOD)

bool ss_torch_guard_draw(PyObject *callable, enum ss_torch_draw how)
{
    void *entries[MOST_DRAWS];
    PyMethodDef *def = ss_definition(callable);
    int i = 0, place = 0;
#define STORE(N) entries[i++] = (void *)draw##N;
    EACH_DRAW(STORE)
    while (place < draw_count && draws[place].def != def)
        place++;
    if (!def || place == MOST_DRAWS || (def->ml_flags & CONVENTIONS) != (METH_VARARGS | METH_KEYWORDS))
        return false;
    call *c = &draws[place];
    const size_t size = strlen(def->ml_name);
    c->how = how;
    c->in_place = size && def->ml_name[size - 1] == '_';
    c->numbers = strcmp(def->ml_name, "random_") == 0;
    if (!exchange(c, def, entries[place]))
        return false;
    draw_count += place == draw_count;
    return true;
}

bool ss_torch_guard_method(PyObject *callable, enum ss_torch_method which)
{
    PyMethodDef *def = ss_definition(callable);
    const int convention = which == SS_TORCH_MANUAL_SEED || which == SS_TORCH_SET_STATE || which == SS_TORCH_UNPICKLE ? METH_O
                                                                                                                       : METH_NOARGS;
    return def && (def->ml_flags & CONVENTIONS) == convention && (!methods[which].def || methods[which].def == def) &&
           exchange(&methods[which], def, entry_of(which));
}

static call *call_at(int i)
{
    return i < draw_count ? &draws[i] : i - draw_count < SS_TORCH_METHODS ? &methods[i - draw_count] : NULL;
}

bool ss_torch_call_word(int i, uint64_t *ret_at, uint64_t *ret_held, const char **ret_name)
{
    const call *c = call_at(i);
    *ret_at = 0;
    *ret_name = "";
    if (c) {
        *ret_at = c->def ? (uintptr_t)&c->def->ml_meth : 0;
        *ret_held = (uintptr_t)c->entry;
        *ret_name = c->def ? c->def->ml_name : "";
        return true;
    }
    i -= draw_count + SS_TORCH_METHODS;
    if (i < 2 && ss_torch_type) {
        *ret_at = i ? (uintptr_t)&ss_torch_type->tp_dealloc : (uintptr_t)&ss_torch_type->tp_new;
        *ret_held = i ? (uintptr_t)end : (uintptr_t)make;
        *ret_name = "Generator";
    }
    return i < 2;
}

void ss_torch_release_calls(void)
{
    const call *c;
    for (int i = 0; (c = call_at(i)); i++)
        if (c->def && (void *)__atomic_load_n(&c->def->ml_meth, __ATOMIC_ACQUIRE) == c->entry)
            ss_slot_store(&c->def->ml_meth, c->original);
    if (ss_torch_type && ss_torch_type->tp_dealloc == end)
        ss_slot_store(&ss_torch_type->tp_dealloc, stock_dealloc);
    if (ss_torch_type && ss_torch_type->tp_new == make)
        ss_slot_store(&ss_torch_type->tp_new, stock_new);
}
