# The ssl room: for an _ssl whose draws reach no hook of openssl.c, because its OpenSSL is linked into it without
# symbols or ignores RAND_METHOD. Then what draws in _ssl feeds fenced entropy to RAND_add first, once an epoch.
#
# That is less than a hook gives: what another module draws from the same OpenSSL is not seen, nor a restore that falls
# into a call; a TLS record cannot be made again. So it is called refreshed, and nothing where RAND_add does nothing.
#
# entries.h says how what has a C name of its own is called.

cdef extern from "openssl.h" nogil:
    enum: SS_OPENSSL_MAX, SS_OPENSSL_NONE, SS_OPENSSL_RELEASED
    ss_library_table ss_openssl_table() noexcept
    ctypedef struct ss_openssl_info:
        pass
    bint ss_openssl_scan() noexcept
    void ss_openssl_release() noexcept
    void ss_openssl_probe_begin() noexcept
    bint ss_openssl_probe_end() noexcept
    bint ss_openssl_inspect(int index, ss_openssl_info* ret_info) noexcept

cdef extern from "shown.h":
    object ss_show_LibcryptoState(object names, const ss_openssl_info*)

cdef extern from *:
    """
    static uint64_t ss_ssl_tag = UINT64_MAX;  /* the epoch that _ssl's OpenSSL was fed for; at first none */
    static uint64_t ss_ssl_feeds;
    """
    uint64_t ss_ssl_tag, ss_ssl_feeds


# Brings _ssl's OpenSSL into the epoch, and returns that. Several threads may feed it at once: OpenSSL has a lock for
# it, and each tells of its own epoch. `self` is what the guarded method was called on; RAND_add does not look at its
# own. Leaves no exception; where something fails the tag stays stale, and the next call tries again.
cdef uint64_t fed(PyObject* self) noexcept:
    cdef uint64_t epoch = ss_epoch_begin()
    cdef PyObject* args[2]
    cdef PyObject* result
    if SS_LIKELY(ss_load_u64(&ss_ssl_tag) == epoch):
        return epoch
    args[0] = raw_bytes(NULL, 48)
    args[1] = raw_float(48.0)   # openssl.c, reseed_primary(), says why
    if args[0] != NULL and args[1] != NULL and ss_entropy_fill(raw_bytes_data(args[0]), 48) == 0:
        result = ss_call_fast(&ss_guards[SS_GUARD_SSL_RAND_ADD], self, args, 2)
        explicit_bzero(raw_bytes_data(args[0]), 48)
        if result != NULL:
            raw_decref(result)
            ss_count(&ss_ssl_feeds)
            ss_store_u64(&ss_ssl_tag, epoch)
    raw_xdecref(args[0])
    raw_xdecref(args[1])
    raw_error_clear()
    return epoch


cdef void feed_ssl "feed_ssl"(PyObject* self) noexcept:
    fed(self)


cdef PyObject* draw_ssl "draw_ssl"(PyObject* module, PyObject* size, ss_guard* guard) noexcept:
    cdef uint64_t epoch
    cdef PyObject* value
    cdef int tries = 0
    while True:
        epoch = fed(module)
        value = ss_call(guard, module, size)
        tries += 1
        if SS_LIKELY(ss_epoch_unchanged(epoch)) or value == NULL or tries == SS_DRAW_TRIES:
            return value
        raw_decref(value)


# Does a draw by this _ssl reach a hook? Asked by behaviour: which library the linker bound it to cannot be seen from
# here. With the GIL and no exception set; leaves none.
cdef bint ssl_is_hooked(PyObject* module) noexcept:
    cdef PyObject* function = raw_getattr(module, "RAND_bytes")
    cdef PyObject* zero = raw_long(0)
    cdef PyObject* result = NULL
    cdef bint seen = False
    if function != NULL and zero != NULL:
        ss_openssl_probe_begin()
        result = raw_call_one(function, zero)
        seen = ss_openssl_probe_end()
    raw_xdecref(function)
    raw_xdecref(zero)
    raw_xdecref(result)
    raw_error_clear()
    return seen


# When _ssl was executed. With the GIL and no exception set; leaves none.
cdef void guard_ssl(PyObject* module) noexcept:
    # RAND_add first: the others feed through its original. An audit observes the methods; to feed more does no harm.
    if (ss_audit_is_on() or not ssl_is_hooked(module)) and ss_guard_method(SS_GUARD_SSL_RAND_ADD, module) == 0:
        ss_guard_module("_ssl", module, NULL)
