# The random room: guards _random.Random, the global instance and every other.
#
# Each instance carries a tag in its padding (compat.h): the epoch it was seeded under, and whether the program chose
# its seed. A draw whose tag is not of this epoch reseeds the instance first, unless its seed was chosen; so one
# instance or a hundred thousand cost a restore the same.
#
# entries.h says how what has a C name of its own is called.

cdef enum:
    KIND_SYSTEM = 0     # seeded by the operating system, or unknown since older than activation: renewed
    KIND_KEPT = 1       # seeded by the program: its sequence is kept
    KIND_MASK = 3

cdef extern from *:
    """
    static int ss_reseed_kept;              /* SNAPSAFE_SEEDED=reseed */
    static uint64_t ss_random_reseeds, ss_random_kept;
    static initproc ss_random_init;        /* _random.Random's own; the same for every copy of the type */
    static void ss_exchange_init(PyObject *type, initproc from, initproc to)
    {
        if (((PyTypeObject *)type)->tp_init == from)
            ((PyTypeObject *)type)->tp_init = to;
        PyType_Modified((PyTypeObject *)type);
    }
    /* type.__init__ is what later subclasses take their slot from. */
    static void ss_exchange_wrapper(PyObject *wrapper, initproc from, initproc to)
    {
        if (Py_IS_TYPE(wrapper, &PyWrapperDescr_Type) && ((PyWrapperDescrObject *)wrapper)->d_wrapped == (void *)from)
            ((PyWrapperDescrObject *)wrapper)->d_wrapped = (void *)to;
    }
    static inline PyObject *ss_call_three(PyObject *function, PyObject *a, PyObject *b, PyObject *c)
    {
        PyObject *with_room[] = {NULL, a, b, c};
        return PyObject_Vectorcall(function, with_room + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    static inline PyObject *ss_owned(PyObject *made) { return made; }
    static initproc ss_init_of(PyObject *type) { return ((PyTypeObject *)type)->tp_init; }
    """
    int ss_reseed_kept
    uint64_t ss_random_reseeds, ss_random_kept
    ctypedef int (*initproc)(PyObject*, PyObject*, PyObject*) noexcept
    initproc ss_random_init
    void ss_exchange_init(PyObject* type_, initproc from_, initproc to) noexcept
    void ss_exchange_wrapper(PyObject* wrapper, initproc from_, initproc to) noexcept
    initproc ss_init_of(PyObject* type_) noexcept
    object ss_owned(PyObject* made)     # steals; NULL raises what is set
    PyObject* ss_call_three(PyObject* function, PyObject* a, PyObject* b, PyObject* c) noexcept


cdef inline uint32_t* tag_of(PyObject* self) noexcept:
    return <uint32_t*>(<char*>self + SS_RANDOM_TAG_OFFSET)


cdef inline uint32_t* words_of(PyObject* self) noexcept:
    return <uint32_t*>(<char*>self + SS_RANDOM_STATE_OFFSET)


cdef inline uint32_t make_tag(uint64_t epoch, uint32_t kind) noexcept:
    return <uint32_t>(epoch << 2) | kind


cdef inline bint is_stale(uint32_t tag, uint64_t epoch) noexcept:
    return (tag ^ <uint32_t>(epoch << 2)) > KIND_MASK


# gauss()'s pending second value, past what a subclass may redefine: a new reference, or NULL without an exception.
cdef PyObject* gauss_next_of(PyObject* self) noexcept:
    cdef PyObject* name = raw_str("gauss_next")
    cdef PyObject* value = NULL
    if name != NULL:
        value = raw_generic_getattr(self, name)
    if value == NULL:
        raw_error_clear()
    raw_xdecref(name)
    return value


# Forgets it: it was drawn from the state that is being renewed.
cdef void forget_gauss_next(PyObject* self) noexcept:
    cdef PyObject* value = gauss_next_of(self)
    cdef PyObject* name
    if value != NULL and value != RAW_NONE:
        name = raw_str("gauss_next")
        if name == NULL or raw_generic_setattr(self, name, RAW_NONE) != 0:
            raw_error_clear()
        raw_xdecref(name)
    raw_xdecref(value)


# Seeds the instance as seed(None) does (Modules/_randommodule.c: 624 words of the system's entropy through
# init_by_array), but from fenced entropy. False, with no exception set, where there was no entropy: the tag stays stale
# then and the next draw tries again.
cdef bint reseed(PyObject* self) noexcept:
    cdef unsigned char key[2496]
    cdef PyObject* number
    cdef PyObject* result
    if ss_entropy_fill(key, sizeof(key)) != 0:
        return False
    number = ss_long_from_little(key, sizeof(key))
    explicit_bzero(key, sizeof(key))
    if number == NULL:
        raw_error_clear()
        return False
    result = ss_call_fast(&ss_guards[SS_GUARD_SEED], self, &number, 1)
    raw_decref(number)
    if result == NULL:
        raw_error_clear()
        return False
    raw_decref(result)
    ss_count(&ss_random_reseeds)
    return True


# Brings a stale instance into `epoch`.
cdef void settle(PyObject* self, uint64_t epoch) noexcept:
    cdef uint32_t* tag = tag_of(self)
    if (ss_load_u32(tag) & KIND_MASK) == KIND_KEPT and not ss_reseed_kept:
        ss_count(&ss_random_kept)
        ss_store_u32(tag, make_tag(epoch, KIND_KEPT))
    elif reseed(self):
        forget_gauss_next(self)
        ss_store_u32(tag, make_tag(epoch, KIND_SYSTEM))


# A kept sequence is never drawn from twice for one value: that would skip one.
cdef inline bint may_return(PyObject* self, PyObject* value, uint64_t epoch) noexcept:
    return SS_LIKELY(ss_epoch_unchanged(epoch)) or value == NULL or (
        (ss_load_u32(tag_of(self)) & KIND_MASK) == KIND_KEPT and not ss_reseed_kept)


# The epoch that the draw began under is left in ret_epoch.
cdef inline PyObject* draw_once(PyObject* self, PyObject* argument, ss_guard* guard, uint64_t* ret_epoch) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    if SS_UNLIKELY(is_stale(ss_load_u32(tag_of(self)), epoch)):
        settle(self, epoch)
    ret_epoch[0] = epoch
    return ss_call(guard, self, argument)


# Draws again while the generation moved during the draw. Out of line, so that draw() saves no registers for a retry
# that almost never happens.
cdef PyObject* draw_again(PyObject* self, PyObject* argument, ss_guard* guard, PyObject* value,
                          uint64_t epoch) noexcept:
    cdef int tries = 1
    while not may_return(self, value, epoch) and tries < SS_DRAW_TRIES:
        raw_decref(value)
        value = draw_once(self, argument, guard, &epoch)
        tries += 1
    return value


cdef inline PyObject* draw "draw"(PyObject* self, PyObject* argument, ss_guard* guard) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value = draw_once(self, argument, guard, &epoch)
    if SS_LIKELY(ss_epoch_unchanged(epoch)):
        return value
    return draw_again(self, argument, guard, value, epoch)


# getstate() takes nothing from the sequence, so a kept one may be read again as well.
cdef PyObject* guard_getstate "guard_getstate"(PyObject* self, PyObject* unused, ss_guard* guard) noexcept:
    cdef PyObject* value = draw(self, unused, guard)
    cdef uint32_t tag = ss_load_u32(tag_of(self))
    if value != NULL and (tag & KIND_MASK) == KIND_SYSTEM:
        ss_provenance_note_state(words_of(self), tag >> 2)
    return value


# Neither seed() nor setstate() is repeated: they carry the epoch they began under, and the next draw sees whether that
# still stands.
cdef PyObject* guard_setstate "guard_setstate"(PyObject* self, PyObject* state, ss_guard* guard) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef uint32_t origin
    cdef PyObject* value = ss_call(guard, self, state)
    if value != NULL:
        if ss_provenance_of_state(words_of(self), &origin):
            ss_store_u32(tag_of(self), make_tag(origin, KIND_SYSTEM))
        else:
            ss_store_u32(tag_of(self), make_tag(epoch, KIND_KEPT))
    return value


cdef void tag_seeded(PyObject* self, PyObject* seed, uint64_t epoch) noexcept:
    cdef unsigned char* big = NULL
    cdef size_t size = 0
    cdef uint32_t origin
    cdef uint32_t tag = make_tag(epoch, KIND_KEPT)
    if raw_long_check(seed) and ss_long_to_big(seed, &big, &size) == 0:
        if ss_provenance_of_seed(big, size, &origin):
            tag = make_tag(origin, KIND_SYSTEM)
        free(big)
    ss_store_u32(tag_of(self), tag)


# The system's seed, fenced where the kernel is not to be trusted yet: in C, seed(None) goes past os.urandom.
cdef bint seed_by_system(PyObject* self, uint64_t epoch) noexcept:
    if not ss_fence_up() or not reseed(self):
        return False
    ss_store_u32(tag_of(self), make_tag(epoch, KIND_SYSTEM))
    return True


cdef PyObject* guard_seed "guard_seed"(PyObject* self, PyObject** args, Py_ssize_t count, ss_guard* guard) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef bint by_system = count == 0 or (count == 1 and args[0] == RAW_NONE)
    cdef PyObject* value
    if by_system and seed_by_system(self, epoch):
        raw_incref(RAW_NONE)
        return RAW_NONE
    value = ss_call_fast(guard, self, args, count)
    if value != NULL:
        if by_system:
            ss_store_u32(tag_of(self), make_tag(epoch, KIND_SYSTEM))
        else:
            tag_seeded(self, args[0], epoch)
    return value


# tp_init of _random.Random seeds in C from 3.11 on, past the seed method. random.Random has an __init__ of its own;
# this is for bare _random.Random(x).
cdef int guard_init(PyObject* self, PyObject* args, PyObject* kwargs) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef int outcome = ss_random_init(self, args, kwargs)
    cdef PyObject* seed
    if outcome == 0:
        if raw_tuple_size(args) == 0 or raw_tuple_item(args, 0) == RAW_NONE:
            ss_store_u32(tag_of(self), make_tag(epoch, KIND_SYSTEM))
            seed_by_system(self, epoch)
        else:
            seed = raw_tuple_item(args, 0)
            tag_seeded(self, seed, epoch)
    return outcome


# `cls` is _random.Random. Its tp_init was copied into the subclasses that exist. Needs the GIL.
cdef void hook_random_init(type cls, bint hooked):
    global ss_random_init
    if ss_random_init == NULL:
        ss_random_init = ss_init_of(<PyObject*>cls)
    cdef initproc from_ = ss_random_init if hooked else guard_init
    cdef initproc to = guard_init if hooked else ss_random_init
    wrapper = cls.__dict__["__init__"]
    ss_exchange_wrapper(<PyObject*>wrapper, from_, to)
    exchange_init(cls, from_, to)


cdef void exchange_init(type cls, initproc from_, initproc to):
    ss_exchange_init(<PyObject*>cls, from_, to)
    for subclass in type.__subclasses__(cls):
        exchange_init(subclass, from_, to)


# gauss() hands out its second value without a draw, so it is checked itself. Python code calls this in its place
# (snapsafe_rt/guards/random.py); `function` is a copy of the original.
cdef class Gauss:
    cdef object function
    cdef type base
    cdef Py_ssize_t inside      # calls of the function that did not end yet, of all threads

    def __init__(self, function, type base not None):
        self.function = function
        self.base = base

    def __call__(self, rng, mu, sigma):
        cdef uint64_t epoch
        cdef PyObject* value
        cdef int tries = 0
        cdef bint ours = isinstance(rng, self.base)     # by the type's layout: a __class__ that it has set says nothing
        cdef bint alone
        while True:
            epoch = ss_epoch_begin()
            if ours and is_stale(ss_load_u32(tag_of(<PyObject*>rng)), epoch):
                settle(<PyObject*>rng, epoch)
            alone = self.inside == 0
            self.inside += 1
            value = ss_call_three(<PyObject*>self.function, <PyObject*>rng, <PyObject*>mu, <PyObject*>sigma)
            self.inside -= 1
            if SS_UNLIKELY(value == NULL):
                return raise_forgetting(<PyObject*>rng, epoch) if ours else ss_owned(value)
            tries += 1
            if not ours or tries == SS_DRAW_TRIES or (
                    may_return(<PyObject*>rng, value, epoch)
                    and (SS_LIKELY(alone) or drew_itself(<PyObject*>rng))):
                return ss_owned(value)
            raw_decref(value)
            # Another thread may have renewed the instance before the second value, of the old state, was left there.
            forget_gauss_next(<PyObject*>rng)


# Raises the exception that is set.
cdef object raise_forgetting(PyObject* self, uint64_t epoch):
    try:
        return ss_owned(NULL)
    except BaseException:
        if not may_return(self, self, epoch):
            forget_gauss_next(self)
        raise


# Was the value drawn by the call itself, and not left behind by a call of another thread that began before the restore
# and did not end yet? Who draws leaves a second value. A chosen sequence is not to be skipped.
cdef bint drew_itself(PyObject* self) noexcept:
    cdef PyObject* value
    if (ss_load_u32(tag_of(self)) & KIND_MASK) == KIND_KEPT and not ss_reseed_kept:
        return True
    value = gauss_next_of(self)
    raw_xdecref(value)
    return value != NULL and value != RAW_NONE


# Guards the type's methods, which every copy of the type shares; when _random was executed. None where this build's
# layout is unknown, or seed() is not as known: the others reseed through its original. With the GIL and no exception
# set; leaves none.
cdef void guard_random(PyObject* module) noexcept:
    cdef PyObject* type_ = raw_getattr(module, "Random")
    if type_ == NULL:
        raw_error_clear()
        return
    if (raw_type_check(type_) and (<PyTypeObject*>type_).tp_basicsize == <Py_ssize_t>SS_RANDOM_BASICSIZE
            and ss_guard_method(SS_GUARD_SEED, type_) == 0):
        ss_guard_module("_random", module, NULL)
    raw_decref(type_)
