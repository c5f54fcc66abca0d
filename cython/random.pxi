# The random room: guards _random.Random, the global instance and every other.
#
# Each instance carries a tag in its padding (compat.h): the epoch it was seeded under, and where its seed came from. A
# draw whose tag is not of this epoch reseeds the instance first, unless its seed was chosen; so one instance or a
# hundred thousand cost a restore the same. A tag is kept inverted: the padding is 0 where nothing was written yet, and
# that is of no epoch. So an instance that is older than activation is stale from its first draw.
#
# On builds without a GIL a state and its tag change under the instance's lock (object_lock.h), so that no thread renews
# what another one has just seeded. A draw takes no lock of ours: it looks at the tag, and CPython draws under its own
# lock of the instance. So a state that is stale already is never set there, for a draw may have looked before: what
# seed() and setstate() would make stale, they renew.
#
# entries.h says how what has a C name of its own is called.

cdef enum:
    KIND_SYSTEM = 0     # seeded by the operating system: renewed
    KIND_KEPT = 1       # seeded by the program: its sequence is kept
    KIND_FOREIGN = 2    # has a state that this process had not seen before, as of a pickle: kept, and told
    KIND_OLD = 3        # older than activation: renewed
    KIND_MASK = 3

cdef extern from *:
    """
    static int ss_reseed_kept;              /* atomic; SNAPSAFE_SEEDED=reseed */
    static uint64_t ss_random_reseeds, ss_random_kept, ss_random_chosen, ss_random_older; /* atomic */
    /* What the status page shows of it: is the module's own instance kept, and how many have a foreign state? */
    static ss_random_seeds ss_random_seeded;
    static PyObject *ss_random_global; /* atomic; borrowed, for comparison alone: the instance behind random.random() */
    #define ss_random_set_global(instance) __atomic_store_n(&ss_random_global, (instance), __ATOMIC_RELAXED)
    #define ss_random_is_global(instance) (__atomic_load_n(&ss_random_global, __ATOMIC_RELAXED) == (instance))
    static initproc ss_random_init;        /* _random.Random's own; the same for every copy of the type */
    static newfunc ss_random_new;          /* the same, where it is tp_new that seeds: 3.10 */

    static void ss_random_hook(PyObject *cls, int hooked, initproc guard_init, newfunc guard_new)
    {
        PyTypeObject *type = (PyTypeObject *)cls;
        if (type->tp_init != PyBaseObject_Type.tp_init) {
            if (!ss_random_init)
                ss_random_init = type->tp_init;
            ss_guard_exchange_init(type, hooked ? ss_random_init : guard_init, hooked ? guard_init : ss_random_init,
                                   NULL, NULL);
        } else {
            if (!ss_random_new)
                ss_random_new = type->tp_new;
            ss_guard_exchange_init(type, NULL, NULL, hooked ? ss_random_new : guard_new,
                                   hooked ? guard_new : ss_random_new);
        }
    }
    static int ss_random_is_hooked(PyObject *cls, initproc guard_init, newfunc guard_new)
    {
        const PyTypeObject *type = (PyTypeObject *)cls;
        return type->tp_base == &PyBaseObject_Type && type->tp_basicsize == (Py_ssize_t)SS_RANDOM_BASICSIZE &&
               (type->tp_init == guard_init || type->tp_new == guard_new);
    }
    static inline PyObject *ss_call_three(PyObject *function, PyObject *a, PyObject *b, PyObject *c)
    {
        PyObject *with_room[] = {NULL, a, b, c};
        return PyObject_Vectorcall(function, with_room + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL);
    }
    static inline PyObject *ss_owned(PyObject *made) { return made; }
    #define ss_enter(p) ((void)__atomic_add_fetch((p), 1, __ATOMIC_SEQ_CST))
    #define ss_leave(p) ((void)__atomic_sub_fetch((p), 1, __ATOMIC_SEQ_CST))
    #define ss_inside(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    static inline void ss_random_copy(PyObject *self, void *out, size_t size)
    {
        Py_BEGIN_CRITICAL_SECTION(self);
        memcpy(out, (char *)self + SS_RANDOM_STATE_OFFSET, size);
        Py_END_CRITICAL_SECTION();
    }
    /* The words of a state: those of the instance; where another thread may draw from that meanwhile, those of the
       tuple that getstate() returned or setstate() took, left in `room`. */
    static inline const uint32_t *ss_random_words(PyObject *self, PyObject *state, uint32_t *room)
    {
        if (!SS_FREE_THREADED)
            return (uint32_t *)((char *)self + SS_RANDOM_STATE_OFFSET);
        for (int i = 0; i < SS_RANDOM_STATE_WORDS; i++)
            room[i] = (uint32_t)PyLong_AsUnsignedLong(PyTuple_GET_ITEM(state, i));
        return room;
    }
    /* Does setstate() take it, and run no Python code? Leaves its words in `room`, and no exception. */
    static inline int ss_random_whole_state(PyObject *state, uint32_t *room)
    {
        if (!PyTuple_Check(state) || PyTuple_GET_SIZE(state) != SS_RANDOM_STATE_WORDS + 1)
            return 0;
        for (int i = 0; i <= SS_RANDOM_STATE_WORDS; i++)
            if (!PyLong_Check(PyTuple_GET_ITEM(state, i)))
                return 0;
        (void)ss_random_words(NULL, state, room);
        const long index = PyLong_AsLong(PyTuple_GET_ITEM(state, SS_RANDOM_STATE_WORDS));
        const int whole = !PyErr_Occurred() && index >= 0 && index <= SS_RANDOM_STATE_WORDS;
        PyErr_Clear();
        return whole;
    }
    /* A seed with which the original runs no Python code: not one whose hash is to be asked yet. A new reference, or
       NULL with an exception set. */
    static inline PyObject *ss_random_plain_seed(PyObject *seed)
    {
        if (!SS_FREE_THREADED || PyLong_Check(seed) || PyFloat_CheckExact(seed))
            return Py_NewRef(seed);
        const Py_hash_t hash = PyObject_Hash(seed); /* as random_seed() in Modules/_randommodule.c */
        return hash == -1 ? NULL : PyLong_FromSize_t((size_t)hash);
    }
    """
    int ss_reseed_kept
    uint64_t ss_random_reseeds, ss_random_kept, ss_random_chosen, ss_random_older
    ss_random_seeds ss_random_seeded
    void ss_random_set_global(PyObject* instance) noexcept
    bint ss_random_is_global(PyObject* instance) noexcept
    void ss_random_copy(PyObject* self, void* out, size_t size) noexcept
    void ss_enter(uint64_t*) noexcept
    void ss_leave(uint64_t*) noexcept
    uint64_t ss_inside(uint64_t*) noexcept
    const uint32_t* ss_random_words(PyObject* self, PyObject* state, uint32_t* room) noexcept
    PyObject* ss_random_plain_seed(PyObject* seed) noexcept
    bint ss_random_whole_state(PyObject* state, uint32_t* room) noexcept
    ctypedef int (*initproc)(PyObject*, PyObject*, PyObject*) noexcept
    ctypedef PyObject* (*newfunc)(PyTypeObject*, PyObject*, PyObject*) noexcept
    bint ss_random_is_hooked(PyObject* cls, initproc guard_init, newfunc guard_new) noexcept
    initproc ss_random_init
    newfunc ss_random_new
    void ss_random_hook(PyObject* cls, bint hooked, initproc guard_init_, newfunc guard_new_) noexcept
    object ss_owned(PyObject* made)     # steals; NULL raises what is set
    PyObject* ss_call_three(PyObject* function, PyObject* a, PyObject* b, PyObject* c) noexcept


cdef inline uint32_t* tag_of(PyObject* self) noexcept:
    return <uint32_t*>(<char*>self + SS_RANDOM_TAG_OFFSET)


cdef inline uint32_t make_tag(uint64_t epoch, uint32_t kind) noexcept:
    return ~(<uint32_t>(epoch << 2) | kind)


cdef inline uint32_t kind_of_tag(uint32_t tag) noexcept:
    return ~tag & KIND_MASK


cdef inline bint is_stale(uint32_t tag, uint64_t epoch) noexcept:
    return (tag ^ <uint32_t>(epoch << 2)) < ~<uint32_t>KIND_MASK


cdef inline bint is_kept(PyObject* self) noexcept:
    cdef uint32_t kind = kind_of_tag(ss_load_u32(tag_of(self)))
    return (kind == KIND_KEPT or kind == KIND_FOREIGN) and not ss_load_int(&ss_reseed_kept)


# With the instance's lock.
cdef void set_tag(PyObject* self, uint32_t tag) noexcept:
    cdef uint32_t* own = tag_of(self)
    cdef bint foreign = kind_of_tag(tag) == KIND_FOREIGN
    if foreign != (kind_of_tag(ss_load_u32(own)) == KIND_FOREIGN):
        ss_add(&ss_random_seeded.foreign, 1 if foreign else -1)
    ss_store_u32(own, tag)
    if ss_random_is_global(self):
        ss_store_u64(&ss_random_seeded.global_kept, is_kept(self))


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


# Forgets it: it was drawn from the state that is being renewed. Returns what it was, a new reference or NULL: what a
# program has put there may run code of its own when it goes.
cdef PyObject* forget_gauss_next(PyObject* self) noexcept:
    cdef PyObject* value = gauss_next_of(self)
    cdef PyObject* name
    if value != NULL and value != RAW_NONE:
        name = raw_str("gauss_next")
        if name == NULL or raw_generic_setattr(self, name, RAW_NONE) != 0:
            raw_error_clear()
        raw_xdecref(name)
    return value


# Seeds the instance as seed(None) does (Modules/_randommodule.c: 624 words of the system's entropy through
# init_by_array), but from fenced entropy; or, for a draw, from its own old state with the CPU's stream stirred in: the
# program need not permit a system call there. False, with no exception set, where there was no entropy: the tag stays
# stale then and the next draw tries again. With the instance's lock.
cdef bint reseed(PyObject* self, bint drawing) noexcept:
    cdef unsigned char key[2496]
    cdef PyObject* number
    cdef PyObject* result
    ss_random_copy(self, key, sizeof(key))
    if not (drawing and ss_entropy_stir(key, sizeof(key))) and ss_entropy_fill(key, sizeof(key)) != 0:
        return False
    number = ss_long_from_little(key, sizeof(key))
    explicit_bzero(key, sizeof(key))
    if number == NULL:
        raw_error_clear()
        return False
    result = ss_call_fast(&ss_guard_stock[SS_GUARD_SEED], self, &number, 1)
    raw_decref(number)
    if result == NULL:
        raw_error_clear()
        return False
    raw_decref(result)
    ss_count(&ss_random_reseeds)
    return True


# Brings a stale instance into `epoch`, unless another thread has done that.
cdef void settle(PyObject* self, uint64_t epoch) noexcept:
    cdef PyObject* forgotten = NULL
    # Before the lock is taken: a subclass may have made it a property. Who leaves one from now on began before the
    # restore, and forgets it (Gauss), or has renewed the instance.
    if not is_kept(self):
        forgotten = forget_gauss_next(self)
    ss_object_lock(self)
    if not is_stale(ss_load_u32(tag_of(self)), epoch):
        pass
    elif is_kept(self):
        ss_count(&ss_random_kept)
        set_tag(self, make_tag(epoch, kind_of_tag(ss_load_u32(tag_of(self)))))
    elif reseed(self, True):
        if kind_of_tag(ss_load_u32(tag_of(self))) == KIND_OLD:
            ss_count(&ss_random_older)
        set_tag(self, make_tag(epoch, KIND_SYSTEM))
    ss_object_unlock(self)
    raw_xdecref(forgotten)


# A kept sequence is never drawn from twice for one value: that would skip one.
cdef inline bint may_return(PyObject* self, PyObject* value, uint64_t epoch) noexcept:
    return SS_LIKELY(ss_epoch_unchanged(epoch)) or value == NULL or is_kept(self)


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
    cdef PyObject* value
    if SS_FREE_THREADED:
        return getstate_locked(self, unused, guard)
    value = draw(self, unused, guard)
    if value != NULL:
        note_state(self, value)
    return value


cdef void note_state(PyObject* self, PyObject* state) noexcept:
    cdef uint32_t[SS_RANDOM_STATE_WORDS] room
    ss_provenance_note_state(ss_random_words(self, state, room), ss_load_u32(tag_of(self)))


# Where another thread may seed it meanwhile: a state is noted with the tag that is of it.
cdef PyObject* getstate_locked(PyObject* self, PyObject* unused, ss_guard* guard) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value
    cdef int tries = 0
    while True:
        epoch = ss_epoch_begin()
        if is_stale(ss_load_u32(tag_of(self)), epoch):
            settle(self, epoch)
        ss_object_lock(self)
        value = ss_call(guard, self, unused)
        if value != NULL:
            note_state(self, value)
        ss_object_unlock(self)
        tries += 1
        if value == NULL or ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
            return value
        raw_decref(value)


# Is what the program would set stale already, where a draw may have looked at the tag before?
cdef inline bint is_to_be_renewed(uint32_t tag, uint64_t epoch) noexcept:
    if not SS_FREE_THREADED or not is_stale(tag, epoch):
        return False
    return kind_of_tag(tag) == KIND_SYSTEM or kind_of_tag(tag) == KIND_OLD or ss_load_int(&ss_reseed_kept)


# Renews it instead. None, a new reference; or NULL, with no exception set, where there was no entropy.
cdef PyObject* renewed(PyObject* self, uint64_t epoch) noexcept:
    cdef PyObject* forgotten = forget_gauss_next(self)
    cdef PyObject* value = NULL
    ss_object_lock(self)
    if reseed(self, False):
        set_tag(self, make_tag(epoch, KIND_SYSTEM))
        value = RAW_NONE
        raw_incref(value)
    ss_object_unlock(self)
    raw_xdecref(forgotten)
    return value


# Neither seed() nor setstate() is repeated: they carry the epoch they began under, and the next draw sees whether that
# still stands.
cdef PyObject* guard_setstate "guard_setstate"(PyObject* self, PyObject* state, ss_guard* guard) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef uint32_t[SS_RANDOM_STATE_WORDS] room
    cdef uint32_t tag
    cdef PyObject* value
    if SS_FREE_THREADED:
        if not ss_random_whole_state(state, room):      # the original raises, or asks Python code
            return ss_call(guard, self, state)
        if ss_provenance_of_state(room, &tag) and is_to_be_renewed(tag, epoch):
            value = renewed(self, epoch)
            if value != NULL:
                return value
    ss_object_lock(self)
    value = ss_call(guard, self, state)
    if value != NULL:
        if not ss_provenance_of_state(ss_random_words(self, state, room), &tag):
            tag = make_tag(epoch, KIND_KEPT if ss_load_int(&ss_reseed_kept) else KIND_FOREIGN)
        set_tag(self, tag)
    ss_object_unlock(self)
    return value


# Is this seed the system's? Leaves the epoch that it is of.
cdef bint is_systems(PyObject* seed, uint64_t* ret_epoch) noexcept:
    cdef uint64_t number
    cdef unsigned char* big = NULL
    cdef size_t size = 0
    cdef bint found, is_small, is_negative
    cdef double value
    if raw_float_check(seed):
        value = raw_float_value(seed)
        return ss_provenance_of_moment_float(value) or (    # SystemRandom.random() is 53 bits
            0 < value < 1 and ss_provenance_of_number(<uint64_t>(value * 9007199254740992.0), ret_epoch))
    if not raw_long_check(seed):
        return False
    is_small = ss_long_small(seed, &number)
    if is_small and (ss_provenance_of_number(number, ret_epoch) or ss_provenance_of_moment(number)
                     or (number > 0 and ss_provenance_of_number(number - 1, ret_epoch))):   # of randint(1, n)
        return True
    is_negative = ss_long_negative(seed)    # it was read as a signed number
    if (is_small and not is_negative) or ss_long_to_big(seed, &big, &size) != 0:
        return False
    found = ((not is_small and ss_provenance_of_seed(big, size, ret_epoch))
             or (is_negative and ss_provenance_of_negative(big, size, ret_epoch)))
    free(big)
    return found


def is_of_system(seed, /):
    """Was this number given out by the system, so that nobody chose it as a seed?"""
    cdef uint64_t epoch = 0
    return is_systems(<PyObject*>seed, &epoch)


# What `seed` makes of an instance that is seeded with it.
cdef uint32_t tag_of_seed(PyObject* seed, uint64_t epoch) noexcept:
    cdef uint64_t origin = epoch
    if is_systems(seed, &origin):
        return make_tag(origin, KIND_SYSTEM)
    return make_tag(epoch, KIND_KEPT)


cdef void tag_seeded(PyObject* self, uint32_t tag) noexcept:
    if kind_of_tag(tag) == KIND_KEPT:
        ss_count(&ss_random_chosen)
    set_tag(self, tag)


# The system's seed, fenced where the kernel is not to be trusted yet: in C, seed(None) goes past os.urandom. With the
# instance's lock.
cdef bint seed_by_system(PyObject* self, uint64_t epoch) noexcept:
    if not ss_fence_up() or not reseed(self, False):
        return False
    set_tag(self, make_tag(epoch, KIND_SYSTEM))
    return True


cdef PyObject* guard_seed "guard_seed"(PyObject* self, PyObject** args, Py_ssize_t count, ss_guard* guard) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef PyObject* value = NULL
    cdef PyObject* seed
    cdef uint32_t tag
    if count == 0 or (count == 1 and args[0] == RAW_NONE):
        ss_object_lock(self)
        if seed_by_system(self, epoch):
            value = RAW_NONE
            raw_incref(RAW_NONE)
        else:
            value = ss_call_fast(guard, self, args, count)
            if value != NULL:
                set_tag(self, make_tag(epoch, KIND_SYSTEM))
        ss_object_unlock(self)
        return value
    if count != 1:      # the original raises
        return ss_call_fast(guard, self, args, count)
    seed = ss_random_plain_seed(args[0])
    if seed == NULL:
        return NULL
    tag = tag_of_seed(args[0], epoch)
    if is_to_be_renewed(tag, epoch):
        value = renewed(self, epoch)
    if value == NULL:
        ss_object_lock(self)
        value = ss_call_fast(guard, self, &seed, 1)
        if value != NULL:
            tag_seeded(self, tag)
        ss_object_unlock(self)
    raw_decref(seed)
    return value


# tp_init of _random.Random seeds in C from 3.11 on, tp_new before, past the seed method. random.Random has an __init__
# of its own; this is for bare _random.Random(x), which would else look as if it were older than activation. Nobody else
# has the instance yet, unless a program calls __init__ again.
cdef void tag_new(PyObject* self, PyObject* args, uint64_t epoch) noexcept:
    cdef uint32_t tag
    if raw_tuple_size(args) == 0 or raw_tuple_item(args, 0) == RAW_NONE:
        ss_object_lock(self)
        set_tag(self, make_tag(epoch, KIND_SYSTEM))
        seed_by_system(self, epoch)
    else:
        tag = tag_of_seed(raw_tuple_item(args, 0), epoch)
        ss_object_lock(self)
        tag_seeded(self, tag)
    ss_object_unlock(self)


cdef int guard_init(PyObject* self, PyObject* args, PyObject* kwargs) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef int outcome = ss_random_init(self, args, kwargs)
    if outcome == 0:
        tag_new(self, args, epoch)
    return outcome


cdef PyObject* guard_new(PyTypeObject* cls, PyObject* args, PyObject* kwargs) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef PyObject* made = ss_random_new(cls, args, kwargs)
    if made != NULL:
        tag_new(made, args, epoch)
    return made


# gauss() hands out its second value without a draw, so it is checked itself. Python code calls this in its place
# (snapsafe_rt/guards/random.py); `function` is a copy of the original.
#
# A thread that began before a restore may leave a second value, of the old state, in an instance that another one has
# renewed meanwhile; it forgets that before it ends. Until then the others go past what they find there. Who begins
# notes that first, and looks at the epoch then; so who finds nobody else knows that all who come later see its epoch at
# least.
cdef class Gauss:
    cdef object function
    cdef type base, namespace
    cdef uint64_t inside    # atomic; calls that did not end yet, of all threads
    cdef uint64_t clear     # atomic; the last epoch under which nobody was inside who began before it

    def __init__(self, function, type base not None):
        if not is_hooked(base):     # its instances have no room for a tag
            raise TypeError(f"{base!r} is no _random.Random")
        self.function = function
        self.base = base
        import sys
        self.namespace = type(sys.implementation)
        self.clear = ss_epoch_begin()

    def __call__(self, rng, mu, sigma):
        cdef uint64_t epoch = 0
        cdef PyObject* value
        if not isinstance(rng, self.base):      # by the type's layout: a __class__ that it has set says nothing
            return self.function(rng, mu, sigma)
        ss_enter(&self.inside)
        value = self.draw(<PyObject*>rng, <PyObject*>mu, <PyObject*>sigma, &epoch)
        if SS_UNLIKELY(value == NULL):
            try:
                return raise_forgetting(<PyObject*>rng, epoch)
            finally:
                ss_leave(&self.inside)
        ss_leave(&self.inside)
        return ss_owned(value)

    # A new reference, or NULL with an exception set. Leaves the epoch of the last try.
    cdef PyObject* draw(self, PyObject* rng, PyObject* mu, PyObject* sigma, uint64_t* ret_epoch) noexcept:
        cdef uint64_t epoch
        cdef PyObject* value
        cdef int tries = 0
        while True:
            epoch = ret_epoch[0] = ss_epoch_begin()
            if is_stale(ss_load_u32(tag_of(rng)), epoch):
                settle(rng, epoch)
            if SS_LIKELY(self.is_clear(epoch)) or is_kept(rng):     # a chosen sequence is not to be skipped
                value = ss_call_three(<PyObject*>self.function, rng, mu, sigma)
            else:
                value = by_stand_in(<PyObject*>self.namespace, <PyObject*>self.function, rng, mu, sigma)
            tries += 1
            if value == NULL or may_return(rng, value, epoch) or tries == SS_DRAW_TRIES:
                return value
            raw_decref(value)
            raw_xdecref(forget_gauss_next(rng))

    cdef inline bint is_clear(self, uint64_t epoch) noexcept:
        if SS_LIKELY(ss_load_u64(&self.clear) == epoch):
            return True
        if ss_inside(&self.inside) > 1:
            return False
        ss_store_u64(&self.clear, epoch)
        return True


# Calls the function on what stands for the instance, and has no second value. A new reference, or NULL with an
# exception set.
cdef PyObject* by_stand_in(PyObject* namespace, PyObject* function, PyObject* rng, PyObject* mu,
                           PyObject* sigma) noexcept:
    cdef PyObject* draws = raw_getattr(rng, "random")
    cdef PyObject* stand_in = NULL
    cdef PyObject* value = NULL
    if draws != NULL:
        stand_in = raw_call(namespace)
    if (stand_in != NULL and raw_setattr(stand_in, "random", draws) == 0
            and raw_setattr(stand_in, "gauss_next", RAW_NONE) == 0):
        value = ss_call_three(function, stand_in, mu, sigma)
    raw_xdecref(stand_in)
    raw_xdecref(draws)
    return value


# Raises the exception that is set.
cdef object raise_forgetting(PyObject* self, uint64_t epoch):
    try:
        return ss_owned(NULL)
    except BaseException:
        if not may_return(self, self, epoch):
            raw_xdecref(forget_gauss_next(self))
        raise


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
        ss_random_hook(type_, True, guard_init, guard_new)
        ss_guard_module("_random", module, NULL)
    raw_decref(type_)
