# The uuid room: what the functions of a `uuid` module do while it is patched (snapsafe_rt/guards/uuid.py exchanges
# them for these methods).
#
# The native paths make what the module would make, only faster, and only while everything that the module's own code
# looks up is what it was: a program or a test that replaced os.urandom, time.time_ns or uuid.UUID gets the module's own
# code. Methods are called with the GIL, or attached on free-threaded builds; what is declared noexcept sets no
# exception unless it says so. No lock is held across Python code.

cdef extern from *:
    """
    #include <time.h>
    /* uuid7's counter (RFC 9562 section 6.2, method 1): 42 bits, of which a fresh one leaves the highest clear. */
    #define SS_COUNTER_MAX UINT64_C(0x3ffffffffff)
    #define SS_COUNTER_FRESH UINT64_C(0x1ffffffffff)
    static inline uint64_t ss_unix_ns(void)
    {
        struct timespec now;
        (void)clock_gettime(CLOCK_REALTIME, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
    }
    """
    uint64_t ss_unix_ns() noexcept nogil
    const uint64_t SS_COUNTER_MAX, SS_COUNTER_FRESH

cdef enum:
    NODE_BITS = 48
    SEQUENCE_MASK = 0x3fff


# Is `value` what the name stands for? Compared by identity only, so a borrowed reference will do without the GIL too.
cdef inline bint stands_for(dict names, str name, object value) noexcept:
    cdef PyObject* found = raw_dict_get(<PyObject*>names, <PyObject*>name)
    if SS_UNLIKELY(found == NULL):
        raw_error_clear()
    return SS_LIKELY(found == <PyObject*>value)


cdef Py_ssize_t slot_offset(type cls, str name) except? -1:
    descriptor = cls.__dict__.get(name)
    return ss_slot_offset(<PyTypeObject*>cls, <PyObject*>descriptor)


# Moves a counter of another epoch or process by a random distance: clones share the clock and the counter, and 32
# random bits alone do not keep them apart. Forward, so that the order holds; within the millisecond, for the module's
# own code runs ahead of the clock as soon as its timestamp is. 0, or -1 where there is no entropy.
cdef int spread(uint64_t* counter, uint64_t epoch) noexcept:
    cdef uint64_t distance = 0
    if ss_pool_take(&distance, sizeof(distance), epoch) != 0:
        return -1
    distance = counter[0] + (distance & SS_COUNTER_FRESH)
    counter[0] = distance if distance < SS_COUNTER_MAX else SS_COUNTER_MAX     # spent: the next is a fresh one
    return 0


@cython.final
cdef class Uuid:
    """The functions of one `uuid` module; imported again it is another module, with a UUID class of its own."""
    cdef dict names, os_names, time_names
    cdef object os, urandom, time, time_ns, safe, unknown, own_getnode, own_generate, node_seen
    # What time_ns() is made of, and what that calls in stock Python: some replace it there. 0: not known.
    cdef PyMethodDef* clock
    cdef uint64_t clock_stock       # atomic
    cdef type cls
    cdef str key_os, key_urandom, key_time, key_time_ns, key_cls, key_safe, key_last, key_counter
    cdef str key_node, key_generate
    # What instances are made of, as it was when the module was patched: ((attribute, value), ...) of the class.
    cdef tuple members
    cdef uint32_t version           # atomic; of the class, when it was last seen to be made of them; 0 if unknown
    cdef Py_ssize_t int_offset, safe_offset
    cdef uint64_t names_seen, os_seen, time_seen    # versions of the dicts, when all names stood for what they did
    cdef bint follows
    cdef bint native                # instances can be made without running __init__
    cdef bint safe_looked_up        # the module's code looks SafeUUID up at each call
    cdef bint time_looked_up        # the module's code looks `time` up in its globals
    # The module's own functions, as copies.
    cdef object stock1, stock4, stock6, stock7, stock_getnode
    # uuid7: the last timestamp and counter, whose they are, and the objects that mirror them in the module's globals.
    cdef uint64_t last, counter, epoch, token
    cdef bint begun
    cdef int mirroring
    cdef object last_object, counter_object

    def __init__(self, module, dict originals not None):
        """`originals`: the module's own functions by name, as copies that work while the module's are exchanged."""
        import os
        import posix
        import time
        self.key_os, self.key_urandom, self.key_cls, self.key_safe = "os", "urandom", "UUID", "SafeUUID"
        self.key_time, self.key_time_ns = "time", "time_ns"
        self.key_last, self.key_counter = "_last_timestamp_v7", "_last_counter_v7"
        self.names, self.os_names, self.time_names = module.__dict__, os.__dict__, time.__dict__
        self.os, self.time = os, time
        self.urandom = posix.urandom
        # A clock replaced before we came is not the one that the native path reads.
        self.time_ns = time.time_ns if getattr(time.time_ns, "__self__", None) is time else object()
        self.clock, self.clock_stock = ss_definition(<PyObject*>self.time_ns), 0
        self.key_node, self.key_generate = "_node", "_generate_time_safe"
        self.own_generate = ss_dict_or(self.names, self.key_generate, None)
        self.node_seen = ss_dict_or(self.names, self.key_node, None)
        self.time_looked_up = "time" in self.names
        self.cls, self.safe = module.UUID, module.SafeUUID
        self.unknown = self.safe.unknown
        self.safe_looked_up = "_from_int" in self.cls.__dict__
        self.own_getnode = module.getnode
        self.stock1, self.stock6 = originals.get("uuid1"), originals.get("uuid6")
        self.stock7, self.stock_getnode = originals.get("uuid7"), originals.get("getnode")
        self.stock4 = Rechecked(originals.get("uuid4"))
        # Not a generator: Cython would import a module for its type.
        self.members = tuple([(name, self.cls.__dict__.get(name))
                              for name in ("__init__", "__new__", "_from_int", "int", "is_safe")])
        self.int_offset, self.safe_offset = slot_offset(self.cls, "int"), slot_offset(self.cls, "is_safe")
        self.native = (self.cls.__bases__ == (object,) and self.int_offset > 0 and self.safe_offset > 0
                       and self.cls.__dict__.get("__slots__") == ("int", "is_safe", "__weakref__"))
        # The state that the module has by now is this process's own.
        self.epoch, self.token = ss_epoch_begin(), ss_process_token()
        ss_pool_prepare()
        ss_pool_discard()
        for followed in (self.names, self.os_names, self.time_names):
            ss_dict_watch_begin(<PyObject*>followed)
        self.follows = True

    def leave(self):
        """The module is no longer patched."""
        if self.follows:
            self.follows = False
            self.names_seen = 0
            for followed in (self.names, self.os_names, self.time_names):
                ss_dict_watch_end(<PyObject*>followed)

    # All that the native paths rely on, at the least price: nothing was stored anywhere since it was looked up. Without
    # a GIL nobody can tell (compat.h).
    cdef inline bint untouched(self) noexcept:
        return SS_LIKELY(not SS_FREE_THREADED and self.version != 0
                         and ss_dict_watch_version(<PyObject*>self.names) == self.names_seen
                         and ss_dict_watch_version(<PyObject*>self.os_names) == self.os_seen
                         and ss_dict_watch_version(<PyObject*>self.time_names) == self.time_seen
                         and ss_type_version(<PyTypeObject*>self.cls) == self.version and self.names_seen != 0)

    # May uuid4 be made natively? And what also tells the time? Each looks the names up where something was stored.
    cdef inline bint draws_natively(self) noexcept:
        return self.untouched() or (self.class_is_ours() and self.entropy_is_ours() and self.note_untouched())

    cdef inline bint ticks_natively(self) noexcept:
        return self.clock_is_stock() and (self.untouched() or (
            self.class_is_ours() and self.entropy_is_ours() and self.clock_is_ours() and self.note_untouched()))

    cdef bint note_untouched(self) noexcept:
        if SS_FREE_THREADED:
            return True
        self.names_seen = 0
        if self.clock_is_ours():
            self.os_seen = ss_dict_watch_version(<PyObject*>self.os_names)
            self.time_seen = ss_dict_watch_version(<PyObject*>self.time_names)
            self.names_seen = ss_dict_watch_version(<PyObject*>self.names)
        return True

    # Does the name UUID still stand for the class that we know, unchanged?
    cdef bint class_is_ours(self) noexcept:
        return (stands_for(self.names, self.key_cls, self.cls)
                and (not self.safe_looked_up or stands_for(self.names, self.key_safe, self.safe))
                and (SS_LIKELY(self.has_version(ss_load_u32(&self.version))) or self.class_is_unchanged()))

    cdef inline bint has_version(self, uint32_t version) noexcept:
        return version != 0 and ss_type_version(<PyTypeObject*>self.cls) == version

    cdef bint class_is_unchanged(self) noexcept:
        cdef dict own
        cdef uint32_t version
        if not self.native:
            return False
        getattr(self.cls, "int", None)      # gives the class a version where it has none
        version = ss_type_version(<PyTypeObject*>self.cls)
        own = dict(self.cls.__dict__)
        for name, value in self.members:
            if own.get(name) is not value:
                ss_store_u32(&self.version, 0)
                return False
        ss_store_u32(&self.version, version)
        return True

    def replaced(self):
        """What the module's own code would draw by that is not what it was, as (name, what it is); None for nothing.

        A clock and os.urandom are not: what uuid7 adds to the one is unique, and the other has a row of its own.
        """
        if not stands_for(self.names, self.key_os, self.os):
            return "os", ss_dict_or(self.names, self.key_os, None)
        if not stands_for(self.names, self.key_cls, self.cls):
            return "UUID", ss_dict_or(self.names, self.key_cls, None)
        for name, value in self.members:
            if self.cls.__dict__.get(name) is not value:
                return f"UUID.{name}", self.cls.__dict__.get(name)
        return None

    cdef inline bint entropy_is_ours(self) noexcept:
        return (stands_for(self.names, self.key_os, self.os)
                and stands_for(self.os_names, self.key_urandom, self.urandom))

    # Does time_ns(), the object, call what stock's does?
    cdef inline bint clock_is_stock(self) noexcept:
        cdef uint64_t stock = ss_load_u64(&self.clock_stock)
        if SS_UNLIKELY(stock == 0) and self.clock != NULL and ss_definition_is_stock(self.clock):
            stock = <uint64_t><size_t>self.clock.ml_meth
            ss_store_u64(&self.clock_stock, stock)
        return SS_LIKELY(stock != 0 and <uint64_t><size_t>self.clock.ml_meth == stock)

    cdef inline bint clock_is_ours(self) noexcept:
        return (self.clock_is_stock() and stands_for(self.time_names, self.key_time_ns, self.time_ns)
                and (not self.time_looked_up or stands_for(self.names, self.key_time, self.time)))

    # A UUID without running __init__. New reference, or NULL with an exception set.
    cdef inline PyObject* make(self, uint64_t high, uint64_t low) noexcept:
        cdef PyObject* number = ss_long_from_words(high, low)
        cdef PyObject* made
        if SS_UNLIKELY(number == NULL):
            return NULL
        made = raw_alloc(<PyTypeObject*>self.cls, 0)
        if SS_UNLIKELY(made == NULL):
            raw_decref(number)
            return NULL
        (<PyObject**>(<char*>made + self.int_offset))[0] = number
        raw_incref(<PyObject*>self.unknown)
        (<PyObject**>(<char*>made + self.safe_offset))[0] = <PyObject*>self.unknown
        return made

    def uuid4(self):
        cdef uint64_t[2] drawn
        cdef uint64_t epoch
        cdef PyObject* made
        cdef int tries = 0
        while self.draws_natively():
            epoch = ss_epoch_begin()
            if SS_UNLIKELY(ss_pool_take(drawn, sizeof(drawn), epoch) != 0):
                break       # the module's own code raises what os.urandom raises
            drawn[0] = (drawn[0] & ~<uint64_t>0xf000) | 0x4000
            drawn[1] = (drawn[1] & ~(<uint64_t>3 << 62)) | <uint64_t>1 << 63
            ss_provenance_note_ends(&ss_provenance_last_uuid, drawn[0], drawn[1])
            made = self.make(drawn[0], drawn[1])
            tries += 1
            if SS_LIKELY(ss_epoch_unchanged(epoch)) or made == NULL or tries == SS_DRAW_TRIES:
                return ss_owned(made)
            raw_decref(made)
        return self.stock4()

    # ---- uuid7 ----

    # The next timestamp, counter and random tail, stepped as the module's own code steps them. 0, or -1 where there is
    # no entropy. In a critical section on free-threaded builds.
    cdef inline int step(self, uint64_t epoch, uint64_t token, uint64_t now, uint32_t* ret_tail) noexcept:
        cdef unsigned char[10] drawn
        cdef uint64_t counter = self.counter
        cdef uint64_t fresh = 0
        if self.begun and now <= self.last:
            if now < self.last:
                now = self.last + 1
            if SS_UNLIKELY(self.epoch != epoch or self.token != token):
                if spread(&counter, epoch) != 0:
                    return -1
            counter += 1
            if SS_LIKELY(counter <= SS_COUNTER_MAX):
                if SS_UNLIKELY(ss_pool_take(ret_tail, sizeof(uint32_t), epoch) != 0):
                    return -1
                self.last, self.counter = now, counter
                self.epoch, self.token = epoch, token
                return 0
            now += 1
        if SS_UNLIKELY(ss_pool_take(drawn, sizeof(drawn), epoch) != 0):
            return -1
        memcpy(&fresh, drawn, 6)
        memcpy(ret_tail, drawn + 6, 4)
        self.last, self.counter, self.begun = now, fresh & SS_COUNTER_FRESH, True
        self.epoch, self.token = epoch, token
        return 0

    # Takes over what somebody else wrote into the module's globals: a test, or the module's own code. False where it is
    # nothing that we could go on from.
    cdef bint adopt(self) noexcept:
        cdef object last = ss_dict_or(self.names, self.key_last, self)
        cdef object counter = ss_dict_or(self.names, self.key_counter, self)
        if self.mirroring:
            return True     # another thread is between writing there and noting that it did
        if (last is not None and not (type(last) is int and 0 <= last < 1 << 60)) or not (
                type(counter) is int and 0 <= counter < 1 << 60):
            return False
        self.begun = last is not None
        self.last = last if self.begun else 0
        self.counter = counter
        self.last_object, self.counter_object = last, counter
        return True

    cdef inline bint globals_are_ours(self) noexcept:
        return stands_for(self.names, self.key_last, self.last_object) and stands_for(
            self.names, self.key_counter, self.counter_object)

    # Writes the state into the module's globals, where the module's own code reads it. Another thread may draw before
    # that is done: it goes by the state, which moved first.
    cdef int mirror(self, uint64_t last, uint64_t counter, bint moved) except -1:
        self.mirroring += 1
        try:
            if moved:
                self.last_object = last
                self.names[self.key_last] = self.last_object
            self.counter_object = counter
            self.names[self.key_counter] = self.counter_object
        finally:
            self.mirroring -= 1
        return 0

    def uuid7(self):
        cdef uint64_t epoch, token, last, counter, before
        cdef uint32_t tail = 0
        cdef PyObject* made
        cdef int tries = 0
        while self.ticks_natively():
            epoch = ss_epoch_begin()
            token = ss_process_token()
            with critical_section(self):
                if SS_UNLIKELY(not self.globals_are_ours() and not self.adopt()):
                    break
                before = self.last if self.begun else ~<uint64_t>0
                if SS_UNLIKELY(self.step(epoch, token, ss_unix_ns() // 1000000, &tail) != 0):
                    break
                last, counter = self.last, self.counter
                self.mirror(last, counter, last != before)
            made = self.make((last << 16) | 0x7000 | (counter >> 30),
                             <uint64_t>1 << 63 | (counter & 0x3fffffff) << 32 | tail)
            tries += 1
            if SS_LIKELY(ss_epoch_unchanged(epoch)) or made == NULL or tries == SS_DRAW_TRIES:
                return ss_owned(made)
            raw_decref(made)
        return self.own_uuid7()

    # The module's own code, from a counter that was carried on where it is of another epoch or process.
    cdef own_uuid7(self):
        cdef uint64_t epoch, token, counter
        cdef int tries = 0
        while True:
            epoch, token = ss_epoch_begin(), ss_process_token()
            if self.epoch != epoch or self.token != token:
                noted = ss_dict_or(self.names, self.key_counter, None)
                if type(noted) is int and 0 <= noted <= SS_COUNTER_MAX:
                    counter = noted
                    if spread(&counter, epoch) == 0:
                        self.names[self.key_counter] = counter
                        self.epoch, self.token = epoch, token
            value = self.stock7()
            tries += 1
            if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                return value

    # ---- uuid1, uuid6, getnode ----

    # The module's own code until the first restore, and for good where the caller names both node and clock sequence.
    cdef by_time(self, int lane, function, node, clock_seq):
        cdef uint64_t epoch
        cdef int tries = 0
        while True:
            epoch = ss_epoch_begin()
            if epoch == 0 or (node is not None and clock_seq is not None):
                value = function(node, clock_seq)
            else:
                value = self.restored(epoch, lane, function, node, clock_seq)
            tries += 1
            if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                return value

    # As the module's own code, but for the node, and for a step of the timestamp that no thread can come between. What
    # a program or a test has put in the place of the clock, or into the module, counts as it does there.
    cdef restored(self, uint64_t epoch, int lane, function, node, clock_seq):
        cdef ss_uuid_node* ours = node_of(epoch)
        cdef uint64_t timestamp, number, sequence, high, low
        cdef bint by_library = False
        if lane == SS_UUID_NODE_V1 and node is None and clock_seq is None:
            generate = ss_dict_or(self.names, self.key_generate, None)
            by_library = generate is not None and generate is self.own_generate
            if generate is not None and not by_library:
                value = function(None, None)
                # One that passes on what libuuid gives is no other clock: the node would be that of every clone.
                if self.own_generate is None or value.bytes[8:] != self.own_generate()[0][8:]:
                    return value
                by_library = True
        if node is None and not by_library:
            node = self.node_of_others()
        if node is not None and not (type(node) is int and 0 <= node < <uint64_t>1 << NODE_BITS) or (
                clock_seq is not None and type(clock_seq) is not int):
            # Out of range, or of a kind that the module's own code is to judge.
            return function(ours.node if node is None else node, ours.clock_seq if clock_seq is None else clock_seq)
        number = ours.node if node is None else node
        if by_library:      # libuuid's clock is the system's, and its state its own
            sequence, timestamp = ours.clock_seq, ss_uuid_node_timestamp(ours, lane, ss_unix_ns())
        else:
            if clock_seq is None:
                clock_seq = self.sequence_of_others()
            sequence = ours.clock_seq if clock_seq is None else clock_seq & SEQUENCE_MASK
            if self.clock_is_ours():
                when = ss_uuid_node_timestamp(ours, lane, ss_unix_ns())
            else:
                import time
                when = ss_dict_or(self.names, "time", time).time_ns() // 100 + SS_UUID_NODE_UNIX_EPOCH
            if not self.follow(lane, when, &timestamp):
                return function(number, sequence)
        if lane == SS_UUID_NODE_V1:
            high = (timestamp << 32) | (timestamp >> 16 & 0xffff0000) | 0x1000 | (timestamp >> 48 & 0x0fff)
        else:
            high = (timestamp << 4 & ~<uint64_t>0xffff) | 0x6000 | (timestamp & 0x0fff)
        low = <uint64_t>1 << 63 | sequence << NODE_BITS | number
        if self.class_is_ours():
            return ss_owned(self.make(high, low))
        return self.names["UUID"](int=<object>high << 64 | low)

    # The module's last timestamp, stepped as its own code steps it. False where that code is to say what is wrong.
    cdef bint follow(self, int lane, when, uint64_t* ret) except -1:
        ss_object_lock(<PyObject*>self)
        try:
            return self.stepped(lane, when, ret)
        finally:
            ss_object_unlock(<PyObject*>self)

    # With the lock of this object.
    cdef bint stepped(self, int lane, when, uint64_t* ret) except -1:
        key = "_last_timestamp" if lane == SS_UUID_NODE_V1 else "_last_timestamp_v6"
        last = ss_dict_or(self.names, key, None)
        if type(when) is not int or (last is not None and type(last) is not int):
            return False
        if last is not None and when <= last:
            when = last + 1
        if not 0 <= when < <uint64_t>1 << 60:
            return False
        self.names[key] = when
        ret[0] = when
        return True

    # The node, where somebody else decides it: getnode() was replaced, or its cache was set since it was seen.
    cdef node_of_others(self):
        if not stands_for(self.names, "getnode", self.own_getnode):
            return self.names["getnode"]()
        cached = ss_dict_or(self.names, self.key_node, None)
        return cached if not self.has_seen(cached) else None

    cdef bint has_seen(self, node):
        with critical_section(self):
            return node is self.node_seen

    cdef note_node(self):
        node = ss_dict_or(self.names, self.key_node, None)
        with critical_section(self):
            self.node_seen = node

    # The clock sequence that random.getrandbits() would give, where that or the clock is not stock's.
    cdef sequence_of_others(self):
        import sys
        module = sys.modules.get("random")
        getrandbits = getattr(module, "getrandbits", None)
        if getrandbits is None or (ss_guard_is(SS_GUARD_GETRANDBITS, <PyObject*>getrandbits) and self.clock_is_ours()):
            return None
        drawn = getrandbits(14)
        return drawn if type(drawn) is int else None

    def uuid1(self, node, clock_seq):
        return self.by_time(SS_UUID_NODE_V1, self.stock1, node, clock_seq)

    def uuid6(self, node, clock_seq):
        return self.by_time(SS_UUID_NODE_V6, self.stock6, node, clock_seq)

    def getnode(self):
        cdef uint64_t epoch
        cdef int tries = 0
        while True:
            epoch = ss_epoch_begin()
            if epoch == 0:
                cached = ss_dict_or(self.names, self.key_node, None)
                value = self.stock_getnode()
                if cached is None:
                    self.note_node()
            else:
                value = ss_dict_or(self.names, self.key_node, None)
                if value is None or self.has_seen(value):
                    value = node_of(epoch).node
            tries += 1
            if ss_epoch_unchanged(epoch) or tries == SS_DRAW_TRIES:
                return value


cdef ss_uuid_node* node_of(uint64_t epoch) except NULL:
    cdef ss_uuid_node* node = ss_uuid_node_of(epoch)
    if node == NULL:
        raise OSError(errno, "no entropy for a node: neither the kernel nor the CPU gave any")
    return node


def discard_pool():
    """Erase the bytes that uuid4 and uuid7 would draw next."""
    ss_pool_discard()


def pool_left():
    """Bytes drawn in advance and not used yet."""
    return ss_pool_left()


def has_pool():
    """Are bytes drawn in advance while a synchronous source is watched? See pool.h."""
    return not SS_FREE_THREADED
